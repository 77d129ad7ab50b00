"""The operator dies at every single write, before it reaches the API server and after it was committed.

After its restart the run must end as if nothing had happened, with every invariant kept.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.faults.case import SIDE_BY_SIDE, Bench, Result, judge, untouched
from tests.faults.scenarios import DIAMOND, FAN, LATE, PLACED, RETRY, SHARED, Scenario, script
from tests.harness.api import Api
from tests.harness.faults import CrashAt, When
from tests.harness.player import Player

from localcluster.controlplane import ControlPlane

BEYOND = 2
"""Writes beyond those that a run is allowed: its Pipeline's status and revision."""


@pytest.mark.timeout(600)
@pytest.mark.parametrize("scenario", [DIAMOND, RETRY, SHARED, FAN, LATE], ids=lambda scenario: scenario.name)
async def test_death_at_any_write_changes_nothing(plane: ControlPlane, tmp_path: Path, scenario: Scenario) -> None:
    async with Api(plane.server, plane.token, plane.ca) as api, Player(api, script()):
        bench = Bench(plane, api, tmp_path, SIDE_BY_SIDE * (2 if scenario.stopped else 1))
        calm = await bench.run(f"{scenario.name}-calm", scenario)
        assert not calm.problems, str(calm)
        assert calm.restarts == 0, str(calm)
        pipelines = 1 + len(scenario.others)  # each with a run
        budget = 2 * scenario.attempts + (3 + BEYOND) * pipelines + scenario.stopped
        assert len(calm.writes) <= budget, f"{len(calm.writes)} writes, {budget} allowed: {calm}"
        if scenario.stopped:
            left = sum(1 for job in calm.end["jobs"] if not job["complete"])
            assert left == scenario.stopped, "Jobs of what was ended in the middle stay, and with them the logs"
        numbers = range(1, len(calm.writes) + 1)
        cases = [_crash(bench, scenario, k, when) for k in numbers for when in ("before", "after")]
        results = await asyncio.gather(*cases)
    failures = judge(results, calm.end)
    assert not failures, failures
    # Two ends that come together may be told in one write instead of two: the last number is then not reached.
    assert len(untouched(results)) <= 2, f"nobody died in {untouched(results)}: these cases prove nothing"


@pytest.mark.timeout(600)
async def test_death_at_any_write_of_a_run_in_an_environment_changes_nothing(
    plane: ControlPlane, tmp_path: Path
) -> None:
    """What it began with, masked values among it, and its places in line are found again."""
    async with Api(plane.server, plane.token, plane.ca) as api, Player(api, script()):
        bench = Bench(plane, api, tmp_path)
        calm = await bench.run("placed-calm", PLACED)
        assert not calm.problems, str(calm)
        assert [one.get("masked") for one in calm.end["statuses"][0]["parameters"]] == [True, True]
        assert [job["command"] for job in calm.end["jobs"]] == [["of the run", "by the environment", "[1]"]] * 2
        first = next(call.number for call in calm.writes if "controllerrevisions" in str(call) and call.number > 2)
        numbers = range(first, len(calm.writes) + 1)
        cases = [_crash(bench, PLACED, k, when) for k in numbers for when in ("before", "after")]
        results = await asyncio.gather(*cases)
    failures = judge(results, calm.end)
    assert not failures, failures
    assert len(untouched(results)) <= 4, f"nobody died in {untouched(results)}: these cases prove nothing"


async def _crash(bench: Bench, scenario: Scenario, k: int, when: When) -> Result:
    name = f"{scenario.name}-{when}-{k}"
    return await bench.run(name, scenario, lambda operator: CrashAt(k, when, operator.kill))


async def test_a_restart_writes_nothing_for_what_has_ended(plane: ControlPlane, tmp_path: Path) -> None:
    async with Api(plane.server, plane.token, plane.ca) as api, Player(api, script()):
        violations = await Bench(plane, api, tmp_path).rested("rested", DIAMOND, seconds=5)
    assert not violations, "\n".join(map(str, violations))
