"""Steps that share a pod, on a real API server: one Job, each step with its own end, attempt, time and log's place."""

from __future__ import annotations

from typing import Any

import pytest
from tests.harness.api import Object
from tests.harness.kinds import PODS, RUNS
from tests.harness.script import Outcome, Play, fail, never_start, succeed
from tests.harness.stages import steps_of
from tests.integration.beside import side_by_side
from tests.integration.support import Case, phases, row, spec, step, succeeded, verdict

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(600)]

HANG = Play(outcome=Outcome.HANG)
RETRY = {"limit": 1, "on": ["Failure", "Deadline", "Start"], "backoff": {"initial": "1s"}}


async def chain(case: Case, *, b: Object | None = None, **more: Any) -> None:
    """Three steps, one after the other, in one pod where they may."""
    last = step("c", "b", outputs=[{"name": "n", "type": "Integer"}])
    await case.ready(spec(step("a"), step("b", "a", **(b or {})), last, fuse="Auto", **more))


async def carried(case: Case) -> list[list[str]]:
    """The steps of each pod that there was, in the order of their Jobs."""
    pods = sorted(await case.api.list(PODS, case.namespace), key=lambda one: one["metadata"]["creationTimestamp"])
    return [steps_of(pod) for pod in pods]


@side_by_side
async def test_a_chain_runs_in_one_pod_and_each_step_has_its_row(case: Case) -> None:
    case.plays("c", succeed(n=3))
    await chain(case)
    await case.run()
    run = await case.ended()
    assert succeeded(run)
    assert len(await case.jobs()) == 1
    assert await carried(case) == [["a", "b", "c"]]
    rows = run["status"]["steps"]
    assert {one["job"] for one in rows} == {rows[0]["job"]}
    assert [one["attempt"] for one in rows] == [1, 1, 1]
    assert rows[2]["outputs"] == {"n": 3}
    times = [time for one in rows for time in (one["startedAt"], one["finishedAt"])]
    assert times == sorted(times)


@side_by_side
async def test_what_failed_is_tried_again_with_what_follows_it_and_what_was_done_stays(case: Case) -> None:
    case.plays("b", fail(3), attempt=1)
    case.plays("c", succeed(n=1))
    await chain(case, b={"retry": RETRY})
    await case.run()
    run = await case.ended()
    assert succeeded(run)
    assert await carried(case) == [["a", "b", "c"], ["b", "c"]]
    assert [one["attempt"] for one in run["status"]["steps"]] == [1, 2, 1]


@side_by_side
async def test_a_failure_ends_the_run_and_says_which_step_it_was(case: Case) -> None:
    case.plays("b", fail(3))
    await chain(case)
    await case.run()
    run = await case.ended()
    assert phases(run) == {"a": "Succeeded", "b": "Failed", "c": "Skipped"}
    assert row(run, "b")["message"].startswith("exit code 3")


@side_by_side
async def test_a_step_that_takes_too_long_is_ended_and_counts_as_that(case: Case) -> None:
    case.broken.add("Jobs")  # what is ended early takes its pod along
    case.plays("b", HANG)
    await chain(case, b={"timeout": "2s"})
    await case.run()
    run = await case.ended()
    assert phases(run) == {"a": "Succeeded", "b": "Failed", "c": "Skipped"}
    assert row(run, "b")["reason"] == "DeadlineExceeded"


@side_by_side
async def test_a_step_whose_image_is_not_there_is_told_by_its_own_row(case: Case) -> None:
    case.broken.add("Jobs")
    case.plays("b", never_start())
    await chain(case, b={"startTimeout": "3s"})
    await case.run()
    run = await case.ended()
    assert phases(run) == {"a": "Succeeded", "b": "Failed", "c": "Skipped"}
    assert row(run, "b")["reason"] == "ImageUnavailable"


@pytest.mark.parametrize("how", ["Graceful", "Immediate"])
@side_by_side
async def test_a_cancelled_run_ends_its_pod_and_begins_nothing_more(case: Case, how: str) -> None:
    case.broken.add("Jobs")
    case.plays("b", HANG)
    await chain(case)
    await case.run()
    await case.until(RUNS, "r", lambda run: phases(run).get("b") == "Running")
    await case.api.patch(RUNS, case.namespace, "r", {"spec": {"cancel": how}})
    run = await case.ended()
    assert phases(run) == {"a": "Succeeded", "b": "Cancelled", "c": "Skipped"}
    assert verdict(run) == ("False", "Cancelled")


@side_by_side
async def test_a_step_that_keeps_to_itself_has_its_own_pod(case: Case) -> None:
    case.plays("c", succeed(n=1))
    await chain(case, b={"fuse": "Never"})
    await case.run()
    assert succeeded(await case.ended())
    assert await carried(case) == [["a"], ["b"], ["c"]]
