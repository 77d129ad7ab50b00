"""A step that makes an object of another kind: its attempt is that object, and conditions on it say how it ended.

The object has a name that is a function of run, step and attempt, so that making it twice meets itself; the run owns
it, and the run's own account makes, reads and deletes it. Nothing tells of its changes, so it is looked at now and
then.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from ..api.base import parse_duration
from ..api.conditions import Reason, truncate
from ..api.run import Phase
from ..api.step import FailureClass, Step
from ..api.stepkinds import ObjectStep
from .concurrency import first_hidden
from .course import Rows, named_steps, verdict
from .expressions import ExpressionError, compile_expression, evaluate, holds
from .graph import OBJECT_ROOTS
from .names import MANAGED_BY_LABEL, MANAGER
from .objects import ObjectRef, Seen
from .observe import Object
from .podends import GRACE
from .progress import ended_badly
from .rows import Row
from .starting import not_taken, rests
from .stopping import Stop, cut_short
from .stored import given
from .templating import TemplateError, fill_deep
from .times import from_rfc3339, to_rfc3339
from .turn import Turn
from .waiting import LOOK

INSTANCE_LABEL: Final = "app.kubernetes.io/instance"
COMPONENT_LABEL: Final = "app.kubernetes.io/component"


def _asked(turn: Turn, name: str) -> ObjectStep:
    asked = turn.inputs.revision.steps[name].resource
    assert asked is not None  # noqa: S101 - its kind says so
    return asked


def _about(turn: Turn, step: str, attempt: int) -> ObjectRef:
    """The object that an attempt at a step is."""
    manifest = _asked(turn, step).manifest
    where, name = turn.inputs.identity.namespace, turn.job_name(step, attempt)
    return ObjectRef(str(manifest.get("apiVersion")), str(manifest.get("kind")), where, name)


# Begun.


def make(turn: Turn, row: Row, _: Rows, outcome: Phase | None) -> Row:
    """The row of a step that is due, with its object made if that may be."""
    if rests(turn, row):
        return row
    if turn.asked.began is None:
        turn.wakes.append(turn.now)  # once the status says with what the run began: the object could not
        return row
    attempt = row.due_attempt
    about, now = _about(turn, row.name, attempt), to_rfc3339(turn.now)
    if about.name in turn.view.refused:
        return not_taken(turn, row, turn.inputs.revision.steps[row.name], attempt, turn.view.refused[about.name])
    try:
        turn.make.append(_body(turn, row.name, about, outcome))
    except TemplateError as error:
        return row.unmade(Reason.INVALID_TEMPLATE, str(error), now)
    made = f"{about.kind}/{about.name}"
    return row.anew(Phase.RUNNING, attempt=attempt, started_at=now, object=made)


def _body(turn: Turn, step: str, about: ObjectRef, outcome: Phase | None) -> dict[str, Any]:
    """The object to make.

    Raises:
        TemplateError: a value cannot be told, or may not be.
    """
    manifest, identity = _asked(turn, step).manifest, turn.inputs.identity
    if (hidden := first_hidden(turn.inputs, manifest)) is not None:
        told = "is masked, and the object would show it; have what runs there get it by itself"
        raise TemplateError(f"resource.manifest: {hidden.text} {told}")
    body: dict[str, Any] = fill_deep(manifest, turn.inputs.resolver(turn.outputs, outcome))
    meta = body.get("metadata") or {}
    labels = {MANAGED_BY_LABEL: MANAGER, INSTANCE_LABEL: identity.name, COMPONENT_LABEL: step}
    own = {
        "name": about.name,
        "namespace": about.namespace,
        "labels": {**(meta.get("labels") or {}), **labels},
        "ownerReferences": [identity.owner()],
    }
    return {**body, "metadata": {**meta, **own}}


# Observed.


def object_observed(turn: Turn, row: Row, *, stopping: bool) -> Row:
    """The row brought up to what its object shows; as `progress.observed`."""
    if stopping and not row.final and not row.under_way:
        row = object_taken_up(turn, row) or row
    if not row.under_way:
        return row
    about = _about(turn, row.name, row.attempt)
    if (seen := turn.view.objects.get(about)) is None:
        turn.look.append(about)
        return row
    step = turn.inputs.revision.steps[row.name]
    if seen.hopeless:
        return ended_badly(turn, row, FailureClass.FAILURE, seen.reason, seen.problem, stopping=stopping)
    turn.wakes.append(turn.now + LOOK)
    if seen.problem:
        waits = replace(row, phase=Phase.WAITING, reason=seen.reason, message=seen.problem)
        return row if stopping else _in_time(turn, waits, step, about)
    if seen.content is None or not _ours(turn, seen.content):
        text = f"{about} was deleted"
        return ended_badly(turn, row, FailureClass.INFRASTRUCTURE, Reason.OBJECT_DELETED, text, stopping=stopping)
    turn.outputs = given(turn, turn.known.values())
    if turn.fetch:  # what a condition may name was handed in, and is read first
        return row
    row = _judged(turn, row, about, seen.content, stopping=stopping)
    return row if stopping or not row.under_way else _in_time(turn, row, step, about)


def object_taken_up(turn: Turn, row: Row) -> Row | None:
    """The row with an object that its status has not heard of; None where that has to be read first.

    The operator ended between making it and saying so. It would be made anew, were the step still to begin.
    """
    attempt = row.due_attempt
    about = _about(turn, row.name, attempt)
    if (seen := turn.view.objects.get(about)) is None:
        turn.look.append(about)
        return None
    if seen.content is None or not _ours(turn, seen.content):
        return row
    made, since = f"{about.kind}/{about.name}", seen.content["metadata"].get("creationTimestamp")
    return row.anew(Phase.RUNNING, attempt=attempt, started_at=since or to_rfc3339(turn.now), object=made)


def _ours(turn: Turn, content: Object) -> bool:
    owners = content["metadata"].get("ownerReferences") or ()
    return any(one.get("uid") == turn.inputs.identity.uid for one in owners)


def _judged(turn: Turn, row: Row, about: ObjectRef, content: Object, *, stopping: bool) -> Row:
    """The row by what the step's conditions say of its object; what they name and is not there yet is waited for."""
    asked, unsure = _asked(turn, row.name), ""
    for text, good in ((asked.failure_when, False), (asked.success_when, True)):
        if text is None:
            continue
        try:
            if not holds(compile_expression(text, OBJECT_ROOTS), _variables(turn, row.name, text, content)):
                continue
        except ExpressionError as error:
            unsure = f" ({error})"
            continue
        if good:
            return _succeeded(turn, row, asked, content, stopping=stopping)
        told = f"{about}: {text}"
        return ended_badly(turn, row, FailureClass.FAILURE, Reason.OBJECT_FAILED, told, stopping=stopping)
    return replace(row, phase=Phase.RUNNING, reason=None, message=truncate(f"{about}{unsure}", 400))


def _variables(turn: Turn, step: str, text: str, content: Object) -> dict[str, Any]:
    """What a condition or an output of a step has to do with; in `finally` the outcome is known."""
    named, revision = compile_expression(text, OBJECT_ROOTS).references, turn.inputs.revision
    outcome = verdict(revision, turn.known, final=False) if step in revision.final else None
    return turn.inputs.variables(named_steps(named, turn.known, turn.outputs), outcome) | {"object": content}


def _succeeded(turn: Turn, row: Row, asked: ObjectStep, content: Object, *, stopping: bool) -> Row:
    outputs: dict[str, Any] = {}
    for one in asked.outputs or ():
        try:
            expression = compile_expression(one.value, OBJECT_ROOTS)
            outputs[one.name] = evaluate(expression, _variables(turn, row.name, one.value, content))
        except ExpressionError as error:
            text = f"output {one.name!r}: {error}"
            kind, reason = FailureClass.FAILURE, Reason.EXPRESSION_FAILED
            return ended_badly(turn, row, kind, reason, text, stopping=stopping)
    finished = to_rfc3339(turn.now)
    row = replace(row, phase=Phase.SUCCEEDED, reason=None, message=None, finished_at=finished)
    return replace(row, outputs=outputs or None)


def _in_time(turn: Turn, row: Row, step: Step, about: ObjectRef) -> Row:
    """The row of an object that is at work, whose time may be over: then it is deleted."""
    if step.timeout is None:
        return row
    deadline = from_rfc3339(row.started_at or to_rfc3339(turn.now)) + parse_duration(step.timeout)
    if turn.now < deadline:
        turn.wakes.append(deadline)
        return row
    turn.remove.append(about)
    text = f"{about} took longer than the step's timeout of {step.timeout}, and was deleted"
    return ended_badly(turn, row, FailureClass.DEADLINE, Reason.DEADLINE_EXCEEDED, text)


# Stopped, and left.


def object_stopped(turn: Turn, before: Row, row: Row, stop: Stop) -> Row:
    """The row of a step whose run ends: its object is deleted, and waited for unless nothing is."""
    if before.final or row.phase is Phase.SUCCEEDED:
        return row
    if not row.under_way:
        return cut_short(turn, row, stop)
    about = _about(turn, row.name, row.attempt)
    seen: Seen = turn.view.objects.get(about, Seen())
    content: Mapping[str, Any] = seen.content or {"metadata": {}}
    leaving = content["metadata"].get("deletionTimestamp")
    if leaving is None:
        turn.remove.append(about)
    if stop.kill or seen.content is None or (leaving and turn.now >= from_rfc3339(leaving) + GRACE):
        return cut_short(turn, row, stop)
    if seen.stays and not leaving:
        text = truncate(f"{stop.message}; {about} stays: {seen.stays}", 400)
        return cut_short(turn, row, replace(stop, message=text))
    turn.wakes.append(turn.now + LOOK)
    return replace(row, phase=Phase.RUNNING, reason=stop.reason, message=f"is ending: {stop.message}")


def left_objects(turn: Turn, rows: Rows) -> Iterator[ObjectRef]:
    """The objects that go with the end of their run: of each attempt at a step that does not keep them."""
    for name, step in turn.inputs.revision.steps.items() if turn.inputs.revision.kinds else ():
        if step.resource is not None and step.resource.deletion == "Delete":
            yield from (_about(turn, name, attempt + 1) for attempt in range(rows[name].attempt))
