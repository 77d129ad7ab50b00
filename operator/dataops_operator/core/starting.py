"""The beginning of an attempt at a step: its condition, the room for its Job, its secrets, the Job itself."""

from __future__ import annotations

from typing import Any, Final

from ..api.base import parse_duration
from ..api.conditions import UNARMED, Reason
from ..api.run import Phase
from ..api.step import FailureClass, Step
from .attempts import refusal
from .caching import recalled
from .course import Rows, named_steps
from .credentials import Armed, Hindrance, wants
from .expressions import ExpressionError, compile_expression, holds
from .graph import EXPRESSION_ROOTS
from .images import ImageError
from .inputs import Item
from .joint import joint_job
from .observe import is_shared_job, pod_ended
from .plan import Refusal
from .progress import POLL, ended_badly, witnesses
from .rows import Row, held, skipped
from .stopping import had_time
from .stored import NO_ENDPOINT, with_endpoint
from .templating import TemplateError
from .times import from_rfc3339, to_rfc3339
from .turn import Turn

NO_ROOM: Final = "the environment has as many Jobs at work as its spec.quota.jobs allows"


def begin(turn: Turn, row: Row, outcome: Phase | None, value: Any = None) -> Row:
    """The row of a step that is due, or of an item of one, with its next attempt begun if that may be.

    Args:
        turn: of planning.
        row: of the step or the item.
        outcome: how the run has ended, for steps of `finally`; None for the others.
        value: the item.
    """
    if rests(turn, row) or _is_left_behind(turn, row):
        return row
    if (known := recalled(turn, row)) is not None:
        return known
    step = turn.inputs.revision.steps[row.name]
    item = None if row.item is None else Item(row.item, value)
    return _start(turn, row, step, row.due_attempt, outcome, item)


def _is_left_behind(turn: Turn, row: Row) -> bool:
    """Whether the pod of the attempt before still ends, in which a step behind this one had begun; it has its time."""
    if row.retry_at is None or row.job is None:
        return False
    job, pods = witnesses(turn, row.job)
    return job is not None and is_shared_job(job) and not all(map(pod_ended, pods)) and not had_time(turn, job)


def rests(turn: Turn, row: Row) -> bool:
    """Whether the time between two attempts is not over."""
    if row.retry_at is None or turn.now >= (moment := from_rfc3339(row.retry_at)):
        return False
    turn.wakes.append(moment)
    return True


def unasked(turn: Turn, row: Row, rows: Rows, outcome: Phase | None) -> Row | None:
    """The row of a step that is due and whose condition does not hold, or cannot be told; None where it may begin."""
    step = turn.inputs.revision.steps[row.name]
    if step.when is None or row.attempt or row.items is not None:
        return None
    return _asked(turn, row, step.when, rows, outcome)


def _asked(turn: Turn, row: Row, when: str, rows: Rows, outcome: Phase | None) -> Row | None:
    """The row of a step whose condition does not hold, or cannot be told; None where it holds."""
    try:
        expression = compile_expression(when, EXPRESSION_ROOTS)
        named = named_steps(expression.references, rows, turn.outputs)
        if holds(expression, turn.inputs.variables(named, outcome)):
            return None
    except ExpressionError as error:
        text = f"when: {error}"
        return row.anew(Phase.FAILED, Reason.EXPRESSION_FAILED, text, finished_at=to_rfc3339(turn.now))
    return skipped(row, Reason.CONDITION_NOT_MET, f"not run, since its condition does not hold: {when}")


def _start(turn: Turn, row: Row, step: Step, attempt: int, outcome: Phase | None, item: Item | None) -> Row:
    name = turn.job_name(row.name, attempt, row.item)
    if name in turn.view.refused:
        return not_taken(turn, row, step, attempt, turn.view.refused[name])
    if turn.view.room is not None and len(turn.create) >= turn.view.room:
        turn.short = True
        turn.wakes.append(turn.now + POLL)
        return held(row, Reason.JOB_QUOTA, NO_ROOM)
    armed = turn.view.armed
    if not isinstance(armed, Armed):
        if wants(turn.inputs, step):
            return _unarmed(turn, row, attempt, armed)
        armed = None
    now = to_rfc3339(turn.now)
    endpoint = turn.inputs.endpoint
    if step.results == "Endpoint" and endpoint is None:
        return row.unmade(Reason.RESULTS_UNAVAILABLE, NO_ENDPOINT, now)
    try:
        stage, raised = turn.inputs.revision.stage(row.name), row.out_of_memory
        body, stage = joint_job(
            turn.inputs, stage, attempt, turn.outputs, armed, outcome=outcome, raised=raised, item=item
        )
    except TemplateError as error:
        return row.unmade(Reason.INVALID_TEMPLATE, str(error), now)
    except ImageError as error:
        return row.unmade(Reason.IMAGE_NOT_ALLOWED, str(error), now)
    if step.results == "Endpoint" and endpoint is not None:
        body = with_endpoint(body, step, endpoint)
    turn.create.append(body)
    turn.carried |= dict.fromkeys((one.name for one in stage[1:]), name)
    return row.anew(Phase.RUNNING, attempt=attempt, started_at=now, job=name)


def _unarmed(turn: Turn, row: Row, attempt: int, why: Hindrance | None) -> Row:
    """A step whose secrets are not at hand: asked for, waited for within the environment's limit, or failed."""
    if why is None:
        turn.arm = True
        return row
    waited = row.refused and row.started_at and row.reason in UNARMED
    began = row.started_at if waited and row.started_at else to_rfc3339(turn.now)
    limit = turn.vault.wait_limit if turn.vault is not None else "0s"
    deadline = from_rfc3339(began) + parse_duration(limit)
    if why.final or turn.now >= deadline:
        text = why.message if why.final else f"still without secrets after vault.waitLimit, {limit}: {why.message}"
        finished = to_rfc3339(turn.now)
        return row.anew(Phase.FAILED, why.reason, text, attempt=attempt, started_at=began, finished_at=finished)
    turn.wakes.append(min(deadline, why.again_at or turn.now + POLL))
    text = row.message or why.message if row.reason == why.reason else why.message
    return row.anew(Phase.WAITING, why.reason, text, attempt=attempt, started_at=began)


def not_taken(turn: Turn, row: Row, step: Step, attempt: int, told: Refusal) -> Row:
    """A Job, a run or an object that the API server would not take: asked again until startTimeout, if that can help.

    Then the attempt has failed by not starting, and another may follow.
    """
    reason, message = refusal(told.message, told.reason)
    before = row.refused and row.reason not in UNARMED
    began = row.started_at if before and row.started_at else to_rfc3339(turn.now)
    limit = turn.inputs.revision.start_timeout(step)
    deadline = from_rfc3339(began) + parse_duration(limit)
    if told.hopeless:
        text, finished = f"cannot start: {message}", to_rfc3339(turn.now)
        return row.anew(Phase.FAILED, reason, text, attempt=attempt, started_at=began, finished_at=finished)
    if turn.now >= deadline:
        row = row.anew(Phase.WAITING, attempt=attempt, started_at=began)
        return ended_badly(turn, row, FailureClass.START, reason, f"did not start within {limit}: {message}")
    turn.wakes.append(min(deadline, turn.now + POLL))
    text = row.message or message if row.reason == reason else message
    return row.anew(Phase.WAITING, reason, text, attempt=attempt, started_at=began)
