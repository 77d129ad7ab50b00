"""The demo: start Vault and PostgreSQL, install the chart, run the example for one day, and print what is to be seen.

    python3 tools/demo.py [--name demo] [--install-only | --bad-day]

It needs a cluster that is up and the images in it: `make demo` sees to both. It may be run again: each time is a new
run of the same day, and publishes the day anew.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import textwrap
import threading
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from localcluster import binaries, state
from localcluster.errors import ClusterError, say

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = ROOT / "examples" / "flights-daily"
PLATFORM = ROOT / "examples" / "platform"
SYSTEM = "dataops-system"
PROJECT = "analytics"
NAMESPACE = "analytics-prod"
"""Where the runs of the project's environment prod live."""
PATIENCE = 300.0
"""Seconds that the run may take."""
KIND_PATIENCE = 30.0
"""Seconds in which a kind that was just installed can be used."""


class DemoError(Exception):
    """The demo cannot go on; the message says why."""


class Demo:
    """One demo on one cluster."""

    def __init__(self, name: str) -> None:
        """Find the cluster.

        Raises:
            DemoError: it is not there.
        """
        cluster = state.load(name)
        if cluster is None:
            raise DemoError(f"there is no cluster {name!r}; bring it up with: make cluster NAME={name}")
        group = "clients" if cluster.options.mode == "kind" else "kubernetes"
        path = f"{binaries.folder(group)}{os.pathsep}{os.environ['PATH']}"
        self._env = os.environ | {"KUBECONFIG": str(cluster.kubeconfig), "PATH": path}
        self.name = name

    def call(self, *words: str, given: str | None = None) -> str:
        """What a command printed.

        Raises:
            DemoError: it failed.
        """
        done = subprocess.run(list(words), env=self._env, input=given, capture_output=True, text=True, check=False)
        if done.returncode:
            raise DemoError(f"{' '.join(words)} failed:\n{done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    def read(self, *words: str) -> Any:
        """An object, or a list of them, as kubectl gives it."""
        return json.loads(self.call("kubectl", "get", *words, "-o", "json"))

    def install(self) -> None:
        """Install or upgrade the chart, and wait until the operator works."""
        say("installing the chart")
        self.call(
            "helm", "upgrade", "--install", "dataops-operator", str(ROOT / "helm" / "dataops-operator"),
            "--namespace", SYSTEM, "--create-namespace", "--values", str(PLATFORM / "values.yaml"),
            # The image's tag stays the same when it is built anew; the pods must still be.
            "--set", f"podAnnotations.build={_digest(ROOT / 'operator', ROOT / 'requirements')}",
            # What the release was given before, replicas say, stays; what the chart has anew comes in.
            "--reset-then-reuse-values", "--rollback-on-failure", "--wait", "--timeout", "2m",
        )  # fmt: skip

    def platform(self) -> None:
        """Apply the throw-away servers; they start while the chart is installed."""
        say("starting OpenBao and PostgreSQL")
        self.call("kubectl", "apply", "-k", str(PLATFORM))

    def prepare(self) -> dict[str, Any]:
        """Apply the example, and wait for its environment, which is given back."""
        for server in ("postgres", "openbao"):
            where = "vault" if server == "openbao" else server
            self.call("kubectl", "rollout", "status", f"deployment/{server}", "-n", where, "--timeout=3m")
        say(f"applying examples/flights-daily to the namespace {PROJECT}")
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": PROJECT}}
        self.call("kubectl", "apply", "-f", "-", given=json.dumps(namespace))
        self._apply_new_kinds("-k", str(EXAMPLE), "-n", PROJECT)
        began = time.monotonic()
        try:
            self.call("kubectl", "wait", "denv/prod", "-n", PROJECT, "--for=condition=Ready", "--timeout=120s")
        except DemoError:
            raise DemoError(
                f"no environment:\n{self.call('kubectl', 'describe', 'denv/prod', '-n', PROJECT)}"
            ) from None
        say(f"  environment prod is ready after {time.monotonic() - began:.1f} s")
        found: dict[str, Any] = self.read("denv", "prod", "-n", PROJECT)
        return found

    def _apply_new_kinds(self, *words: str) -> None:
        """Apply objects of kinds that are new here: admission learns of a kind seconds after it is served."""
        deadline = time.monotonic() + KIND_PATIENCE
        while True:
            try:
                self.call("kubectl", "apply", *words)
                return
            except DemoError as error:
                if "There can be a delay" not in str(error) or time.monotonic() > deadline:
                    raise
            time.sleep(1)

    def run(self, file: str) -> dict[str, Any]:
        """Start a run from a file of the example, follow it to its end, and give it back."""
        name = self._start(EXAMPLE / file)
        shown: dict[str, str] = {}
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            run: dict[str, Any] = self.read("pipelinerun", name, "-n", NAMESPACE)
            for step in run.get("status", {}).get("steps", ()):
                if shown.get(step["name"]) != step["phase"] and step["phase"] != "Pending":
                    say(f"  {step['name']:<10}{step['phase']}")
                shown[step["name"]] = step["phase"]
            if run.get("status", {}).get("phase") in ("Succeeded", "Failed"):
                return run
            time.sleep(0.3)
        said = self.call("kubectl", "describe", "pipelinerun", name, "-n", NAMESPACE)
        raise DemoError(f"the run {name} did not end within {PATIENCE:.0f} s:\n{said}")

    def _start(self, file: Path) -> str:
        """Create a run of its own name, so that the demo can be repeated."""
        body = json.loads(self.call("kubectl", "create", "--dry-run=client", "-f", str(file), "-o", "json"))
        body["metadata"] = {
            "name": f"{body['metadata']['name']}-{int(time.time()) % 1_000_000:06d}",
            "labels": body["metadata"].get("labels", {}),
        }
        self.call("kubectl", "create", "-n", NAMESPACE, "-f", "-", given=json.dumps(body))
        name: str = body["metadata"]["name"]
        say(f"started the run {name}")
        return name

    def reader(self) -> str:
        """What a reader of the published table sees, from a pod that may only read."""
        self.call("kubectl", "delete", "-f", str(EXAMPLE / "reader.yaml"), "-n", NAMESPACE, "--ignore-not-found")
        self.call("kubectl", "create", "-f", str(EXAMPLE / "reader.yaml"), "-n", NAMESPACE)
        ended = "jsonpath={.status.phase}=Succeeded"
        try:
            self.call("kubectl", "wait", "pod/flights-reader", "-n", NAMESPACE, f"--for={ended}", "--timeout=90s")
            return self.call("kubectl", "logs", "flights-reader", "-n", NAMESPACE)
        finally:
            self.call("kubectl", "delete", "pod", "flights-reader", "-n", NAMESPACE, "--now", "--wait=false")

    def log(self, run: dict[str, Any], step: str) -> str:
        """What a step of a run printed."""
        job = next(row["job"] for row in run["status"]["steps"] if row["name"] == step)
        return self.call("kubectl", "logs", f"job/{job}", "-c", step, "-n", NAMESPACE)

    def sql(self, statement: str) -> str:
        """What the database says to its administrator."""
        words = ("kubectl", "exec", "-n", "postgres", "deploy/postgres", "--")
        return self.call(*words, "psql", "-d", "flights", "-c", statement)

    def leases(self) -> int:
        """How many logins to the database Vault has given out and not taken back."""
        listed = "bao list -format=json sys/leases/lookup/database/creds/flights-loader || true"
        found = json.loads(self.call("kubectl", "exec", "-n", "vault", "deploy/openbao", "--", "sh", "-c", listed))
        return len(found)

    def logins(self) -> Logins:
        """Follow how many logins of Vault's the database has, from now on."""
        return Logins(self._env)


class Logins:
    """How many logins made by Vault the database has had, moment by moment; a context manager."""

    _ASK = "select count(*) from pg_roles where rolvaliduntil is not null \\watch 0.2\n"

    def __init__(self, env: dict[str, str]) -> None:
        words = ["kubectl", "exec", "-i", "-n", "postgres", "deploy/postgres", "--", "psql", "-qAt"]
        self._process = subprocess.Popen(words, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._seen: list[tuple[float, int]] = []
        self._thread = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> Logins:
        assert self._process.stdin is not None  # noqa: S101 - asked for above
        self._process.stdin.write(self._ASK)
        self._process.stdin.flush()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._thread.join(5)

    def _read(self) -> None:
        assert self._process.stdout is not None  # noqa: S101 - asked for above
        for line in self._process.stdout:
            if line.strip().isdigit():
                self._seen.append((time.time(), int(line)))

    def gone(self, since: float, within: float = 60.0) -> str:
        """Wait until there is none any more, and say how long they were there.

        Args:
            since: when the run ended, in seconds of the epoch.
            within: seconds to wait at most.
        """
        deadline = time.time() + within
        while time.time() < deadline and (not self._seen or self._seen[-1][1]):
            time.sleep(0.2)
        there = [moment for moment, count in self._seen if count]
        if not there:
            return "no login was ever seen"
        if self._seen[-1][1]:
            return f"{self._seen[-1][1]} still there after {within:.0f} s"
        return f"one for {there[-1] - there[0]:.1f} s, gone {max(there[-1] - since, 0):.1f} s after the run's end"


def _digest(*folders: Path) -> str:
    digest = hashlib.sha256()
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _steps(run: dict[str, Any]) -> str:
    lines = [f"{'step':<10}{'phase':<11}{'seconds':>7}  what it told"]
    for step in run["status"]["steps"]:
        told = ", ".join(f"{key} {value}" for key, value in step.get("outputs", {}).items()) or step.get("message", "")
        lines.append(f"{step['name']:<10}{step['phase']:<11}{_seconds(step):>7}  {told}".rstrip())
    return "\n".join(lines)


def _seconds(row: dict[str, Any]) -> str:
    if "startedAt" not in row or "finishedAt" not in row:
        return "-"
    took = datetime.fromisoformat(row["finishedAt"]) - datetime.fromisoformat(row["startedAt"])
    return f"{took.total_seconds():.0f}"


def _section(title: str, text: str) -> None:
    print(f"\n{title}\n{'-' * len(title)}\n{text.rstrip()}", flush=True)


def _environment(found: dict[str, Any]) -> str:
    status = found["status"]
    lines = []
    for one in status["conditions"]:
        if one["type"] not in ("Reconciling", "Stalled"):
            told = textwrap.shorten(one.get("message", ""), 96, placeholder=" ...")
            lines.append(f"{one['type']:<16}{one['status']:<6}{told}".rstrip())
    for one in status.get("targets", ()):
        url = one.get("url", "").partition("?")[0]
        lines.append(f"{one['name']:<16}{one['reachable']:<6}{url}")
    return "\n".join(lines)


def _secrets(run: dict[str, Any], told: str, leases: int) -> str:
    lines = []
    for one in run["status"].get("secrets", ()):
        what = "made for this run, leased" if one.get("leased") else f"version {one.get('version', '-')}"
        lines.append(f"{one['name']:<24}{what}")
    return "\n".join([*lines, f"{'logins to PostgreSQL':<24}{told}", f"{'leases left in Vault':<24}{leases}"])


def good_day(demo: Demo) -> int:
    """One day from its source to its readers."""
    demo.platform()
    demo.install()
    environment = demo.prepare()
    _section(f"The environment {PROJECT}/prod", _environment(environment))
    with demo.logins() as logins:
        run = demo.run("run.yaml")
        told = logins.gone(datetime.fromisoformat(run["status"]["finishedAt"]).timestamp())
    name = run["metadata"]["name"]
    _section(f"The run {name}: {run['status']['phase']}", _steps(run))
    if run["status"]["phase"] != "Succeeded":
        return _failed(run)
    _section("What it read from Vault (versions and leases, never values)", _secrets(run, told, demo.leases()))
    _section("What a reader of the published table sees", demo.reader())
    _section("Delay by carrier and hour", demo.log(run, "report"))
    worst = (
        "select carrier, hour, flights, round(mean_delay) as delay from prod.delays order by 4 desc nulls last limit 3"
    )
    _section("The same in the warehouse", demo.sql(worst))
    chosen = "" if demo.name == "demo" else f" NAME={demo.name}"
    _section(
        "Where to look next",
        f'eval "$(make -s env{chosen})"    # kubectl and helm for this cluster\n'
        f"kubectl get denv,dpl -n {PROJECT}; kubectl get drun -n {NAMESPACE}\n"
        f"kubectl describe drun {name} -n {NAMESPACE}\n"
        f"kubectl apply -f examples/flights-daily/branch.yaml -n {PROJECT}    # an environment of a branch's own\n"
        f"kubectl wait denv/faster-land -n {PROJECT} --for=condition=Ready\n"
        f"kubectl create -f examples/flights-daily/run.yaml -n {PROJECT}-faster-land\n"
        f"kubectl delete denv faster-land -n {PROJECT}    # and nothing of it is left\n"
        "kubectl exec -n vault deploy/openbao -- bao kv put -mount=secret flights/signing key=mine\n"
        "kubectl explain pipeline.spec.secrets\n"
        f"make bad-day{chosen}    # lose rows on the way, and see it stopped\n"
        f"make down{chosen}",
    )
    return 0


def bad_day(demo: Demo) -> int:
    """A day that loses rows on the way: stopped by the audit, and the readers keep what they had."""
    run = demo.run("run-bad-day.yaml")
    _section(f"The run {run['metadata']['name']}: {run['status']['phase']}", _steps(run))
    if run["status"]["phase"] != "Failed":
        say("the damaged day was not stopped, which is a bug")
        return 1
    _failed(run)
    _section("What a reader of the published table sees, as before", demo.reader())
    return 0


def _failed(run: dict[str, Any]) -> int:
    outcome = next(one for one in run["status"]["conditions"] if one["type"] == "Succeeded")
    _section("Why", f"{outcome['reason']}: {outcome['message']}")
    return 1


def main() -> int:
    """Run the demo; exit code 0 when it shows what it should."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--name", default="demo", help="the cluster's name (demo)")
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--install-only", action="store_true", help="install the chart and end")
    choice.add_argument("--bad-day", action="store_true", help="run the day that loses rows")
    options = parser.parse_args()
    try:
        demo = Demo(options.name)
        if options.install_only:
            demo.install()
            return 0
        return bad_day(demo) if options.bad_day else good_day(demo)
    except (DemoError, ClusterError) as error:
        say(f"demo: {error}")
        return 1


if __name__ == "__main__":
    sys.exit(main())
