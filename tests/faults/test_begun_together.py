"""Many runs begin at once, and the operator dies before their statuses say so: each goes on as it began, and once."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from pathlib import Path

import pytest
from tests.bench.runs import RUN_NAME, create, define
from tests.bench.stand import NAMESPACE, Stand, on_a_stand
from tests.harness.api import Object
from tests.harness.kinds import JOBS, RUN, RUNS

MANY = 60


async def _jobs(stand: Stand) -> Counter[str]:
    """How many Jobs each run has."""
    return Counter(job["metadata"]["labels"][RUN] for job in await stand.api.list(JOBS, NAMESPACE))


async def _untold(stand: Stand) -> list[Object]:
    """The runs that have a Job, and a status that says nothing of it."""
    jobs = await _jobs(stand)
    runs = await stand.api.list(RUNS, NAMESPACE)
    return [run for run in runs if run["metadata"]["name"] in jobs and not run.get("status", {}).get("revision")]


async def _all_ended(stand: Stand) -> list[Object]:
    async with asyncio.timeout(120):
        while True:
            runs = await stand.api.list(RUNS, NAMESPACE)
            if all("finishedAt" in run.get("status", {}) for run in runs):
                return runs
            await asyncio.sleep(0.5)


async def _die_while_untold(stand: Stand) -> tuple[int, list[Object], Counter[str]]:
    operator = stand.operator()
    async with operator:
        await define(stand.api, fused=True)
        with stand.player():
            await asyncio.gather(*(create(stand.api, RUN_NAME.format(number)) for number in range(MANY)))
            async with asyncio.timeout(30):
                while sum((await _jobs(stand)).values()) < MANY:  # noqa: ASYNC110 - an API tells nobody
                    await asyncio.sleep(0.05)
            operator.kill()
            untold = len(await _untold(stand))
            await operator.start()
            return untold, await _all_ended(stand), await _jobs(stand)


@pytest.mark.timeout(300)
def test_runs_of_which_nobody_was_told_that_they_began_go_on_as_they_began(tmp_path: Path) -> None:
    untold, runs, jobs = on_a_stand(_die_while_untold, python=Path(sys.executable), directory=tmp_path / "stand")
    assert untold > MANY / 4, "the operator was killed too late to prove anything"
    assert Counter(run["status"]["phase"] for run in runs) == {"Succeeded": MANY}
    assert set(jobs.values()) == {1}, "a Job was made again"
    assert {step["attempt"] for run in runs for step in run["status"]["steps"]} == {1}
