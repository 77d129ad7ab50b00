"""Leader election by a Lease, by the rules of client-go: of several replicas one works, the others stand by.

Clocks of different machines are never compared. A standby counts the lease's duration on its own clock
from the moment it saw the record change; a leader counts its deadline from the start of its last
successful renewal. So a leader that cannot renew has stopped before a standby may begin, as long as clocks
run at the same rate. It is no fence: a write that was sent before may still arrive after.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from dataops_operator.kube.client import KubeClient
from dataops_operator.kube.errors import AlreadyExists, ApiError, Conflict, NotFound
from dataops_operator.kube.resources import LEASES

logger = logging.getLogger(__name__)


class LeaderElector:
    """One candidate for one Lease.

    Attributes:
        lost: set when leadership that was held is lost; the process should then end.
    """

    def __init__(
        self,
        client: KubeClient,
        namespace: str,
        name: str,
        identity: str,
        *,
        lease_duration: float = 15,
        renew_deadline: float = 10,
        retry_period: float = 2,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare; `run` does the work.

        Args:
            client: best one of its own, so that renewals do not wait behind other calls for a connection.
            namespace: of the Lease.
            name: of the Lease; created where it is missing.
            identity: unlike that of every other candidate, such as the pod's name with a random part.
            lease_duration: seconds without renewal after which others may take over.
            renew_deadline: seconds without a successful renewal after which the leader gives up.
            retry_period: seconds between tries, of the leader and of a standby.
            clock: monotonic seconds.

        Raises:
            ValueError: unless lease_duration > renew_deadline > retry_period.
        """
        if not lease_duration > renew_deadline > retry_period > 0:
            raise ValueError("leader election needs lease duration > renew deadline > retry period > 0")
        self._client = client
        self._namespace = namespace
        self._name = name
        self.identity = identity
        self._lease_duration = lease_duration
        self._renew_deadline = renew_deadline
        self._retry_period = retry_period
        self._clock = clock
        self._lease: dict[str, Any] | None = None  # as last seen
        self._seen_at = 0.0  # when its record last changed, on our clock
        self._renewed_at = 0.0  # start of the last successful renewal
        self._leading = False
        self._vacancy: str | None = None
        self._taken: str | None = None
        self.lost = asyncio.Event()

    @property
    def is_leader(self) -> bool:
        """Whether we lead; false too when the process stood still for longer than the lease lasts."""
        return self._leading and self._clock() < self._renewed_at + self._lease_duration

    async def look_for_vacancy(self) -> None:
        """Note whether nobody holds the lease now: what is read after this is then all that an earlier leader wrote."""
        try:
            self._vacancy = _vacancy(await self._client.get(LEASES, self._namespace, self._name))
        except NotFound:
            self._vacancy = ""
        except ApiError:
            self._vacancy = None

    @property
    def was_vacant(self) -> bool:
        """Whether we lead, and nobody did between the look for a vacancy and that."""
        return self._vacancy is not None and self._vacancy == self._taken

    async def run(self, on_started: Callable[[], None]) -> None:
        """Stand by until we lead, call `on_started`, then renew; returns when leadership is lost.

        Cancelling it stops the renewals; call `release` afterwards to hand over at once.
        """
        while True:
            if await self._try():
                break
            await asyncio.sleep(self._retry_period * random.uniform(1.0, 1.2))  # noqa: S311 - spreads load
        self._leading = True
        logger.info("Leading as %s by lease %s/%s", self.identity, self._namespace, self._name)
        on_started()
        while await self._renew():  # noqa: ASYNC110 - time is what is waited for
            await asyncio.sleep(self._retry_period)
        self._leading = False
        self.lost.set()
        logger.error(
            "Lost the lease %s/%s: not renewed for %.0f s, or taken by %r",
            self._namespace,
            self._name,
            self._clock() - self._renewed_at,
            self._holder(),
        )

    async def release(self) -> None:
        """Give the lease up, if we hold it, so that a standby takes it at its next try."""
        if not self._leading:
            return
        self._leading = False
        try:
            # Read first: a renewal that was cancelled on its way may have been committed.
            lease = await self._client.get(LEASES, self._namespace, self._name)
            if lease.get("spec", {}).get("holderIdentity") != self.identity:
                return
            now = _micro_time()
            lease["spec"] |= {
                "holderIdentity": "",
                "leaseDurationSeconds": 1,
                "renewTime": now,
                "acquireTime": now,
            }
            await self._client.replace(LEASES, self._namespace, self._name, lease)
        except ApiError as error:
            logger.warning("The lease could not be released, it will run out by itself: %s", error)

    async def _renew(self) -> bool:
        """Renew, trying again until the deadline; False when leadership is lost."""
        deadline = self._renewed_at + self._renew_deadline
        try:
            async with asyncio.timeout(max(0.0, deadline - self._clock())):
                while not await self._try():
                    if self._holder() not in ("", self.identity):
                        return False  # somebody else holds it: there is nothing to wait for
                    await asyncio.sleep(self._retry_period)
        except TimeoutError:
            return False
        return self._clock() < deadline

    async def _try(self) -> bool:
        """Try once to acquire or renew; False if another holds the lease or the server did not do it."""
        started = self._clock()
        try:
            # Half the deadline, so that one call without an answer leaves time for another.
            async with asyncio.timeout(self._renew_deadline / 2):
                held = await (self._write_as_seen() if self._leading else self._look_and_write())
        except (ApiError, TimeoutError) as error:
            logger.warning("Lease %s/%s: %s", self._namespace, self._name, str(error) or "no answer in time")
            return False
        if held:
            self._renewed_at = started
        return held

    async def _write_as_seen(self) -> bool:
        """Renew without reading first, which is all that a leader needs as long as nobody else writes."""
        try:
            self._observe(await self._put())
        except (Conflict, NotFound):
            # Somebody else wrote, or an answer of ours was lost.
            return await self._look_and_write()
        return True

    async def _look_and_write(self) -> bool:
        try:
            self._observe(await self._client.get(LEASES, self._namespace, self._name))
        except NotFound:
            return await self._create()
        if self._held_by_another():
            return False
        before = _vacancy(self._lease or {})
        try:
            self._observe(await self._put())
        except Conflict:
            return False  # another candidate was faster
        self._taken = before
        return True

    async def _create(self) -> bool:
        now = _micro_time()
        body = {
            "apiVersion": LEASES.api_version,
            "kind": LEASES.kind,
            "metadata": {"namespace": self._namespace, "name": self._name},
            "spec": self._spec(now, now, 0),
        }
        try:
            self._observe(await self._client.create(LEASES, self._namespace, body))
        except AlreadyExists:
            return False
        self._taken = ""
        return True

    async def _put(self) -> dict[str, Any]:
        """Put our name into the lease as last seen; its resourceVersion makes that conditional."""
        assert self._lease is not None  # noqa: S101 - for the type checker
        old = self._lease.get("spec") or {}
        now = _micro_time()
        ours = old.get("holderIdentity") == self.identity
        acquired = old.get("acquireTime") or now if ours else now
        transitions = int(old.get("leaseTransitions") or 0) + (0 if ours else 1)
        body = self._lease | {"spec": old | self._spec(acquired, now, transitions)}
        return await self._client.replace(LEASES, self._namespace, self._name, body)

    def _spec(self, acquired: str, renewed: str, transitions: int) -> dict[str, Any]:
        return {
            "holderIdentity": self.identity,
            "leaseDurationSeconds": max(1, round(self._lease_duration)),
            "acquireTime": acquired,
            "renewTime": renewed,
            "leaseTransitions": transitions,
        }

    def _observe(self, lease: dict[str, Any]) -> None:
        if self._lease is None or self._lease.get("spec") != lease.get("spec"):
            self._seen_at = self._clock()
        self._lease = lease

    def _holder(self) -> str:
        return str(((self._lease or {}).get("spec") or {}).get("holderIdentity") or "")

    def _held_by_another(self) -> bool:
        """Whether another's lease still runs, by the duration that its holder wrote and our own clock."""
        holder = self._holder()
        if holder in ("", self.identity):
            return False
        spec = (self._lease or {})["spec"]
        duration = float(spec.get("leaseDurationSeconds") or self._lease_duration)
        return self._clock() < self._seen_at + duration


def _vacancy(lease: dict[str, Any]) -> str | None:
    """The version of a lease that its last holder has given up, its writes done; None of one that has a holder."""
    given_up = not (lease.get("spec") or {}).get("holderIdentity")
    return str(lease["metadata"]["resourceVersion"]) if given_up else None


def _micro_time() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
