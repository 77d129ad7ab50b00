"""One load that the operator works on: what it costs, what it takes of memory, and how the operator starts again."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tests.bench import audit
from tests.bench.driven import Driven, driven
from tests.bench.runs import RUN_NAME, Load, define, rehearse
from tests.bench.stand import NAMESPACE, Stand, calm, on_a_stand
from tests.bench.vaulted import a_vault


@dataclass(frozen=True, kw_only=True)
class Cost(Driven):
    """What a load did and cost the operator; times in seconds unless said otherwise."""

    rss_idle_mb: float
    rss_peak_mb: float
    restart_seconds: float
    idle_writes: dict[str, int]
    idle_seconds: float


def measure(load: Load, *, tuned: bool, python: Path, directory: Path) -> Cost:
    """Measure one load on a control plane of its own.

    Args:
        load: the load.
        tuned: whether the Job controller's stock limits are lifted.
        python: the operator's interpreter.
        directory: for logs; what an earlier measurement left there goes.

    Raises:
        AssertionError: the runs did not end in time, or the operator died.
    """
    return on_a_stand(lambda stand: _measure(stand, load), tuned=tuned, python=python, directory=directory)


async def _measure(stand: Stand, load: Load) -> Cost:
    async with AsyncExitStack() as stack:
        folder = stand.directory
        vault = None
        if load.secrets:
            vault = await stack.enter_async_context(a_vault(stand.plane, stand.api, NAMESPACE, folder))
        operator = await stack.enter_async_context(stand.operator(vault.arguments if vault else ()))
        await define(stand.api, secrets=load.secrets, fused=load.fused)
        if vault:
            await vault.open()
        await calm(stand.server)
        idle_rss = operator.rss_bytes()
        await rehearse(stand)
        if vault:
            await vault.begin()
        await calm(stand.server)
        done = await driven(stand, load, operator, audit.OPERATOR, vault)
        peak = operator.peak_rss_bytes()
        await operator.terminate()
        # What it might write while it starts counts as well: nothing has changed since its end.
        since, began = datetime.now(UTC), time.monotonic()
        await operator.start()
        restart = time.monotonic() - began
        await asyncio.sleep(load.idle)
        idle = audit.count(stand.audit_log, len(RUN_NAME.format(0)), since).idle
    return Cost(
        **vars(done),
        rss_idle_mb=idle_rss / 2**20,
        rss_peak_mb=peak / 2**20,
        restart_seconds=restart,
        idle_writes=dict(idle),
        idle_seconds=load.idle,
    )
