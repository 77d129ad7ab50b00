"""The keeper of what runs hold in Vault: renews it while they live, and has it taken back when they have ended.

Records are read when this replica begins to lead, and every sweep compares them with what runs there are, so that
nothing is left behind by a crash, a lost answer, or a run that was deleted while nobody looked. What cannot be taken
back is tried again for ever.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

from ..core import status as statuses
from ..core.credentials import RUN
from ..core.names import RUN_UID_LABEL
from ..core.podlogin import login_of
from ..core.records import BOUND, Grant, Record, State, retry_after
from ..core.times import from_rfc3339
from ..kube.errors import AlreadyExists, ApiError, Conflict, NotFound
from ..kube.resources import ENVIRONMENTS, PIPELINE_RUNS
from ..vault.errors import Gone, Unavailable, VaultError
from ..vault.session import Vaults
from .changes import has_ended
from .ledger import Entry, Ledger
from .revocation import Revocation
from .world import Object, World

logger = logging.getLogger(__name__)

SWEEP: Final = 30.0
"""Seconds between two looks at all records and whom they belong to."""
PODS_PATIENCE: Final = 60.0
"""Seconds after a holder's end in which pods that still run keep their credentials."""
_PODS_POLL: Final = 2.0
_AT_ONCE: Final = 4
"""Records of one server that are worked on at once."""
_NEVER: Final = float("inf")


class Keeper:
    """Keeps records, renews what they name, and sees to their end."""

    def __init__(self, world: World, ledger: Ledger, vaults: Vaults) -> None:
        """Begin with no records; `load` reads them.

        Args:
            world: the caches and the client.
            ledger: the records.
            vaults: the servers.
        """
        self.ledger = ledger
        self.revocation = Revocation(world.client, vaults)
        self._world = world
        self._vaults = vaults
        self._wake = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._gates: dict[str, asyncio.Semaphore] = {}

    # What others ask and tell.

    def armed(self, uid: str) -> Record | None:
        """The record of a holder whose credentials are at hand and live."""
        entry = self.ledger.get(uid)
        if entry is None or entry.record.state is not State.ARMED or entry.lost or entry.told:
            return None
        own = [one for one in entry.record.accessors if one.pod is None]
        now = time.time()
        return None if any(one.expires <= now for one in own) else entry.record

    def release(self, uid: str) -> None:
        """Take back what a holder has: it says that it needs no more."""
        if (entry := self.ledger.get(uid)) is not None:
            entry.told = True
            self.look_at(entry)

    def run_ended(self, uid: str) -> None:
        """Look at a run's record now, since the run has ended or was deleted; nearly nothing where it has none."""
        if (entry := self.ledger.get(uid)) is not None:
            self.look_at(entry)

    def pod_changed(self, pod: Object) -> None:
        """A pod with init containers has changed: it may have logged in by itself, or ended."""
        entry = self.ledger.get((pod["metadata"].get("labels") or {}).get(RUN_UID_LABEL, ""))
        if entry is not None:
            _note(entry, pod)
            if entry.dirty or has_ended(pod):
                self.look_at(entry)

    async def noted(self, uid: str, pods: Iterable[Object]) -> None:
        """Have it recorded what these pods of a run got by themselves.

        Raises:
            ApiError: it could not be written.
        """
        if (entry := self.ledger.get(uid)) is None:
            return
        for pod in pods:
            _note(entry, pod)
        if entry.dirty:
            async with entry.lock:
                await self.ledger.flush(entry)

    def look_at(self, entry: Entry) -> None:
        """Look at an entry as soon as may be."""
        entry.due = 0.0
        self._wake.set()

    def schedule(self, entry: Entry) -> None:
        """Look at an entry when the next renewal is due, or what failed is tried again."""
        entry.due = min((one.renew_at for one in _grants(entry.record) if one.id not in entry.done), default=_NEVER)
        if entry.dirty or entry.failures:
            entry.due = min(entry.due, time.time() + retry_after(entry.failures))
        self._wake.set()

    async def revive(self, entry: Entry) -> bool:
        """Renew what a record says has ended, and may not have; whether the holder's credentials are at hand after it.

        A record has the lives that were given at first: after a restart they are over, whatever was renewed since. The
        caller holds the entry's lock.

        Raises:
            VaultError: the server cannot say now.
        """
        if entry.record.state is not State.ARMED or entry.lost or entry.told or not entry.record.accessors:
            return False
        await self._renew(entry)
        if self.armed(entry.record.holder.uid) is not None:
            return True
        if any(one.renewable and one.id not in entry.done for one in entry.record.accessors):
            raise Unavailable(f"Vault server {entry.record.server!r} could not renew what was given; it is tried again")
        return False

    # The work.

    async def load(self) -> None:
        """Read all records, and what pods have got by themselves: this replica leads from now on.

        Raises:
            ApiError: they could not be read.
        """
        await self.ledger.read()
        for pod in self._world.pods:
            if "initContainerStatuses" in pod["status"]:
                self.pod_changed(pod)

    async def run(self) -> None:
        """Renew, take back and sweep until cancelled; `load` first."""
        sweep_at = time.time() + SWEEP
        try:
            while True:
                if time.time() >= sweep_at:
                    sweep_at = time.time() + SWEEP
                    await self._sweep()
                self._begin_due()
                self._tell()
                upcoming = min((one.due for one in self.ledger if not one.busy), default=_NEVER)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), max(min(upcoming, sweep_at) - time.time(), 0.0))
                self._wake.clear()
                await asyncio.sleep(0.02)  # so that many ends at once are one walk over the records
        finally:
            for task in self._tasks:
                task.cancel()

    async def _sweep(self) -> None:
        """Compare memory with the records, and all records with their holders."""
        try:
            await self.ledger.read()
        except ApiError as error:
            logger.warning("The records of Vault could not be listed, it is tried again: %s", error)
        now = time.time()
        for entry in self.ledger:
            entry.due = min(entry.due, now)

    def _begin_due(self) -> None:
        now = time.time()
        for entry in self.ledger:
            if not entry.busy and entry.due <= now:
                entry.busy, entry.due = True, _NEVER
                task = asyncio.create_task(self._work(entry))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _work(self, entry: Entry) -> None:
        gate = self._gates.setdefault(entry.record.server, asyncio.Semaphore(_AT_ONCE))
        try:
            async with gate, entry.lock:
                if self.ledger.holds(entry):
                    await self._look(entry)
        except Exception:
            logger.exception("Looking after what %s holds in Vault failed; it is tried again", entry.record.holder)
            entry.failures += 1
            entry.due = time.time() + retry_after(entry.failures)
        finally:
            entry.busy = False
            self._wake.set()

    async def _look(self, entry: Entry) -> None:
        """Do what is due for one record; its lock is held."""
        if entry.dirty:
            with contextlib.suppress(AlreadyExists, Conflict):  # merged; written at the next look
                await self.ledger.flush(entry)
        ended = await self._ended(entry)
        if ended is None:
            await self._renew(entry)
            self.schedule(entry)
            return
        entry.ended = entry.ended or ended
        now = time.time()
        if now < entry.ended + PODS_PATIENCE and not entry.told and self._in_use(entry.record.holder.uid):
            await self.revocation.secrets_of(entry)  # pods that run have it already
            await self._renew(entry)
            entry.due = now + _PODS_POLL
            return
        await self._end(entry)

    async def _end(self, entry: Entry) -> None:
        """Take everything back, or see that it is tried again."""
        outcomes = self._world.metrics.vault.revocations
        if await self.revocation.all_of(entry):
            await self.ledger.remove(entry)
            outcomes.labels("Revoked").inc()
            return
        outcomes.labels("Failed").inc()
        entry.failures += 1
        if entry.record.state is not State.REVOKING:  # so that the time of its end outlives this process
            with contextlib.suppress(ApiError):
                await self.ledger.update(entry, replace(entry.record, state=State.REVOKING, ended=entry.ended))
        entry.due = time.time() + retry_after(entry.failures)

    # Whose it is.

    async def _ended(self, entry: Entry) -> float | None:
        """When the holder ended, in seconds since the epoch; None while it lives."""
        holder, now = entry.record.holder, time.time()
        if entry.told:
            return now
        is_run, stores = holder.kind == RUN, self._world
        found: Mapping[str, Any] | None = (stores.runs if is_run else stores.environments).by_uid(holder.uid)
        if found is None:
            scope = self._world.settings.namespaces
            if scope and holder.namespace not in scope:
                return None  # another operator's
            try:
                resource = PIPELINE_RUNS if is_run else ENVIRONMENTS
                found = await self._world.client.get(resource, holder.namespace, holder.name)
            except NotFound:
                return now
            if found["metadata"]["uid"] != holder.uid:
                return now
        if not is_run:
            return None  # it tells when it needs no more: on its way out, its finalizer's Jobs may
        if deleted := found["metadata"].get("deletionTimestamp"):
            return from_rfc3339(deleted)
        status = found.get("status") or {}
        if not statuses.is_final(status):
            return None
        return from_rfc3339(status["finishedAt"]) if status.get("finishedAt") else now

    def _in_use(self, uid: str) -> bool:
        """Whether a pod of a run still runs, as far as the caches show."""
        pods = self._world.pods
        if self._world.runs.by_uid(uid) is not None:
            jobs = self._world.jobs.by_owner(uid)
            return any(not has_ended(pod) for job in jobs for pod in pods.by_owner(job["metadata"]["uid"]))
        # The run was deleted, and its Jobs may be gone before their pods.
        return any(not has_ended(pod) for pod in pods if pod["metadata"]["labels"].get(RUN_UID_LABEL) == uid)

    # Renewing.

    async def _renew(self, entry: Entry) -> None:
        """Renew what is due, and take back what pods had got by themselves that have ended.

        The new lives are not written: a record that has a shorter one than the truth is only renewed earlier.
        """
        fresh = {}
        for grant in entry.record.accessors:
            fresh[grant.id] = await self._renewed(entry, grant, lease=False)
        for grant in entry.record.leases:
            fresh[grant.id] = await self._renewed(entry, grant, lease=True)
        # What pods have added meanwhile stays as it is.
        entry.record = replace(
            entry.record,
            accessors=tuple(fresh.get(one.id, one) for one in entry.record.accessors),
            leases=tuple(fresh.get(one.id, one) for one in entry.record.leases),
        )

    async def _renewed(self, entry: Entry, grant: Grant, *, lease: bool) -> Grant:
        if grant.id in entry.done:
            return grant
        if grant.pod is not None:
            pod = self._world.pods.by_uid(grant.pod)
            if pod is None or has_ended(pod):
                await self.revocation.one_of(entry, grant, lease=lease)
                return grant
        if time.time() < grant.renew_at:
            return grant
        holder, server = entry.record.holder, entry.record.server
        try:
            if lease:
                ttl = await self._vaults.renew_lease(server, grant.id, grant.ttl)
            else:
                ttl = await self._vaults.renew_accessor(server, grant.id, grant.ttl)
        except Gone:
            logger.warning("Vault has taken back what run %s/%s held before its end", holder.namespace, holder.name)
            entry.done.add(grant.id)
            entry.lost = entry.lost or grant.pod is None
            return grant
        except VaultError as error:
            entry.failures += 1
            logger.warning("What %s/%s holds in Vault was not renewed: %s", holder.namespace, holder.name, error)
            return grant
        entry.failures = 0
        return grant.renewed(ttl, time.time())

    def _tell(self) -> None:
        metrics, now = self._world.metrics.vault, time.time()
        metrics.leases.set(len(self.ledger))
        metrics.overdue.set(sum(1 for one in self.ledger if one.ended is not None and now > one.ended + BOUND))


def _note(entry: Entry, pod: Object) -> None:
    """Take into the record what a pod says that it got."""
    told = login_of(pod)
    if told is not None and all(one.id != told.accessor.id for one in entry.record.accessors):
        entry.record = entry.record.with_pod(told.accessor, told.leases, told.versions)
        entry.dirty = True


def _grants(record: Record) -> tuple[Grant, ...]:
    return (*record.accessors, *record.leases)
