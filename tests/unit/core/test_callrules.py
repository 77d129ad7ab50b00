"""Pipelines that run each other in a circle: which of them no run can end well with, and which conditions may break."""

from __future__ import annotations

from typing import Any

import pytest
from tests.builders import PipelineBuilder, a_pipeline

from dataops_operator.core.callrules import circle
from dataops_operator.core.steptemplates import compile_pipeline

FAILED = [{"step": "a", "on": "Failed"}]


def runs(other: str, revision: str | None = None, **fields: Any) -> PipelineBuilder:
    """A step `a`, and a step `call` that runs another pipeline."""
    pinned = {"revision": revision} if revision else {}
    return (
        a_pipeline()
        .parameter("more", "Boolean")
        .step("a")
        .jobless("call", pipeline={"name": other, **pinned}, **fields)
    )


def in_a_circle(**pipelines: PipelineBuilder) -> tuple[str, bool] | None:
    found = circle("p", {name: one.spec() for name, one in pipelines.items()})
    return None if found is None else (found.problem.message.partition(": ")[2].partition(";")[0], found.certain)


@pytest.mark.parametrize(
    ("fields", "certain"),
    [
        ({}, True),
        ({"needs": ["a"]}, True),
        ({"after": [{"step": "a", "on": "Completed"}]}, True),
        ({"when": "params.more"}, False),
        ({"after": FAILED}, False),
    ],
)
def test_a_circle_is_certain_where_every_run_comes_to_it(fields: dict[str, Any], certain: bool) -> None:
    assert in_a_circle(p=runs("q"), q=runs("p", **fields)) == ("p -> q -> p", certain)
    assert in_a_circle(p=runs("q", **fields), q=runs("p")) == ("p -> q -> p", certain)


def test_a_step_that_needs_one_with_a_condition_is_not_certain() -> None:
    back = (
        a_pipeline()
        .parameter("more", "Boolean")
        .step("a", when="params.more")
        .jobless("call", pipeline={"name": "p"}, needs=["a"])
    )
    assert in_a_circle(p=runs("q"), q=back) == ("p -> q -> p", False)


def test_a_circle_further_down_is_told_at_its_own_pipelines() -> None:
    assert in_a_circle(p=runs("q"), q=runs("r"), r=runs("q")) is None
    assert in_a_circle(p=runs("q"), q=runs("r"), r=runs("q").jobless("up", pipeline={"name": "p"})) == (
        "p -> q -> r -> p",
        True,
    )


def test_a_revision_by_its_name_may_be_without_the_step_but_not_the_pipeline_above() -> None:
    assert in_a_circle(p=runs("q", "q-1"), q=runs("p")) is None
    assert in_a_circle(p=runs("q"), q=runs("p", "p-1")) == ("p -> q -> p", True)


def test_what_is_not_at_hand_or_ends_is_no_circle() -> None:
    assert in_a_circle(p=runs("q")) is None
    assert in_a_circle(p=runs("q"), q=a_pipeline().step("a")) is None


@pytest.mark.parametrize("fields", [{}, {"when": "params.more"}, {"after": FAILED}])
def test_a_pipeline_that_runs_itself_is_not_valid(fields: dict[str, Any]) -> None:
    raw = runs("p", **fields).raw
    assert [str(one) for one in compile_pipeline(raw, {}, "p").problems] == [
        "spec.steps[1].pipeline.name: pipeline 'p' cannot run itself, whatever the step's condition; remove the step"
    ]
    assert compile_pipeline(raw, {}, "q").problems == []
