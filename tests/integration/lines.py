"""Pipelines that bound their runs, and what is read of runs that stand in line."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.harness.api import Object
from tests.harness.kinds import RUNS
from tests.integration.support import Case, spec, step

SECOND = 1.05
"""Creations are told in whole seconds; runs created so far apart have an order."""


def limited(limit: int = 1, *steps: Object, **more: Any) -> Object:
    """A Pipeline's spec of which so many runs may be under way at once."""
    bound: Object = {"limit": limit, **{key: more.pop(key) for key in ("key", "policy") if key in more}}
    return spec(*(steps or (step("a"),)), concurrency=bound, **more)


def entry(run: Object) -> Object:
    """What a run that waits says of it."""
    (found,) = run["status"]["waitingFor"]
    return dict(found)


async def position(case: Case, place: int, name: str) -> Object:
    """Wait until a run says that it has a place in line."""
    return await case.until(RUNS, name, lambda run: [one.get("position") for one in waits(run)] == [place])


def waits(run: Object) -> list[Object]:
    return run.get("status", {}).get("waitingFor") or []


async def one_by_one(case: Case, *names: str, **fields: Any) -> None:
    """Create runs of which each is older than the next."""
    for name in names:
        await case.run(name, **fields)
        await asyncio.sleep(SECOND)
