"""The endpoint of results: who is let in, how much is taken at a time, and what comes of the API server's troubles."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest
from aiohttp.test_utils import TestClient, TestServer

from dataops_operator.controllers.resultserver import AT_ONCE, PATH, ResultServer
from dataops_operator.controllers.storedresults import StoredResults
from dataops_operator.controllers.world import Settings, World
from dataops_operator.core.stored import RESULT_BYTES
from dataops_operator.kube.errors import AlreadyExists, NotFound, TooManyRequests, Unavailable
from dataops_operator.kube.queue import WorkQueue
from dataops_operator.metrics.registry import Metrics

Object = dict[str, Any]
POD_UID = "authentication.kubernetes.io/pod-uid"


class Api:
    """An API server that reviews tokens, which are the uids of pods, and keeps ConfigMaps."""

    def __init__(self) -> None:
        self.kept: dict[str, Object] = {}
        self.reads = 0
        self.trouble: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()

    async def create(self, resource: Any, namespace: str | None, body: Object) -> Object:
        await self.gate.wait()
        if self.trouble is not None:
            raise self.trouble
        if resource.kind == "TokenReview":
            user = {"extra": {POD_UID: [body["spec"]["token"]]}}
            return {"status": {"authenticated": True, "audiences": body["spec"]["audiences"], "user": user}}
        name = body["metadata"]["name"]
        if name in self.kept:
            raise AlreadyExists(409, "AlreadyExists", "there")
        self.kept[name] = body
        return body

    async def get(self, resource: Any, namespace: str, name: str) -> Object:
        self.reads += 1
        if name not in self.kept:
            raise NotFound(404, "NotFound", "nothing")
        return self.kept[name]


def owned(name: str, kind: str, owner: str, **more: Any) -> Object:
    reference = {"kind": kind, "name": owner, "uid": owner, "controller": True}
    labels = {"dataops.dev/run": "r", "dataops.dev/run-uid": "r"}
    meta = {"name": name, "namespace": "team", "uid": name, "resourceVersion": "1", "labels": labels}
    return {"metadata": meta | {"ownerReferences": [reference]}, "spec": {}, "status": {}, **more}


@asynccontextmanager
async def serving(api: Api, told: Object | None = None) -> AsyncIterator[TestClient[Any, Any]]:
    nobody = cast(Any, None)
    world = World(cast(Any, api), Settings(), Metrics(), nobody, WorkQueue(), WorkQueue())
    run = {"name": "r", "namespace": "team", "uid": "r", "resourceVersion": "1", "generation": 1}
    world.runs.put({"metadata": run, "spec": {"pipeline": "p"}, "status": {}})
    world.jobs.put(owned("j", "PipelineRun", "r"))
    status = told or {"phase": "Running", "containerStatuses": [{"name": "load", "state": {}}]}
    world.pods.put(owned("pod", "Job", "j", status=status))
    async with TestClient(TestServer(ResultServer(world).app())) as client:
        yield client


async def post(client: TestClient[Any, Any], body: bytes = b'{"outputs": {}}', token: str = "pod") -> tuple[int, str]:
    async with client.post(f"{PATH}/load", data=body, headers={"Authorization": f"Bearer {token}"}) as answer:
        again = answer.headers.get("Retry-After", "")
        return answer.status, again


@pytest.mark.asyncio
async def test_a_result_is_kept_once() -> None:
    api = Api()
    async with serving(api) as client:
        assert (await post(client))[0] == 201
        assert (await post(client))[0] == 200
        assert (await post(client, b"{}"))[0] == 409
    (kept,) = api.kept.values()
    assert kept["data"] == {"result": '{"outputs": {}}'}


@pytest.mark.asyncio
async def test_more_than_are_taken_at_once_come_again_and_get_in() -> None:
    api = Api()
    api.gate.clear()
    async with serving(api) as client:
        first = [asyncio.create_task(post(client)) for _ in range(AT_ONCE)]
        await asyncio.sleep(0.2)
        assert await post(client) == (429, "2")
        api.gate.set()
        assert sorted({status for status, _ in await asyncio.gather(*first)}) == [200, 201]
        assert (await post(client))[0] == 200, "places are given back"


@pytest.mark.asyncio
@pytest.mark.parametrize("trouble", [Unavailable(0, "x", "no answer"), TooManyRequests(429, "x", "busy")])
async def test_while_the_api_server_is_in_trouble_it_is_to_come_again(trouble: Exception) -> None:
    api = Api()
    api.trouble = trouble
    async with serving(api) as client:
        assert await post(client) == (503, "2")
        api.trouble = None
        assert (await post(client))[0] == 201


@pytest.mark.asyncio
async def test_what_is_too_large_is_refused_whether_its_length_is_said_or_not() -> None:
    async def stream() -> AsyncIterator[bytes]:
        for _ in range(RESULT_BYTES // 10_000 + 1):
            yield b"x" * 10_000

    async with serving(Api()) as client:
        assert (await post(client, b"x" * (RESULT_BYTES + 1)))[0] == 413
        async with client.post(f"{PATH}/load", data=stream(), headers={"Authorization": "Bearer pod"}) as answer:
            assert answer.status == 413


@pytest.mark.asyncio
async def test_a_pod_that_the_watch_has_not_told_of_yet_comes_again() -> None:
    async with serving(Api()) as client:
        assert await post(client, token="newer") == (503, "2")


@pytest.mark.asyncio
async def test_a_pod_of_whose_containers_nothing_is_told_yet_comes_again() -> None:
    for status, answer in (({"phase": "Pending"}, 503), ({"containerStatuses": [{"name": "other", "state": {}}]}, 404)):
        async with serving(Api(), status) as client:
            assert (await post(client))[0] == answer


@pytest.mark.asyncio
async def test_a_result_is_read_once_and_only_if_it_is_the_runs_own() -> None:
    api = Api()
    run = {"metadata": {"name": "r", "namespace": "team", "uid": "r"}}
    api.kept = {
        "mine": owned("mine", "PipelineRun", "r", immutable=True, data={"result": "{}"}),
        "others": owned("others", "PipelineRun", "other", immutable=True, data={"result": "{}"}),
        "loose": owned("loose", "PipelineRun", "r", data={"result": "{}"}),
    }
    stored = StoredResults(cast(Any, api), room=3)
    assert [await stored.read(run, name) for name in ("mine", "others", "loose", "none")] == ["{}", None, None, None]
    before = api.reads
    assert await stored.read(run, "mine") == "{}"
    assert api.reads == before
    api.kept["second"] = owned("second", "PipelineRun", "r", immutable=True, data={"result": "[]"})
    assert await stored.read(run, "second") == "[]"
    assert await stored.read(run, "mine") == "{}"
    assert api.reads == before + 2, "there is room for one alone"
