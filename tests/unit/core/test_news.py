from dataclasses import replace
from typing import Any

import pytest
from tests.builders import EPOCH, a_pipeline, a_run, at

from dataops_operator.api.conditions import Reason
from dataops_operator.api.run import Phase
from dataops_operator.core.accept import Refused, Waiting
from dataops_operator.core.news import Transition, cache_hits, of, queue_wait, run_duration, step_durations
from dataops_operator.core.rows import Row
from dataops_operator.core.status import refused, running, waiting

Status = dict[str, Any]
FIXED = a_run().pinned(a_pipeline().step("a"))
RUNS = Row("a", Phase.RUNNING, attempt=1, started_at=at(0), job="j")
DONE = Row("a", Phase.SUCCEEDED, attempt=1, started_at=at(0), finished_at=at(9), job="j")
FAILED = Row("a", Phase.FAILED, "Error", "exit code 3", 1, at(0), at(9), job="j")
RETRY = Row("a", Phase.WAITING, "Error", "exit code 3", 1, at(0), at(9), at(19), "j")
TAKEN = Row(
    "a",
    Phase.SUCCEEDED,
    None,
    "not run: run r did the same",
    0,
    at(-9),
    at(-3),
    outputs={"n": 1},
    reused="r",
    cache="k",
)
STUCK = Row("a", Phase.WAITING, "Unschedulable", "no node", 1, at(0), job="j")


def status(*rows: Row, verdict: Phase | None = None, before: Status | None = None, now: float = 0) -> Status:
    return running(before or {}, FIXED, rows, verdict, 1, EPOCH + now)


BEGUN = status(RUNS)
NOT_THERE = Waiting(Reason.PIPELINE_NOT_FOUND, "not there yet", EPOCH)
NOT_YET = waiting({}, NOT_THERE, 1, EPOCH)
ENDED = status(DONE, verdict=Phase.SUCCEEDED, before=BEGUN, now=65)


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        pytest.param({}, BEGUN, [Transition("Started", f"runs revision {FIXED.revision}")], id="it begins"),
        pytest.param(
            {}, NOT_YET, [Transition("Waiting", "not there yet", detail=at(0))], id="it waits for its pipeline"
        ),
        pytest.param(NOT_YET, BEGUN, [Transition("Started", f"runs revision {FIXED.revision}")], id="the wait is over"),
        pytest.param(BEGUN, BEGUN, [], id="nothing changes"),
        pytest.param(BEGUN, ENDED, [Transition("Succeeded", "1 of 1 steps succeeded (after 1m5s)")], id="it succeeds"),
        pytest.param(ENDED, ENDED, [], id="an ended run says nothing more"),
        pytest.param(
            BEGUN,
            status(FAILED, verdict=Phase.FAILED, before=BEGUN, now=9),
            [
                Transition("StepFailed", "step a, attempt 1: exit code 3", True, "a/1"),
                Transition("Failed", "step a: exit code 3 (after 9s)", True),
            ],
            id="a step fails, and the run with it",
        ),
        pytest.param(
            status(RUNS, Row("b")),
            status(RETRY, Row("b", Phase.RUNNING, attempt=1, job="k")),
            [
                Transition(
                    "StepRetrying",
                    f"step a, attempt 1: exit code 3; the next begins at {at(19)}",
                    True,
                    "a/1",
                    retried="Error",
                )
            ],
            id="an attempt is tried again",
        ),
        pytest.param(
            status(RUNS, Row("b", Phase.RUNNING, attempt=1, job="k")),
            status(STUCK, Row("b", Phase.RUNNING, attempt=1, job="k")),
            [Transition("StepWaiting", "step a: no node", True, "a/1/Unschedulable")],
            id="a step does not start",
        ),
        pytest.param(
            {},
            refused({}, Refused(Reason.PIPELINE_INVALID, "it is not valid"), 1, EPOCH),
            [Transition("Failed", "it is not valid", True)],
            id="it is refused",
        ),
        pytest.param(
            BEGUN,
            running(BEGUN, FIXED, [RUNS], None, 2, EPOCH),
            [],
            id="it is suspended, or goes on",
        ),
        pytest.param(
            NOT_YET, waiting(NOT_YET, NOT_THERE, 2, EPOCH), [], id="its spec was changed before the start, which counts"
        ),
    ],
)
def test_news_is_told_once_and_only_when_something_changes(
    before: Status, after: Status, told: list[Transition]
) -> None:
    assert list(of(before, after)) == told


def test_a_change_of_what_is_fixed_is_told_where_it_came_after_the_start() -> None:
    changed = running(BEGUN, FIXED, [RUNS], None, 2, EPOCH)
    text = "the spec was changed after the start and the change is ignored; start another run for it"
    assert list(of(BEGUN, changed, edited=True)) == [Transition("ChangeIgnored", text, True, "2")]
    assert list(of(NOT_YET, waiting(NOT_YET, NOT_THERE, 2, EPOCH), edited=True)) == []


def test_a_run_that_waits_for_a_step_says_so_as_well() -> None:
    reasons = [one.reason for one in of(BEGUN, status(STUCK))]
    assert reasons == ["Waiting", "StepWaiting"]


def test_two_attempts_that_fail_alike_are_two_pieces_of_news() -> None:
    again = Row("a", Phase.WAITING, "Error", "exit code 3", 2, at(19), at(29), at(49), "k")
    first, second = (
        next(one for one in of(status(RUNS), status(row)) if one.reason == "StepRetrying") for row in (RETRY, again)
    )
    assert first.detail != second.detail


def test_a_steps_duration_is_counted_once_when_it_ends() -> None:
    assert list(step_durations(BEGUN, ENDED)) == [("Succeeded", 9.0)]
    assert list(step_durations(ENDED, ENDED)) == []
    assert list(step_durations(BEGUN, status(RETRY))) == [], "an attempt is not the step"
    assert list(step_durations({}, status(Row("a", Phase.SKIPPED)))) == [], "what never began took no time"
    assert list(step_durations({}, status(TAKEN))) == [], "it took its time in another run"


def test_what_is_taken_from_the_cache_is_told_and_counted_once() -> None:
    taken = status(TAKEN)
    assert Transition("StepCached", "step a: not run: run r did the same", detail="a/0") in list(of(BEGUN, taken))
    assert (cache_hits({}, taken), cache_hits(taken, taken)) == (1, 0)
    assert cache_hits({}, status(replace(TAKEN, cache=None))) == 0, "taken over by a rerun"
    assert cache_hits(BEGUN, ENDED) == 0


def test_a_run_waits_from_its_creation_to_its_acceptance_and_lasts_from_there() -> None:
    run = {"metadata": {"creationTimestamp": at(-30)}, "status": NOT_YET}
    assert queue_wait(run, BEGUN) == 30
    assert queue_wait(run | {"status": BEGUN}, BEGUN) is None
    assert queue_wait(run, NOT_YET) is None
    assert run_duration(ENDED) == 65
    assert run_duration(refused({}, Refused(Reason.PIPELINE_INVALID, "x"), 1, EPOCH)) is None


def _told(old: dict[str, Any] | None, new: dict[str, Any]) -> list[tuple[str, bool]]:
    before, after = {"steps": [old] if old else []}, {"steps": [new]}
    return [(one.reason, one.warning) for one in of(before, after)]


def test_an_approval_is_asked_for_and_what_came_of_it() -> None:
    asks: dict[str, Any] = {
        "name": "s",
        "phase": "Waiting",
        "reason": "Approval",
        "message": "asks ann: go?",
        "attempt": 1,
    }
    assert _told(None, asks) == [("ApprovalRequested", False)]
    forbidden = {**asks, "reason": "ApprovalForbidden"}
    assert _told(asks, forbidden) == [("StepWaiting", True)]
    assert _told(asks, {**asks, "phase": "Succeeded", "reason": "Approved"}) == [("Approved", False)]
    assert _told(asks, {**asks, "phase": "Failed", "reason": "Rejected"}) == [("StepFailed", True)]


def test_what_a_step_is_there_to_wait_for_is_no_trouble() -> None:
    for reason in ("TimeNotReached", "ObjectNotReady", "RunWaiting"):
        assert _told(None, {"name": "s", "phase": "Waiting", "reason": reason, "attempt": 1}) == []
    assert _told(None, {"name": "s", "phase": "Waiting", "reason": "ObjectUnreadable"}) == [("StepWaiting", True)]
