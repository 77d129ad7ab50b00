"""Rows: where each step of a run stands, as its status keeps it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ..api.conditions import Reason, truncate
from ..api.run import Phase

FINAL = frozenset({Phase.SUCCEEDED, Phase.FAILED, Phase.SKIPPED, Phase.CANCELLED})

_ROW_MESSAGE_LIMIT = 512


@dataclass(frozen=True, slots=True)
class Row:
    """One step's state.

    A row between attempts has `retry_at`; one whose Job was refused has an attempt but no Job; one whose attempt is
    under way has a Job and no `retry_at`. Which image an attempt ran is kept once for the run, not here: a digest a row
    would be a third of a large run's status.
    """

    name: str
    phase: Phase = Phase.PENDING
    reason: str | None = None
    message: str | None = None
    attempt: int = 0
    started_at: str | None = None
    finished_at: str | None = None
    retry_at: str | None = None
    job: str | None = None
    run: str | None = None
    """Of a step that runs another pipeline: the run that its attempt is."""
    object: str | None = None
    """Of a step that makes an object: that which its attempt is, as `<kind>/<name>`."""
    disruptions: int = 0
    """Attempts that ended by Infrastructure."""
    out_of_memory: int = 0
    """Attempts that were killed for their memory."""
    image: str | None = None
    outputs: Mapping[str, Any] | None = None
    item: int | None = None
    """Of the row of one item of a fan-out: its position, from 0."""
    items: Mapping[str, Any] | None = None
    """Of a fan-out that has begun: where its items stand, as `fanout` writes it."""
    reused: str | None = None
    """Run that the step succeeded in, where this one has taken that over."""
    cache: str | None = None
    """Of a step with a cache that has succeeded: the key by which another run finds it."""
    approvers: Mapping[str, Any] | None = None
    """Of an approval that is waited for: who may decide; None for whoever may change the run."""
    parts: tuple[Row, ...] | None = field(default=None, compare=False, repr=False)
    """The same as rows, where they are at hand in this turn of planning; in no status."""
    result: str | None = None
    """ConfigMap with the step's whole result, where `outputs` has the smaller ones alone."""
    whole: Mapping[str, Any] | None = field(default=None, compare=False, repr=False)
    """All of the outputs, where they are at hand in this turn of planning; in no status."""
    held: tuple[str, str] | None = None
    """Why the attempt that is due does not begin, as reason and message, where the row tells of the one before; of
    this moment, and in no status."""

    @property
    def final(self) -> bool:
        """Whether the step has ended."""
        return self.phase in FINAL

    @property
    def under_way(self) -> bool:
        """Whether an attempt's Job or run exists and its end has not been seen."""
        return not self.final and self.made and self.retry_at is None

    @property
    def made(self) -> bool:
        """Whether the last attempt has what it is made of: a Job, a run, or an object."""
        return self.job is not None or self.run is not None or self.object is not None

    @property
    def refused(self) -> bool:
        """Whether the API server would not take the attempt's Job."""
        return not self.final and not self.made and self.attempt > 0 and self.retry_at is None

    @property
    def due_attempt(self) -> int:
        """Number of the attempt that begins next: one that was refused is begun again."""
        return self.attempt if self.refused else self.attempt + 1

    def anew(self, phase: Phase, reason: str | None = None, message: str | None = None, **fields: Any) -> Row:
        """The row of another moment: of this one only the name and what was counted is left."""
        counts = {"disruptions": self.disruptions, "out_of_memory": self.out_of_memory, "item": self.item}
        return Row(self.name, phase, reason, message, **{**counts, **fields})

    def unmade(self, reason: str, message: str, now: str) -> Row:
        """The row of a step that has failed since its next attempt cannot be made; those before stay counted."""
        made = {"attempt": self.attempt, "started_at": self.started_at}
        return self.anew(Phase.FAILED, reason, message, **made, finished_at=now)

    @classmethod
    def from_status(cls, raw: Mapping[str, Any]) -> Row:
        """The row that a status holds."""
        return cls(
            name=raw["name"],
            phase=Phase(raw.get("phase", Phase.PENDING)),
            reason=raw.get("reason"),
            message=raw.get("message"),
            attempt=raw.get("attempt", 0),
            started_at=raw.get("startedAt"),
            finished_at=raw.get("finishedAt"),
            retry_at=raw.get("retryAt"),
            job=raw.get("job"),
            run=raw.get("run"),
            object=raw.get("object"),
            reused=raw.get("reusedFrom"),
            cache=raw.get("cacheKey"),
            disruptions=raw.get("disruptions", 0),
            out_of_memory=raw.get("outOfMemory", 0),
            outputs=raw.get("outputs"),
            items=raw.get("items"),
            approvers=raw.get("approvers"),
            result=raw.get("result"),
        )

    def to_status(self) -> dict[str, Any]:
        """The row as a status holds it: nothing that is unset."""
        message = truncate(self.message, _ROW_MESSAGE_LIMIT) if self.message else None
        values = {
            "name": self.name,
            "phase": str(self.phase),
            "reason": str(self.reason) if self.reason else None,
            "message": message,
            "attempt": self.attempt or None,
            "startedAt": self.started_at,
            "finishedAt": self.finished_at,
            "retryAt": self.retry_at,
            "job": self.job,
            "run": self.run,
            "object": self.object,
            "reusedFrom": self.reused,
            "cacheKey": self.cache,
            "disruptions": self.disruptions or None,
            "outOfMemory": self.out_of_memory or None,
            "items": dict(self.items) if self.items else None,
            "approvers": self.approvers,
            "outputs": dict(self.outputs) if self.outputs else None,
            "result": self.result,
        }
        return {key: value for key, value in values.items() if value is not None}


def held(row: Row, reason: Reason, message: str) -> Row:
    """The row of a step whose next attempt is due and cannot begin yet."""
    if row.attempt:
        return replace(row, held=(reason, message))
    return Row(row.name, Phase.WAITING, reason, message, item=row.item)


def cut_off(row: Row, reason: Reason, now: str, done: Collection[str] = ()) -> Row:
    """The row of a step that the end of its run leaves unfinished; one whose Job is done has succeeded all the same."""
    if row.under_way and row.job in done:
        message = "ended well; its outputs were not read, since the run could not go on"
        return replace(row, phase=Phase.SUCCEEDED, reason=None, message=message, finished_at=now)
    message = "not finished, since the run could not go on"
    if row.attempt == 0 and row.items is None:
        return skipped(row, reason, message)
    return replace(row, phase=Phase.FAILED, reason=reason, message=message, finished_at=now, retry_at=None)


def skipped(row: Row, reason: Reason, message: str) -> Row:
    """The row of a step that will not run."""
    return Row(row.name, Phase.SKIPPED, reason, message, item=row.item)
