"""A wait: for a time, or for an object to be as it should."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from ..api.base import parse_duration
from ..api.conditions import Reason
from ..api.run import Phase
from ..api.step import Step
from ..api.stepkinds import ObjectCondition
from .course import Rows, named_steps
from .expressions import ExpressionError, compile_expression, holds
from .graph import OBJECT_ROOTS
from .objects import ObjectRef
from .rows import Row
from .templating import TemplateError, as_text, fill_value
from .times import from_rfc3339, parse_time, to_rfc3339
from .turn import Turn

LOOK: Final = 15.0
"""Seconds between two looks at an object that is waited for."""


def wait(turn: Turn, row: Row, rows: Rows, outcome: Phase | None) -> Row:
    """The row of a wait that is due or has begun, taken as far as it can go now."""
    step = turn.inputs.revision.steps[row.name]
    assert step.wait is not None  # noqa: S101 - its kind says so
    now = to_rfc3339(turn.now)
    if not row.attempt:
        row = row.anew(Phase.WAITING, attempt=1, started_at=now)
    try:
        if step.wait.condition is not None:
            after = _for_object(turn, row, step.wait.condition, rows, outcome)
        else:
            after = _for_time(turn, row, _moment(turn, row, step, outcome))
    except (TemplateError, ValueError) as error:
        return row.anew(
            Phase.FAILED, Reason.INVALID_TEMPLATE, str(error), attempt=1, started_at=row.started_at, finished_at=now
        )
    if after.final or step.timeout is None:
        return after
    deadline = from_rfc3339(row.started_at or now) + parse_duration(step.timeout)
    if turn.now >= deadline:
        text = f"waited for longer than its timeout of {step.timeout}: {after.message}"
        return replace(row, phase=Phase.FAILED, reason=Reason.DEADLINE_EXCEEDED, message=text, finished_at=now)
    turn.wakes.append(deadline)
    return after


def _moment(turn: Turn, row: Row, step: Step, outcome: Phase | None) -> float:
    """When a wait for a time is over.

    Raises:
        TemplateError: its time cannot be told.
        ValueError: it is none.
    """
    assert step.wait is not None  # noqa: S101
    if step.wait.duration is not None:
        # Times are cut to whole seconds, so one more keeps the wait whole.
        return from_rfc3339(row.started_at or "") + parse_duration(step.wait.duration) + 1
    try:
        return parse_time(_text(turn, step.wait.until or "", outcome))
    except ValueError as error:
        raise TemplateError(f"wait.until: {error}") from None


def _for_time(turn: Turn, row: Row, moment: float) -> Row:
    if turn.now >= moment:
        return _over(turn, row)
    turn.wakes.append(moment)
    return replace(row, reason=Reason.TIME_NOT_REACHED, message=f"waits until {to_rfc3339(moment)}")


def _for_object(turn: Turn, row: Row, condition: ObjectCondition, rows: Rows, outcome: Phase | None) -> Row:
    name = _text(turn, condition.name, outcome)
    about = ObjectRef(condition.api_version, condition.kind, turn.inputs.identity.namespace, name)
    seen = turn.view.objects.get(about)
    if seen is None:
        turn.look.append(about)
        return row
    if seen.hopeless:
        finished = to_rfc3339(turn.now)
        return replace(row, phase=Phase.FAILED, reason=seen.reason, message=seen.problem, finished_at=finished)
    turn.wakes.append(turn.now + LOOK)
    if seen.problem:
        return replace(row, reason=seen.reason, message=seen.problem)
    if seen.content is None:
        return replace(row, reason=Reason.OBJECT_NOT_READY, message=f"there is no {about} yet")
    try:
        if _holds(turn, condition.when, seen.content, rows, outcome):
            return _over(turn, row)
        text = f"waits until of {about}: {condition.when}"
    except ExpressionError as error:  # an object is filled in bit by bit
        text = f"waits until of {about}: {condition.when} ({error})"
    return replace(row, reason=Reason.OBJECT_NOT_READY, message=text)


def _holds(turn: Turn, when: str, content: object, rows: Rows, outcome: Phase | None) -> bool:
    expression = compile_expression(when, OBJECT_ROOTS)
    variables = turn.inputs.variables(named_steps(expression.references, rows, turn.outputs), outcome)
    return holds(expression, variables | {"object": content})


def _over(turn: Turn, row: Row) -> Row:
    return replace(row, phase=Phase.SUCCEEDED, reason=None, message=None, finished_at=to_rfc3339(turn.now))


def _text(turn: Turn, text: str, outcome: Phase | None) -> str:
    return as_text(fill_value(text, turn.inputs.resolver(turn.outputs, outcome)))
