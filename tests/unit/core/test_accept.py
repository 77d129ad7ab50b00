from typing import Any

import pytest
from tests.builders import EPOCH, RUN_UID, PipelineBuilder, RunBuilder, a_job, a_pipeline, a_run, at

from dataops_operator.api.conditions import Reason
from dataops_operator.core.accept import LOOK_SOON, Pinned, Refused, Waiting, inputs, logical_date, missing, pin, pinned
from dataops_operator.core.jobs import build_job
from dataops_operator.core.parameters import Resolved
from dataops_operator.core.rows import Row
from dataops_operator.core.status import running

DAILY = (
    a_pipeline().parameter("day", "Date", default="$(run.logicalDate)").parameter("n", "Integer", default=1).step("a")
)


def settled(run: RunBuilder, pipeline: PipelineBuilder = DAILY) -> Pinned | Refused:
    return pin(run.identity(), run.spec(), at(0), pipeline.revision())


@pytest.mark.parametrize(
    ("given", "date"),
    [
        (None, at(0)),
        ("2013-02-09T00:00:00Z", "2013-02-09T00:00:00Z"),
        ("2013-02-09T01:00:00+02:00", "2013-02-09T01:00:00+02:00"),
        ("2013-02-09t00:00:00.5z", "2013-02-09T00:00:00.5Z"),
    ],
    ids=["its creation", "as given", "with its offset, which its date depends on", "in capitals"],
)
def test_a_run_stands_for(given: str | None, date: str) -> None:
    assert logical_date(a_run().having(logicalDate=given).spec(), at(0)) == date


@pytest.mark.parametrize(
    "given",
    ["0000-01-01T00:00:00Z", "2013-02-30T00:00:00Z"],
)
def test_a_time_that_cannot_be_is_refused_with_its_path(given: str) -> None:
    refused = settled(a_run().having(logicalDate=given))
    assert isinstance(refused, Refused)
    assert refused.reason is Reason.INVALID_PARAMETERS
    assert refused.message.startswith("spec.logicalDate: ")


def test_a_run_is_pinned_to_a_revision_and_its_resolved_parameters() -> None:
    run = a_run().parameter("n", "7").having(logicalDate="2013-02-09T00:00:00Z")
    assert settled(run) == Pinned(
        DAILY.revision().name,
        (Resolved("day", "2013-02-09", "Pipeline"), Resolved("n", 7, "Run")),
        "2013-02-09T00:00:00Z",
    )


def test_a_run_with_wrong_parameters_is_refused_with_all_that_is_wrong() -> None:
    found = settled(a_run().parameter("n", "many").parameter("dya", "x"))
    assert isinstance(found, Refused)
    assert found.reason is Reason.INVALID_PARAMETERS
    assert "spec.parameters[0].value: n: " in found.message
    assert "spec.parameters[1].name: no parameter 'dya'" in found.message


FIXED = a_run().parameter("n", 7).pinned(DAILY)


def first_job(**changes: Any) -> dict[str, Any]:
    run = a_run().parameter("n", 7)
    built = run.inputs(DAILY)
    return a_job("x").of(build_job(built, (built.revision.spec.steps[0],), 1, {})).build() | changes


@pytest.mark.parametrize(
    ("status", "jobs", "found"),
    [
        pytest.param({}, [], None, id="a new run is not pinned"),
        pytest.param({"phase": "Waiting", "conditions": []}, [], None, id="one that waits is not"),
        pytest.param(running({}, FIXED, [Row("a")], None, 1, EPOCH), [], FIXED, id="by its status"),
        pytest.param({}, [first_job()], FIXED, id="by its first Job, where the status was never written"),
        pytest.param(
            {"revision": "other-1", "logicalDate": at(0)},
            [first_job()],
            Pinned("other-1", (), at(0)),
            id="the status before the Job",
        ),
        pytest.param(
            {}, [{"metadata": {}, "spec": {"template": {"metadata": {}}}}], None, id="not by a Job that says nothing"
        ),
    ],
)
def test_what_a_run_was_accepted_with_is_known(status: dict[str, Any], jobs: list[Any], found: Pinned | None) -> None:
    assert pinned(status, jobs) == found


def test_a_run_that_names_what_is_not_there_waits_and_then_fails() -> None:
    def at_second(seconds: float) -> Waiting | Refused:
        return missing("pipeline", "x", Reason.PIPELINE_NOT_FOUND, at(0), 120, EPOCH + seconds)

    early, late = at_second(119), at_second(120)
    assert isinstance(early, Waiting)
    assert (early.until, early.reason) == (EPOCH + 120, Reason.PIPELINE_NOT_FOUND)
    assert early.message == f"pipeline 'x' does not exist yet; the run fails if it is not there by {at(120)}"
    assert at_second(1) == early, "the words do not change while it waits: no write"
    assert isinstance(late, Refused)
    assert late.message.startswith("pipeline 'x' did not exist within 2m of the run's creation; apply it")


@pytest.mark.parametrize("reason", [Reason.CLAIM_NOT_FOUND, Reason.REVISION_NOT_FOUND])
def test_a_run_that_waits_for_what_nobody_would_tell_it_of_looks_again_soon(reason: Reason) -> None:
    def looks_again(seconds: float) -> float:
        found = missing("claim", "x", reason, at(0), 120, EPOCH + seconds)
        assert isinstance(found, Waiting)
        return found.until - EPOCH

    assert (looks_again(1), looks_again(119)) == (1 + LOOK_SOON, 120)


def test_inputs_carry_what_was_pinned() -> None:
    made = inputs(a_run().identity(), DAILY.revision(), FIXED, "runner")
    assert (made.parameters, made.logical_date, made.runner) == (FIXED.parameters, FIXED.logical_date, "runner")
    assert made.identity.uid == RUN_UID
