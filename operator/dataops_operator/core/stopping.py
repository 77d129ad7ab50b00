"""The end of a run before its time: what was asked for, or its timeout, and what that makes of each step."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from ..api.conditions import Reason
from ..api.run import Cancel, Phase
from .observe import Object
from .podends import GRACE, given_until
from .rows import Row, skipped
from .times import to_rfc3339
from .turn import Turn

ENDING: Final = frozenset({Reason.CANCELLED, Reason.RUN_DEADLINE_EXCEEDED})
"""Reasons of a run that ends before its time."""
NOT_AT_WORK: Final = "; nothing of it was at work"
"""Of a step that the end of its run met between two attempts, or before its container had begun."""


@dataclass(frozen=True, slots=True)
class Stop:
    """Why a run ends before its time.

    Attributes:
        reason: Cancelled or RunDeadlineExceeded.
        message: for people.
        kill: whether nothing is waited for, and `finally` left out.
    """

    reason: Reason
    message: str
    kill: bool = False


def stop_of(turn: Turn) -> Stop | None:
    """Why the run has to end now; None where it may go on. Its deadline is noted as a time to wake at."""
    if turn.asked.cancel is not None:
        by = f" by {turn.asked.by}" if turn.asked.by else ""
        return Stop(Reason.CANCELLED, f"cancelled{by}", turn.asked.cancel is Cancel.IMMEDIATE)
    if (deadline := turn.deadline) is None:
        return None
    if turn.now >= deadline:
        limit = turn.inputs.revision.spec.timeout
        return Stop(Reason.RUN_DEADLINE_EXCEEDED, f"the run took longer than its timeout of {limit}")
    turn.wakes.append(deadline)
    return None


def stopped(turn: Turn, before: Row, row: Row, stop: Stop) -> Row:
    """The row of a step whose run ends: what runs is asked to end and waited for, what has not begun never does.

    A step that ends well in the time that it is given has succeeded.

    Args:
        turn: of planning.
        before: the row as it was before this turn.
        row: the row brought up to what its attempt shows.
        stop: why.
    """
    if before.final or row.phase is Phase.SUCCEEDED:
        return row
    job = turn.view.jobs.get(row.job or "") if row.under_way else None
    if job is None or stop.kill or had_time(turn, job):
        # Of what has been seen to run its image is known.
        return cut_short(turn, row, stop, idle=before.phase is Phase.WAITING and row.image is None)
    if not row.attempt:  # it shares the pod of a step that is ending, and may begin until that has ended
        return row
    # What waits for a node, or its image, has not begun, and is said to wait until it is gone.
    phase = Phase.WAITING if row.phase is Phase.WAITING and row.item is None else Phase.RUNNING
    return replace(row, phase=phase, reason=stop.reason, message=f"is ending: {stop.message}")


def had_time(turn: Turn, job: Object) -> bool:
    """Have a Job's pods end, and say whether they have had their time for it."""
    name = job["metadata"]["name"]
    until = given_until(job, turn.view.pods.get(job["metadata"]["uid"], ()), turn.now)
    if until is not None and turn.now >= until:
        return True
    if until is None and name not in turn.stop:
        turn.stop.append(name)
    turn.wakes.append(turn.now + GRACE if until is None else until)
    return False


def cut_short(turn: Turn, row: Row, stop: Stop, *, idle: bool = False) -> Row:
    """The row of a step that the end of its run has ended.

    Args:
        turn: of planning.
        row: the row brought up to what its attempt shows.
        stop: why.
        idle: whether it waited before this turn, whatever its attempt shows of its end.
    """
    if not row.attempt:
        return skipped(row, stop.reason, f"not run: {stop.message}")
    phase = Phase.CANCELLED if stop.reason is Reason.CANCELLED else Phase.FAILED
    finished = row.finished_at or to_rfc3339(turn.now)
    message = stop.message + (NOT_AT_WORK if idle or row.phase is Phase.WAITING else "")
    row = replace(row, finished_at=finished, retry_at=None, held=None)
    return replace(row, phase=phase, reason=stop.reason, message=message)
