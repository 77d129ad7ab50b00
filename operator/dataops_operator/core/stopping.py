"""The end of a run before its time: what was asked for, or its timeout, and what that makes of each step."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from ..api.conditions import Reason
from ..api.run import Cancel, Phase
from .observe import Object
from .rows import Row, skipped
from .times import from_rfc3339, to_rfc3339
from .turn import Turn

GRACE: Final = 60.0
"""Seconds that the pods of a step may take to be gone, after which the run goes on without waiting for that: twice
what a pod has to end (`terminationGracePeriodSeconds`, 30 s), since its node may be lost."""


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
    if job is None or stop.kill:
        return cut_short(turn, row, stop)
    if had_time(turn, job):
        return cut_short(turn, row, stop)
    if not row.attempt:  # it shares the pod of a step that is ending, and may begin until that has ended
        return row
    return replace(row, phase=Phase.RUNNING, reason=stop.reason, message=f"is ending: {stop.message}")


def had_time(turn: Turn, job: Object) -> bool:
    """Have a Job's pods end, and say whether they have had their time for it."""
    name, leaving = job["metadata"]["name"], job["metadata"].get("deletionTimestamp")
    since = turn.now if leaving is None else from_rfc3339(leaving)
    if leaving is not None and turn.now >= since + GRACE:
        return True
    if leaving is None and name not in turn.stop:
        turn.stop.append(name)
    turn.wakes.append(since + GRACE)
    return False


def cut_short(turn: Turn, row: Row, stop: Stop) -> Row:
    """The row of a step that the end of its run has ended."""
    if not row.attempt:
        return skipped(row, stop.reason, f"not run: {stop.message}")
    phase = Phase.CANCELLED if stop.reason is Reason.CANCELLED else Phase.FAILED
    finished = row.finished_at or to_rfc3339(turn.now)
    return replace(
        row, phase=phase, reason=stop.reason, message=stop.message, finished_at=finished, retry_at=None, held=None
    )
