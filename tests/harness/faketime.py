"""A clock that moves when told, for what counts seconds or asks to be called later."""

from __future__ import annotations

import heapq
from collections.abc import Callable


class FakeTime:
    """A clock that moves when told, with its timers."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.armed = 0
        self._timers: list[tuple[float, int, Timer]] = []

    def __call__(self) -> float:
        """What the clock shows, in seconds."""
        return self.now

    def call_later(self, delay: float, function: Callable[[], None]) -> Timer:
        """Call back once the clock is so much further."""
        timer = Timer(function)
        self.armed += 1
        heapq.heappush(self._timers, (self.now + delay, self.armed, timer))
        return timer

    def advance(self, seconds: float) -> None:
        """Let time pass, and with it the calls that are due."""
        end = self.now + seconds
        while self._timers and self._timers[0][0] <= end:
            self.now, _, timer = heapq.heappop(self._timers)
            timer.function()
        self.now = end

    def pending(self) -> int:
        """Count the calls to come."""
        return sum(not timer.cancelled for _, _, timer in self._timers)


class Timer:
    """A call to come, unless it is given up."""

    def __init__(self, function: Callable[[], None]) -> None:
        self._function = function
        self.cancelled = False

    def function(self) -> None:
        """Make the call."""
        if not self.cancelled:
            self._function()

    def cancel(self) -> None:
        """Give it up."""
        self.cancelled = True
