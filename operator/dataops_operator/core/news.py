"""What changed between two statuses of a run that somebody may want to hear, or count."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from ..api.base import format_duration
from ..api.conditions import Reason, terminal_condition, truncate
from ..api.run import Phase
from .rows import Row
from .times import since

Status = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Transition:
    """One change, as an Event tells it.

    Attributes:
        reason: CamelCase.
        message: for people.
        warning: whether somebody may have to act.
        detail: tells two changes of one reason apart.
        retried: why the attempt failed that is tried again, where that is the change.
    """

    reason: str
    message: str
    warning: bool = False
    detail: str = ""
    retried: str | None = None


def of(before: Status, after: Status, *, edited: bool = False, untold: bool = False) -> Iterator[Transition]:
    """The transitions of a run and its steps, in the order of telling.

    Args:
        before: the status as it was.
        after: the status as it is.
        edited: whether somebody changed what is fixed when a run begins.
        untold: whether it had begun, and the status before does not say so yet.
    """
    if after.get("phase") == Phase.WAITING and before.get("phase") != Phase.WAITING:
        first: Mapping[str, Any] = next(iter(after.get("waitingFor") or ()), {})
        yield Transition(str(Reason.WAITING), first.get("message") or "waiting", detail=str(first.get("since")))
    outcome = terminal_condition(after)
    if after.get("revision") and not before.get("revision") and outcome is None:  # else its end is the news
        yield Transition(str(Reason.STARTED), f"runs revision {after['revision']}")
    for old, new in _changed(before, after):
        yield from _step(old, new)
    begun = untold or before.get("revision") or terminal_condition(before) is not None
    if edited and begun and before.get("observedGeneration") != after.get("observedGeneration"):
        text = "the spec was changed after the start and the change is ignored; start another run for it"
        yield Transition("ChangeIgnored", text, True, str(after.get("observedGeneration")))
    if outcome is not None and terminal_condition(before) is None:
        took = since(after.get("startedAt"), after.get("finishedAt"))
        good = outcome["status"] == "True"
        text = truncate(outcome["message"], 200) + (f" (after {format_duration(took)})" if took is not None else "")
        cancelled = after.get("phase") == Phase.CANCELLED
        word = "Succeeded" if good else "Cancelled" if cancelled else "Failed"
        yield Transition(word, text, warning=not good and not cancelled)


_MEANT: Final = frozenset({Reason.APPROVAL, Reason.TIME_NOT_REACHED, Reason.OBJECT_NOT_READY, Reason.RUN_WAITING})
"""What a step waits for because that is what it is there for."""


def _step(old: Row, new: Row) -> Iterator[Transition]:
    detail = f"{new.name}/{new.attempt}"
    if new.retry_at is not None and old.retry_at != new.retry_at:
        text = f"step {new.name}, attempt {new.attempt}: {new.message}; the next begins at {new.retry_at}"
        yield Transition("StepRetrying", text, True, detail, retried=new.reason)
    elif new.phase is Phase.FAILED and old.phase is not Phase.FAILED:
        yield Transition("StepFailed", f"step {new.name}, attempt {new.attempt}: {new.message}", True, detail)
    elif new.phase is Phase.WAITING and new.reason == Reason.APPROVAL and old.reason != new.reason:
        yield Transition("ApprovalRequested", f"step {new.name} {new.message}", detail=detail)
    elif new.phase is Phase.SUCCEEDED and new.reason == Reason.APPROVED and not old.final:
        yield Transition(str(Reason.APPROVED), f"step {new.name}: {new.message}", detail=detail)
    elif reused(old, new) and new.cache is not None:
        yield Transition("StepCached", f"step {new.name}: {new.message}", detail=detail)
    elif new.phase is Phase.WAITING and new.reason in _MEANT:
        return  # as its pipeline has it
    elif new.phase is Phase.WAITING and new.retry_at is None and old.reason != new.reason:
        yield Transition("StepWaiting", f"step {new.name}: {new.message}", True, f"{detail}/{new.reason}")


def reused(old: Row, new: Row) -> bool:
    """Whether what another run did of a step is taken over now."""
    return new.reused is not None and old.reused is None


def cache_hits(before: Status, after: Status) -> int:
    """How many steps have been taken from the cache now."""
    return sum(reused(old, new) and new.cache is not None for old, new in _changed(before, after))


def _changed(before: Status, after: Status) -> Iterator[tuple[Row, Row]]:
    old = {row["name"]: row for row in before.get("steps") or ()}
    for raw in after.get("steps") or ():
        known = old.get(raw["name"])
        if known != raw:
            yield Row.from_status(known or {"name": raw["name"]}), Row.from_status(raw)


def step_durations(before: Status, after: Status) -> Iterator[tuple[str, float]]:
    """Phase and seconds of each step that has ended now; of none that was taken over from another run."""
    for old, new in _changed(before, after):
        if (
            not old.final
            and new.final
            and not reused(old, new)
            and (seconds := since(new.started_at, new.finished_at)) is not None
        ):
            yield str(new.phase), seconds


def queue_wait(run: Mapping[str, Any], after: Status) -> float | None:
    """Seconds from a run's creation to its acceptance, if that is now."""
    if run["status"].get("startedAt") or not after.get("startedAt"):
        return None
    return since(run["metadata"]["creationTimestamp"], after["startedAt"])


def run_duration(after: Status) -> float | None:
    """Seconds from a run's acceptance to its end; None for a run that never began."""
    return since(after.get("startedAt"), after.get("finishedAt"))
