"""Steps that make an object of another kind: what is made, judged, deleted and left."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.builders import EPOCH, RUN_UID, PipelineBuilder, a_pipeline, at
from tests.unit.core.planning import created, done, name_of, pending, planned, planned_when_told

from dataops_operator.api.conditions import Reason
from dataops_operator.api.run import Cancel, Phase
from dataops_operator.core.objects import ObjectRef, Seen
from dataops_operator.core.plan import Asked, Plan, Refusal, View
from dataops_operator.core.podends import GRACE
from dataops_operator.core.rows import Row
from dataops_operator.core.waiting import LOOK

BEGAN = Asked(began=EPOCH)
NAME = name_of("m")
RAY = {
    "apiVersion": "ray.io/v1",
    "kind": "RayJob",
    "metadata": {"labels": {"team": "x"}},
    "spec": {"entrypoint": "python a.py $(steps.a.outputs.n)", "workers": "$(steps.a.outputs.n)"},
}
ABOUT = ObjectRef("ray.io/v1", "RayJob", "team", NAME)
SUCCESS, FAILURE = "object.status.jobStatus == 'SUCCEEDED'", "object.status.jobStatus == 'FAILED'"


def pipeline(resource: Any = None, **fields: Any) -> PipelineBuilder:
    asked = {"manifest": RAY, "successWhen": SUCCESS, "failureWhen": FAILURE, **(resource or {})}
    builder = a_pipeline().step("a", outputs=[{"name": "n"}]).jobless("m", needs=["a"], resource=asked, **fields)
    return builder.step("b", needs=["m"])


def under_way(attempt: int = 1) -> Row:
    made = f"RayJob/{name_of('m', attempt)}"
    return Row("m", Phase.RUNNING, None, str(ABOUT), attempt=attempt, started_at=at(0), object=made)


def ray(status: Any = None, uid: str = RUN_UID, **meta: Any) -> dict[str, Any]:
    return {"metadata": {"name": NAME, "ownerReferences": [{"uid": uid}], **meta}, "status": status or {}}


def sees(**seen: Any) -> View:
    return View(objects={ABOUT: Seen(**seen)})


def after(
    view: View | None = None,
    row: Row | None = None,
    resource: Any = None,
    asked: Asked = BEGAN,
    now: float = 5,
    **fields: Any,
) -> Plan:
    rows = [done("a", n=3), row or under_way(), Row("b")]
    return planned(pipeline(resource, **fields), rows, view, now=now, asked=asked)


def test_the_object_has_a_name_of_its_own_and_is_the_runs() -> None:
    made = after(row=Row("m"))
    (body,) = made.make
    assert (body["apiVersion"], body["kind"]) == ("ray.io/v1", "RayJob")
    assert body["spec"] == {"entrypoint": "python a.py 3", "workers": 3}
    meta = body["metadata"]
    assert (meta["name"], meta["namespace"]) == (NAME, "team")
    assert meta["ownerReferences"][0]["uid"] == RUN_UID
    assert meta["labels"]["team"] == "x"
    assert not [key for key in meta["labels"] if key.startswith("dataops.dev/")], "it is no Job of a run"
    row = made.rows[1]
    assert (row.phase, row.attempt, row.object) == (Phase.RUNNING, 1, f"RayJob/{NAME}")
    assert Row.from_status(row.to_status()) == row


def test_nothing_is_made_before_the_status_says_with_what_the_run_began() -> None:
    made = after(row=Row("m"), asked=Asked())
    assert (made.make, made.rows[1]) == ((), Row("m"))


def test_it_is_read_before_anything_is_decided() -> None:
    made = after()
    assert (made.look, made.create, made.rows[1]) == ((ABOUT,), (), under_way())


@pytest.mark.parametrize("status", [{}, {"jobStatus": "RUNNING"}])
def test_while_neither_condition_holds_it_is_looked_at_again(status: Any) -> None:
    made = after(sees(content=ray(status)))
    assert (made.rows[1].phase, made.wake_at) == (Phase.RUNNING, EPOCH + 5 + LOOK)


def test_success_takes_the_outputs() -> None:
    outputs = [{"name": "n", "value": "object.status.rows + 1"}, {"name": "all", "value": "object.status"}]
    view, rows = sees(content=ray({"jobStatus": "SUCCEEDED", "rows": 4})), [done("a", n=3), under_way(), Row("b")]
    made = planned_when_told(pipeline({"outputs": outputs}), rows, view, now=5, asked=BEGAN)
    row = made.rows[1]
    assert (row.phase, row.outputs) == (Phase.SUCCEEDED, {"n": 5, "all": {"jobStatus": "SUCCEEDED", "rows": 4}})
    assert created(made) == [name_of("b")]
    missing = [{"name": "n", "value": "object.status.no"}]
    row = after(sees(content=ray({"jobStatus": "SUCCEEDED"})), resource={"outputs": missing}).rows[1]
    assert (row.phase, row.reason) == (Phase.FAILED, Reason.EXPRESSION_FAILED)


def test_failure_is_asked_first_and_is_tried_again_by_another_object() -> None:
    both = {"successWhen": "true", "failureWhen": FAILURE}
    failed = sees(content=ray({"jobStatus": "FAILED"}))
    row = after(failed, resource=both).rows[1]
    assert (row.phase, row.reason) == (Phase.FAILED, Reason.OBJECT_FAILED)
    assert FAILURE in (row.message or "")
    retry: Any = {"retry": {"limit": 1, "backoff": {"initial": "0s"}}}
    waits = after(failed, **retry).rows[1]
    made = after(failed, waits, now=60, **retry)
    assert [body["metadata"]["name"] for body in made.make] == [name_of("m", 2)]


@pytest.mark.parametrize("content", [None, ray(uid="another")])
def test_one_that_is_gone_is_lost(content: Any) -> None:
    row = after(sees(content=content), retry={"infrastructure": 0}).rows[1]
    assert (row.phase, row.reason) == (Phase.FAILED, Reason.OBJECT_DELETED)


def test_what_cannot_be_read_is_told_and_tried_again() -> None:
    row = after(sees(problem="forbidden")).rows[1]
    assert (row.phase, row.reason, row.message) == (Phase.WAITING, Reason.OBJECT_UNREADABLE, "forbidden")


@pytest.mark.parametrize(
    ("refusal", "phase", "reason"),
    [
        (Refusal("steps may not make RayJob", True, Reason.KIND_NOT_ALLOWED), Phase.FAILED, "KindNotAllowed"),
        (Refusal("no such field", True, Reason.OBJECT_REFUSED), Phase.FAILED, "ObjectRefused"),
        (Refusal("forbidden", False, Reason.OBJECT_REFUSED), Phase.WAITING, "ObjectRefused"),
    ],
)
def test_what_is_refused(refusal: Refusal, phase: Phase, reason: str) -> None:
    row = after(View(refused={NAME: refusal}), Row("m")).rows[1]
    assert (row.phase, row.reason, row.object) == (phase, reason, None)


def test_its_time_is_bounded() -> None:
    view = sees(content=ray())
    assert after(view, timeout="1m", now=59).remove == ()
    made = after(view, timeout="1m", now=60)
    assert (made.rows[1].phase, made.rows[1].reason) == (Phase.FAILED, Reason.DEADLINE_EXCEEDED)
    assert ABOUT in made.remove


def test_a_cancelled_run_deletes_it_and_waits_until_it_is_gone() -> None:
    asked = Asked(cancel=Cancel.GRACEFUL, began=EPOCH)
    keep = {"deletion": "Keep"}
    made = after(sees(content=ray()), asked=asked, resource=keep)
    assert (made.remove, made.rows[1].phase, made.verdict) == ((ABOUT,), Phase.RUNNING, None)
    leaving = sees(content=ray(deletionTimestamp=at(5)))
    assert after(leaving, asked=asked, resource=keep, now=6).verdict is None
    assert after(leaving, asked=asked, now=5 + GRACE).verdict is Phase.CANCELLED, "not for ever"
    gone = after(sees(content=None), asked=asked, resource=keep)
    assert (gone.rows[1].phase, gone.verdict) == (Phase.CANCELLED, Phase.CANCELLED)
    killed = after(sees(content=ray()), asked=Asked(cancel=Cancel.IMMEDIATE, began=EPOCH), resource=keep)
    assert (killed.remove, killed.verdict) == ((ABOUT,), Phase.CANCELLED)


def test_its_time_counts_while_nobody_can_read_it() -> None:
    blind = sees(problem="forbidden")
    assert after(blind, timeout="1m", now=59).rows[1].reason == Reason.OBJECT_UNREADABLE
    made = after(blind, timeout="1m", now=60)
    assert (made.rows[1].phase, made.rows[1].reason) == (Phase.FAILED, Reason.DEADLINE_EXCEEDED)
    assert ABOUT in made.remove


def test_one_that_nobody_may_delete_is_not_waited_for() -> None:
    asked = Asked(cancel=Cancel.GRACEFUL, by="ann", began=EPOCH)
    made = after(sees(content=ray(), stays="denied by policy"), asked=asked)
    assert (made.rows[1].phase, made.verdict) == (Phase.CANCELLED, Phase.CANCELLED)
    assert made.rows[1].message == f"cancelled by ann; {ABOUT} stays: denied by policy"
    assert ABOUT in made.remove
    goes = sees(content=ray(deletionTimestamp=at(4)), stays="denied by policy, at first")
    assert after(goes, asked=asked).verdict is None, "somebody else has deleted it"


@pytest.mark.parametrize(("deletion", "removed"), [("Delete", 2), ("Keep", 0)])
def test_with_the_end_of_the_run_those_of_all_attempts_go_or_stay(deletion: str, removed: int) -> None:
    row = Row("m", Phase.SUCCEEDED, attempt=2, started_at=at(0), finished_at=at(1), object=f"RayJob/{name_of('m', 2)}")
    made = planned(pipeline({"deletion": deletion}), [done("a", n=1), row, done("b")], asked=BEGAN)
    assert made.verdict is Phase.SUCCEEDED
    assert [one.name for one in made.remove] == [name_of("m", n + 1) for n in range(removed)]


def test_one_that_the_status_has_not_heard_of_is_taken_up_when_another_step_has_failed() -> None:
    """The operator ended between making it and saying so, and the other step failed meanwhile."""
    both = a_pipeline().step("a").jobless("m", resource={"manifest": {**RAY, "spec": {}}, "successWhen": SUCCESS})
    rows = [replace(done("a"), phase=Phase.FAILED, reason=Reason.ERROR), Row("m")]
    asked = planned(both, rows, asked=BEGAN)
    assert (asked.look, asked.verdict) == ((ABOUT,), None)
    there = planned(both, rows, sees(content=ray()), asked=BEGAN)
    assert (there.rows[1].phase, there.rows[1].object) == (Phase.RUNNING, f"RayJob/{NAME}")
    for seen in (Seen(), Seen(content=ray(uid="another's"))):
        none = planned(both, rows, View(objects={ABOUT: seen}), asked=BEGAN)
        assert (none.rows[1].phase, none.verdict) == (Phase.SKIPPED, Phase.FAILED)


def test_in_finally_its_conditions_and_outputs_know_the_outcome() -> None:
    resource = {
        "manifest": {**RAY, "spec": {}},
        "successWhen": "run.outcome == 'Succeeded' && " + SUCCESS,
        "outputs": [{"name": "how", "value": "run.outcome"}],
    }
    last = a_pipeline().step("a").having(**{"finally": [{"name": "m", "resource": resource}]})
    made = planned(last, [done("a"), under_way()], sees(content=ray({"jobStatus": "SUCCEEDED"})), asked=BEGAN)
    assert (made.rows[1].phase, made.rows[1].outputs) == (Phase.SUCCEEDED, {"how": "Succeeded"})


def test_no_masked_value_is_shown() -> None:
    manifest = {**RAY, "spec": {"token": "$(params.token)"}}
    builder = a_pipeline().parameter("token", default="hush", masked=True)
    builder.jobless("m", resource={"manifest": manifest, "successWhen": "true"})
    row = planned(builder, pending("m"), asked=BEGAN).rows[0]
    assert (row.phase, row.reason) == (Phase.FAILED, Reason.INVALID_TEMPLATE)
    assert "hush" not in (row.message or "")
