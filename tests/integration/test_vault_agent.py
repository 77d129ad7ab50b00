"""The pod's own login, as the process that its init container is, with the packages of the operator's image alone."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pytest
import pytest_asyncio
from tests.harness.api import Object
from tests.harness.interpreter import interpreter
from tests.harness.operator import ROOT
from tests.integration.support import until
from tests.integration.vaultsite import CANARY, JWT, Site, a_site

from dataops_operator.vault.servers import parse_server
from localcluster.controlplane import ControlPlane

pytestmark = pytest.mark.asyncio(loop_scope="module")

API = {"name": "api", "vault": {"path": "secret/data/team/api"}, "keys": [{"key": "token", "name": "TOKEN"}]}
LOADER = {
    "name": "warehouse",
    "vault": {"path": "database/creds/loader"},
    "files": [{"name": "pgpass", "template": "*:*:*:$(username):$(password)"}],
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    async with a_site(control_plane, tmp_path_factory.mktemp("agent"), "agent") as made:
        yield made


@dataclass
class Pod:
    """A pod's directories, and the process of its init container."""

    site: Site
    folder: Path
    written: list[str] = field(default_factory=list)

    @property
    def secrets(self) -> Path:
        return self.folder / "secrets"

    @property
    def told(self) -> Object:
        """The termination message, which is what the kubelet would read."""
        raw = (self.folder / "termination-log").read_bytes()
        assert len(raw) <= 4096
        return orjson.loads(raw) if raw else {}

    async def begin(self, *secrets: Object, wait: float = 0, **more: Any) -> asyncio.subprocess.Process:
        self.secrets.mkdir(parents=True, exist_ok=True)
        (self.folder / "token").write_text(await self.site.jwt())
        (self.folder / "termination-log").touch()
        server = parse_server(self.site.bao.server()).for_agent()
        description = {
            "server": server,
            "role": "team",
            "token": str(self.folder / "token"),
            "directory": str(self.secrets),
            "waitSeconds": wait,
            "secrets": list(secrets),
            **more,
        }
        (self.folder / "agent.json").write_bytes(orjson.dumps(description))
        return await asyncio.create_subprocess_exec(
            *(str(interpreter()), "-m", "dataops_operator.vault.agent"),
            *("--description", str(self.folder / "agent.json")),
            *("--message", str(self.folder / "termination-log")),
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "operator")},
            cwd=self.folder,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )

    async def run(self, *secrets: Object, wait: float = 0, **more: Any) -> int:
        """Its exit code; what it wrote to its log is in `written`."""
        process = await self.begin(*secrets, wait=wait, **more)
        return await self.ended(process)

    async def ended(self, process: asyncio.subprocess.Process) -> int:
        output, _ = await asyncio.wait_for(process.communicate(), 60)
        self.written.append(output.decode())
        assert process.returncode is not None
        return process.returncode

    def files(self) -> dict[str, bytes]:
        return {
            str(one.relative_to(self.secrets)): one.read_bytes() for one in self.secrets.rglob("*") if one.is_file()
        }

    async def logged_in(self) -> str:
        """Wait until it says that it has a token, and which."""

        async def said() -> bool:
            return "accessor" in self.told

        await until(said)
        return str(self.told["accessor"])


@pytest.fixture
def pod(site: Site, tmp_path: Path) -> Pod:
    return Pod(site, tmp_path)


async def test_files_of_every_kind_come_into_memory_and_no_value_leaves_it(pod: Pod) -> None:
    site, before = pod.site, await pod.site.bao.run_accessors()
    web = {
        "name": "web",
        "vault": {"path": "pki/issue/web", "data": [{"name": "common_name", "value": "a.example.test"}]},
        "keys": [{"key": "private_key", "name": "tls.key"}, {"key": "ca_chain", "name": "ca.pem"}],
    }
    opened = {"name": "opened", "vault": {"transit": {"key": "orders", "ciphertext": site.sealed}}}
    old = {"name": "old", "vault": {"path": "secret/data/team/api", "version": 1}}

    assert await pod.run(API, LOADER, web, opened, old) == 0, pod.written

    files = pod.files()
    user, password = files["warehouse/username"].decode(), files["warehouse/password"].decode()
    assert files["api/TOKEN"] == CANARY.encode()
    assert files["warehouse/pgpass"] == f"*:*:*:{user}:{password}".encode()
    assert files["web/tls.key"].startswith(b"-----BEGIN EC PRIVATE KEY-----")
    assert files["opened/plaintext"] == CANARY.encode() + b"\xff"
    assert files["old/token"] == b"first"
    assert files.keys() == {
        "api/TOKEN", "warehouse/username", "warehouse/password", "warehouse/pgpass", "web/tls.key", "web/ca.pem",
        "opened/plaintext", "old/token",
    }  # fmt: skip
    with site.postgres.session(user=user, password=password) as cursor:
        assert cursor.execute("SELECT 1").fetchone() == (1,)

    told = pod.told
    (accessor,) = await site.bao.run_accessors() - before
    assert (told["accessor"], told["ttl"], told["renewable"]) == (accessor, 1200, True)
    assert [(one["id"].rsplit("/", 1)[0], one["renewable"]) for one in told["leases"]] == [
        ("database/creds/loader", True),
        ("pki/issue/web", False),
    ]
    assert [round(one["ttl"], -2) for one in told["leases"]] == [300, 3600]
    assert told["versions"] == [
        {"name": "api", "version": 2, "leased": False},
        {"name": "warehouse", "leased": True},
        {"name": "web", "leased": True},
        {"name": "opened", "leased": False},
        {"name": "old", "version": 1, "leased": False},
    ]
    told_all = f"{told}{pod.written}"
    for value in (CANARY, password, (pod.folder / "token").read_text(), site.sealed):
        assert value not in told_all


async def test_their_owner_alone_may_read_them(pod: Pod) -> None:
    assert await pod.run(API) == 0, pod.written
    modes = {one.name: stat.S_IMODE(one.stat().st_mode) for one in pod.secrets.rglob("*")}
    assert modes == {"api": 0o700, "TOKEN": 0o400}


async def test_a_second_container_over_the_same_memory_writes_all_anew(pod: Pod) -> None:
    for version, content in ((1, b"first"), (2, CANARY.encode())):
        vault = {"path": "secret/data/team/api", "version": version}
        assert await pod.run({**API, "vault": vault}) == 0, pod.written
        assert pod.files() == {"api/TOKEN": content}


async def test_a_pod_logs_in_by_jwt_auth(pod: Pod) -> None:
    server = parse_server(pod.site.bao.server("jwt", **JWT)).for_agent()
    assert await pod.run(API, server=server) == 0, pod.written


FAILURES: dict[str, tuple[Object, str, str]] = {
    "forbidden": (
        {"name": "api", "vault": {"path": "secret/data/theirs"}},
        "VaultForbidden",
        "secret api: Vault server 'default' does not allow it (403)",
    ),
    "missing": ({"name": "api", "vault": {"path": "secret/data/team/none"}}, "SecretNotFound", "secret api: "),
    "a key that is not there": (
        {**API, "keys": [{"key": "tokn"}]},
        "SecretKeyMissing",
        "secret api: no key 'tokn' in it; there are: hosts, port, tls, token",
    ),
}


@pytest.mark.parametrize("failure", FAILURES)
async def test_what_fails_has_a_reason_leaves_no_file_and_gives_back_what_it_got(pod: Pod, failure: str) -> None:
    secret, reason, text = FAILURES[failure]
    users = pod.site.postgres.roles()
    assert await pod.run(LOADER, secret) == 1
    assert pod.told["reason"] == reason
    assert text in pod.told["message"]
    assert text in pod.written[0]
    assert pod.files() == {}
    assert pod.told["accessor"] not in await pod.site.bao.accessors()

    async def nobody_new() -> bool:
        return pod.site.postgres.roles() <= users

    await until(nobody_new)


async def test_a_login_that_is_refused_is_said(pod: Pod) -> None:
    assert await pod.run(API, role="nobody") == 1
    assert pod.told["reason"] == "VaultLoginFailed"
    assert "accessor" not in pod.told


@pytest.mark.parametrize(
    "wrong",
    [
        {"secrets": [{"name": "../etc", "vault": {"path": "secret/data/team/api"}}]},
        {"secrets": [{"name": "api", "vault": {"path": "secret/../sys/seal"}}]},
        {"secrets": [API, API]},
        {"secrets": None},
        {"server": {"name": "x"}},
    ],
)
async def test_a_description_that_is_none_is_refused_before_the_login(pod: Pod, wrong: Object) -> None:
    logins = pod.site.bao.logins()
    assert await pod.run(**wrong) == 1
    assert pod.told["reason"] == "SecretInvalid"
    assert pod.site.bao.logins() == logins
    assert pod.files() == {}


async def test_a_token_that_is_not_there_is_said(pod: Pod) -> None:
    assert await pod.run(API, token=str(pod.folder / "none")) == 1
    assert (pod.told["reason"], pod.told["message"]) == ("Vault", f"No such file or directory: {pod.folder / 'none'}")


async def test_a_sealed_vault_is_waited_for(pod: Pod) -> None:
    await pod.site.bao.seal()
    try:
        process = await pod.begin(API, wait=60)
        await asyncio.sleep(1.5)
        assert process.returncode is None
        assert pod.told == {}
    finally:
        await pod.site.bao.unseal()
    assert await pod.ended(process) == 0, pod.written
    assert pod.files() == {"api/TOKEN": CANARY.encode()}


async def test_one_that_stays_away_is_given_up_in_the_time_that_was_given(pod: Pod) -> None:
    await pod.site.bao.seal()
    try:
        began = time.monotonic()
        assert await pod.run(API, wait=1) == 1
        assert time.monotonic() - began < 20
    finally:
        await pod.site.bao.unseal()
    assert pod.told["reason"] == "VaultUnavailable"
    assert "is sealed or in maintenance (503)" in pod.told["message"]


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
async def test_the_accessor_is_known_however_it_ends(pod: Pod, how: signal.Signals) -> None:
    bao = pod.site.bao
    await bao.request("POST", "sys/quotas/rate-limit/few", {"path": "kv/", "rate": 0.01})
    try:
        slow = [{"name": f"s{number}", "vault": {"path": "kv/team/api"}} for number in range(5)]
        process = await pod.begin(*slow, wait=120)
        accessor = await pod.logged_in()
        assert accessor in await bao.accessors()
        process.send_signal(how)
        assert await pod.ended(process) == (1 if how is signal.SIGTERM else -9)
        assert pod.told["accessor"] == accessor
        if how is signal.SIGTERM:
            assert pod.told["reason"] == "Vault"
            assert accessor not in await bao.accessors()
    finally:
        await bao.request("DELETE", "sys/quotas/rate-limit/few")
