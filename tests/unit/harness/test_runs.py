"""A load whose driver dies is given up at once, and not when its time is up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import cast

import pytest
from tests.bench.runs import Load, drive
from tests.harness.api import Api, Object, WatchEvent


class _Api:
    """Creates runs that nobody ends."""

    async def list_then_watch(self, *_: object) -> AsyncIterator[WatchEvent]:
        yield "SYNCED", {}
        await asyncio.Event().wait()

    async def create(self, *_: object) -> Object:
        return {}


class _Dead:
    pid, alive = 1, False

    def tail(self) -> str:
        return "its last words"


async def test_a_driver_that_dies_ends_the_load_with_its_last_words() -> None:
    with pytest.raises(AssertionError, match="has died:\nits last words"):
        await asyncio.wait_for(drive(cast(Api, _Api()), _Dead(), Load("2 at once", 2)), 5)
