"""Clean-up: deletes finished runs, their Jobs and unused revisions as each pipeline's history lets them go.

It has a queue and a worker of its own and takes its time, so that no run waits for it: some deletions a second, fewer
while runs are to be reconciled, and a bounded number for one pipeline before the next has its turn. Nothing is kept of
what was decided; each deletion names the version of the object that it was decided on.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter as Tally
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ..core import accept, history
from ..core import status as statuses
from ..core.accept import Pinned
from ..core.environment import execution_namespace
from ..core.history import Finished, Kept, Policy, Pruning, Why
from ..core.names import KEEP_LABEL, SELECTOR
from ..core.times import from_rfc3339, to_rfc3339
from ..kube.errors import ApiError, Conflict, NotFound, refuses
from ..kube.resources import JOBS, PIPELINE_RUNS
from .children import Children
from .indices import RERUN_OF, UNPINNED
from .keys import Key, environment_label, pipeline_key
from .pace import Pace
from .revisions import Revisions
from .steptemplate import held_templates
from .tenancy import Tenancy
from .world import BY_PIPELINE, CLEAN_UP_DELAY, LIVE_IN, Object, World

logger = logging.getLogger(__name__)

TURN: Final = 50
"""Deletions for one pipeline before another has its turn."""
REFUSED: Final = 600.0
"""Seconds in which a deletion that was refused is not tried again."""
HORIZON: Final = 3600.0
"""Seconds after which is decided again at the latest, where something will have to go."""
_AT_ONCE: Final = 200
"""Runs that are looked at before others have a turn."""


@dataclass(frozen=True, slots=True)
class _Looked:
    """What the last look at a history's revisions found.

    Attributes:
        at: what it depended on.
        again: when time alone may change it, in seconds since the epoch.
    """

    at: tuple[Any, ...]
    again: float | None


class HistoryController:
    """Cleans up after Pipelines and Environments."""

    def __init__(
        self, world: World, revisions: Revisions, holds: Callable[[str], bool], pace: Pace | None = None
    ) -> None:
        """Work on what the world holds.

        Args:
            world: what the caches hold.
            revisions: of pipelines and environments.
            holds: whether the run of a uid still has something in Vault.
            pace: of deletions.
        """
        self._world = world
        self._revisions = revisions
        self._holds = holds
        self._tenancy = Tenancy(world)
        self._children = Children(world)
        self._pace = pace or Pace(lambda: len(world.queue) > 0)
        self._looked: dict[Key, _Looked] = {}
        self._refused: dict[str, float] = {}
        revisions.changed = self._revision_made

    async def reconcile(self, key: Key) -> None:
        """Delete what may go, as far as this turn reaches, and see when to look again."""
        if key.kind == "Environment":
            await self._environment(key)
            return
        pipeline = self._world.pipelines.get(key.namespace, key.name)
        policy = None if pipeline is None else history.policy_of(pipeline["spec"])
        if pipeline is None or policy is None or "deletionTimestamp" in pipeline["metadata"]:
            self._looked.pop(key, None)
            return  # whose end takes its revisions along, and leaves its runs
        if policy.bounds_runs and await self._runs(key, policy):
            self._world.clean_up.add(key)  # behind all others
            return
        await self._revisions_of_pipeline(key, pipeline, policy)

    # Runs.

    async def _runs(self, key: Key, policy: Policy) -> bool:
        """Delete runs, and Jobs of runs, of a pipeline; whether there are more."""
        self._refused = {uid: until for uid, until in self._refused.items() if time.monotonic() < until}
        held = {run["metadata"]["uid"]: run for run in self._of(key)}
        # In a thread, since thousands are sorted there: what it reads nobody changes.
        todo = await asyncio.to_thread(history.decide, await self._finished(held.values()), policy, time.time())
        told: Tally[Why] = Tally()
        for one, why in todo.delete[:TURN]:
            if await self._delete(held[one.uid], why):
                told[why] += 1
        left = max(TURN - len(todo.delete), 0)
        for one in todo.strip[:left]:
            await self._strip(held[one.uid])
        if told:
            logger.info(
                "Deleted %d finished runs of pipeline %s/%s: %d over their number, %d after their time",
                *(told.total(), key.namespace, key.name, told[Why.COUNT], told[Why.TTL]),
            )
        if len(todo.delete) > TURN or len(todo.strip) > left:
            return True
        self._again(key, todo.wake_at)
        return False

    def _of(self, key: Key) -> list[Object]:
        return list(self._world.runs.by_index(BY_PIPELINE, f"{key.namespace}/{key.name}"))

    async def _finished(self, runs: Iterable[Object]) -> list[Finished]:
        """Those runs that have ended."""
        found: list[Finished] = []
        for number, run in enumerate(runs, 1):
            if number % _AT_ONCE == 0:
                await asyncio.sleep(0)  # nobody waits for the rest of thousands
            meta, status = run["metadata"], run["status"]
            if not statuses.is_final(status) or "deletionTimestamp" in meta:
                continue
            try:
                ended = from_rfc3339(status.get("finishedAt") or meta["creationTimestamp"])
            except ValueError:
                continue  # somebody wrote there; it is theirs to delete
            found.append(
                Finished(
                    meta["uid"],
                    meta["namespace"],
                    meta["name"],
                    str(status.get("phase")),
                    ended,
                    meta["creationTimestamp"],
                    owned=_of_a_run(run),
                    kept=(meta.get("labels") or {}).get(KEEP_LABEL) == "true",
                    needed=self._needed(run),
                    jobs=bool(status.get("revision")) and "logsDeletedAt" not in status,
                )
            )
        return found

    def _needed(self, run: Object) -> bool:
        """Whether a run holds something in Vault, a live run takes over its work, or its deletion was just refused."""
        meta = run["metadata"]
        if self._holds(meta["uid"]) or meta["uid"] in self._refused:
            return True
        return bool(self._world.runs.by_index(RERUN_OF, f"{meta['namespace']}/{meta['name']}"))

    async def _delete(self, run: Object, why: Why) -> bool:
        """Delete a run as it was decided on; what it owns goes with it."""
        await self._pace.turn()
        meta, store = run["metadata"], self._world.runs
        if not self._stands(run):
            return False
        try:
            gone = await self._world.client.delete(
                PIPELINE_RUNS, meta["namespace"], meta["name"], uid=meta["uid"], version=meta["resourceVersion"]
            )
        except NotFound:
            gone = {}
        except Conflict:
            await self._refresh(run)
            return False
        except ApiError as error:
            self._refuse(run, error)
            return False
        if gone.get("kind") == PIPELINE_RUNS.kind and gone["metadata"].get("finalizers"):
            change = store.put(gone)  # somebody else's finalizer holds it
        else:
            change = (taken, None) if (taken := store.take(dict(run))) is not None else None
        if change is not None:
            self._world.run_changed(*change)
        labels = run["spec"]["pipeline"], environment_label(run), run["status"].get("phase") or ""
        self._world.metrics.runs_deleted.labels(*labels, str(why)).inc()
        return True

    def _refuse(self, run: Object, error: ApiError) -> None:
        """Leave a run that somebody's policy holds alone for a while: it must not keep the others.

        Raises:
            ApiError: the error, where the API server may do it at the next try.
        """
        if not refuses(error):
            raise error
        logger.warning("Run %s/%s is over its time, and its deletion is refused: %s", *_name(run), error.message)
        self._refused[run["metadata"]["uid"]] = time.monotonic() + REFUSED

    def _stands(self, run: Object) -> bool:
        """Whether a run is as it was when it was decided on; else its change asks for another decision."""
        return self._world.runs.by_uid(run["metadata"]["uid"]) is run and not self._needed(run)

    async def _strip(self, run: Object) -> None:
        """Delete a run's Jobs, with their pods, and say so in its status."""
        meta = run["metadata"]
        namespace, uid = meta["namespace"], meta["uid"]
        await self._pace.turn()
        selector = f"{SELECTOR}={uid}"
        listed = await self._world.client.list_all(JOBS, namespace, label_selector=selector)
        for job in listed["items"]:
            if uid in {owner.get("uid") for owner in job["metadata"].get("ownerReferences") or ()}:
                await self._pace.turn()
                if not self._stands(run):
                    return
                try:
                    await self._world.client.delete(
                        JOBS, namespace, job["metadata"]["name"], uid=job["metadata"]["uid"]
                    )
                except (NotFound, Conflict):
                    continue  # gone, or another one by now
                except ApiError as error:
                    self._refuse(run, error)
                    return
        try:
            written = await self._world.write_status(PIPELINE_RUNS, run, {"logsDeletedAt": to_rfc3339(time.time())})
        except (NotFound, Conflict):
            await self._refresh(run)
            return
        if (change := self._world.runs.put(written)) is not None:
            self._world.run_changed(*change)

    async def _refresh(self, run: Object) -> None:
        """Read a run live, and look again at what may go."""
        await self._children.refresh(self._world.runs, PIPELINE_RUNS, run, self._world.run_changed)
        self._world.clean_up.add(pipeline_key(run))

    # Revisions.

    def _revision_made(self, kind: str, namespace: str, name: str) -> None:
        """Look at the others: one of them may have been the newest until now."""
        key = Key(kind, namespace, name)
        self._looked.pop(key, None)
        self._world.clean_up.add_after(key, CLEAN_UP_DELAY)

    async def _revisions_of_pipeline(self, key: Key, pipeline: Object, policy: Policy) -> None:
        active = pipeline["status"].get("activeRevision")
        if active is None:
            return  # its first revision comes with its first status
        compiled, _ = self._revisions.compile(pipeline, held_templates(self._world, pipeline))
        current = {active, compiled.name} if compiled is not None else {active}
        unpinned = self._world.runs.by_index(UNPINNED, key.name)
        asked = {run["spec"].get("revision") for run in (*unpinned, *self._of(key))}
        pinned = {run["status"].get("revision") for run in self._of(key)} | asked
        pinned |= {begun.revision for begun in await self._begun(unpinned)}
        await self._prune(key, current, _names(pinned), policy.revisions)

    async def _environment(self, key: Key) -> None:
        environment = self._world.environments.get(key.namespace, key.name)
        if environment is None or "deletionTimestamp" in environment["metadata"]:
            self._looked.pop(key, None)
            return  # whose end takes its revisions along
        content, _ = self._tenancy.effective(environment)
        if content is None:
            return
        label = f"{key.namespace}/{key.name}"
        runs = [run["status"] for run in self._world.runs if run["status"].get("environment") == label]
        pinned = {status.get("environmentRevision") for status in runs}
        live = self._world.runs.by_index(LIVE_IN, execution_namespace(environment))
        unpinned = [run for run in live if not run["status"].get("revision")]
        pinned |= {begun.environment_revision for begun in await self._begun(unpinned)}
        await self._prune(key, {content.revision}, _names(pinned), 0)

    async def _begun(self, unpinned: Iterable[Object]) -> list[Pinned]:
        """What those of some runs have begun with whose Jobs there are, and whose status does not say it yet."""
        told = []
        for run in unpinned:
            held = self._world.runs.by_uid(run["metadata"]["uid"])  # it may have come to say it while others were read
            now = held if held is not None and held["status"].get("revision") else run
            told.append(accept.pinned(now["status"], await self._children.first_job(now)))
        return [one for one in told if one is not None]

    async def _prune(self, key: Key, current: Collection[str], pinned: Collection[str], newest: int) -> None:
        """Delete the revisions of a pipeline or an environment that nobody needs."""
        now = time.time()
        at, looked = (frozenset(current), frozenset(pinned), newest), self._looked.get(key)
        if looked is not None and looked.at == at and (looked.again is None or now < looked.again):
            self._again(key, looked.again)
            return  # nothing can have come loose since the last look
        await self._pace.turn()
        there = await self._revisions.history(key.kind, key.namespace, key.name)
        kept = [_kept(one) for one in there]
        if key.kind == "Environment" and kept:
            # What it was last is needed to take back what it made.
            current = {*current, max(kept, key=lambda one: one.number).name}
        todo = history.prune(kept, current=current, pinned=pinned, newest=newest, grace=self._revisions.grace, now=now)
        again = await self._delete_revisions(key, there, todo)
        self._looked[key] = _Looked(at, again)
        self._again(key, again)

    async def _delete_revisions(self, key: Key, there: Sequence[Object], todo: Pruning) -> float | None:
        """Delete revisions; when to look again, in seconds since the epoch."""
        by_name = {one["metadata"]["name"]: one for one in there}
        again, done = todo.wake_at, []
        for name in todo.delete:
            await self._pace.turn()
            if await self._revisions.delete(key.kind, key.name, by_name[name]):
                done.append(name)
            else:
                again = min(again or float("inf"), time.time() + self._revisions.grace)
        if done:
            self._world.metrics.revisions_deleted.labels(key.kind).inc(len(done))
            logger.info("Deleted unused revisions of %s %s/%s: %s", key.kind, key.namespace, key.name, ", ".join(done))
        return again

    def _again(self, key: Key, when: float | None) -> None:
        if when is not None:
            self._world.clean_up.add_after(key, min(max(when - time.time(), 0) + 0.1, HORIZON))


def _name(run: Object) -> tuple[str, str]:
    return run["metadata"]["namespace"], run["metadata"]["name"]


def _of_a_run(run: Object) -> bool:
    """Whether another run made this one: it goes with that one."""
    return any(one.get("kind") == PIPELINE_RUNS.kind for one in run["metadata"].get("ownerReferences") or ())


def _names(found: Iterable[Any]) -> set[str]:
    return {one for one in found if isinstance(one, str)}


def _kept(there: Object) -> Kept:
    meta = there["metadata"]
    labelled = (meta.get("labels") or {}).get(KEEP_LABEL) == "true"
    return Kept(meta["name"], int(there.get("revision", 0)), from_rfc3339(meta["creationTimestamp"]), labelled)
