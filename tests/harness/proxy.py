"""A proxy between the operator and the API server that numbers every write, and breaks what a `Fault` says.

Plain HTTP in front on loopback, TLS and the test's own token behind. Writes are numbered from 1 in the
order in which they arrive; those to Leases and Events are counted beside, since their number depends on
time. What can go wrong is in `tests.harness.faults`.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import aiohttp
import orjson
from aiohttp import web
from tests.harness.api import Object, lines

WRITES = frozenset({"POST", "PUT", "PATCH", "DELETE"})
BESIDE = frozenset({"leases", "events"})
HOP_BY_HOP = frozenset({"host", "authorization", "connection", "content-length", "transfer-encoding"})
DROPPED_FROM_ANSWER = frozenset({"content-encoding", "content-length", "transfer-encoding", "connection"})


@dataclass
class Call:
    """One request of the operator."""

    method: str
    path: str
    query: str
    body: bytes
    number: int = 0
    """From 1 for the writes that count; 0 for reads, Leases and Events."""
    answered: int = 0
    """The API server's status; 0 if it was not asked or has not answered."""
    events: int = 0
    """Of a watch: how many events came so far."""

    @property
    def plural(self) -> str:
        """The kind's plural: `jobs`."""
        return self._parts()[0]

    @property
    def is_watch(self) -> bool:
        """Whether the answer is a stream of events."""
        return self.method == "GET" and ("watch=true" in self.query or "watch=1" in self.query)

    @property
    def is_list(self) -> bool:
        """Whether a whole collection is asked for, once."""
        return self.method == "GET" and len(self._parts()) == 1 and not self.is_watch

    def __str__(self) -> str:
        """As a failing test names it: `write 5: POST jobs`."""
        kind = f"write {self.number}" if self.number else "call"
        return f"{kind}: {self.method} {'/'.join(self._parts())} -> {self.answered or 'not forwarded'}"

    def _parts(self) -> list[str]:
        """The plural, the name, the subresource, as many as the path has."""
        parts = self.path.strip("/").split("/")
        parts = parts[2:] if parts[0] == "api" else parts[3:]
        if len(parts) > 2 and parts[0] == "namespaces":
            parts = parts[2:]
        return parts or [""]


@dataclass(frozen=True)
class Answer:
    """A whole answer: status, body, and headers that matter."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)


Forward = Callable[[], Awaitable[Answer]]


class Fault:
    """Something that goes wrong; this one, nothing. Override what the fault is about."""

    def __init__(self) -> None:
        self.hits: list[str] = []

    def struck(self) -> list[str]:
        """What it hit so far; a fault that never struck has proven nothing."""
        return self.hits

    async def write(self, call: Call, forward: Forward) -> Answer | None:
        """Answer a numbered write; None drops the connection without an answer."""
        return await forward()

    async def read(self, call: Call, forward: Forward) -> Answer | None:
        """Answer a get or a list."""
        return await forward()

    async def event(self, call: Call, line: bytes) -> bytes | None:
        """What becomes of one line of a watch: what is sent instead, None for nothing.

        Raises:
            Dropped: the watch's connection is cut, after the line it carries, if any.
        """
        return line


class Dropped(Exception):  # noqa: N818 - an order to cut, not an error
    """Cut this watch; `last` is sent before, if there is any."""

    def __init__(self, last: bytes = b"") -> None:
        super().__init__()
        self.last = last


class Proxy:
    """The proxy as an asynchronous context manager.

    Args:
        server, token, ca: the API server behind, as for `Api`; nothing is added where the token is empty.
        fault: what goes wrong; may be changed at any time.
        beside: plurals whose writes are not numbered.

    `writes` are the numbered writes so far, `beside` counts those to Leases and Events by plural.
    """

    calls: type[Call] = Call

    def __init__(
        self,
        server: str,
        token: str,
        ca: str | Path | None,
        fault: Fault | None = None,
        beside: frozenset[str] = BESIDE,
    ) -> None:
        self.fault = fault or Fault()
        self.writes: list[Call] = []
        self.beside: dict[str, int] = {}
        self.url = ""
        self._server = server.rstrip("/")
        self._token = token
        self._tls = ssl.create_default_context(cafile=str(ca)) if ca else None
        self._not_numbered = beside
        self._session: aiohttp.ClientSession | None = None
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(limit=0, ssl=self._tls or True)
        headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        self._session = aiohttp.ClientSession(connector=connector, headers=headers, auto_decompress=True)
        app = web.Application(client_max_size=16 * 1024 * 1024)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1, handler_cancellation=True)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._runner:
            await self._runner.cleanup()
        if self._session:
            await self._session.close()

    def counts(self, call: Call) -> bool:
        """Whether a call is numbered, or counted beside."""
        return call.method in WRITES

    def kubeconfig(self, path: Path) -> Path:
        """Write a kubeconfig that leads through the proxy, and give back its path."""
        name = "proxy"
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": name,
            "clusters": [{"name": name, "cluster": {"server": self.url}}],
            "users": [{"name": name, "user": {"token": "given-by-the-proxy"}}],
            "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        }
        path.write_bytes(orjson.dumps(config))
        return path

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        call = self.calls(request.method, request.path, request.query_string, await request.read())
        self._number(call)
        if call.is_watch:
            return await self._stream(request, call)

        async def forward() -> Answer:
            return await self._forward(request, call)

        # Shielded: a client that is killed must not undo a write that is on its way to the server.
        handler = self.fault.write if call.number else self.fault.read
        answer = await asyncio.shield(asyncio.ensure_future(handler(call, forward)))
        if answer is None:
            return _cut(request)
        return web.Response(status=answer.status, body=answer.body, headers=answer.headers)

    def begin(self, fault: Fault | None = None) -> None:
        """Number from 1 again, with another fault or none."""
        self.writes, self.fault = [], fault or Fault()

    def _number(self, call: Call) -> None:
        if not self.counts(call):
            return
        if call.plural in self._not_numbered:
            self.beside[call.plural] = self.beside.get(call.plural, 0) + 1
            return
        self.writes.append(call)
        call.number = len(self.writes)

    async def _forward(self, request: web.Request, call: Call) -> Answer:
        assert self._session
        url = self._server + request.rel_url.raw_path_qs
        headers = _passed(request)
        async with self._session.request(call.method, url, data=call.body or None, headers=headers) as answer:
            body = await answer.read()
            call.answered = answer.status
            kept = {k: v for k, v in answer.headers.items() if k.lower() not in DROPPED_FROM_ANSWER}
            return Answer(answer.status, body, kept)

    async def _stream(self, request: web.Request, call: Call) -> web.StreamResponse:
        assert self._session
        url = self._server + request.rel_url.raw_path_qs
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=10)
        async with self._session.get(url, headers=_passed(request), timeout=timeout) as upstream:
            answer = web.StreamResponse(status=upstream.status, headers={"Content-Type": "application/json"})
            await answer.prepare(request)
            try:
                async for line in lines(upstream.content):
                    call.events += 1
                    out = await self.fault.event(call, line)
                    if out is not None:
                        await answer.write(out + b"\n")
            except Dropped as dropped:
                if dropped.last:
                    await answer.write(dropped.last + b"\n")
                return _cut(request)
            except ConnectionResetError:
                return answer  # the operator is gone
            await answer.write_eof()
            return answer


def status_object(code: int, reason: str, message: str) -> Object:
    """A Status, the body of an answer that is not a success."""
    return {
        "apiVersion": "v1",
        "kind": "Status",
        "status": "Failure",
        "code": code,
        "reason": reason,
        "message": message,
        "metadata": {},
    }


def _passed(request: web.Request) -> dict[str, str]:
    return {key: value for key, value in request.headers.items() if key.lower() not in HOP_BY_HOP}


def _cut(request: web.Request) -> web.Response:
    """Close the connection under the client without a word."""
    if request.transport:
        request.transport.abort()
    return web.Response(status=500)
