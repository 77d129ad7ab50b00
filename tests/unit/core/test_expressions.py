"""Conditions in CEL: what people write, what is wrong with it, and that nothing of it can keep the operator."""

from __future__ import annotations

from typing import Any

import pytest

from dataops_operator.core.expressions import (
    ExpressionError,
    compile_condition,
    compile_expression,
    evaluate,
    holds,
)

ROOTS = ("params", "env", "steps", "run", "item", "datasets", "object")
VALUES: dict[str, Any] = {
    "params": {"day": "2013-02-09", "rows": 10, "share": 0.25, "full": False, "regions": ["eu", "us"], "none": None},
    "env": {"name": "prod", "params": {"size": "large"}},
    "steps": {
        "land": {"phase": "Succeeded", "outputs": {"rows": 9007199254740993, "files": ["a", "b"]}},
        "load-a": {"phase": "Failed", "outputs": {}},
    },
    "run": {"name": "flights-1", "uid": "u", "logicalDate": "2013-02-11T06:00:00Z"},
    "item": {"carrier": "UA", "parts": [1, 2, 3]},
}


def value(text: str, **more: Any) -> Any:
    return evaluate(compile_expression(text, ROOTS), {**VALUES, **more})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("params.rows > 5", True),
        ('params.day == "2013-02-09" && !params.full', True),
        ("params.share < 0.5", True),
        ("params.none == null", True),
        ('"eu" in params.regions', True),
        ('env.name == "prod"', True),
        ('env.params.size in ["large", "huge"]', True),
        ("steps.land.outputs.rows", 2**53 + 1),
        ("steps.land.outputs.rows - 9007199254740992", 1),
        ('steps["load-a"].phase == "Failed"', True),
        ("has(steps.land.outputs.rows) && steps.land.outputs.rows > 0", True),
        ('has(steps["load-a"].outputs.rows) ? steps["load-a"].outputs.rows : 0', 0),
        ('steps.exists(s, steps[s].phase == "Failed")', True),
        ("timestamp(run.logicalDate).getDayOfWeek() == 1", True),
        ('timestamp(run.logicalDate) - timestamp("2013-02-10T00:00:00Z")', "108000s"),
        ('timestamp(run.logicalDate) - duration("24h")', "2013-02-10T06:00:00Z"),
        ('item.carrier.startsWith("U") && item.parts.all(p, p > 0)', True),
        ("item.parts.map(p, p * 2)", [2, 4, 6]),
        ("item.parts.filter(p, p > 1)", [2, 3]),
        ('params.day.matches("^2013-02-[0-9]{2}$")', True),
        ("params.rows == 10.0", True),
        ("int(params.share * 100.0)", 25),
        ("size(params.regions)", 2),
        ("item", VALUES["item"]),
    ],
)
def test_what_people_write(text: str, expected: object) -> None:
    found = value(text)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("text", "references"),
    [
        ("params.rows > 5 || params.rows < 2", {("params", "rows")}),
        ('steps["load-a"].outputs.rows', {("steps", "load-a", "outputs", "rows")}),
        ('steps.land.outputs["rows"]', {("steps", "land", "outputs", "rows")}),
        ("has(steps.land.outputs.rows)", {("steps", "land", "outputs", "rows")}),
        ("steps[params.which].phase", {("steps",), ("params", "which")}),
        ("steps.exists(s, steps[s].phase == env.name)", {("steps",), ("env", "name")}),
        ("params.list[0].x", {("params", "list")}),
        ("object.status.conditions.exists(c, c.status == item)", {("object", "status", "conditions"), ("item",)}),
        ("[1].exists(params, params > 0)", set()),
        ("[1].exists(params, .params.a > 0)", {("params", "a")}),
        ("type(item) == list", {("item",)}),
    ],
)
def test_which_names_it_uses(text: str, references: set[tuple[str, ...]]) -> None:
    assert set(compile_expression(text, ROOTS).references) == references


def test_what_it_names_is_not_changed_by_evaluating() -> None:
    text = "steps.exists(s, steps[s].phase == steps.land.phase) && steps.land.outputs.rows > 0"
    given = {"steps": {"land": {"phase": "Succeeded", "outputs": {"rows": 1}}}}
    assert holds(compile_expression(text, ROOTS), given)
    assert given == {"steps": {"land": {"phase": "Succeeded", "outputs": {"rows": 1}}}}


def test_a_condition_is_known_to_be_none_when_it_is_compiled() -> None:
    with pytest.raises(ExpressionError, match="an integer; a condition must be true or false"):
        compile_condition("size(params.day)", ROOTS)


def test_what_is_no_boolean_does_not_hold() -> None:
    with pytest.raises(ExpressionError, match="gives 10, an integer; a condition must be true or false"):
        holds(compile_condition("params.rows", ROOTS), VALUES)
