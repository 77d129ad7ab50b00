"""Whether a run can start, and with what: its pipeline, revision and parameters, fixed from then on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import orjson

from ..api.base import format_duration
from ..api.conditions import Reason
from ..api.run import PipelineRunSpec
from .environment import Effective
from .inputs import Identity, Inputs
from .names import (
    ALLOW_RUNS_LABEL,
    ENVIRONMENT_ANNOTATION,
    ENVIRONMENT_REVISION_ANNOTATION,
    LOGICAL_DATE_ANNOTATION,
    ORIGINS_ANNOTATION,
    PARAMETERS_ANNOTATION,
    REVISION_ANNOTATION,
)
from .parameters import Offer, Resolved, RunContext, is_masked, resolve
from .problems import summarise
from .revision import Revision
from .times import from_rfc3339, to_rfc3339

LOOK_AGAIN: Final = 60.0
"""Seconds after which a run that waits for its environment looks again, whatever it heard."""
LOOK_SOON: Final = 5.0
"""The same where nobody would tell."""
_UNHEARD: Final = frozenset({Reason.CLAIM_NOT_FOUND, Reason.REVISION_NOT_FOUND})
"""What is missing of kinds that are not watched."""


@dataclass(frozen=True, slots=True)
class Pinned:
    """What a run was accepted with, as its status or its first Job tells."""

    revision: str
    parameters: tuple[Resolved, ...]
    logical_date: str
    environment: str = ""
    """As `<project>/<name>`; empty where the run belongs to none."""
    environment_revision: str = ""
    """The ControllerRevision that keeps what the environment was when the run began."""

    @property
    def complete(self) -> bool:
        """Whether all values are known: a status keeps none of the masked ones."""
        return not any(one.masked and one.value is None for one in self.parameters)


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
    """When to look again if nothing happens, in seconds since the epoch; the run may fail then."""
    holder: str | None = None
    """Run that holds what this one waits for."""
    position: int | None = None
    """Place among those that wait, from 1."""


def pinned(status: Mapping[str, Any], jobs: Sequence[Mapping[str, Any]]) -> Pinned | None:
    """What the run was accepted with, or None when it has not been.

    A run's first Jobs are created before its first status is written, so a crash between the two leaves it to the
    Jobs to tell with what the run began.
    """
    if revision := status.get("revision"):
        parameters = tuple(
            Resolved(one["name"], one.get("value"), one.get("origin", "Pipeline"), one.get("masked", False))
            for one in status.get("parameters") or ()
        )
        environment, kept = status.get("environment") or "", status.get("environmentRevision") or ""
        return Pinned(revision, parameters, status.get("logicalDate") or "", environment if kept else "", kept)
    for job in jobs:
        annotations = job["metadata"].get("annotations") or {}
        if REVISION_ANNOTATION in annotations:
            origins = orjson.loads(annotations[ORIGINS_ANNOTATION])
            parameters = tuple(Resolved(name, value, origins[name]) for name, value in job_values(job).items())
            return Pinned(
                annotations[REVISION_ANNOTATION],
                parameters,
                annotations[LOGICAL_DATE_ANNOTATION],
                annotations.get(ENVIRONMENT_ANNOTATION, ""),
                annotations.get(ENVIRONMENT_REVISION_ANNOTATION, ""),
            )
    return None


def job_values(job: Mapping[str, Any]) -> Mapping[str, Any]:
    """The run's parameters as one of its Jobs has them; empty for a Job that is not of a run."""
    annotations = job["spec"]["template"]["metadata"].get("annotations") or {}
    values: Mapping[str, Any] = orjson.loads(annotations.get(PARAMETERS_ANNOTATION, "{}"))
    return values


def remember(
    fixed: Pinned, revision: Revision, environment: Effective | None, values: Mapping[str, Any] | None = None
) -> Pinned:
    """What the run was accepted with, with its masked parameters marked, and their values where they are known.

    Args:
        fixed: as the status or a Job tells.
        revision: what the run executes.
        environment: as it was when the run began.
        values: by name.
    """
    offer = _offer(environment)
    hidden = {one.name for one in revision.spec.parameters or () if is_masked(one, offer)}
    known = values or {}
    parameters = tuple(
        replace(one, masked=True, value=known.get(one.name, one.value)) if one.name in hidden or one.masked else one
        for one in fixed.parameters
    )
    return replace(fixed, parameters=parameters)


def _offer(environment: Effective | None) -> Offer | None:
    return None if environment is None else Offer(environment.key, environment.parameters)


def logical_date(spec: PipelineRunSpec, created: str) -> str:
    """The time a run stands for: as given, with its offset, since its date is taken as written; else its creation.

    Raises:
        ValueError: no such time.
    """
    text = (spec.logical_date or created).upper()
    from_rfc3339(text)
    return text


def pin(
    identity: Identity,
    spec: PipelineRunSpec,
    created: str,
    revision: Revision,
    environment: Effective | None = None,
) -> Pinned | Refused:
    """Resolve a run's parameters against a revision.

    Args:
        identity: who the run is.
        spec: what it asks for.
        created: its metadata.creationTimestamp.
        revision: what it will execute.
        environment: the one that it belongs to, if any.
    """
    try:
        date = logical_date(spec, created)
    except ValueError as error:
        text = f"spec.logicalDate: {spec.logical_date!r} is not a time ({error}); write it as 2013-02-09T00:00:00Z"
        return Refused(Reason.INVALID_PARAMETERS, text)
    given = {one.name: one.value for one in spec.parameters or ()}
    context = RunContext(identity.name, identity.uid, date)
    parameters, problems = resolve(tuple(revision.spec.parameters or ()), given, context, _offer(environment))
    if problems:
        return Refused(Reason.INVALID_PARAMETERS, summarise(problems))
    if environment is None:
        return Pinned(revision.name, tuple(parameters), date)
    return Pinned(revision.name, tuple(parameters), date, environment.key, environment.revision)


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
        return Waiting(reason, message, min(until, now + LOOK_SOON) if reason in _UNHEARD else until)
    message = (
        f"{kind} {name!r} did not exist within {format_duration(patience)} of the run's creation; "
        "apply it, then start the run again"
    )
    return Refused(reason, message)


def claim_refusal(claim: Mapping[str, Any], path: str) -> Refused | None:
    """Why a run may not have a claim; None where it may.

    Who writes pipelines may have no right on claims, and the namespace may hold others' data: the claim's owner says
    which one is for runs.

    Args:
        claim: the PersistentVolumeClaim.
        path: where the pipeline names it.
    """
    meta = claim["metadata"]
    if (meta.get("labels") or {}).get(ALLOW_RUNS_LABEL) == "true":
        return None
    return Refused(
        Reason.CLAIM_NOT_ALLOWED,
        f"{path}: claim {meta['name']!r} is not offered to runs; have its owner label it {ALLOW_RUNS_LABEL}=true, or "
        f"take {'workspace.size' if path == 'spec.workspace.claim' else 'an emptyDir'}",
    )


def not_yet(reason: Reason, message: str, created: str, patience: float, now: float) -> Waiting | Refused:
    """A run whose environment is not there yet: wait a while, as for a pipeline, then fail.

    Args:
        reason: for the condition.
        message: for people.
        created: the run's metadata.creationTimestamp.
        patience: seconds from the creation on.
        now: seconds since the epoch.
    """
    until = from_rfc3339(created) + patience
    if now < until:
        return Waiting(reason, f"{message}; the run fails if it does not by {to_rfc3339(until)}", until)
    text = f"{message}, {format_duration(patience)} after the run's creation; mend the environment, then start it again"
    return Refused(reason, text)


def inputs(
    identity: Identity, revision: Revision, fixed: Pinned, runner: str, environment: Effective | None = None
) -> Inputs:
    """What the run's steps may use."""
    return Inputs(identity, revision, fixed.parameters, fixed.logical_date, runner, environment)
