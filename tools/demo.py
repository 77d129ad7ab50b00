"""The demo: install the chart, apply the example, run it for one day, and print what a reader sees.

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
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from localcluster import binaries, state
from localcluster.errors import ClusterError, say

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = ROOT / "examples" / "flights-daily"
SYSTEM = "dataops-system"
NAMESPACE = "analytics"
PATIENCE = 300.0
"""Seconds that the run may take."""


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
            "--namespace", SYSTEM, "--create-namespace", "--set", "image.tag=dev",
            # The image's tag stays the same when it is built anew; the pods must still be.
            "--set", f"podAnnotations.build={_digest(ROOT / 'operator', ROOT / 'requirements')}",
            "--rollback-on-failure", "--wait", "--timeout", "2m",
        )  # fmt: skip

    def prepare(self) -> None:
        """Apply the example."""
        say(f"applying examples/flights-daily to the namespace {NAMESPACE}")
        namespace = {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": NAMESPACE, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}},
        }
        self.call("kubectl", "apply", "-f", "-", given=json.dumps(namespace))
        self.call("kubectl", "apply", "-k", str(EXAMPLE), "-n", NAMESPACE)

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
        return self.call("kubectl", "logs", f"job/{job}", "-n", NAMESPACE)


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


def good_day(demo: Demo) -> int:
    """One day from its source to its readers."""
    demo.install()
    demo.prepare()
    run = demo.run("run.yaml")
    name = run["metadata"]["name"]
    _section(f"The run {name}: {run['status']['phase']}", _steps(run))
    if run["status"]["phase"] != "Succeeded":
        return _failed(run)
    _section("What a reader of the published table sees", demo.reader())
    _section("Delay by carrier and hour", demo.log(run, "report"))
    chosen = "" if demo.name == "demo" else f" NAME={demo.name}"
    _section(
        "Where to look next",
        f'eval "$(make -s env{chosen})"    # kubectl and helm for this cluster\n'
        f"kubectl get drun,dpl -n {NAMESPACE}\n"
        f"kubectl describe drun {name} -n {NAMESPACE}\n"
        "kubectl explain pipeline.spec.steps\n"
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
