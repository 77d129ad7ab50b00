"""A world with a real OpenBao in it, and what every case with secrets must leave behind: nothing."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
from tests.harness.api import Api, Object
from tests.harness.canary import canary, leaks, revision
from tests.harness.kinds import CONFIGMAPS, RUN_UID, SECRETS, SERVICE_ACCOUNTS
from tests.harness.openbao import OpenBao
from tests.harness.vaultadmin import AUDIENCE, OPERATOR, token_of
from tests.integration.standing import stands
from tests.integration.support import Case, World, a_world, spec, step, until

from localcluster.controlplane import ControlPlane

AGENT_IMAGE = "example.test/dataops-operator:1"
VAULT_RUN = "dataops.dev/vault-run"
GONE_WITHIN = 75.0
"""Seconds after a run's end in which nothing of its secrets is left."""
LIVES = "20m"
JWT = {"auth": {"method": "jwt", "mount": "jwt", "audience": AUDIENCE}}
"""How logins go to the server that is called `by-jwt`."""


@dataclass
class VaultCase(Case):
    """A case whose namespace belongs to an Environment that reads secrets as the role of its name."""

    bao: OpenBao = field(kw_only=True)
    records_in: str = field(kw_only=True)
    """The operator's own namespace, where records are."""
    values: list[str] = field(default_factory=list)
    """Canaries that the case's secrets have."""
    trials: int = 0
    """Logins by which the operator tried whether the case's runs can."""

    async def environment(self, ttl: str = LIVES, rules: dict[str, list[str]] | None = None, **vault: Any) -> Object:
        """An Environment that stands, its role, and the secret `api` with the keys `token` and `url`."""
        await self.role(ttl, rules)
        await self.put("api", token=self.value("token"), url="https://api.example")
        made = await stands(self, vault={"role": self.namespace, **vault})
        self.trials = self.bao.logins(self.namespace)
        return made

    async def role(self, ttl: str = LIVES, rules: dict[str, list[str]] | None = None, **more: Any) -> None:
        """The Vault role of the case; it may read what is below its name."""
        may = {f"secret/data/{self.namespace}/*": ["read"], f"pki/issue/{self.namespace}": ["update"], **(rules or {})}
        await self.bao.policy(self.namespace, may)
        await self.bao.role(self.namespace, self.namespace, [self.namespace], ttl=ttl, **more)

    def value(self, name: str) -> str:
        """A value that must not be found anywhere after."""
        found = canary(f"{self.namespace}-{name}")
        self.values.append(found)
        return found

    async def put(self, name: str, **values: str) -> None:
        """Write a secret of the case."""
        await self.bao.put(f"secret/data/{self.namespace}/{name}", values)

    def source(self, name: str = "api", **more: Any) -> Object:
        """A secret of a Pipeline, of that name here and there."""
        return {"name": name, "vault": {"path": f"secret/data/{self.namespace}/{name}"}, **more}

    def leased(self, name: str = "cert") -> Object:
        """A secret that Vault makes for the run and takes back."""
        data = [{"name": "common_name", "value": f"{name}.example.test"}]
        return {"name": name, "vault": {"path": f"pki/issue/{self.namespace}", "data": data}}

    async def simple(self, *steps: Object, secrets: list[Object] | None = None) -> None:
        """A Pipeline with the secret `api`; one step `a` uses it, where none are given."""
        chosen = steps or (step("a", secrets=[{"name": "api"}]),)
        await self.ready(spec(*chosen, secrets=secrets or [self.source()]))

    # What there is.

    async def held(self) -> list[Object]:
        """The Secrets that runs of the case have now."""
        return await self.api.list(SECRETS, self.namespace, RUN_UID)

    async def contents(self) -> dict[str, str]:
        """What lies in the one Secret that there is."""
        (secret,) = await self.held()
        return {key: base64.b64decode(value).decode() for key, value in secret["data"].items()}

    async def records(self) -> list[Object]:
        """What the records of the case's runs say."""
        found = await self.api.list(CONFIGMAPS, self.records_in, VAULT_RUN)
        said = [orjson.loads(one["data"]["record"]) for one in found]
        return [one for one in said if one["run"]["namespace"] == self.namespace]

    async def tokens(self) -> list[str]:
        """Accessors of the tokens that runs of the case hold."""
        held = await self.bao.accessors()
        return [key for key, one in held.items() if (one.get("meta") or {}).get("role") == self.namespace]

    async def leases(self) -> list[str]:
        """Leases that runs of the case hold."""
        return await self.bao.leases(f"pki/issue/{self.namespace}")

    def logins(self) -> int:
        """Logins of the case's runs so far."""
        return self.bao.logins(self.namespace) - self.trials

    async def nothing_left(self, within: float = GONE_WITHIN) -> None:
        """Wait until nothing of the case's secrets is left anywhere."""
        left: Object = {}

        async def gone() -> bool:
            left["Secrets"] = [one["metadata"]["name"] for one in await self.held()]
            left["records"] = await self.records()
            left["tokens"] = await self.tokens()
            left["leases"] = await self.leases()
            return not any(left.values())

        try:
            await until(gone, within)
        except TimeoutError:
            raise AssertionError(f"after {within} s there are left: {left}") from None


class VaultWorld(World):
    """What the cases of a module share: also the server."""

    bao: OpenBao
    records_in: str
    values: list[str]

    @asynccontextmanager
    async def case(self, name: str) -> AsyncIterator[VaultCase]:
        """A case; at its end nothing is left, and its canaries are nowhere."""
        since = await revision(self.api)
        async with super().case(name) as plain:
            case = VaultCase(**vars(plain), bao=self.bao, records_in=self.records_in)
            yield case
            await case.nothing_left()
            self.values += case.values
            operators = [self.operator] if self.operator is not None else []
            # Other cases go on beside: their Secrets may be there.
            found = await leaks(case.values, self.plane, operators=operators, secrets=True, since=since)
            assert not found, "\n".join(map(str, found))


@asynccontextmanager
async def a_vault(plane: ControlPlane, folder: Path) -> AsyncIterator[OpenBao]:
    """A server with login by the plane's tokens, and the engines that the cases use."""
    async with OpenBao(folder) as bao, Api(plane.server, plane.token, plane.ca) as api:
        await bao.kubernetes_auth(plane, api)
        await bao.jwt_auth(plane)
        await bao.kv("secret", 2)
        await bao.kv("kv", 1)
        await bao.pki()
        await bao.transit()
        yield bao


async def flags(bao: OpenBao, folder: Path, api: Api, namespace: str, **server: Any) -> list[str]:
    """What an operator in a namespace is told of a server, with a token and a role of its own.

    Args:
        bao: the server.
        folder: for files.
        api: an administrator's session.
        namespace: the operator's.
        **server: fields of the server's definition.
    """
    if not await api.find(SERVICE_ACCOUNTS, namespace, OPERATOR):
        await api.create(SERVICE_ACCOUNTS, namespace, {"metadata": {"name": OPERATOR}})
    await bao.operator(namespace)
    await bao.jwt_role(OPERATOR, namespace, [OPERATOR], account=OPERATOR)
    file = folder / f"{namespace}-vault-token"
    file.write_text(await token_of(api, namespace, OPERATOR, seconds=3600))
    servers = folder / f"{namespace}-servers.json"
    both = [bao.server(**server), bao.server("by-jwt", **JWT, **server)]
    servers.write_bytes(orjson.dumps({"servers": both}))
    return ["--vault-servers", str(servers), "--vault-token", str(file), "--agent-image", AGENT_IMAGE]


@asynccontextmanager
async def a_vault_world(plane: ControlPlane, logs: Path, *arguments: str) -> AsyncIterator[VaultWorld]:
    """A world with a server; the operator logs at level debug, where most would leak."""
    async with a_vault(plane, logs / "bao") as bao, Api(plane.server, plane.token, plane.ca) as api:
        namespace = f"vault-{logs.name.replace('_', '-')}"
        await api.make_namespace(namespace)
        words = [*await flags(bao, logs, api, namespace), "--log-level", "debug", *arguments]
        async with a_world(plane, logs, *words, lease_namespace=namespace) as plain:
            world = VaultWorld(plain.plane, plain.api, plain.operator, plain.script, plain.logs)
            world.bao, world.records_in, world.values = bao, namespace, []
            yield world
            assert plain.operator is not None
            found = await leaks(world.values, plane, operators=[plain.operator])
            assert not found, "\n".join(map(str, found))
