"""How Jobs are ended: what is written, by what the caches show and by what is read live."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from itertools import count
from typing import Any, cast

import pytest

from dataops_operator.controllers.children import Children
from dataops_operator.controllers.endings import Endings
from dataops_operator.controllers.keys import Key
from dataops_operator.controllers.world import Settings, World
from dataops_operator.core.names import GOES_ON_LABEL, STAGE_LABEL
from dataops_operator.core.podends import GRACE
from dataops_operator.core.times import to_rfc3339
from dataops_operator.kube.errors import ApiError, Conflict, Forbidden, Invalid, NotFound
from dataops_operator.kube.queue import WorkQueue
from dataops_operator.kube.resources import Resource
from dataops_operator.metrics.registry import Metrics

pytestmark = pytest.mark.asyncio
Object = dict[str, Any]
VERSIONS = count(1)
RUN_LABELS = {"dataops.dev/run": "r", "dataops.dev/run-uid": "uid-r"}


class Queue(WorkQueue[Key]):
    """Remembers what was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[float] = []

    def add(self, key: Key) -> None:
        self.asked.append(0)

    def add_after(self, key: Key, seconds: float) -> None:
        self.asked.append(seconds)


@dataclass
class Server:
    """An API server with one Job and one pod of it, that remembers what was written."""

    pod: Object | None
    refuses: ApiError | None = None
    written: list[str] = field(default_factory=list)
    run: Object = field(default_factory=dict)

    async def get(self, resource: Resource, namespace: str, name: str) -> Object:
        return self.run if resource.kind == "PipelineRun" else job()

    async def list_all(self, resource: Resource, namespace: str, **_: Any) -> Object:
        return {"items": [] if self.pod is None else [fresh(self.pod)]}

    async def patch(self, resource: Resource, namespace: str, name: str, body: Object) -> Object:
        self.written.append("patch")
        if self.refuses is None and "labels" in body["metadata"]:
            assert self.pod is not None
            assert body == {"metadata": {"uid": self.pod["metadata"]["uid"], "labels": {GOES_ON_LABEL: None}}}
            kept = {key: text for key, text in self.pod["metadata"]["labels"].items() if key != GOES_ON_LABEL}
            self.pod = {**self.pod, "metadata": {**self.pod["metadata"], "labels": kept}}
            return fresh(self.pod)
        if "spec" in body:
            assert body["spec"]["activeDeadlineSeconds"] >= 30, "the seconds for which it has been there"
        if self.refuses is not None:
            raise self.refuses
        assert self.pod is not None
        assert body["metadata"] == {"uid": self.pod["metadata"]["uid"]}, "of this pod and no other of its name"
        self.pod = {**self.pod, "spec": body["spec"]}
        return fresh(self.pod)

    async def delete(self, resource: Resource, namespace: str, name: str, **how: Any) -> Object:
        told = how.get("grace") or how.get("propagation")
        self.written.append(f"delete {resource.kind} {told}")
        return {}


def fresh(obj: Object) -> Object:
    return {**obj, "metadata": {**obj["metadata"], "resourceVersion": str(next(VERSIONS))}}


def job() -> Object:
    owner = {"uid": "uid-r", "kind": "PipelineRun", "controller": True}
    meta = {"name": "j", "namespace": "team", "uid": "uid-j", "labels": RUN_LABELS, "ownerReferences": [owner]}
    return fresh({"metadata": meta, "spec": {}, "status": {}})


def pod(state: str = "running", phase: str = "Running", ago: float = 30.5, **spec: Any) -> Object:
    owner = {"uid": "uid-j", "kind": "Job", "controller": True}
    meta = {"name": "p", "namespace": "team", "uid": "uid-p", "labels": RUN_LABELS, "ownerReferences": [owner]}
    container = {"name": "a", "state": {state: {"startedAt": "2026-01-05T06:00:00Z"}}}
    status = {"phase": phase, "startTime": to_rfc3339(time.time() - ago), "containerStatuses": [container]}
    return fresh({"metadata": meta, "spec": spec, "status": status})


def run(**status: Any) -> Object:
    meta = {"name": "r", "namespace": "team", "uid": "uid-r", "generation": 1, "creationTimestamp": to_rfc3339(0)}
    return fresh({"metadata": meta, "spec": {"pipeline": "p"}, "status": status})


def at_work(server: Server, held: Object | None) -> tuple[Endings, World, Queue]:
    """What ends Jobs where the cache has a Job and, unless it is None, this pod of it."""
    queue = Queue()
    world = World(cast(Any, server), Settings(), Metrics(), cast(Any, None), queue, WorkQueue())
    world.runs.put(run())
    world.jobs.put(job())
    if held is not None:
        world.pods.put(held)
    return Endings(world, Children(world)), world, queue


NEW = pod("waiting", "Pending")


@pytest.mark.parametrize(
    ("held", "there", "written"),
    [
        pytest.param(pod(), pod(), ["patch"], id="it runs"),
        pytest.param(NEW, pod(), ["patch"], id="it runs by now: its log would go with its Job"),
        pytest.param(None, pod(), ["patch"], id="it was not heard of yet"),
        pytest.param(NEW, pod("terminated", "Succeeded"), [], id="it has ended by now"),
        pytest.param(NEW, NEW, ["delete Job Foreground"], id="it has not begun"),
        pytest.param(None, None, ["delete Job Foreground"], id="there is none"),
        pytest.param(pod(activeDeadlineSeconds=9), pod(), [], id="it was asked before"),
    ],
)
async def test_how_a_job_is_stopped(held: Object | None, there: Object | None, written: list[str]) -> None:
    server = Server(there)
    endings, _, _ = at_work(server, held)
    await endings.stop(run(), ["j", "gone"])
    assert server.written == written
    if written == ["patch"]:
        await endings.stop(run(), ["j"])
        assert server.written == written, "once"


async def test_a_job_goes_where_the_api_server_takes_no_deadline() -> None:
    server = Server(pod(), Forbidden(403, "Forbidden", "no"))
    endings, _, _ = at_work(server, pod())
    await endings.stop(run(), ["j"])
    assert server.written == ["patch", "delete Job Foreground"]


async def test_a_deadline_that_was_given_before_is_no_refusal() -> None:
    """As where the answer to the first request was lost: the second asks for a later end, which no pod is given."""
    server = Server(
        pod(activeDeadlineSeconds=28), Invalid(422, "Invalid", "must be less than or equal to previous value")
    )
    endings, _, _ = at_work(server, pod())
    await endings.stop(run(), ["j"])
    assert server.written == ["patch"]


async def test_a_pod_that_is_gone_needs_nothing() -> None:
    server = Server(pod(), NotFound(404, "NotFound", "no"))
    endings, _, _ = at_work(server, pod())
    await endings.stop(run(), ["j"])
    assert server.written == ["patch"]


async def test_what_the_answer_says_of_a_pod_is_news_where_it_was_not_heard() -> None:
    server = Server(pod("terminated", "Failed"))
    endings, world, queue = at_work(server, pod())
    await endings.stop(run(), ["j"])
    held = world.pods.by_uid("uid-p")
    assert held is not None
    assert held["status"]["phase"] == "Failed"
    assert queue.asked, "its event is no news any more, so this has to be"


# What was given up.


async def test_a_pod_that_was_given_up_is_asked_to_end_once_and_deleted_when_it_does_not() -> None:
    server = Server(pod(), run=run(steps=[]))
    endings, world, queue = at_work(server, pod())
    for _ in range(3):
        await endings.end_overstayed(run(), None)
    assert server.written == ["patch"]
    assert all(GRACE - 3 < one <= GRACE + 1 for one in queue.asked)
    assert len(queue.asked) == 3, "and is looked at again when its time is over, whoever looks meanwhile"
    server.pod = pod(ago=500, activeDeadlineSeconds=400)
    world.pods.put(fresh(server.pod))
    await endings.end_overstayed(run(), None)
    assert server.written == ["patch", "delete Job Background"]


async def test_a_cache_that_lags_deletes_no_job_whose_pod_has_ended() -> None:
    server = Server(pod("terminated", "Failed", activeDeadlineSeconds=400, ago=500), run=run(steps=[]))
    endings, _, _ = at_work(server, pod(ago=500, activeDeadlineSeconds=400))
    await endings.end_overstayed(run(), ())
    assert server.written == []


async def test_what_is_killed_gets_no_time_unless_it_was_asked_to_end_before() -> None:
    server = Server(pod())
    endings, world, queue = at_work(server, pod())
    await endings.end_overstayed(run(), (), kill=True)
    assert server.written == ["delete Pod 1", "delete Job Background"]
    server.written.clear()
    world.pods.put(pod(activeDeadlineSeconds=28))
    await endings.end_overstayed(run(), (), kill=True)
    assert server.written == []
    assert GRACE - 5 < queue.asked[-1] < GRACE


async def test_what_is_in_doubt_is_tried_again() -> None:
    for error in (Conflict(409, "Conflict", "busy"), ApiError(500, "InternalError", "no")):
        server = Server(pod(), error)
        endings, _, _ = at_work(server, pod())
        with pytest.raises(ApiError):
            await endings.stop(run(), ["j"])
        assert server.written == ["patch"], "nothing is deleted for that"


def shared_pod(phase: str = "Pending", *, held: bool = False) -> Object:
    """A pod that goes on with another step, or does not."""
    made = pod(phase=phase)
    labels = {**RUN_LABELS, STAGE_LABEL: "2"} | ({} if held else {GOES_ON_LABEL: "params"})
    return {**made, "metadata": {**made["metadata"], "labels": labels}}


@pytest.mark.parametrize(
    ("held", "written"),
    [
        pytest.param(shared_pod(), ["patch"], id="it would go on"),
        pytest.param(shared_pod(held=True), [], id="it was told before"),
        pytest.param(shared_pod("Succeeded"), [], id="it has ended"),
        pytest.param(None, [], id="it was not heard of yet"),
    ],
)
async def test_how_a_pod_is_kept_from_going_on(held: Object | None, written: list[str]) -> None:
    server = Server(held)
    endings, world, _ = at_work(server, held)
    for _ in range(2):
        await endings.hold_back(run(), ["j", "gone"])
    assert server.written == written, "once"
    if written:
        (known,) = world.pods
        assert GOES_ON_LABEL not in known["metadata"]["labels"], "the cache has heard of it"


async def test_a_pod_that_the_api_server_lets_nobody_hold_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    server = Server(shared_pod(), Forbidden(403, "Forbidden", "no"))
    endings, _, _ = at_work(server, shared_pod())
    await endings.hold_back(run(), ["j"])
    assert caplog.messages == ["Pod team/p goes on with its next step: no"]
    server.refuses = ApiError(503, "Unavailable", "later")
    with pytest.raises(ApiError):
        await endings.hold_back(run(), ["j"])
