"""A scripted API server: real HTTP on a loopback port, with the answers that a test lays out."""

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiohttp import web


@dataclass
class Answer:
    status: int = 200
    body: Any = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0
    drop: bool = False
    """Close the connection instead of answering."""
    chunks: list[bytes] | None = None
    """Sent one by one as a stream."""
    hold: bool = False
    """Leave the stream open after the chunks."""


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any


class ScriptedApi:
    """Answers each request with the next of its script; watches have one of their own.

    With no answer left it keeps silent, as a watch without news does.
    """

    def __init__(self) -> None:
        self.calls: deque[Answer] = deque()
        self.watches: deque[Answer] = deque()
        self.requests: list[Request] = []
        self.server = ""
        self._runner: web.AppRunner | None = None

    def answer(self, status: int = 200, body: Any = None, **more: Any) -> None:
        self.calls.append(Answer(status, {} if body is None else body, **more))

    def listed(self, items: list[dict[str, Any]], version: int, token: str = "") -> None:
        metadata = {"resourceVersion": str(version)} | ({"continue": token} if token else {})
        self.answer(200, {"kind": "List", "metadata": metadata, "items": items})

    def watched(self, *events: tuple[str, dict[str, Any]], hold: bool = True, drop: bool = False) -> None:
        lines = [orjson.dumps({"type": kind, "object": item}) + b"\n" for kind, item in events]
        self.watches.append(Answer(chunks=lines, hold=hold, drop=drop))

    def seen(self, method: str = "GET", *, watch: bool = False) -> list[Request]:
        return [r for r in self.requests if r.method == method and ("watch" in r.query) == watch]

    async def start(self) -> None:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.server = f"http://{host}:{port}"

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        raw = await request.read()
        query = dict(request.query)
        body = orjson.loads(raw) if raw else None
        self.requests.append(Request(request.method, request.path, query, dict(request.headers), body))
        script = self.watches if "watch" in query else self.calls
        answer = script.popleft() if script else Answer(hold=True, chunks=[])
        await asyncio.sleep(answer.delay)
        if answer.chunks is None:
            if answer.drop:
                assert request.transport is not None
                request.transport.close()
            data = answer.body if isinstance(answer.body, bytes) else orjson.dumps(answer.body)
            return web.Response(status=answer.status, body=data, headers=answer.headers)
        response = web.StreamResponse()
        await response.prepare(request)
        for chunk in answer.chunks:
            await response.write(chunk)
        if answer.hold:
            await asyncio.sleep(3600)
        if answer.drop:
            assert request.transport is not None
            request.transport.close()
        return response
