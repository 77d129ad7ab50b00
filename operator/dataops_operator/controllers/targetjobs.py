"""Jobs that touch Environments' targets: made with their credentials, found again after a restart, read, removed."""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from ..api.conditions import Reason
from ..core.credentials import Armed, Hindrance, Order
from ..core.environment import Effective
from ..core.environment_status import Part
from ..core.names import (
    ENVIRONMENT_LABEL,
    ENVIRONMENT_UID_LABEL,
    JOB_NAME_LABEL,
    PROJECT_LABEL,
    TARGET_JOB_LABEL,
    TARGET_TASK_ANNOTATION,
)
from ..core.observe import job_condition
from ..core.provision import Place
from ..core.secrets import CredentialError
from ..core.targetjobs import Outcome, Work, build, order, outcome
from ..core.times import from_rfc3339
from ..kube.cache import Store
from ..kube.errors import ApiError, Conflict, NotFound
from ..kube.resources import JOBS, PODS
from ..kube.watch import Informer
from .keys import Key
from .world import Object, World

LOOK: Final = 5.0
"""Seconds between two looks at a Job of whose pod no news come."""
_REFUSED: Final = 30.0
_FINAL: Final = 600.0
"""Seconds until what was refused is asked for again: by the API server, and by Vault."""


class TargetLogins(Protocol):
    """Gets credentials for the Jobs."""

    def ask(self, wanted: Order, key: Key) -> Armed | Hindrance | None:
        """What is at hand, or why it is not; None while that is not known."""

    def release(self, uid: str) -> None:
        """They are needed no more."""


@dataclass
class Running:
    """A Job under way.

    Attributes:
        work: what it does.
        name: of the Job.
        uid: of the Job.
        looked: when it was last read live, in seconds since the epoch.
    """

    work: Work
    name: str
    uid: str
    looked: float


@dataclass(frozen=True, slots=True)
class Hindered:
    """Why there is no Job.

    Attributes:
        part: for the condition.
        task: which one it was.
        until: when it is worth another try, in seconds since the epoch; 0 where news of it come by themselves.
    """

    part: Part
    task: str
    until: float = 0.0


class TargetJobs:
    """Makes Jobs and tells what they came to."""

    def __init__(self, world: World, logins: TargetLogins, *, image: str) -> None:
        """Work for one operator.

        Args:
            world: the client and the queue.
            logins: gets credentials.
            image: of the Jobs.
        """
        self._world = world
        self._logins = logins
        self._image = image
        self._pods = Store(PODS)

    def informers(self, namespaces: Sequence[str], resync: float) -> list[Informer]:
        """Watches on the pods of the Jobs."""
        return [
            Informer(
                self._world.client,
                PODS,
                self._pods,
                self._pod_changed,
                namespace=namespace,
                label_selector=TARGET_JOB_LABEL,
                resync=resync,
            )
            for namespace in namespaces or (None,)
        ]

    def _pod_changed(self, before: Object | None, after: Object | None) -> None:
        labels = (after or before or {"metadata": {}})["metadata"].get("labels") or {}
        if PROJECT_LABEL in labels and ENVIRONMENT_LABEL in labels:
            self._world.queue.add(Key("Environment", labels[PROJECT_LABEL], labels[ENVIRONMENT_LABEL]))

    async def start(self, content: Effective, place: Place, work: Work, known: Hindered | None) -> Running | Hindered:
        """Get what a Job needs and make it, or take up the one that is there.

        Args:
            content: what holds in the environment.
            place: whose it is.
            work: what to do.
            known: what was in the way the last time.

        Raises:
            ApiError: whether it was made cannot be known; the next try finds out.
        """
        if known is not None and known.task == work.task and time.time() < known.until:
            return known
        armed: Armed | None = None
        try:
            wanted = order(content, place, work)
        except CredentialError as error:
            return Hindered(Part(False, error.reason, str(error), stalled=True), work.task, time.time() + _FINAL)
        if wanted is not None:
            if known is not None and known.part.stalled:
                self._logins.release(place.uid)  # or the last refusal would be the answer for ever
            got = self._logins.ask(wanted, Key("Environment", place.project, place.name))
            if not isinstance(got, Armed):
                return _hindered(got, work.task)
            armed = got
        try:
            job = await self._there(place, work) or await self._make(content, place, work, wanted, armed)
        except ApiError as error:
            if not 400 <= error.status < 500 or error.status in (401, 408, 429):
                raise
            text = f"the API server refuses the Job that looks into the targets in {place.execution}: {error.message}"
            return Hindered(Part(False, Reason.OBJECT_REFUSED, text), work.task, time.time() + _REFUSED)
        meta = job["metadata"]
        return Running(work, meta["name"], meta["uid"], from_rfc3339(meta["creationTimestamp"]))

    async def _make(
        self, content: Effective, place: Place, work: Work, wanted: Order | None, armed: Armed | None
    ) -> Mapping[str, Any]:
        runner, nonce = self._world.settings.runner, secrets.token_hex(4)
        body = build(content, place, work, wanted, armed, image=self._image, runner=runner, nonce=nonce)
        return await self._world.client.create(JOBS, place.execution, body)

    async def _there(self, place: Place, work: Work) -> Mapping[str, Any] | None:
        """The Job of an earlier process that does this; others of the environment are in the way, and removed."""
        selector = f"{ENVIRONMENT_UID_LABEL}={place.uid},{TARGET_JOB_LABEL}"
        listed = await self._world.client.list_all(JOBS, place.execution, label_selector=selector)
        found: Mapping[str, Any] | None = None
        for job in listed["items"]:
            meta = job["metadata"]
            same = (meta.get("annotations") or {}).get(TARGET_TASK_ANNOTATION) == work.task
            same = same and meta["labels"][TARGET_JOB_LABEL] == work.action and "deletionTimestamp" not in meta
            if same and job_condition(job) is None and found is None:
                found = job
            else:
                await self._delete(place, meta["name"], meta["uid"])
        return found

    async def result(self, running: Running, place: Place) -> Outcome | None:
        """What a Job came to; None while it goes on.

        Raises:
            ApiError: it could not be read.
        """
        for pod in self._pods.by_owner(running.uid):
            if (found := outcome(pod)) is not None:
                return found
        now = time.time()
        if now < running.looked + LOOK:
            return None
        running.looked = now
        try:
            job = await self._world.client.get(JOBS, place.execution, running.name)
        except NotFound:
            return Outcome(why="its Job was deleted")
        if job["metadata"]["uid"] != running.uid:
            return Outcome(why="its Job was deleted")
        ended = job_condition(job)
        if ended is None:
            return None
        selector = f"{JOB_NAME_LABEL}={running.name}"
        pods = await self._world.client.list_all(PODS, place.execution, label_selector=selector)
        told = [found for pod in pods["items"] if (found := outcome(pod)) is not None]
        why = ended.get("message") or ended.get("reason")
        return told[0] if told else Outcome(why=f"its Job {running.name} failed: {why}")

    def give_up(self, place: Place) -> None:
        """Get no credentials any more for a Job that is not to be made."""
        self._logins.release(place.uid)

    async def clear(self, running: Running, place: Place, *, keep: bool) -> None:
        """Be done with a Job: its credentials are taken back, and it is removed, unless its log may be wanted.

        Raises:
            ApiError: it could not be removed.
        """
        if running.work.logins:
            self._logins.release(place.uid)
        if not keep:
            await self._delete(place, running.name, running.uid)

    async def _delete(self, place: Place, name: str, uid: str) -> None:
        with contextlib.suppress(NotFound, Conflict):  # gone, or another one by now
            await self._world.client.delete(JOBS, place.execution, name, uid=uid)


def _hindered(why: Hindrance | None, task: str) -> Hindered:
    """Why there are no credentials, and when that may have changed."""
    if why is None:
        return Hindered(Part(None, Reason.VAULT, "gets its credentials from Vault"), task)
    until = time.time() + _FINAL if why.final else why.again_at or 0.0
    return Hindered(Part(False, why.reason, why.message, stalled=why.final), task, until)
