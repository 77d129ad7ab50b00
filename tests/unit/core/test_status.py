from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.builders import EPOCH, a_pipeline, a_run, at

from dataops_operator.api.conditions import Reason
from dataops_operator.api.run import Phase, PipelineRunStatus
from dataops_operator.core.accept import Pinned, Refused, Waiting
from dataops_operator.core.names import job_name
from dataops_operator.core.rows import Row
from dataops_operator.core.status import difference, is_final, refused, running, waiting

Status = dict[str, Any]
FIXED = a_run().parameter("n", 7).pinned(a_pipeline().parameter("n", "Integer").step("a"))
WHY = Waiting(Reason.PIPELINE_NOT_FOUND, "pipeline 'x' does not exist yet", EPOCH + 120)
NO = Refused(Reason.PIPELINE_INVALID, "pipeline 'x' is not valid")

DONE = Row("a", Phase.SUCCEEDED, attempt=1, started_at=at(1), finished_at=at(9), job="j")
RUNS = Row("b", Phase.RUNNING, attempt=1, started_at=at(9), job="k")
STUCK = Row("c", Phase.WAITING, "Unschedulable", "no node", 1, at(9), job="l")
BACKOFF = Row("d", Phase.WAITING, "Error", "exit code 1", 1, at(1), at(9), at(19), "m")
FAILED = Row("e", Phase.FAILED, "Error", "exit code 3", 1, at(1), at(9), job="n")
SKIPPED = Row("f", Phase.SKIPPED, "UpstreamFailed", "not run")


def go_on(status: Status, *rows: Row, verdict: Phase | None = None, now: float = 0) -> Status:
    return running(status, FIXED, rows, verdict, 1, EPOCH + now)


def conditions(status: Status) -> dict[str, tuple[str, str]]:
    return {one["type"]: (one["status"], one["reason"]) for one in status["conditions"]}


def message(status: Status, type_: str = "Succeeded") -> str:
    (found,) = [one["message"] for one in status["conditions"] if one["type"] == type_]
    text: str = found
    return text


@pytest.mark.parametrize(
    ("rows", "phase", "reason", "progress", "words"),
    [
        pytest.param([Row("a")], "Running", "Running", "0/1", "starting", id="nothing has begun"),
        pytest.param([DONE, RUNS], "Running", "Running", "1/2", "running b", id="a step runs"),
        pytest.param(
            [RUNS, STUCK], "Running", "Running", "0/2", "running b; step c: no node", id="one runs, one is stuck"
        ),
        pytest.param([DONE, STUCK], "Waiting", "Waiting", "1/2", "step c: no node", id="the only one is stuck"),
        pytest.param([BACKOFF], "Waiting", "Waiting", "0/1", "step d: exit code 1", id="between two attempts"),
        pytest.param(
            [SKIPPED, RUNS, FAILED], "Running", "Running", "0/3", "running b", id="one failed, one still runs"
        ),
    ],
)
def test_a_run_that_goes_on_says_what_it_does(
    rows: list[Row], phase: str, reason: str, progress: str, words: str
) -> None:
    status = go_on({}, *rows)
    assert conditions(status) == {
        "Accepted": ("True", "Accepted"),
        "Succeeded": ("Unknown", reason),
        "Reconciling": ("True", reason),
    }
    assert (status["phase"], status["progress"], message(status)) == (phase, progress, words)
    assert "finishedAt" not in status
    assert not is_final(status)


@pytest.mark.parametrize(
    ("rows", "verdict", "expected", "words"),
    [
        pytest.param(
            [DONE],
            Phase.SUCCEEDED,
            {"Accepted": ("True", "Accepted"), "Succeeded": ("True", "Succeeded")},
            "1 of 1 steps succeeded",
            id="well",
        ),
        pytest.param(
            [DONE, FAILED, SKIPPED],
            Phase.FAILED,
            {"Accepted": ("True", "Accepted"), "Succeeded": ("False", "StepFailed"), "Stalled": ("True", "StepFailed")},
            "step e: exit code 3",
            id="badly",
        ),
    ],
)
def test_a_run_that_has_ended_says_how_in_one_terminal_condition(
    rows: list[Row], verdict: Phase, expected: dict[str, tuple[str, str]], words: str
) -> None:
    status = go_on(go_on({}, RUNS), *rows, verdict=verdict, now=60)
    assert conditions(status) == expected
    assert (status["phase"], message(status)) == (str(verdict), words)
    assert (status["startedAt"], status["finishedAt"]) == (at(0), at(60))
    assert is_final(status)
    assert "waitingFor" not in status


def test_an_ended_run_with_a_thousand_failed_steps_has_a_bounded_message() -> None:
    rows = [Row(f"s{index}", Phase.FAILED, "Error", "x" * 500, 1) for index in range(1000)]
    assert len(message(go_on({}, *rows, verdict=Phase.FAILED))) == 1024


def test_what_must_not_show_is_in_no_message_of_a_step_nor_of_its_items() -> None:
    items = {"total": 1, "states": "F1", "errors": ["item 0: no hush-hush here"]}
    row = Row("a", Phase.FAILED, Reason.ITEMS_FAILED, "1 of 1 items failed: item 0: no hush-hush here", items=items)
    status = running({}, FIXED, [row], Phase.FAILED, 1, EPOCH, hidden=("hush-hush",))
    assert "item 0: no *** here" in orjson.dumps(status).decode()
    assert "hush" not in orjson.dumps(status).decode()


def test_what_a_run_waits_for_is_visible() -> None:
    assert go_on({}, STUCK, BACKOFF)["waitingFor"] == [
        {"reason": "Unschedulable", "message": "step c: no node", "since": at(9)},
        {
            "reason": "Backoff",
            "message": f"step d: attempt 1 ended (Error); the next begins at {at(19)}",
            "since": at(9),
        },
    ]
    many = [Row(f"s{index}", Phase.WAITING, "Unschedulable", "x", 1, at(0), job="j") for index in range(40)]
    assert len(go_on({}, *many)["waitingFor"]) == 16, "the schema's bound"


def test_a_run_that_cannot_start_yet_waits_and_says_since_when() -> None:
    first = waiting({"observedGeneration": -1}, WHY, 1, EPOCH)
    assert conditions(first) == {
        "Accepted": ("Unknown", "PipelineNotFound"),
        "Succeeded": ("Unknown", "Waiting"),
        "Reconciling": ("True", "Waiting"),
    }
    assert (first["observedGeneration"], first["phase"]) == (1, "Waiting")
    assert first["waitingFor"] == [{"reason": "PipelineNotFound", "message": WHY.message, "since": at(0)}]
    assert waiting(first, WHY, 1, EPOCH + 50) == first, "waiting on is no write"
    begun = go_on(first, RUNS, now=60)
    assert "waitingFor" not in begun
    assert difference(first, begun)["waitingFor"] is None, "the patch takes it away"


def test_a_run_that_never_starts_is_stalled_and_final() -> None:
    status = refused(waiting({}, WHY, 1, EPOCH), NO, 1, EPOCH + 5)
    assert conditions(status) == {
        "Accepted": ("False", "PipelineInvalid"),
        "Succeeded": ("False", "PipelineInvalid"),
        "Stalled": ("True", "PipelineInvalid"),
    }
    assert (status["phase"], status["finishedAt"]) == ("Failed", at(5))
    assert "waitingFor" not in status
    assert is_final(status)


@pytest.mark.parametrize(
    ("status", "final"),
    [
        ({}, False),
        ({"conditions": None}, False),
        ({"conditions": [{"type": "Succeeded", "status": "Unknown"}]}, False),
        ({"conditions": [{"type": "Accepted", "status": "True"}]}, False),
        ({"conditions": [{"type": "Succeeded", "status": "True"}]}, True),
        ({"conditions": [{"type": "Succeeded", "status": "False"}]}, True),
        ({"phase": "Succeeded"}, False),
    ],
)
def test_only_the_condition_says_that_a_run_has_ended(status: Status, final: bool) -> None:
    assert is_final(status) is final


@pytest.mark.parametrize(
    "rows", [[Row("a")], [DONE, RUNS], [STUCK, BACKOFF], [RUNS, FAILED, SKIPPED]], ids=["new", "runs", "waits", "fails"]
)
def test_an_unchanged_run_is_no_write_however_much_time_passes(rows: list[Row]) -> None:
    status = go_on({}, *rows)
    assert difference(status, go_on(status, *rows, now=9999)) == {}


def test_times_move_only_with_what_they_speak_of() -> None:
    first = go_on({}, RUNS)
    later = go_on(first, replace_phase(RUNS), verdict=Phase.SUCCEEDED, now=60)
    since = {one["type"]: one["lastTransitionTime"] for one in later["conditions"]}
    assert since == {"Accepted": at(0), "Succeeded": at(60)}
    assert later["startedAt"] == at(0)


def replace_phase(row: Row) -> Row:
    return Row(row.name, Phase.SUCCEEDED, attempt=1, job=row.job)


@pytest.mark.parametrize(
    "status",
    [
        go_on({}, DONE, RUNS, STUCK, BACKOFF, FAILED, SKIPPED),
        go_on({}, DONE, verdict=Phase.SUCCEEDED),
        waiting({}, WHY, 1, EPOCH),
        refused({}, NO, 1, EPOCH),
    ],
    ids=["goes on", "ended", "waits", "refused"],
)
def test_every_status_fits_the_kinds_own_model(status: Status) -> None:
    assert not status.keys() - {one.alias for one in PipelineRunStatus.model_fields.values()}, "fields nobody declared"
    parsed = PipelineRunStatus.model_validate(status)
    assert parsed.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_unset=True) == status


def test_a_status_of_a_thousand_steps_is_below_256_kib() -> None:
    run = a_run("flights-daily-backfill-20130209")
    rows = [
        Row(
            f"transform-{index:04}",
            Phase.SUCCEEDED,
            attempt=1,
            started_at=at(index),
            finished_at=at(index + 60),
            job=job_name(run.name, run.uid, f"transform-{index:04}", 1),
            outputs={"rows": index},
        )
        for index in range(1000)
    ]
    status = go_on({}, *rows, verdict=Phase.SUCCEEDED)
    assert len(orjson.dumps(status)) < 256 * 1024


# The patch.

VALUES: st.SearchStrategy[Any] = st.recursive(
    st.booleans() | st.integers(-3, 3) | st.sampled_from(["x", "y"]),
    lambda inner: st.lists(
        inner | st.none() | st.dictionaries(st.sampled_from("ab"), inner | st.none(), max_size=2), max_size=3
    ),
    max_leaves=6,
)
STATUSES = st.dictionaries(st.sampled_from(["phase", "steps", "progress", "conditions"]), VALUES)


def merge(target: Any, patch: Any) -> Any:
    """RFC 7396, section 2."""
    if not isinstance(patch, dict):
        return patch
    out = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            out.pop(key, None)
        else:
            out[key] = merge(out.get(key), value)
    return out


@given(STATUSES, STATUSES)
def test_the_patch_leads_from_one_status_to_the_other(before: Status, after: Status) -> None:
    patch = difference(before, after)
    assert merge(before, patch) == after
    assert all(before.get(key) != value for key, value in patch.items()), "nothing is written that stands already"


@given(STATUSES)
def test_the_same_status_is_an_empty_patch(status: Status) -> None:
    assert difference(status, dict(status)) == {}


def test_a_status_has_no_objects_below_its_fields_which_a_merge_patch_would_merge() -> None:
    status = go_on({}, DONE, STUCK, BACKOFF)
    assert not [key for key, value in status.items() if isinstance(value, dict)]


def test_a_run_without_parameters_has_none_in_its_status() -> None:
    assert "parameters" not in running({}, Pinned("r-1", (), at(0)), [DONE], None, 1, EPOCH)
    assert go_on({}, DONE)["parameters"] == [{"name": "n", "value": 7, "origin": "Run"}]


def test_a_run_that_cannot_go_on_leaves_no_step_unfinished() -> None:
    begun = go_on({}, DONE, RUNS, BACKOFF, Row("g"))
    lost = Refused(Reason.REVISION_NOT_FOUND, "its revision was deleted")
    steps = {one["name"]: one for one in refused(begun, lost, 1, EPOCH + 30)["steps"]}
    assert {name: one["phase"] for name, one in steps.items()} == {
        "a": "Succeeded",
        "b": "Failed",
        "d": "Failed",
        "g": "Skipped",
    }
    assert steps["a"] == DONE.to_status(), "what has ended stays as it is"
    assert (steps["b"]["reason"], steps["b"]["finishedAt"]) == ("RevisionNotFound", at(30))
    assert "retryAt" not in steps["d"]


def test_a_step_whose_job_has_ended_well_has_succeeded_even_where_its_run_cannot_go_on() -> None:
    begun = go_on({}, DONE, RUNS, BACKOFF)
    lost = Refused(Reason.REVISION_NOT_FOUND, "its revision was deleted")
    status = refused(begun, lost, 1, EPOCH + 30, done=[str(RUNS.job), str(BACKOFF.job)])
    steps = {one["name"]: one for one in status["steps"]}
    assert {name: one["phase"] for name, one in steps.items()} == {"a": "Succeeded", "b": "Succeeded", "d": "Failed"}
    assert "reason" not in steps["b"]
    assert steps["b"]["message"] == "ended well; its outputs were not read, since the run could not go on"
    assert status["progress"] == "2/3"


def test_a_failure_that_was_answered_is_not_why_a_run_failed() -> None:
    rows = (FAILED, Row("g", Phase.FAILED, "Error", "exit code 1", 1, at(1), at(9), job="o"))
    status = running({}, FIXED, rows, Phase.FAILED, 1, EPOCH, answered={"e"})
    (told,) = [one for one in status["conditions"] if one["type"] == "Succeeded"]
    assert told["message"] == "step g: exit code 1"
