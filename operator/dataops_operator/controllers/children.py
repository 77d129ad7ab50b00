"""What a run owns: reading its Jobs and pods, from the caches or live, and creating and deleting them."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final

from ..api.conditions import Reason
from ..api.run import Cancel
from ..core.accept import job_values
from ..core.attempts import NOT_OURS
from ..core.calling import DEPTH
from ..core.names import JOB_NAME_LABEL, STEP_LABEL
from ..core.observe import is_indexed_job
from ..core.plan import Plan, Refusal, View
from ..core.quota import maker
from ..core.status import is_final
from ..kube.cache import Store
from ..kube.errors import AlreadyExists, ApiError, Conflict, NotFound, refuses
from ..kube.resources import (
    CONFIG_MAPS,
    EVENTS,
    JOBS,
    PERSISTENT_VOLUME_CLAIMS,
    PIPELINE_RUNS,
    PODS,
    SERVICE_ACCOUNTS,
    Resource,
)
from ..kube.watch import OnChange
from .changes import has_ended
from .itemends import item_ends
from .storedresults import StoredResults
from .world import Object, World

_HOPELESS: Final = (400, 413, 422)
"""Answers that say that the object itself is wrong: no later try can end otherwise."""

_RUNNER_TRUST: Final = 60.0
"""Seconds for which a namespace's runner ServiceAccount counts as there once it was seen."""


class Children:
    """The objects that runs own."""

    def __init__(self, world: World) -> None:
        """Work on what the world holds."""
        self._world = world
        self._results = StoredResults(world.client)
        self._runner_seen: dict[str, float] = {}

    # Reading.

    def view(self, run: Object) -> View:
        """The run's Jobs and pods as the caches have them."""
        jobs = {job["metadata"]["name"]: job for job in self._world.jobs.by_owner(run["metadata"]["uid"])}
        pods = {
            uid: held
            for uid in (job["metadata"]["uid"] for job in jobs.values())
            if (held := self._world.pods.by_owner(uid))
        }
        return View(jobs, pods)

    async def first_job(self, run: Object) -> list[dict[str, Any]]:
        """One of the run's Jobs, whole, where its status does not say yet what it began with."""
        return [] if run["status"].get("revision") else await self._any_job(run)

    async def values(self, run: Object) -> Mapping[str, Any]:
        """The run's parameters as one of its Jobs has them; empty where none is left."""
        return next((job_values(job) for job in await self._any_job(run)), {})

    async def _any_job(self, run: Object) -> list[dict[str, Any]]:
        for job in self._world.jobs.by_owner(run["metadata"]["uid"]):
            try:
                return [await self._world.client.get(JOBS, job["metadata"]["namespace"], job["metadata"]["name"])]
            except NotFound:
                continue
        return []

    async def look_closer(self, run: Object, view: View, todo: Plan) -> View:
        """The view after reading live what a plan asks for: Jobs and their pods, events, the ends of items."""
        namespace = run["metadata"]["namespace"]
        await asyncio.gather(*(self._reread(namespace, name) for name in todo.prove))
        asked = (self._explanation(view, namespace, name, step) for name, step in todo.explain.items())
        told = await asyncio.gather(*asked)
        explained = {**view.explained, **dict(zip(todo.explain, told, strict=True))}
        gathered = {**view.gathered}
        for one in todo.gather:  # one after another, since each may be large
            gathered[one.job] = await item_ends(self._world.client, namespace, one)
        results = {**view.results, **{name: await self._results.read(run, name) for name in todo.fetch}}
        seen = self.view(run)
        proven = view.proven | set(todo.prove)
        view = replace(view, gathered=gathered, results=results)
        return replace(view, jobs=seen.jobs, pods=seen.pods, proven=proven, explained=explained)

    async def _reread(self, namespace: str, name: str) -> None:
        """Read a Job and its pods live into the caches."""
        jobs, pods = self._world.jobs, self._world.pods
        live = await self.live(namespace, name)
        if live is None:
            if (held := jobs.get(namespace, name)) is not None:
                jobs.remove(held)
            return
        job, there = live
        jobs.upsert(job)
        uids = {pod["metadata"]["uid"] for pod in there}
        for held in pods.by_owner(job["metadata"]["uid"]):
            ended_item = is_indexed_job(job) and has_ended(held)  # held for its lease, and not read again
            if held["metadata"]["uid"] not in uids and not ended_item:
                pods.remove(held)
        for pod in there:
            pods.upsert(pod)

    async def live(self, namespace: str, name: str) -> tuple[dict[str, Any], list[dict[str, Any]]] | None:
        """A Job and its pods as the API server has them now; None where there is no such Job.

        Of an Indexed Job those alone that have not ended, as the cache has them.
        """
        try:
            job = await self._world.client.get(JOBS, namespace, name)
        except NotFound:
            return None
        fields = "status.phase!=Succeeded,status.phase!=Failed" if is_indexed_job(job) else None
        listed = await self._world.client.list_all(
            PODS, namespace, label_selector=f"{JOB_NAME_LABEL}={name}", field_selector=fields
        )
        return job, listed["items"]

    async def _explanation(self, view: View, namespace: str, name: str, step: str | None) -> str:
        """What the newest event says of why a Job has no pod, or a step does not begin in it; empty where none does."""
        job = view.jobs[name]
        if step is None:
            newest = await self._newest(namespace, "FailedCreate", {job["metadata"]["uid"]})
        else:
            pods = {pod["metadata"]["uid"] for pod in view.pods.get(job["metadata"]["uid"], ())}
            newest = await self._newest(namespace, "Failed", pods, f"{{{step}}}")
        if newest is None:
            return ""
        if "serviceaccount" in _words(newest):
            self._runner_seen.pop(namespace, None)
            await self.ensure_runner(namespace)
        return _words(newest)

    async def _newest(self, namespace: str, reason: str, uids: Collection[str], part: str = "") -> Object | None:
        """The newest event of a reason on one of some objects, or on a part of it.

        Of those of one second it is the longest, which says why a pull failed rather than that it did.
        """
        # The API server goes through all events of the namespace for one object as for many: many share it.
        read = partial(self._world.client.list_all, EVENTS, namespace, field_selector=f"reason={reason}")
        listed = await self._world.reads.get((EVENTS.plural, reason, namespace), read)
        return max(
            (one for one in listed["items"] if _is_about(one["involvedObject"], uids, part)),
            key=lambda one: (
                one.get("lastTimestamp") or one["metadata"]["creationTimestamp"],
                len(_words(one)),
            ),
            default=None,
        )

    async def refresh(self, store: Store, resource: Resource, held: Object, on_change: OnChange) -> None:
        """Read one object live into its store."""
        meta = held["metadata"]
        try:
            change = store.put(await self._world.client.get(resource, meta["namespace"], meta["name"]))
        except NotFound:
            gone = store.take(dict(held))
            change = (gone, None) if gone is not None else None
        if change is not None:
            on_change(*change)

    # Writing.

    async def create(self, run: Object, todo: Plan) -> dict[str, Refusal]:
        """Create what a plan asks for, Jobs side by side.

        Returns:
            Why the API server would not take a Job, by the Job's name.

        Raises:
            ApiError: it could not be known whether one was taken; everything taken is in the cache.
        """
        namespace, why = run["metadata"]["namespace"], Reason.JOB_REFUSED
        try:
            await self.ensure_runner(namespace)
            if todo.claim is not None:
                why = Reason.CLAIM_REFUSED
                await self._create_one(PERSISTENT_VOLUME_CLAIMS, run, todo.claim)
        except ApiError as error:
            if not refuses(error):
                raise
            return {job["metadata"]["name"]: _refusal(error, why) for job in todo.create}
        without = await self._create_items(run, todo.items)
        refused = {
            job["metadata"]["name"]: _refusal(without[step], Reason.ITEMS_REFUSED)
            for job in todo.create
            if (step := job["metadata"]["labels"][STEP_LABEL]) in without
        }
        jobs = [job for job in todo.create if job["metadata"]["name"] not in refused]
        outcomes = await asyncio.gather(*(self._create_one(JOBS, run, job) for job in jobs), return_exceptions=True)
        for job, outcome in zip(jobs, outcomes, strict=True):
            if isinstance(outcome, ApiError) and refuses(outcome):
                refused[job["metadata"]["name"]] = _refusal(outcome)
            elif isinstance(outcome, BaseException):
                raise outcome
            else:
                self._world.jobs.upsert(outcome)
        return refused

    async def start(self, run: Object, bodies: Sequence[Mapping[str, Any]]) -> dict[str, Refusal]:
        """Create runs of other pipelines that this one asks for; as `create`."""
        refused: dict[str, Refusal] = {}
        for body in bodies:
            try:
                made = await self._create_one(PIPELINE_RUNS, run, body)
            except ApiError as error:
                if not refuses(error):
                    raise
                refused[body["metadata"]["name"]] = _refusal(error, Reason.RUN_REFUSED)
                continue
            if (change := self._world.runs.put(made)) is not None:
                self._world.run_changed(*change)
        return refused

    def runs(self, run: Object) -> dict[str, Object]:
        """The runs that this one made, by name."""
        return {one["metadata"]["name"]: one for one in self._world.runs.by_owner(run["metadata"]["uid"])}

    def above(self, run: Object) -> tuple[str, ...]:
        """The pipelines of the runs that made this one, the nearest first, as far as they can tell."""
        found: list[str] = []
        uid = maker(run)
        while uid is not None and len(found) < DEPTH:
            held = self._world.runs.by_uid(uid)
            if held is None:
                break
            found.append(held["spec"]["pipeline"])
            uid = maker(held)
        return tuple(found)

    async def steer(self, run: Object, changes: Mapping[str, Mapping[str, Any]]) -> None:
        """Pass on to runs that this one made what is asked of it."""
        runs = self.runs(run)
        for name, change in changes.items():
            if name not in runs:
                continue
            meta = runs[name]["metadata"]
            body = {**change, "metadata": {**change.get("metadata", {}), "uid": meta["uid"]}}
            with contextlib.suppress(NotFound, Conflict):  # gone, or another one by now
                written = await self._world.client.patch(PIPELINE_RUNS, meta["namespace"], name, body)
                if (told := self._world.runs.put(written)) is not None:
                    self._world.run_changed(*told)

    async def end_runs(self, run: Object) -> None:
        """End the runs that an ended run made and that go on: nobody waits for them any more."""
        on = {
            name: {"spec": {"cancel": str(Cancel.IMMEDIATE)}}
            for name, one in self.runs(run).items()
            if not is_final(one["status"]) and one["spec"].get("cancel") != Cancel.IMMEDIATE
        }
        await self.steer(run, on)

    async def _create_items(self, run: Object, parts: Sequence[Mapping[str, Any]]) -> dict[str, ApiError]:
        """Create the items of fan-outs; why the API server would not take them, by the step."""
        refused: dict[str, ApiError] = {}
        for part in parts:
            step = part["metadata"]["labels"][STEP_LABEL]
            if step in refused:
                continue
            try:
                await self._create_one(CONFIG_MAPS, run, part)
            except ApiError as error:
                if not refuses(error):
                    raise
                refused[step] = error
        return refused

    async def _create_one(self, resource: Resource, run: Object, body: Mapping[str, Any]) -> dict[str, Any]:
        """Create an object, or find the one that an earlier try created.

        Raises:
            AlreadyExists: the name belongs to an object that is not this run's.
        """
        namespace, name = run["metadata"]["namespace"], body["metadata"]["name"]
        try:
            return await self._world.client.create(resource, namespace, body)
        except AlreadyExists as error:
            there = await self._world.client.get(resource, namespace, name)
            owners = there["metadata"].get("ownerReferences") or ()
            if any(one.get("uid") == run["metadata"]["uid"] and one.get("controller") for one in owners):
                return there
            error.message = f"{resource.kind} {name!r} {NOT_OURS}; delete it, or start another run"
            raise

    async def ensure_runner(self, namespace: str) -> None:
        """Have the ServiceAccount that steps run as; it has no rights."""
        seen = self._runner_seen.get(namespace)
        if seen is not None and time.monotonic() < seen + _RUNNER_TRUST:
            return
        name = self._world.settings.runner
        try:
            await self._world.client.get(SERVICE_ACCOUNTS, namespace, name)
        except NotFound:
            body = {
                "apiVersion": "v1",
                "kind": "ServiceAccount",
                "metadata": {"name": name, "labels": {"app.kubernetes.io/managed-by": "dataops-operator"}},
                "automountServiceAccountToken": False,
            }
            with contextlib.suppress(AlreadyExists):
                await self._world.client.create(SERVICE_ACCOUNTS, namespace, body)
        self._runner_seen[namespace] = time.monotonic()


def _refusal(error: ApiError, reason: Reason = Reason.JOB_REFUSED) -> Refusal:
    return Refusal(error.message, error.status in _HOPELESS, reason)


def _is_about(involved: Object, uids: Collection[str], part: str) -> bool:
    """Whether an event is about one of some objects, or a container of it."""
    return involved.get("uid") in uids and str(involved.get("fieldPath", "")).endswith(part)


def _words(event: Object) -> str:
    """What an event says, which need not be anything."""
    return str(event.get("message") or "")
