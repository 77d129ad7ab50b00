"""What the one pod of a stage shows: the rows of the steps that share it brought up to that.

Each step has its own row. The first that has not ended is looked at like any other; those behind it name its Job, and
have no attempt before their turn comes. Where it fails they are let go, and its next attempt's Job takes them along.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..api.conditions import Reason
from ..api.run import Phase
from ..api.step import FailureClass, Step
from .course import Rows
from .observe import Object, Observation, State, is_shared_job, observe
from .progress import adopted, judged, witnesses
from .rows import Row
from .stopping import had_time
from .times import from_rfc3339, to_rfc3339
from .turn import Turn


def stage_observed(turn: Turn, names: Sequence[str], rows: Rows, *, stopping: bool = False) -> dict[str, Row]:
    """The rows of a stage, brought up to what its pod shows.

    Args:
        turn: of planning.
        names: of its steps, in order.
        rows: as they were.
        stopping: whether the run is to end.
    """
    out = {name: rows[name] for name in names}
    left = [name for name in names if not rows[name].final]
    if not left or any(rows[name].phase is not Phase.SUCCEEDED for name in names if rows[name].final):
        return out
    head = out[left[0]] = adopted(turn, rows[left[0]])
    if not head.under_way or head.job is None:
        return out
    job, pods = witnesses(turn, head.job)
    carried = left if _is_shared(job, head, rows) else left[:1]
    ended = head.started_at
    for position, name in enumerate(carried):
        row = out[name]
        if not row.attempt:  # its turn has come when the one before has ended
            row = row.anew(Phase.RUNNING, attempt=1, started_at=ended, job=head.job)
        out[name] = row = _looked_at(turn, row, carried[position + 1 :], job, pods, stopping=stopping)
        if row.phase is not Phase.SUCCEEDED:
            out |= {one: _behind(out[one], row) for one in carried[position + 1 :]}
            break
        ended = row.finished_at
    return out


def _is_shared(job: Object | None, head: Row, rows: Rows) -> bool:
    """Whether the Job of the first step that has not ended runs those behind it, too."""
    if job is None:
        return any(row.job == head.job and row.name != head.name for row in rows.values())
    return is_shared_job(job)


def _looked_at(
    turn: Turn, row: Row, behind: Sequence[str], job: Object | None, pods: Sequence[Object], *, stopping: bool
) -> Row:
    """The row of the step whose turn it is."""
    assert row.job is not None  # noqa: S101 - an attempt is under way
    steps = turn.inputs.revision.steps
    step, then = steps[row.name], steps[behind[0]] if behind else None
    seen = observe(step, job, pods, proven=row.job in turn.view.proven, then=then)
    if row.reason == Reason.DEADLINE_EXCEEDED and seen.state is State.FAILED:
        seen = _too_late(turn, step, seen)
    if job is None or stopping or not is_shared_job(job):
        return judged(turn, row, seen, stopping=stopping)
    if seen.state is State.ACTIVE and seen.started and (late := _overdue(turn, row, step, job, seen)) is not None:
        return late
    return judged(turn, row, seen, since=from_rfc3339(row.started_at) if row.started_at else 0)


def _late(turn: Turn, step: Step) -> str:
    limit = step.timeout or turn.inputs.revision.defaults.timeout
    return f"ran longer than its timeout of {limit}; raise the step's timeout, or make it faster"


def _too_late(turn: Turn, step: Step, seen: Observation) -> Observation:
    """What was seen of an attempt, as the failure of one that ran too long."""
    failure, reason = FailureClass.DEADLINE, Reason.DEADLINE_EXCEEDED
    return replace(seen, state=State.FAILED, failure=failure, reason=reason, message=_late(turn, step))


def _overdue(turn: Turn, row: Row, step: Step, job: Object, seen: Observation) -> Row | None:
    """The row of a step that runs longer than it may: its pod's own limit would be for all that share it."""
    limit = turn.inputs.revision.timeout(step)
    if limit is None or seen.started_at is None:
        return None
    if turn.now < (end := from_rfc3339(seen.started_at) + limit):
        turn.wakes.append(end)
        return None
    if had_time(turn, job):
        return judged(turn, row, replace(_too_late(turn, step, seen), finished_at=to_rfc3339(turn.now)))
    return replace(row, phase=Phase.RUNNING, reason=Reason.DEADLINE_EXCEEDED, message=f"is ending: {_late(turn, step)}")


def _behind(row: Row, head: Row) -> Row:
    """The row of a step behind the one whose turn it is: in the same Job as long as that goes on."""
    if row.final:
        return row
    if head.under_way:
        return row if row.job == head.job else replace(row, job=head.job)
    return Row(row.name) if row.job is not None else row
