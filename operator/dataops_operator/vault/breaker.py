"""A breaker: a server that fails again and again is left alone for a while, then asked once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

FAILURES: Final = 5
"""Failures in a row that open it."""
FIRST: Final = 5.0
"""Seconds that it stays open at first."""
LONGEST: Final = 60.0
"""Seconds that it stays open at most."""


@dataclass(slots=True)
class Breaker:
    """Closed: everybody may ask. Open: nobody, until a time; then one may, and by its outcome it closes or stays open.

    Each time that it stays open is twice as long as the one before.
    All times are of one monotonic clock, in seconds.
    """

    failures: int = 0
    pause: float = 0.0
    until: float = 0.0
    probing: bool = False

    @property
    def open(self) -> bool:
        """Whether requests are held back."""
        return self.pause > 0

    def admits(self, now: float) -> bool:
        """Whether a request may go now; one that may has to be followed by `succeeded`, `failed` or `abandoned`."""
        if not self.open:
            return True
        if now < self.until or self.probing:
            return False
        self.probing = True
        return True

    def succeeded(self) -> None:
        """The server answered, whatever it said."""
        self.failures, self.pause, self.until, self.probing = 0, 0.0, 0.0, False

    def failed(self, now: float) -> None:
        """It did not."""
        self.failures += 1
        if self.probing or (not self.open and self.failures >= FAILURES):
            self.pause = min(LONGEST, self.pause * 2) if self.open else FIRST
            self.until = now + self.pause
        self.probing = False

    def abandoned(self) -> None:
        """Nobody waited for the answer."""
        self.probing = False

    def wait(self, now: float) -> float:
        """Seconds until it may be asked again."""
        return max(0.0, self.until - now)
