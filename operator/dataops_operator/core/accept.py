"""Whether a run can start, and with what: its pipeline, revision and parameters, fixed from then on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from ..api.base import format_duration
from ..api.conditions import Reason
from ..api.run import PipelineRunSpec
from .inputs import Identity, Inputs
from .names import LOGICAL_DATE_ANNOTATION, ORIGINS_ANNOTATION, PARAMETERS_ANNOTATION, REVISION_ANNOTATION
from .parameters import Resolved, RunContext, resolve
from .revision import Revision
from .times import from_rfc3339, to_rfc3339
from .validate import summarise


@dataclass(frozen=True, slots=True)
class Pinned:
    """What a run was accepted with, as its status or its first Job tells."""

    revision: str
    parameters: tuple[Resolved, ...]
    logical_date: str


@dataclass(frozen=True, slots=True)
class Refused:
    """The run cannot start, now or later."""

    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class Waiting:
    """The run cannot start yet."""

    reason: Reason
    message: str
    until: float
    """When waiting ends in failure, in seconds since the epoch."""


def pinned(status: Mapping[str, Any], jobs: Sequence[Mapping[str, Any]]) -> Pinned | None:
    """What the run was accepted with, or None when it has not been.

    A run's first Jobs are created before its first status is written, so a crash between the two leaves it to the
    Jobs to tell with what the run began.
    """
    if revision := status.get("revision"):
        parameters = tuple(
            Resolved(one["name"], one.get("value"), one.get("origin", "Pipeline"))
            for one in status.get("parameters") or ()
        )
        return Pinned(revision, parameters, status.get("logicalDate") or "")
    for job in jobs:
        annotations = job["metadata"].get("annotations") or {}
        template = job["spec"]["template"]["metadata"].get("annotations") or {}
        if REVISION_ANNOTATION in annotations:
            values = orjson.loads(template[PARAMETERS_ANNOTATION])
            origins = orjson.loads(annotations[ORIGINS_ANNOTATION])
            parameters = tuple(Resolved(name, value, origins[name]) for name, value in values.items())
            return Pinned(annotations[REVISION_ANNOTATION], parameters, annotations[LOGICAL_DATE_ANNOTATION])
    return None


def logical_date(spec: PipelineRunSpec, created: str) -> str:
    """The time a run stands for: as given, with its offset, since its date is taken as written; else its creation.

    Raises:
        ValueError: no such time.
    """
    text = (spec.logical_date or created).upper()
    from_rfc3339(text)
    return text


def pin(identity: Identity, spec: PipelineRunSpec, created: str, revision: Revision) -> Pinned | Refused:
    """Resolve a run's parameters against a revision.

    Args:
        identity: who the run is.
        spec: what it asks for.
        created: its metadata.creationTimestamp.
        revision: what it will execute.
    """
    try:
        date = logical_date(spec, created)
    except ValueError as error:
        text = f"spec.logicalDate: {spec.logical_date!r} is not a time ({error}); write it as 2013-02-09T00:00:00Z"
        return Refused(Reason.INVALID_PARAMETERS, text)
    given = {one.name: one.value for one in spec.parameters or ()}
    context = RunContext(identity.name, identity.uid, date)
    parameters, problems = resolve(tuple(revision.spec.parameters or ()), given, context)
    if problems:
        return Refused(Reason.INVALID_PARAMETERS, summarise(problems))
    return Pinned(revision.name, tuple(parameters), date)


def missing(kind: str, name: str, reason: Reason, created: str, patience: float, now: float) -> Waiting | Refused:
    """A run that names something that is not there: wait a while (tools apply in any order), then fail.

    Args:
        kind: what is missing, for people.
        name: its name.
        reason: for the condition.
        created: the run's metadata.creationTimestamp.
        patience: seconds from the creation on.
        now: seconds since the epoch.
    """
    until = from_rfc3339(created) + patience
    if now < until:
        message = f"{kind} {name!r} does not exist yet; the run fails if it is not there by {to_rfc3339(until)}"
        return Waiting(reason, message, until)
    message = (
        f"{kind} {name!r} did not exist within {format_duration(patience)} of the run's creation; "
        "apply it, then start the run again"
    )
    return Refused(reason, message)


def inputs(identity: Identity, revision: Revision, fixed: Pinned, runner: str) -> Inputs:
    """What the run's steps may use."""
    return Inputs(identity, revision, fixed.parameters, fixed.logical_date, runner)
