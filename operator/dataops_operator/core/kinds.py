"""Steps without a container: each kind has a module that says how its row goes on, and here they are by name.

An approval or a wait is begun once, `attempt` 1, and then looked at in every turn until it ends; all times are absolute
and follow from `startedAt`, so that a restart changes nothing. A run that fails leaves it out like a step that has not
begun, since nothing comes after it; a cancelled run ends it at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from ..api.run import Phase
from .approving import approval
from .course import Rows
from .rows import Row
from .stepfields import Kind
from .turn import Turn
from .waiting import wait

GoOn = Callable[[Turn, Row, Rows, Phase | None], Row]

_GO_ON: Final[Mapping[Kind, GoOn]] = {Kind.APPROVAL: approval, Kind.WAIT: wait}


def go_on(turn: Turn, row: Row, kind: Kind, rows: Rows, outcome: Phase | None) -> Row:
    """The row of a step that is due or has begun, taken as far as it can go now.

    Args:
        turn: of planning.
        row: as it was.
        kind: what the step is.
        rows: where all steps stand.
        outcome: how the run has ended, for steps of `finally`; None for the others.
    """
    return _GO_ON[kind](turn, row, rows, outcome)
