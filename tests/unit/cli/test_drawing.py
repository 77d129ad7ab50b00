"""The graph of a pipeline in lanes and as Mermaid."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataops_operator.api.run import Phase
from dataops_operator.cli.drawing import Node, lanes, listed, marked, mermaid, order

Needs = dict[str, Sequence[str]]


def drawn(needs: Needs) -> str:
    return lanes(needs, lambda step: marked(step, Node(), 1)).plain


@pytest.mark.parametrize(
    ("needs", "expected"),
    [
        pytest.param({"a": [], "b": ["a"], "c": ["b"]}, "○  a\n○  b\n○  c", id="a chain in one lane"),
        pytest.param(
            {"a": [], "l": ["a"], "r": ["a"], "j": ["l", "r"]},
            "○    a\n├─╮\n│ ○  l\n○ │  r\n├─╯\n○    j",
            id="a diamond",
        ),
        pytest.param({"a": [], "b": []}, "○  a\n\n○  b", id="two that have nothing to do with each other"),
        pytest.param(
            {"a": [], "b": [], "c": ["a", "b"]}, "○    a\n│ ○  b\n├─╯\n○    c", id="two that become one"
        ),
        pytest.param(
            {"a": [], "x": ["a"], "y": ["a"], "z": ["a"], "end": ["x", "z"], "late": ["y"]},
            "○      a\n├─╮\n│ ○    x\n├─│─╮\n│ │ ○  y\n○ │ │  z\n├─╯ │\n○   │  end\n    ○  late",
            id="a lane that is crossed keeps its line",
        ),
        pytest.param(
            {"j": ["a", "b"], "b": ["a"], "a": []},
            "○    a\n├─╮\n│ ○  b\n├─╯\n○    j",
            id="steps that are written before what they need",
        ),
    ],
)  # fmt: skip
def test_the_lanes_of(needs: Needs, expected: str) -> None:
    assert drawn(needs) == expected


def some_before(index: int) -> st.SearchStrategy[set[str]]:
    return st.sets(st.sampled_from([f"s{one}" for one in range(index)])) if index else st.just(set())


graphs = (
    st.integers(1, 12)
    .flatmap(lambda size: st.tuples(*map(some_before, range(size))))
    .map(lambda chosen: {f"s{index}": sorted(needed) for index, needed in enumerate(chosen)})
)

_ENDS = {
    "│": "ud", "─": "lr", "╰": "ur", "╯": "ul", "╭": "dr", "╮": "dl",
    "├": "udr", "┤": "udl", "┴": "ulr", "┬": "dlr", "┼": "udlr",
}  # fmt: skip


@given(graphs)
def test_what_is_drawn_says_exactly_who_needs_whom(needs: Needs) -> None:
    assert read(drawn(needs), list(needs)) == {step: set(needed) for step, needed in needs.items()}


def read(text: str, steps: list[str]) -> dict[str, set[str]]:
    """The graph that a person reads off a drawing: lanes followed down, connections followed aside."""
    found: dict[str, set[str]] = {}
    holds: dict[int, str] = {}
    arrives: dict[int, set[str]] = {}
    for line in text.splitlines():
        step = next((word for word in line.split() if word in steps), None)
        body = line[: line.index(step)] if step else line
        if step is not None:
            at = body.index("○")
            found[step] = arrives.get(at) or ({holds[at]} if at in holds else set())
            arrives = {}  # a line of connections leads to the step below it
            holds = {one: who for one, who in holds.items() if one < len(body) and body[one] == "│"} | {at: step}
            continue
        members = [one for one, char in enumerate(body) if char not in " ─│"]
        holds = {one: who for one, who in holds.items() if one < len(body) and body[one] != " "}
        if members:
            sources = {holds[one] for one in members if "u" in _ENDS[body[one]] and one in holds}
            joined = {one for one in members if "d" in _ENDS[body[one]]}
            holds = {one: who for one, who in holds.items() if body[one] == "│" or one in joined}
            arrives = dict.fromkeys(joined, sources)
    return found


@given(graphs)
def test_every_step_stands_behind_what_it_needs(needs: Needs) -> None:
    there = order(needs)
    assert sorted(there) == sorted(needs)
    for step, needed in needs.items():
        assert all(there.index(one) < there.index(step) for one in needed)


def test_a_thousand_steps_are_ordered_and_drawn() -> None:
    chain: Needs = {f"s{number}": [f"s{number - 1}"] if number else [] for number in range(1000)}
    assert len(drawn(dict(reversed(chain.items()))).splitlines()) == 1000


def test_a_graph_that_is_too_wide_is_told_in_words() -> None:
    text = listed({"b": ["a"], "a": []}, lambda step: marked(step, Node(Phase.RUNNING, "3s"), 4))
    assert text.plain == "●  a     Running    3s\n●  b     Running    3s  needs a"


def test_mermaid_has_phases_and_no_markup_of_others() -> None:
    nodes = {"a": Node(Phase.SUCCEEDED, "3s"), "b": Node(Phase.FAILED, 'Error: exit "1" <b>#1</b>')}
    assert mermaid({"a": {}, "b": {"a": "Succeeded"}}, nodes).splitlines() == [
        "flowchart TD",
        '  s0["a<br/>Succeeded 3s"]:::succeeded',
        '  s1["b<br/>Failed Error: exit #quot;1#quot; #lt;b#gt;#35;1#lt;/b#gt;"]:::failed',
        "  s0 --> s1",
        "  classDef succeeded fill:#d3f9d8,stroke:#2b8a3e,color:#000",
        "  classDef failed fill:#ffe3e3,stroke:#c92a2a,color:#000",
    ]


def test_what_follows_another_end_than_success_says_so_and_finally_stands_apart() -> None:
    edges = {"a": {}, "mend": {"a": "Failed"}, "tell": {}}
    assert marked("mend", Node(), 4, edges["mend"]).plain == "○mend  after a Failed"
    assert mermaid(edges, {}, ["tell"]).splitlines() == [
        "flowchart TD",
        '  s0["a"]',
        '  s1["mend"]',
        "  subgraph finally",
        '    s2["tell"]',
        "  end",
        "  s0 -->|Failed| s1",
    ]
