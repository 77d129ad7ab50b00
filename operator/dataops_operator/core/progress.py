"""What a step's Jobs and pods show: its row brought up to that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final, Literal

from ..api.base import parse_duration
from ..api.conditions import Reason, truncate
from ..api.run import Phase
from ..api.step import FailureClass, Step
from .attempts import refusal, trouble
from .observe import Object, Observation, State, observe
from .results import FILE, Place
from .retry import counted, pause, tried_again
from .rows import Row
from .stopping import had_time
from .stored import folded, handed_in
from .timeouts import late, out_of_time, runs_over, too_late
from .times import from_rfc3339, to_rfc3339
from .turn import Turn

NO_POD_PATIENCE: Final = 3.0
"""Seconds that a Job, once its controller has taken it up, may be without a pod before its events are asked why."""
UNTOLD_PATIENCE: Final = 3.0
"""The same for a step that is to begin in a pod which it shares, and does not."""
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
    step, place = turn.inputs.revision.steps[row.name], FILE
    if step.results == "Endpoint":
        told = handed_in(turn, row, step, pods)
        if told is None:
            return row
        pods, place = told
    return looked_at(turn, row, job, pods, place=place, stopping=stopping)


def looked_at(
    turn: Turn,
    row: Row,
    job: Object | None,
    pods: Sequence[Object],
    *,
    then: Step | None = None,
    place: Place = FILE,
    since: float = 0,
    stopping: bool = False,
) -> Row:
    """The row of an attempt under way by what its pods show, within the time that it has.

    Args:
        turn: of planning.
        row: as it was.
        job: its Job, where it is there.
        pods: of that.
        then: the step that begins in the same pod when this one has ended well.
        place: where the step told the result that is its container's message.
        since: when its container could begin at the earliest, in seconds since the epoch, if later than its Job.
        stopping: whether the step is to end.
    """
    step = turn.inputs.revision.steps[row.name]
    seen = observe(step, job, pods, proven=row.job in turn.view.proven, then=then, place=place)
    ending = row.reason == Reason.DEADLINE_EXCEEDED
    if seen.state is State.FAILED and ending:
        seen = too_late(turn, step, seen)
    elif seen.state is State.FAILED and seen.reason == Reason.DEADLINE_EXCEEDED and not stopping:
        seen = out_of_time(turn, step, seen)
    elif seen.state is State.ACTIVE and job is not None and not stopping and runs_over(turn, step, seen):
        if not had_time(turn, job):
            text = f"is ending: {late(turn, step)}"
            return replace(row, phase=Phase.RUNNING, reason=Reason.DEADLINE_EXCEEDED, message=text)
        seen = too_late(turn, step, replace(seen, finished_at=to_rfc3339(turn.now)))
    return judged(turn, row, seen, stopping=stopping, since=since)


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
    if stopping:  # it may have begun while it was said to wait
        return replace(row, phase=Phase.RUNNING) if seen.started and row.item is None else row
    return _active(turn, row, step, seen, since)


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


def _why(turn: Turn, row: Row, job: Object, seen: Observation, since: float, *, pods: bool) -> tuple[str | None, str]:
    """Why an attempt does not start; of a Job without a pod, and of a step behind another, events tell it.

    A kubelet tells of a container behind another only when it has looked at its pod for the second time.
    """
    # A Job is named after the first of its steps.
    behind = since and row.job != turn.job_name(row.name, row.attempt, row.item)
    if seen.reason is not None or (pods and not behind):
        return seen.reason, seen.message
    assert row.job is not None  # noqa: S101 - an attempt is under way
    taken_up = job["status"].get("startTime")
    if pods:
        asked_at = since + UNTOLD_PATIENCE
    elif taken_up:
        asked_at = from_rfc3339(taken_up) + NO_POD_PATIENCE
    else:
        asked_at = from_rfc3339(job["metadata"]["creationTimestamp"]) + BACKLOG_PATIENCE
    if turn.now < asked_at:
        turn.wakes.append(asked_at)
        return None, ""
    turn.wakes.append(turn.now + POLL)
    told = turn.view.explained.get(row.job)
    if told is None:
        turn.explain[row.job] = row.name if pods else None
    if not told:
        return None, ""
    return trouble(told) if pods else refusal(told)


def _active(turn: Turn, row: Row, step: Step, seen: Observation, since: float) -> Row:
    """An attempt under way: nothing to do, unless it does not start."""
    if seen.started:
        return _runs(row)
    assert row.job is not None  # noqa: S101
    job, pods = witnesses(turn, row.job)
    assert job is not None  # noqa: S101 - without it the attempt has failed
    created = from_rfc3339(job["metadata"]["creationTimestamp"])
    reason, message = _why(turn, row, job, seen, since, pods=bool(pods))
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
