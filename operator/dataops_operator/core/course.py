"""What may begin: how a step follows others, and what a failure means for those that have not begun.

A failure that nobody answers makes the run fail: nothing new begins then but what follows that failure. A step that is
said to run `after` another's failure answers it, if it succeeds itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum, auto
from typing import Any, Final

from ..api.conditions import Reason
from ..api.run import Phase
from ..api.step import On
from .graph import Dependency
from .revision import Revision
from .rows import Row

Rows = Mapping[str, Row]

_MEETS: Final[dict[On, frozenset[Phase]]] = {
    On.SUCCEEDED: frozenset({Phase.SUCCEEDED}),
    On.FAILED: frozenset({Phase.FAILED}),
    On.SKIPPED: frozenset({Phase.SKIPPED}),
    On.COMPLETED: frozenset({Phase.SUCCEEDED, Phase.FAILED, Phase.SKIPPED, Phase.CANCELLED}),
}
_FOLLOWS_FAILURE: Final = frozenset({On.FAILED, On.COMPLETED})


class Course(Enum):
    """Whether a step may begin."""

    DUE = auto()
    HELD = auto()
    NEVER = auto()


def course(before: Iterable[Dependency], rows: Rows) -> tuple[Course, Dependency | None]:
    """Whether a step may begin by what it follows, and which of those keeps it from ever doing so."""
    held = False
    for one in before:
        row = rows[one.step]
        if not row.final:
            held = True
        elif row.phase not in _MEETS[one.on]:
            return Course.NEVER, one
    return (Course.HELD if held else Course.DUE), None


def named_steps(
    references: Iterable[tuple[str, ...]], rows: Rows, outputs: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """What a condition may ask of the steps that it names: how they ended, and with which outputs, whole.

    Args:
        references: names that the condition uses.
        rows: where the steps stand.
        outputs: of those that have succeeded, of which a row may show a part.
    """
    named = {path[1] for path in references if path[0] == "steps" and len(path) > 1}
    return {
        name: {"phase": str(rows[name].phase), "outputs": dict(outputs.get(name) or rows[name].outputs or {})}
        for name in named
        if name in rows
    }


def never(one: Dependency, row: Row) -> tuple[Reason, str]:
    """Why a step is not run whose dependency has ended otherwise than it asks."""
    if one.on is On.SUCCEEDED and row.phase is Phase.FAILED:
        return Reason.UPSTREAM_FAILED, f"not run, since step {one.step} failed"
    if one.on is On.SUCCEEDED and row.phase is Phase.SKIPPED:
        return Reason.UPSTREAM_SKIPPED, f"not run, since step {one.step} was skipped"
    asked = {On.FAILED: "failed", On.SKIPPED: "was skipped", On.SUCCEEDED: "succeeded"}[one.on]
    return Reason.NOT_ASKED_FOR, f"not run: it follows step {one.step} where that {asked}, and it {_ended(row)}"


def _ended(row: Row) -> str:
    words = {Phase.SUCCEEDED: "succeeded", Phase.FAILED: "failed", Phase.SKIPPED: "was skipped"}
    return words.get(row.phase, "was cancelled")


def unanswered(revision: Revision, rows: Rows) -> str | None:
    """The first step that failed and whose failure no step answers, or may still answer; None where there is none."""
    met = answered(revision, rows)
    return next(
        (
            name
            for name in revision.follows
            if rows[name].phase is Phase.FAILED and name not in met and name not in revision.final
        ),
        None,
    )


def answered(revision: Revision, rows: Rows) -> frozenset[str]:
    """The steps whose failure, if they fail, another one answers, or may still answer."""
    return frozenset(
        one.step
        for name, before in revision.follows.items()
        for one in before
        if one.on is On.FAILED and (not rows[name].final or rows[name].phase is Phase.SUCCEEDED)
    )


def following_failures(revision: Revision, rows: Rows) -> frozenset[str]:
    """The steps that may begin in a run that is failing: those that follow a failure, and what follows them."""
    out: set[str] = set()
    for name in revision.order:
        for one in revision.follows[name]:
            row = rows[one.step]
            goes_on = not row.final and (row.attempt > 0 or row.items is not None)
            may_fail = one.on in _FOLLOWS_FAILURE and (goes_on or row.phase is Phase.FAILED)
            if may_fail or one.step in out:
                out.add(name)
                break
    return frozenset(out)


def verdict(revision: Revision, rows: Rows, *, final: bool = True) -> Phase | None:
    """How a run has ended; None while it goes on.

    Args:
        revision: what runs.
        rows: where its steps stand.
        final: whether its steps of `finally` count; without them, it is how the rest has ended.
    """
    looked_at = [rows[name] for name in revision.follows if final or name not in revision.final]
    if not all(row.final for row in looked_at):
        return None
    if any(row.reason == Reason.RUN_DEADLINE_EXCEEDED for row in looked_at):
        return Phase.FAILED
    if any(row.reason == Reason.CANCELLED for row in looked_at):
        return Phase.CANCELLED
    if unanswered(revision, rows) is not None:
        return Phase.FAILED
    failed = any(row.phase is Phase.FAILED for row in looked_at if row.name in revision.final)
    return Phase.FAILED if failed else Phase.SUCCEEDED
