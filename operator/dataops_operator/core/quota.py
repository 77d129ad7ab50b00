"""Which runs of an environment may begin: at most so many at once, in the order of their creation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from ..api.conditions import Reason

Run = Mapping[str, Any]

_ITS_OWN: Final = frozenset({Reason.PIPELINE_NOT_FOUND, Reason.REVISION_NOT_FOUND, Reason.OPERATOR_ERROR})
"""What a run waits for by itself: it holds up nobody behind it."""


@dataclass(frozen=True, slots=True)
class Turn:
    """Where a run stands in line.

    Attributes:
        position: from 1 among those that wait; 0 where it may begin.
        holder: name of a run that holds what it waits for; None where it may begin.
    """

    position: int
    holder: str | None = None


def order(run: Run) -> tuple[str, str]:
    """The place in line: by creation, then name, since creations are told in whole seconds."""
    meta = run["metadata"]
    return meta["creationTimestamp"], meta["name"]


def waiting_reason(run: Run) -> str | None:
    """What a run that has not begun waits for, as it says itself."""
    first: Mapping[str, Any] = next(iter(run["status"].get("waitingFor") or ()), {})
    return first.get("reason")


def turn(run: Run, live: Iterable[Run], limit: int, begun: Callable[[Run], bool]) -> Turn:
    """Whether a run may begin.

    Args:
        run: one that has not begun.
        live: the runs of the environment that have not ended, itself among them or not.
        limit: how many may be under way at once.
        begun: whether a run is under way.
    """
    uid, mine = run["metadata"]["uid"], order(run)
    active: list[Run] = []
    ahead: list[Run] = []
    for other in live:
        if other["metadata"]["uid"] == uid:
            continue
        if begun(other):
            active.append(other)
        elif order(other) < mine and _in_line(other):
            ahead.append(other)
    free = limit - len(active)
    if len(ahead) < free:
        return Turn(0)
    holder = min(active or ahead, key=order)["metadata"]["name"]
    return Turn(len(ahead) - max(free, 0) + 1, holder)


def _in_line(run: Run) -> bool:
    return "deletionTimestamp" not in run["metadata"] and waiting_reason(run) not in _ITS_OWN
