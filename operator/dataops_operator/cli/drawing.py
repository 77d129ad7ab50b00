"""The graph of a pipeline: as lanes in a terminal, and as Mermaid.

A lane carries what a step has done to those that need it, as `git log --graph` does with commits: it begins at the
step, and ends at the last one that needs it. A step that carries on a lane alone stands in it; one that joins several,
or leaves one for others, has a line of connections above it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from rich.text import Text

from ..api.run import Phase
from .output import STYLES
from .tree import MARKS

Needs = Mapping[str, Collection[str]]
"""For each step those that it follows, in the pipeline's order."""
Edges = Mapping[str, Mapping[str, str]]
"""The same, with how each of those has to have ended."""

_NODE: Final = "○"
_USUAL: Final = "Succeeded"
"""How a step has to have ended that another needs."""
_UP, _DOWN, _LEFT, _RIGHT = 1, 2, 4, 8
_LINES: Final = {
    _UP | _DOWN: "│",
    _LEFT | _RIGHT: "─",
    _UP | _RIGHT: "╰",
    _UP | _LEFT: "╯",
    _DOWN | _RIGHT: "╭",
    _DOWN | _LEFT: "╮",
    _UP | _DOWN | _RIGHT: "├",
    _UP | _DOWN | _LEFT: "┤",
    _UP | _LEFT | _RIGHT: "┴",
    _DOWN | _LEFT | _RIGHT: "┬",
    _UP | _DOWN | _LEFT | _RIGHT: "┼",
}


@dataclass(frozen=True, slots=True)
class Node:
    """What is shown of one step beside its name.

    Attributes:
        phase: in a run.
        told: more words.
    """

    phase: Phase | None = None
    told: str = ""


def order(needs: Needs) -> list[str]:
    """The steps so that each stands behind what it needs, and else as they are written.

    Args:
        needs: for each step, in the pipeline's order; without cycles.
    """
    done: dict[str, None] = {}
    for root in needs:
        pending = [root]
        while pending:
            missing = [one for one in needs[pending[-1]] if one in needs and one not in done]
            if missing:
                pending.append(missing[0])
            else:
                done.setdefault(pending.pop())
    return list(done)


def lanes(needs: Needs, label: Callable[[str], Text]) -> Text:
    """The graph drawn in lanes, a line a step.

    Args:
        needs: for each step, in the pipeline's order; without cycles.
        label: mark and words of a step; its first character is the node.
    """
    left = {step: sum(step in needed for needed in needs.values()) for step in needs}
    open_lanes: list[str | None] = []
    rows: list[tuple[Text, Text]] = []
    ended: int | None = None
    """The lane of the step on the line above, where nothing goes on from there."""
    for step in order(needs):
        wanted = list(dict.fromkeys(one for one in needs[step] if one in needs))
        sources = [open_lanes.index(one) for one in wanted]
        ending = [lane for lane in sources if left[str(open_lanes[lane])] == 1]
        lane = min(ending) if ending else _free(open_lanes, sources)
        if sources and sources != [lane]:
            rows.append((Text(_connections(open_lanes, sources, ending, lane), "dim"), Text()))
        elif not sources and lane == ended:  # else it would seem to go on from there
            rows.append((Text(" ".join(_bars(open_lanes)), "dim"), Text()))
        for one in wanted:
            left[one] -= 1
        for done in ending:
            open_lanes[done] = None
        open_lanes[lane : lane + 1] = [step]
        told = label(step)
        cells = [Text(bar, "dim") for bar in _bars(open_lanes)]
        cells[lane] = told[:1]
        rows.append((Text(" ").join(cells), told[1:]))
        ended = None if left[step] else lane
        if ended is not None:
            open_lanes[lane] = None
        while open_lanes and open_lanes[-1] is None:
            open_lanes.pop()
    width = max((lines.cell_len for lines, _ in rows), default=0)
    return Text("\n").join(_line(lines, words, width) for lines, words in rows)


def _bars(open_lanes: Sequence[str | None]) -> list[str]:
    return [" " if one is None else "│" for one in open_lanes]


def _line(lines: Text, words: Text, width: int) -> Text:
    """One line; the words of all stand in a column."""
    gap = " " * (width - lines.cell_len + 2) if words else ""
    out = Text.assemble(lines, gap, words)
    out.rstrip()
    return out


def _free(open_lanes: Sequence[str | None], sources: Sequence[int]) -> int:
    """The first lane without anything in it, behind those that it begins at."""
    beginning = max(sources, default=-1) + 1
    return next((one for one in range(beginning, len(open_lanes)) if open_lanes[one] is None), len(open_lanes))


def _connections(open_lanes: Sequence[str | None], sources: Sequence[int], ending: Sequence[int], lane: int) -> str:
    """The line above a step: from the lanes of what it needs to its own; one that is crossed has gaps beside it."""
    first, last = min([*sources, lane]), max([*sources, lane])
    width = max(len(open_lanes), last + 1)
    text = []
    for position in range(width):
        held = position < len(open_lanes) and open_lanes[position] is not None
        joins = position in sources or position == lane
        inside = first <= position <= last
        sides = (_LEFT if first < position <= last else 0) | (_RIGHT if first <= position < last else 0)
        if joins:
            up = _UP if held and (position in sources) else 0
            down = _DOWN if position == lane or (held and position not in ending) else 0
            text.append(_LINES[up | down | sides])
        elif held:
            text.append("│")
        else:
            text.append("─" if inside else " ")
        text.append("─" if first <= position < last else " ")
    return "".join(text).rstrip()


def marked(step: str, node: Node, width: int, follows: Mapping[str, str] | None = None) -> Text:
    """A step's mark, name, and what is known of it.

    Args:
        step: its name.
        node: where it stands.
        width: of the longest name.
        follows: the steps that it follows, with how each has to have ended.
    """
    style = STYLES[node.phase] if node.phase is not None else ""
    mark = MARKS[node.phase] if node.phase is not None else _NODE
    other = ", ".join(f"{name} {on}" for name, on in (follows or {}).items() if on != _USUAL)
    words = [f"{node.phase:<9}" if node.phase is not None else "", node.told, f"after {other}" if other else ""]
    more = f"{step:<{width}}  {'  '.join(filter(None, words))}".rstrip()
    return Text.assemble((mark, style), (more, style if node.phase in (Phase.FAILED, Phase.RUNNING) else ""))


def listed(needs: Needs, label: Callable[[str], Text]) -> Text:
    """The steps with what each follows in words, for graphs wider than any screen."""
    rows = []
    for step in order(needs):
        followed = f"  needs {', '.join(needs[step])}" if needs[step] else ""
        told = label(step)
        rows.append(Text.assemble(told[:1], "  ", told[1:], (followed, "dim")))
    return Text("\n").join(rows)


def mermaid(edges: Edges, nodes: Mapping[str, Node], final: Collection[str] = ()) -> str:
    """The graph as a Mermaid flowchart, which GitHub, GitLab and most wikis draw.

    Args:
        edges: for each step, in the pipeline's order.
        nodes: where steps stand.
        final: those that run when all others have ended.
    """
    ids = {step: f"s{number}" for number, step in enumerate(edges)}
    lines = ["flowchart TD"]
    lines += [f"  {_box(step, key, nodes.get(step, Node()))}" for step, key in ids.items() if step not in final]
    if final:
        inner = [f"    {_box(step, ids[step], nodes.get(step, Node()))}" for step in final]
        lines += ["  subgraph finally", *inner, "  end"]
    for step, followed in edges.items():
        for one, on in followed.items():
            if one in ids:
                lines.append(f"  {ids[one]} -->{'' if on == _USUAL else f'|{on}|'} {ids[step]}")
    used = dict.fromkeys(nodes[step].phase for step in ids if step in nodes)
    return "\n".join(
        [*lines, *(f"  classDef {one.lower()} {_CLASSES[one.lower()]}" for one in used if one is not None)]
    )


def _box(step: str, key: str, node: Node) -> str:
    words = [step] if node.phase is None else [step, f"{node.phase} {node.told}".rstrip()]
    text = "<br/>".join(_quoted(one) for one in words)
    return f'{key}["{text}"]' + (f":::{node.phase.lower()}" if node.phase is not None else "")


def _quoted(text: str) -> str:
    """Text inside quotes, where Mermaid reads entity codes between # and ;."""
    return text.replace("#", "#35;").replace('"', "#quot;").replace("<", "#lt;").replace(">", "#gt;")


_CLASSES: Final = {
    "succeeded": "fill:#d3f9d8,stroke:#2b8a3e,color:#000",
    "failed": "fill:#ffe3e3,stroke:#c92a2a,color:#000",
    "cancelled": "fill:#ffe3e3,stroke:#c92a2a,color:#000",
    "running": "fill:#d0ebff,stroke:#1864ab,color:#000",
    "waiting": "fill:#fff3bf,stroke:#e67700,color:#000",
    "pending": "fill:#f1f3f5,stroke:#868e96,color:#000",
    "skipped": "fill:#f1f3f5,stroke:#868e96,color:#868e96",
}
