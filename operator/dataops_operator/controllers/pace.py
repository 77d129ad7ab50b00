"""The pace of what nobody waits for: it is done later where there is much of it, and what is waited for goes first."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Hashable
from typing import Final, Generic, TypeVar

K = TypeVar("K", bound=Hashable)

RATE: Final = 10.0
"""Deletions a second, at most."""
PATIENCE: Final = 1.0
"""Seconds that one deletion waits for the queue of runs to be empty."""
_POLL: Final = 0.05
NEWS_RATE: Final = 20.0
"""Pieces of small news a second that are each told by themselves."""
LATEST: Final = 5.0
"""Seconds after which small news are told in any case."""


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


class Spread(Generic[K]):
    """When small news are told: soon while there are few; where there are many, later, and of one key several at once.

    Each telling is a write, and the API server has other work then.
    """

    def __init__(self, soonest: float, rate: float = NEWS_RATE, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin with nothing to tell.

        Args:
            soonest: seconds that each waits at least.
            rate: how many a second are told by themselves.
            clock: seconds.
        """
        self._soonest = soonest
        self._gap = 1 / rate
        self._clock = clock
        self._free = 0.0
        """When there is room for the next."""
        self._due: dict[K, float] = {}
        self._swept = 0.0

    def wait(self, key: K) -> float:
        """Seconds until news of a key are told: with earlier ones, where those wait still."""
        now = self._clock()
        if (due := self._due.get(key, now)) > now:
            return due - now
        if now > self._swept + LATEST:
            self._due = {key: due for key, due in self._due.items() if due > now}
            self._swept = now
        due = self._due[key] = max(self._free, now + self._soonest)
        self._free = min(due + self._gap, now + LATEST)
        return due - now
