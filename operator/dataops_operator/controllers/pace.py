"""The pace of deletions: so many a second, and work that somebody waits for goes first."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

RATE: Final = 10.0
"""Deletions a second, at most."""
PATIENCE: Final = 1.0
"""Seconds that one deletion waits for the queue of runs to be empty."""
_POLL: Final = 0.05


class Pace:
    """When the next deletion may be."""

    def __init__(self, busy: Callable[[], bool], rate: float = RATE) -> None:
        """Begin with no deletion behind.

        Args:
            busy: whether there is work that goes first.
            rate: deletions a second.
        """
        self._busy = busy
        self._gap = 1 / rate
        self._next = 0.0

    async def turn(self) -> None:
        """Wait for it."""
        await asyncio.sleep(max(self._next - time.monotonic(), 0))
        until = time.monotonic() + PATIENCE
        while self._busy() and time.monotonic() < until:  # noqa: ASYNC110 - a queue tells nobody that it is empty
            await asyncio.sleep(_POLL)
        self._next = time.monotonic() + self._gap
