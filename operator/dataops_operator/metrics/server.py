"""One HTTP server on the loop: metrics, liveness (the loop turns) and readiness (the caches are synced)."""

from __future__ import annotations

import asyncio
import time
from typing import Final

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

BEAT: Final = 1.0
"""Seconds between two beats of the loop."""
STUCK: Final = 30.0
"""Seconds without a beat after which the loop counts as stuck."""


class Health:
    """What the probes ask.

    Attributes:
        synced: set once every cache holds what the cluster holds. A standby is ready too.
    """

    def __init__(self) -> None:
        """Begin alive and not ready."""
        self.synced = asyncio.Event()
        self._beat_at = time.monotonic()

    async def beat(self) -> None:
        """Note that the loop turns, until cancelled."""
        while True:
            self._beat_at = time.monotonic()
            await asyncio.sleep(BEAT)

    @property
    def alive(self) -> bool:
        """Whether the loop has turned lately."""
        return time.monotonic() - self._beat_at < STUCK


async def serve(listen: str, registry: CollectorRegistry, health: Health) -> None:
    """Serve /metrics, /healthz and /readyz until cancelled.

    Args:
        listen: address and port, such as `0.0.0.0:8080`.
        registry: what /metrics gives.
        health: what the probes ask.

    Raises:
        OSError: the address cannot be listened on.
    """

    async def metrics(request: web.Request) -> web.Response:
        encode, kind = choose_encoder(request.headers.get("Accept", ""))
        return web.Response(body=encode(registry), headers={"Content-Type": kind})

    async def healthz(_: web.Request) -> web.Response:
        return _answer(health.alive, "the event loop is stuck")

    async def readyz(_: web.Request) -> web.Response:
        return _answer(health.synced.is_set(), "the caches are not synced yet")

    app = web.Application()
    app.add_routes([web.get("/metrics", metrics), web.get("/healthz", healthz), web.get("/readyz", readyz)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    host, _, port = listen.rpartition(":")
    try:
        await web.TCPSite(runner, host or None, int(port)).start()
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()


def _answer(good: bool, otherwise: str) -> web.Response:
    return web.Response(text="ok\n") if good else web.Response(status=503, text=f"{otherwise}\n")
