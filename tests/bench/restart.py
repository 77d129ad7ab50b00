"""A start of the operator where many runs have ended before: how soon it works, and what it takes."""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tests.bench import audit
from tests.bench.load import NAMESPACE, PIPELINE, RUN_NAME, fresh, pipeline
from tests.harness.api import Api
from tests.harness.finished import finish
from tests.harness.history import run_ended
from tests.harness.kinds import JOBS, PIPELINES, RUN, RUNS
from tests.harness.operator import ROOT, OperatorProcess
from tests.harness.player import PlayerProcess
from tests.harness.script import Script

from localcluster.controlplane import ControlPlane

WITHIN = 60.0
"""Seconds after which the bench gives up on a run's end, the operator's readiness or the first Job."""

QUIET = 5.0
"""Seconds after the first Job in which nothing may be written on the runs that have ended."""


@dataclass(frozen=True)
class RestartCost:
    """How the operator started beside runs that had ended.

    Attributes:
        finished: how many there were.
        ready_seconds: from the start of the process until its caches were synced.
        first_job_seconds: from the start of the process to the first Job of a run that was created in that moment.
        rss_mb: memory some seconds later.
        rss_peak_mb: the most memory until then.
        writes: on runs that had ended.
    """

    finished: int
    ready_seconds: float
    first_job_seconds: float
    rss_mb: float
    rss_peak_mb: float
    writes: int


def measure(finished: int, *, python: Path, directory: Path) -> RestartCost:
    """Measure one on a control plane of its own, the Job controller tuned.

    Args:
        finished: how many runs have ended before, at least 1.
        python: the operator's interpreter.
        directory: for logs; what an earlier measurement left there goes.

    Raises:
        AssertionError: something was not done in time, or the operator died.
    """
    fresh(directory)
    with ControlPlane.start(f"bench-{os.getpid()}", tuned_jobs=True) as plane:
        return asyncio.run(_measure(plane, finished, python, directory))


async def _measure(plane: ControlPlane, finished: int, python: Path, directory: Path) -> RestartCost:
    assert plane.audit_log, "the control plane was started without an audit log"
    log = directory / "operator.log"
    operator = OperatorProcess(plane.kubeconfig, log, lease_namespace=NAMESPACE, python=python)
    first, *others, new = (RUN_NAME.format(number) for number in range(finished + 1))
    async with Api(plane.server, plane.token, plane.ca, "bench") as api:
        await api.install_crds(ROOT / "crds")
        await api.make_namespace(NAMESPACE)
        async with operator:
            await api.create(PIPELINES, NAMESPACE, pipeline())
            with PlayerProcess(plane.server, plane.token, plane.ca, Script(), directory):
                await _run(api, first)
                ended = await api.wait_for(RUNS, NAMESPACE, first, run_ended, timeout=WITHIN)
            await operator.terminate()
            # The others end as that one did, so that each is as large as a real one.
            await finish(api, NAMESPACE, others, PIPELINE, ended["status"])
            since, began = datetime.now(UTC), time.monotonic()
            await _run(api, new)
            job = asyncio.create_task(_first_job(api, new))
            await operator.start(WITHIN)
            ready = time.monotonic() - began
            first_job = await job - began
            await asyncio.sleep(QUIET)
            rss, peak = operator.rss_bytes(), operator.peak_rss_bytes()
    written = audit.count(plane.audit_log, len(new), since).per_run
    return RestartCost(
        finished=finished,
        ready_seconds=ready,
        first_job_seconds=first_job,
        rss_mb=rss / 2**20,
        rss_peak_mb=peak / 2**20,
        writes=written.total() - written[new],
    )


async def _run(api: Api, name: str) -> None:
    await api.create(RUNS, NAMESPACE, {"metadata": {"name": name}, "spec": {"pipeline": PIPELINE}})


async def _first_job(api: Api, run: str) -> float:
    """When a run's first Job is seen."""
    async with asyncio.timeout(WITHIN):
        async for type_, _ in api.list_then_watch(JOBS, NAMESPACE, f"{RUN}={run}"):
            if type_ != "SYNCED":
                return time.monotonic()
    raise AssertionError("the watch ended")
