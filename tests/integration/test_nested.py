"""Runs of other pipelines on a real API server: outputs back, cancel and suspend down, places, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from tests.harness.api import Object, condition
from tests.harness.history import run_ended
from tests.harness.kinds import PIPELINES, RUNS
from tests.harness.script import Outcome, Play, fail, succeed
from tests.integration.beside import side_by_side
from tests.integration.standing import stands
from tests.integration.support import (
    Case,
    failed_because,
    phases,
    row,
    said,
    spec,
    step,
    succeeded,
    verdict,
    waiting_for,
)
from tests.integration.test_cli import dataops

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]

HANG = Play(outcome=Outcome.HANG)
ROWS = [{"name": "rows", "type": "Integer"}]
MORE = {"parameters": [{"name": "more", "type": "Boolean", "default": False}]}


def runs_other(*needs: str, name: str = "call", other: str = "other", **fields: Any) -> Object:
    parameters = fields.pop("parameters", None)
    call = {"name": other, **({"parameters": parameters} if parameters else {})}
    return {"name": name, "pipeline": call, **({"needs": list(needs)} if needs else {}), **fields}


async def the_other(case: Case) -> Object:
    """The run that the step `call` of the run `r` is, once it is there."""
    run = await case.until(RUNS, "r", lambda run: "run" in row(run, "call"))
    return await case.until(RUNS, row(run, "call")["run"], lambda _: True)


@side_by_side
async def test_a_run_of_another_pipeline_gives_its_outputs_back(case: Case) -> None:
    case.plays("load", succeed(rows=7))
    load = step("load", outputs=ROWS, args=["$(params.day)"])
    outputs = [{"name": "rows", "value": "$(steps.load.outputs.rows)"}]
    await case.ready(spec(load, parameters=[{"name": "day"}], outputs=outputs), "other")
    call = runs_other("first", parameters=[{"name": "day", "value": "on $(run.name)"}], outputs=ROWS)
    last = step("last", args=["$(steps.call.outputs.rows)"])
    await case.ready(spec(step("first"), call, last))
    await case.run(logicalDate="2013-02-09T00:00:00Z")
    run = await case.ended()
    assert succeeded(run)
    assert row(run, "call")["outputs"] == {"rows": 7}
    other = await the_other(case)
    assert other["status"]["outputs"] == {"rows": 7}
    assert other["status"]["logicalDate"] == "2013-02-09T00:00:00Z"
    assert other["metadata"]["ownerReferences"][0]["uid"] == run["metadata"]["uid"]
    (job,) = await case.jobs("load", other["metadata"]["name"])
    assert job["spec"]["template"]["spec"]["containers"][0]["args"] == ["on r"]
    (job,) = await case.jobs("last")
    assert job["spec"]["template"]["spec"]["containers"][0]["args"] == ["7"]
    shown = (await dataops(case, "get", other["metadata"]["name"])).out
    assert ["rows", "7"] in [line.split() for line in shown.splitlines()]
    assert row(run, "call")["run"] in (await dataops(case, "get", "r", "-o", "wide")).out


@side_by_side
async def test_its_failure_is_the_steps_and_a_retry_is_another_run(case: Case) -> None:
    case.plays("load", fail(3))
    await case.ready(spec(step("load")), "other")
    await case.ready(spec(runs_other(retry={"limit": 1, "backoff": {"initial": "0s"}}), step("last", "call")))
    await case.run()
    run = await case.ended()
    assert failed_because(run, "call") == "StepFailed"
    assert "step load: exit code 3" in said(run)
    assert len(await case.api.list(RUNS, case.namespace)) == 3


@side_by_side
async def test_a_pipeline_that_is_not_there_fails_the_step_by_its_name(case: Case) -> None:
    await case.ready(spec(runs_other(other="nothing")))
    await case.run()
    run = await case.until(RUNS, "r", lambda run: row(run, "call").get("reason") == "RunWaiting")
    assert "pipeline 'nothing' does not exist yet" in row(run, "call")["message"]
    run = await case.ended()
    assert failed_because(run, "call") == "PipelineNotFound"


@side_by_side
async def test_cancel_and_suspend_are_passed_down(case: Case) -> None:
    case.plays("load", HANG)
    tidy = {"finally": [step("tidy")]}
    await case.ready(spec(step("load"), **tidy), "other")
    await case.ready(spec(runs_other(), **tidy))
    await case.run()
    name = (await the_other(case))["metadata"]["name"]
    await case.step_is("load", "Running", name)
    await case.api.patch(RUNS, case.namespace, "r", {"spec": {"suspend": True}})
    await case.until(RUNS, name, lambda run: run["spec"].get("suspend") is True)
    await case.api.patch(RUNS, case.namespace, "r", {"spec": {"suspend": False}})
    other = await case.until(RUNS, name, lambda run: run["spec"].get("suspend") is False)
    assert "annotations" not in other["metadata"]
    await case.api.patch(RUNS, case.namespace, "r", {"spec": {"cancel": "Graceful"}})
    run = await case.ended()
    other = await case.ended(name)
    assert verdict(run) == verdict(other) == ("False", "Cancelled")
    assert phases(run) == {"call": "Cancelled", "tidy": "Succeeded"}
    assert phases(other) == {"load": "Cancelled", "tidy": "Succeeded"}
    assert other["status"]["finishedAt"] <= run["status"]["finishedAt"], "its end was waited for"


@side_by_side
async def test_a_run_that_is_killed_or_deleted_leaves_none_behind(case: Case) -> None:
    case.plays("load", HANG)
    await case.ready(spec(step("load")), "other")
    await case.ready(spec(runs_other()))
    await case.run()
    name = (await the_other(case))["metadata"]["name"]
    await case.step_is("load", "Running", name)
    await case.api.patch(RUNS, case.namespace, "r", {"spec": {"cancel": "Immediate"}})
    await case.ended()
    assert verdict(await case.ended(name)) == ("False", "Cancelled")


@side_by_side
async def test_pipelines_that_run_each_other_in_a_circle_end(case: Case) -> None:
    one = {"concurrency": {"limit": 1}}
    await case.ready(spec(runs_other(other="p"), **one), "other")
    await case.ready(spec(runs_other(), **one))
    await case.run()
    run = await case.ended()
    assert failed_because(run, "call") == "StepFailed"
    assert "pipelines run each other in a circle: p -> other -> p" in said(run)


@side_by_side
async def test_a_pipeline_that_runs_itself_is_not_valid_and_nothing_of_it_is_run(case: Case) -> None:
    await case.apply(spec(step("first"), runs_other("first", other="p", when="params.more"), **MORE))
    pipeline = await case.until(PIPELINES, "p", lambda found: condition(found, "Ready").get("status") == "False")
    assert condition(pipeline, "Ready")["reason"] == "Invalid"
    assert condition(pipeline, "Stalled")["status"] == "True"
    assert "spec.steps[1].pipeline.name: pipeline 'p' cannot run itself" in condition(pipeline, "Ready")["message"]
    await case.run()
    run = await case.ended()
    assert verdict(run) == ("False", "PipelineInvalid")
    assert "steps" not in run["status"]


@side_by_side
async def test_a_limit_on_the_other_pipeline_is_waited_for_and_told(case: Case) -> None:
    case.plays("load", HANG, run="before")
    await case.ready(spec(step("load"), concurrency={"limit": 1}), "other")
    await case.run("before", "other")
    await case.step_is("load", "Running", "before")
    await case.ready(spec(runs_other()))
    await case.run()
    run = await case.until(RUNS, "r", lambda run: "RunWaiting" in waiting_for(run))
    assert "pipeline other has 1 run at once" in row(run, "call")["message"]
    await case.api.patch(RUNS, case.namespace, "before", {"spec": {"cancel": "Immediate"}})
    assert succeeded(await case.ended())
    assert run_ended(await case.ended("before"))


@side_by_side
async def test_a_run_that_another_made_takes_no_place_of_the_environment(case: Case) -> None:
    await stands(case, quota={"runs": 1})
    await case.ready(spec(step("load")), "other")
    await case.ready(spec(runs_other()))
    await case.run()
    run = await case.ended()
    assert succeeded(run)
    other = await the_other(case)
    assert other["status"]["environment"] == run["status"]["environment"]
