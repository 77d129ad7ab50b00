"""A large fan-out, measured: `python -m tests.bench.fanout [--items 5000] [--parallelism 200]`.

One Indexed Job whose pods are played. What is told is the operator's: its writes, CPU time and memory, and the size of
the run's status; how long it takes is the Job controller's. The exit code is 1 where the status or the writes grow with
the items.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from pathlib import Path

import orjson
from tests.bench import audit
from tests.bench.bench import OUT
from tests.harness import process
from tests.harness.api import Api, Object
from tests.harness.history import run_ended
from tests.harness.interpreter import interpreter
from tests.harness.kinds import PIPELINES, RUNS
from tests.harness.operator import ROOT, OperatorProcess
from tests.harness.player import PlayerProcess
from tests.harness.script import Play, Script

from localcluster.controlplane import ControlPlane

NAMESPACE, RUN = "bench", "run"
STATUS_LIMIT = 4096
"""Bytes of the status of a run whose one step is a fan-out, without outputs."""
WRITES_A_SECOND = 2.5
"""Status writes: each tells of the ends within half a second."""


async def _measure(plane: ControlPlane, items: int, parallelism: int, within: float, directory: Path) -> int:
    assert plane.audit_log, "the control plane was started without an audit log"
    script = Script(default=Play(start=0.05, end=0.3))
    player = PlayerProcess(plane.server, plane.token, plane.ca, script, directory)
    operator = OperatorProcess(
        plane.kubeconfig, directory / "operator.log", lease_namespace=NAMESPACE, python=interpreter()
    )
    each = {"range": {"to": items - 1}, "mode": "Indexed", "parallelism": parallelism}
    step: Object = {"name": "part", "command": ["work"], "forEach": each}
    pipeline: Object = {
        "metadata": {"name": "many"},
        "spec": {"defaults": {"image": "example.test/step:1"}, "steps": [step]},
    }
    async with Api(plane.server, plane.token, plane.ca, "bench") as api:
        await api.install_crds(ROOT / "crds")
        await api.make_namespace(NAMESPACE)
        async with operator:
            await api.create(PIPELINES, NAMESPACE, pipeline)
            idle, cpu, began = operator.rss_bytes(), process.cpu_seconds(operator.pid), time.monotonic()
            with player:
                await api.create(RUNS, NAMESPACE, {"metadata": {"name": RUN}, "spec": {"pipeline": "many"}})
                run = await api.wait_for(RUNS, NAMESPACE, RUN, run_ended, timeout=within)
                took = time.monotonic() - began
            cpu, peak = process.cpu_seconds(operator.pid) - cpu, operator.peak_rss_bytes()
    size = len(orjson.dumps(run["status"]))
    writes = audit.count(plane.audit_log, len(RUN)).per_run.total()
    print(
        f"{items:,} items, {parallelism} at once: {took:.0f} s, {writes} writes, {cpu:.1f} s of CPU, "
        f"memory {idle / 2**20:.0f} MB to {peak / 2**20:.0f} MB, status {size:,} bytes, "
        f"items {run['status']['steps'][0]['items']}"
    )
    good = run["status"]["phase"] == "Succeeded"
    return 0 if good and size <= STATUS_LIMIT and writes <= 10 + WRITES_A_SECOND * took else 1


def main() -> int:
    """Measure and tell; 1 if something grew that must not."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=5000, help="how many")
    parser.add_argument("--parallelism", type=int, default=200, help="how many at once")
    parser.add_argument("--within", type=float, default=3600, help="seconds after which it gives up")
    given = parser.parse_args()
    directory = OUT / "fan-out"
    directory.mkdir(parents=True, exist_ok=True)
    with ControlPlane.start(f"bench-{os.getpid()}", tuned_jobs=True) as plane:
        return asyncio.run(_measure(plane, given.items, given.parallelism, given.within, directory))


if __name__ == "__main__":
    sys.exit(main())
