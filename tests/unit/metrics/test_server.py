"""The metrics port (security check 27): read-only, of bounded cost, and telling nothing of what it was asked."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import aiohttp
import pytest_asyncio

from dataops_operator.metrics.registry import Metrics
from dataops_operator.metrics.server import Health, serve

GIGABYTE = 1 << 30


@pytest_asyncio.fixture
async def port() -> AsyncIterator[int]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        chosen = int(probe.getsockname()[1])
    health = Health()
    serving = asyncio.create_task(serve(f"127.0.0.1:{chosen}", Metrics().registry, health))
    async with aiohttp.ClientSession() as session:
        for _ in range(100):
            try:
                async with session.get(f"http://127.0.0.1:{chosen}/healthz"):
                    break
            except aiohttp.ClientError:
                await asyncio.sleep(0.02)
    yield chosen
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)


async def answer(port: int, head: str) -> bytes:
    """The first line of what comes back for a request's head alone."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(head.encode())
    await writer.drain()
    async with asyncio.timeout(10):
        line = await reader.readline()
    writer.close()
    return line


async def test_a_gigabyte_is_refused_before_its_first_byte_is_read(port: int) -> None:
    head = f"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: {GIGABYTE}\r\n\r\n"
    assert b" 405 " in await answer(port, head)


async def test_a_head_without_end_is_refused(port: int) -> None:
    assert b" 400 " in await answer(port, "GET /metrics HTTP/1.1\r\nHost: x\r\nX: " + "a" * 100_000 + "\r\n\r\n")


async def test_there_is_nothing_else_and_nothing_is_echoed(port: int) -> None:
    async with aiohttp.ClientSession() as session:
        for path in ("/", "/metrics/..%2f..%2fetc%2fpasswd", "/debug/pprof", "/canary-4711"):
            async with session.get(f"http://127.0.0.1:{port}{path}") as found:
                assert found.status == 404
                assert "canary" not in await found.text()
        for method in ("POST", "PUT", "DELETE", "PATCH"):
            async with session.request(method, f"http://127.0.0.1:{port}/readyz") as found:
                assert found.status == 405
