"""The ledger: records of what is held in Vault as ConfigMaps in the operator's own namespace, and as entries in memory.

The ConfigMaps are the truth; memory only spares reading them. Nothing that was granted is ever forgotten: where two
versions of a record differ, what either has counts.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Final

from ..core.names import MANAGED_BY_LABEL, MANAGER, VAULT_RUN_LABEL
from ..core.records import Grant, Record, from_config_map, to_config_map
from ..kube.client import KubeClient
from ..kube.errors import AlreadyExists, Conflict, NotFound
from ..kube.resources import CONFIG_MAPS
from .world import Object

logger = logging.getLogger(__name__)

_SELECTOR: Final = f"{MANAGED_BY_LABEL}={MANAGER},{VAULT_RUN_LABEL}"


@dataclass
class Entry:
    """One record, and what is known of it beside.

    Attributes:
        record: as it should be kept.
        version: resourceVersion of the ConfigMap; None where there is none.
        dirty: whether the ConfigMap says less than the record.
        lock: held by who changes it.
        due: when to look at it, in seconds since the epoch.
        failures: tries in a row that could not take all back, or renew.
        ended: when its holder's end was first seen, in seconds since the epoch.
        told: whether its holder said that it needs no more.
        done: ids of grants, and names of Secrets, that are gone already, though the record still has them.
        lost: whether Vault no longer knows what was granted.
    """

    record: Record
    version: str | None = None
    dirty: bool = False
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    due: float = 0.0
    failures: int = 0
    ended: float | None = None
    told: bool = False
    busy: bool = False
    lost: bool = False
    done: set[str] = field(default_factory=set)


class Ledger:
    """The records."""

    def __init__(self, client: KubeClient, namespace: str) -> None:
        """Begin with none known; `read` lists them.

        Args:
            client: of the API server.
            namespace: the operator's own.
        """
        self._client = client
        self._namespace = namespace
        self._entries: dict[str, Entry] = {}
        self._broken: set[str] = set()

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(list(self._entries.values()))

    def get(self, uid: str) -> Entry | None:
        """The entry of a holder."""
        return self._entries.get(uid)

    def holds(self, entry: Entry) -> bool:
        """Whether an entry still stands."""
        return self._entries.get(entry.record.holder.uid) is entry

    def enter(self, record: Record) -> Entry:
        """A new entry in memory, to be written by `update`; of a holder that has none."""
        entry = Entry(record, due=float("inf"))
        self._entries[record.holder.uid] = entry
        return entry

    async def update(self, entry: Entry, record: Record) -> None:
        """Write an entry's new record; the caller holds its lock. In memory it stands in any case.

        Raises:
            AlreadyExists: a record was there that was not known; what it names is in the entry now.
            Conflict: somebody else wrote it; likewise.
            ApiError: it could not be written, or may have been.
        """
        entry.record = record
        entry.dirty = True
        await self.flush(entry)

    async def flush(self, entry: Entry) -> None:
        """Bring the ConfigMap up to the record, where it is not; one that somebody deleted is made again.

        Raises:
            ApiError: as `update`.
        """
        if not entry.dirty and entry.version is not None:
            return
        written, body = entry.record, to_config_map(entry.record)
        client, name = self._client, written.name
        try:
            if entry.version is None:
                made = await client.create(CONFIG_MAPS, self._namespace, body)
            else:
                change = {"metadata": {"resourceVersion": entry.version}, "data": body["data"]}
                made = await client.patch(CONFIG_MAPS, self._namespace, name, change)
        except NotFound:
            entry.version = None
            made = await client.create(CONFIG_MAPS, self._namespace, body)
        except (AlreadyExists, Conflict):
            # An answer of ours that was lost, or another operator that took us for dead. The next try writes over it:
            # who does not lead any more is about to end.
            there = await client.get(CONFIG_MAPS, self._namespace, name)
            entry.version = there["metadata"]["resourceVersion"]
            self._merge(entry, there)
            raise
        entry.version = made["metadata"]["resourceVersion"]
        entry.dirty = entry.record is not written

    def _merge(self, entry: Entry, there: Object) -> None:
        """Take over what the ConfigMap has and the record has not: nothing that was granted is ever forgotten."""
        try:
            other = from_config_map(there)
        except ValueError:
            return
        record = entry.record
        entry.record = replace(
            record,
            accessors=_union(record.accessors, other.accessors),
            leases=_union(record.leases, other.leases),
            secrets=tuple(dict.fromkeys([*other.secrets, *record.secrets])),
        )
        entry.dirty = True

    def _take_in(self, body: Object) -> Entry | None:
        """The entry of a ConfigMap, made where there is none."""
        try:
            record = from_config_map(body)
        except ValueError as error:
            name = body["metadata"]["name"]
            if name not in self._broken:
                logger.error("ConfigMap %s/%s holds %s; look at it, and delete it", self._namespace, name, error)
                self._broken.add(name)
            return None
        entry = self._entries.get(record.holder.uid)
        if entry is None:
            entry = Entry(record, version=body["metadata"]["resourceVersion"], ended=record.ended)
            self._entries[record.holder.uid] = entry
        return entry

    async def remove(self, entry: Entry) -> None:
        """Forget a record of which everything was taken back.

        Raises:
            ApiError: it is still there.
        """
        with contextlib.suppress(NotFound):
            await self._client.delete(CONFIG_MAPS, self._namespace, entry.record.name)
        self._entries.pop(entry.record.holder.uid, None)

    async def read(self) -> None:
        """List the records: take in what is not known, and have written again what somebody deleted.

        Raises:
            ApiError: they could not be listed.
        """
        listed = await self._client.list_all(CONFIG_MAPS, self._namespace, label_selector=_SELECTOR)
        found = [self._take_in(body) for body in listed["items"]]
        seen = {entry.record.holder.uid for entry in found if entry is not None}
        version = int(listed["metadata"]["resourceVersion"])
        for uid, entry in self._entries.items():
            if uid not in seen and entry.version is not None and int(entry.version) < version and not entry.busy:
                entry.version, entry.dirty = None, True


def _union(one: tuple[Grant, ...], other: tuple[Grant, ...]) -> tuple[Grant, ...]:
    return tuple({grant.id: grant for grant in (*other, *one)}.values())
