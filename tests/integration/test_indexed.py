"""A fan-out that is one Indexed Job, on a real API server and its Job controller."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from tests.harness.api import Object
from tests.harness.kinds import CONFIGMAPS, JOBS, PODS, RUNS
from tests.harness.script import Outcome, Play, fail, succeed
from tests.integration.beside import side_by_side
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
    until,
    verdict,
)

from dataops_operator.core.names import items_name

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(600)]

HANG = Play(outcome=Outcome.HANG)


def over(count: int, **more: Any) -> Object:
    return {"range": {"to": count - 1}, "mode": "Indexed", **more}


async def parts(case: Case) -> list[Object]:
    return await case.api.list(CONFIGMAPS, case.namespace, "dataops.dev/run=r")


@side_by_side
async def test_many_items_are_one_job_and_their_outputs_a_list(case: Case) -> None:
    case.plays("list", succeed(files=[f"f{index}" for index in range(40)]))
    for index in range(40):
        case.plays("size", succeed(bytes=index * 10), items=(index,))
    each = {"items": "$(steps.list.outputs.files)", "mode": "Indexed", "parallelism": 20}
    steps = [
        step("list", outputs=[{"name": "files", "type": "Array"}]),
        step("size", forEach=each, outputs=[{"name": "bytes", "type": "Integer"}]),
        step("sum", args=["$(steps.size.outputs.bytes)"]),
    ]
    await case.ready(spec(*steps))
    await case.run()
    run = await case.ended(within=90)
    assert succeeded(run)
    assert row(run, "size")["items"] == {"total": 40, "active": 0, "succeeded": 40, "failed": 0}
    assert row(run, "size")["outputs"] == {"bytes": [index * 10 for index in range(40)]}
    (job,) = await case.jobs("size")
    assert job["spec"]["parallelism"] == 20
    (part,) = await parts(case)
    assert [orjson.loads(part["data"][str(index)]) for index in range(40)] == [f"f{index}" for index in range(40)]
    assert part["immutable"] is True
    pods = await case.pods(job)
    for pod in pods[:3]:
        index = pod["metadata"]["labels"]["batch.kubernetes.io/job-completion-index"]
        (container,) = pod["spec"]["containers"]
        (mount,) = [one for one in container["volumeMounts"] if one["mountPath"] == "/dataops/item"]
        env = {one["name"]: one for one in container["env"]}
        assert mount["subPathExpr"] == "$(DATAOPS_ITEM_INDEX)"
        path = env["DATAOPS_ITEM_INDEX"]["valueFrom"]["fieldRef"]["fieldPath"]
        assert pod["metadata"]["annotations"][path.split("'")[1]] == index


@side_by_side
async def test_only_what_failed_is_tried_again_and_some_may_fail_for_good(case: Case) -> None:
    case.plays("part", fail(3), items=(2,), attempt=1)
    case.plays("part", fail(9, '{"message": "no such carrier"}'), items=(5,))
    retry = {"limit": 1, "exitCodes": {"never": [9]}}
    await case.ready(
        spec(step("part", forEach=over(8, tolerate=1, failFast=False), retry=retry), step("after", "part"))
    )
    await case.run()
    run = await case.ended(within=90)
    assert succeeded(run)
    found = row(run, "part")
    assert found["items"] == {
        "total": 8,
        "active": 0,
        "succeeded": 7,
        "failed": 1,
        "errors": ["item 5: exit code 9: no such carrier"],
    }
    assert found["message"] == "1 of 8 items failed, which is tolerated"
    (job,) = await case.jobs("part")
    by_index: dict[str, int] = {}
    for pod in await case.pods(job):
        index = pod["metadata"]["labels"]["batch.kubernetes.io/job-completion-index"]
        by_index[index] = by_index.get(index, 0) + 1
    assert by_index == {str(index): 2 if index == 2 else 1 for index in range(8)}


@side_by_side
async def test_once_more_have_failed_than_may_the_rest_is_ended(case: Case) -> None:
    case.plays("part", fail(3, '{"message": "broken"}'), items=(0,))
    case.plays("part", HANG)
    await case.ready(spec(step("part", forEach=over(6, parallelism=3))))
    await case.run()
    run = await case.ended(within=60)
    assert failed_because(run, "part") == "ItemsFailed"
    assert "1 of 6 items failed: item 0: exit code 3: broken" in said(run)
    assert row(run, "part")["items"]["succeeded"] == 0


@side_by_side
async def test_what_the_infrastructure_ended_runs_again_without_eating_the_limit(case: Case) -> None:
    case.plays("part", Play(outcome=Outcome.EVICT), items=(1,))
    evicts = case.script.rules[-1]
    await case.ready(spec(step("part", forEach=over(3))))
    await case.run()
    await until(lambda: _evicted(case), 30)
    case.script.rules.remove(evicts)
    run = await case.ended(within=60)
    assert succeeded(run)
    assert row(run, "part")["items"]["succeeded"] == 3


async def _evicted(case: Case) -> bool:
    return any(pod.get("status", {}).get("phase") == "Failed" for pod in await case.pods())


@side_by_side
async def test_a_run_that_is_cancelled_ends_the_job_with_its_pods(case: Case) -> None:
    case.plays("part", Play(), items=(0,))
    case.plays("part", HANG)
    await case.ready(spec(step("part", forEach=over(5)), **{"finally": [step("tidy")]}))
    await case.run()
    await case.until(RUNS, "r", lambda run: row(run, "part").get("items", {}).get("succeeded") == 1)
    await case.api.patch(RUNS, case.namespace, "r", {"spec": {"cancel": "Graceful"}})
    run = await case.ended(within=60)
    assert verdict(run) == ("False", "Cancelled")
    assert phases(run) == {"part": "Cancelled", "tidy": "Succeeded"}
    assert row(run, "part")["items"] == {"total": 5, "active": 0, "succeeded": 1, "failed": 0}
    assert await case.jobs("part") == []


@side_by_side
async def test_a_job_that_somebody_deletes_fails_the_step(case: Case) -> None:
    case.plays("part", HANG)
    await case.ready(spec(step("part", forEach=over(3), retry={"limit": 2})))
    await case.run()
    await case.step_is("part", "Running")
    (job,) = await case.jobs("part")
    await case.api.delete(JOBS, case.namespace, job["metadata"]["name"])
    run = await case.ended()
    assert failed_because(run, "part") == "JobDeleted"
    await case.none_left(PODS)


@side_by_side
async def test_the_items_of_another_are_not_taken_for_its_own(case: Case) -> None:
    case.plays("first", Play(), end=2)
    await case.ready(spec(step("first"), step("part", "first", forEach=over(2))))
    made = await case.run()
    name = items_name("r", made["metadata"]["uid"], "part", 0)
    await case.api.create(CONFIGMAPS, case.namespace, {"metadata": {"name": name}, "data": {"0": "7", "1": "8"}})
    run = await case.waits("NameTaken")
    assert "is not this run's" in row(run, "part")["message"]
    await case.api.delete(CONFIGMAPS, case.namespace, name)
    assert succeeded(await case.ended())
    assert [part["data"] for part in await parts(case)] == [{"0": "0", "1": "1"}]


@side_by_side
async def test_too_many_are_refused_with_the_other_way(case: Case) -> None:
    await case.apply(spec(step("part", forEach={"range": {"to": 5000}})))
    await case.run()
    run = await case.ended()
    assert verdict(run)[1] == "PipelineInvalid"
    assert "5,001 items, at most 500 may have a Job each; give each item more to do, or set forEach.mode to" in said(
        run
    )


@side_by_side
async def test_a_mode_that_there_is_not_is_refused(case: Case) -> None:
    text = await refused(case.apply(spec(step("part", forEach=over(2) | {"mode": "Many"}))))
    assert 'supported values: "Jobs", "Indexed"' in text
