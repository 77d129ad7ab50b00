"""The cluster of this tier: a node of its own with the images in it, Vault, PostgreSQL and the chart."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from localcluster import binaries, clusters, state
from localcluster.state import Cluster

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "helm" / "dataops-operator"
EXAMPLE = ROOT / "examples" / "flights-daily"
PLATFORM = ROOT / "examples" / "platform"
NAME = "e2e"
SYSTEM = "dataops-system"
RELEASE = "dataops-operator"
OPERATOR_IMAGE = "localhost/dataops-operator:dev"
FLIGHTS_IMAGE = "localhost/dataops-flights:dev"
STORAGE_IMAGE = "localhost/dataops-storage:dev"

# What make tells the makes below it; the commands here are to behave as in a user's own shell.
_OF_MAKE = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "NAME")


class CommandError(AssertionError):
    """A command ended with an error; the message carries what it said."""


class Site:
    """A running cluster, and the commands that a user gives to it.

    Attributes:
        environment: of the commands: KUBECONFIG is the cluster's, kubectl and helm are on the PATH.
        kubeconfig: path of the administrator's kubeconfig.
    """

    def __init__(self, cluster: Cluster) -> None:
        group = "clients" if cluster.options.mode == "kind" else "kubernetes"
        inherited = {key: value for key, value in os.environ.items() if key not in _OF_MAKE}
        self.kubeconfig = cluster.kubeconfig
        self.environment = inherited | {
            "KUBECONFIG": str(cluster.kubeconfig),
            "PATH": f"{binaries.folder(group)}{os.pathsep}{os.environ['PATH']}",
        }

    def call(
        self, *words: str, given: str | None = None, within: float = 180, env: Mapping[str, str] | None = None
    ) -> str:
        """Run a command in the project's folder, and give back what it printed.

        Raises:
            CommandError: it failed, or took longer than `within` seconds.
        """
        environment = self.environment if env is None else env
        try:
            done = subprocess.run(
                list(words), cwd=ROOT, env=environment, input=given, capture_output=True, text=True, timeout=within
            )
        except subprocess.TimeoutExpired as late:
            said = (late.stdout or b"").decode(errors="replace")[-3000:]
            raise CommandError(f"`{' '.join(words)}` took longer than {within:.0f} s; it said:\n{said}") from None
        if done.returncode:
            text = f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
            raise CommandError(f"`{' '.join(words)}` ended with {done.returncode}:\n{text}")
        return done.stdout

    def kubectl(self, *words: str, given: str | None = None, within: float = 120) -> str:
        """What kubectl printed."""
        return self.call("kubectl", *words, given=given, within=within)

    def read(self, *words: str) -> Any:
        """What `kubectl get ... -o json` gave."""
        return json.loads(self.kubectl("get", *words, "-o", "json"))

    def install(self, *options: str) -> None:
        """Install or upgrade the chart with two replicas, and wait until both are ready."""
        self.call(
            "helm", "upgrade", "--install", RELEASE, str(CHART), "--namespace", SYSTEM, "--create-namespace",
            "--values", str(PLATFORM / "values.yaml"), "--set", "replicas=2", "--set", "log.format=text",
            "--set", "log.level=debug", "--set", "results.enabled=true", *options,
            "--wait", "--timeout", "3m", within=240,
        )  # fmt: skip

    def try_kubectl(self, *words: str) -> str:
        """What kubectl printed, or why it failed: for the report of a test that has failed already."""
        try:
            return self.kubectl(*words, within=30)
        except CommandError as error:
            return str(error)

    def credentials(self) -> tuple[str, str, str]:
        """Server, token and CA (PEM) of an account with all rights, for clients that know no certificates."""
        self.kubectl("apply", "-f", "-", given=json.dumps(_account()))
        token = self.kubectl("create", "token", NAME, "-n", "kube-system", "--duration=4h").strip()
        where = json.loads(self.kubectl("config", "view", "--raw", "--flatten", "-o", "json"))["clusters"][0]["cluster"]
        return where["server"], token, where["certificate-authority-data"]


def bring_up(fresh: bool) -> Site:
    """The cluster with all images in it; one that an earlier call left is removed first if it is to be fresh."""
    if fresh:
        clusters.down(NAME)
    site = Site(clusters.up(NAME))
    site.call("make", "-s", "images", f"NAME={NAME}", within=900)
    return site


def take_down() -> None:
    """Stop the cluster and remove all it left."""
    if state.load(NAME) is not None:
        clusters.down(NAME)


def _account() -> dict[str, Any]:
    account = {"kind": "ServiceAccount", "name": NAME, "namespace": "kube-system"}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"}
    items = [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": NAME, "namespace": "kube-system"}},
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": NAME},
            "roleRef": role,
            "subjects": [account],
        },
    ]
    return {"apiVersion": "v1", "kind": "List", "items": items}
