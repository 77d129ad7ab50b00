"""Planning of a fan-out that is one Indexed Job: what its status shows, and what comes of all items at its end.

Kubernetes works through the items and tries those again that fail, so that there is one attempt at the step. Its status
counts them; only what comes of them is read of the pods, once, when the Job has ended.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from ..api.base import parse_duration
from ..api.conditions import Reason, truncate
from ..api.run import Phase
from ..api.step import Step
from .attempts import refusal
from .fanout import failed, nothing
from .indexedjobs import as_indexed, item_parts
from .items import FanOutError, expand, tolerated
from .observe import Object, Observation, State, job_condition, job_end, merely_deleted, observe
from .plan import Gather
from .progress import POLL, adopted
from .rows import Row
from .starting import begin
from .stopping import Stop, stopped
from .templating import TemplateError
from .times import from_rfc3339, to_rfc3339
from .turn import Turn

_TOO_MANY: Final = "MaxFailedIndexesExceeded"
"""Reason of a Job of which more items have failed than may; the Job controller ends those that run then."""


def indexed_begun(turn: Turn, row: Row, outcome: Phase | None) -> Row:
    """The row of a step that is due, with its Job begun if that may be."""
    step = turn.inputs.revision.steps[row.name]
    fan = step.for_each
    assert fan is not None  # noqa: S101 - the caller looked
    try:
        values = expand(fan, turn.inputs.resolver(turn.outputs, outcome))
        tolerated(fan, len(values))
    except (FanOutError, TemplateError) as error:
        return failed(row, error, turn.now)
    if not values:
        return nothing(row, step, turn.now)
    before = len(turn.create)
    row = begin(turn, row, outcome)
    if len(turn.create) == before:
        return row
    parts = item_parts(turn.inputs.identity, step, values)
    names = [one["metadata"]["name"] for one in parts]
    policy, timeout = turn.inputs.revision.retry(step), turn.inputs.revision.timeout(step)
    turn.create[-1] = as_indexed(turn.create[-1], step, policy, names, len(values), timeout)
    turn.items += parts
    return replace(row, items={"total": len(values), "active": 0, "succeeded": 0, "failed": 0})


def indexed_observed(turn: Turn, row: Row, *, stopping: bool = False) -> Row:
    """The row brought up to what its Job shows.

    Args:
        turn: of planning.
        row: as it was.
        stopping: whether the step is to end, so that nothing is read of pods which are about to go.
    """
    if row.final:
        return row
    row = adopted(turn, row)
    if not row.under_way:
        return row
    assert row.job is not None  # noqa: S101 - under_way says so
    job = turn.view.jobs.get(row.job)
    if job is None:
        if row.job not in turn.view.proven:
            turn.prove.append(row.job)
            return row
        text = "its Job was deleted, and with it which items had succeeded; start the run again"
        return _ended(row, Phase.FAILED, Reason.JOB_DELETED, text, to_rfc3339(turn.now))
    told = job["status"].get("indexes") or {}
    if told:
        row = replace(row, items={key: told[key] for key in ("total", "active", "succeeded", "failed")})
    condition = job_condition(job)
    if condition is not None:
        return _judged(turn, row, condition, told)
    return row if stopping else _active(turn, row, job)


def indexed_stopped(turn: Turn, before: Row, row: Row, stop: Stop) -> Row:
    """The row of a fan-out whose run ends."""
    row = stopped(turn, before, row, stop)
    return replace(row, items={**row.items, "active": 0}) if row.final and row.items else row


def _ended(row: Row, phase: Phase, reason: str | None, message: str | None, at: str) -> Row:
    items = {**row.items, "active": 0} if row.items else None
    return replace(row, phase=phase, reason=reason, message=message, finished_at=at, items=items)


def _active(turn: Turn, row: Row, job: Object) -> Row:
    """A Job under way: nothing to do, unless none of its items gets to run."""
    assert row.job is not None  # noqa: S101
    step = turn.inputs.revision.steps[row.name]
    pods = [
        pod
        for pod in turn.view.pods.get(job["metadata"]["uid"], ())
        if pod["status"].get("phase") not in ("Succeeded", "Failed")
    ]
    seen = [observe(step, job, [pod], proven=False, whole=True) for pod in pods]
    if any(one.started for one in seen):
        return _runs(row)
    begun = bool(row.items and (row.items["succeeded"] or row.items["failed"]))  # the others may wait for room
    limit = turn.inputs.revision.start_timeout(step)
    began = job["metadata"]["creationTimestamp"]
    if not pods:
        # Between two attempts, or refused by a quota, of which only events tell; its own time bounds neither.
        return _runs(row) if begun else _none(turn, row, job)
    worst = next((one for one in seen if one.reason is not None), seen[0])
    if begun:
        return _waits(row, worst)
    since = min(pod["metadata"].get("creationTimestamp") or began for pod in pods)
    deadline = from_rfc3339(since) + parse_duration(limit)
    if turn.now >= deadline:
        if row.job not in turn.view.proven:
            turn.prove.append(row.job)
            return row
        why = f": {worst.message}" if worst.message else ""
        text = f"no item started within {limit}{why}"
        return _ended(row, Phase.FAILED, worst.reason or Reason.NOT_STARTED, text, to_rfc3339(turn.now))
    turn.wakes.append(deadline)
    return _waits(row, worst)


def _none(turn: Turn, row: Row, job: Object) -> Row:
    """A Job that has never had a pod: nobody may start any within the step's time, or its controller is busy."""
    assert row.job is not None  # noqa: S101
    step = turn.inputs.revision.steps[row.name]
    limit = turn.inputs.revision.start_timeout(step)
    created = from_rfc3339(job["metadata"]["creationTimestamp"])
    if turn.now < created + POLL:
        turn.wakes.append(created + POLL)
        return row
    told = turn.view.explained.get(row.job)
    if told is None:
        turn.explain[row.job] = None
        return row
    why = refusal(told) if told else None
    if turn.now >= created + parse_duration(limit):
        reason, text = why or (Reason.NOT_STARTED, "it has no pod")
        message = f"no item started within {limit}: {text}"
        return _ended(row, Phase.FAILED, reason, message, to_rfc3339(turn.now))
    turn.wakes.append(min(created + parse_duration(limit), turn.now + POLL))
    return _waits(row, Observation(State.ACTIVE, reason=why[0], message=why[1])) if why else row


def _runs(row: Row) -> Row:
    return replace(row, phase=Phase.RUNNING, reason=None, message=None)


def _waits(row: Row, seen: Observation) -> Row:
    if seen.reason is None:
        return _runs(row)
    text = row.message if row.reason == seen.reason else seen.message  # the same in other words is no news
    return replace(row, phase=Phase.WAITING, reason=seen.reason, message=text)


def _judged(turn: Turn, row: Row, condition: Object, told: Mapping[str, Any]) -> Row:
    """What comes of a Job that has ended."""
    assert row.job is not None  # noqa: S101
    step = turn.inputs.revision.steps[row.name]
    assert step.for_each is not None  # noqa: S101
    pods: Mapping[int, Object] = {}
    if step.outputs or told["failed"]:
        if row.job not in turn.view.gathered:
            turn.gather.append(Gather(row.job, bool(step.outputs), tuple(told["first"])))
            return row
        pods = turn.view.gathered[row.job]
    outputs, errors = _results(step, pods, told, condition)
    bad = len(errors)
    errors = {**{index: _why(step, pods.get(index), condition) for index in told["first"]}, **errors}
    shown = [truncate(f"item {index}: {errors[index]}", 300) for index in sorted(errors)[:5]]
    lost = told["succeeded"] - sum(1 for pod in pods.values() if _phase(pod) == "Succeeded") if step.outputs else 0
    if lost > 0:
        shown = [*shown, f"of {lost} items the pods are gone, and the outputs that they declared with them"][:5]
    wrong = told["failed"] + bad + max(lost, 0)
    count = {"total": told["total"], "active": 0, "succeeded": told["succeeded"] - bad - max(lost, 0), "failed": wrong}
    at = condition.get("lastTransitionTime") or to_rfc3339(turn.now)
    row = replace(row, items={**count, **({"errors": shown} if shown else {})}, outputs=outputs)
    if wrong > tolerated(step.for_each, told["total"]):
        more = f"; and {wrong - len(shown)} more" if wrong > len(shown) and not lost else ""
        text = f"{wrong} of {told['total']} items failed: {'; '.join(shown)}{more}"
        left = told["total"] - told["succeeded"] - told["failed"]
        if left and condition.get("reason") == _TOO_MANY:
            text += f"; with that the other {left} were ended, or not begun"
        return _ended(row, Phase.FAILED, Reason.ITEMS_FAILED, text, at)
    if told["succeeded"] + told["failed"] < told["total"]:
        text = f"the Job ended before all items had: {job_end(condition)}"
        return _ended(row, Phase.FAILED, Reason.ITEMS_FAILED, text, at)
    message = f"{wrong} of {told['total']} items failed, which is tolerated" if wrong else None
    return _ended(row, Phase.SUCCEEDED, None, message, at)


def _results(
    step: Step, pods: Mapping[int, Object], told: Mapping[str, Any], condition: Object
) -> tuple[dict[str, Any] | None, dict[int, str]]:
    """The outputs of all items in their order, and why those have failed that exited with 0 and without a result."""
    if not step.outputs:
        return None, {}
    values: dict[str, list[Any]] = {one.name: [None] * told["total"] for one in step.outputs}
    errors: dict[int, str] = {}
    for index, pod in pods.items():
        if _phase(pod) != "Succeeded":
            continue
        seen = observe(step, None, [pod], proven=True, whole=True)
        if seen.state is not State.SUCCEEDED:
            errors[index] = _why(step, pod, condition)
            continue
        for name, given in seen.outputs.items():
            values[name][index] = given
    return dict(values), errors


def _phase(pod: Object) -> str:
    return str(pod.get("status", {}).get("phase", ""))


def _why(step: Step, pod: Object | None, condition: Object) -> str:
    """Why an item has failed: by itself, or because its Job has ended, which deletes the pods that run."""
    if pod is None:
        return "its pod is gone"
    if not merely_deleted(pod):
        return observe(step, None, [pod], proven=True, whole=True).message
    if condition.get("reason") == _TOO_MANY:
        return "ended, since more items failed than may"
    return f"ended with its Job: {job_end(condition)}"
