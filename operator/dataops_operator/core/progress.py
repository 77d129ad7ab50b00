"""What a step's Jobs and pods show: its row brought up to that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final, Literal

from ..api.base import parse_duration
from ..api.conditions import Reason, truncate
from ..api.run import Phase
from ..api.step import FailureClass, Step
from .attempts import refusal
from .observe import Object, Observation, State, observe
from .retry import counted, pause, tried_again
from .rows import Row
from .stored import folded, handed_in
from .times import from_rfc3339, to_rfc3339
from .turn import Turn

NO_POD_PATIENCE: Final = 3.0
"""Seconds that a Job, once its controller has taken it up, may be without a pod before its events are asked why."""
BACKLOG_PATIENCE: Final = 30.0
"""The same for a Job that its controller has not taken up: it may have many before this one, and no event yet."""
AGENT_PATIENCE: Final = 5.0
"""Seconds that a pod may take to read its secrets before its step says that it waits for them."""
POLL: Final = 10.0
"""Seconds between two looks at something that tells of no change by itself."""


def observed(turn: Turn, row: Row, *, stopping: bool = False) -> Row:
    """The row brought up to what its attempt shows.

    Args:
        turn: of planning.
        row: as it was.
        stopping: whether the step is to end, so that an attempt which failed is not followed by another.
    """
    if row.final:
        return row
    row = adopted(turn, row)
    if not row.under_way:
        return row
    assert row.job is not None  # noqa: S101 - under_way says so
    job, pods = witnesses(turn, row.job)
    step = turn.inputs.revision.steps[row.name]
    if step.results == "Endpoint":
        telling = handed_in(turn, row, step, pods)
        if telling is None:
            return row
        pods = telling
    seen = observe(step, job, pods, proven=row.job in turn.view.proven)
    return judged(turn, row, seen, stopping=stopping)


def adopted(turn: Turn, row: Row) -> Row:
    """The row with the Jobs that the status has not heard of; see `taken_up`."""
    return taken_up(turn, row, turn.view.jobs, "job")


def taken_up(turn: Turn, row: Row, there: Mapping[str, Object], field: Literal["job", "run"]) -> Row:
    """The row with the attempts that the status has not heard of: the operator ended between the two writes.

    That a later attempt was begun says that the one before was judged, even if that cannot be seen any more.

    Args:
        turn: of planning.
        row: as it was.
        there: what attempts at such steps are, by name.
        field: of the row that names it.
    """
    while (name := turn.job_name(row.name, row.due_attempt, row.item)) in there:
        created = there[name]["metadata"].get("creationTimestamp")
        row = row.anew(Phase.RUNNING, attempt=row.due_attempt, started_at=created, **{field: name})
    return row


def witnesses(turn: Turn, name: str) -> tuple[Object | None, Sequence[Object]]:
    """A Job, where it is there, and its pods."""
    job = turn.view.jobs.get(name)
    return job, turn.view.pods.get(job["metadata"]["uid"], ()) if job is not None else ()


def judged(turn: Turn, row: Row, seen: Observation, *, stopping: bool = False, since: float = 0) -> Row:
    """The row of an attempt under way by what was seen of it.

    Args:
        turn: of planning.
        row: as it was.
        seen: of its attempt.
        stopping: whether the step is to end.
        since: when its container could begin at the earliest, in seconds since the epoch, if later than its Job.
    """
    assert row.job is not None  # noqa: S101 - an attempt is under way
    step = turn.inputs.revision.steps[row.name]
    if seen.state is State.UNPROVEN:
        turn.prove.append(row.job)
        return row
    if seen.state is State.SUCCEEDED:
        return folded(turn, _succeeded(turn, row, seen))
    if seen.state is State.FAILED:
        return failed(turn, row, step, seen, last=stopping)
    return row if stopping else _active(turn, row, step, seen, since)


def _succeeded(turn: Turn, row: Row, seen: Observation) -> Row:
    return replace(
        row,
        phase=Phase.SUCCEEDED,
        reason=None,
        message=seen.message or None,
        started_at=seen.started_at or row.started_at,
        finished_at=seen.finished_at or to_rfc3339(turn.now),
        image=seen.image,
        outputs=seen.outputs or None,
    )


def failed(turn: Turn, row: Row, step: Step, seen: Observation, *, last: bool = False) -> Row:
    """A failed attempt: another one later, or the end of the step."""
    finished = seen.finished_at or to_rfc3339(turn.now)
    row = replace(
        row,
        phase=Phase.FAILED,
        reason=seen.reason or Reason.ERROR,
        message=seen.message,
        started_at=seen.started_at or row.started_at,
        finished_at=finished,
        image=seen.image,
    )
    if last:
        return row
    row, policy = counted(row, seen.failure), turn.inputs.revision.retry(step)
    if not tried_again(policy, row, seen.failure, seen.exit_code):
        return row
    wait = pause(policy.backoff, row, seen.failure, f"{turn.inputs.identity.uid}/{row.name}/{row.item}")
    retry_at = from_rfc3339(finished) + wait
    # Times are cut to whole seconds, so one more keeps the wait whole; and never in the past, so that every
    # failed attempt is seen to wait before the next one begins.
    return replace(row, phase=Phase.WAITING, retry_at=to_rfc3339(max(retry_at, turn.now) + 1))


def ended_badly(turn: Turn, row: Row, kind: FailureClass, reason: str, text: str, *, stopping: bool = False) -> Row:
    """A failed attempt that is no pod: another one later, or the end of the step.

    Args:
        turn: of planning.
        row: as it was.
        kind: class of the failure.
        reason: of it.
        text: for people.
        stopping: whether no other attempt follows.
    """
    seen = Observation(State.FAILED, kind, reason, truncate(text, 480), started_at=row.started_at)
    return failed(turn, row, turn.inputs.revision.steps[row.name], seen, last=stopping)


def _runs(row: Row) -> Row:
    """The row of an attempt whose container runs; mostly it is that already."""
    same = row.phase is Phase.RUNNING and row.reason is None and row.message is None
    return row if same else replace(row, phase=Phase.RUNNING, reason=None, message=None)


def _active(turn: Turn, row: Row, step: Step, seen: Observation, since: float) -> Row:
    """An attempt under way: nothing to do, unless it does not start."""
    if seen.started:
        return _runs(row)
    assert row.job is not None  # noqa: S101
    reason, message = seen.reason, seen.message
    job, pods = witnesses(turn, row.job)
    assert job is not None  # noqa: S101 - without it the attempt has failed
    has_pod, created = bool(pods), from_rfc3339(job["metadata"]["creationTimestamp"])
    patience = NO_POD_PATIENCE if job["status"].get("startTime") else BACKLOG_PATIENCE
    if not has_pod and turn.now >= created + patience:
        told = turn.view.explained.get(row.job)
        if told is None:
            turn.explain.append(row.job)
        elif told:
            reason, message = refusal(told)
        turn.wakes.append(turn.now + POLL)
    elif not has_pod:
        turn.wakes.append(created + patience)
    limit = turn.inputs.revision.start_timeout(step)
    deadline = max(created, since, seen.armed_at or 0.0) + parse_duration(limit)
    if seen.arming_since is not None:  # for which the environment has a limit of its own
        if turn.vault is not None:
            deadline = max(deadline, seen.arming_since + parse_duration(turn.vault.wait_limit) + AGENT_PATIENCE)
        if turn.now < seen.arming_since + AGENT_PATIENCE:
            turn.wakes.append(seen.arming_since + AGENT_PATIENCE)
            reason = None
    if turn.now >= deadline:
        if row.job not in turn.view.proven:
            turn.prove.append(row.job)
            return row
        why = f": {message}" if message else ""
        late = Observation(
            State.FAILED,
            FailureClass.START,
            reason or Reason.NOT_STARTED,
            f"did not start within {limit}{why}",
            started_at=row.started_at,
        )
        return failed(turn, row, step, late)
    turn.wakes.append(deadline)
    if reason is None:
        return row
    # The same trouble in other words is no news, and no write.
    text = row.message if row.reason == reason else message
    return replace(row, phase=Phase.WAITING, reason=reason, message=text)
