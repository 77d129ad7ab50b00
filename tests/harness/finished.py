"""Runs that have ended, as an operator would have left them; nobody ran them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from tests.harness.api import Api, Object
from tests.harness.kinds import RUNS

AT_ONCE = 32


def outcome(ended: str) -> Object:
    """The least that the status of a run says that succeeded at that time (RFC 3339)."""
    good: Object = {"type": "Succeeded", "status": "True", "reason": "Succeeded", "message": ""}
    good |= {"lastTransitionTime": ended, "observedGeneration": 1}
    return {
        "observedGeneration": 1,
        "phase": "Succeeded",
        "startedAt": ended,
        "finishedAt": ended,
        "conditions": [good],
    }


async def finish(api: Api, namespace: str, names: Iterable[str], pipeline: str, status: Object) -> None:
    """Create runs of a pipeline that have this status."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(name: str) -> None:
        async with gate:
            await api.create(RUNS, namespace, {"metadata": {"name": name}, "spec": {"pipeline": pipeline}})
            await api.patch(RUNS, namespace, name, {"status": status}, "status")

    await asyncio.gather(*(one(name) for name in names))
