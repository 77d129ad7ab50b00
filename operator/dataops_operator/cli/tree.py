"""A run as a tree: one line a step, with what it does, how long, and why it does not go on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ..api.run import Phase
from .output import STYLES, phase_text
from .runview import RunView, StepView, took, verdict

MARKS: Final = {
    Phase.SUCCEEDED: "✓",
    Phase.FAILED: "✗",
    Phase.CANCELLED: "✗",
    Phase.RUNNING: "●",
    Phase.WAITING: "◔",
    Phase.PENDING: "·",
    Phase.SKIPPED: "○",
}
_PLAIN: Final = {**dict.fromkeys(MARKS, "-"), Phase.SUCCEEDED: "+", Phase.FAILED: "x", Phase.RUNNING: "*"}
_RANK: Final = (Phase.FAILED, Phase.RUNNING, Phase.WAITING, Phase.CANCELLED, Phase.SUCCEEDED, Phase.SKIPPED)
_OVERHEAD: Final = 6
"""Lines of the screen that are not steps."""


def tree(run: RunView, *, height: int = 0, plain: bool = False) -> RenderableType:
    """A run and its steps.

    Args:
        run: as it stands.
        height: lines of the screen; of more steps than fit those are shown on which something happens. 0: all.
        plain: for a terminal that has no other letters than ASCII.
    """
    head = Text.assemble((run.name, "bold"), "  ", phase_text(run.phase), f"  {run.progress}" if run.progress else "")
    if run.elapsed is not None:
        head.append(f"  {took(run.elapsed)}", "dim")
    head.append(f"  {run.pipeline}", "dim")
    lines = Table.grid(padding=(0, 2))
    for _ in range(4):
        lines.add_column(no_wrap=True)
    lines.add_column(overflow="fold")
    shown = _chosen(run.steps, height - _OVERHEAD) if height else run.steps
    for number, step in enumerate(shown):
        last = number == len(shown) - 1 and len(shown) == len(run.steps)
        lines.add_row(*_line(step, last, plain))
    parts: list[RenderableType] = [head, lines]
    if len(shown) < len(run.steps):
        parts.append(_rest(run.steps, shown, plain))
    waited = [wait for wait in run.waits if not any(wait.startswith(f"{one.row.reason}: step") for one in run.steps)]
    if not run.final and not any(one.row.phase is Phase.WAITING for one in run.steps):
        parts += [Text(f"waits: {wait}", "yellow") for wait in waited]
    if run.final:
        parts.append(Text(verdict(run), STYLES[run.phase]))
    return Group(*parts)


def _line(step: StepView, last: bool, plain: bool) -> list[Text]:
    row = step.row
    branch = ("`-" if last else "|-") if plain else ("╰─" if last else "├─")
    told = Text(step.outputs, "dim") if row.phase is Phase.SUCCEEDED and not row.message else Text(step.why)
    attempt = step.items or (f"attempt {row.attempt}" if row.attempt > 1 else "")
    if row.phase in (Phase.FAILED, Phase.WAITING):
        told.stylize(STYLES[row.phase].replace("bold ", ""))
    return [
        Text.assemble(
            (branch, "dim"), " ", ((_PLAIN if plain else MARKS)[row.phase], STYLES[row.phase]), " ", row.name
        ),
        phase_text(row.phase),
        Text(took(step.elapsed), justify="right"),
        Text(attempt),
        told,
    ]


def _chosen(steps: Sequence[StepView], room: int) -> Sequence[StepView]:
    """The steps for which there is room: those that fail, run or wait first, then those that ended last."""
    room = max(room, 3)
    if len(steps) <= room:
        return steps
    positions = sorted(
        range(len(steps)),
        key=lambda index: (
            _RANK.index(steps[index].row.phase) if steps[index].row.phase in _RANK else len(_RANK),
            -index if steps[index].row.final else index,
        ),
    )
    return [steps[index] for index in sorted(positions[: room - 1])]


def _rest(steps: Sequence[StepView], shown: Sequence[StepView], plain: bool) -> Text:
    """How many steps are not shown, by phase."""
    hidden = {one.row.name for one in steps} - {one.row.name for one in shown}
    counts: dict[Phase, int] = {}
    for one in steps:
        if one.row.name in hidden:
            counts[one.row.phase] = counts.get(one.row.phase, 0) + 1
    words = ", ".join(f"{count} {phase}" for phase, count in counts.items())
    return Text(f"{'`-' if plain else '╰─'} and {len(hidden)} more steps: {words}", "dim")
