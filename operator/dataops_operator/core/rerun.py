"""A run that is done again: what of the one before it begins with, and which of its steps it takes over.

A step is run again if it has not succeeded, if it is asked for, if it uses a parameter that has changed or what the
run before left in a workspace of its own, if outputs of it are too large for its row and so go with that run, or if it
follows one that is run again. The rest is taken over with its
outputs, once, when the new run begins: nothing depends on the old one afterwards.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..api.conditions import Reason
from ..api.run import ParameterValue, Phase, PipelineRunSpec, Rerun, RerunMode
from ..api.step import Step
from .accept import Pinned, Refused
from .cacherules import leaves_with_run
from .graph import condition_references
from .problems import nearest
from .revision import Revision
from .rows import Row
from .status import is_final

Object = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Before:
    """The run that is done again.

    Attributes:
        name: its name.
        rows: where its steps stood in the end.
        values: those of its parameters that its status shows, with their origin.
        date: the time that it stood for.
    """

    name: str
    rows: tuple[Row, ...]
    values: Mapping[str, tuple[Any, str]]
    date: str


def settled(spec: PipelineRunSpec, asked: Rerun, old: Object | None) -> tuple[PipelineRunSpec, Before] | Refused:
    """What a run asks for once the run that it does again is known.

    Args:
        spec: of the new run.
        asked: its `rerun`.
        old: the run to do again; None where there is none.
    """
    name = asked.of
    if old is None:
        return Refused(Reason.RERUN_NOT_FOUND, f"spec.rerun.of: there is no run {name!r} in this namespace")
    status: Object = old.get("status") or {}
    if not is_final(status):
        text = f"spec.rerun.of: run {name!r} has not ended; wait for its end, or cancel it"
        return Refused(Reason.RERUN_ACTIVE, text)
    if old["spec"]["pipeline"] != spec.pipeline:
        text = f"spec.rerun.of: run {name!r} is one of pipeline {old['spec']['pipeline']!r}; name that in spec.pipeline"
        return Refused(Reason.RERUN_IMPOSSIBLE, text)
    if not (kept := status.get("revision")):
        text = f"spec.rerun.of: run {name!r} never began, so there is nothing to do again; start a run without rerun"
        return Refused(Reason.RERUN_IMPOSSIBLE, text)
    if spec.revision not in (None, kept) and asked.mode is not RerunMode.ALL:
        text = f"spec.revision: work of revision {kept} is not that of another one; leave it out, or take mode All"
        return Refused(Reason.RERUN_IMPOSSIBLE, text)
    given = {one.name for one in spec.parameters or ()}
    lost = [
        one["name"]
        for one in status.get("parameters") or ()
        if one.get("masked") and one.get("origin") == "Run" and one["name"] not in given
    ]
    if lost:
        text = f"spec.parameters: the value of {lost[0]!r} is masked, so run {name!r} does not tell it; give it again"
        return Refused(Reason.RERUN_IMPOSSIBLE, text)
    values = {
        one["name"]: (one["value"], str(one.get("origin", "Run")))
        for one in status.get("parameters") or ()
        if one.get("value") is not None
    }
    taken = [ParameterValue(name=key, value=value) for key, (value, _) in values.items() if key not in given]
    update = {
        "revision": spec.revision or kept,
        "logical_date": spec.logical_date or status.get("logicalDate"),
        "parameters": [*(spec.parameters or ()), *taken],
    }
    rows = tuple(Row.from_status(one) for one in status.get("steps") or ())
    before = Before(name, rows, values, status.get("logicalDate") or "")
    return spec.model_copy(update=update), before


def taken_over(fixed: Pinned, given: Collection[str], before: Before) -> Pinned:
    """What the run is accepted with, each value that nobody gave with the origin that it had before."""
    parameters = tuple(
        one if one.name in given or one.name not in before.values else replace(one, origin=before.values[one.name][1])
        for one in fixed.parameters
    )
    return replace(fixed, parameters=parameters)


def rows(revision: Revision, fixed: Pinned, asked: Rerun, before: Before) -> tuple[Row, ...] | Refused:
    """Where the steps of the new run stand when it begins: those that it takes over have succeeded."""
    named = asked.steps or ()
    if unknown := [name for name in named if name not in revision.steps]:
        text = f"spec.rerun.steps: the pipeline has no step {unknown[0]!r}{nearest(unknown[0], revision.steps)}"
        return Refused(Reason.RERUN_IMPOSSIBLE, text)
    changed = {
        one.name
        for one in fixed.parameters
        if one.origin == "Run" and (one.masked or before.values.get(one.name, (None,))[0] != one.value)
    }
    again: set[str] = set()
    old = {row.name: row for row in before.rows}
    everything = asked.mode is RerunMode.ALL or fixed.logical_date != before.date
    for name in revision.order:
        row, step = old.get(name), revision.steps[name]
        done = row is not None and row.phase is Phase.SUCCEEDED
        if (
            everything
            or not done
            or name in named
            or name in revision.final
            or any(one.step in again for one in revision.follows[name])
            or (row is not None and row.result is not None)
            or leaves_with_run(revision.spec, step)
            or _uses(revision, step, changed)
        ):
            again.add(name)
    return tuple(Row(name) if name in again else _taken(old[name], before.name) for name in revision.follows)


def _taken(row: Row, run: str) -> Row:
    """The row of a step that is taken over."""
    return Row(
        row.name,
        Phase.SUCCEEDED,
        message=f"taken over from run {row.reused or run}",
        started_at=row.started_at,
        finished_at=row.finished_at,
        outputs=row.outputs,
        items=row.items,
        reused=row.reused or run,
        cache=row.cache,
    )


def _uses(revision: Revision, step: Step, changed: Collection[str]) -> bool:
    """Whether a step names a parameter that has changed: in a template, its condition, or the text that it runs."""
    if not changed:
        return False
    named = {reference.path[1] for reference in revision.references(step) if _of_run(reference.path)}
    named |= {path[1] for path in condition_references(step) if _of_run(path)}
    if any(path == ("params",) for path in condition_references(step)) or not named.isdisjoint(changed):
        return True
    if revision.templates and step.template is not None:
        return False  # its script sees the template's own parameters, which `with` names
    said = (step.script, *(step.command or ()), *(step.args or ()), *(one.value for one in step.env or ()))
    text = "\n".join(one for one in said if one)
    words = set(re.findall(r"[A-Z0-9_]+", text))
    return "params.json" in text or any(f"DATAOPS_PARAM_{name.upper()}" in words for name in changed)


def _of_run(path: tuple[str, ...]) -> bool:
    return path[0] == "params" and len(path) > 1
