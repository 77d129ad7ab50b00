"""The cases of a module side by side.

A case mostly waits: for pods, for back-offs, for time limits. So all selected cases of a module start at its first
test, some at a time, and each test awaits its own.
"""

from __future__ import annotations

import asyncio
import inspect
import re
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tests.integration.support import FUSE, World

AT_ONCE = 10
"""Cases of a module that go on at the same time."""

Scenario = Callable[..., Awaitable[None]]
SCENARIO = "scenario"


def side_by_side(scenario: Scenario) -> Scenario:
    """Make a test of a coroutine function `(case, **parameters)` that runs beside the others of its module.

    The module needs the fixture `together`.
    """
    parameters = [one for one in inspect.signature(scenario).parameters.values() if one.name != "case"]

    async def test(together: dict[str, asyncio.Task[None]], request: pytest.FixtureRequest, **_: Any) -> None:
        await together[request.node.nodeid]

    asked = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in ("together", "request")]
    test.__signature__ = inspect.Signature([*asked, *parameters])  # type: ignore[attr-defined]
    test.__name__, test.__doc__, test.__module__ = scenario.__name__, scenario.__doc__, scenario.__module__
    setattr(test, SCENARIO, scenario)
    test.pytestmark = getattr(scenario, "pytestmark", [])  # type: ignore[attr-defined]
    return test


def in_both_modes(scenario: Scenario) -> Scenario:
    """Make two cases of one: with a pod for each step, and with steps that share pods where they may."""
    asked = inspect.signature(scenario).parameters.values()

    async def both(case: Any, fuse: str, **given: Any) -> None:
        FUSE.set(fuse)
        await scenario(case, **given)

    both.__name__, both.__doc__, both.__module__ = scenario.__name__, scenario.__doc__, scenario.__module__
    fuse = inspect.Parameter("fuse", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    both.__signature__ = inspect.Signature([*asked, fuse])  # type: ignore[attr-defined]
    both.pytestmark = list(getattr(scenario, "pytestmark", []))  # type: ignore[attr-defined]
    twice: Scenario = pytest.mark.parametrize("fuse", ["Never", "Auto"], ids=["own-pods", "shared-pods"])(both)
    return twice


@asynccontextmanager
async def start_together(request: pytest.FixtureRequest, world: World) -> AsyncIterator[dict[str, asyncio.Task[None]]]:
    """Start the selected cases of a module that run side by side; each test's task by its node id."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(item: pytest.Function) -> None:
        given = item.callspec.params if hasattr(item, "callspec") else {}
        async with gate, world.case(namespace_of(item)) as case:
            await getattr(item.function, SCENARIO)(case, **given)

    mine = [item for item in request.session.items if isinstance(item, pytest.Function) and item.path == request.path]
    tasks = {item.nodeid: asyncio.create_task(one(item)) for item in mine if hasattr(item.function, SCENARIO)}
    try:
        yield tasks
    finally:
        for task in tasks.values():
            task.cancel()
        await asyncio.gather(*tasks.values(), return_exceptions=True)


def namespace_of(item: pytest.Item) -> str:
    """A namespace named after a test."""
    name = re.sub(r"[^a-z0-9]+", "-", item.name.removeprefix("test_").lower()).strip("-")
    return f"{name[:50].strip('-')}-{zlib.crc32(item.nodeid.encode()) % 10000:04d}"
