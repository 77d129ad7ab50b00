"""All servers, for the event loop: a few threads each, a breaker each, the operator's own login, once for all."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from ..api.secret import VaultSource
from ..core.secrets import Fetched
from .breaker import Breaker
from .errors import Forbidden, LoginFailed, NotConfigured, Unavailable, VaultError
from .reader import fetch
from .servers import Server

if TYPE_CHECKING:
    from .client import Client, Login, Observe

THREADS: Final = 4
"""Requests at once to one server."""
AGAIN: Final = 5.0
"""Seconds between two logins of the operator itself that a refusal has brought about."""

_T = TypeVar("_T")
BreakerChanged = Callable[[str, bool], None]


class Vaults:
    """The servers that the administrator defined, by name. All calls raise VaultError.

    Args:
        servers: by name.
        token_file: file with the token that the operator logs in with; `{server}` in it is the server's name.
        observe: told of each request: server, operation, HTTP status, seconds.
        breaker_changed: told when a server is left alone, and when it is asked again.
    """

    def __init__(
        self,
        servers: Mapping[str, Server],
        token_file: str = "",
        observe: Observe | None = None,
        breaker_changed: BreakerChanged | None = None,
    ) -> None:
        self._sides = {
            name: _Side(server, token_file.replace("{server}", name), observe, breaker_changed)
            for name, server in servers.items()
        }

    def knows(self, server: str) -> bool:
        """Whether there is a server of that name."""
        return server in self._sides

    def audience(self, server: str) -> str:
        """Whom a token must be for to log in there."""
        return self._side(server).server.audience

    def agent(self, server: str) -> Mapping[str, Any]:
        """Where and how a pod logs in by itself, as `vault.agent` reads it."""
        found = self._side(server).server
        try:
            return found.for_agent()
        except OSError:
            raise Unavailable(f"Vault server {server!r}: its authorities cannot be read; see its `ca`") from None

    def server(self, name: str) -> Server:
        """What the administrator said of a server."""
        return self._side(name).server

    async def login(self, server: str, role: str, jwt: str) -> Login:
        """Log in as a run, with a token of its ServiceAccount."""
        side = self._side(server)
        asked = asyncio.ensure_future(side.call(lambda client: client.login(role, jwt)))
        try:
            return await asyncio.shield(asked)
        except asyncio.CancelledError:
            # What nobody takes, nobody would revoke.
            asked.add_done_callback(side.abandon)
            raise

    async def log_out(self, server: str, login: Login) -> None:
        """Revoke a login by its own token; with it goes what was leased with it."""
        await self._side(server).call(lambda client: client.revoke_self(login.token))

    async def read(self, server: str, token: str, source: VaultSource) -> Fetched:
        """Read one source, as whoever the token is.

        Raises:
            CredentialError: a value is no text that a file could have.
        """
        return await self._side(server).call(lambda client: fetch(client, token, source))

    async def renew_accessor(self, server: str, accessor: str, seconds: float = 0) -> float:
        """Renew a token by so many seconds, and by the server's `renewFor` at least; its new life in seconds.

        Raises Gone where it has ended.
        """
        side = self._side(server)
        life = max(seconds, side.server.renew_for)
        return await side.as_operator(lambda client, token: client.renew_accessor(accessor, life, token))

    async def renew_lease(self, server: str, lease_id: str, seconds: float) -> float:
        """Renew a lease by so many seconds; its new life in seconds. Raises Gone where it has ended."""
        return await self._side(server).as_operator(lambda client, token: client.renew_lease(lease_id, seconds, token))

    async def revoke_accessor(self, server: str, accessor: str) -> None:
        """Revoke a token. Vault revokes what was leased with it, soon after. May raise Gone where it has ended."""
        await self._side(server).as_operator(lambda client, token: client.revoke_accessor(accessor, token))

    async def revoke_lease(self, server: str, lease_id: str) -> None:
        """Revoke a lease, and know that it is done. May raise Gone where it has ended."""
        await self._side(server).as_operator(lambda client, token: client.revoke_lease(lease_id, token))

    async def check(self, server: str) -> None:
        """Log in as the operator, unless it is: whether the server serves, and knows the operator's role."""
        await self._side(server).operator_token(None)

    def close(self) -> None:
        """End the threads; requests under way end by themselves."""
        for side in self._sides.values():
            side.close()

    def _side(self, name: str) -> _Side:
        if name not in self._sides:
            there = ", ".join(sorted(self._sides)) or "none"
            cure = f"the administrator defines them in the chart's vault.servers; there are: {there}"
            raise NotConfigured(f"there is no Vault server {name!r}: {cure}")
        return self._sides[name]


class _Side:
    """One server, as the event loop has it."""

    def __init__(
        self, server: Server, token_file: str, observe: Observe | None, breaker_changed: BreakerChanged | None
    ) -> None:
        self.server = server
        self._token_file = token_file
        self._changed = breaker_changed
        # hvac and requests take 7 MB, which an operator without a Vault need not have.
        from .client import Client

        self._client = Client(server, observe)
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix=f"vault-{server.name}")
        self._turns = asyncio.Semaphore(THREADS)
        self._breaker = Breaker()
        self._own: Login | None = None
        self._own_until = 0.0
        self._own_since = float("-inf")
        self._own_lock = asyncio.Lock()

    async def call(self, ask: Callable[[Client], _T]) -> _T:
        """Ask in a thread, unless the server is left alone.

        Raises:
            VaultError: what the server said, or that it is left alone.
        """
        async with self._turns:
            now = time.monotonic()
            if not self._breaker.admits(now):
                wait = self._breaker.wait(now)
                text = f"has not answered {self._breaker.failures} times in a row and is left alone for {wait:.0f} s"
                raise Unavailable(f"Vault server {self.server.name!r} {text}")
            was = self._breaker.open
            try:
                found = await asyncio.get_running_loop().run_in_executor(self._threads, ask, self._client)
            except Unavailable as error:
                # Too many requests is an answer: to wait is for whoever asked, not for all others.
                if error.code == 429:
                    self._breaker.succeeded()
                else:
                    self._breaker.failed(time.monotonic())
                raise
            except asyncio.CancelledError:
                self._breaker.abandoned()
                raise
            except BaseException:
                self._breaker.succeeded()
                raise
            else:
                self._breaker.succeeded()
                return found
            finally:
                if self._changed is not None and was is not self._breaker.open:
                    self._changed(self.server.name, self._breaker.open)

    async def as_operator(self, ask: Callable[[Client, str], _T]) -> _T:
        """Ask as the operator itself; a refusal of a token that may have ended is asked again with a new one."""
        login = await self.operator_token(None)
        try:
            return await self.call(lambda client: ask(client, login.token))
        except Forbidden:
            again = await self.operator_token(login)
            if again is login:
                raise
        return await self.call(lambda client: ask(client, again.token))

    async def operator_token(self, refused: Login | None) -> Login:
        """The operator's own login: one, for everybody; another one when most of its life is over.

        Args:
            refused: the one that a request was refused with; it is not given again, unless it is from just now.
        """
        async with self._own_lock:
            now = time.monotonic()
            stale = self._own is refused and now > self._own_since + AGAIN
            if self._own is None or stale or now > self._own_until:
                jwt = await asyncio.get_running_loop().run_in_executor(self._threads, self._read_token)
                role = self.server.operator_role
                self._own = await self.call(lambda client: client.login(role, jwt))
                now = time.monotonic()
                self._own_since = now
                self._own_until = now + (self._own.ttl * 2 / 3 if self._own.ttl else float("inf"))
            return self._own

    def _read_token(self) -> str:
        try:
            return Path(self._token_file).read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            text = f"the operator's token for Vault server {self.server.name!r} cannot be read"
            raise LoginFailed(f"{text} ({type(error).__name__}): see --vault-token") from None

    def abandon(self, asked: asyncio.Future[Login]) -> None:
        """Revoke a login that came when nobody waited for it any more."""
        if asked.cancelled() or asked.exception() is not None:
            return
        login = asked.result()

        def revoke() -> None:
            try:
                self._client.revoke_self(login.token)
            except VaultError:
                return  # its own end is what is left

        self._threads.submit(revoke)

    def close(self) -> None:
        """End the threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)
