"""What follows what: after, when, finally, and what a failure means for the rest."""

from dataclasses import replace
from typing import Any

import pytest
from tests.builders import PipelineBuilder, a_pipeline, a_pod, a_run, at
from tests.unit.core.planning import attempt_of, created, done, name_of, planned, running

from dataops_operator.api.run import Phase
from dataops_operator.core.plan import Plan, View
from dataops_operator.core.planner import plan
from dataops_operator.core.rows import Row

pytestmark = pytest.mark.usefixtures("both_modes")


def failed(step: str) -> Row:
    return replace(running(step), phase=Phase.FAILED, reason="Error", message="exit code 1", finished_at=at(9))


def skipped(step: str) -> Row:
    return Row(step, Phase.SKIPPED, "ConditionNotMet", "not run")


def following(on: str, *more: tuple[str, str]) -> PipelineBuilder:
    after = [{"step": "a", "on": on}, *({"step": step, "on": how} for step, how in more)]
    builder = a_pipeline().step("a")
    for step, _ in more:
        builder.step(step)
    return builder.step("f", after=after)


def row(made: Plan, name: str) -> Row:
    return next(one for one in made.rows if one.name == name)


@pytest.mark.parametrize(
    ("on", "before", "phase", "reason"),
    [
        pytest.param("Succeeded", done("a"), "Running", None, id="a success, where that is asked for"),
        pytest.param("Failed", failed("a"), "Running", None, id="a failure"),
        pytest.param("Skipped", skipped("a"), "Running", None, id="a step that was skipped"),
        pytest.param("Completed", done("a"), "Running", None, id="whatever end: a success"),
        pytest.param("Completed", failed("a"), "Running", None, id="whatever end: a failure"),
        pytest.param("Completed", skipped("a"), "Running", None, id="whatever end: skipped"),
        pytest.param("Failed", done("a"), "Skipped", "NotAskedFor", id="no failure, where one is asked for"),
        pytest.param("Skipped", done("a"), "Skipped", "NotAskedFor", id="not skipped, where that is asked for"),
        pytest.param("Succeeded", skipped("a"), "Skipped", "UpstreamSkipped", id="skipped, where success is asked for"),
        pytest.param("Succeeded", failed("a"), "Skipped", "UpstreamFailed", id="failed, where success is asked for"),
        pytest.param("Failed", running("a"), "Pending", None, id="not ended yet"),
    ],
)
def test_a_step_follows(on: str, before: Row, phase: str, reason: str | None) -> None:
    view = attempt_of("a", a_pod("a").running(), proven=True) if before.under_way else None
    found = row(planned(following(on), [before], view), "f")
    assert (found.phase, found.reason) == (phase, reason)


def test_a_step_begins_when_all_that_it_follows_has_ended_and_ends_as_soon_as_it_cannot() -> None:
    pipeline = following("Succeeded", ("b", "Failed"))
    view = attempt_of("b", a_pod("b").running())
    assert row(planned(pipeline, [done("a"), running("b")], view), "f").phase is Phase.PENDING
    assert row(planned(pipeline, [skipped("a"), running("b")], view), "f").phase is Phase.SKIPPED


def test_a_failure_that_a_step_answers_does_not_fail_the_run() -> None:
    pipeline = following("Failed").step("rest").step("last", needs=["rest"])
    made = planned(pipeline, [failed("a"), Row("f"), done("rest")])
    assert created(made) == [name_of("f"), name_of("last")], "and others go on as well"
    assert planned(pipeline, [failed("a"), done("f"), done("rest"), done("last")]).verdict is Phase.SUCCEEDED


def test_an_answer_that_fails_or_is_skipped_is_none() -> None:
    pipeline = following("Failed")
    assert planned(pipeline, [failed("a"), failed("f")]).verdict is Phase.FAILED
    skips = a_pipeline().step("a").step("f", after=[{"step": "a", "on": "Failed"}], when="false")
    made = planned(skips, [failed("a"), Row("f")])
    assert row(made, "f").reason == "ConditionNotMet"
    assert made.verdict is Phase.FAILED


def test_what_follows_any_end_runs_and_the_run_fails_all_the_same() -> None:
    pipeline = following("Completed").step("other")
    made = planned(pipeline, [failed("a"), Row("f"), Row("other")])
    assert created(made) == [name_of("f")], "in a run that fails nothing else begins"
    assert row(made, "other").reason == "UpstreamFailed"
    assert planned(pipeline, [failed("a"), done("f"), skipped("other")]).verdict is Phase.FAILED


def test_what_follows_an_answer_runs_in_a_run_that_fails() -> None:
    pipeline = following("Completed").step("then", needs=["f"])
    made = planned(pipeline, [failed("a"), done("f"), Row("then")])
    assert created(made) == [name_of("then")]


def test_what_follows_the_end_of_a_step_that_a_failure_leaves_out_does_not_begin() -> None:
    asks = {"approval": {}, "after": [{"step": "b", "on": "Completed"}]}
    pipeline = a_pipeline().step("a").step("b", needs=["a"]).jobless("c", **asks)
    made = planned(pipeline, [failed("a"), Row("b"), Row("c")])
    assert [str(one.phase) for one in made.rows] == ["Failed", "Skipped", "Skipped"]
    assert made.verdict is Phase.FAILED


def test_where_the_answer_to_a_failure_is_skipped_in_the_same_turn_nothing_begins() -> None:
    pipeline = a_pipeline().step("a", when="[1][3] == 1").step("c")
    pipeline = pipeline.step("m", when="false", after=[{"step": "a", "on": "Failed"}])
    made = planned(pipeline, [])
    assert [str(one.phase) for one in made.rows] == ["Failed", "Skipped", "Skipped"]
    assert (created(made), made.verdict) == ([], Phase.FAILED)


def test_in_a_run_that_fails_what_may_still_follow_a_failure_is_kept() -> None:
    pipeline = following("Failed").step("bad")
    view = attempt_of("a", a_pod("a").running())
    made = planned(pipeline, [running("a"), Row("f"), failed("bad")], view)
    assert row(made, "f").phase is Phase.PENDING
    assert planned(pipeline, [done("a"), Row("f"), failed("bad")]).verdict is Phase.FAILED


def test_skips_go_down_a_chain_in_one_turn() -> None:
    pipeline = a_pipeline().step("a", when="false").step("b", needs=["a"]).step("c", needs=["b"])
    made = planned(pipeline.step("d", after=[{"step": "c", "on": "Skipped"}]), [])
    assert [one.phase for one in made.rows] == ["Skipped", "Skipped", "Skipped", "Running"]
    assert created(made) == [name_of("d")]


# Conditions.


def with_when(when: str, **fields: Any) -> Plan:
    pipeline = (
        a_pipeline()
        .parameter("full", "Boolean", default=False)
        .parameter("days", "Array", default=["2013-02-09"])
        .step("check-it", outputs=[{"name": "rows", "type": "Integer"}])
        .step("f", when=when, **fields)
    )
    run = a_run().parameter("full", True).having(logicalDate="2013-02-09T00:00:00Z")
    rows = [done("check-it", rows=7), Row("f")]
    return plan(run.inputs(pipeline), rows, View(), 1e9)


@pytest.mark.parametrize(
    "when",
    [
        "params.full",
        "params.days.size() == 1 && params.days[0] == '2013-02-09'",
        "steps['check-it'].outputs.rows > 3",
        "steps['check-it'].phase == 'Succeeded'",
        "run.name == 'flights-1'",
        "env.name == 'team'",
        "timestamp(run.logicalDate).getDayOfWeek() == 6",
    ],
)
def test_a_condition_holds(when: str) -> None:
    assert row(with_when(when), "f").phase is Phase.RUNNING
    other = row(with_when(f"!({when})"), "f")
    assert (other.phase, other.reason) == (Phase.SKIPPED, "ConditionNotMet")
    assert when in (other.message or "")


@pytest.mark.parametrize("when", ["params.days[3] == 'x'", "steps['check-it'].outputs.rows + 'x' == 'x'", "'x'"])
def test_a_condition_that_cannot_be_told_fails_the_step_and_nothing_begins(when: str) -> None:
    made = with_when(when)
    found = row(made, "f")
    assert (found.phase, found.reason) == (Phase.FAILED, "ExpressionFailed"), found
    assert (found.message or "").startswith("when: ")
    assert not made.create
    assert made.verdict is Phase.FAILED


def test_a_condition_is_asked_once_and_not_for_another_attempt() -> None:
    pipeline = a_pipeline().step("a", when="false", retry={"limit": 1, "backoff": {"initial": "0s"}})
    waits = replace(running("a"), phase=Phase.WAITING, reason="Error", finished_at=at(1), retry_at=at(2))
    assert created(planned(pipeline, [waits], now=3)) == [name_of("a", 2)]


def test_a_condition_that_uses_a_steps_output_makes_the_step_wait_for_it() -> None:
    pipeline = (
        a_pipeline().step("a", outputs=[{"name": "n", "type": "Integer"}]).step("b", when="steps.a.outputs.n > 0")
    )
    view = attempt_of("a", a_pod("a").running())
    assert row(planned(pipeline, [running("a"), Row("b")], view), "b").phase is Phase.PENDING


# finally


def with_finally(*rows: Row, **fields: Any) -> Plan:
    pipeline = a_pipeline().step("a").step("b", needs=["a"])
    pipeline.having(**{"finally": [{"name": "tidy", "image": "img", "command": ["true"], **fields}]})
    return planned(pipeline, list(rows))


@pytest.mark.parametrize(
    ("rows", "outcome"),
    [
        ([done("a"), done("b")], "Succeeded"),
        ([failed("a"), skipped("b")], "Failed"),
        ([done("a"), failed("b")], "Failed"),
    ],
)
def test_the_last_steps_begin_when_all_others_have_ended_and_see_the_outcome(rows: list[Row], outcome: str) -> None:
    made = with_finally(*rows, args=["$(run.outcome)"])
    (job,) = made.create
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert container["args"] == [outcome]
    assert {"name": "DATAOPS_RUN_OUTCOME", "value": outcome} in container["env"]
    assert made.verdict is None


def test_the_last_steps_wait_for_the_others() -> None:
    assert created(with_finally()) == [name_of("a")]
    made = with_finally(failed("a"))
    assert row(made, "b").reason == "UpstreamFailed"
    assert created(made) == [name_of("tidy")], "what is left out has ended, too"


def test_the_last_steps_cannot_save_a_run_and_can_fail_it() -> None:
    assert with_finally(failed("a"), skipped("b"), done("tidy")).verdict is Phase.FAILED
    assert with_finally(done("a"), done("b"), failed("tidy")).verdict is Phase.FAILED
    assert with_finally(done("a"), done("b"), done("tidy")).verdict is Phase.SUCCEEDED


def test_a_last_step_may_have_a_condition_on_the_outcome_and_on_steps() -> None:
    on_failure = "run.outcome == 'Failed' && steps.a.phase == 'Failed'"
    assert row(with_finally(failed("a"), skipped("b"), when=on_failure), "tidy").phase is Phase.RUNNING
    made = with_finally(done("a"), done("b"), when=on_failure)
    assert row(made, "tidy").reason == "ConditionNotMet"
    assert made.verdict is Phase.SUCCEEDED
