"""What is wrong in an object: where, in words, and what may have been meant."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Final

SHOWN: Final = 5
"""How many problems a condition's message names; the rest is counted."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong in an object: where, and what to do about it."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


def summarise(problems: Sequence[Problem]) -> str:
    """The first problems as one message, the rest counted."""
    text = "; ".join(str(problem) for problem in problems[:SHOWN])
    more = len(problems) - SHOWN
    return f"{text}; and {more} more" if more > 0 else text


def nearest(name: str, known: Collection[str]) -> str:
    """What may have been meant by a name, as the end of a message."""
    if close := get_close_matches(name, known, 1):
        return f"; did you mean {close[0]!r}?"
    return f"; there are: {', '.join(sorted(known)[:10])}" if known else "; there are none"
