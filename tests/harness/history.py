"""What happened in a namespace, event by event, and what is there at the end: the input of the invariants."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from tests.harness.api import Api, Object, condition
from tests.harness.kinds import (
    ATTEMPT,
    CLAIMS,
    CONFIGMAPS,
    ENVIRONMENTS,
    ITEM,
    JOBS,
    PIPELINES,
    PODS,
    REVISIONS,
    RUN_UID,
    RUNS,
    SECRETS,
    STEP,
    Kind,
)

RECORDED = (RUNS, JOBS, PODS)
DEFINED = (PIPELINES, REVISIONS)
LISTED = (PIPELINES, RUNS, JOBS, PODS, SECRETS, CONFIGMAPS, CLAIMS, REVISIONS)

AttemptKey = tuple[str, str, str, int]
"""Run UID, step, item (empty without a fan-out), attempt."""


@dataclass(frozen=True)
class Change:
    """One event of a watch.

    `type` is LISTED (was there when the recording began), ADDED, MODIFIED or DELETED.
    """

    kind: str
    type: str
    obj: Object

    @property
    def version(self) -> int:
        """The resourceVersion as a number.

        All recorded kinds are in one etcd, whose revisions these are: they order the changes of all kinds
        as they were committed, which no clock does.
        """
        return int(self.obj["metadata"]["resourceVersion"])

    @property
    def uid(self) -> str:
        """The object's UID."""
        return str(self.obj["metadata"]["uid"])


@dataclass
class History:
    """The recorded changes in the order in which each kind's watch told them."""

    changes: list[Change] = field(default_factory=list)

    def of(self, kind: Kind) -> Iterator[Change]:
        """The changes of one kind."""
        return (change for change in self.changes if change.kind == kind.name)

    def by_object(self, kind: Kind) -> dict[str, list[Change]]:
        """The changes of one kind by the object's UID, in order of first sight."""
        found: dict[str, list[Change]] = {}
        for change in self.of(kind):
            found.setdefault(change.uid, []).append(change)
        return found


@dataclass
class Cluster:
    """What is in a namespace at one moment: objects by kind; of Environments, those of all namespaces."""

    objects: dict[str, list[Object]]

    @classmethod
    async def read(cls, api: Api, namespace: str, kinds: Sequence[Kind] = LISTED, project: str = "") -> Self:
        """List it; definitions are those of the project, where that is another namespace."""
        where = dict.fromkeys(DEFINED, project or namespace)
        found = {kind.name: await api.list(kind, where.get(kind, namespace)) for kind in kinds}
        # Last: what was made for an environment that has gone since must have gone before it.
        return cls(found | {ENVIRONMENTS.name: await api.list(ENVIRONMENTS)})

    def of(self, kind: Kind) -> list[Object]:
        """The objects of one kind."""
        return self.objects.get(kind.name, [])

    def versions(self, *kinds: Kind) -> dict[str, str]:
        """`Kind/name` to resourceVersion: equal twice means that nobody wrote in between."""
        return {
            f"{kind.name}/{obj['metadata']['name']}": obj["metadata"]["resourceVersion"]
            for kind in kinds
            for obj in self.of(kind)
        }

    def settled(self) -> bool:
        """Whether every run has ended, every Job too as its controller says, and no pod is on its way out."""
        pods_quiet = all(not pod["metadata"].get("deletionTimestamp") for pod in self.of(PODS))
        return all(map(run_ended, self.of(RUNS))) and all(map(job_ended, self.of(JOBS))) and pods_quiet


class Recorder:
    """Keeps every change of runs, Jobs and pods of a namespace; an asynchronous context manager.

    To be started before the first run is created, or the history lacks its beginning.

    Args:
        api: the session.
        namespace: in which runs are.
        project: in which their pipelines are, where that is another one.
    """

    def __init__(self, api: Api, namespace: str, project: str = "") -> None:
        self.history = History()
        self._api = api
        self._namespace = namespace
        self._project = project
        self._tasks: list[asyncio.Task[None]] = []
        self._last: dict[tuple[str, str], str] = {}

    async def __aenter__(self) -> Self:
        synced = [asyncio.Event() for _ in RECORDED]
        self._tasks = [
            asyncio.create_task(self._follow(kind, event)) for kind, event in zip(RECORDED, synced, strict=True)
        ]
        for event, task in zip(synced, self._tasks, strict=True):
            waiter = asyncio.create_task(event.wait())
            await asyncio.wait((waiter, task), return_when=asyncio.FIRST_COMPLETED)
            waiter.cancel()
        self._check()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def settled(self, within: float = 30) -> Cluster:
        """Wait until the namespace has settled and the history holds all of it, and give back what is there.

        What does not settle is left to the invariants to name: after `within` seconds the cluster is given
        back as it is.
        """
        deadline = time.monotonic() + within
        while True:
            self._check()
            cluster = await Cluster.read(self._api, self._namespace, project=self._project)
            if (cluster.settled() and self._holds(cluster)) or time.monotonic() > deadline:
                return cluster
            await asyncio.sleep(0.2)

    def _holds(self, cluster: Cluster) -> bool:
        return all(
            self._last.get((kind.name, obj["metadata"]["uid"])) == obj["metadata"]["resourceVersion"]
            for kind in RECORDED
            for obj in cluster.of(kind)
        )

    def _check(self) -> None:
        for task in self._tasks:
            if task.done() and (error := task.exception()):
                raise RuntimeError("the recorder failed, so the history has a hole") from error

    async def _follow(self, kind: Kind, synced: asyncio.Event) -> None:
        async for type_, obj in self._api.list_then_watch(kind, self._namespace):
            if type_ == "SYNCED":
                synced.set()
                continue
            change = Change(kind.name, type_, obj)
            self.history.changes.append(change)
            self._last[(kind.name, change.uid)] = obj["metadata"]["resourceVersion"]


def owner_uid(obj: Object) -> str:
    """The UID of an object's controller, empty if it has none."""
    for reference in obj["metadata"].get("ownerReferences", []):
        if reference.get("controller"):
            return str(reference["uid"])
    return ""


def attempt_key(job: Object) -> AttemptKey:
    """Which attempt of what a Job is, by its labels.

    Raises:
        KeyError: a label is missing.
    """
    labels = job["metadata"].get("labels", {})
    return labels[RUN_UID], labels[STEP], labels.get(ITEM, ""), int(labels[ATTEMPT])


def run_ended(run: Object) -> bool:
    """Whether a run is in a terminal state."""
    return condition(run, "Succeeded").get("status") in ("True", "False")


def job_ended(job: Object) -> bool:
    """Whether the Job controller calls the Job complete or failed."""
    return any(condition(job, type_).get("status") == "True" for type_ in ("Complete", "Failed"))


def pod_phase(pod: Object) -> str:
    """A pod's phase."""
    return str(pod.get("status", {}).get("phase", ""))
