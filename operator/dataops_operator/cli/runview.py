"""A run as people read it: its phase, its steps, how long each took, and what changed since one last looked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from ..api.base import format_duration
from ..api.conditions import Type, find_condition, terminal_condition
from ..api.run import Phase
from ..core.rows import Row
from ..core.times import from_rfc3339, to_rfc3339
from .errors import Exit

Object = Mapping[str, Any]

LONGEST_VALUE: Final = 60


@dataclass(frozen=True, slots=True)
class StepView:
    """One step.

    Attributes:
        row: as the status has it.
        elapsed: seconds of its attempt, up to its end or to now; None before its first.
    """

    row: Row
    elapsed: float | None

    @property
    def items(self) -> str:
        """Where the items of a fan-out stand; empty where it is none."""
        found = self.row.items
        if not found:
            return ""
        more = [f"{found[word]} {word}" for word in ("active", "failed") if found.get(word)]
        return f"{found.get('succeeded', 0)}/{found['total']} items{''.join(f', {one}' for one in more)}"

    @property
    def outputs(self) -> str:
        """Its outputs, short."""
        return ", ".join(f"{name}={brief(value)}" for name, value in (self.row.outputs or {}).items())

    @property
    def why(self) -> str:
        """Reason and message, where there is something to say."""
        row = self.row
        if row.phase is Phase.SUCCEEDED or row.reason is None:
            return row.message or ""
        return f"{row.reason}: {row.message}" if row.message else row.reason


@dataclass(frozen=True, slots=True)
class RunView:
    """One run.

    Attributes:
        name, namespace, pipeline: what it is.
        phase: where it stands; Pending where the operator has not seen it yet.
        final: whether it has ended.
        elapsed: seconds from its start to its end, or to now.
        reason, message: of its Succeeded condition.
        steps: in the pipeline's order.
        waits: what it waits for.
    """

    name: str
    namespace: str
    pipeline: str
    phase: Phase
    final: bool
    progress: str
    elapsed: float | None
    reason: str
    message: str
    steps: tuple[StepView, ...]
    waits: tuple[str, ...]

    @property
    def exit_code(self) -> Exit:
        """What a command that waited for the run's end exits with."""
        return Exit.OK if self.phase is Phase.SUCCEEDED else Exit.FAILED

    @property
    def failed_steps(self) -> list[str]:
        """The steps because of which it failed."""
        return [one.row.name for one in self.steps if one.row.phase is Phase.FAILED]


def view(run: Object, now: float) -> RunView:
    """A run as it stands at a moment, in seconds since the epoch."""
    status: Object = run.get("status") or {}
    told = find_condition(run, Type.SUCCEEDED) or {}
    ended = status.get("finishedAt")
    return RunView(
        run["metadata"]["name"],
        run["metadata"]["namespace"],
        run["spec"]["pipeline"],
        Phase(status.get("phase") or Phase.PENDING),
        has_ended(run),
        status.get("progress") or "",
        _between(status.get("startedAt") or run["metadata"]["creationTimestamp"], ended, now),
        told.get("reason", ""),
        told.get("message", ""),
        tuple(_step(raw, now) for raw in status.get("steps") or ()),
        tuple(_wait(one) for one in status.get("waitingFor") or ()),
    )


def has_ended(run: Object) -> bool:
    """Whether a run has its one terminal condition."""
    return terminal_condition(run.get("status") or {}) is not None


def _step(raw: Object, now: float) -> StepView:
    row = Row.from_status(raw)
    return StepView(row, _between(row.started_at, row.finished_at, now))


def _between(start: str | None, end: str | None, now: float) -> float | None:
    if start is None:
        return None
    return max((from_rfc3339(end) if end else now) - from_rfc3339(start), 0.0)


def _wait(one: Object) -> str:
    """One entry of status.waitingFor in words."""
    text = f"{one['reason']}: {one['message']}" if one.get("message") else str(one["reason"])
    place = f"place {one['position']}" if one.get("position") else ""
    held = f"held by {one['holder']}" if one.get("holder") and one["holder"] not in text else ""
    more = ", ".join(filter(None, (place, held)))
    return f"{text} ({more})" if more else text


def brief(value: Any) -> str:
    """A value in one short line."""
    text = value if isinstance(value, str) else orjson.dumps(value).decode()
    text = " ".join(text.split())
    return text if len(text) <= LONGEST_VALUE else text[: LONGEST_VALUE - 1] + "…"


def took(seconds: float | None) -> str:
    """A time that has passed, for people; empty where there is none."""
    return "" if seconds is None else format_duration(seconds)


def age(created: str, now: float) -> str:
    """How long ago something was made."""
    return format_duration(max(now - from_rfc3339(created), 0.0))


def transitions(before: RunView | None, after: RunView, now: float) -> Iterator[str]:
    """What changed between two looks at a run, a line each, in the order in which it happened."""
    old = {one.row.name: one for one in before.steps} if before is not None else {}
    for one in sorted(after.steps, key=_when):
        known = old.get(one.row.name)
        if _state(known) != _state(one) and one.row.phase is not Phase.PENDING:
            yield f"{_stamp(one, now)}  step {one.row.name}  {_told(one)}"
    said = None if before is None else (before.phase, before.reason, before.waits)
    waited = bool(after.waits) and not any(one.row.phase is Phase.WAITING for one in after.steps)
    if after.final and (before is None or not before.final):
        yield f"{to_rfc3339(now)}  run {after.name}  {verdict(after)}"
    elif said != (after.phase, after.reason, after.waits) and not after.final and (before is None or waited):
        words = "; ".join(after.waits) or after.message
        yield f"{to_rfc3339(now)}  run {after.name}  {after.phase}{f': {words}' if words else ''}"


def _when(one: StepView) -> str:
    return one.row.finished_at or one.row.started_at or "9"


def _state(one: StepView | None) -> tuple[Any, ...]:
    """What makes a line of its own; a message that only counts on does not."""
    return () if one is None else (one.row.phase, one.row.attempt, one.row.reason, one.row.retry_at)


def _stamp(one: StepView, now: float) -> str:
    if one.row.final:
        return one.row.finished_at or to_rfc3339(now)
    if one.row.phase is Phase.RUNNING and one.row.reason is None:
        return one.row.started_at or to_rfc3339(now)
    return to_rfc3339(now)


def _told(one: StepView) -> str:
    """A step's state in a line."""
    row = one.row
    parts = [str(row.phase)]
    if row.attempt > 1:
        parts.append(f"attempt {row.attempt}")
    if row.final and one.elapsed is not None:
        parts.append(took(one.elapsed))
    parts.append(one.items)
    if row.phase is Phase.SUCCEEDED:
        parts.append(one.outputs)
    elif row.reason or row.message:
        parts.append(one.why)
    return "  ".join(filter(None, parts))


def verdict(run: RunView) -> str:
    """How a run ended, in a sentence."""
    text = f"{run.phase} in {took(run.elapsed) or '0s'}"
    if run.phase is Phase.SUCCEEDED:
        return f"{text}: {run.message}"
    return f"{text}: {run.reason}: {run.message}" if run.message else f"{text}: {run.reason}"
