"""Taking back: Kubernetes Secrets are deleted, leases and tokens revoked, and each is known to be gone."""

from __future__ import annotations

import logging
from dataclasses import replace

from ..core.credentials import RUN
from ..core.records import Grant, Record, State
from ..kube.client import KubeClient
from ..kube.errors import ApiError, Forbidden, NotFound
from ..kube.resources import NAMESPACES, PIPELINE_RUNS, SECRETS
from ..vault.errors import Gone, VaultError
from ..vault.session import Vaults
from .ledger import Entry

logger = logging.getLogger(__name__)


class Revocation:
    """Takes back what records name. The caller holds the entry's lock."""

    def __init__(self, client: KubeClient, vaults: Vaults) -> None:
        """Work with these.

        Args:
            client: of the API server.
            vaults: the servers.
        """
        self._client = client
        self._vaults = vaults

    async def all_of(self, entry: Entry) -> bool:
        """Take back everything; whether nothing is left but the record."""
        whole = await self.secrets_of(entry)
        for grant, lease in _order(entry.record):
            whole = await self.one_of(entry, grant, lease=lease) and whole
        return whole

    async def secrets_of(self, entry: Entry) -> bool:
        """Delete the Secrets; whether none is left."""
        whole = True
        for name in entry.record.secrets:
            if name in entry.done:
                continue
            try:
                await self._delete_secret(entry.record, name)
                entry.done.add(name)
            except ApiError as error:
                whole = False
                self._warn(entry, "Secret of %s/%s could not be deleted yet: %s", error)
        return whole

    async def leftovers(self, entry: Entry) -> Record:
        """Take back what an arming that did not come to its end has left.

        Returns:
            A record with what could not be taken back, in which a new login may stand.

        Raises:
            ApiError: a Secret may still be there.
        """
        for name in entry.record.secrets:
            await self._delete_secret(entry.record, name)
        for grant, lease in _order(entry.record):
            await self.one_of(entry, grant, lease=lease)
        entry.lost = False
        record = entry.record
        return replace(
            record,
            state=State.LOGIN,
            accessors=tuple(one for one in record.accessors if one.id not in entry.done),
            leases=tuple(one for one in record.leases if one.id not in entry.done),
            files={},
            versions=(),
        )

    async def one_of(self, entry: Entry, grant: Grant, *, lease: bool) -> bool:
        """Take back one grant; whether it is."""
        if grant.id in entry.done:
            return True
        try:
            if lease:
                await self._vaults.revoke_lease(entry.record.server, grant.id)
            else:
                await self._vaults.revoke_accessor(entry.record.server, grant.id)
        except Gone:
            pass
        except VaultError as error:
            self._warn(entry, "What %s/%s held in Vault could not be revoked yet: %s", error)
            return False
        entry.done.add(grant.id)
        return True

    def _warn(self, entry: Entry, text: str, error: Exception) -> None:
        """Say it once, not at every try."""
        if not entry.failures:
            logger.warning(text, entry.record.holder.namespace, entry.record.holder.name, error)

    async def _delete_secret(self, record: Record, name: str) -> None:
        """Delete a Secret by its name, which is random and was recorded before it was used: nobody else has it."""
        try:
            await self._client.delete(SECRETS, record.namespace, name)
        except NotFound:
            pass
        except Forbidden:
            # The right goes with the Environment; then the namespace goes too, or the Secret went with its owner.
            if not await self._gone(record):
                raise

    async def _gone(self, record: Record) -> bool:
        """Whether a record's namespace is on its way, or its run is deleted."""
        holder = record.holder
        try:
            namespace = await self._client.get(NAMESPACES, None, record.namespace)
            if "deletionTimestamp" in namespace["metadata"]:
                return True
            if holder.kind != RUN:
                return False
            run = await self._client.get(PIPELINE_RUNS, holder.namespace, holder.name)
        except NotFound:
            return True
        except Forbidden:
            return False
        return bool(run["metadata"]["uid"] != holder.uid)


def _order(record: Record) -> list[tuple[Grant, bool]]:
    """What to take back, and whether it is a lease: leases first, so that Vault says of each that it is gone."""
    return [*((one, True) for one in record.leases), *((one, False) for one in record.accessors)]
