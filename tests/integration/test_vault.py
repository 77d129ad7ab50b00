"""Vault as runs and the operator meet it: a real OpenBao, whose logins a real API server reviews."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from tests.harness.openbao import OpenBao
from tests.harness.vaultadmin import OPERATOR
from tests.harness.vaultadmin import VaultError as Refused
from tests.integration.support import until
from tests.integration.vaultsite import CANARY, JWT, Site, a_site

from dataops_operator.api.secret import VaultSource
from dataops_operator.core.secrets import Fetched
from dataops_operator.vault.client import Login
from dataops_operator.vault.errors import (
    Forbidden,
    Gone,
    Invalid,
    LoginFailed,
    NotConfigured,
    NotFound,
    Unavailable,
    VaultError,
)
from dataops_operator.vault.servers import load_servers
from dataops_operator.vault.session import Vaults
from localcluster.controlplane import ControlPlane

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    async with a_site(control_plane, tmp_path_factory.mktemp("vault"), "vault") as made:
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def vaults(site: Site) -> AsyncIterator[Vaults]:
    """The servers `default` (Kubernetes auth) and `jwt`, with nothing remembered of other tests."""
    site.requests.clear()
    made = make(site)
    yield made
    made.close()


def make(site: Site, **more: Any) -> Vaults:
    file = site.bao.servers_file(site.bao.server("jwt", **JWT), site.bao.server("hasty", timeout="1s"))

    def observe(server: str, operation: str, code: int, _: float) -> None:
        site.requests.append((server, operation, code))

    return Vaults(load_servers(file), str(site.folder / "token"), observe, **more)


async def log_in(site: Site, vaults: Vaults, server: str = "default") -> Login:
    return await vaults.login(server, "team", await site.jwt())


def source(**fields: Any) -> VaultSource:
    return VaultSource.model_validate(fields)


# Login.


@pytest.mark.parametrize("server", ["default", "jwt"])
async def test_a_run_logs_in_as_its_service_account(site: Site, vaults: Vaults, server: str) -> None:
    login = await log_in(site, vaults, server)
    there = (await site.bao.accessors())[login.accessor]
    assert (there["policies"], login.ttl, login.renewable) == (["default", "team"], 1200, True)
    assert login.token not in repr(login)


@pytest.mark.parametrize("server", ["default", "jwt"])
@pytest.mark.parametrize(
    ("role", "who"),
    [
        ("team", {"audience": "https://kubernetes.default.svc"}),
        ("team", {"account": "somebody"}),
        ("team", {"namespace": "other"}),
        ("nobody", {}),
    ],
    ids=["another audience", "another ServiceAccount", "another namespace", "no such role"],
)
async def test_a_login_that_is_not_due_is_refused(
    site: Site, vaults: Vaults, server: str, role: str, who: dict[str, str]
) -> None:
    jwt = await site.jwt(**{key: site.other if key == "namespace" else value for key, value in who.items()})
    with pytest.raises(LoginFailed) as caught:
        await vaults.login(server, role, jwt)
    assert caught.value.reason == "VaultLoginFailed"
    assert caught.value.final
    text = str(caught.value)
    assert f"role '{role}' of auth/" in text
    assert "must exist, be bound to this ServiceAccount and namespace, and to audience 'vault'" in text
    assert "authorized" not in text, "that is what the server said, in its own words"


async def test_one_role_can_be_for_all_branches_of_a_project(site: Site, vaults: Vaults) -> None:
    await site.bao.role("branches", f"{site.team.partition('-')[0]}-*", ["team"])
    for namespace in (site.team, site.other):
        assert await vaults.login("default", "branches", await site.jwt(namespace))
    await site.api.make_namespace("elsewhere-dev")
    with pytest.raises(LoginFailed):
        await vaults.login("default", "branches", await site.jwt("elsewhere-dev"))


async def test_a_token_that_nobody_could_revoke_is_not_used(site: Site, vaults: Vaults) -> None:
    with pytest.raises(LoginFailed, match="set token_type=service on the role"):
        await vaults.login("default", "batch", await site.jwt())


async def test_a_login_whose_run_has_gone_meanwhile_is_given_back(site: Site, vaults: Vaults) -> None:
    before, jwt = await site.bao.run_accessors(), await site.jwt()
    asked = asyncio.create_task(vaults.login("default", "team", jwt))
    await asyncio.sleep(0)  # it is on its way
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked

    async def counted() -> bool:
        return ("default", "revoke", 204) in site.requests

    await until(counted)
    assert await site.bao.run_accessors() == before


async def test_there_is_no_server_but_the_administrators(vaults: Vaults) -> None:
    assert not vaults.knows("theirs")
    with pytest.raises(NotConfigured, match=r"no Vault server 'theirs'.* there are: default, hasty, jwt"):
        await vaults.login("theirs", "team", "x")


# Kinds.


async def read(site: Site, vaults: Vaults, **fields: Any) -> Fetched:
    login = await log_in(site, vaults)
    return await vaults.read("default", login.token, source(**fields))


async def test_kv_version_2_gives_the_latest_and_says_which(site: Site, vaults: Vaults) -> None:
    found = await read(site, vaults, path="secret/data/team/api")
    assert found.values == {"token": CANARY.encode(), "port": b"5432", "tls": b"true", "hosts": b"a\nb"}
    assert (found.version, found.lease_id) == (2, "")
    assert CANARY not in repr(found)


async def test_kv_version_2_gives_the_pinned_version(site: Site, vaults: Vaults) -> None:
    found = await read(site, vaults, path="secret/data/team/api", version=1)
    assert (found.values, found.version) == ({"token": b"first"}, 1)


async def test_kv_version_1_has_no_versions(site: Site, vaults: Vaults) -> None:
    found = await read(site, vaults, path="kv/team/api")
    assert (found.values, found.version, found.lease_id) == ({"token": CANARY.encode()}, None, "")


async def test_pki_issues_what_is_asked_for(site: Site, vaults: Vaults) -> None:
    data = [{"name": "common_name", "value": "job.example.test"}, {"name": "ttl", "value": "10m"}]
    found = await read(site, vaults, path="pki/issue/web", data=data)
    assert found.values["private_key"].startswith(b"-----BEGIN EC PRIVATE KEY-----")
    assert found.values["ca_chain"].endswith(b"-----END CERTIFICATE-----")
    assert found.lease_id.startswith("pki/issue/web/")
    assert 590 <= found.lease_seconds <= 600
    assert not found.renewable


async def test_a_login_of_a_database_is_made_and_works(site: Site, vaults: Vaults) -> None:
    found = await read(site, vaults, path="database/creds/loader")
    user, password = found.values["username"].decode(), found.values["password"].decode()
    with site.postgres.session(user=user, password=password) as cursor:
        assert cursor.execute("SELECT current_user").fetchone() == (user,)
    assert (found.lease_seconds, found.renewable) == (300, True)


async def test_transit_decrypts_bytes(site: Site, vaults: Vaults) -> None:
    found = await read(site, vaults, transit={"key": "orders", "ciphertext": site.sealed})
    assert found.values == {"plaintext": CANARY.encode() + b"\xff"}


PROBLEMS: dict[str, tuple[dict[str, Any], type[VaultError], str]] = {
    "nothing there": ({"path": "secret/data/team/none"}, NotFound, "no such secret, or its latest version was deleted"),
    "deleted": ({"path": "secret/data/team/deleted"}, NotFound, "no such secret, or its latest version was deleted"),
    "no such version": (
        {"path": "secret/data/team/api", "version": 7},
        NotFound,
        "no version 7 at that path, or it was deleted",
    ),
    "no such engine": ({"path": "nowhere/x"}, NotFound, "no such path"),
    "a version where there are none": ({"path": "kv/team/api", "version": 1}, Invalid, "remove version"),
    "somebody else's": ({"path": "secret/data/theirs"}, Forbidden, "does not allow it (403): the role's policies must"),
    "KV version 2 without data/": ({"path": "secret/team/api"}, Forbidden, "does not allow it (403)"),
    "another method": ({"path": "pki/issue/web"}, Forbidden, "(403)"),
    "no ciphertext": (
        {"transit": {"key": "orders", "ciphertext": f"vault:v1:{CANARY}"}},
        Invalid,
        "Vault server 'default' cannot do that (400)",
    ),
    "fields that the engine refuses": (
        {"path": "pki/issue/web", "data": [{"name": "common_name", "value": f"{CANARY}.elsewhere.test"}]},
        Invalid,
        "Vault server 'default' cannot do that (400)",
    ),
}


@pytest.mark.parametrize("problem", PROBLEMS)
async def test_what_is_wrong_is_said_in_our_words(site: Site, vaults: Vaults, problem: str) -> None:
    fields, kind, text = PROBLEMS[problem]
    with pytest.raises(kind) as caught:
        await read(site, vaults, **fields)
    assert text in str(caught.value)
    assert CANARY not in str(caught.value)
    assert caught.value.final


# Life.


async def test_a_revoked_token_is_of_no_use_and_takes_what_it_leased_along(site: Site, vaults: Vaults) -> None:
    login = await log_in(site, vaults)
    found = await vaults.read("default", login.token, source(path="database/creds/loader"))
    user = found.values["username"].decode()
    assert user in site.postgres.roles()

    await vaults.revoke_accessor("default", login.accessor)

    async def gone() -> bool:
        leases = await site.bao.leases("database/creds/loader")
        return user not in site.postgres.roles() and found.lease_id not in leases

    await until(gone)
    with pytest.raises(Forbidden):
        await vaults.read("default", login.token, source(path="kv/team/api"))


async def test_a_revoked_lease_is_gone_when_that_is_said(site: Site, vaults: Vaults) -> None:
    found = await read(site, vaults, path="database/creds/loader")
    assert found.values["username"].decode() in site.postgres.roles()
    await vaults.revoke_lease("default", found.lease_id)
    assert found.values["username"].decode() not in site.postgres.roles()


async def test_tokens_and_leases_are_renewed_without_the_token(site: Site, vaults: Vaults) -> None:
    login = await log_in(site, vaults)
    found = await vaults.read("default", login.token, source(path="database/creds/loader"))
    assert await vaults.renew_lease("default", found.lease_id, 600) == 600
    assert await vaults.renew_accessor("default", login.accessor) == 1200


async def test_what_has_ended_cannot_be_renewed_and_needs_no_revoking(site: Site, vaults: Vaults) -> None:
    login = await log_in(site, vaults)
    found = await vaults.read("default", login.token, source(path="database/creds/loader"))
    for _ in range(2):
        await vaults.revoke_lease("default", found.lease_id)
        await vaults.revoke_accessor("default", login.accessor)
    with pytest.raises(Gone):
        await vaults.renew_lease("default", found.lease_id, 60)
    with pytest.raises(Gone):
        await vaults.renew_accessor("default", login.accessor)


# The operator itself.


async def test_the_operator_logs_in_once_for_all(site: Site, vaults: Vaults) -> None:
    logins = [await log_in(site, vaults) for _ in range(5)]
    before = site.requests.count(("default", "login", 200))
    await asyncio.gather(*(vaults.renew_accessor("default", one.accessor) for one in logins * 4))
    assert site.requests.count(("default", "login", 200)) == before + 1


async def test_the_operator_logs_in_again_when_its_token_has_ended(
    site: Site, vaults: Vaults, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dataops_operator.vault.session.AGAIN", 0.0)
    login = await log_in(site, vaults)
    before = set(await site.bao.accessors())
    await vaults.renew_accessor("default", login.accessor)
    (own,) = set(await site.bao.accessors()) - before
    await site.bao.request("POST", "auth/token/revoke-accessor", {"accessor": own})
    assert await vaults.renew_accessor("default", login.accessor) == 1200


@pytest.mark.parametrize(
    "path", ["secret/data/team/api", "kv/team/api", "database/creds/loader", "auth/token/accessors"]
)
async def test_the_operator_itself_may_read_nothing(site: Site, path: str) -> None:
    jwt = (site.folder / "token").read_text()
    auth = (await site.bao.request("POST", "auth/kubernetes/login", {"role": OPERATOR, "jwt": jwt}, token=""))["auth"]
    with pytest.raises(Refused) as caught:
        await site.bao.request("LIST" if "accessors" in path else "GET", path, token=auth["client_token"])
    assert caught.value.status == 403


async def test_a_token_file_that_is_not_there_is_said(site: Site) -> None:
    blind = Vaults(load_servers(site.bao.servers_file()), str(site.folder / "{server}" / "none"))
    with pytest.raises(LoginFailed, match=r"token for Vault server 'default' cannot be read .*see --vault-token"):
        await blind.renew_accessor("default", "x")
    blind.close()


# When Vault is away.


async def test_a_sealed_vault_is_unavailable_until_it_is_opened(site: Site, vaults: Vaults) -> None:
    login, jwt = await log_in(site, vaults), await site.jwt()
    await site.bao.seal()
    try:
        for call in (
            vaults.login("default", "team", jwt),
            vaults.read("default", login.token, source(path="kv/team/api")),
            vaults.revoke_accessor("default", login.accessor),
        ):
            with pytest.raises(Unavailable, match=r"is sealed or in maintenance \(503\)") as caught:
                await call
            assert not caught.value.final
    finally:
        await site.bao.unseal()
    assert (await vaults.read("default", login.token, source(path="kv/team/api"))).values
    await vaults.revoke_accessor("default", login.accessor)


async def test_one_that_does_not_answer_is_given_up_in_time_and_the_loop_goes_on(site: Site, vaults: Vaults) -> None:
    jwt, turns = await site.jwt(), 0
    with site.bao.frozen():
        began = time.monotonic()
        asked = asyncio.create_task(vaults.login("hasty", "team", jwt))
        while not asked.done():
            await asyncio.sleep(0.01)
            turns += 1
        with pytest.raises(Unavailable, match="did not answer within 1 s"):
            await asked
        assert time.monotonic() - began < 20, "it waited for the server"
    assert turns > 10, "the event loop stood still"


async def test_a_breaker_leaves_a_dead_server_alone_and_takes_it_up_again(site: Site) -> None:
    told: list[tuple[str, bool]] = []
    vaults = make(site, breaker_changed=lambda *change: told.append(change))
    jwt = await site.jwt()
    site.bao.kill()
    try:
        for _ in range(5):
            with pytest.raises(Unavailable, match="cannot be reached"):
                await vaults.login("default", "team", jwt)
        site.requests.clear()
        for _ in range(20):
            with pytest.raises(Unavailable, match=r"has not answered 5 times in a row and is left alone for \d s"):
                await vaults.login("default", "team", jwt)
        assert site.requests == [], "it was asked all the same"
        assert told == [("default", True)]
        with pytest.raises(Unavailable, match="cannot be reached"):
            await vaults.login("jwt", "team", jwt)  # each server has its own
    finally:
        await site.bao.start()

    async def answers() -> bool:
        try:
            return bool(await vaults.login("default", "team", jwt))
        except Unavailable:
            return False

    await until(answers, within=15)
    assert told == [("default", True), ("default", False)]
    vaults.close()


async def test_a_quota_of_requests_is_waited_out_and_opens_no_breaker(site: Site, vaults: Vaults) -> None:
    login = await log_in(site, vaults)
    await site.bao.request("POST", "sys/quotas/rate-limit/few", {"path": "kv/", "rate": 1})
    try:
        asked = [vaults.read("default", login.token, source(path="kv/team/api")) for _ in range(8)]
        found = await asyncio.gather(*asked, return_exceptions=True)
        refused = [one for one in found if isinstance(one, Unavailable)]
        assert len(refused) >= 6
        assert {(one.code, one.final) for one in refused} == {(429, False)}
        assert "takes no more requests now (429)" in str(refused[0])
        assert (await vaults.read("default", login.token, source(path="secret/data/team/api"))).version == 2
    finally:
        await site.bao.request("DELETE", "sys/quotas/rate-limit/few")


async def test_a_server_with_a_certificate_of_somebody_else_is_told_nothing(site: Site, tmp_path: Path) -> None:
    async with OpenBao(tmp_path / "other", tls=True) as other:
        servers = load_servers(site.bao.servers_file(site.bao.server("false", ca=str(other.ca))))
        vaults = Vaults(servers)
        asked = len(site.bao.audit())
        with pytest.raises(Unavailable, match="certificate of Vault server 'false' is not trusted; see its `ca`"):
            await vaults.login("false", "team", await site.jwt())
        assert len(site.bao.audit()) == asked
        vaults.close()


# Nothing is told.


async def test_nothing_of_a_secret_is_logged_at_any_level(
    site: Site, vaults: Vaults, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    jwt = await site.jwt()
    login = await vaults.login("default", "team", jwt)
    found = await vaults.read("default", login.token, source(path="secret/data/team/api"))
    made = await vaults.read("default", login.token, source(path="database/creds/loader"))
    sealed = source(transit={"key": "orders", "ciphertext": site.sealed})
    await vaults.read("default", login.token, sealed)
    with pytest.raises(Invalid):
        await vaults.read("default", login.token, source(**PROBLEMS["fields that the engine refuses"][0]))
    await vaults.renew_lease("default", made.lease_id, 60)
    await vaults.revoke_accessor("default", login.accessor)
    written = capfd.readouterr()
    seen = f"{caplog.text}{[record.args for record in caplog.records]}{written.out}{written.err}{found}{made}"
    for value in (CANARY, login.token, jwt, site.sealed, made.values["password"].decode()):
        assert value not in seen
