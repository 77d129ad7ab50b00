"""A large fan-out: one Indexed Job whose pods are played.

What is told is the operator's: its writes, CPU time and memory, and the size of the run's status. How long it takes is
the Job controller's.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import orjson
from tests.bench import audit
from tests.bench.stand import NAMESPACE, Stand, on_a_stand
from tests.harness import process
from tests.harness.api import Object
from tests.harness.history import run_ended
from tests.harness.kinds import PIPELINES, RUNS
from tests.harness.script import Play, Script

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

    def told(self) -> str:
        """The first figures, for who waits."""
        return (
            f"{self.seconds:.0f} s, {self.writes} writes, {self.cpu_seconds:.1f} s of CPU, "
            f"status {self.status_bytes:,} bytes"
        )


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
    return on_a_stand(lambda stand: _measure(stand, items, parallelism), python=python, directory=directory)


async def _measure(stand: Stand, items: int, parallelism: int) -> FanOutCost:
    api = stand.api
    each = {"range": {"to": items - 1}, "mode": "Indexed", "parallelism": parallelism}
    step: Object = {"name": "part", "command": ["work"], "forEach": each}
    spec: Object = {"defaults": {"image": "example.test/step:1"}, "steps": [step]}
    async with stand.operator() as operator:
        await api.create(PIPELINES, NAMESPACE, {"metadata": {"name": PIPELINE}, "spec": spec})
        with stand.player(Script(default=Play(start=0.05, end=0.3))):
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
        writes=audit.count(stand.audit_log, len(RUN)).per_run.total(),
        status_bytes=len(orjson.dumps(run["status"])),
        cpu_seconds=cpu,
        rss_idle_mb=idle / 2**20,
        rss_peak_mb=peak / 2**20,
    )
