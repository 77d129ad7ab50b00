"""A start of the operator where many runs have ended before: how soon it works, and what it takes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tests.bench import audit
from tests.bench.model import leave, record
from tests.bench.runs import PIPELINE, RUN_NAME, create
from tests.bench.stand import NAMESPACE, Stand, calm, on_a_stand
from tests.harness.api import Api
from tests.harness.finished import finish
from tests.harness.kinds import JOBS, PODS, RUN
from tests.harness.operator import OperatorProcess

WITHIN = 60.0
"""Seconds after which the bench gives up on the operator's readiness or the first Job."""

QUIET = 5.0
"""Seconds after the first Job in which nothing may be written on the runs that have ended."""


@dataclass(frozen=True)
class Start:
    """How the operator started beside runs that had ended.

    Attributes:
        ready_seconds: from the start of the process until its caches were synced.
        first_job_seconds: from the start of the process to the first Job of a run that was created in that moment.
        rss_mb: memory some seconds later.
        rss_peak_mb: the most memory until then.
        writes: on runs that had ended.
    """

    ready_seconds: float
    first_job_seconds: float
    rss_mb: float
    rss_peak_mb: float
    writes: int

    def told(self) -> str:
        """The figures, for who waits."""
        return (
            f"ready after {self.ready_seconds:.1f} s, first Job after {self.first_job_seconds:.1f} s, "
            f"{self.rss_peak_mb:.0f} MB, {self.writes} writes for nothing"
        )


@dataclass(frozen=True)
class RestartCost:
    """How the operator started again.

    Attributes:
        finished: how many runs had ended.
        kept: whether their Jobs and pods were all still there, one of each a run; otherwise they had been deleted.
        orderly: after it had been told to end, and had given up its Lease.
        killed: after SIGKILL, the Lease still its own; measured where Jobs and pods were there.
    """

    finished: int
    kept: bool
    orderly: Start
    killed: Start | None = None

    def starts(self) -> Iterator[tuple[str, Start]]:
        """The starts, each with what a budget calls it."""
        runs = f"with {self.finished:,} finished runs{' and their pods' if self.kept else ''}"
        yield f"restart {runs}", self.orderly
        if self.killed:
            yield f"restart after SIGKILL {runs}", self.killed

    def told(self) -> str:
        """The first figures, for who waits."""
        return self.orderly.told() + (f"; after SIGKILL {self.killed.told()}" if self.killed else "")


def measure(finished: int, *, kept: bool, python: Path, directory: Path) -> RestartCost:
    """Measure it on a control plane of its own, the Job controller tuned.

    Args:
        finished: how many runs have ended before, at least 1.
        kept: whether their Jobs and pods are all still there; a SIGKILL is measured then as well.
        python: the operator's interpreter.
        directory: for logs; what an earlier measurement left there goes.

    Raises:
        AssertionError: something was not done in time, or the operator died, or Jobs or pods are missing.
    """
    measured = _beside_jobs if kept else _beside_runs
    return on_a_stand(lambda stand: measured(stand, finished), python=python, directory=directory)


async def _beside_runs(stand: Stand, finished: int) -> RestartCost:
    first, *others, new = (RUN_NAME.format(number) for number in range(finished + 1))
    ended = (await record(stand, first)).ended
    # The others end as that one did, so that each is as large as a real one.
    await finish(stand.api, NAMESPACE, others, PIPELINE, ended)
    operator = stand.operator()
    try:
        start = await _start(stand, operator, new, {new})
    finally:
        operator.kill()
    return RestartCost(finished, False, start)


async def _beside_jobs(stand: Stand, finished: int) -> RestartCost:
    first, *others, new, newer = (RUN_NAME.format(number) for number in range(finished + 2))
    model = await record(stand, first, fused=True)
    with stand.plane.without("kube-controller-manager"):
        await leave(stand, model, others)
    await calm(stand.plane.pids["kube-controller-manager"])
    operator = stand.operator()
    try:
        orderly = await _start(stand, operator, new, {new})
        operator.kill()
        killed = await _start(stand, operator, newer, {new, newer})
    finally:
        operator.kill()
    for kind in (JOBS, PODS):
        there = len(await stand.api.list(kind, NAMESPACE, f"{RUN}!={new},{RUN}!={newer}"))
        assert there == finished, f"{there} {kind.plural} of {finished} runs were there: this is no measure of so many"
    return RestartCost(finished, True, orderly, killed)


async def _start(stand: Stand, operator: OperatorProcess, new: str, alive: set[str]) -> Start:
    """Start the operator and create a run at the same time; what is written on those alive is not for nothing."""
    since, began = datetime.now(UTC), time.monotonic()
    await create(stand.api, new)
    job = asyncio.create_task(_first_job(stand.api, new))
    await operator.start(WITHIN)
    ready = time.monotonic() - began
    first_job = await job - began
    await asyncio.sleep(QUIET)
    written = audit.count(stand.audit_log, len(new), since).per_run
    return Start(
        ready_seconds=ready,
        first_job_seconds=first_job,
        rss_mb=operator.rss_bytes() / 2**20,
        rss_peak_mb=operator.peak_rss_bytes() / 2**20,
        writes=written.total() - sum(written[name] for name in alive),
    )


async def _first_job(api: Api, run: str) -> float:
    """When a run's first Job is seen."""
    async with asyncio.timeout(WITHIN):
        async for type_, _ in api.list_then_watch(JOBS, NAMESPACE, f"{RUN}={run}"):
            if type_ != "SYNCED":
                return time.monotonic()
    raise AssertionError("the watch ended")
