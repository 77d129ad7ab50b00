"""The order in which runs get places, and how a place is told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ..api.concurrency import Priority
from ..api.conditions import Reason
from .line import Place

Run = Mapping[str, Any]

ITS_OWN: Final = frozenset(
    {
        Reason.SUSPENDED,
        Reason.PIPELINE_NOT_FOUND,
        Reason.TEMPLATE_NOT_FOUND,
        Reason.REVISION_NOT_FOUND,
        Reason.CLAIM_NOT_FOUND,
        Reason.TARGET_UNREACHABLE,
        Reason.OPERATOR_ERROR,
    }
)
"""What a run waits for by itself: it holds up nobody behind it."""
LINED_UP: Final = frozenset({Reason.FROZEN, Reason.RUN_QUOTA, Reason.CONCURRENCY_LIMIT})
"""What runs wait for that have been looked at and could begin."""

EXACT: Final = 10
"""Places from the first on that are told as they are; those behind are told by these bounds, so that a line of
thousands that moves up by one costs no write a run."""
_BOUNDS: Final = (30, 100, 300, 1_000, 3_000, 10_000, 30_000, 100_000)
TOLD: Final = (*range(1, EXACT + 1), *_BOUNDS)
"""Places at which what is told changes when a line moves up."""

_RANKS: Final = {priority.value: rank for rank, priority in enumerate(Priority)}
_NORMAL: Final = _RANKS[Priority.NORMAL.value]


def order(run: Run) -> Place:
    """The place in line: by priority, then creation, then name, since creations are told in whole seconds."""
    meta, priority = run["metadata"], run["spec"].get("priority")
    rank = _RANKS.get(priority, _NORMAL) if isinstance(priority, str) else _NORMAL
    return rank, meta["creationTimestamp"], meta["name"], meta["uid"]


def waiting_reason(run: Run) -> str | None:
    """What a run that has not begun waits for, as it says itself."""
    first: Mapping[str, Any] = next(iter(run["status"].get("waitingFor") or ()), {})
    return first.get("reason")


def in_line(run: Run) -> bool:
    """Whether a run that has not begun has a place in line: neither does it go away, nor is it itself in the way."""
    return "deletionTimestamp" not in run["metadata"] and waiting_reason(run) not in ITS_OWN


def lined_up(run: Run) -> bool:
    """Whether a run was looked at and could begin, but for its turn."""
    return waiting_reason(run) in LINED_UP


def told(position: int) -> int:
    """The place as it is told: exact for the first, rounded up for those far behind."""
    return position if position <= EXACT else next((bound for bound in _BOUNDS if position <= bound), position)


def in_words(position: int) -> str:
    """The same for people."""
    return f"place {position} in line" if position <= EXACT else f"among the next {told(position)} in line"


def maker(run: Run) -> str | None:
    """The uid of the run that made this one; None where people did."""
    for one in run["metadata"].get("ownerReferences") or ():
        if one.get("kind") == "PipelineRun" and one.get("controller"):
            uid = one.get("uid")
            return uid if isinstance(uid, str) else None
    return None
