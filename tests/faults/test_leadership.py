"""Two replicas: one works, the other takes over when the first dies or stands still, and never both."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.faults.case import Bench
from tests.faults.scenarios import DIAMOND, script
from tests.harness.api import Api, condition
from tests.harness.faults import CrashAt
from tests.harness.history import Recorder
from tests.harness.invariants import check_all
from tests.harness.kinds import PIPELINES, RUNS
from tests.harness.player import Player

from localcluster.controlplane import ControlPlane

TAKE_OVER = 60.0
"""Seconds from the leader's end to the run's, the Lease's 15 seconds and a loaded machine included."""
AT = 6
"""The write at which the leader ends: Jobs are under way, the status does not know of all of them."""


async def _run_ends_well(bench: Bench, namespace: str, seen: Recorder) -> None:
    run = await bench.api.wait_for(
        RUNS, namespace, DIAMOND.name, lambda run: bool(condition(run, "Succeeded").get("status") == "True"), TAKE_OVER
    )
    assert run["status"]["phase"] == "Succeeded"
    found = check_all(seen.history, await seen.settled())
    assert not found, "\n".join(map(str, found))


async def _begin(bench: Bench, namespace: str) -> None:
    await bench.api.create(PIPELINES, namespace, DIAMOND.pipeline)
    await bench.api.create(RUNS, namespace, DIAMOND.run)


@pytest.mark.timeout(180)
async def test_a_standby_takes_over_from_a_dead_leader(plane: ControlPlane, tmp_path: Path) -> None:
    async with Api(plane.server, plane.token, plane.ca) as api, Player(api, script()):
        bench, ns = Bench(plane, api, tmp_path), "dead-leader"
        async with (
            bench.place(ns) as seen,
            bench.operator(ns, identity="first") as (first, before),
            bench.operator(ns, identity="second") as (_, after),
        ):
            early: list[int] = []

            def die() -> None:
                early.append(len(after.writes))
                first.kill()

            before.fault = CrashAt(AT, "after", die)
            await _begin(bench, ns)
            await _run_ends_well(bench, ns, seen)
            assert early == [0], "the standby wrote while the leader lived, or the leader never died"
            assert after.writes, "nobody took over"


@pytest.mark.timeout(180)
async def test_a_leader_that_stood_still_does_no_harm(plane: ControlPlane, tmp_path: Path) -> None:
    async with Api(plane.server, plane.token, plane.ca) as api, Player(api, script()):
        bench, ns = Bench(plane, api, tmp_path), "frozen-leader"
        async with (
            bench.place(ns) as seen,
            bench.operator(ns, identity="first") as (first, before),
            bench.operator(ns, identity="second") as (second, after),
        ):
            before.fault = CrashAt(AT, "before", first.freeze)
            await _begin(bench, ns)
            await _run_ends_well(bench, ns, seen)
            assert after.writes, "nobody took over"
            written = len(before.writes)
            first.thaw()
            code = await first.ended(within=30)
            assert code > 0, "an end that nobody asked for is not a success"
            # What it had in hand when it stood still it may send once more; nothing of it may be done.
            late = [call for call in before.writes[written:] if call.answered < 400]
            assert not late, f"the former leader went on writing: {', '.join(map(str, late))}"
            assert second.alive
            await asyncio.sleep(1)
            found = check_all(seen.history, await seen.settled())
    assert not found, "\n".join(map(str, found))


@pytest.mark.timeout(120)
async def test_a_leader_that_is_asked_to_stop_hands_over_at_once(plane: ControlPlane, tmp_path: Path) -> None:
    async with Api(plane.server, plane.token, plane.ca) as api, Player(api, script()):
        bench, ns = Bench(plane, api, tmp_path), "polite-leader"
        async with (
            bench.place(ns) as seen,
            bench.operator(ns, identity="first") as (first, before),
            bench.operator(ns, identity="second") as (_, after),
        ):
            await _begin(bench, ns)
            async with asyncio.timeout(30):
                while len(before.writes) < AT:  # noqa: ASYNC110 - counted elsewhere, nothing to wait on
                    await asyncio.sleep(0.01)
            assert await first.terminate() == 0
            began = asyncio.get_running_loop().time()
            await _run_ends_well(bench, ns, seen)
            assert after.writes, "nobody took over"
            assert asyncio.get_running_loop().time() - began < 12, "the Lease was not handed over"
