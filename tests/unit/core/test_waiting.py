"""Waits: for a duration, until a time, for an object."""

from __future__ import annotations

from typing import Any

import pytest
from tests.builders import EPOCH, PipelineBuilder, a_pipeline, at
from tests.unit.core.planning import created, done, name_of, pending, planned, planned_when_told

from dataops_operator.api.conditions import Reason
from dataops_operator.api.run import Cancel, Phase
from dataops_operator.core.objects import ObjectRef, Seen
from dataops_operator.core.plan import Asked, Plan, View
from dataops_operator.core.rows import Row
from dataops_operator.core.waiting import LOOK

pytestmark = pytest.mark.usefixtures("both_modes")

JOB = {"apiVersion": "batch/v1", "kind": "Job", "name": "load-$(steps.a.outputs.day)", "when": "object.status.done"}
LOAD = ObjectRef("batch/v1", "Job", "team", "load-9")


def pipeline(wait: Any, **fields: Any) -> PipelineBuilder:
    builder = a_pipeline().step("a", outputs=[{"name": "day"}]).parameter("at", default="2026-01-05T07:00:00Z")
    builder.raw["steps"].append({"name": "w", "wait": wait, "needs": ["a"], **fields})
    return builder.step("b", needs=["w"])


def begun(reason: Reason, message: str) -> Row:
    return Row("w", Phase.WAITING, reason, message, attempt=1, started_at=at(0))


def after(wait: Any, now: float = 0, row: Row | None = None, view: View | None = None, **fields: Any) -> Plan:
    return planned(pipeline(wait, **fields), [done("a", day=9), row or Row("w"), Row("b")], view, now=now)


def seen(**fields: Any) -> View:
    return View(objects={LOAD: Seen(**fields)})


UNTIL = [
    ({"duration": "90s"}, 91, "waits until 2026-01-05T06:01:31Z"),
    ({"until": "2026-01-05T07:00:00Z"}, 3600, "waits until 2026-01-05T07:00:00Z"),
    ({"until": "2026-01-05T09:00:00+02:00"}, 3600, "waits until 2026-01-05T07:00:00Z"),
    ({"until": "$(params.at)"}, 3600, "waits until 2026-01-05T07:00:00Z"),
    ({"until": "2026-01-06"}, 18 * 3600, "waits until 2026-01-06T00:00:00Z"),
]


@pytest.mark.parametrize(("wait", "seconds", "message"), UNTIL)
def test_a_time_is_waited_for_by_one_wake_up(wait: Any, seconds: float, message: str) -> None:
    made = after(wait)
    row = made.rows[1]
    assert (row.phase, row.reason, row.message, row.attempt) == (Phase.WAITING, Reason.TIME_NOT_REACHED, message, 1)
    assert made.wake_at == EPOCH + seconds
    assert after(wait, now=seconds - 1, row=row).rows[1] == row, "nothing changes until then, and nothing is written"
    over = after(wait, now=seconds, row=row)
    assert (over.rows[1].phase, over.rows[1].finished_at) == (Phase.SUCCEEDED, at(seconds))
    assert created(over) == [name_of("b")]


def test_a_time_that_is_over_is_not_waited_for() -> None:
    made = after({"until": "2020-01-01"})
    assert made.rows[1].phase is Phase.SUCCEEDED
    assert created(made) == [name_of("b")]


def test_a_time_that_is_none_fails_the_step_and_says_how_to_write_one() -> None:
    made = after({"until": "$(steps.a.outputs.day)"})
    row = made.rows[1]
    assert (row.phase, row.reason) == (Phase.FAILED, Reason.INVALID_TEMPLATE)
    assert row.message == "wait.until: '9' is no time; write it as 2013-02-09T06:00:00Z, or a day as 2013-02-09"
    assert made.verdict is Phase.FAILED


def test_an_object_is_read_before_anything_else_is_done() -> None:
    made = after({"condition": JOB})
    assert made.look == (LOAD,)
    assert not made.create
    assert made.rows[1].attempt == 1


@pytest.mark.parametrize(
    ("view", "reason", "message"),
    [
        (seen(), Reason.OBJECT_NOT_READY, "there is no Job team/load-9 yet"),
        (seen(content={"status": {"done": False}}), Reason.OBJECT_NOT_READY, "waits until of Job team/load-9: object"),
        (seen(content={"status": {}}), Reason.OBJECT_NOT_READY, "there is no object.status.done"),
        (seen(problem="cannot be read: forbidden"), Reason.OBJECT_UNREADABLE, "cannot be read: forbidden"),
    ],
)
def test_what_is_not_so_yet_is_looked_at_again(view: View, reason: Reason, message: str) -> None:
    made = after({"condition": JOB}, view=view)
    row = made.rows[1]
    assert (row.phase, row.reason) == (Phase.WAITING, reason)
    assert message in (row.message or "")
    assert (made.look, made.wake_at) == ((), EPOCH + LOOK)


def test_a_condition_that_holds_ends_the_wait() -> None:
    wait, view = {"condition": JOB}, seen(content={"status": {"done": True}})
    made = planned_when_told(pipeline(wait), [done("a", day=9), Row("w"), Row("b")], view, now=30)
    assert (made.rows[1].phase, made.rows[1].finished_at) == (Phase.SUCCEEDED, at(30))
    assert created(made) == [name_of("b")]


def test_a_condition_may_ask_what_steps_found_and_needs_them() -> None:
    wait = {"condition": {**JOB, "name": "load-9", "when": "object.day == steps.a.outputs.day && params.at != ''"}}
    made = after(wait, view=seen(content={"day": 9}))
    assert made.rows[1].phase is Phase.SUCCEEDED
    builder = pipeline(wait)
    builder.raw["steps"][1].pop("needs")
    assert planned(builder, pending("a", "w", "b")).rows[1] == Row("w"), "what it uses it needs"


def test_a_kind_that_may_not_be_read_fails_the_step() -> None:
    view = seen(problem="steps may not look at Job", reason=Reason.KIND_NOT_ALLOWED, hopeless=True)
    row = after({"condition": JOB}, view=view).rows[1]
    assert (row.phase, row.reason, row.message) == (Phase.FAILED, "KindNotAllowed", "steps may not look at Job")


@pytest.mark.parametrize(
    ("wait", "view"), [({"until": "2026-01-06"}, None), ({"condition": JOB}, seen(content={"status": {}}))]
)
def test_the_steps_timeout_bounds_the_wait(wait: Any, view: View | None) -> None:
    row = begun(Reason.TIME_NOT_REACHED, "waits")
    assert after(wait, view=view, timeout="1m", now=59, row=row).rows[1].phase is Phase.WAITING
    late = after(wait, view=view, timeout="1m", now=60, row=row).rows[1]
    assert (late.phase, late.reason) == (Phase.FAILED, Reason.DEADLINE_EXCEEDED)
    assert (late.message or "").startswith("waited for longer than its timeout of 1m: waits until")


def test_a_cancelled_run_waits_no_more() -> None:
    row = begun(Reason.TIME_NOT_REACHED, "waits")
    asked = Asked(cancel=Cancel.GRACEFUL, began=EPOCH)
    made = planned(pipeline({"duration": "1h"}), [done("a"), row, Row("b")], asked=asked)
    assert (made.rows[1].phase, made.verdict) == (Phase.CANCELLED, Phase.CANCELLED)


def test_a_suspended_run_begins_no_wait_and_one_goes_on() -> None:
    asked = Asked(suspend=True, began=EPOCH)
    assert planned(pipeline({"duration": "1h"}), [done("a"), *pending("w", "b")], asked=asked).rows[1] == Row("w")
    row = begun(Reason.TIME_NOT_REACHED, "waits")
    made = planned(pipeline({"duration": "1m"}), [done("a"), row, Row("b")], asked=asked, now=100)
    assert [one.phase for one in made.rows[1:]] == [Phase.SUCCEEDED, Phase.PENDING]
