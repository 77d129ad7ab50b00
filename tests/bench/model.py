"""One run that the operator brought to its end, and others made after it: the same objects with other names."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Self

import orjson
from tests.bench.runs import create, define
from tests.bench.stand import NAMESPACE, Stand
from tests.harness.api import Api, Object
from tests.harness.history import job_ended, run_ended
from tests.harness.kinds import JOBS, PODS, RUN, RUNS, Kind

WITHIN = 60.0
"""Seconds after which the bench gives up on the run's end, and on the end of its objects."""
AT_ONCE = 32
OF_THE_SERVER = (
    *("uid", "resourceVersion", "generation", "creationTimestamp", "managedFields"),
    *("generateName", "finalizers"),
)
"""Fields of an object's metadata that its creator did not write, or the Job controller did for itself."""
OF_THE_JOB_CONTROLLER = (
    *("batch.kubernetes.io/controller-uid", "batch.kubernetes.io/job-name"),
    *("controller-uid", "job-name"),
)
"""Labels in a Job's template, which are refused in one that is created."""


@dataclass(frozen=True)
class Model:
    """A run that has ended, and all that was made and written for it.

    Attributes:
        name: the run's.
        uid: the run's.
        jobs: its Jobs at its end, in the order of their creation.
        begun: for each Job the first status of the run that names it.
        pods: its pods at its end.
        ended: its last status.
    """

    name: str
    uid: str
    jobs: list[Object]
    begun: list[Object]
    pods: list[Object]
    ended: Object

    def to_json(self) -> bytes:
        """The model as JSON."""
        return orjson.dumps(self)

    @classmethod
    def from_json(cls, raw: bytes) -> Self:
        """The model that `to_json` wrote."""
        return cls(**orjson.loads(raw))


async def record(stand: Stand, name: str, *, fused: bool = False) -> Model:
    """Have the operator run one run of a load's pipeline; then it ends as well.

    Args:
        stand: whose pipeline is yet to be created.
        name: the run's.
        fused: whether its steps share a pod.

    Raises:
        AssertionError: the run did not end, or did not end well.
    """
    async with stand.operator() as operator:
        await define(stand.api, fused=fused)
        with stand.player():
            seen = await _run(stand.api, name)
            status = seen[-1]["status"]
            assert status["phase"] == "Succeeded", f"the run {name} should have succeeded: {status}"
            begun = firsts([run.get("status", {}) for run in seen])
            jobs = [await stand.api.wait_for(JOBS, NAMESPACE, job, job_ended, WITHIN) for job in begun]
        pods = await stand.api.list(PODS, NAMESPACE, f"{RUN}={name}")
        await operator.terminate()
    return Model(name, seen[-1]["metadata"]["uid"], jobs, list(begun.values()), pods, status)


async def _run(api: Api, name: str) -> list[Object]:
    """Have a run: it as each write left it, the last one that which ended it."""
    seen: list[Object] = []
    async with asyncio.timeout(WITHIN):
        async for type_, run in api.list_then_watch(RUNS, NAMESPACE, fields=f"metadata.name={name}"):
            if type_ == "SYNCED":
                await create(api, name)
                continue
            seen.append(run)
            if run_ended(run):
                return seen
    raise AssertionError("the watch ended")


def firsts(statuses: Iterable[Object]) -> dict[str, Object]:
    """Of a run's statuses, in their order, the first that names each of its Jobs; by Job, in their order."""
    found: dict[str, Object] = {}
    for status in statuses:
        for row in status.get("steps") or ():
            if job := row.get("job"):
                found.setdefault(job, status)
    return found


def created(obj: Object) -> Object:
    """A Job or a pod as it was created: without its status and what API server and Job controller added."""
    made = copy.deepcopy(obj)
    made.pop("status", None)
    for field in OF_THE_SERVER:
        made["metadata"].pop(field, None)
    if template := made["spec"].get("template"):
        made["spec"].pop("selector", None)
        for label in OF_THE_JOB_CONTROLLER:
            template["metadata"]["labels"].pop(label, None)
    return made


def renamed(raw: bytes, words: Mapping[str, str]) -> bytes:
    """JSON with names and uids replaced by others, wherever they stand."""
    for old, new in words.items():
        raw = raw.replace(old.encode(), new.encode())
    return raw


async def leave(stand: Stand, model: Model, names: Iterable[str]) -> None:
    """Make runs that have ended as the model has, with Jobs and pods that have, too.

    No Job controller may run meanwhile: one that sees a Job before it has its status makes a pod of its own for it, and
    so does one that stood still and goes on, since its watch tells of each Job twice.
    """
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(name: str) -> None:
        async with gate:
            words = {model.name: name, model.uid: (await create(stand.api, name))["metadata"]["uid"]}
            status = orjson.loads(renamed(orjson.dumps(model.ended), words))
            await stand.api.patch(RUNS, NAMESPACE, name, {"status": status}, "status")
            for job in model.jobs:
                words[job["metadata"]["uid"]] = (await _put(own, JOBS, job, words))["metadata"]["uid"]
            for pod in model.pods:
                await _put(own, PODS, pod, words)

    # Jobs of runs are made by the operator's account alone.
    async with Api(stand.plane.server, stand.token, stand.plane.ca, "bench") as own:
        await asyncio.gather(*(one(name) for name in names))


async def _put(api: Api, kind: Kind, like: Object, words: Mapping[str, str]) -> Object:
    """Create an object like that one, and give it such a status."""
    made = await api.create(kind, NAMESPACE, orjson.loads(renamed(orjson.dumps(created(like)), words)))
    status = orjson.loads(renamed(orjson.dumps(like["status"]), words))
    await api.patch(kind, NAMESPACE, made["metadata"]["name"], {"status": status}, "status")
    return made
