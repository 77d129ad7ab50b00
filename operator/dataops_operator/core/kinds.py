"""Steps without a container: each kind has a module that says how its row goes on, and here they are by name.

An approval or a wait is begun once, `attempt` 1, and then looked at in every turn until it ends; all times are absolute
and follow from `startedAt`, so that a restart changes nothing. A run that fails leaves it out like a step that has not
begun, since nothing comes after it; a cancelled run ends it at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, Protocol

from ..api.run import Phase
from ..api.step import Step
from .approving import approval
from .calling import call, call_observed, call_stopped
from .course import Rows
from .making import left_objects as left_objects
from .making import make, object_observed, object_stopped
from .making import object_taken_up as object_taken_up
from .rows import Row
from .stepfields import Kind
from .stopping import Stop, stopped
from .turn import Turn
from .waiting import wait

GoOn = Callable[[Turn, Row, Rows, Phase | None], Row]
Stopped = Callable[[Turn, Row, Row, Stop], Row]


class Observed(Protocol):
    """Brings a row up to what its attempt shows."""

    def __call__(self, turn: Turn, row: Row, *, stopping: bool) -> Row: ...  # noqa: D102


BEGUN_ONCE: Final = frozenset({Kind.APPROVAL, Kind.WAIT})
"""Kinds that have nothing of their own in the cluster, and so no attempts that could be under way or fail."""
_GO_ON: Final[Mapping[Kind, GoOn]] = {
    Kind.APPROVAL: approval,
    Kind.WAIT: wait,
    Kind.PIPELINE: call,
    Kind.RESOURCE: make,
}

_OBSERVED: Final[Mapping[Kind, Observed]] = {Kind.PIPELINE: call_observed, Kind.RESOURCE: object_observed}
_STOPPED: Final[Mapping[Kind, Stopped]] = {Kind.PIPELINE: call_stopped, Kind.RESOURCE: object_stopped}


def said_by_others(step: Step) -> bool:
    """Whether a step ends by what a person, or an object, says: that may be something else a moment later."""
    wait = step.wait
    return step.approval is not None or step.resource is not None or (wait is not None and wait.condition is not None)


def kind_observed(turn: Turn, row: Row, kind: Kind, *, stopping: bool) -> Row:
    """The row brought up to what its attempt shows, where the kind has something to look at.

    Args:
        turn: of planning.
        row: as it was.
        kind: what the step is.
        stopping: whether the step is to end, so that an attempt which failed is not followed by another.
    """
    look = _OBSERVED.get(kind)
    return row if look is None else look(turn, row, stopping=stopping)


def go_on(turn: Turn, row: Row, kind: Kind, rows: Rows, outcome: Phase | None) -> Row:
    """The row of a step that is due, or of one that has begun and is `BEGUN_ONCE`, taken as far as it can go now.

    Args:
        turn: of planning.
        row: as it was.
        kind: what the step is.
        rows: where all steps stand.
        outcome: how the run has ended, for steps of `finally`; None for the others.
    """
    return _GO_ON[kind](turn, row, rows, outcome)


def kind_stopped(turn: Turn, before: Row, row: Row, kind: Kind, stop: Stop) -> Row:
    """The row of a step whose run ends; as `stopping.stopped`."""
    return _STOPPED.get(kind, stopped)(turn, before, row, stop)
