"""Approvals: asked for, decided by who may, by silence, or not at all."""

from __future__ import annotations

from typing import Any

import pytest
from tests.builders import EPOCH, PipelineBuilder, a_pipeline, at
from tests.unit.core.planning import (
    attempt_of,
    created,
    done,
    name_of,
    pending,
    phases,
    planned,
    planned_when_told,
    running,
)

from dataops_operator.api.conditions import Reason
from dataops_operator.api.run import Cancel, Decision, Phase
from dataops_operator.core.plan import Asked, Decided, Plan, asked_of
from dataops_operator.core.rows import Row

pytestmark = pytest.mark.usefixtures("both_modes")

ANN = {"users": ["ann"], "groups": ["releasers"]}


def asking(step: str = "ask", **fields: Any) -> dict[str, Any]:
    return {"name": step, "approval": {"message": "go?", "approvers": ANN, **fields}, "needs": ["a"]}


def pipeline(**fields: Any) -> PipelineBuilder:
    builder = a_pipeline().step("a", outputs=[{"name": "rows"}])
    builder.raw["steps"].append(asking(**fields))
    return builder.step("b", needs=["ask"])


def waiting(started: float = 0) -> Row:
    text = "asks ann, group releasers: go?"
    return Row(
        "ask", Phase.WAITING, Reason.APPROVAL, text, attempt=1, started_at=at(started), approvers={"users": ["ann"]}
    )


def says(
    decision: Decision = Decision.APPROVE, by: str = "ann", comment: str = "", groups: tuple[str, ...] = ()
) -> Asked:
    return Asked(decisions={"ask": Decided(decision, comment, by, groups)}, began=EPOCH)


def after(asked: Asked | None = None, now: float = 5, row: Row | None = None, **fields: Any) -> Plan:
    return planned(pipeline(**fields), [done("a", rows=3), row or waiting(), Row("b")], now=now, asked=asked)


def test_it_is_asked_for_when_it_is_due_with_what_steps_found_and_no_pod_is_made() -> None:
    made = after(row=Row("ask"), message="publish $(steps.a.outputs.rows) rows?", now=7)
    row = made.rows[1]
    assert (row.phase, row.reason) == (Phase.WAITING, Reason.APPROVAL)
    assert row.message == "asks ann, group releasers: publish 3 rows?"
    assert (row.attempt, row.started_at, row.approvers) == (1, at(7), ANN)
    assert not made.create
    assert made.wake_at is None, "a person is waited for: nothing is to be done until then"


def test_it_is_not_asked_for_before() -> None:
    made = planned(pipeline(), [running("a"), *pending("ask", "b")], attempt_of("a"), asked=says())
    assert made.rows[1] == Row("ask"), "a decision on what was not asked is not counted"


@pytest.mark.parametrize(
    ("said", "phase", "reason", "message"),
    [
        (says(comment="looks right"), "Succeeded", Reason.APPROVED, "approved by ann: looks right"),
        (says(by="bob", groups=("releasers",)), "Succeeded", Reason.APPROVED, "approved by bob"),
        (says(Decision.REJECT, comment="no"), "Failed", Reason.REJECTED, "rejected by ann: no"),
    ],
)
def test_who_may_decides(said: Asked, phase: str, reason: Reason, message: str) -> None:
    row = after(said).rows[1]
    assert (row.phase, row.reason, row.message, row.finished_at) == (phase, reason, message, at(5))
    assert row.approvers is None, "who may decide is told only while it is waited for"


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (says(by="bob"), "bob is none of the approvers"),
        (says(by="bob", groups=("others",)), "bob is none of the approvers"),
        (says(by=""), "the decision does not say whose it is"),
        (says(by="", groups=("releasers",)), "the decision does not say whose it is"),
        (says(Decision.REJECT, by="bob"), "bob is none of the approvers"),
    ],
)
def test_a_decision_of_somebody_else_is_neither_counted_nor_lost(said: Asked, told: str) -> None:
    made = after(said)
    row = made.rows[1]
    assert (row.phase, row.reason) == (Phase.WAITING, Reason.APPROVAL_FORBIDDEN)
    assert told in (row.message or "")
    assert (row.message or "").endswith("asks ann, group releasers: go?"), "and it still says what is asked of whom"
    assert made.verdict is None


def test_where_nobody_is_named_everyone_may_who_may_change_the_run() -> None:
    assert after(says(by="bob"), approvers=None).rows[1].phase is Phase.SUCCEEDED
    assert after(says(by=""), approvers=None).rows[1].message == "approved by somebody"


def test_what_follows_begins_once_the_decision_is_written_down_and_has_who_approved() -> None:
    builder = pipeline()
    builder.raw["steps"][-1]["args"] = ["$(steps.ask.outputs.by)", "$(steps.ask.outputs.comment)"]
    made = planned_when_told(builder, [done("a", rows=3), waiting(), Row("b")], now=5, asked=says(comment="ok"))
    (job,) = made.create
    assert job["spec"]["template"]["spec"]["containers"][0]["args"] == ["ann", "ok"]


def test_a_decision_that_is_changed_before_it_was_written_down_has_begun_nothing() -> None:
    builder = pipeline().step("undo", after=[{"step": "ask", "on": "Failed"}])
    rows = [done("a", rows=3), waiting(), *pending("b", "undo")]
    assert planned(builder, rows, asked=says(Decision.REJECT), now=5).create == ()
    assert created(planned_when_told(builder, rows, asked=says(), now=6)) == [name_of("b")]


def test_a_rejection_fails_the_run_and_its_last_steps_run() -> None:
    builder = pipeline().having(**{"finally": [{"name": "tidy", "image": "img", "command": ["true"]}]})
    made = planned_when_told(
        builder, [done("a", rows=3), waiting(), *pending("b", "tidy")], asked=says(Decision.REJECT), now=5
    )
    assert phases(made) == ["Succeeded", "Failed", "Skipped", "Running"]
    assert created(made) == [name_of("tidy")]


def test_a_rejection_may_be_answered() -> None:
    builder = pipeline().step("undo", after=[{"step": "ask", "on": "Failed"}])
    made = planned_when_told(
        builder, [done("a", rows=3), waiting(), *pending("b", "undo")], asked=says(Decision.REJECT), now=5
    )
    assert created(made) == [name_of("undo")]


@pytest.mark.parametrize(
    ("fields", "now", "phase", "reason", "wake"),
    [
        ({"timeout": "1h"}, 3599, "Waiting", Reason.APPROVAL, EPOCH + 3600),
        ({"timeout": "1h"}, 3600, "Failed", Reason.APPROVAL_TIMED_OUT, None),
        ({"timeout": "1h", "onTimeout": "Approve"}, 3600, "Succeeded", Reason.APPROVED, None),
    ],
)
def test_what_silence_means(fields: Any, now: float, phase: str, reason: Reason, wake: float | None) -> None:
    made = after(now=now, **fields)
    assert (made.rows[1].phase, made.rows[1].reason) == (phase, reason)
    assert wake is None or made.wake_at == wake


def test_a_decision_that_was_made_in_time_counts_though_it_is_seen_late() -> None:
    assert after(says(), now=9999, timeout="1h").rows[1].reason == Reason.APPROVED


@pytest.mark.parametrize("how", list(Cancel))
def test_a_run_that_is_cancelled_asks_no_more(how: Cancel) -> None:
    made = after(Asked(cancel=how, by="eve", began=EPOCH))
    assert [(str(row.phase), row.reason) for row in made.rows[1:]] == [
        ("Cancelled", "Cancelled"), ("Skipped", "Cancelled"),
    ]  # fmt: skip
    assert made.verdict is Phase.CANCELLED


def test_a_run_that_fails_asks_no_more() -> None:
    builder = pipeline().step("c")
    failed = Row(
        "c", Phase.FAILED, Reason.ERROR, "no", attempt=1, started_at=at(0), finished_at=at(1), job=name_of("c")
    )
    made = planned(builder, [done("a", rows=3), waiting(), Row("b"), failed], now=5)
    assert (made.rows[1].phase, made.rows[1].reason) == (Phase.SKIPPED, Reason.UPSTREAM_FAILED)


def test_a_suspended_run_asks_nothing_new_and_takes_decisions() -> None:
    asked = Asked(suspend=True, decisions=says().decisions, began=EPOCH)
    assert after(asked, row=Row("ask")).rows[1] == Row("ask")
    made = after(asked)
    assert (made.rows[1].phase, made.rows[2].phase) == (Phase.SUCCEEDED, Phase.PENDING)


def test_a_condition_that_does_not_hold_asks_nobody() -> None:
    builder = pipeline()
    builder.raw["steps"][1]["when"] = "steps.a.outputs.rows > 5"
    made = planned(builder, [done("a", rows=3), *pending("ask", "b")], now=5)
    assert (made.rows[1].phase, made.rows[1].reason) == (Phase.SKIPPED, Reason.CONDITION_NOT_MET)


def test_the_workspace_is_made_after_an_approval_that_came_first() -> None:
    builder = a_pipeline().having(workspace={"size": "1Gi"})
    builder.raw["steps"].append(asking() | {"needs": None})
    builder.raw["steps"][0].pop("needs")
    builder.step("b", needs=["ask"])
    made = planned_when_told(builder, [waiting(), Row("b")], now=5, asked=says())
    assert created(made) == [name_of("b")]
    assert made.claim is not None


def test_what_a_run_says_is_read_with_care() -> None:
    entry = {"step": "ask", "decision": "Approve", "by": "ann", "groups": ["releasers"], "more": 1}
    run = {"metadata": {}, "status": {}, "spec": {"approvals": [entry]}}
    assert asked_of(run).decisions == {"ask": Decided(Decision.APPROVE, "", "ann", ("releasers",))}
    for odd in ("x", [{"step": "ask"}], {"a": 1}, [7], 7):
        assert asked_of({**run, "spec": {"approvals": odd}}).decisions == {}
