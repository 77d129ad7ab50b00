"""A step that runs another pipeline: its attempt is a run of its own, owned by this one, and ends the step as it ends.

The other run has a name that is a function of run, step and attempt, so that a repeated write meets itself. What is
asked of this run is passed on: cancel and suspend by a patch, deletion by the owner reference. A run that was made by
another holds no place of its environment's `quota.runs`, since that one holds one; a pipeline that is already under way
above it is refused, so that no run waits for a place that one above it holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from ..api.base import API_VERSION, parse_duration
from ..api.conditions import Reason, terminal_condition, truncate
from ..api.run import Cancel, Phase
from ..api.step import FailureClass, Step
from .concurrency import first_hidden
from .course import Rows
from .names import ATTEMPT_LABEL, MANAGED_BY_LABEL, MANAGER, PARENT_LABEL, STEP_LABEL, SUSPENDED_ANNOTATION
from .objects import ObjectRef
from .observe import Object
from .parameters import coerce
from .progress import ended_badly, taken_up
from .rows import Row
from .starting import not_taken, rests
from .status import is_final
from .stopping import Stop, cut_short
from .templating import TemplateError, fill_deep
from .times import from_rfc3339, to_rfc3339
from .turn import Turn

DEPTH: Final = 5
"""How many runs may stand below each other, the first among them."""

_OF_THE_RUN: Final[Mapping[str, Reason]] = {
    Reason.CANCELLED: Reason.RUN_CANCELLED,
    Reason.RUN_DEADLINE_EXCEEDED: Reason.DEADLINE_EXCEEDED,
}
"""Reasons that would say of this run what is true of the other."""


# Observed.


def call_observed(turn: Turn, row: Row, *, stopping: bool) -> Row:
    """The row brought up to what the other run shows; as `progress.observed`."""
    if row.final:
        return row
    row = taken_up(turn, row, turn.view.runs, "run")
    if not row.under_way:
        return row
    assert row.run is not None  # noqa: S101 - it is under way
    step, child = turn.inputs.revision.steps[row.name], turn.view.runs.get(row.run)
    if child is not None and not is_final(child["status"]):
        return row if stopping else _active(turn, row, step, child)
    # Its end, and that it is gone, are read live; and only so it has its outputs.
    about = ObjectRef(API_VERSION, "PipelineRun", turn.inputs.identity.namespace, row.run, own=True)
    if (seen := turn.view.objects.get(about)) is None:
        turn.look.append(about)
        return row
    if seen.content is None:
        text = f"run {row.run} was deleted"
        return ended_badly(turn, row, FailureClass.INFRASTRUCTURE, Reason.RUN_DELETED, text, stopping=stopping)
    if not (condition := terminal_condition(seen.content["status"])):
        return row if stopping else _active(turn, row, step, seen.content)
    if condition["status"] == "True":
        return _succeeded(turn, row, step, seen.content, stopping=stopping)
    reason, text = condition["reason"], f"run {row.run}: {condition.get('message', '')}"
    if reason == Reason.CANCELLED:
        late = row.reason == Reason.DEADLINE_EXCEEDED
        if late:
            text = f"run {row.run} took longer than the step's timeout of {step.timeout}, and was cancelled"
            reason, kind = str(Reason.DEADLINE_EXCEEDED), FailureClass.DEADLINE
            return ended_badly(turn, row, kind, reason, text, stopping=stopping)
        # Somebody wanted it to end: no other is begun.
        return ended_badly(turn, row, FailureClass.FAILURE, Reason.RUN_CANCELLED, text, stopping=True)
    kind = FailureClass.DEADLINE if reason == Reason.RUN_DEADLINE_EXCEEDED else FailureClass.FAILURE
    return ended_badly(turn, row, kind, _OF_THE_RUN.get(reason, reason), text, stopping=stopping)


def _succeeded(turn: Turn, row: Row, step: Step, run: Object, *, stopping: bool) -> Row:
    """The end of a step whose run succeeded, with those of its outputs that the step declares."""
    told, outputs = run["status"].get("outputs") or {}, dict[str, Any]()
    for declared in step.outputs or ():
        if declared.name not in told:
            text = (
                f"run {row.run} succeeded without the output {declared.name!r}; have its pipeline's spec.outputs say it"
            )
            return ended_badly(turn, row, FailureClass.FAILURE, Reason.MISSING_OUTPUT, text, stopping=stopping)
        try:
            outputs[declared.name] = coerce(told[declared.name], declared.type)
        except ValueError as error:
            text = f"output {declared.name!r} of run {row.run}: {error}"
            return ended_badly(turn, row, FailureClass.FAILURE, Reason.INVALID_RESULT, text, stopping=stopping)
    finished = run["status"].get("finishedAt") or to_rfc3339(turn.now)
    row = replace(row, phase=Phase.SUCCEEDED, reason=None, message=None, finished_at=finished)
    return replace(row, outputs=outputs or None)


def _active(turn: Turn, row: Row, step: Step, child: Object) -> Row:
    """A run under way: what is asked of this one is passed on, and that it waits is told."""
    assert row.run is not None  # noqa: S101
    _pass_suspend_on(turn, row.run, child)
    if step.timeout is not None:
        deadline = from_rfc3339(row.started_at or to_rfc3339(turn.now)) + parse_duration(step.timeout)
        if turn.now >= deadline:
            _cancel(turn, row.run, child, Cancel.GRACEFUL)
            text = f"is ending: run {row.run} takes longer than the step's timeout of {step.timeout}"
            return replace(row, phase=Phase.RUNNING, reason=Reason.DEADLINE_EXCEEDED, message=text)
        turn.wakes.append(deadline)
    if child["status"].get("phase") != Phase.WAITING:
        return replace(row, phase=Phase.RUNNING, reason=None, message=f"run {row.run}")
    first: Mapping[str, Any] = next(iter(child["status"].get("waitingFor") or ()), {})
    text = truncate(f"run {row.run} waits: {first.get('message') or first.get('reason') or ''}", 400)
    return replace(row, phase=Phase.WAITING, reason=Reason.RUN_WAITING, message=text)


def _pass_suspend_on(turn: Turn, name: str, child: Object) -> None:
    """Suspend a run with this one, and resume it if that is why it is; a run that is ended is suspended no more."""
    with_us = SUSPENDED_ANNOTATION in (child["metadata"].get("annotations") or {})
    suspended = child["spec"].get("suspend") is True
    if turn.suspended and not suspended:
        turn.steer[name] = {"metadata": {"annotations": {SUSPENDED_ANNOTATION: "true"}}, "spec": {"suspend": True}}
    elif not turn.suspended and with_us:
        turn.steer[name] = {"metadata": {"annotations": {SUSPENDED_ANNOTATION: None}}, "spec": {"suspend": False}}


def _cancel(turn: Turn, name: str, child: Object, how: Cancel) -> None:
    if child["spec"].get("cancel") not in (str(how), str(Cancel.IMMEDIATE)):
        turn.steer[name] = {"spec": {"cancel": str(how)}}


# Begun.


def call(turn: Turn, row: Row, _: Rows, outcome: Phase | None) -> Row:
    """The row of a step that is due, with its run begun if that may be."""
    if rests(turn, row):
        return row
    if turn.asked.began is None:
        turn.wakes.append(turn.now)  # once this run's status says with what it began: no run of another could
        return row
    step = turn.inputs.revision.steps[row.name]
    attempt = row.due_attempt
    name, now = turn.job_name(row.name, attempt), to_rfc3339(turn.now)
    if name in turn.view.refused:
        return not_taken(turn, row, step, attempt, turn.view.refused[name])
    if (why := _unfit(turn, step)) is not None:
        return row.anew(Phase.FAILED, why[0], why[1], attempt=attempt, started_at=now, finished_at=now)
    try:
        turn.start.append(_body(turn, step, name, attempt, outcome))
    except TemplateError as error:
        return row.unmade(Reason.INVALID_TEMPLATE, str(error), now)
    return row.anew(Phase.RUNNING, None, f"run {name}", attempt=attempt, started_at=now, run=name)


def _unfit(turn: Turn, step: Step) -> tuple[Reason, str] | None:
    """Why a run may not make the one that a step asks for, whatever that is; None where it may."""
    assert step.pipeline is not None  # noqa: S101 - its kind says so
    above = (turn.inputs.identity.pipeline, *turn.view.above)
    if step.pipeline.name in above:
        way = " -> ".join([*reversed(above), step.pipeline.name])
        return Reason.PIPELINE_CYCLE, f"pipelines run each other in a circle: {way}; remove one of these steps"
    if len(above) >= DEPTH:
        way = " -> ".join([*reversed(above), step.pipeline.name])
        return Reason.NESTED_TOO_DEEP, f"at most {DEPTH} runs stand below each other, and this would be one more: {way}"
    return None


def _body(turn: Turn, step: Step, name: str, attempt: int, outcome: Phase | None) -> dict[str, Any]:
    """The run to create.

    Raises:
        TemplateError: a value cannot be told, or may not be.
    """
    asked, identity = step.pipeline, turn.inputs.identity
    assert asked is not None  # noqa: S101
    resolve = turn.inputs.resolver(turn.outputs, outcome)
    given = []
    for one in asked.parameters or ():
        if (hidden := first_hidden(turn.inputs, one.value)) is not None:
            told = "is masked, and the other run's spec would show it; have that pipeline get it by itself"
            raise TemplateError(f"pipeline.parameters {one.name!r}: {hidden.text} {told}")
        given.append({"name": one.name, "value": fill_deep(one.value, resolve)})
    spec: dict[str, Any] = {"pipeline": asked.name, "logicalDate": turn.inputs.logical_date}
    spec |= {"revision": asked.revision} if asked.revision else {}
    spec |= {"cache": "Refresh"} if turn.asked.refresh else {}
    spec |= {"parameters": given} if given else {}
    spec |= {"priority": turn.asked.priority} if turn.asked.priority else {}
    labels = {
        MANAGED_BY_LABEL: MANAGER,
        PARENT_LABEL: identity.name,
        STEP_LABEL: step.name,
        ATTEMPT_LABEL: str(attempt),
    }
    meta = {"name": name, "namespace": identity.namespace, "labels": labels, "ownerReferences": [identity.owner()]}
    return {"apiVersion": API_VERSION, "kind": "PipelineRun", "metadata": meta, "spec": spec}


# Stopped.


def call_stopped(turn: Turn, before: Row, row: Row, stop: Stop) -> Row:
    """The row of a step whose run ends: the other run is cancelled likewise, and waited for unless nothing is."""
    if before.final or row.phase is Phase.SUCCEEDED:
        return row
    child = turn.view.runs.get(row.run or "") if row.under_way else None
    if child is None or is_final(child["status"]):
        return cut_short(turn, row, stop)
    assert row.run is not None  # noqa: S101
    _cancel(turn, row.run, child, Cancel.IMMEDIATE if stop.kill else Cancel.GRACEFUL)
    if stop.kill:
        return cut_short(turn, row, stop)
    return replace(row, phase=Phase.RUNNING, reason=stop.reason, message=f"is ending: {stop.message}")
