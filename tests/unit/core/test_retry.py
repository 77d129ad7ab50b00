"""Which failures are tried again, when, and with what."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.builders import EPOCH, a_pipeline, a_pod
from tests.unit.core.planning import attempt_of, planned, running

from dataops_operator.api.run import Phase
from dataops_operator.api.step import Backoff, FailureClass, Resources, Retry
from dataops_operator.core.plan import Plan
from dataops_operator.core.retry import counted, pause, tried_again, with_more_memory
from dataops_operator.core.rows import Row
from dataops_operator.core.times import from_rfc3339

pytestmark = pytest.mark.usefixtures("both_modes")

I, F, OOM, D, S = FailureClass  # noqa: E741 - the five classes


def policy(**fields: Any) -> Retry:
    return Retry.model_validate(fields)


@pytest.mark.parametrize(
    ("retry", "attempt", "disruptions", "failure", "code", "again"),
    [
        pytest.param({}, 1, 0, F, 1, False, id="nothing is tried again where nothing is said"),
        pytest.param({}, 1, 1, I, None, True, id="but for what the infrastructure ended"),
        pytest.param({}, 3, 3, I, None, True, id="three times"),
        pytest.param({}, 4, 4, I, None, False, id="and not a fourth time"),
        pytest.param({"infrastructure": 0}, 1, 1, I, None, False, id="or never, where that is said"),
        pytest.param({"limit": 3, "on": ["Failure"]}, 1, 1, I, None, False, id="or where it is not among the classes"),
        pytest.param({"limit": 1}, 4, 3, F, 1, True, id="a disrupted attempt does not eat the limit"),
        pytest.param({"limit": 1}, 5, 3, F, 1, False, id="which holds for the others"),
        pytest.param({"limit": 2}, 2, 0, F, 1, True, id="the limit counts attempts after the first"),
        pytest.param({"limit": 2}, 3, 0, F, 1, False, id="and no more"),
        pytest.param({"limit": 2}, 1, 0, OOM, 137, False, id="a class that is not named"),
        pytest.param({"limit": 2, "on": ["OutOfMemory"]}, 1, 0, OOM, 137, True, id="a class that is named"),
        pytest.param({"limit": 2, "on": ["Deadline"]}, 1, 0, D, None, True, id="a deadline"),
        pytest.param({"limit": 2, "on": ["Start"]}, 1, 0, S, None, True, id="a start"),
        pytest.param({"limit": 9}, 1, 0, None, None, False, id="what trying again cannot mend"),
        pytest.param({"limit": 2, "exitCodes": {"retry": [75]}}, 1, 0, F, 75, True, id="a code worth another attempt"),
        pytest.param({"limit": 2, "exitCodes": {"retry": [75]}}, 1, 0, F, 1, False, id="another code"),
        pytest.param({"limit": 2, "exitCodes": {"never": [2]}}, 1, 0, F, 2, False, id="a code that is never worth it"),
        pytest.param({"limit": 2, "exitCodes": {"never": [2]}}, 1, 0, F, 3, True, id="any but that"),
        pytest.param(
            {"limit": 2, "exitCodes": {"retry": [2], "never": [2]}}, 1, 0, F, 2, False, id="never is the stronger word"
        ),
        pytest.param({"exitCodes": {"never": [137]}}, 1, 1, I, 137, True, id="codes are of the class Failure alone"),
        pytest.param({"limit": 2, "exitCodes": {"retry": [75]}}, 1, 0, F, 0, False, id="a bad result at exit code 0"),
    ],
)
def test_a_failure_is_tried_again(
    retry: dict[str, Any], attempt: int, disruptions: int, failure: FailureClass | None, code: int | None, again: bool
) -> None:
    row = Row("a", Phase.FAILED, attempt=attempt, disruptions=disruptions)
    assert tried_again(policy(**retry), row, failure, code) is again


def test_each_class_is_counted_where_that_matters() -> None:
    row = Row("a", Phase.FAILED, attempt=1)
    assert counted(row, I).disruptions == 1
    assert counted(row, OOM).out_of_memory == 1
    assert counted(row, F) == counted(row, None) == row


@pytest.mark.parametrize(
    ("attempt", "disruptions", "failure", "seconds"),
    [(1, 0, F, 10), (2, 0, F, 30), (3, 0, F, 60), (9, 0, F, 60), (5, 4, F, 10), (5, 1, I, 10), (5, 2, I, 30)],
)
def test_each_wait_is_longer_up_to_the_longest_and_by_the_failures_of_its_kind(
    attempt: int, disruptions: int, failure: FailureClass, seconds: float
) -> None:
    backoff = Backoff(initial="10s", factor=3, max="1m")
    row = Row("a", Phase.FAILED, attempt=attempt, disruptions=disruptions)
    assert pause(backoff, row, failure, "seed") == seconds


@settings(deadline=None)
@given(st.text(max_size=20), st.integers(1, 20), st.integers(0, 100))
def test_jitter_adds_at_most_its_share_and_the_same_to_the_same(seed: str, attempt: int, jitter: int) -> None:
    row, backoff = Row("a", Phase.FAILED, attempt=attempt), Backoff(initial="10s", jitter=jitter)
    plain = pause(Backoff(initial="10s"), row, F, seed)
    wait = pause(backoff, row, F, seed)
    assert plain <= wait <= plain * (1 + jitter / 100)
    assert wait == pause(backoff, row, F, seed)


def test_steps_that_failed_together_do_not_come_back_together() -> None:
    row, backoff = Row("a", Phase.FAILED, attempt=1), Backoff(initial="1m", jitter=50)
    assert len({pause(backoff, row, F, f"run-{number}") for number in range(20)}) == 20


@pytest.mark.parametrize(
    ("given_", "times", "memory"),
    [
        ({"limits": {"memory": "1Gi", "cpu": "1"}}, 0, {"limits": {"memory": "1Gi", "cpu": "1"}}),
        ({"limits": {"memory": "1Gi", "cpu": "1"}}, 1, {"limits": {"memory": "2Gi", "cpu": "1"}}),
        ({"limits": {"memory": "1Gi"}}, 2, {"limits": {"memory": "3Gi"}}),
        ({"limits": {"memory": "8Gi"}}, 1, {"limits": {"memory": "8Gi"}}),
        (
            {"requests": {"memory": "512Mi"}, "limits": {"memory": "1Gi"}},
            1,
            {"requests": {"memory": "1Gi"}, "limits": {"memory": "2Gi"}},
        ),
        ({"limits": {"cpu": "1"}}, 1, {"limits": {"cpu": "1"}}),
    ],
    ids=["none at first", "twice after one", "at most max", "never less", "the request, too", "nothing to raise"],
)
def test_memory_is_raised(given_: dict[str, Any], times: int, memory: dict[str, Any]) -> None:
    retry = policy(limit=3, on=["OutOfMemory"], memory={"factor": 2, "max": "3Gi"})
    found = with_more_memory(Resources.model_validate(given_), retry, times)
    assert found is not None
    assert found.model_dump(exclude_none=True) == memory


OOM_RETRY = {"limit": 2, "on": ["OutOfMemory"], "memory": {"max": "4Gi"}, "backoff": {"initial": "0s"}}


def test_the_attempt_after_one_that_was_killed_for_its_memory_has_more_of_it() -> None:
    pipeline = a_pipeline().step("a", retry=OOM_RETRY, resources={"limits": {"memory": "1Gi"}})
    failed = planned(pipeline, [running("a")], attempt_of("a", a_pod("a").failed(137, reason="OOMKilled")), now=9)
    (row,) = failed.rows
    assert (row.phase, row.reason, row.out_of_memory) == (Phase.WAITING, "OutOfMemory", 1)
    again = planned(pipeline, [Row.from_status(row.to_status())], now=60)
    (job,) = again.create
    assert memory_of(again) == "2Gi", job
    assert again.rows[0].out_of_memory == 1, "the next one is raised from there"


def memory_of(made: Plan) -> str:
    (job,) = made.create
    (container,) = job["spec"]["template"]["spec"]["containers"]
    memory: str = container["resources"]["limits"]["memory"]
    return memory


def test_a_disrupted_attempt_is_tried_again_without_anything_being_said() -> None:
    pipeline = a_pipeline().step("a")
    view = attempt_of("a", a_pod("a").gone_bad("Evicted").disrupted())
    (row,) = planned(pipeline, [running("a")], view, now=9).rows
    assert (row.phase, row.reason, row.disruptions) == (Phase.WAITING, "Disrupted", 1)
    assert row.retry_at is not None
    (after,) = planned(pipeline, [Row.from_status(row.to_status())], now=from_rfc3339(row.retry_at) - EPOCH).rows
    assert (after.phase, after.attempt, after.disruptions) == (Phase.RUNNING, 2, 1)
