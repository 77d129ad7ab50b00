"""The end of Jobs before their time: their pods are asked to end and stay, are killed, or are deleted with them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Sequence
from functools import partial

from ..api.conditions import truncate
from ..api.run import Cancel
from ..core.attempts import overstayed
from ..core.fanout import flat
from ..core.names import GOES_ON_LABEL, job_name
from ..core.observe import is_indexed_job, pod_ended
from ..core.plan import View
from ..core.podends import GRACE, Orders, given_until, orders
from ..core.rows import Row
from ..kube.errors import ApiError, Conflict, NotFound, refuses
from ..kube.resources import JOBS, PIPELINE_RUNS, PODS
from .children import Children
from .keys import run_key
from .world import Object, World

logger = logging.getLogger(__name__)


class Endings:
    """Ends what a run's Jobs do, as `core.podends` says."""

    def __init__(self, world: World, children: Children) -> None:
        """Work on what the world holds.

        Args:
            world: the caches and the client.
            children: what reads the run's Jobs and pods.
        """
        self._world = world
        self._children = children

    async def stop(self, run: Object, names: Sequence[str]) -> None:
        """Have the pods of some Jobs end in the time that they are given; a Job that goes does so after them."""
        namespace, view = run["metadata"]["namespace"], self._children.view(run)
        for name in names:
            if name not in view.jobs:
                continue
            job = view.jobs[name]
            told = orders(job, view.pods.get(job["metadata"]["uid"], ()), time.time())
            if told.delete and not is_indexed_job(job):  # read live: what has begun has a log, which would go with it
                live = await self._children.live(namespace, name)
                told = orders(*live, time.time()) if live is not None else Orders()
            if told.delete or not await self._ask(namespace, name, told):
                await self._delete_job(namespace, job, propagation="Foreground")

    async def hold_back(self, run: Object, names: Sequence[str]) -> None:
        """Have no step begin in the pods of some Jobs that has not."""
        namespace, view = run["metadata"]["namespace"], self._children.view(run)
        for job in (view.jobs[name] for name in names if name in view.jobs):
            for pod in view.pods.get(job["metadata"]["uid"], ()):
                meta = pod["metadata"]
                if GOES_ON_LABEL not in meta["labels"] or pod_ended(pod):
                    continue
                try:
                    await self._change(pod, {"metadata": {"uid": meta["uid"], "labels": {GOES_ON_LABEL: None}}})
                except NotFound:
                    continue
                except ApiError as error:
                    if not refuses(error):
                        raise
                    text = truncate(error.message, 300)
                    logger.warning("Pod %s/%s goes on with its next step: %s", namespace, meta["name"], text)

    async def _change(self, pod: Object, body: Object) -> None:
        """Change a pod; what the cache had not heard of it is taken in at once."""
        meta = pod["metadata"]
        written = await self._world.client.patch(PODS, meta["namespace"], meta["name"], body)
        if (change := self._world.pods.put(written)) is not None:
            self._world.child_changed(*change)

    async def end_overstayed(self, run: Object, rows: Sequence[Row] | None, *, kill: bool = False) -> None:
        """End the Jobs of attempts that were given up: their pods are asked to end, and what does not is deleted.

        Each is read live first: the caches may lag, and let go of what an ended run owns. Deleted by mistake, a Job
        would take its pod and the log along. The run is looked at again when their time is over.

        Args:
            run: whose Jobs.
            rows: where its steps stand; None to read that, since the cache keeps no rows of an ended run.
            kill: whether their pods get no time to end. Those that were asked to before keep what they were given, for
                a kubelet does not shorten it.
        """
        meta, view = run["metadata"], self._children.view(run)
        namespace, name_of = meta["namespace"], partial(job_name, meta["name"], meta["uid"])
        if rows is None:
            if not self._over(run, overstayed((), view), view):
                return
            try:
                live = await self._world.client.get(PIPELINE_RUNS, namespace, meta["name"])
            except NotFound:
                return
            rows = [Row.from_status(one) for one in live["status"].get("steps") or ()]
            kill = live["spec"].get("cancel") == Cancel.IMMEDIATE  # an operator that ended in the middle of it
        names = self._over(run, overstayed(tuple(flat(rows, name_of)), view), view)
        still = await asyncio.gather(*(self._overstaying(namespace, name) for name in names))
        for name, seen in zip(names, still, strict=True):
            if seen is not None and self._over(run, (name,), seen):
                await self._end(run, view.jobs[name], seen, kill=kill)

    def _over(self, run: Object, names: Sequence[str], view: View) -> list[str]:
        """Those of some Jobs whose pods are not ending, or have had their time; the others are looked at again then."""
        found, now = [], time.time()
        for name in names:
            job = view.jobs[name]
            until = given_until(job, view.pods.get(job["metadata"]["uid"], ()), now)
            if until is None or now >= until:
                found.append(name)
            else:
                self._world.queue.add_after(run_key(run), until - now + 0.05)
        return found

    async def _end(self, run: Object, held: Object, seen: View, *, kill: bool) -> None:
        """End one Job.

        Args:
            run: whose.
            held: the Job as the plan knew it.
            seen: it alone, read live, with its pods.
            kill: as in `end_overstayed`.
        """
        namespace = held["metadata"]["namespace"]
        ((_, job),) = seen.jobs.items()
        pods = seen.pods[job["metadata"]["uid"]]
        told = Orders() if kill else orders(job, pods, time.time())
        if told.deadlines and await self._ask(namespace, held["metadata"]["name"], told):
            self._world.queue.add_after(run_key(run), GRACE)
            return
        if kill:  # before the Job: a kubelet does not shorten the time that its deletion would give them
            await self._kill(namespace, pods)
        await self._delete_job(namespace, held)

    async def _ask(self, namespace: str, name: str, told: Orders) -> bool:
        """Give the pods of a Job a deadline that is over; False where the API server would not take that."""
        for pod, seconds in told.deadlines:
            meta = pod["metadata"]
            body = {"metadata": {"uid": meta["uid"]}, "spec": {"activeDeadlineSeconds": seconds}}
            try:
                await self._change(pod, body)
            except NotFound:
                continue
            except ApiError as error:
                if not refuses(error):
                    raise
                live = await self._children.live(namespace, name)
                if live is None or orders(*live, time.time()) == Orders():
                    return True  # done before, as the cache has not heard: none is ever given a later deadline
                logger.warning(
                    "Pod %s/%s is deleted, with its log: %s", namespace, meta["name"], truncate(error.message, 300)
                )
                return False
        return True

    async def _kill(self, namespace: str, pods: Sequence[Object]) -> None:
        for pod in pods:
            with contextlib.suppress(NotFound, Conflict):
                # One second, since with none the API server forgets the pod before its node has ended it.
                uid, name = pod["metadata"]["uid"], pod["metadata"]["name"]
                await self._world.client.delete(PODS, namespace, name, uid=uid, grace=1)

    async def _delete_job(self, namespace: str, job: Object, propagation: str = "Background") -> None:
        """Delete this Job, and none of its name that comes after."""
        meta = job["metadata"]
        with contextlib.suppress(NotFound, Conflict):  # gone, or another one by now
            await self._world.client.delete(JOBS, namespace, meta["name"], uid=meta["uid"], propagation=propagation)

    async def _overstaying(self, namespace: str, name: str) -> View | None:
        """A Job that overstays, with its pods, as the API server has them now; None where it does not."""
        live = await self._children.live(namespace, name)
        if live is None:
            return None
        job, pods = live
        view = View({name: job}, {job["metadata"]["uid"]: pods})
        return view if overstayed((), view) else None
