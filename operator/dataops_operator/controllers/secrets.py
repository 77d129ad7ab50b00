"""Arming: one login for a run, as the run, its secrets read, and put where its pods find them.

It goes on beside the reconciles, so that a Vault that is slow holds nobody up but those who wait for it. What is taken
from Vault stands in the ledger before it is used, so a crash between any two steps leaves nothing that is not known:
login, record (accessor, name of the Secret to come), reads, Secret, record (leases, files), and only then Jobs.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from ..api.conditions import Reason
from ..core.credentials import Agent, Armed, Hindrance, Order, Version, order
from ..core.inputs import Inputs
from ..core.names import credentials_name
from ..core.records import Grant, Record, State, retry_after
from ..core.secrets import CredentialError, check_total, check_variables, render
from ..kube.errors import AlreadyExists, ApiError
from ..kube.resources import SECRETS
from ..vault.errors import VaultError
from ..vault.session import Vaults
from .keys import Key
from .leases import Keeper
from .ledger import Entry
from .world import Object, World

logger = logging.getLogger(__name__)

HOLD: Final = 1.5
"""Seconds that a run may stand still, unwritten, while its secrets are got; then it says that it waits for them."""
_TOKEN_SECONDS: Final = 600
_AT_ONCE: Final = 8
"""Holders of one server that are armed at once."""
_COLLISIONS: Final = 3

EnsureRunner = Callable[[str], Awaitable[None]]


@dataclass
class _Attempt:
    """What is known of getting one holder's secrets, as long as they are not at hand."""

    began: float = 0.0
    task: asyncio.Task[None] | None = None
    hindrance: Hindrance | None = None
    failures: int = 0

    @property
    def under_way(self) -> bool:
        return self.task is not None and not self.task.done()


class Arming:
    """Gets secrets for runs, and for the Jobs of Environments."""

    def __init__(
        self, world: World, keeper: Keeper, vaults: Vaults, *, agent_image: str, ensure_runner: EnsureRunner
    ) -> None:
        """Work with these.

        Args:
            world: the client and the queue.
            keeper: of the records.
            vaults: the servers.
            agent_image: of the init container that reads secrets for its pod; the operator's own.
            ensure_runner: has the ServiceAccount in a namespace that logs in.
        """
        self.keeper = keeper
        self._world = world
        self._vaults = vaults
        self._agent_image = agent_image
        self._ensure_runner = ensure_runner
        self._attempts: dict[str, _Attempt] = {}
        self._gates: dict[str, asyncio.Semaphore] = {}

    # What reconciles ask.

    def standing(self, uid: str) -> Armed | None:
        """What a holder has at hand; None where it has nothing."""
        record = self.keeper.armed(uid)
        if record is None:
            return None
        return self._pod_mode(record.server, record.versions) if record.delivery == "Pod" else record.armed

    def ask_for_run(self, inputs: Inputs, key: Key) -> Armed | Hindrance | None:
        """Get a run's secrets; see `ask`."""
        try:
            return self.ask(order(inputs), key)
        except CredentialError as error:
            return Hindrance(error.reason, str(error), final=True)

    def ask(self, wanted: Order, key: Key) -> Armed | Hindrance | None:
        """Get a holder's secrets, where that is not under way.

        Args:
            wanted: what to read.
            key: what to reconcile when there is news.

        Returns:
            What is at hand, or why it is not; None while that is not known, which is soon.
        """
        uid, now = wanted.holder.uid, time.time()
        if (held := self.standing(uid)) is not None:
            return held
        try:
            self._check(wanted)
        except CredentialError as error:
            return Hindrance(error.reason, str(error), final=True)
        attempt = self._attempts.setdefault(uid, _Attempt())
        if attempt.under_way:
            if attempt.hindrance is not None or now < attempt.began + HOLD:
                self._world.queue.add_after(key, HOLD)
                return attempt.hindrance
            return Hindrance(Reason.VAULT, f"gets its secrets from Vault server {wanted.vault.server}")
        known = attempt.hindrance
        if known is not None and (known.final or (known.again_at or 0) > now):
            return known
        attempt.began = now
        attempt.task = asyncio.create_task(self._attempt(wanted, key, attempt))
        self._world.queue.add_after(key, HOLD)
        return known

    def ended(self, uid: str) -> None:
        """A run has ended: nothing is got for it any more, and what it has is taken back."""
        self._attempts.pop(uid, None)
        self.keeper.run_ended(uid)

    async def noted(self, uid: str, pods: Iterable[Object]) -> None:
        """Have it recorded what pods got by themselves, before anything is said of their end.

        Raises:
            ApiError: it could not be written.
        """
        await self.keeper.noted(uid, pods)

    def release(self, uid: str) -> None:
        """A holder needs its secrets no more, or not now."""
        self._attempts.pop(uid, None)
        self.keeper.release(uid)

    def _check(self, wanted: Order) -> None:
        """Refuse what no Vault need be asked for.

        Raises:
            CredentialError: it could not be read, or not be delivered.
        """
        vault = wanted.vault
        if not self._vaults.knows(vault.server):
            text = f"environment {wanted.environment}: the administrator has defined no Vault server {vault.server!r}"
            raise CredentialError(Reason.VAULT_NOT_CONFIGURED, text)
        if vault.delivery == "Pod" and wanted.variables:
            name = next(iter(wanted.variables))
            text = f"secret {name}: {wanted.environment} delivers in mode Pod, which has files alone; remove env"
            raise CredentialError(Reason.SECRET_INVALID, text)
        if vault.delivery == "Pod" and not self._agent_image:
            raise CredentialError(Reason.VAULT_NOT_CONFIGURED, "the operator was started without --agent-image")

    def _pod_mode(self, server: str, versions: tuple[Version, ...]) -> Armed:
        agent = Agent(self._agent_image, self._vaults.audience(server), self._vaults.agent(server))
        return Armed(versions=versions, agent=agent)

    # The work.

    async def _attempt(self, wanted: Order, key: Key, attempt: _Attempt) -> None:
        """Get the secrets once, and keep what hindered it."""
        server, hindrance = wanted.vault.server, None
        gate = self._gates.setdefault(server, asyncio.Semaphore(_AT_ONCE))
        again = time.time() + 2 * retry_after(attempt.failures)
        try:
            async with gate:
                await self._get(wanted)
        except CredentialError as error:
            hindrance = Hindrance(error.reason, str(error), final=True)
        except VaultError as error:
            final = error.final or wanted.vault.on_unavailable == "Fail"
            hindrance = Hindrance(error.reason, str(error), final=final, again_at=again)
        except ApiError as error:
            # Not the server's own sentence: it may quote what was sent.
            said = f"{error.status} {error.reason}"
            text = f"the API server refuses what secrets need in namespace {wanted.namespace}: {said}"
            hindrance = Hindrance(Reason.VAULT, text, again_at=again)
        except Exception as error:
            logger.exception("Getting the secrets of %s failed; it is tried again", wanted.holder)
            text = f"getting the secrets failed and is tried again: {type(error).__name__}"
            hindrance = Hindrance(Reason.VAULT, text, again_at=again)
        attempt.hindrance = hindrance
        attempt.failures = attempt.failures + 1 if hindrance is not None else 0
        self._world.queue.add(key)

    async def _get(self, wanted: Order) -> None:
        """Have the secrets at hand, whatever was left of an earlier try."""
        ledger, holder = self.keeper.ledger, wanted.holder
        empty = Record(holder, wanted.namespace, wanted.environment, wanted.vault.server, wanted.vault.delivery)
        entry = ledger.get(holder.uid) or ledger.enter(empty)
        try:
            async with entry.lock:
                if not ledger.holds(entry):  # taken back while this waited for it
                    entry = ledger.enter(empty)
                if wanted.vault.delivery == "Secret" and await self.keeper.revive(entry):
                    return
                entry.told = False
                left = await self.keeper.revocation.leftovers(entry)
                if wanted.vault.delivery == "Pod":  # pods log in by themselves; what they get is added to the record
                    await ledger.update(entry, replace(left, state=State.ARMED))
                    return
                await self._log_in_and_read(wanted, entry, left)
        finally:
            self.keeper.schedule(entry)

    async def _log_in_and_read(self, wanted: Order, entry: Entry, left: Record) -> None:
        for tries in range(_COLLISIONS):
            name = credentials_name(wanted.holder.name, secrets.token_hex(8))
            try:
                await self._once(wanted, entry, left, name)
                return
            except AlreadyExists:
                # Somebody's Secret has that name. It is not ours, so it is neither written over nor ever deleted.
                entry.record = replace(entry.record, secrets=tuple(one for one in entry.record.secrets if one != name))
                left = await self._undo(entry)
                if tries == _COLLISIONS - 1:
                    raise
            except BaseException:
                await self._undo(entry)
                raise

    async def _once(self, wanted: Order, entry: Entry, left: Record, name: str) -> None:
        """Log in, record it, read, deliver, record that; the entry's lock is held."""
        ledger, server = self.keeper.ledger, wanted.vault.server
        await self._ensure_runner(wanted.namespace)
        runner, audience = self._world.settings.runner, self._vaults.audience(server)
        jwt = await self._world.client.create_token(wanted.namespace, runner, audience, _TOKEN_SECONDS)
        login = await self._vaults.login(server, wanted.vault.role, jwt)
        self._world.metrics.vault.logins.labels(server).inc()
        token = Grant(login.accessor, login.ttl, time.time() + login.ttl, login.renewable)
        record = replace(
            left, state=State.LOGIN, accessors=(*left.accessors, token), secrets=(*left.secrets, name), server=server
        )
        await ledger.update(entry, record)
        files: dict[str, Mapping[str, bytes]] = {}
        for one, request in wanted.requests.items():
            try:
                fetched = await self._vaults.read(server, login.token, request.vault)
            except VaultError as error:
                error.args = (f"secret {one}: {error}",)
                raise
            if fetched.lease_id:
                ttl = float(fetched.lease_seconds)
                lease = Grant(fetched.lease_id, ttl, time.time() + ttl, fetched.renewable)
                record = entry.record = replace(record, leases=(*record.leases, lease))
            version = Version(one, fetched.version, bool(fetched.lease_id))
            record = entry.record = replace(record, versions=(*record.versions, version))
            files[one] = render(one, request, fetched.values)
            check_variables(one, wanted.variables.get(one, ()), files[one])
        check_total(files)
        await self._world.client.create(SECRETS, wanted.namespace, _secret(wanted, name, files))
        there = {one: tuple(held) for one, held in files.items()}
        await ledger.update(entry, replace(record, state=State.ARMED, files=there))

    async def _undo(self, entry: Entry) -> Record:
        """Take back at once what did not come to its end; what cannot be is tried again by the keeper."""
        try:
            entry.record = await self.keeper.revocation.leftovers(entry)
        except ApiError as error:
            logger.warning("A Secret of %s could not be deleted yet: %s", entry.record.holder, error)
        return entry.record


def _secret(wanted: Order, name: str, files: Mapping[str, Mapping[str, bytes]]) -> dict[str, Any]:
    """The Kubernetes Secret of one holder."""
    data = {
        f"{one}.{file}": base64.b64encode(value).decode() for one, held in files.items() for file, value in held.items()
    }
    metadata: dict[str, Any] = {"name": name, "labels": dict(wanted.labels)}
    if wanted.owner is not None:
        metadata["ownerReferences"] = [dict(wanted.owner)]
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata,
        "type": "Opaque",
        "immutable": True,
        "data": data,
    }


class NoVault:
    """Stands where the administrator has defined no Vault server."""

    def standing(self, _uid: str) -> Armed | None:
        """Nothing is at hand."""
        return None

    def ask_for_run(self, inputs: Inputs, _key: Key) -> Armed | Hindrance | None:
        """There is nobody to ask."""
        try:
            name = order(inputs).environment
        except CredentialError as error:
            return Hindrance(error.reason, str(error), final=True)
        text = f"environment {name} names a Vault server, and the administrator has defined none"
        return Hindrance(Reason.VAULT_NOT_CONFIGURED, text, final=True)

    def ended(self, _uid: str) -> None:
        """There is nothing to take back."""

    def release(self, _uid: str) -> None:
        """There is nothing to take back."""

    async def noted(self, _uid: str, _pods: Iterable[Object]) -> None:
        """There is nothing to record."""
