"""A large fan-out: one Indexed Job whose pods are played.

What is told is the operator's: its writes, CPU time and memory, and the size of the run's status. How long it takes is
the Job controller's.
"""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import dataclass
from pathlib import Path

import orjson
from tests.bench import audit
from tests.bench.load import NAMESPACE, fresh
from tests.harness import process
from tests.harness.api import Api, Object
from tests.harness.history import run_ended
from tests.harness.kinds import PIPELINES, RUNS
from tests.harness.operator import ROOT, OperatorProcess
from tests.harness.player import PlayerProcess
from tests.harness.script import Play, Script

from localcluster.controlplane import ControlPlane

PIPELINE, RUN = "many", "run"
WITHIN = 600.0
"""Seconds after which the bench gives up."""


@dataclass(frozen=True)
class FanOutCost:
    """What a run of one step with many items cost.

    Attributes:
        items: how many.
        parallelism: how many of them at once.
        succeeded: whether the run did.
        seconds: from the run's creation to its end.
        writes: of the operator, for the run.
        status_bytes: how large the run's status is at its end, as JSON.
        cpu_seconds: of the operator.
    """

    items: int
    parallelism: int
    succeeded: bool
    seconds: float
    writes: int
    status_bytes: int
    cpu_seconds: float
    rss_idle_mb: float
    rss_peak_mb: float


def measure(items: int, parallelism: int, *, python: Path, directory: Path) -> FanOutCost:
    """Measure one on a control plane of its own, the Job controller tuned.

    Args:
        items: how many.
        parallelism: how many at once.
        python: the operator's interpreter.
        directory: for logs; what an earlier measurement left there goes.

    Raises:
        AssertionError: the run did not end in time, or the operator died.
    """
    fresh(directory)
    with ControlPlane.start(f"bench-{os.getpid()}", tuned_jobs=True) as plane:
        return asyncio.run(_measure(plane, items, parallelism, python, directory))


async def _measure(plane: ControlPlane, items: int, parallelism: int, python: Path, directory: Path) -> FanOutCost:
    assert plane.audit_log, "the control plane was started without an audit log"
    script = Script(default=Play(start=0.05, end=0.3))
    player = PlayerProcess(plane.server, plane.token, plane.ca, script, directory)
    log = directory / "operator.log"
    operator = OperatorProcess(plane.kubeconfig, log, lease_namespace=NAMESPACE, python=python)
    each = {"range": {"to": items - 1}, "mode": "Indexed", "parallelism": parallelism}
    step: Object = {"name": "part", "command": ["work"], "forEach": each}
    spec: Object = {"defaults": {"image": "example.test/step:1"}, "steps": [step]}
    async with Api(plane.server, plane.token, plane.ca, "bench") as api:
        await api.install_crds(ROOT / "crds")
        await api.make_namespace(NAMESPACE)
        async with operator:
            await api.create(PIPELINES, NAMESPACE, {"metadata": {"name": PIPELINE}, "spec": spec})
            with player:
                idle, cpu, began = operator.rss_bytes(), process.cpu_seconds(operator.pid), time.monotonic()
                await api.create(RUNS, NAMESPACE, {"metadata": {"name": RUN}, "spec": {"pipeline": PIPELINE}})
                run = await api.wait_for(RUNS, NAMESPACE, RUN, run_ended, timeout=WITHIN)
                took = time.monotonic() - began
            cpu, peak = process.cpu_seconds(operator.pid) - cpu, operator.peak_rss_bytes()
    return FanOutCost(
        items=items,
        parallelism=parallelism,
        succeeded=run["status"]["phase"] == "Succeeded",
        seconds=took,
        writes=audit.count(plane.audit_log, len(RUN)).per_run.total(),
        status_bytes=len(orjson.dumps(run["status"])),
        cpu_seconds=cpu,
        rss_idle_mb=idle / 2**20,
        rss_peak_mb=peak / 2**20,
    )
