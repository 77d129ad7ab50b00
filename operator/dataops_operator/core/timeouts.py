"""How long an attempt may run: its step's `timeout`, from the start of its container on.

The operator ends what runs longer, the same for a step in a pod of its own and for one that shares it. Each pod has a
deadline of its own besides, for when no operator looks (`Revision.pod_timeout`).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from ..api.conditions import Reason
from ..api.step import FailureClass, Step
from .observe import Observation, State
from .times import from_rfc3339
from .turn import Turn

SLACK: Final = 2.0
"""Seconds beyond its timeout after which an attempt is ended: when its container started is told in whole seconds, cut,
and how it ended up to a second later, when the next in its pod may have begun."""


def runs_over(turn: Turn, step: Step, seen: Observation) -> bool:
    """Whether a container that runs is to be ended now; if not yet, when it is is noted as a time to wake at."""
    limit = turn.inputs.revision.timeout(step)
    if limit is None or not seen.started or seen.started_at is None:
        return False
    end = from_rfc3339(seen.started_at) + limit + SLACK
    if turn.now < end:
        turn.wakes.append(end)
    return turn.now >= end


def late(turn: Turn, step: Step) -> str:
    """What is wrong with an attempt that ran too long, for people."""
    limit = step.timeout or turn.inputs.revision.defaults.timeout
    return f"ran longer than its timeout of {limit}; raise the step's timeout, or make it faster"


def too_late(turn: Turn, step: Step, seen: Observation) -> Observation:
    """What was seen of an attempt that was ended for running too long: its own end, where that came before."""
    return seen if _had_ended(turn, step, seen) else _as_late(turn, step, seen)


def out_of_time(turn: Turn, step: Step, seen: Observation) -> Observation:
    """What was seen of an attempt that had not ended when its pod was out of time, by whose time that was."""
    if not _had_ended(turn, step, seen) and seen.finished_at is not None:
        return _as_late(turn, step, seen)
    text = "its pod was out of time before it was"
    return replace(seen, failure=FailureClass.INFRASTRUCTURE, reason=Reason.DISRUPTED, message=text)


def _had_ended(turn: Turn, step: Step, seen: Observation) -> bool:
    """Whether an attempt ended before its timeout was over; one without a timeout ended before that."""
    limit, times = turn.inputs.revision.timeout(step), (seen.started_at, seen.finished_at)
    began, ended = (from_rfc3339(one) if one else None for one in times)
    if limit is None:
        return True
    return began is not None and ended is not None and ended < began + limit


def _as_late(turn: Turn, step: Step, seen: Observation) -> Observation:
    failure, reason = FailureClass.DEADLINE, Reason.DEADLINE_EXCEEDED
    return replace(seen, state=State.FAILED, failure=failure, reason=reason, message=late(turn, step))
