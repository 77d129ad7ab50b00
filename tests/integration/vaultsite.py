"""A Vault set up as docs/secrets.md says, whose logins a real API server reviews, with a database behind it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.harness.api import RUNNER, Api
from tests.harness.kinds import NAMESPACES, SERVICE_ACCOUNTS
from tests.harness.openbao import OpenBao
from tests.harness.postgres import Postgres
from tests.harness.vaultadmin import OPERATOR, token_of

from localcluster.controlplane import ControlPlane

CANARY = "canary-3f8a1c"
JWT = {"auth": {"method": "jwt", "mount": "jwt", "audience": "vault"}}
POLICY = {
    "secret/data/team/*": ["read"],
    "kv/team/*": ["read"],
    "pki/issue/web": ["update"],
    "transit/decrypt/orders": ["update"],
    "database/creds/*": ["read"],
    "nowhere/*": ["read"],
}


@dataclass
class Site:
    """A Vault that a cluster's ServiceAccounts log in to.

    Attributes:
        team: namespace whose runner has the role `team`.
        other: namespace whose runner has none.
        system: namespace of the operator.
        folder: with the operator's token in the file `token`.
        sealed: what transit made of the canary and a byte that is no text.
        requests: what a client told of its requests: server, operation, status.
    """

    bao: OpenBao
    api: Api
    postgres: Postgres
    folder: Path
    team: str
    other: str
    system: str
    sealed: str = ""
    requests: list[tuple[str, str, int]] = field(default_factory=list)

    async def jwt(self, namespace: str = "", account: str = RUNNER, audience: str = "vault") -> str:
        """A token of a ServiceAccount, the team's runner where nothing else is said."""
        return await token_of(self.api, namespace or self.team, account, audience=audience)


@asynccontextmanager
async def a_site(control_plane: ControlPlane, folder: Path, name: str) -> AsyncIterator[Site]:
    """A Vault, and namespaces of the cluster that begin with a name."""
    with Postgres() as postgres:
        async with (
            Api(control_plane.server, control_plane.token, control_plane.ca) as api,
            OpenBao(folder / "openbao", tls=True) as bao,
        ):
            made = Site(bao, api, postgres, folder, f"{name}-dev", f"{name}-other", f"{name}-system")
            for namespace in (made.team, made.other):
                await api.make_namespace(namespace)
                await api.create(SERVICE_ACCOUNTS, namespace, {"metadata": {"name": "somebody"}})
            await api.create(NAMESPACES, None, {"metadata": {"name": made.system}})
            await api.create(SERVICE_ACCOUNTS, made.system, {"metadata": {"name": OPERATOR}})
            await _set_up(made, control_plane)
            (folder / "token").write_text(await token_of(api, made.system, OPERATOR, seconds=7200))
            yield made


async def _set_up(site: Site, plane: ControlPlane) -> None:
    bao = site.bao
    await bao.kubernetes_auth(plane, site.api)
    await bao.jwt_auth(plane)
    await bao.operator(site.system)
    await bao.jwt_role(OPERATOR, site.system, [OPERATOR], account=OPERATOR)
    await bao.policy("team", POLICY)
    await bao.role("team", site.team, ["team"])
    await bao.role("batch", site.team, ["team"], token_type="batch")
    await bao.jwt_role("team", site.team, ["team"])
    await bao.kv("secret", 2)
    await bao.kv("kv", 1)
    await bao.put("secret/data/team/api", {"token": "first"})
    await bao.put("secret/data/team/api", {"token": CANARY, "port": 5432, "tls": True, "hosts": ["a", "b"]})
    await bao.put("secret/data/team/deleted", {"token": "x"})
    await bao.request("DELETE", "secret/data/team/deleted")
    await bao.put("secret/data/theirs", {"token": "x"})
    await bao.put("kv/team/api", {"token": CANARY})
    await bao.pki()
    await bao.transit()
    site.sealed = await bao.encrypt(CANARY.encode() + b"\xff")
    pg = site.postgres
    await bao.database(
        host=pg.host, port=pg.port, database="postgres", username="postgres", password=pg.password, ttl="5m"
    )
