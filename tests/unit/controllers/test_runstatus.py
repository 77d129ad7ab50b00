"""When the statuses of runs are written: at once, and where many begin at once, with what comes next."""

from __future__ import annotations

from itertools import count
from typing import Any, cast

import pytest

from dataops_operator.controllers.children import Children
from dataops_operator.controllers.events import News
from dataops_operator.controllers.keys import Key, run_key
from dataops_operator.controllers.pace import LATEST
from dataops_operator.controllers.runstatus import BEGINNINGS, RunStatus
from dataops_operator.controllers.world import Settings, World
from dataops_operator.core.times import to_rfc3339
from dataops_operator.kube.errors import Conflict, NotFound
from dataops_operator.kube.queue import WorkQueue
from dataops_operator.kube.resources import Resource
from dataops_operator.metrics.registry import Metrics

pytestmark = pytest.mark.asyncio
Object = dict[str, Any]
VERSIONS = count(1)
BEGUN: Object = {"phase": "Running", "revision": "p-1", "steps": [{"name": "a", "phase": "Running"}]}
FURTHER: Object = {**BEGUN, "steps": [{"name": "a", "phase": "Succeeded"}]}


class Queue(WorkQueue[Key]):
    """Remembers what was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.wishes: dict[str, float] = {}

    def add_after(self, key: Key, seconds: float) -> None:
        self.wishes[key.name] = seconds


class Server:
    """Keeps the statuses that were written, by run, each as the patch that it was."""

    def __init__(self) -> None:
        self.written: dict[str, list[Object]] = {}
        self.runs: dict[str, Object] = {}
        self.raises: Exception | None = None

    async def patch(self, resource: Resource, namespace: str, name: str, body: Object, subresource: str) -> Object:
        if self.raises is not None:
            raise self.raises
        run = self.runs[name]
        assert body["metadata"]["resourceVersion"] == run["metadata"]["resourceVersion"]
        self.written.setdefault(name, []).append(body["status"])
        status = {key: value for key, value in {**run["status"], **body["status"]}.items() if value is not None}
        self.runs[name] = fresh({**run, "status": status})
        return self.runs[name]

    async def get(self, resource: Resource, namespace: str, name: str) -> Object:
        return self.runs[name]


def fresh(run: Object) -> Object:
    return {**run, "metadata": {**run["metadata"], "resourceVersion": str(next(VERSIONS))}}


class Stand:
    """What writes statuses, with a clock of its own."""

    def __init__(self) -> None:
        self.server, self.queue, self.now = Server(), Queue(), 1000.0
        self.recorder = Recorder()
        self.world = World(
            cast(Any, self.server), Settings(), Metrics(), cast(Any, self.recorder), self.queue, WorkQueue()
        )
        self.status = RunStatus(self.world, Children(self.world), lambda: self.now)

    def run(self, name: str, namespace: str = "team") -> Object:
        meta = {"name": name, "namespace": namespace, "uid": f"uid-{name}", "generation": 1}
        meta["creationTimestamp"] = to_rfc3339(0)
        made = fresh({"metadata": meta, "spec": {"pipeline": "p"}, "status": {}})
        self.server.runs[name] = made
        self.world.runs.put(made)
        return made

    def held(self, name: str) -> Object:
        found = self.world.runs.get("team", name)
        assert found is not None
        return found

    async def tell(self, name: str, status: Object, *, begins: bool = False) -> bool:
        return await self.status.write(self.held(name), status, self.now, begins=begins)


class Recorder:
    """Remembers the reasons of events."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def tell(self, _kind: str, _obj: Object, news: News, _now: float) -> None:
        self.told.append(news.reason)


@pytest.fixture
def stand() -> Stand:
    return Stand()


async def begin(stand: Stand, many: int) -> list[str]:
    """So many runs that begin at once; those whose status is yet to be told."""
    names = [f"r{number}" for number in range(many)]
    for name in names:
        stand.run(name)
        assert await stand.tell(name, BEGUN, begins=True)
    return [name for name in names if name not in stand.server.written]


async def test_of_few_that_begin_it_is_told_at_once(stand: Stand) -> None:
    for name in ("r1", "r2", "r3"):
        stand.run(name)
        assert await stand.tell(name, BEGUN, begins=True)
        assert stand.server.written[name] == [BEGUN]
        stand.now += 1 / BEGINNINGS


async def test_of_many_that_begin_at_once_it_is_told_within_seconds(stand: Stand) -> None:
    later = await begin(stand, 300)
    assert len(later) == 299
    assert all(stand.held(name)["status"] == BEGUN for name in later), "what is planned goes by it"
    other = stand.run("other", namespace="theirs")
    assert await stand.status.write(other, BEGUN, stand.now, begins=True)
    assert stand.server.written["other"] == [BEGUN], "many of one tenant are nothing to another"
    assert 0 < stand.queue.wishes[later[0]] < stand.queue.wishes[later[-1]] <= LATEST
    stand.now += LATEST
    for name in later:
        assert await stand.tell(name, BEGUN)
        assert stand.server.written[name] == [BEGUN]


async def test_before_that_it_is_told_with_what_comes_next(stand: Stand) -> None:
    name = (await begin(stand, 300))[-1]
    stand.now += 1
    assert await stand.tell(name, BEGUN)
    assert name not in stand.server.written
    assert round(stand.queue.wishes[name], 6) == LATEST - 1, "of several wishes the queue keeps the earliest alone"
    assert await stand.tell(name, FURTHER)
    assert stand.server.written[name] == [FURTHER], "all of it, against what stands there"
    assert stand.held(name)["status"] == FURTHER
    stand.now += LATEST
    assert await stand.tell(name, FURTHER)
    assert len(stand.server.written[name]) == 1


async def test_somebody_who_changes_the_run_in_between_is_heard(stand: Stand) -> None:
    name = (await begin(stand, 300))[-1]
    edited = fresh({**stand.server.runs[name], "spec": {"pipeline": "p", "suspend": True}})
    stand.server.runs[name] = edited
    stand.world.runs.put(edited)
    assert stand.held(name)["status"] == {}, "the cache has what stands there"
    assert await stand.tell(name, {**BEGUN, "phase": "Waiting"}, begins=False)
    assert stand.server.written[name] == [{**BEGUN, "phase": "Waiting"}]


async def test_who_edits_what_is_fixed_by_then_is_told_that_it_changes_nothing(stand: Stand) -> None:
    name = (await begin(stand, 300))[-1]
    edited = fresh({**stand.server.runs[name], "spec": {"pipeline": "other"}})
    stand.server.runs[name] = edited
    stand.world.runs.put(edited)
    stand.world.edited.add(edited["metadata"]["uid"])
    assert await stand.tell(name, {**BEGUN, "observedGeneration": 2})
    assert stand.recorder.told == ["Started", "Started", "ChangeIgnored"], "of the first of them, and of this one"


async def test_one_who_does_so_unheard_has_it_decided_again(stand: Stand) -> None:
    name = (await begin(stand, 300))[-1]
    stand.server.runs[name] = fresh({**stand.server.runs[name], "spec": {"pipeline": "p", "suspend": True}})
    stand.server.raises = Conflict(409, "Conflict", "the object has been modified")
    assert not await stand.tell(name, FURTHER)
    assert stand.held(name)["spec"]["suspend"] is True
    stand.server.raises = None
    assert await stand.tell(name, FURTHER)
    assert stand.server.written[name] == [FURTHER]


async def test_of_a_run_that_is_gone_nothing_is_told(stand: Stand) -> None:
    name = (await begin(stand, 300))[-1]
    stand.server.raises = NotFound(404, "NotFound", "no")
    assert not await stand.tell(name, FURTHER)
    stand.status.forget(run_key(stand.held(name)))
    stand.world.runs.take(stand.held(name))
    stand.server.raises = None
    again = stand.run(name)
    again["metadata"]["uid"] = "another"
    assert await stand.status.write(again, FURTHER, stand.now)
    assert stand.server.written[name] == [FURTHER]
