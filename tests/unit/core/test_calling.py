"""Steps that run another pipeline: what is begun, passed on, and made of how that run ends."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.builders import EPOCH, RUN_UID, PipelineBuilder, a_pipeline, an_environment, at
from tests.unit.core.planning import created, done, inputs_of, name_of, pending, phases, planned

from dataops_operator.api.conditions import Reason
from dataops_operator.api.run import Cancel, Phase
from dataops_operator.core.calling import DEPTH
from dataops_operator.core.names import SUSPENDED_ANNOTATION
from dataops_operator.core.objects import ObjectRef, Seen
from dataops_operator.core.plan import Asked, Plan, Refusal, View
from dataops_operator.core.planner import plan
from dataops_operator.core.rows import Row

pytestmark = pytest.mark.usefixtures("both_modes")

BEGAN = Asked(began=EPOCH)
CHILD = name_of("c")
ABOUT = ObjectRef("dataops.dev/v1alpha1", "PipelineRun", "team", CHILD, own=True)


def pipeline(call: Any = None, **fields: Any) -> PipelineBuilder:
    builder = a_pipeline().parameter("day", default="2013-02-09").step("a", outputs=[{"name": "n"}])
    builder.jobless("c", needs=["a"], pipeline={"name": "other", **(call or {})}, **fields)
    return builder.step("b", needs=["c"])


def child(phase: str = "Running", spec: Any = None, **status: Any) -> dict[str, Any]:
    meta = {"name": CHILD, "uid": "u", "creationTimestamp": at(0)}
    return {"metadata": meta, "spec": spec or {}, "status": {"phase": phase, **status}}


def ended(good: bool, reason: str = "Succeeded", message: str = "m", **status: Any) -> dict[str, Any]:
    condition = {"type": "Succeeded", "status": str(good), "reason": reason, "message": message}
    return child("Succeeded" if good else "Failed", conditions=[condition], finishedAt=at(9), **status)


def under_way(**more: Any) -> Row:
    return Row("c", Phase.RUNNING, None, f"run {CHILD}", attempt=1, started_at=at(0), run=CHILD, **more)


def sees(run: dict[str, Any] | None, *, live: bool = True, **more: Any) -> View:
    objects = {ABOUT: Seen(run)} if live else {}
    return View(runs={CHILD: run} if run is not None else {}, objects=objects, **more)


def after(
    view: View | None = None,
    row: Row | None = None,
    asked: Asked = BEGAN,
    now: float = 5,
    call: Any = None,
    **fields: Any,
) -> Plan:
    rows = [done("a", n=3), row or under_way(), Row("b")]
    return planned(pipeline(call, **fields), rows, view, now=now, asked=asked)


def test_it_begins_a_run_of_its_own_with_values_of_their_types() -> None:
    values = [{"name": "n", "value": "$(steps.a.outputs.n)"}, {"name": "l", "value": ["$(params.day)", 1]}]
    made = after(
        View(), Row("c"), call={"parameters": values, "revision": "other-1"}, asked=Asked(began=EPOCH, priority="High")
    )
    (body,) = made.start
    assert (body["kind"], body["metadata"]["name"]) == ("PipelineRun", CHILD)
    assert body["metadata"]["ownerReferences"][0]["uid"] == RUN_UID
    assert body["spec"] == {
        "pipeline": "other",
        "revision": "other-1",
        "logicalDate": inputs_of(pipeline()).logical_date,
        "priority": "High",
        "parameters": [{"name": "n", "value": 3}, {"name": "l", "value": ["2013-02-09", 1]}],
    }
    assert made.rows[1] == under_way().anew(Phase.RUNNING, None, f"run {CHILD}", attempt=1, started_at=at(5), run=CHILD)


def test_nothing_is_begun_before_the_status_says_with_what_this_run_began() -> None:
    made = after(View(), Row("c"), asked=Asked())
    assert (made.start, made.rows[1], made.wake_at) == ((), Row("c"), EPOCH + 5)


def test_a_run_that_the_status_has_not_heard_of_is_its_own() -> None:
    made = after(sees(child()), Row("c"))
    assert made.start == ()
    assert (made.rows[1].phase, made.rows[1].run, made.rows[1].attempt) == (Phase.RUNNING, CHILD, 1)


def test_its_end_is_read_live_with_its_outputs() -> None:
    made = after(sees(ended(True), live=False))
    assert (made.look, made.create, made.rows[1].phase) == ((ABOUT,), (), Phase.RUNNING)
    made = after(sees(ended(True, outputs={"rows": "7", "more": 1})), outputs=[{"name": "rows", "type": "Integer"}])
    row = made.rows[1]
    assert (row.phase, row.outputs, row.finished_at) == (Phase.SUCCEEDED, {"rows": 7}, at(9))
    assert created(made) == [name_of("b")]


@pytest.mark.parametrize(
    ("outputs", "reason", "told"),
    [
        ({}, Reason.MISSING_OUTPUT, "without the output 'rows'"),
        ({"rows": "many"}, Reason.INVALID_RESULT, "output 'rows' of run"),
    ],
)
def test_outputs_that_are_not_as_declared_fail_the_step(outputs: Any, reason: Reason, told: str) -> None:
    row = after(sees(ended(True, outputs=outputs)), outputs=[{"name": "rows", "type": "Integer"}]).rows[1]
    assert (row.phase, row.reason) == (Phase.FAILED, reason)
    assert told in (row.message or "")


@pytest.mark.parametrize(
    ("theirs", "reason"),
    [
        ("StepFailed", "StepFailed"),
        ("PipelineNotFound", "PipelineNotFound"),
        ("InvalidParameters", "InvalidParameters"),
        ("Cancelled", "RunCancelled"),
        ("RunDeadlineExceeded", "DeadlineExceeded"),
    ],
)
def test_its_failure_is_the_steps_with_its_reason(theirs: str, reason: str) -> None:
    made = after(sees(ended(False, theirs, "step x: no")))
    row = made.rows[1]
    assert (row.phase, row.reason, row.message) == (Phase.FAILED, reason, f"run {CHILD}: step x: no")
    assert made.verdict is Phase.FAILED, "and this run has failed, whatever became of that one"


def test_a_retry_is_a_run_of_its_own() -> None:
    retry: Any = {"retry": {"limit": 1, "backoff": {"initial": "0s"}}}
    waits = after(sees(ended(False, "StepFailed")), **retry).rows[1]
    assert (waits.phase, waits.retry_at is not None) == (Phase.WAITING, True)
    made = after(sees(ended(False, "StepFailed")), waits, now=60, **retry)
    assert [body["metadata"]["name"] for body in made.start] == [name_of("c", 2)]
    assert (made.rows[1].attempt, made.rows[1].run) == (2, name_of("c", 2))


def test_one_that_somebody_cancelled_is_not_tried_again() -> None:
    assert after(sees(ended(False, "Cancelled")), retry={"limit": 3}).rows[1].phase is Phase.FAILED


def test_one_that_was_deleted_is_lost_to_the_infrastructure() -> None:
    gone = View(objects={ABOUT: Seen(None)})
    row = after(gone, retry={"infrastructure": 0}).rows[1]
    assert (row.phase, row.reason) == (Phase.FAILED, Reason.RUN_DELETED)
    assert after(gone).rows[1].phase is Phase.WAITING, "which is tried again without being asked for"
    assert after(View()).look == (ABOUT,), "and believed only when it was read live"


def test_that_it_waits_is_told() -> None:
    waiting = child("Waiting", waitingFor=[{"reason": "Approval", "message": "step ask: asks ann: go?"}])
    row = after(sees(waiting, live=False)).rows[1]
    assert (row.phase, row.reason) == (Phase.WAITING, Reason.RUN_WAITING)
    assert row.message == f"run {CHILD} waits: step ask: asks ann: go?"
    assert after(sees(child(), live=False), row).rows[1].phase is Phase.RUNNING


@pytest.mark.parametrize(("how", "kill"), [(Cancel.GRACEFUL, False), (Cancel.IMMEDIATE, True)])
def test_a_cancel_is_passed_down(how: Cancel, kill: bool) -> None:
    asked = Asked(cancel=how, by="ann", began=EPOCH)
    made = after(sees(child(), live=False), asked=asked)
    assert made.steer == {CHILD: {"spec": {"cancel": str(how)}}}
    assert made.rows[1].phase is (Phase.CANCELLED if kill else Phase.RUNNING)
    assert (made.verdict is None) is not kill, "its end is waited for, unless nothing is"
    again = after(sees(child(spec={"cancel": str(how)}), live=False), asked=asked)
    assert again.steer == {}, "once is enough"
    over = after(sees(ended(False, "Cancelled")), asked=asked)
    assert [(str(row.phase), row.reason) for row in over.rows[1:]] == [("Cancelled",) * 2, ("Skipped", "Cancelled")]
    assert over.verdict is Phase.CANCELLED
    well = after(sees(ended(True)), asked=asked)
    assert well.rows[1].phase is Phase.SUCCEEDED, "what ends well in the time that it is given has succeeded"


def test_a_suspension_is_passed_down_and_taken_back_and_nobody_elses_is() -> None:
    asked = Asked(suspend=True, began=EPOCH)
    made = after(sees(child(), live=False), asked=asked)
    assert made.steer == {
        CHILD: {"metadata": {"annotations": {SUSPENDED_ANNOTATION: "true"}}, "spec": {"suspend": True}}
    }
    held = child(spec={"suspend": True})
    assert after(sees(held, live=False), asked=asked).steer == {}
    assert after(sees(held, live=False)).steer == {}, "somebody suspended that run alone"
    held["metadata"]["annotations"] = {SUSPENDED_ANNOTATION: "true"}
    assert after(sees(held, live=False)).steer[CHILD]["spec"] == {"suspend": False}


@pytest.mark.parametrize("asked", [Asked(suspend=True, cancel=Cancel.GRACEFUL, began=EPOCH), BEGAN])
def test_a_run_of_finally_goes_on_when_a_suspended_run_is_ended(asked: Asked) -> None:
    """Nobody would resume it: the run that waits for it is over."""
    last = a_pipeline().step("a").having(**{"finally": [{"name": "c", "pipeline": {"name": "other"}}]})
    rows = [done("a"), under_way()]
    assert planned(last, rows, sees(child(), live=False), asked=asked).steer == {}
    held = child(spec={"suspend": True})
    held["metadata"]["annotations"] = {SUSPENDED_ANNOTATION: "true"}
    assert planned(last, rows, sees(held, live=False), asked=asked).steer[CHILD]["spec"] == {"suspend": False}


def test_a_suspended_run_begins_none() -> None:
    assert after(View(), Row("c"), asked=Asked(suspend=True, began=EPOCH)).rows[1] == Row("c")


def test_the_steps_timeout_ends_it_in_order() -> None:
    made = after(sees(child(), live=False), timeout="1m", now=59)
    assert (made.steer, made.wake_at) == ({}, EPOCH + 60)
    made = after(sees(child(), live=False), timeout="1m", now=60)
    assert made.steer == {CHILD: {"spec": {"cancel": "Graceful"}}}
    assert made.rows[1].reason == Reason.DEADLINE_EXCEEDED
    over = after(sees(ended(False, "Cancelled")), made.rows[1], timeout="1m", now=70).rows[1]
    assert (over.phase, over.reason) == (Phase.FAILED, Reason.DEADLINE_EXCEEDED)
    assert "longer than the step's timeout of 1m" in (over.message or "")


@pytest.mark.parametrize(
    ("above", "reason", "told"),
    [
        (("x", "other"), Reason.PIPELINE_CYCLE, "in a circle: other -> x -> flights -> other"),
        (tuple("abcdefg"[: DEPTH - 1]), Reason.NESTED_TOO_DEEP, f"at most {DEPTH} runs"),
    ],
)
def test_no_circle_and_no_tower(above: tuple[str, ...], reason: Reason, told: str) -> None:
    row = after(View(above=above), Row("c")).rows[1]
    assert (row.phase, row.reason) == (Phase.FAILED, reason)
    assert told in (row.message or "")
    assert after(View(above=tuple("abcdefg"[: DEPTH - 2])), Row("c")).start


def test_a_pipeline_that_runs_itself_is_told_at_once() -> None:
    assert after(View(), Row("c"), call={"name": "flights"}).rows[1].reason == Reason.PIPELINE_CYCLE


def test_no_masked_value_is_passed_on() -> None:
    values = [{"name": "t", "value": {"x": "$(params.token)"}}]
    builder = a_pipeline().parameter("token", default="hush", masked=True)
    builder.jobless("c", pipeline={"name": "other", "parameters": values})
    made = planned(builder, pending("c"), asked=BEGAN)
    assert made.start == ()
    assert (made.rows[0].phase, made.rows[0].reason) == (Phase.FAILED, Reason.INVALID_TEMPLATE)
    assert "$(params.token) is masked" in (made.rows[0].message or "")
    assert "hush" not in (made.rows[0].message or "")


def test_a_refused_run_is_tried_again_and_in_the_end_the_step_fails() -> None:
    view = View(refused={CHILD: Refusal("exceeded quota: runs")})
    made = after(view, Row("c"))
    assert (made.rows[1].phase, made.rows[1].reason) == (Phase.WAITING, Reason.QUOTA_EXCEEDED)
    assert made.rows[1].refused
    hopeless = View(refused={CHILD: Refusal("no such field", hopeless=True, reason=Reason.RUN_REFUSED)})
    row = after(hopeless, Row("c")).rows[1]
    assert (row.phase, row.reason) == (Phase.FAILED, Reason.RUN_REFUSED)


def test_in_a_run_that_fails_what_runs_may_end() -> None:
    builder = pipeline().step("d")
    bad = Row("d", Phase.FAILED, Reason.ERROR, "no", attempt=1, started_at=at(0), finished_at=at(1), job=name_of("d"))
    made = planned(builder, [done("a", n=1), under_way(), Row("b"), bad], sees(child(), live=False), asked=BEGAN)
    assert phases(made) == ["Succeeded", "Running", "Skipped", "Failed"]


def test_a_row_with_a_run_survives_the_status() -> None:
    assert Row.from_status(under_way().to_status()) == under_way()


# What a run tells.


def test_a_run_that_succeeded_tells_its_outputs() -> None:
    declared = [
        {"name": "rows", "value": "$(steps.a.outputs.n)"},
        {"name": "text", "value": {"day": "day $(params.day)"}},
        {"name": "none", "value": "$(steps.b.outputs.x)"},
    ]
    builder = a_pipeline().parameter("day", default="9").step("a", outputs=[{"name": "n"}])
    builder.step("b", when="false", outputs=[{"name": "x"}]).having(outputs=declared)
    skip = Row("b", Phase.SKIPPED, Reason.CONDITION_NOT_MET)
    made = planned(builder, [done("a", n=3), skip])
    assert (made.verdict, made.outputs) == (Phase.SUCCEEDED, {"rows": 3, "text": {"day": "day 9"}})
    assert planned(a_pipeline().step("a"), [done("a")]).outputs is None


def test_a_run_tells_nothing_that_is_masked() -> None:
    declared = [{"name": "token", "value": "$(env.params.token)"}, {"name": "rows", "value": 1}]
    place = an_environment(parameters=[{"name": "token", "value": "hush", "masked": True}])
    inputs = replace(inputs_of(a_pipeline().step("a").having(outputs=declared)), environment=place)
    assert plan(inputs, [done("a")], View(), EPOCH).outputs == {"rows": 1}
