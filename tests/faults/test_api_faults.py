"""The operator stays alive while the API server refuses, stumbles, loses answers, lags or forgets its watches."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.faults.case import Bench, Result, ended, judge, untouched
from tests.faults.scenarios import DIAMOND, FAN, LATE, LONG, RETRY, SHARED, Scenario, script
from tests.harness.api import Api
from tests.harness.faults import (
    AnswerWith,
    CrashAt,
    DropWatches,
    ExpireWatch,
    HoldEvents,
    LoseAnswer,
    StaleLists,
    Together,
)
from tests.harness.operator import OperatorProcess
from tests.harness.player import Player
from tests.harness.proxy import Fault

from localcluster.controlplane import ControlPlane

AtWrite = Callable[[int], Fault]

SCENARIOS = [DIAMOND, FAN, SHARED, LATE] if LONG else [DIAMOND]
WATCHED = [RETRY, FAN, SHARED, LATE] if LONG else [RETRY]
EVERY = 1 if LONG else 3
"""Of how many writes one is that the operator dies at before it is shown an old list."""


def _by_name(scenarios: list[Scenario]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("scenario", scenarios, ids=lambda scenario: scenario.name)


@pytest.mark.timeout(600)
@_by_name(SCENARIOS)
@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(lambda k: AnswerWith(k, 409), id="conflict"),
        pytest.param(lambda k: AnswerWith(k, 429, retry_after=1), id="too-many-requests"),
        pytest.param(lambda k: AnswerWith(k, 500), id="internal-error"),
        pytest.param(lambda k: AnswerWith(k, 503, times=3), id="unavailable-three-times"),
        pytest.param(LoseAnswer, id="lost-answer"),
    ],
)
async def test_a_failing_write_is_made_good(
    plane: ControlPlane, tmp_path: Path, fault: AtWrite, scenario: Scenario
) -> None:
    async with Api(plane.server, plane.token, plane.ca) as api, Player(api, script()):
        bench = Bench(plane, api, tmp_path)
        prefix = f"{type(fault(1)).__name__.lower()}{getattr(fault(1), 'status', '')}-{scenario.name}"
        calm = await bench.run(f"{prefix}-calm", scenario)
        numbers = range(1, len(calm.writes) + 1)
        results = await asyncio.gather(*(_run(bench, scenario, f"{prefix}-{k}", fault(k)) for k in numbers))
    failures = judge(results, calm.end)
    assert not failures, failures
    # Two ends that come together may be told in one write instead of two: the last number is then not reached.
    assert not untouched(results[:-1]), f"no write failed in {untouched(results)}: these cases prove nothing"
    assert results[-1].struck or len(results[-1].writes) < len(calm.writes), str(results[-1])
    assert not ended(results), f"the operator ended by itself in {ended(results)}"


@pytest.mark.timeout(300)
@_by_name(WATCHED)
async def test_watches_that_fail_delay_and_change_nothing(
    plane: ControlPlane, tmp_path: Path, scenario: Scenario
) -> None:
    faults = {
        "hold-pods": HoldEvents("pods", 2, after=2),
        "hold-jobs": HoldEvents("jobs", 2, after=2),
        "hold-runs": HoldEvents("pipelineruns", 2, after=1),
        "cut-every-2": DropWatches(2),
        "expire-pods": ExpireWatch("pods", 1, after=3),
        "expire-jobs": ExpireWatch("jobs", 1, after=3),
        "expire-runs": ExpireWatch("pipelineruns", 1, after=1),
        "expire-pipelines": ExpireWatch("pipelines", 1),  # it has two events, or one where it was listed
    }
    async with Api(plane.server, plane.token, plane.ca) as api, Player(api, script()):
        bench = Bench(plane, api, tmp_path)
        calm = await bench.run(f"watch-{scenario.name}-calm", scenario)
        cases = (_run(bench, scenario, f"{name}-{scenario.name}", fault) for name, fault in faults.items())
        results = await asyncio.gather(*cases)
    failures = judge(results, calm.end)
    assert not failures, failures
    assert not untouched(results), f"no watch failed in {untouched(results)}: these cases prove nothing"
    assert not ended(results), f"the operator ended by itself in {ended(results)}"


@pytest.mark.timeout(600)
@_by_name(WATCHED)
@pytest.mark.parametrize("kind", ["pipelineruns", "jobs", "pods", "pipelines"])
async def test_a_restart_into_the_past_changes_nothing(
    plane: ControlPlane, tmp_path: Path, kind: str, scenario: Scenario
) -> None:
    """After its death at write k the operator is shown a list from before its first life, for two seconds."""
    async with Api(plane.server, plane.token, plane.ca) as api, Player(api, script()):
        bench = Bench(plane, api, tmp_path)
        calm = await bench.run(f"stale-{kind}-{scenario.name}-calm", scenario)
        numbers = range(EVERY, len(calm.writes), EVERY)
        results = await asyncio.gather(*(_stale(bench, scenario, kind, k) for k in numbers))
    failures = judge(results, calm.end)
    assert not failures, failures
    # Ends that come together may be told in one write: then there are fewer, and none of the last numbers.
    written = [result for k, result in zip(numbers, results, strict=True) if len(result.writes) >= k]
    assert not untouched(written), f"nothing old was shown in {untouched(written)}: these cases prove nothing"
    assert len(written) >= len(results) - 2, "so many writes less than in the calm run"


async def _run(bench: Bench, scenario: Scenario, name: str, fault: Fault) -> Result:
    return await bench.run(name, scenario, lambda _: fault)


async def _stale(bench: Bench, scenario: Scenario, kind: str, k: int) -> Result:
    def fault(operator: OperatorProcess) -> Fault:
        return Together(CrashAt(k, "after", operator.kill), StaleLists(kind, lag=2))

    return await bench.run(f"stale-{kind}-{scenario.name}-{k}", scenario, fault)
