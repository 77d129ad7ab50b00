"""The order of steps on a real API server: what follows a failure, what is skipped, what comes last, and early ends."""

from __future__ import annotations

import pytest
from tests.harness.api import Object, condition
from tests.harness.kinds import JOBS, PODS, RUNS
from tests.harness.script import Outcome, Play, fail, succeed
from tests.integration.beside import in_both_modes, side_by_side
from tests.integration.support import (
    Case,
    failed_because,
    phases,
    refused,
    row,
    said,
    spec,
    step,
    succeeded,
    verdict,
)

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(600)]

HANG = Play(outcome=Outcome.HANG)
TIDY = {"finally": [step("tidy")]}


async def cancel(case: Case, how: str) -> None:
    await case.api.patch(RUNS, case.namespace, "r", {"spec": {"cancel": how}})


def reasons(run: Object) -> dict[str, str]:
    return {one["name"]: one.get("reason", "") for one in run["status"]["steps"]}


@side_by_side
@in_both_modes
async def test_a_failure_is_answered_and_the_run_goes_on(case: Case) -> None:
    case.plays("load", fail(3))
    mend = step("mend", after=[{"step": "load", "on": "Failed"}])
    never = step("never", after=[{"step": "load", "on": "Skipped"}])
    await case.ready(spec(step("load"), mend, never, step("report", "mend")))
    await case.run()
    run = await case.ended()
    assert succeeded(run)
    assert phases(run) == {"load": "Failed", "mend": "Succeeded", "never": "Skipped", "report": "Succeeded"}
    assert said(run) == "2 of 4 steps succeeded, 1 skipped, 1 failed and answered"


@side_by_side
@in_both_modes
async def test_conditions_decide_by_what_steps_found(case: Case) -> None:
    case.plays("count", succeed(rows=0))
    steps = [
        step("count", outputs=[{"name": "rows", "type": "Integer"}]),
        step("publish", when="steps.count.outputs.rows > 0"),
        step("tell", after=[{"step": "publish", "on": "Skipped"}], when="params.loud"),
        step("silent", when="!params.loud"),
    ]
    await case.ready(spec(*steps, parameters=[{"name": "loud", "type": "Boolean", "default": False}]))
    await case.run(parameters=[{"name": "loud", "value": True}])
    run = await case.ended()
    assert succeeded(run)
    assert phases(run) == {"count": "Succeeded", "publish": "Skipped", "tell": "Succeeded", "silent": "Skipped"}
    assert row(run, "publish")["message"] == (
        "not run, since its condition does not hold: steps.count.outputs.rows > 0"
    )


@side_by_side
@in_both_modes
async def test_the_last_steps_run_after_a_failure_and_see_it(case: Case) -> None:
    case.plays("load", fail(3))
    on_failure = step("page-somebody", when="run.outcome == 'Failed'", args=["$(run.outcome)"])
    await case.ready(spec(step("load"), step("report", "load"), **{"finally": [step("tidy"), on_failure]}))
    await case.run()
    run = await case.ended()
    assert verdict(run) == ("False", "StepFailed")
    assert phases(run) == {"load": "Failed", "report": "Skipped", "tidy": "Succeeded", "page-somebody": "Succeeded"}
    (job,) = await case.jobs("page-somebody")
    assert job["spec"]["template"]["spec"]["containers"][0]["args"] == ["Failed"]


@side_by_side
@in_both_modes
async def test_a_run_that_is_cancelled_ends_its_pods_runs_its_last_steps_and_says_so(case: Case) -> None:
    case.plays("load", HANG)
    await case.ready(spec(step("load"), step("report", "load"), **TIDY))
    await case.run()
    await case.step_is("load", "Running")
    await case.a_pod("load", "Running")
    await cancel(case, "Graceful")
    run = await case.ended()
    assert verdict(run) == ("False", "Cancelled")
    assert run["status"]["phase"] == "Cancelled"
    assert condition(run, "Stalled") == {}, "nobody has to mend what somebody asked for"
    assert phases(run) == {"load": "Cancelled", "report": "Skipped", "tidy": "Succeeded"}
    assert reasons(run)["report"] == "Cancelled"
    await case.event("r", "Cancelled")
    (job,) = await case.jobs("load")
    (pod,) = await case.pods(job)
    assert (pod["status"]["phase"], pod["status"]["reason"]) == ("Failed", "DeadlineExceeded"), "its log stays with it"
    assert "cannot go on" in await refused(case.api.patch(RUNS, case.namespace, "r", {"spec": {"cancel": None}}))


@side_by_side
@in_both_modes
async def test_a_run_that_is_cancelled_at_once_waits_for_nothing(case: Case) -> None:
    case.plays("load", HANG)
    await case.ready(spec(step("load"), step("report", "load"), **TIDY))
    await case.run()
    await case.step_is("load", "Running")
    await cancel(case, "Immediate")
    run = await case.ended()
    assert verdict(run) == ("False", "Cancelled")
    assert phases(run) == {"load": "Cancelled", "report": "Skipped", "tidy": "Skipped"}
    await case.none_left(JOBS)
    await case.none_left(PODS)


@side_by_side
@in_both_modes
async def test_a_failure_that_was_answered_is_not_said_to_be_why_a_run_failed(case: Case) -> None:
    case.plays("load", fail(4))
    case.plays("last", fail(3))
    mend = step("mend", after=[{"step": "load", "on": "Failed"}])
    await case.ready(spec(step("load"), mend, step("last", "mend")))
    await case.run()
    run = await case.ended()
    assert verdict(run) == ("False", "StepFailed")
    assert said(run).startswith("step last: exit code 3")


@side_by_side
async def test_a_run_that_has_not_begun_is_cancelled_as_well(case: Case) -> None:
    await case.run(pipeline="nowhere")
    await case.waits("PipelineNotFound")
    await cancel(case, "Graceful")
    run = await case.ended()
    assert verdict(run) == ("False", "Cancelled")
    assert "before it began" in said(run)
    assert "steps" not in run["status"]


@side_by_side
@in_both_modes
async def test_a_run_out_of_time_ends_its_steps_and_fails(case: Case) -> None:
    case.plays("load", HANG)
    await case.ready(spec(step("load"), step("report", "load"), timeout="3s", **TIDY))
    await case.run()
    run = await case.ended()
    assert verdict(run) == ("False", "RunDeadlineExceeded")
    assert said(run) == "the run took longer than its timeout of 3s; ended in the middle: load"
    assert phases(run) == {"load": "Failed", "report": "Skipped", "tidy": "Succeeded"}
    assert condition(run, "Stalled").get("status") == "True"


@side_by_side
@in_both_modes
async def test_a_suspended_run_begins_nothing_and_goes_on_when_it_may(case: Case) -> None:
    await case.ready(spec(step("load"), step("report", "load")))
    await case.run(suspend=True)
    await case.waits("Suspended")
    await case.api.patch(RUNS, case.namespace, "r", {"spec": {"suspend": False}})
    assert succeeded(await case.ended())


@side_by_side
async def test_memory_is_raised_after_a_kill_for_it(case: Case) -> None:
    case.plays("big", fail(137, reason="OOMKilled"), attempt=1)
    retry = {"limit": 1, "on": ["OutOfMemory"], "memory": {"max": "3Gi"}, "backoff": {"initial": "0s"}}
    await case.ready(spec(step("big", retry=retry, resources={"limits": {"memory": "1Gi"}})))
    await case.run()
    assert succeeded(await case.ended())
    jobs = await case.jobs("big")
    limits = [job["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]["memory"] for job in jobs]
    assert sorted(limits) == ["1Gi", "2Gi"]


@side_by_side
async def test_a_step_is_run_for_each_of_what_another_found(case: Case) -> None:
    case.plays("list", succeed(files=["a", "b", {"path": "c"}]))
    case.plays("size", succeed(bytes=7))
    files = {"items": "$(steps.list.outputs.files)", "as": "file", "parallelism": 2}
    steps = [
        step("list", outputs=[{"name": "files", "type": "Array"}]),
        step("size", forEach=files, args=["$(file)"], outputs=[{"name": "bytes", "type": "Integer"}]),
        step("sum", args=["$(steps.size.outputs.bytes)"]),
    ]
    await case.ready(spec(*steps))
    await case.run()
    run = await case.ended()
    assert succeeded(run)
    found = row(run, "size")
    assert (found["items"]["total"], found["items"]["succeeded"]) == (3, 3)
    assert found["outputs"] == {"bytes": [7, 7, 7]}
    jobs = sorted(await case.jobs("size"), key=lambda job: job["metadata"]["labels"]["dataops.dev/item"])
    args = [job["spec"]["template"]["spec"]["containers"][0]["args"] for job in jobs]
    assert args == [["a"], ["b"], ['{"path":"c"}']]
    (summed,) = await case.jobs("sum")
    assert summed["spec"]["template"]["spec"]["containers"][0]["args"] == ["[7,7,7]"]


@side_by_side
async def test_a_hundred_items_take_little_room(case: Case) -> None:
    case.plays("part", Play(), end=0.2)
    each = {"range": {"to": 99}, "parallelism": 25}
    await case.ready(spec(step("part", forEach=each), step("after", "part")))
    await case.run()
    run = await case.ended(within=120)
    assert succeeded(run)
    assert row(run, "part")["items"] == {"total": 100, "active": 0, "succeeded": 100, "failed": 0, "states": "S1*100"}
    assert len(await case.jobs("part")) == 100


@side_by_side
async def test_what_is_no_list_fails_the_step_with_the_cure(case: Case) -> None:
    case.plays("list", succeed(found={"files": "a,b"}))
    found = {"name": "found", "type": "Object"}  # whose parts have no declared type
    steps = [step("list", outputs=[found]), step("size", forEach={"items": "$(steps.list.outputs.found.files)"})]
    await case.ready(spec(*steps))
    await case.run()
    run = await case.ended()
    assert failed_because(run, "size") == "FanOutInvalid"
    assert "is no list; give one" in said(run)


@side_by_side
async def test_infrastructure_is_tried_again_without_eating_the_limit(case: Case) -> None:
    case.plays("load", Play(outcome=Outcome.EVICT), attempt=1)
    case.plays("load", fail(75), attempt=2)
    retry = {"limit": 1, "exitCodes": {"retry": [75]}, "backoff": {"initial": "0s"}}
    await case.ready(spec(step("load", retry=retry)))
    await case.run()
    run = await case.ended()
    assert succeeded(run)
    assert (row(run, "load")["attempt"], row(run, "load")["disruptions"]) == (3, 1)


@side_by_side
async def test_a_decision_that_does_not_count_is_told_and_the_step_goes_on_asking(case: Case) -> None:
    """As where nothing stands between the request and the operator: see test_waits.py for the chart's policies."""
    ask = {"name": "ask", "approval": {"approvers": {"users": ["ann"]}}}
    await case.ready(spec(ask, step("publish", "ask")))
    await case.run()
    await case.waits("Approval")
    for told in ({"by": "bob"}, {}):
        decision = {"step": "ask", "decision": "Approve", **told}
        await case.api.patch(RUNS, case.namespace, "r", {"spec": {"approvals": [decision]}})
        run = await case.waits("ApprovalForbidden")
        assert row(run, "ask")["phase"] == "Waiting"
    await case.event("r", "StepWaiting")
    decision = {"step": "ask", "decision": "Approve", "by": "ann"}
    await case.api.patch(RUNS, case.namespace, "r", {"spec": {"approvals": [decision]}})
    run = await case.ended()
    assert succeeded(run)
    assert row(run, "ask")["message"] == "approved by ann"
