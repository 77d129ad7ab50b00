"""An Environment's status, composed from what its parts came to (kstatus: Ready, Reconciling, Stalled)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..api.conditions import Reason, Type, drop_condition, set_condition
from .provision import PARTS
from .times import to_rfc3339

Status = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Part:
    """Whether one part of an environment stands.

    Attributes:
        status: True, False, or None while that is not known yet.
        reason: why.
        message: for people: what, where, and what to do.
        stalled: whether a person must do something before it can stand.
    """

    status: bool | None
    reason: Reason
    message: str
    stalled: bool = False


@dataclass(frozen=True, slots=True)
class Facts:
    """What a status tells beside the parts.

    Attributes:
        namespace: execution namespace that the environment holds; None while it holds none.
        made: whether the environment made it.
        targets: rows of status.targets.
        active: runs under way.
        waiting: runs that wait to begin.
        expires: when the environment deletes itself, seconds since the epoch.
        changed_by: who wrote the spec.
    """

    namespace: str | None = None
    made: bool = False
    targets: Sequence[Mapping[str, Any]] = ()
    active: int = 0
    waiting: int = 0
    expires: float | None = None
    changed_by: str | None = None

    def fields(self) -> Status:
        """The status fields, without those that say nothing."""
        out: Status = {"activeRuns": self.active, "waitingRuns": self.waiting}
        if self.namespace is not None:
            out |= {"namespace": self.namespace, "createdNamespace": self.made}
        if self.targets:
            out["targets"] = [dict(row) for row in self.targets]
        if self.expires is not None:
            out["expiresAt"] = to_rfc3339(self.expires)
        if self.changed_by:
            out["changedBy"] = self.changed_by
        return out


def provisioned(
    before: Mapping[str, Any], parts: Mapping[Type, Part], facts: Facts, generation: int, now: float
) -> Status:
    """The status of an environment that is what its spec says, or on its way there.

    Args:
        before: the status as it stands; not changed.
        parts: what each part came to; a part that is not named keeps its condition.
        facts: the rest.
        generation: the metadata.generation looked at.
        now: seconds since the epoch.
    """
    open_ = [(type_, parts[type_]) for type_ in PARTS if type_ in parts and not parts[type_].status]
    dead = next(((type_, part) for type_, part in open_ if part.stalled), None)
    if not open_:
        ready = Part(True, Reason.PROVISIONED, f"runs in namespace {facts.namespace}")
    else:
        _, part = dead or next((one for one in open_ if one[1].status is False), open_[0])
        ready = Part(part.status, part.reason, part.message, part.stalled)
    return _status(before, parts, ready, facts, generation, now)


def invalid(before: Mapping[str, Any], why: Part, facts: Facts, generation: int, now: float) -> Status:
    """The status of an environment whose spec cannot be followed; its parts stay as they were."""
    return _status(before, {}, why, facts, generation, now)


def deleting(before: Mapping[str, Any], message: str, facts: Facts, generation: int, now: float) -> Status:
    """The status of an environment on its way out: what it waits for."""
    return _status(before, {}, Part(False, Reason.DELETING, message), facts, generation, now)


def _status(
    before: Mapping[str, Any], parts: Mapping[Type, Part], ready: Part, facts: Facts, generation: int, now: float
) -> Status:
    conditions: list[dict[str, Any]] = list(before.get("conditions") or ())
    stamp = to_rfc3339(now)

    def put(type_: Type, status: bool | None, reason: Reason, message: str) -> None:
        nonlocal conditions
        conditions = set_condition(conditions, type_, status, reason, message, now=stamp, generation=generation)

    put(Type.READY, ready.status, ready.reason, ready.message)
    for type_ in PARTS:
        if type_ in parts:
            put(type_, parts[type_].status, parts[type_].reason, parts[type_].message)
    for type_, holds in ((Type.STALLED, ready.stalled), (Type.RECONCILING, not ready.status and not ready.stalled)):
        if holds:
            put(type_, True, ready.reason, ready.message)
        else:
            conditions = drop_condition(conditions, type_)
    return {"observedGeneration": generation, "conditions": conditions, **facts.fields()}
