"""Steps that share a pod, on a real API server: one Job, each step with its own end, attempt, time and log's place."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.harness.api import Object
from tests.harness.kinds import PIPELINES, PODS, REVISIONS, RUNS
from tests.harness.script import Outcome, Play, fail, never_start, succeed
from tests.harness.stages import ENDED, steps_of
from tests.integration.beside import in_both_modes, side_by_side
from tests.integration.support import Case, phases, row, spec, step, succeeded, until, verdict, waiting_for

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(600)]

HANG = Play(outcome=Outcome.HANG)
RETRY = {"limit": 1, "on": ["Failure", "Deadline", "Start"], "backoff": {"initial": "1s"}}


async def chain(case: Case, *, b: Object | None = None, **more: Any) -> None:
    """Three steps, one after the other, in one pod where they may."""
    last = step("c", "b", outputs=[{"name": "n", "type": "Integer"}])
    whole = spec(step("a"), step("b", "a", **(b or {})), last, **more)
    del whole["fuse"]  # as users write it
    await case.ready(whole)


async def codes(case: Case) -> list[dict[str, int]]:
    """The exit codes of the containers of each pod that is there, in the order of their Jobs."""
    pods = sorted(await case.api.list(PODS, case.namespace), key=lambda one: one["metadata"]["creationTimestamp"])
    return [
        {
            one["name"]: one["state"]["terminated"]["exitCode"]
            for one in (*pod["status"].get("initContainerStatuses", []), *pod["status"]["containerStatuses"])
            if "terminated" in one["state"]
        }
        for pod in pods
    ]


async def have_run(case: Case) -> list[str]:
    """The containers that ran to an end, of all pods that are there."""
    pods = [pod["status"] for pod in await case.api.list(PODS, case.namespace)]
    every = [one for pod in pods for one in (*pod.get("initContainerStatuses", []), *pod["containerStatuses"])]
    return sorted(one["name"] for one in every if one["state"].get("terminated", {}).get("startedAt"))


async def carried(case: Case, run: str = "r") -> list[list[str]]:
    """The steps of each pod that there was of a run, in the order of their Jobs."""
    pods = await case.api.list(PODS, case.namespace, f"dataops.dev/run={run}")
    told = [(pod["metadata"]["creationTimestamp"], steps_of(pod)) for pod in pods]
    return [steps for _, steps in sorted(told)]


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
    case.plays("b", HANG)
    await chain(case, b={"timeout": "2s"})
    await case.run()
    run = await case.ended()
    assert phases(run) == {"a": "Succeeded", "b": "Failed", "c": "Skipped"}
    assert row(run, "b")["reason"] == "DeadlineExceeded"
    assert await codes(case) == [{"a": 0, "b": 143}], "the pod stays, and with it the logs of both"


@side_by_side
async def test_a_step_that_takes_too_long_is_tried_again_in_another_pod_and_the_first_stays(case: Case) -> None:
    case.plays("b", HANG, attempt=1)
    case.plays("c", succeed(n=1))
    await chain(case, b={"timeout": "2s", "retry": RETRY})
    await case.run()
    run = await case.ended()
    assert succeeded(run)
    assert [(one["attempt"], one.get("disruptions", 0)) for one in run["status"]["steps"]] == [(1, 0), (2, 0), (1, 0)]
    assert await codes(case) == [{"a": 0, "b": 143}, {"b": 0, "c": 0}]


@side_by_side
async def test_a_step_whose_image_is_not_there_is_told_by_its_own_row(case: Case) -> None:
    case.plays("b", never_start())
    await chain(case, b={"startTimeout": "3s"})
    await case.run()
    run = await case.ended()
    assert phases(run) == {"a": "Succeeded", "b": "Failed", "c": "Skipped"}
    assert row(run, "b")["reason"] == "ImageUnavailable"

    async def stays() -> bool:  # and its own container was never found, as its kubelet says of one that never began
        return await codes(case) == [{"a": 0, "b": 137}]

    await until(stays)


@pytest.mark.parametrize("how", ["Graceful", "Immediate"])
@side_by_side
async def test_a_cancelled_run_ends_its_pod_and_begins_nothing_more(case: Case, how: str) -> None:
    if how == "Immediate":
        case.broken.add("Jobs")  # what is killed takes its pod along, and with it the logs
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


@side_by_side
async def test_a_pipeline_whose_steps_have_a_pod_each_by_its_own_word(case: Case) -> None:
    case.plays("c", succeed(n=1))
    await case.ready(spec(step("a"), step("b", "a"), step("c", "b"), fuse="Never"))
    await case.run()
    assert succeeded(await case.ended())
    assert await carried(case) == [["a"], ["b"], ["c"]]


@side_by_side
@in_both_modes
async def test_in_a_run_that_fails_elsewhere_what_is_at_work_ends_and_nothing_begins(case: Case) -> None:
    case.plays("bad", fail(3))
    case.plays("a", Play(), end=3)
    await case.ready(spec(step("bad"), step("a"), step("b", "a"), step("c", "b")))
    await case.run()
    run = await case.ended()
    assert verdict(run) == ("False", "StepFailed")
    assert phases(run) == {"bad": "Failed", "a": "Succeeded", "b": "Skipped", "c": "Skipped"}
    assert [row(run, name)["reason"] for name in "bc"] == ["UpstreamFailed"] * 2
    assert await have_run(case) == ["a", "bad"], "no other has begun"


@side_by_side
@in_both_modes
async def test_of_a_suspended_run_what_is_at_work_ends_and_the_rest_begins_when_it_goes_on(case: Case) -> None:
    case.plays("a", Play(), end=3)
    await case.ready(spec(step("a"), step("b", "a"), step("c", "b")))
    await case.run()
    await case.step_is("a", "Running")
    await case.api.patch(RUNS, case.namespace, "r", {"spec": {"suspend": True}})
    await case.step_is("a", "Succeeded")
    await case.until(PODS, (await case.pods())[0]["metadata"]["name"], lambda pod: pod["status"]["phase"] in ENDED)
    await asyncio.sleep(2)
    run = await case.api.get(RUNS, case.namespace, "r")
    assert phases(run) == {"a": "Succeeded", "b": "Pending", "c": "Pending"}
    assert (run["status"]["phase"], waiting_for(run)) == ("Waiting", ["Suspended"])
    assert await have_run(case) == ["a"], "no other has begun"
    await case.api.patch(RUNS, case.namespace, "r", {"spec": {"suspend": False}})
    run = await case.ended()
    assert succeeded(run)
    assert [one["attempt"] for one in run["status"]["steps"]] == [1, 1, 1]


@side_by_side
async def test_a_run_of_a_revision_that_was_kept_before_steps_shared_pods_by_default_has_a_pod_for_each(
    case: Case,
) -> None:
    case.plays("c", succeed(n=1))
    await chain(case)
    active = await case.until(PIPELINES, "p", lambda one: bool(one["status"].get("activeRevision")))
    kept = await case.api.get(REVISIONS, case.namespace, active["status"]["activeRevision"])
    assert kept["data"]["spec"].pop("fuse") == "Auto"
    meta = {"name": "p-0123456789", "labels": kept["metadata"]["labels"]}
    meta["ownerReferences"] = kept["metadata"]["ownerReferences"]
    await case.api.create(REVISIONS, case.namespace, kept | {"metadata": meta, "revision": 0})
    await case.run("old", revision="p-0123456789")
    assert succeeded(await case.ended("old"))
    assert await carried(case, "old") == [["a"], ["b"], ["c"]]
    await case.run("new")
    assert succeeded(await case.ended("new"))
    assert await carried(case, "new") == [["a", "b", "c"]]
