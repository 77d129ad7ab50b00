"""Conditions in CEL: what people write, which names it uses, and what they are told when it is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataops_operator.core.expressions import (
    Expression,
    ExpressionError,
    compile_condition,
    compile_expression,
    evaluate,
    holds,
)

ROOTS = ("params", "env", "steps", "run", "item", "datasets", "object")
VALUES: dict[str, Any] = {
    "params": {
        "day": "2013-02-09",
        "rows": 10,
        "share": 0.25,
        "full": False,
        "regions": ["eu", "us"],
        "none": None,
        "secret": "hunter2",
        "huge": 2**63,
    },
    "env": {"name": "prod", "params": {"size": "large"}},
    "steps": {
        "land": {"phase": "Succeeded", "outputs": {"rows": 9007199254740993, "files": ["a", "b"]}},
        "load-a": {"phase": "Failed", "outputs": {}},
    },
    "run": {"name": "flights-1", "uid": "u", "logicalDate": "2013-02-11T06:00:00Z"},
    "item": {"carrier": "UA", "parts": [1, 2, 3]},
}


def value(text: str, values: Mapping[str, Any] = VALUES) -> Any:
    return evaluate(compile_expression(text, ROOTS), values)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("params.rows > 5", True),
        ('params.day == "2013-02-09" && !params.full', True),
        ("params.share < 0.5", True),
        ("params.none == null", True),
        ("params.rows != null", True),
        ('"eu" in params.regions', True),
        ('env.name == "prod"', True),
        ('env.params.size in ["large", "huge"]', True),
        ("steps.land.outputs.rows", 2**53 + 1),
        ("steps.land.outputs.rows - 9007199254740992", 1),
        ("params.huge", 2**63),
        ("-9223372036854775808", -(2**63)),
        ('steps["load-a"].phase == "Failed"', True),
        ("steps.`load-a`.phase", "Failed"),
        ("has(steps.land.outputs.rows) && steps.land.outputs.rows > 0", True),
        ('has(steps["load-a"].outputs.rows) ? steps["load-a"].outputs.rows : 0', 0),
        ('steps.exists(s, steps[s].phase == "Failed")', True),
        ("timestamp(run.logicalDate).getDayOfWeek() == 1", True),
        ('timestamp(run.logicalDate).getHours("America/New_York")', 1),
        ('timestamp(run.logicalDate).getHours("+02:00")', 8),
        ('timestamp(run.logicalDate) - timestamp("2013-02-10T00:00:00Z")', "108000s"),
        ('timestamp(run.logicalDate) - duration("24h")', "2013-02-10T06:00:00Z"),
        ('[duration("-1.5s"), duration("1234567.25s"), duration("0s")]', ["-1.5s", "1234567.25s", "0s"]),
        ('item.carrier.startsWith("U") && item.parts.all(p, p > 0)', True),
        ("item.parts.exists_one(p, p == 2)", True),
        ("item.parts.map(p, p * 2)", [2, 4, 6]),
        ("item.parts.map(p, p > 1, string(p))", ["2", "3"]),
        ("item.parts.filter(p, p > 1)", [2, 3]),
        ('params.day.matches("^2013-02-[0-9]{2}$")', True),
        ("params.rows == 10.0", True),
        ("params.rows", 10),
        ("params.share", 0.25),
        ("int(params.share * 100.0)", 25),
        ("7 / 2", 3),
        ("size(params.regions)", 2),
        ("params.regions[1]", "us"),
        ('"day " + params.day', "day 2013-02-09"),
        ('{"rows": params.rows, "ok": [true, null]}', {"rows": 10, "ok": [True, None]}),
        ("params.nothing == 1 || params.rows == 10", True),
        ("item", VALUES["item"]),
        ('params["regions"].exists(r, r == "eu")', True),
        ('item["parts"].map(p, p + 1)', [2, 3, 4]),
        ("true // always", True),
    ],
)
def test_what_people_write(text: str, expected: object) -> None:
    found = value(text)
    assert found == expected
    assert type(found) is type(expected)


JOB_SUCCEEDED = 'object.status.conditions.exists(c, c.type == "Complete" && c.status == "True")'
JOB_FAILED = (
    'has(object.status.conditions) && object.status.conditions.exists(c, c.type == "Failed" && c.status == "True")'
)
SPARK_ENDED = 'has(object.status.applicationState) && object.status.applicationState.state in ["COMPLETED", "FAILED"]'
RAY_SUCCEEDED = 'has(object.status.jobStatus) && object.status.jobStatus == "SUCCEEDED"'
OBSERVED = "has(object.status.observedGeneration) && object.status.observedGeneration == object.metadata.generation"


@pytest.mark.parametrize(
    ("text", "manifest", "expected"),
    [
        (JOB_SUCCEEDED, {"status": {"conditions": [{"type": "Complete", "status": "True"}]}}, True),
        (JOB_SUCCEEDED, {"status": {"conditions": [{"type": "Complete", "status": "False"}]}}, False),
        (JOB_SUCCEEDED, {"status": {"conditions": []}}, False),
        (JOB_FAILED, {"status": {}}, False),
        (JOB_FAILED, {"status": {"conditions": [{"type": "Failed", "status": "True"}]}}, True),
        (SPARK_ENDED, {"status": {"applicationState": {"state": "RUNNING"}}}, False),
        (SPARK_ENDED, {"status": {"applicationState": {"state": "FAILED"}}}, True),
        (SPARK_ENDED, {"status": {}}, False),
        (RAY_SUCCEEDED, {"status": {"jobStatus": "SUCCEEDED"}}, True),
        (OBSERVED, {"metadata": {"generation": 3}, "status": {"observedGeneration": 3}}, True),
        (OBSERVED, {"metadata": {"generation": 3}, "status": {"observedGeneration": 2}}, False),
        ("has(object.status)", {}, False),
        ("has(object.status)", {"status": None}, True),
        ('object.metadata.annotations["a.b/c"] == "1"', {"metadata": {"annotations": {"a.b/c": "1"}}}, True),
    ],
)
def test_conditions_of_objects(text: str, manifest: object, expected: bool) -> None:
    assert holds(compile_condition(text, ["object"]), {"object": manifest}) is expected


@pytest.mark.parametrize(
    ("text", "references"),
    [
        ("params.rows > 5 || params.rows < 2", {("params", "rows")}),
        ('steps["load-a"].outputs.rows', {("steps", "load-a", "outputs", "rows")}),
        ("steps.`load-a`.outputs.rows", {("steps", "load-a", "outputs", "rows")}),
        ('steps.land.outputs["rows"]', {("steps", "land", "outputs", "rows")}),
        ("has(steps.land.outputs.rows)", {("steps", "land", "outputs", "rows")}),
        ("steps[params.which].phase", {("steps",), ("params", "which")}),
        ("steps.exists(s, steps[s].phase == env.name)", {("steps",), ("env", "name")}),
        ("params.list[0].x", {("params", "list")}),
        ("object.status.conditions.exists(c, c.status == item)", {("object", "status", "conditions"), ("item",)}),
        ("params.a.map(x, params.b.filter(y, y > x + params.c))", {("params", name) for name in "abc"}),
        ("[1].exists(params, params > 0)", set()),
        ("[1].exists(params, .params.a > 0)", {("params", "a")}),
        ('{"k": params.a, params.b: [params.c]}', {("params", name) for name in "abc"}),
        ("type(item) == list", {("item",)}),
        ('"params.x" == item', {("item",)}),
        ("params.x // params.y", {("params", "x")}),
    ],
)
def test_which_names_it_uses(text: str, references: set[tuple[str, ...]]) -> None:
    assert set(compile_expression(text, ROOTS).references) == references


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("parms.x", "no variable 'parms' at column 1; did you mean 'params'?"),
        ("params.x > 1 && nope", "no variable 'nope' at column 17; there are: datasets, env, item, object, params"),
        ("[1].map(x, y)", "no variable 'y' at column 12"),
        ("params.x +", "unexpected end at column 11"),
        ("params.a == 1 &&\n  params.b ==", "unexpected end at line 2, column 14"),
        ("(1", "missing ')' at end at column 3"),
        ("a b", "unexpected 'b' at column 3"),
        ("", "unexpected end at column 1"),
        ("params.day == 'x", "unexpected ''x' at column 15"),
        ('1 == "a"', "'==' does not take (int, string) at column 3"),
        ('-duration("1s")', "'-' does not take (duration) at column 1"),
        ("size(1)", "'size' does not take (int) at column 5"),
        ("params.day.starts()", "no function 'starts' at column 18; did you mean 'startsWith'?"),
        ("params.day.contains()", "'contains' at column 20 is not called with as many values as it takes"),
        ('contains("a", "b")', "'contains' is not called like this at column 9"),
        ("has(params)", "has() argument must be a field selection at column 5"),
        ("env.Thing{}", "env.Thing at column 1: write a map with keys in quotes"),
        ("((((" * 10 + "1" + "))))" * 10, "it is nested deeper than 32 levels"),
        ("1" + " + 1" * 40, "it is nested deeper than 32 levels"),
        ("params.x == '" + "a" * 1024 + "'", "it has 1,038 characters; at most 1,024 are taken"),
        ("params.x == '\ud800'", "half of a surrogate pair"),
        ('params.day.matches("(")', "the pattern at column 20 is none that RE2 takes: missing ): ("),
        ("params.day.matches(params.x)", "the pattern of matches at column 19 must stand there as a string"),
        ('params.day.matches("(.{0,100}){0,9}")', "the pattern at column 20 is too large; use smaller repetitions"),
        ('params.day.matches(".{1000}.{1000}.{1000}")', "the pattern at column 20 is too large; use smaller"),
        ('timestamp(run.logicalDate).getHours("../../dev/zero")', "must stand there as a string, such as"),
        ('timestamp(run.logicalDate).getHours("/dev/zero")', "must stand there as a string, such as"),
        ("timestamp(run.logicalDate).getHours(params.zone)", "the time zone of getHours at column 36 must stand there"),
        ('timestamp(run.logicalDate).getHours("Europe/Atlantis")', "no time zone 'Europe/Atlantis' at column 37"),
    ],
)
def test_what_is_refused_before_it_is_evaluated(text: str, message: str) -> None:
    for _ in range(2):  # the second time from memory
        with pytest.raises(ExpressionError) as refused:
            compile_expression(text, ROOTS)
        assert message in str(refused.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("params.nope", "there is no params.nope; has(params.nope) tells whether it is there"),
        ("steps.land.output.rows > 1", "there is no steps.land.output; has(steps.land.output) tells"),
        ('steps["load-a"].outputs.rows > 1', "there is no steps.load-a.outputs.rows; has("),
        ("has(steps.nope.outputs.rows)", "there is no steps.nope; has(steps.nope) tells"),
        ("datasets.x", "there is no datasets"),
        ("params.rows.x", "params.rows is an integer and has no 'x'"),
        ('params.day["x"]', "params.day is a string and has no 'x'"),
        ('params.regions["x"] == "eu"', "params.regions is a list and has no 'x'"),
        ("params.day[0]", "a string has no parts; use it whole"),
        ("params.full[0]", "a boolean has no parts; use it whole"),
        ("params.none[0]", "null has no parts; use it whole"),
        ("params.regions.map(r, r[0])", "a string has no parts; use it whole"),
        ("params.regions[params.day]", "a string counts no elements of a list; use an integer, from 0"),
        ("item[timestamp(run.logicalDate)]", "a timestamp is no key of a map; use a string"),
        ("params.rows.all(r, r > 1)", "a loop goes over a list or a map, and this is neither"),
        ("params.regions[2]", "a list of 2 has no element 2, counted from 0"),
        ('{"a": 1}[params.day]', "a map has no such value"),
        ('params.rows > "5"', "'>' does not take (int, string)"),
        ("params.none > 5", "'>' does not take (null"),
        ('has(params.x) ? true : params.rows > "5"', "'>' does not take (int, string)"),
        ("!params.day", "'!' does not take what it is given"),
        ("params.day ? 1 : 2", "'?:' does not take what it is given"),
        ('params["regions"].all(r, r > 1)', "'>' does not take (string, int)"),
        ("params.rows / 0", "divide by zero"),
        ("params.rows * 9223372036854775807", "integer overflow"),
        ("int(params.secret)", "cannot convert string to int"),
        ("timestamp(params.day)", "String to Timestamp conversion failed"),
        ("1.0 / 0.0", "it gives a number that is not finite"),
        ('b"abc"', "it gives bytes; use string()"),
        ("type(1)", "it gives a type; use string()"),
        ("{1: 2}", "it gives a map with a key that is no string; use string()"),
    ],
)
def test_what_has_no_value(text: str, message: str) -> None:
    with pytest.raises(ExpressionError) as refused:
        value(text)
    assert message in str(refused.value)


@pytest.mark.parametrize("text", ["int(params.secret)", "{'a': 1}[params.secret]", "timestamp(params.secret)"])
def test_a_value_is_in_no_message(text: str) -> None:
    with pytest.raises(ExpressionError) as refused:
        value(text)
    assert "hunter2" not in str(refused.value)
    with pytest.raises(ExpressionError) as refused:
        holds(compile_condition("params.secret", ROOTS), VALUES)
    assert str(refused.value) == "it gives a string; a condition must be true or false"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("params.regions[params.pin]", "a list of 2 has no such element, counted from 0"),
        ("{4: 1}[params.pin]", "a map has no such key"),
        ("{94711: 1}[params.pin]", "a map has no such key"),
        ("params.regions[4711]", "a list of 2 has no element 4711, counted from 0"),
        ("{'a': 1}[params.full]", "a map has no such key"),
        ("{1: 1}[2]", "a map has no key 2"),
    ],
)
def test_a_number_is_in_no_message_unless_it_is_written(text: str, message: str) -> None:
    values = {"params": {"regions": ["eu", "us"], "pin": 4711, "full": False}}
    with pytest.raises(ExpressionError) as refused:
        value(text, values)
    assert str(refused.value) == message


@pytest.mark.parametrize(
    ("given_value", "message"),
    [
        ("a\0b", "item has a string with a NUL character, which no expression takes"),
        ({"a\0b": 1}, "item has a string with a NUL character"),
        ([["a\0"]], "item has a string with a NUL character"),
        ("\ud800", "a string is no Unicode"),
        (2**64, "an integer is beyond 64 bits"),
        (-(2**63) - 1, "an integer is beyond 64 bits"),
        ((1, 2), "item is no JSON value but tuple"),
        ({1: 2}, "item is no JSON value but int"),
        ([object()], "item is no JSON value but object"),
    ],
)
def test_values_that_no_expression_takes(given_value: object, message: str) -> None:
    with pytest.raises(ExpressionError) as refused:
        value("item", {"item": given_value})
    assert message in str(refused.value)


def test_what_it_names_is_not_changed_by_evaluating() -> None:
    text = (
        "steps.exists(s, steps[s].phase == steps.land.phase) && steps.land.outputs.rows > 0"
        " && has(steps.land.phase) && !has(object.status.x.y) && has(object.status)"
    )
    given_values = {
        "steps": {"land": {"phase": "Succeeded", "outputs": {"rows": 1}}},
        "object": {"status": {"x": {}}},
    }
    before = repr(given_values)
    assert holds(compile_expression(text, ROOTS), given_values)
    assert repr(given_values) == before


def test_a_map_comes_out_in_the_order_of_its_keys() -> None:
    keys = [f"k{index}" for index in range(10)]
    for _ in range(20):
        assert list(value("item", {"item": {key: [] for key in reversed(keys)}})) == keys


def test_a_condition_is_known_to_be_none_when_it_is_compiled() -> None:
    with pytest.raises(ExpressionError, match="an integer; a condition must be true or false"):
        compile_condition("size(params.day)", ROOTS)
    assert compile_condition("params.full", ROOTS).type == "DYN"


def test_an_expression_is_compiled_once() -> None:
    assert compile_expression("params.once", ROOTS) is compile_expression("params.once", list(ROOTS))


TOKENS = (
    *("params", "params.rows", "item", "steps", "x", "1", "2u", "1.5", '"a"', "'b'", 'b"c"', "null", "true", "nope"),
    *("(", ")", "[", "]", "{", "}", "?", ":", ",", ".", "`", "\n", "//", "\\", '"', "'", "@", "é", "\0"),
    *("&&", "||", "!", "-", "+", "*", "/", "%", "<", "==", "!=", " in ", "=", "|", "#"),
    *(
        "has(",
        ".all(x, ",
        ".map(x, ",
        ".filter(x, ",
        "size(",
        "type(",
        "dyn(",
        "timestamp(",
        '.matches("a")',
        "string(",
    ),
)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4)
)
TEXTS = st.text(max_size=60) | st.lists(st.sampled_from(TOKENS), max_size=30).map("".join)


SHAPES = (
    *("{0}", "({1} + {2})", "({1} == {2})", "[{1}, {2}]", '{{"a": {1}}}', "({1} ? {2} : {0})", "({1} in {2})", "!{1}"),
    *("{1}.map(x, {2})", "{1}.exists(x, {2})", "{1}.filter(x, {2})", "size({1})", "string({1})", "{1}[{2}]"),
    *("has(params.a.b)", "timestamp({1})", '{1}.matches("a")', "({1} < {2} || {0})", "dyn({1}).c", "({1} - {2})"),
)


@st.composite
def well_formed(draw: st.DrawFn, depth: int = 3) -> str:
    """A text that CEL can parse, of any types."""
    inner = st.just("1") if depth == 0 else well_formed(depth - 1)
    leaf = draw(
        st.sampled_from(["params", "params.a", 'params["b"]', "item", "item[0]", "steps", '"a"', "1", "x", "[]"])
    )
    shape = draw(st.sampled_from(SHAPES))
    return str(shape).format(leaf, draw(inner), draw(inner))


@given(TEXTS)
def test_whatever_is_written_is_an_expression_or_refused(text: str) -> None:
    with suppress(ExpressionError):
        assert isinstance(compile_expression(text, ROOTS), Expression)


@given(well_formed() | TEXTS, st.fixed_dictionaries({}, optional=dict.fromkeys(ROOTS, JSON)))
def test_whatever_is_evaluated_has_a_json_value_or_is_refused(text: str, values: dict[str, Any]) -> None:
    with suppress(ExpressionError):
        found = evaluate(compile_expression(text, ROOTS), values)
        assert isinstance(found, bool | int | float | str | list | dict | None)


@given(JSON)
def test_what_is_handed_in_comes_out_as_it_was(given_value: Any) -> None:
    try:
        found = value("item", {"item": given_value})
    except ExpressionError:
        return  # NaN, NUL, half of a surrogate, beyond 64 bits
    assert found == given_value
