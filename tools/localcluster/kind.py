"""The same cluster by kind, where a Docker engine answers."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from localcluster import binaries
from localcluster.errors import ClusterError, say
from localcluster.state import Cluster

CONFIG = Path(__file__).resolve().parent.parent.parent / "kind-config.yaml"


def docker_answers() -> bool:
    """Whether a Docker engine is there and answers."""
    if shutil.which("docker") is None:
        return False
    try:
        done = subprocess.run(["docker", "info"], capture_output=True, check=False, timeout=10)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def program() -> str:
    """The kind on the PATH, else the pinned one, built."""
    return shutil.which("kind") or str(binaries.ensure("kind") / "kind")


def exists(cluster: Cluster) -> bool:
    """Whether kind knows the cluster."""
    done = subprocess.run([program(), "get", "clusters"], capture_output=True, text=True, check=False)
    return cluster.name in done.stdout.split()


def create(cluster: Cluster) -> None:
    """Create the cluster and write its kubeconfig; raises ClusterError with kind's last lines."""
    create = ["create", "cluster", "--name", cluster.name, "--config", str(CONFIG), "--wait", "120s"]
    _kind([*create, "--kubeconfig", str(cluster.kubeconfig)])


def delete(cluster: Cluster) -> None:
    """Delete the cluster; harmless where there is none."""
    _kind(["delete", "cluster", "--name", cluster.name, "--kubeconfig", str(cluster.kubeconfig)])


def load_image(cluster: Cluster, image: str) -> None:
    """Copy an image from the Docker engine into the cluster's node."""
    _kind(["load", "docker-image", "--name", cluster.name, image])


def _kind(arguments: Sequence[str]) -> None:
    command = [program(), *arguments]
    say(f"  kind {' '.join(arguments[:3])}")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        lines = (done.stderr or done.stdout).strip().splitlines()[-20:]
        raise ClusterError(f"`{' '.join(command)}` failed:\n  " + "\n  ".join(lines))
