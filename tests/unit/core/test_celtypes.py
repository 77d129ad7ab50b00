"""Parts that an expression asks of values whose declared type has none: known when the pipeline is applied."""

from __future__ import annotations

from typing import Any

import pytest
from tests.builders import PipelineBuilder, a_pipeline

from dataops_operator.core.validate import parse

LAND = [
    {"name": "name"},
    {"name": "rows", "type": "Integer"},
    {"name": "files", "type": "Array"},
    {"name": "tables", "type": "Object"},
]


def asked(when: str) -> PipelineBuilder:
    """A step whose condition may name parameters and outputs of each type."""
    made = a_pipeline().parameter("day", "Date").parameter("share", "Number").parameter("regions", "Array")
    made = made.step("land", outputs=LAND).step("each", outputs=LAND, forEach={"items": [1, 2]})
    return made.jobless("ask", approval={}).step("b", when=when)


@pytest.mark.parametrize(
    ("when", "message"),
    [
        ('steps.land.outputs.name["x"] == "a"', "steps.land.outputs.name at column 1 is of type String and has no 'x'"),
        ("steps.land.outputs.name.x == 'a'", "steps.land.outputs.name at column 1 is of type String and has no 'x'"),
        ("has(steps.land.outputs.name.x)", "steps.land.outputs.name at column 5 is of type String and has no 'x'"),
        ("steps.land.outputs.name[0] == 'a'", "steps.land.outputs.name at column 1 is of type String and has no parts"),
        ("true && params.day[0] == '2'", "params.day at column 9 is of type Date and has no parts; use it whole"),
        ("params.share[params.regions[0]] == 1", "params.share at column 1 is of type Number and has no parts"),
        ("params.day.exists(d, d == '2')", "params.day at column 1 is of type Date and has no parts"),
        ("'a' in steps.land.outputs.name", "steps.land.outputs.name at column 8 is of type String and has no parts"),
        ("steps.land.phase.x == 'a'", "steps.land.phase at column 1 is of type String and has no 'x'"),
        ("run.name[0] == 'a'", "run.name at column 1 is of type String and has no parts"),
        ("steps.ask.outputs.by[0] == 'a'", "steps.ask.outputs.by at column 1 is of type String and has no parts"),
        ('params.regions["eu"] == 1', "whose elements are counted: write params.regions[0]"),
        ("params.regions[params.day] == 1", "params.day at column 16 is of type Date, and the elements of"),
        ("steps.each.outputs.rows.x == 1", "steps.each.outputs.rows at column 1 is of type Array, whose elements"),
    ],
)
def test_a_part_of_what_has_none_is_told_when_the_pipeline_is_applied(when: str, message: str) -> None:
    spec, problems = parse(asked(when).raw)
    assert spec is not None
    assert [problem.path for problem in problems] == ["spec.steps[3].when"]
    assert message in problems[0].message


@pytest.mark.parametrize(
    "when",
    [
        'steps.land.outputs.tables["x"].y[0] == 1',
        "steps.land.outputs.tables.all(t, t != '')",
        "steps.land.outputs.files[steps.land.outputs.rows] == 'a'",
        "steps.land.outputs.files[0].name == 'a'",
        "params.regions.all(r, r.name in steps.land.outputs.files)",
        "steps.each.outputs.rows[0] == 1 && 1 in steps.each.outputs.rows",
        "steps.land.outputs.rows == 10.0",
        "env.params.sizes['x'][0] == 1",
        "steps['land'].outputs.name.size() > 1",
    ],
)
def test_what_may_have_the_part_is_taken(when: str) -> None:
    assert parse(asked(when).raw)[1] == []


def test_conditions_over_objects_are_looked_at_too() -> None:
    condition: dict[str, Any] = {"apiVersion": "v1", "kind": "ConfigMap", "name": "x"}
    condition["when"] = "object.data[params.day.x] == object.data.y[0]"
    made = a_pipeline().parameter("day", "Date").jobless("a", wait={"condition": condition})
    assert [str(problem) for problem in parse(made.raw)[1]] == [
        "spec.steps[0].wait.condition.when: params.day at column 13 is of type Date and has no 'x'; use it whole"
    ]
