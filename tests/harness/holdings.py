"""What runs hold in a Vault, looked at again and again: the input of I5.

Vault is asked, not the operator: which tokens and leases live. Beside it stands what the operator's records ever named,
which tells what it could know of from what was lost before anybody could write it down.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Iterator
from types import TracebackType
from typing import Self

import orjson
from tests.harness.api import Api
from tests.harness.invariants import Held
from tests.harness.kinds import CONFIGMAPS
from tests.harness.openbao import OpenBao
from tests.harness.vaultadmin import OPERATOR

VAULT_RUN = "dataops.dev/vault-run"
EVERY = 0.4
"""Seconds between two looks."""

RunOf = Callable[[str], str | None]
"""Which run a role's new token or lease is for: the one under way, since a role has one after the other."""


class Holdings:
    """Looks into a Vault from start to end; an asynchronous context manager.

    Args:
        bao: the server.
        api: of the API server with the operators' records.
        leases: paths below whose last part, a role's name, leases are.
        run_of: which run of a role is under way, None for none.
    """

    def __init__(self, bao: OpenBao, api: Api, leases: Collection[str], run_of: RunOf) -> None:
        self._bao = bao
        self._api = api
        self._paths = leases
        self._run_of = run_of
        self._seen: dict[str, Held] = {}
        self._read = 0
        self._named: set[str] = set()
        self._tasks: list[asyncio.Task[None]] = []
        self._at = 0.0

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(self._look()), asyncio.create_task(self._read_records())]
        await self.looked()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def all(self) -> list[Held]:
        """Everything that was ever seen, by run."""
        for one in self._seen.values():
            one.recorded = one.id in self._named
        return sorted(self._seen.values(), key=lambda one: (one.run, one.first))

    async def looked(self) -> None:
        """Wait until a look has ended that began after now."""
        asked = time.time()
        while self._at <= asked:
            for task in self._tasks:
                if task.done() and (error := task.exception()):
                    raise RuntimeError("looking into Vault failed, so what was seen has a hole") from error
            await asyncio.sleep(0.05)

    async def now(self, run: str = "") -> list[Held]:
        """What a run holds now, or all of them."""
        await self.looked()
        return [one for one in self.all() if run in ("", one.run) and one.last >= self._at]

    async def _look(self) -> None:
        while True:
            at = time.time()
            await self._tokens(at)
            await self._leases(at)
            self._at = at
            await asyncio.sleep(EVERY)

    async def _tokens(self, at: float) -> None:
        living = (await self._bao.request("LIST", "auth/token/accessors"))["data"]["keys"]
        for accessor, role, ttl in self._new_logins():
            run = self._run_of(role) if role != OPERATOR else None
            if run is not None:
                self._seen[accessor] = Held(accessor, run, lease=False, ttl=ttl, first=at, last=at)
        for accessor in living:
            if accessor in self._seen:
                self._seen[accessor].last = at

    def _new_logins(self) -> Iterator[tuple[str, str, float]]:
        """Accessor, role and ttl of each login since the last look, by the audit log.

        The tokens are not looked up: Vault revokes one that is looked up before its lease is stored.
        """
        with self._bao.audit_log.open("rb") as log:
            log.seek(self._read)
            for line in log:
                if not line.endswith(b"\n"):
                    return
                self._read += len(line)
                if b"/login" not in line:
                    continue
                entry = orjson.loads(line)
                auth = (entry.get("response") or {}).get("auth")
                if entry["type"] == "response" and auth:
                    yield auth["accessor"], (auth.get("metadata") or {}).get("role", ""), auth.get("token_ttl", 0)

    async def _leases(self, at: float) -> None:
        for path in self._paths:
            for lease in await self._bao.leases(path):
                if lease in self._seen:
                    self._seen[lease].last = at
                elif (run := self._run_of(lease.rsplit("/", 2)[-2])) is not None:
                    self._seen[lease] = Held(lease, run, lease=True, ttl=0, first=at, last=at)

    async def _read_records(self) -> None:
        async for type_, item in self._api.list_then_watch(CONFIGMAPS, None, VAULT_RUN):
            if type_ != "SYNCED":
                record = orjson.loads(item["data"]["record"])
                self._named |= {one["id"] for one in (*record["accessors"], *record["leases"])}
