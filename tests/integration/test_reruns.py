"""Runs that are done again, on a real API server."""

from __future__ import annotations

import pytest
from tests.harness.api import condition
from tests.harness.kinds import JOBS, RUNS
from tests.harness.script import Outcome, Play, fail, succeed
from tests.integration.beside import in_both_modes, side_by_side
from tests.integration.support import Case, phases, row, spec, step, succeeded, verdict

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(600)]

ROWS = [{"name": "rows", "type": "Integer"}]


async def failed_once(case: Case) -> None:
    """A pipeline whose step b fails in the run `r` and in no other, and that run at its end."""
    case.plays("a", succeed(rows=7))
    case.plays("b", fail(3), run="r")
    use = step("b", args=["$(steps.a.outputs.rows)", "$(params.n)"])
    await case.ready(spec(step("a", outputs=ROWS), use, step("c", "b"), parameters=[{"name": "n", "default": "1"}]))
    await case.run(parameters=[{"name": "n", "value": "2"}])
    assert verdict(await case.ended()) == ("False", "StepFailed")


@side_by_side
@in_both_modes
async def test_a_run_goes_on_from_what_failed_and_needs_the_old_one_no_more(case: Case) -> None:
    case.broken |= {"Jobs", "I4"}  # those of the old run go with it, some time after it
    await failed_once(case)
    await case.run("again", rerun={"of": "r"}, suspend=True)
    await case.until(RUNS, "again", lambda run: condition(run, "Accepted").get("reason") == "Suspended")
    await case.api.patch(RUNS, case.namespace, "again", {"spec": {"suspend": False}})
    await case.until(RUNS, "again", lambda run: phases(run).get("b") in ("Running", "Succeeded"))
    await case.api.delete(RUNS, case.namespace, "r")
    run = await case.ended("again")
    assert succeeded(run)
    assert phases(run) == {"a": "Succeeded", "b": "Succeeded", "c": "Succeeded"}
    assert row(run, "a")["reusedFrom"] == "r"
    assert "job" not in row(run, "a")
    assert [(one["name"], one["value"]) for one in run["status"]["parameters"]] == [("n", "2")]
    jobs = {one["metadata"]["name"]: one for one in await case.api.list(JOBS, case.namespace)}
    (job,) = [one for name, one in jobs.items() if name.startswith("again-b-")]
    assert not [name for name in jobs if name.startswith("again-a-")]
    pod = job["spec"]["template"]["spec"]
    assert [*pod.get("initContainers", []), *pod["containers"]][0]["args"] == ["7", "2"]


@side_by_side
@in_both_modes
async def test_with_another_value_what_uses_it_is_run_again(case: Case) -> None:
    await failed_once(case)
    await case.run("good", rerun={"of": "r"})
    assert succeeded(await case.ended("good"))
    await case.run("other", rerun={"of": "good"}, parameters=[{"name": "n", "value": "3"}])
    run = await case.ended("other")
    assert succeeded(run)
    assert [one.get("reusedFrom") for one in run["status"]["steps"]] == ["r", None, None]


@side_by_side
async def test_a_run_that_goes_on_is_not_done_again(case: Case) -> None:
    case.plays("a", Play(outcome=Outcome.HANG))
    await case.ready(spec(step("a")))
    await case.run()
    await case.until(RUNS, "r", lambda run: phases(run).get("a") == "Running")
    await case.run("again", rerun={"of": "r"})
    await case.run("nobody", rerun={"of": "none"})
    assert verdict(await case.ended("again")) == ("False", "RerunActive")
    assert verdict(await case.ended("nobody")) == ("False", "RerunNotFound")
    await case.api.patch(RUNS, case.namespace, "r", {"spec": {"cancel": "Immediate"}})
    await case.ended()
