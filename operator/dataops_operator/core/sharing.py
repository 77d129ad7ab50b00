"""What the one pod of several steps shows: the rows of those that share it brought up to that.

Each step has its own row. The first that has not ended is looked at like any other; those behind it name its Job, and
have no attempt before their turn comes. Where it fails they are let go, and its next attempt's Job takes them along.

Which steps a Job runs it says itself, and the rows that name it: what lets steps share a pod may be another by now, in
another release of the operator, and what is under way goes on as it began.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..api.run import Phase
from ..api.step import Step
from .course import Rows
from .names import GOES_ON_LABEL
from .observe import (
    Object,
    has_begun,
    is_shared_job,
    kept_from_starting,
    out_of_time,
    pod_ended,
    shared_by,
    waits_to_begin,
)
from .podends import GRACE
from .progress import adopted, looked_at, witnesses
from .rows import Row
from .stopping import had_time
from .times import from_rfc3339
from .turn import Turn


def chain_observed(turn: Turn, names: Sequence[str], rows: Rows, *, stopping: bool = False) -> dict[str, Row]:
    """The rows of a chain, of whose steps one at most is at work, brought up to what their pods show.

    Args:
        turn: of planning.
        names: of its steps, in order.
        rows: as they were.
        stopping: whether the run is to end.
    """
    out, looked_at = {name: rows[name] for name in names}, None
    for place, name in enumerate(names):
        row = out[name]
        if not row.final and (row.job is None or row.job != looked_at):
            since = out[names[place - 1]].finished_at if place else None
            out |= _job_observed(turn, names[place:], out, since, stopping=stopping)
            looked_at = out[name].job
        if out[name].phase is not Phase.SUCCEEDED:
            break
    return out


def _job_observed(turn: Turn, left: Sequence[str], rows: Rows, since: str | None, *, stopping: bool) -> dict[str, Row]:
    """The rows of the steps that one Job runs, or ran, of a chain whose first has not ended and follows what has.

    Args:
        turn: of planning.
        left: the steps of the chain, in order.
        rows: as they were.
        since: when the step before the first of them ended.
        stopping: whether the run is to end.
    """
    head = adopted(turn, rows[left[0]])
    if not head.under_way or head.job is None:
        return {head.name: head}
    job, pods = witnesses(turn, head.job)
    carried = _carried(turn, left, head, job, rows)
    out = {name: Row(name) for name in left if rows[name].job == head.job and not rows[name].final}
    out |= {name: rows[name] for name in carried} | {head.name: head}
    steps, ended = turn.inputs.revision.steps, head.started_at or since
    for position, name in enumerate(carried):
        row = out[name]
        if row.attempt and row.job != turn.job_name(name, row.attempt) and _is_held(steps[name], job, pods):
            row = out[name] = Row(name, job=row.job)  # told as begun before it was known that its pod is held
        # Of one that was looked at before and had not begun it is known that it does not in this pod.
        if not row.attempt and ((not pods and not position) or _never(steps[name], job, pods, stopping=stopping)):
            over = not stopping and _held_for_good(turn, steps[name], job, pods, ended)
            return out | _let_go(turn, [out[one] for one in carried[position:]], head.job, pods, over=over)
        if not row.attempt:  # its turn has come when the one before has ended
            row = row.anew(Phase.RUNNING, attempt=1, started_at=ended, job=head.job)
        out[name] = row = looked_at(
            turn,
            row,
            job,
            pods,
            then=steps[carried[position + 1]] if carried[position + 1 :] else None,
            since=from_rfc3339(row.started_at) if row.started_at and job is not None and is_shared_job(job) else 0,
            stopping=stopping,
        )
        if row.phase is not Phase.SUCCEEDED:
            out |= {one: _behind(out[one], row) for one in carried[position + 1 :]}
            break
        ended = row.finished_at
    return out


def may_be_held(step: Step, job: Object | None, pods: Sequence[Object]) -> bool:
    """Whether what begins behind the step at work in a Job's pod can be kept from that; the step itself has begun."""
    alive = [pod for pod in pods if not pod_ended(pod)]
    return job is not None and _goes_on(job) and any(map(_goes_on, alive)) and has_begun(step, alive)


def _goes_on(one: Object) -> bool:
    return GOES_ON_LABEL in (one["metadata"].get("labels") or {})


def _held(job: Object | None, pods: Sequence[Object]) -> bool:
    """Whether the pods of a Job begin no step that they have not; those of an earlier release cannot be held."""
    return job is not None and _goes_on(job) and bool(pods) and not any(map(_goes_on, pods))


def _is_held(step: Step, job: Object | None, pods: Sequence[Object]) -> bool:
    """Whether a step is held back that is not the first of its pod."""
    return _held(job, pods) and waits_to_begin(step, pods)


def _never(step: Step, job: Object | None, pods: Sequence[Object], *, stopping: bool) -> bool:
    """Whether a step whose turn has come does not begin in its pod, since that is to end, or did, or is held back.

    It may have begun all the same, before it was, and nobody have heard of that.
    """
    ends = stopping or any(map(out_of_time, pods)) or _held(job, pods)
    return bool(pods) and ends and not has_begun(step, pods)


def _held_for_good(turn: Turn, step: Step, job: Object | None, pods: Sequence[Object], since: str | None) -> bool:
    """Have a pod end in which a step is held back, once that is certain, and say whether it has had its time for it."""
    alive = [pod for pod in pods if not pod_ended(pod)]
    if job is None or not alive or not _held(job, pods):
        return False
    patience = (from_rfc3339(since) if since else turn.now) + GRACE
    if turn.now < patience and not any(kept_from_starting(step, pod) for pod in alive):
        turn.wakes.append(patience)
        return False
    return had_time(turn, job)


def _let_go(turn: Turn, rows: Sequence[Row], job: str, pods: Sequence[Object], *, over: bool) -> dict[str, Row]:
    """The rows of steps whose turn does not come in a pod: they begin in another, if they may, once it has ended.

    Args:
        turn: of planning.
        rows: of these steps.
        job: whose pod it is.
        pods: of that.
        over: whether it is not waited for any longer.
    """
    if not over and not all(map(pod_ended, pods)):
        return {}
    if job not in turn.view.proven:
        turn.prove.append(job)
        return {}
    return {row.name: Row(row.name) for row in rows}


def _carried(turn: Turn, left: Sequence[str], head: Row, job: Object | None, rows: Rows) -> Sequence[str]:
    """The steps that a Job runs and that have not ended, the one whose turn it is first.

    Args:
        turn: of planning.
        left: steps of a chain, in order, the first of which is under way in that Job.
        head: of that one.
        job: as it is seen, if it is.
        rows: as they were.
    """
    if job is not None and head.job == turn.job_name(head.name, head.attempt):  # it is named after the first of them
        return [name for name in left[: shared_by(job)] if not rows[name].final]
    return [name for name in left if not rows[name].final and (name == head.name or rows[name].job == head.job)]


def _behind(row: Row, head: Row) -> Row:
    """The row of a step behind the one whose turn it is: in the same Job as long as that goes on."""
    if row.final:
        return row
    if head.under_way:
        return row if row.job == head.job else replace(row, job=head.job)
    return Row(row.name) if row.job is not None else row
