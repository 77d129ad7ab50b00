"""Fan-outs: what a step is run for each of, where each of these items stands, and what comes of all of them.

An item is planned as a step is, by a row of its own. A run's status keeps these rows as one short text a step, so that
it hardly grows with their number: the Jobs are the truth, and the text has what they do not tell.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, Final

from ..api.conditions import UNARMED, Reason, truncate
from ..api.run import Phase
from ..api.step import Step
from .attempts import SEEN_TO_END
from .items import FanOutError, tolerated
from .rows import Row
from .templating import TemplateError
from .times import from_rfc3339, to_rfc3339

ERRORS_SHOWN: Final = 5
_ENDED_BADLY: Final = frozenset({Phase.FAILED, Phase.CANCELLED})


# The rows of items as a text.

_CODE: Final = re.compile(r"([A-Z])(\d+)(?:d(\d+))?(?:o(\d+))?(?:@(\d+))?(?:\*(\d+))?")
_PHASES: Final[dict[str, tuple[Phase, Reason | None]]] = {
    "P": (Phase.PENDING, None),
    "R": (Phase.RUNNING, None),
    "W": (Phase.WAITING, Reason.ERROR),
    "Q": (Phase.WAITING, Reason.JOB_REFUSED),
    "V": (Phase.WAITING, Reason.VAULT),
    "S": (Phase.SUCCEEDED, None),
    "F": (Phase.FAILED, Reason.ERROR),
    "D": (Phase.FAILED, Reason.DEADLINE_EXCEEDED),
    "T": (Phase.FAILED, Reason.RUN_DEADLINE_EXCEEDED),
    "G": (Phase.FAILED, Reason.NOT_STARTED),
    "C": (Phase.CANCELLED, Reason.CANCELLED),
    "K": (Phase.SKIPPED, Reason.UPSTREAM_FAILED),
}
"""Letter: phase, and a reason that stands for its like. F was seen to end, D was told to, T ended with its run, G
was given up."""


_TOLD_TO_END: Final[Mapping[str | None, str]] = {Reason.DEADLINE_EXCEEDED: "D", Reason.RUN_DEADLINE_EXCEEDED: "T"}


def _letter(row: Row) -> str:
    if row.phase is Phase.FAILED:
        if row.reason in _TOLD_TO_END:
            return _TOLD_TO_END[row.reason]
        return "F" if row.reason in SEEN_TO_END else "G"
    if row.final or row.phase is Phase.PENDING:
        return next(letter for letter, (phase, _) in _PHASES.items() if phase is row.phase)
    if row.retry_at is not None:
        return "W"
    if row.refused:
        return "V" if row.reason in UNARMED else "Q"
    return "R" if row.under_way else "P"


def _encode(row: Row) -> str:
    letter = _letter(row)
    text = f"{letter}{row.attempt}"
    text += f"d{row.disruptions}" if row.disruptions else ""
    text += f"o{row.out_of_memory}" if row.out_of_memory else ""
    moment = {"W": row.retry_at, "Q": row.started_at, "V": row.started_at}.get(letter)
    return text + (f"@{int(from_rfc3339(moment))}" if moment else "")


def encode(rows: Sequence[Row]) -> str:
    """The rows of a fan-out's items as one text: what stands several times in a row stands once, with how often."""
    parts = [(code, sum(1 for _ in same)) for code, same in groupby(map(_encode, rows))]
    return ",".join(f"{code}*{times}" if times > 1 else code for code, times in parts)


NameOf = Callable[[str, int, int | None], str]
"""Gives the name of a Job by step, attempt and item."""


def decode(step: str, text: str, name: NameOf) -> list[Row]:
    """The rows of a fan-out's items.

    Args:
        step: its name.
        text: as `encode` wrote it.
        name: gives the names of their Jobs.
    """
    rows: list[Row] = []
    for part in text.split(","):
        found = _CODE.fullmatch(part)
        if found is None or found[1] not in _PHASES:
            continue
        letter, attempt, disruptions, out_of_memory, moment, times = found.groups()
        phase, reason = _PHASES[letter]
        at = to_rfc3339(int(moment)) if moment else None
        has_job = letter in "RWSFDTGC" and attempt != "0"
        fields: dict[str, Any] = {
            "attempt": int(attempt),
            "disruptions": int(disruptions or 0),
            "out_of_memory": int(out_of_memory or 0),
            "retry_at": at if letter == "W" else None,
            "started_at": at if letter in "QV" else None,
        }
        for _ in range(int(times or 1)):
            index = len(rows)
            job = name(step, int(attempt), index) if has_job else None
            rows.append(Row(step, phase, reason, item=index, job=job, **fields))
    return rows


def flat(rows: Sequence[Row], name: NameOf) -> Iterator[Row]:
    """The rows of steps, those of fan-outs replaced by the rows of their items.

    Where a fan-out has ended before its time, what was under way of it has been given up: no end of it was seen,
    whatever the reason of the fan-out's own is.
    """
    for row in rows:
        if row.items is None or row.job is not None:  # of an Indexed Job the items have no rows
            yield row
            continue
        for one in row.parts or decode(row.name, str(row.items.get("states", "")), name):
            yield replace(one, phase=row.phase, reason=None) if row.final and one.under_way else one


# All items together.


@dataclass(frozen=True, slots=True)
class Count:
    """How many items stand how."""

    total: int
    active: int
    succeeded: int
    failed: int

    @classmethod
    def of(cls, items: Sequence[Row]) -> Count:
        """Of these."""
        return cls(
            len(items),
            sum(1 for one in items if one.under_way),
            sum(1 for one in items if one.phase is Phase.SUCCEEDED),
            sum(1 for one in items if one.phase is Phase.FAILED),
        )


def together(row: Row, step: Step, before: Sequence[Row], items: Sequence[Row], now: float) -> Row:
    """The row of a fan-out by the rows of its items.

    Args:
        row: as it was.
        step: the step.
        before: its items as they were.
        items: as they are.
        now: seconds since the epoch.
    """
    count = Count.of(items)
    old: Mapping[str, Any] = row.items or {}
    errors = list(old.get("errors") or ())
    for index, one in enumerate(items):
        fresh = one.phase in _ENDED_BADLY and (index >= len(before) or not before[index].final)
        if fresh and len(errors) < ERRORS_SHOWN:
            errors.append(truncate(f"item {index}: {one.message or one.reason}", 300))
    told: dict[str, Any] = {
        "total": count.total,
        "active": count.active,
        "succeeded": count.succeeded,
        "failed": count.failed,
        "states": encode(items),
    }
    if errors:
        told["errors"] = errors
    image = next((one.image for one in items if one.image), row.image)
    row = replace(
        row,
        items=told,
        parts=tuple(items),
        outputs=_outputs(row, step, items),
        image=image,
        started_at=row.started_at or to_rfc3339(now),
        retry_at=None,
    )
    if all(one.final for one in items):
        return _ended(row, step, count, errors, now)
    waits = [one for one in items if one.phase is Phase.WAITING]
    if not waits or any(one.phase is Phase.RUNNING for one in items):
        return replace(row, phase=Phase.RUNNING, reason=None, message=None)
    first = waits[0]
    if first.retry_at is not None:
        text = f"item {first.item}: the next attempt begins at {first.retry_at}"
        return replace(row, phase=Phase.WAITING, reason=Reason.BACKOFF, message=text)
    reason = first.reason or Reason.WAITING
    if row.phase is Phase.WAITING and row.reason == reason and row.message:
        return row  # the same trouble in other words is no news, and no write
    return replace(row, phase=Phase.WAITING, reason=reason, message=f"item {first.item}: {first.message or reason}")


def _ended(row: Row, step: Step, count: Count, errors: Sequence[str], now: float) -> Row:
    assert step.for_each is not None  # noqa: S101 - it has items
    finished = to_rfc3339(now)
    row = replace(row, finished_at=finished, reason=None, message=None)
    if count.failed > tolerated(step.for_each, count.total):
        more = f"; and {count.failed - len(errors)} more" if count.failed > len(errors) else ""
        text = f"{count.failed} of {count.total} items failed: {'; '.join(errors)}{more}"
        return replace(row, phase=Phase.FAILED, reason=Reason.ITEMS_FAILED, message=text)
    if left := count.total - count.succeeded - count.failed:
        text = f"{left} of {count.total} items were not run, since another step failed"
        return replace(row, phase=Phase.FAILED, reason=Reason.UPSTREAM_FAILED, message=text)
    told = f"{count.failed} of {count.total} items failed, which is tolerated" if count.failed else None
    return replace(row, phase=Phase.SUCCEEDED, message=told, outputs=row.outputs or _untold(step, count.total))


def _untold(step: Step, total: int) -> dict[str, Any] | None:
    """The outputs of a fan-out of which no item told any."""
    return {one.name: [None] * total for one in step.outputs or ()} or None


def _outputs(row: Row, step: Step, items: Sequence[Row]) -> dict[str, Any] | None:
    """The outputs of all items, in their order; null for those that have none."""
    if not step.outputs or not any(one.outputs for one in items):
        return dict(row.outputs) if row.outputs else None
    out: dict[str, Any] = {}
    for declared in step.outputs:
        values = list((row.outputs or {}).get(declared.name) or ())
        values += [None] * (len(items) - len(values))
        for index, one in enumerate(items):
            if one.outputs and declared.name in one.outputs:
                values[index] = one.outputs[declared.name]
        out[declared.name] = values
    return out


def nothing(row: Row, step: Step, now: float) -> Row:
    """The row of a fan-out over an empty list: it has succeeded."""
    at = to_rfc3339(now)
    row = replace(row, message="no items", outputs=_untold(step, 0), started_at=at, finished_at=at)
    return replace(row, phase=Phase.SUCCEEDED, reason=None)


def failed(row: Row, error: FanOutError | TemplateError, now: float) -> Row:
    """The row of a step that cannot be run for each of what is given."""
    reason = Reason.FAN_OUT_INVALID if isinstance(error, FanOutError) else Reason.INVALID_TEMPLATE
    return row.anew(Phase.FAILED, reason, str(error), finished_at=to_rfc3339(now))
