"""What changed between revisions, and which one somebody means."""

from __future__ import annotations

import pytest
from tests.builders import PipelineBuilder, a_pipeline

from dataops_operator.cli.difference import changes, told
from dataops_operator.cli.errors import CliError
from dataops_operator.cli.history import Kept, pick
from dataops_operator.core.revision import content

BEFORE = a_pipeline().parameter("day", "Date").step("land", retry={"limit": 1}, outputs=[{"name": "rows"}]).step("old")


def differ(after: PipelineBuilder, before: PipelineBuilder = BEFORE) -> list[str]:
    return told(changes(content(before.spec()), content(after.spec()))).plain.splitlines()


def test_steps_and_fields_are_told_by_name() -> None:
    after = (
        a_pipeline()
        .parameter("day", "Date", default="2013-02-09")
        .step("land", image="img:2", retry={"limit": 3}, outputs=[{"name": "rows", "type": "Integer"}], timeout="5m")
        .step("new", needs=["land"])
        .having(workspace={"size": "5Gi"})
    )
    assert differ(after) == [
        "~ parameter day",
        "  + default: 2013-02-09",
        "+ workspace",
        "    size: 5Gi",
        "~ step land",
        "    image: img → img:2",
        "  + outputs[rows].type: Integer",
        "    retry.limit: 1 → 3",
        "  + timeout: 5m",
        "+ step new",
        "    image: img",
        '    command: ["true"]',
        '    needs: ["land"]',
        "- step old",
        "    image: img",
        '    command: ["true"]',
    ]


def test_a_script_is_compared_line_by_line() -> None:
    before = a_pipeline().step("a", script="#!/bin/sh\none\ntwo\n")
    after = a_pipeline().step("a", script="#!/bin/sh\none\nthree\n")
    assert differ(after, before)[:2] == ["~ step a", "    script:"]
    assert "      -two" in differ(after, before)
    assert "      +three" in differ(after, before)


def test_another_order_of_the_same_steps_is_told() -> None:
    before, after = a_pipeline().step("a").step("b"), a_pipeline().step("b").step("a")
    assert differ(after, before) == ["~ steps", '    order: ["a","b"] → ["b","a"]']


def test_the_same_is_no_difference() -> None:
    assert changes(content(BEFORE.spec()), content(BEFORE.spec())) == []


KEPT = [
    Kept(name, number, "2026-01-05T06:00:00Z", number == 3, {"steps": []})
    for number, name in enumerate(["p-1111111111", "p-12ab34cd56", "p-9f00000000"], start=1)
]


@pytest.mark.parametrize(
    ("word", "number"), [("p-1111111111", 1), ("2", 2), ("12ab34cd56", 2), ("9f0", 3), ("cd56", 2), ("3", 3)]
)
def test_a_revision_is_named_by_its_name_its_hash_or_its_number(word: str, number: int) -> None:
    assert pick(KEPT, word).number == number


@pytest.mark.parametrize(
    ("word", "expected"),
    [("p-12ab34cd57", "did you mean 'p-12ab34cd56'"), ("7", "there is no revision '7'"), ("1", None)],
)
def test_a_revision_that_there_is_not(word: str, expected: str | None) -> None:
    if expected is None:
        assert pick(KEPT, word).number == 1
        return
    with pytest.raises(CliError, match=expected):
        pick(KEPT, word)
