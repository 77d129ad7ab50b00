"""Planning of a fan-out: its items go the way of steps, within its parallelism and as long as few enough fail."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ..api.conditions import Reason
from ..api.run import Phase
from .fanout import Count, decode, failed, nothing, together
from .items import FanOutError, expand, is_indexed, tolerated
from .progress import observed
from .rows import Row, skipped
from .starting import begin
from .stopping import ENDING, NOT_AT_WORK, Stop, stopped
from .templating import TemplateError
from .times import to_rfc3339
from .turn import Turn


def items_of(turn: Turn, row: Row) -> list[Row]:
    """The rows of a fan-out's items, as its status keeps them."""
    if row.parts is not None:
        return list(row.parts)
    return decode(row.name, str((row.items or {}).get("states", "")), turn.job_name)


def fan_observed(turn: Turn, row: Row, *, stopping: bool = False) -> Row:
    """The row of a fan-out brought up to what the attempts at its items show."""
    if row.final:
        return row
    before = items_of(turn, row)
    return together(
        row,
        turn.inputs.revision.steps[row.name],
        before,
        [observed(turn, one, stopping=stopping) for one in before],
        turn.now,
    )


def fan_adopted(turn: Turn, row: Row) -> Row:
    """The row of a fan-out of which there are Jobs that the status has not heard of.

    The operator ended between the two writes; without that, the row as it is.
    """
    step = turn.inputs.revision.steps[row.name]
    if step.for_each is None or row.items is not None or row.final or not turn.view.jobs or is_indexed(step):
        return row
    try:
        total = len(expand(step.for_each, turn.inputs.resolver(turn.outputs)))
    except (FanOutError, TemplateError):
        return row
    if not any(turn.job_name(row.name, 1, index) in turn.view.jobs for index in range(total)):
        return row
    before = [Row(row.name, item=index) for index in range(total)]
    return together(row, step, before, [observed(turn, one) for one in before], turn.now)


def fan_stopped(turn: Turn, before: Row, row: Row, stop: Stop) -> Row:
    """The row of a fan-out whose run ends."""
    if before.final:
        return row
    now = items_of(turn, row)
    were = items_of(turn, before) or [Row(row.name, item=one.item) for one in now]
    if row.phase is Phase.SUCCEEDED and not any(map(_ended_by_it, were, now)):
        return row
    items = [stopped(turn, old, one, stop) for old, one in zip(were, now, strict=True)]
    # Why an item ended is the end of its run, whatever its pod showed in this turn: nobody gave that a reason.
    known = {"errors": before.items["errors"]} if before.items and before.items.get("errors") else {}
    row = replace(row, items={key: value for key, value in (row.items or {}).items() if key != "errors"} | known)
    after = together(row, turn.inputs.revision.steps[row.name], were, items, turn.now)
    if all(one.phase is Phase.SUCCEEDED for one in items):
        return after
    if not after.final:
        phase = Phase.WAITING if before.phase is Phase.WAITING else after.phase
        return replace(after, phase=phase, reason=stop.reason, message=f"is ending: {stop.message}")
    phase = Phase.CANCELLED if stop.reason is Reason.CANCELLED else Phase.FAILED
    idle = before.phase is not Phase.RUNNING
    return replace(after, phase=phase, reason=stop.reason, message=stop.message + (NOT_AT_WORK if idle else ""))


def _ended_by_it(before: Row, row: Row) -> bool:
    """Whether an item did not end well since its run was ending, which nobody tolerates."""
    return row.phase is not Phase.SUCCEEDED and (not before.final or before.reason in ENDING)


def fan_left(turn: Turn, row: Row, why: str) -> Row:
    """The row of a fan-out in a run that fails: what runs may end, and nothing of it begins (again)."""
    items = items_of(turn, row)
    return together(
        row, turn.inputs.revision.steps[row.name], items, [_left(turn, one, why) for one in items], turn.now
    )


def _left(turn: Turn, one: Row, why: str) -> Row:
    if one.final or one.under_way:
        return one
    if one.retry_at is not None or one.attempt > 1:
        at = one.finished_at or to_rfc3339(turn.now)
        message = one.message or "it failed, and is not tried again"
        return replace(one, phase=Phase.FAILED, finished_at=at, retry_at=None, message=message)
    return skipped(one, Reason.UPSTREAM_FAILED, why)


def fan_begun(turn: Turn, row: Row, outcome: Phase | None) -> Row:
    """The row of a fan-out that is due, with what may begin of its items begun."""
    step = turn.inputs.revision.steps[row.name]
    fan = step.for_each
    assert fan is not None  # noqa: S101 - the caller looked
    try:
        values = expand(fan, turn.inputs.resolver(turn.outputs, outcome))
        allowed = tolerated(fan, len(values))
    except (FanOutError, TemplateError) as error:
        return failed(row, error, turn.now)
    if not values:
        return nothing(row, step, turn.now)
    before = items_of(turn, row) or [Row(row.name, item=index) for index in range(len(values))]
    items = list(before)
    if fan.fail_fast and Count.of(items).failed > allowed:
        why = f"not run, since more than {allowed} items failed"
        items = [_left(turn, one, why) for one in items]
    else:
        items = _more(turn, items, values, fan.parallelism or len(values), outcome)
    return together(row, step, before, items, turn.now)


def _more(turn: Turn, items: Sequence[Row], values: Sequence[Any], most: int, outcome: Phase | None) -> list[Row]:
    """The items with as many begun as may be at once."""
    out = list(items)
    busy = sum(1 for one in items if one.under_way or one.refused or one.retry_at is not None)
    for index, one in enumerate(items):
        if one.final or one.under_way:
            continue
        waits = one.refused or one.retry_at is not None  # it has its place already
        if not waits and busy >= most:
            continue
        out[index] = begin(turn, one, outcome, values[index])
        busy += 0 if waits else 1
    return out
