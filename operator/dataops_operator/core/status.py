"""A run's status, composed from what was decided; and the smallest patch that brings it about."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from ..api.conditions import Reason, Type, drop_condition, set_condition, terminal_condition, truncate
from ..api.run import Phase
from .accept import Pinned, Refused, Waiting
from .credentials import Version
from .masking import hide
from .names import CREATED_BY_ANNOTATION
from .parameters import Resolved
from .rows import Row, cut_off
from .stopping import ENDING, NOT_AT_WORK
from .times import to_rfc3339

Status = dict[str, Any]

SUSPENDED: Final = "spec.suspend is true: nothing new begins until it is false"
IMAGES_LIMIT: Final = 64
"""Different images of a run that its status names."""


def is_final(status: Mapping[str, Any]) -> bool:
    """Whether a run has ended, by its one terminal condition."""
    return terminal_condition(status) is not None


class _Conditions:
    """A run's conditions in the making, all of one moment and one generation."""

    def __init__(self, status: Mapping[str, Any], generation: int, now: float) -> None:
        self.items: list[dict[str, Any]] = list(status.get("conditions") or ())
        self.generation = generation
        self.now = to_rfc3339(now)

    def set(self, type_: Type, status: bool | None, reason: Reason, message: str) -> None:
        self.items = set_condition(self.items, type_, status, reason, message, now=self.now, generation=self.generation)

    def drop(self, type_: Type) -> None:
        self.items = drop_condition(self.items, type_)


def belonging(status: Mapping[str, Any], annotations: Mapping[str, str], environment: str | None) -> Status:
    """Who asked for a run, and to which environment it belongs; both are said once.

    Args:
        status: as it stands.
        annotations: of the run; what the API server's admission policy wrote there is told on.
        environment: `<project>/<name>`, or None where the run belongs to none.
    """
    asked = status.get("requestedBy") or truncate(annotations.get(CREATED_BY_ANNOTATION, ""), 253)
    told = {"environment": environment, "requestedBy": asked}
    return {key: value for key, value in told.items() if value}


def waiting(status: Mapping[str, Any], why: Waiting, generation: int, now: float) -> Status:
    """The status of a run that cannot start yet."""
    conditions = _Conditions(status, generation, now)
    conditions.set(Type.ACCEPTED, None, why.reason, why.message)
    conditions.set(Type.SUCCEEDED, None, Reason.WAITING, why.message)
    conditions.set(Type.RECONCILING, True, Reason.WAITING, why.message)
    since = next((one.get("since") for one in status.get("waitingFor") or () if one.get("reason") == why.reason), None)
    entry = {
        "reason": str(why.reason),
        "message": why.message,
        "since": since or conditions.now,
        "holder": why.holder,
        "position": why.position,
    }
    return {
        **status,
        "observedGeneration": generation,
        "conditions": conditions.items,
        "phase": str(Phase.WAITING),
        "waitingFor": [{key: value for key, value in entry.items() if value is not None}],
    }


def refused(status: Mapping[str, Any], why: Refused, generation: int, now: float, done: Collection[str] = ()) -> Status:
    """The status of a run that never starts, or cannot go on.

    Args:
        status: as it stands; not changed.
        why: what it is refused for.
        generation: the metadata.generation looked at.
        now: seconds since the epoch.
        done: names of the run's Jobs that have ended well.
    """
    conditions = _Conditions(status, generation, now)
    conditions.set(Type.ACCEPTED, False, why.reason, why.message)
    conditions.set(Type.SUCCEEDED, False, why.reason, why.message)
    conditions.drop(Type.RECONCILING)
    wanted = why.reason is Reason.CANCELLED  # nobody has to mend what somebody asked for
    if not wanted:
        conditions.set(Type.STALLED, True, why.reason, why.message)
    out = {key: value for key, value in status.items() if key != "waitingFor"}
    rows = [Row.from_status(one) for one in status.get("steps") or ()]
    if rows:
        ended = [row if row.final else cut_off(row, why.reason, conditions.now, done) for row in rows]
        out["steps"] = [row.to_status() for row in ended]
        out["progress"] = _progress(ended)
    return {
        **out,
        "observedGeneration": generation,
        "conditions": conditions.items,
        "phase": str(Phase.CANCELLED if wanted else Phase.FAILED),
        "finishedAt": conditions.now,
    }


def running(
    status: Mapping[str, Any],
    fixed: Pinned,
    rows: Sequence[Row],
    verdict: Phase | None,
    generation: int,
    now: float,
    *,
    hidden: Sequence[str] = (),
    secrets: Sequence[Version] = (),
    place: int | None = None,
    suspended: bool = False,
    outputs: Mapping[str, Any] | None = None,
    answered: Collection[str] = (),
) -> Status:
    """The status of an accepted run.

    Args:
        status: as it stands; not changed.
        fixed: what the run was accepted with.
        rows: where its steps stand.
        verdict: how it ended, or None while it goes on.
        generation: the metadata.generation looked at.
        now: seconds since the epoch.
        hidden: texts that no message may show.
        secrets: what was read of Vault; empty where nothing was, or nothing is at hand any more.
        place: where the run stands in line for Jobs, from 1; None where it stands in none.
        suspended: whether nothing new of it may begin.
        outputs: what the run tells, once it has succeeded.
        answered: names of the steps whose failure another one has answered.
    """
    if hidden:
        rows = [_hidden(row, hidden) for row in rows]
    conditions = _Conditions(status, generation, now)
    conditions.set(Type.ACCEPTED, True, Reason.ACCEPTED, f"runs revision {fixed.revision}")
    if verdict is None:
        blocked = [row for row in rows if row.phase is Phase.WAITING]
        active = any(row.phase is Phase.RUNNING for row in rows)
        message = SUSPENDED if suspended and not active else _doing(rows)
        reason = Reason.RUNNING if active or not (blocked or suspended) else Reason.WAITING
        phase = Phase.RUNNING if reason is Reason.RUNNING else Phase.WAITING
        conditions.set(Type.SUCCEEDED, None, reason, message)
        conditions.set(Type.RECONCILING, True, reason, message)
    else:
        blocked = []
        phase = verdict
        conditions.drop(Type.RECONCILING)
        reason, message = ending(rows, verdict, answered)
        conditions.set(Type.SUCCEEDED, verdict is Phase.SUCCEEDED, reason, message)
        if verdict is Phase.FAILED:
            conditions.set(Type.STALLED, True, reason, message)
    out: Status = {
        "observedGeneration": generation,
        "conditions": conditions.items,
        "phase": str(phase),
        "progress": _progress(rows),
        "revision": fixed.revision,
        "logicalDate": fixed.logical_date,
        "startedAt": status.get("startedAt") or conditions.now,
        "steps": [row.to_status() for row in rows],
    }
    images = dict.fromkeys([*(status.get("images") or ()), *(row.image for row in rows if row.image)])
    if images:
        out["images"] = list(images)[:IMAGES_LIMIT]
    if secrets or status.get("secrets"):
        out["secrets"] = [one.to_status() for one in secrets] or status["secrets"]
    if fixed.parameters:
        out["parameters"] = [_parameter(one) for one in fixed.parameters]
    if fixed.environment:
        out |= {"environment": fixed.environment, "environmentRevision": fixed.environment_revision}
    told = {(one.get("reason"), one.get("message")): one.get("since") for one in status.get("waitingFor") or ()}
    waits = [_waiting_for(row, conditions.now, told, place) for row in blocked[:16]]
    if suspended and verdict is None:
        waits = [_suspended(status, conditions.now), *waits[:15]]
    if waits:
        out["waitingFor"] = waits
    if outputs:
        out["outputs"] = dict(outputs)
    if verdict is not None:
        out["finishedAt"] = status.get("finishedAt") or conditions.now
    return out


def _hidden(row: Row, hidden: Sequence[str]) -> Row:
    """The row with nothing in its messages that must not show."""
    message = hide(row.message, hidden) if row.message else row.message
    errors = [hide(one, hidden) for one in (row.items or {}).get("errors") or ()]
    return replace(row, message=message, items={**(row.items or {}), "errors": errors} if errors else row.items)


def ending(rows: Sequence[Row], verdict: Phase, answered: Collection[str] = ()) -> tuple[Reason, str]:
    """Why a run has ended as it did, for its condition.

    Args:
        rows: where its steps ended.
        verdict: how the run has.
        answered: names of the steps whose failure another one has answered: it is not why the run failed.
    """
    if verdict is Phase.SUCCEEDED:
        done, left = sum(row.phase is Phase.SUCCEEDED for row in rows), sum(row.phase is Phase.SKIPPED for row in rows)
        skipped = f", {left} skipped" if left else ""
        more = len(rows) - done - left
        return Reason.SUCCEEDED, f"{done} of {len(rows)} steps succeeded{skipped}" + (
            f", {more} failed and answered" if more else ""
        )
    ended = Reason.CANCELLED if verdict is Phase.CANCELLED else Reason.RUN_DEADLINE_EXCEEDED
    cut = [row for row in rows if row.reason == ended]
    if cut:
        text = (cut[0].message or "").removeprefix("not run: ").removesuffix(NOT_AT_WORK)
        begun = (row for row in cut if row.attempt or row.items is not None)
        running = [row.name for row in begun if not str(row.message).endswith(NOT_AT_WORK)]
        return ended, text + (f"; ended in the middle: {', '.join(running[:5])}" if running else "")
    failed = [row for row in rows if row.phase is Phase.FAILED and row.name not in answered]
    return Reason.STEP_FAILED, "; ".join(f"step {row.name}: {row.message}" for row in failed)


def _suspended(status: Mapping[str, Any], now: str) -> dict[str, Any]:
    """What a suspended run waits for."""
    told: Mapping[str, Any] = next(
        (one for one in status.get("waitingFor") or () if one.get("reason") == Reason.SUSPENDED), {}
    )
    return {"reason": str(Reason.SUSPENDED), "message": SUSPENDED, "since": told.get("since") or now}


def _progress(rows: Sequence[Row]) -> str:
    return f"{sum(row.phase is Phase.SUCCEEDED for row in rows)}/{len(rows)}"


def _parameter(one: Resolved) -> dict[str, Any]:
    if one.masked:
        return {"name": one.name, "origin": one.origin, "masked": True}
    return {"name": one.name, "value": one.value, "origin": one.origin}


def _doing(rows: Sequence[Row]) -> str:
    """What a run does now, in a few words that change only when something does."""
    if ending := next((row.message for row in rows if row.under_way and row.reason in ENDING), None):
        return ending
    active = [row.name for row in rows if row.phase is Phase.RUNNING]
    blocked = [f"step {row.name}: {row.message}" for row in rows if row.phase is Phase.WAITING]
    parts = [f"running {', '.join(active[:5])}{' and more' if len(active) > 5 else ''}"] if active else []
    return "; ".join(parts + blocked[:3]) or "starting"


def _waiting_for(row: Row, now: str, told: Mapping[tuple[Any, Any], str | None], place: int | None) -> dict[str, Any]:
    """What a step waits for. One that cannot say since when has waited since that was told first."""
    reason: str
    since: str | None
    if row.held is not None:
        (reason, message), since = row.held, row.retry_at
    elif row.retry_at is not None:
        reason, since = Reason.BACKOFF, row.finished_at
        message = f"attempt {row.attempt} ended ({row.reason}); the next begins at {row.retry_at}"
    else:
        reason, message, since = row.reason or Reason.WAITING, row.message or "", row.started_at
    text = f"step {row.name}: {message}"[:1024]
    entry: dict[str, Any] = {
        "reason": str(reason),
        "message": text,
        "since": since or told.get((str(reason), text)) or now,
    }
    return entry | {"position": place} if reason == Reason.JOB_QUOTA and place is not None else entry


def difference(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON merge patch (RFC 7396) from one status to another, by their fields; empty where they are equal."""
    patch = {key: value for key, value in after.items() if before.get(key) != value}
    return patch | dict.fromkeys(before.keys() - after.keys())
