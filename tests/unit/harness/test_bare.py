"""The bench's yardstick: what it makes is what the operator made, under other names, and no more than that."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import orjson
import pytest
from tests.bench.bare import Loop
from tests.bench.model import Model, created, firsts, renamed
from tests.bench.runs import NAMES
from tests.harness.api import Api, Object, WatchEvent
from tests.harness.kinds import PODS, RUN, RUN_UID, RUNS, STEP, Kind

UID = "11111111-2222-3333-4444-555555555555"


def _job(step: str) -> Object:
    name, uid = f"run-model-{step}-1-abcd", f"job-{step}"
    labels = {RUN: "run-model", RUN_UID: UID, STEP: step}
    own = {"controller-uid": uid, "batch.kubernetes.io/controller-uid": uid}
    own |= {"job-name": name, "batch.kubernetes.io/job-name": name}
    return {
        "metadata": {
            "name": name,
            "namespace": "bench",
            "labels": labels,
            "ownerReferences": [{"kind": "PipelineRun", "name": "run-model", "uid": UID, "controller": True}],
            "uid": uid,
            "resourceVersion": "7",
            "generation": 1,
            "creationTimestamp": "2026-11-28T02:22:19Z",
            "managedFields": [{"manager": "dataops-operator"}],
        },
        "spec": {
            "backoffLimit": 0,
            "selector": {"matchLabels": {"batch.kubernetes.io/controller-uid": uid}},
            "template": {
                "metadata": {"labels": labels | own},
                "spec": {"containers": [{"name": step, "env": [{"name": "DATAOPS_RUN", "value": "run-model"}]}]},
            },
        },
        "status": {"succeeded": 1},
    }


def _status(*jobs: str, phase: str = "Running") -> Object:
    return {"phase": phase, "steps": [{"name": job, "job": f"run-model-{job}-1-abcd"} for job in jobs]}


def _model(*steps: str) -> Model:
    begun = [_status(*steps[: number + 1]) for number in range(len(steps))]
    return Model("run-model", UID, [_job(step) for step in steps], begun, [], _status(*steps, phase="Succeeded"))


class _Server:
    """What the loop asks of an API server: it tells of runs and pods as a test puts them in, and takes all writes."""

    def __init__(self) -> None:
        self.writes: list[tuple[str, str, Object]] = []
        self.events: dict[Kind, asyncio.Queue[WatchEvent]] = {RUNS: asyncio.Queue(), PODS: asyncio.Queue()}

    async def list_then_watch(self, kind: Kind, *_: str) -> AsyncIterator[WatchEvent]:
        yield "SYNCED", {}
        while True:
            yield await self.events[kind].get()

    async def raw(self, method: str, path: str, body: bytes, **_: Any) -> bytes:
        self.writes.append((method, path.rpartition("/bench/")[2], orjson.loads(body)))
        return b""

    def run(self, name: str, uid: str) -> None:
        self.events[RUNS].put_nowait(("ADDED", {"metadata": {"name": name, "uid": uid}}))

    def pod(self, run_uid: str, step: str, phase: str) -> None:
        meta = {"uid": f"{run_uid}/{step}", "labels": {RUN_UID: run_uid, STEP: step}}
        pod = {"metadata": meta, "spec": {"containers": [{"name": step}]}, "status": {"phase": phase}}
        self.events[PODS].put_nowait(("MODIFIED", pod))


async def _worked(server: _Server, model: Model, *pods: tuple[str, str]) -> list[tuple[str, str, Object]]:
    """What is written for a run, and then for each step and phase of its pods."""
    ready = asyncio.Event()
    work = asyncio.create_task(Loop(cast(Api, server), model).work(ready.set))
    await ready.wait()
    server.run("run-00000", "u-0")
    await asyncio.sleep(0.02)
    for step, phase in pods:
        server.pod("u-0", step, phase)
        await asyncio.sleep(0.02)
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    return server.writes


async def test_each_pods_end_makes_the_next_job_until_the_run_has_ended() -> None:
    pods = [(name, phase) for name in NAMES for phase in ("Pending", "Running", "Succeeded", "Succeeded")]
    writes = await _worked(_Server(), _model(*NAMES), *pods)
    assert [(method, path) for method, path, _ in writes] == [
        ("POST", "jobs"),
        ("PATCH", "pipelineruns/run-00000/status"),
    ] * 3 + [("PATCH", "pipelineruns/run-00000/status")]
    made = [body["metadata"]["name"] for method, _, body in writes if method == "POST"]
    assert made == ["run-00000-a-1-abcd", "run-00000-b-1-abcd", "run-00000-c-1-abcd"]
    told = [body["status"] for method, _, body in writes if method == "PATCH"]
    assert [(one["phase"], len(one["steps"])) for one in told] == [
        ("Running", 1),
        ("Running", 2),
        ("Running", 3),
        ("Succeeded", 3),
    ]
    assert told[1]["steps"][1]["job"] == "run-00000-b-1-abcd"


async def test_a_run_in_one_pod_takes_three_writes() -> None:
    writes = await _worked(_Server(), _model("a"), ("a", "Running"), ("a", "Succeeded"), ("a", "Succeeded"))
    assert [method for method, _, _ in writes] == ["POST", "PATCH", "PATCH"]
    assert [body["status"]["phase"] for _, _, body in writes[1:]] == ["Running", "Succeeded"]


async def test_a_job_is_the_operators_own_for_another_run() -> None:
    ((_, _, body), *_) = await _worked(_Server(), _model("a"))
    assert (body["apiVersion"], body["kind"]) == ("batch/v1", "Job")
    assert (
        body["metadata"]["ownerReferences"][0] | {"name": "run-00000", "uid": "u-0"}
        == (body["metadata"]["ownerReferences"][0])
    )
    assert body["spec"]["template"]["spec"]["containers"][0]["env"] == [{"name": "DATAOPS_RUN", "value": "run-00000"}]
    assert b"run-model" not in orjson.dumps(body)
    assert UID.encode() not in orjson.dumps(body)


async def test_a_refused_write_ends_the_loop() -> None:
    class _Refusing(_Server):
        async def raw(self, *_: Any, **__: Any) -> bytes:
            raise ValueError("422")

    server, ready = _Refusing(), asyncio.Event()
    work = asyncio.create_task(Loop(cast(Api, server), _model("a")).work(ready.set))
    await ready.wait()
    server.run("run-00000", "u-0")
    with pytest.raises(ExceptionGroup):
        await asyncio.wait_for(work, 5)


def test_what_server_and_job_controller_added_is_taken_off() -> None:
    job = _job("a")
    made = created(job)
    assert made["metadata"].keys() == {"name", "namespace", "labels", "ownerReferences"}
    assert "status" not in made
    assert made["spec"].keys() == {"backoffLimit", "template"}
    assert made["spec"]["template"]["metadata"]["labels"].keys() == {RUN, RUN_UID, STEP}
    assert job == _job("a"), "what was read stays as it is"


def test_a_pod_keeps_the_labels_that_its_job_controller_gave_it() -> None:
    meta = {"name": "j-x", "generateName": "j-", "uid": "p", "labels": {"job-name": "j", "controller-uid": "job-a"}}
    meta["finalizers"] = ["batch.kubernetes.io/job-tracking"]
    pod = created({"metadata": meta, "spec": {"containers": []}, "status": {}})
    assert pod == {
        "metadata": {"name": "j-x", "labels": {"job-name": "j", "controller-uid": "job-a"}},
        "spec": {"containers": []},
    }
    assert orjson.loads(renamed(orjson.dumps(pod), {"job-a": "new"}))["metadata"]["labels"]["controller-uid"] == "new"


def test_the_first_status_that_names_a_job_goes_with_it() -> None:
    statuses = [{}, _status("a"), _status("a") | {"progress": "0/2"}, _status("a", "b"), _status("a", "b", phase="X")]
    assert firsts(statuses) == {"run-model-a-1-abcd": statuses[1], "run-model-b-1-abcd": statuses[3]}
    assert firsts([{"steps": [{"name": "a"}]}]) == {}, "a step that waits has no Job"


def test_a_model_goes_to_the_loops_process_and_is_the_same_there() -> None:
    model = _model(*NAMES)
    assert Model.from_json(model.to_json()) == model
