"""A load with secrets: a real OpenBao, a secret for each run, and what that asked of it, by its own audit log."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.harness.api import Api, Object, condition
from tests.harness.kinds import CONFIGMAPS, ENVIRONMENTS, RUN_UID, SECRETS
from tests.harness.openbao import OpenBao
from tests.harness.vaultadmin import OPERATOR, token_of

from localcluster.controlplane import ControlPlane

ROLE = "bench"
PATH = "secret/data/bench"
USES = [{"name": "api"}]
SOURCE: Object = {"name": "api", "vault": {"path": PATH}}
VAULT_RUN = "dataops.dev/vault-run"
LEFT_WITHIN = 120.0
"""Seconds after the last run's end in which everything must have been taken back: what docs/secrets.md promises."""


@dataclass(frozen=True)
class VaultCost:
    """What the operator asked of Vault for a load, and what was left after it.

    Attributes:
        requests: all of its requests, those of its own login among them.
        logins: logins of runs.
        by_path: the requests by their path, `auth/token/revoke-accessor`.
        left: tokens, Secrets and records that were there at the end, by what they are.
        taken_back_seconds: from the last run's end until nothing was left.
    """

    requests: int
    logins: int
    by_path: dict[str, int]
    left: dict[str, int]
    taken_back_seconds: float


class Vault:
    """The server, and the operator's way to it."""

    def __init__(self, bao: OpenBao, api: Api, namespace: str, arguments: list[str]) -> None:
        self.arguments = arguments
        self._bao = bao
        self._api = api
        self._namespace = namespace
        self._before = 0
        self._logins = 0

    @property
    def pid(self) -> int:
        """Of the server."""
        return self._bao.pid

    async def open(self) -> None:
        """Have an Environment whose runs may log in."""
        place = {"metadata": {"name": "prod"}, "spec": {"vault": {"role": ROLE}}}
        await self._api.create(ENVIRONMENTS, self._namespace, place)
        await self._api.wait_for(
            ENVIRONMENTS,
            self._namespace,
            "prod",
            lambda found: condition(found, "Ready").get("status") == "True",
            timeout=60,
        )

    async def begin(self) -> None:
        """Count from now on, when all of earlier runs was taken back."""
        await self._taken_back()
        self._before, self._logins = len(self._bao.audit()), self._bao.logins(ROLE)

    async def cost(self) -> VaultCost:
        """What was asked, once everything was taken back, or time is up; to be called when the last run has ended."""
        began = time.monotonic()
        left = await self._taken_back()
        taken_back = time.monotonic() - began
        by_path: Counter[str] = Counter()
        for entry in self._bao.audit(self._before):
            if "root" not in entry.get("auth", {}).get("policies", []):
                by_path[entry["request"]["path"]] += 1
        logins = self._bao.logins(ROLE) - self._logins
        return VaultCost(by_path.total(), logins, dict(by_path), left, taken_back)

    async def _taken_back(self) -> dict[str, int]:
        """What is left when everything was taken back, or time is up."""
        deadline = time.monotonic() + LEFT_WITHIN
        left = await self._left()
        while any(left.values()) and time.monotonic() < deadline:
            await asyncio.sleep(0.25)
            left = await self._left()
        return left

    async def _left(self) -> dict[str, int]:
        records = await self._api.list(CONFIGMAPS, self._namespace, VAULT_RUN)
        held = await self._api.list(SECRETS, self._namespace, RUN_UID)
        tokens = 0
        if not records:  # each token is looked up, which hundreds of them need not be again and again
            tokens = len(await self._bao.run_accessors())
        return {"records": len(records), "Secrets": len(held), "tokens": tokens}


@asynccontextmanager
async def a_vault(plane: ControlPlane, api: Api, namespace: str, folder: Path) -> AsyncIterator[Vault]:
    """A server that the plane's ServiceAccounts log in to, the operator's among them, with one secret."""
    async with OpenBao(folder) as bao:
        await bao.kubernetes_auth(plane, api)
        await bao.kv("secret", 2)
        await bao.put(PATH, {"token": "of no use"})
        await bao.policy(ROLE, {PATH: ["read"]})
        await bao.role(ROLE, namespace, [ROLE])
        await bao.operator(namespace)
        token = folder / "operator-token"
        token.write_text(await token_of(api, namespace, OPERATOR, seconds=7200))
        yield Vault(bao, api, namespace, ["--vault-servers", str(bao.servers_file()), "--vault-token", str(token)])
