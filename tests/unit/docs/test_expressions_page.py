"""What docs/expressions.md shows is what an expression gives, and its bounds are those that there are."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from dataops_operator.core.celcheck import MAX_PROGRAM
from dataops_operator.core.celcost import BUDGET, COPY, FUNCTIONS, MAX_DEPTH
from dataops_operator.core.expressions import (
    MAX_LENGTH,
    ExpressionError,
    compile_condition,
    compile_expression,
    evaluate,
)
from dataops_operator.core.graph import OBJECT_ROOTS

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "expressions.md").read_text(encoding="utf-8")
STEPS, VALUES = (yaml.safe_load(one) for one in re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
ROOTS = sorted(OBJECT_ROOTS)
EXAMPLES = re.findall(r"^\| `([^`]+)` \| `([^`]+)` \|$", PAGE, re.MULTILINE)


def test_its_variables_are_those_of_its_example() -> None:
    section = PAGE[PAGE.index("## Variables") : PAGE.index("## By example")]
    assert sorted(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)) == ROOTS == sorted(VALUES)


@pytest.mark.parametrize(("text", "shown"), EXAMPLES, ids=[text for text, _ in EXAMPLES])
def test_an_example_gives_what_it_shows(text: str, shown: str) -> None:
    found: Any = evaluate(compile_expression(text, ROOTS), VALUES)
    assert json.dumps(found) == shown


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 20


@pytest.mark.parametrize("text", [*re.findall(r"`(has\(object[^`]+)`", PAGE), *(one["when"] for one in STEPS)])
def test_a_condition_in_its_text_compiles(text: str) -> None:
    assert compile_condition(text, ROOTS).references


def test_its_functions_are_all_that_there_are() -> None:
    section = PAGE[PAGE.index("## What there is") : PAGE.index("And what to know of it")]
    functions, macros = section[: section.index("- Macros")], section[section.index("- Macros") :]
    shown = set(re.findall(r"`(\w+)`", functions)) - {"in"}
    assert shown == {name for name in FUNCTIONS if name.isidentifier()}
    for macro in re.findall(r"`(?:list\.)?(\w+)[`(]", macros):
        if macro not in ("has", "x"):
            compile_expression(f"[1].{macro}(x, x > 0)", [])


def test_its_bounds_are_those_that_there_are() -> None:
    table = PAGE[PAGE.index("## Bounds") :]
    for bound in (MAX_LENGTH, BUDGET // COPY, BUDGET, MAX_PROGRAM, MAX_DEPTH):
        assert re.search(rf"\| [^|]*\b{bound:,}\b", table), bound


@pytest.mark.parametrize(
    ("text", "size", "taken"),
    [
        ("params.a.exists(x, x < 0)", 5_000, True),
        ("params.a.exists(x, x < 0)", 15_000, False),
        ("params.a.exists(x, params.a.exists(y, x + y < 0))", 80, True),
        ("params.a.map(x, x)", 600, True),
        ("params.a.map(x, x)", 1_000, False),
    ],
)
def test_what_it_says_a_bound_lets_through_is(text: str, size: int, taken: bool) -> None:
    expression = compile_expression(text, ["params"])
    values = {"params": {"a": list(range(size))}}
    if taken:
        evaluate(expression, values)
    else:
        with pytest.raises(ExpressionError, match=r"units of work, and at most 100,000 are done"):
            evaluate(expression, values)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("parms.x", "no variable 'parms' at column 1; did you mean 'params'?"),
        ("steps.loads.outputs.rows > 1", "there is no steps.loads; has(steps.loads) tells whether it is there"),
    ],
)
def test_its_messages_are_those_that_come(text: str, message: str) -> None:
    with pytest.raises(ExpressionError) as refused:
        evaluate(compile_expression(text, ROOTS), VALUES)
    assert message in str(refused.value)
