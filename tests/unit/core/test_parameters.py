import time
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.builders import a_parameter

from dataops_operator.api.parameter import Parameter, ParameterType
from dataops_operator.core.parameters import TOTAL_LIMIT, VALUE_LIMIT, Resolved, RunContext, check, coerce, resolve
from dataops_operator.core.problems import Problem

RUN = RunContext("flights-1", "uid-1", "2013-02-09T05:00:00Z")


@pytest.mark.parametrize(
    ("type_", "given_", "value"),
    [
        ("String", "7", "7"),
        ("String", "", ""),
        ("Integer", 7, 7),
        ("Integer", "7", 7),
        ("Integer", " -7 ", -7),
        ("Integer", 7.0, 7),
        ("Integer", "+7", 7),
        ("Integer", 2**63 - 1, 2**63 - 1),
        ("Integer", str(-(2**63)), -(2**63)),
        ("Number", 7, 7),
        ("Number", "7.5", 7.5),
        ("Number", "-1e3", -1000.0),
        ("Number", ".5", 0.5),
        ("Number", 0.5, 0.5),
        ("Boolean", True, True),
        ("Boolean", "true", True),
        ("Boolean", " False ", False),
        ("Date", "2013-02-09", "2013-02-09"),
        ("Date", "2013-02-09T23:30:00-05:00", "2013-02-09"),
        ("Date", "2013-02-09T00:00:00Z", "2013-02-09"),
        ("Date", "2012-02-29", "2012-02-29"),
        ("Array", ["a", 1, None], ["a", 1, None]),
        ("Array", '["a",1]', ["a", 1]),
        ("Array", [], []),
        ("Object", {"a": {"b": 1}}, {"a": {"b": 1}}),
        ("Object", '{"a":1}', {"a": 1}),
    ],
)
def test_a_value_of_the_type_is_read(type_: str, given_: Any, value: Any) -> None:
    read = coerce(given_, ParameterType(type_))
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    ("type_", "given_", "expected"),
    [
        ("String", 7, "a string; write it in quotes"),
        ("String", True, "a string"),
        ("String", None, "a string"),
        ("String", "a\0b", "holds a NUL character, .* remove it"),
        ("Integer", "7.5", "a whole number"),
        ("Integer", 7.5, "a whole number"),
        ("Integer", True, "a whole number"),
        ("Integer", "", "a whole number"),
        ("Integer", "1_000", "a whole number"),
        ("Integer", 2**63, "at most 64 bits"),
        ("Integer", "9" * 40, "at most 64 bits"),
        ("Integer", "9" * 5000, "a whole number"),
        ("Integer", [7], "a whole number"),
        ("Number", "nan", "a finite number"),
        ("Number", "inf", "a finite number"),
        ("Number", "1e999", "a finite number"),
        ("Number", "1_000", "a finite number"),
        ("Number", "seven", "a finite number"),
        ("Number", True, "a finite number"),
        ("Boolean", 1, "true or false"),
        ("Boolean", "yes", "true or false"),
        ("Date", "2013-02-30", "a date; write it as 2013-02-09"),
        ("Date", "09.02.2013", "a date"),
        ("Date", "2013-W06-6", "a date"),
        ("Date", "20130209", "a date"),
        ("Date", 20130209, "a date"),
        ("Date", "2013-02-0911", "a date"),
        ("Date", "yesterday", "a date"),
        ("Array", "a,b", "an array"),
        ("Array", {"a": 1}, "an array"),
        ("Array", "", "an array"),
        ("Object", "[1]", "an object"),
        ("Object", 7, "an object"),
    ],
)
def test_a_value_of_another_type_is_refused_with_what_was_expected(type_: str, given_: Any, expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        coerce(given_, ParameterType(type_))


def test_a_refusal_shows_the_value_but_not_a_book() -> None:
    with pytest.raises(ValueError, match="…") as caught:
        coerce("x" * 10_000, ParameterType.INTEGER)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        pytest.param(a_parameter(enum=["a", "b"]), "b", id="a member of the enum"),
        pytest.param(a_parameter("Integer", enum=["1", 2]), 1, id="an enum is read by the type as well"),
        pytest.param(a_parameter("Integer", minimum=1, maximum=16), 1, id="the lower bound itself"),
        pytest.param(a_parameter("Integer", minimum=1, maximum=16), "16", id="the upper bound itself"),
        pytest.param(a_parameter("Number", minimum="0.1", maximum="0.3"), 0.3, id="a fractional bound in decimal"),
        pytest.param(a_parameter("Number", minimum="0.1"), "0.1", id="a tenth is not less than a tenth"),
        pytest.param(a_parameter("Integer", maximum=str(2**62)), 2**62, id="a bound beyond the floats' whole numbers"),
        pytest.param(a_parameter(pattern="[a-z]+"), "abc", id="the whole of it matches"),
        pytest.param(a_parameter(pattern="a|ab"), "ab", id="the whole of an alternative matches"),
        pytest.param(a_parameter(), "x" * (VALUE_LIMIT - 2), id="the largest string"),
    ],
)
def test_a_value_that_fits_is_taken(parameter: Parameter, value: Any) -> None:
    check(parameter, value)


@pytest.mark.parametrize(
    ("parameter", "value", "message"),
    [
        pytest.param(a_parameter(enum=["a", "b"]), "c", 'is not one of "a", "b"', id="no member of the enum"),
        pytest.param(a_parameter("Integer", minimum=1), 0, "0 is less than 1", id="below"),
        pytest.param(a_parameter("Integer", maximum=16), "17", "17 is greater than 16", id="above"),
        pytest.param(a_parameter("Number", minimum="0.5"), 0.4999, r"0.4999 is less than 0\.5", id="a fraction below"),
        pytest.param(a_parameter("Number", maximum="0.3"), 0.31, "greater than", id="a fraction above"),
        pytest.param(
            a_parameter("Integer", maximum=str(2**62)), 2**62 + 1, "greater", id="one above a bound that floats blur"
        ),
        pytest.param(a_parameter(pattern="[a-z]+"), "abc1", "does not match the pattern", id="only a part matches"),
        pytest.param(a_parameter(pattern="[a-z]+"), "abc\n", "does not match", id="a line's end is not forgiven"),
        pytest.param(a_parameter(), "x" * VALUE_LIMIT, "larger than 32 KiB; pass a location", id="too large"),
        pytest.param(
            a_parameter(), "\n" * (VALUE_LIMIT // 2), "larger than 32 KiB", id="too large once written as JSON"
        ),
    ],
)
def test_a_value_that_does_not_fit_is_refused_with_what_fits(parameter: Parameter, value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check(parameter, value)


@pytest.mark.parametrize("pattern", ["(a+)+$", "(a|aa)+", "([a-zA-Z]+)*x", "(.*)*(.*)*(.*)*y"])
def test_no_pattern_runs_away(pattern: str) -> None:
    began = time.perf_counter()
    with pytest.raises(ValueError, match="does not match"):
        check(a_parameter(pattern=pattern), "a" * 20_000 + "!")
    assert time.perf_counter() - began < 0.5, "a backtracking engine needs longer than the universe has"


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        pytest.param(a_parameter("Date", default="$(run.logicalDate)"), "2013-02-09", id="a date of a timestamp"),
        pytest.param(a_parameter(default="$(run.logicalDate)"), "2013-02-09T05:00:00Z", id="the timestamp itself"),
        pytest.param(a_parameter(default="by $(run.name)"), "by flights-1", id="the run's name in a text"),
        pytest.param(a_parameter(default="$(run.uid)"), "uid-1", id="its uid"),
        pytest.param(a_parameter(default="$$(run.uid)"), "$(run.uid)", id="an escaped one is literal"),
        pytest.param(a_parameter(default="$(date)"), "$(date)", id="the shell's own is left alone"),
        pytest.param(a_parameter("Integer", default="5"), 5, id="a default is read by the type"),
        pytest.param(
            a_parameter("Array", default=["$(run.name)", {"at": "$(run.uid)"}, 1]),
            ["flights-1", {"at": "uid-1"}, 1],
            id="templates within an array",
        ),
        pytest.param(a_parameter("Boolean", default=False), False, id="false is a default"),
        pytest.param(a_parameter("Integer", default=0), 0, id="zero is a default"),
        pytest.param(a_parameter(default=""), "", id="the empty string is a default"),
    ],
)
def test_a_default_stands_in(parameter: Parameter, value: Any) -> None:
    assert resolve((parameter,), {}, RUN) == ([Resolved("p", value, "Pipeline")], [])
    assert resolve((parameter,), {"p": None}, RUN) == ([Resolved("p", value, "Pipeline")], []), "null is not a value"


def test_a_runs_own_value_wins_and_takes_no_templates() -> None:
    parameter = a_parameter(default="x")
    assert resolve((parameter,), {"p": "$(run.name)"}, RUN) == ([Resolved("p", "$(run.name)", "Run")], [])


def test_parameters_come_in_the_pipelines_order() -> None:
    declared = tuple(a_parameter(name=name, default="d") for name in "cab")
    resolved, _ = resolve(declared, {"b": "1", "a": "2"}, RUN)
    assert [(one.name, one.value) for one in resolved] == [("c", "d"), ("a", "2"), ("b", "1")]


@pytest.mark.parametrize(
    ("declared", "values", "problem"),
    [
        pytest.param(
            (a_parameter(name="day"), a_parameter(name="n", default="1")),
            {"day": "x", "dya": "x"},
            Problem("spec.parameters[1].name", "no parameter 'dya'; the pipeline has: day, n"),
            id="an unknown name, by its place in the run",
        ),
        pytest.param(
            (),
            {"x": 1},
            Problem("spec.parameters[0].name", "no parameter 'x'; the pipeline has: none"),
            id="any name where the pipeline has none",
        ),
        pytest.param(
            (a_parameter(name="day"),),
            {},
            Problem("spec.parameters", "no value for 'day', which has no default; give one"),
            id="a missing value",
        ),
        pytest.param(
            (a_parameter("Integer", name="n"),),
            {"n": "many"},
            Problem("spec.parameters[0].value", 'n: "many" is not a whole number of at most 64 bits'),
            id="a value of another type",
        ),
        pytest.param(
            (a_parameter("Integer", default="$(run.name)"),),
            {},
            Problem("spec.parameters", 'p: "flights-1" is not a whole number of at most 64 bits'),
            id="a default that turns out not to fit",
        ),
    ],
)
def test_what_is_wrong_with_a_runs_values_is_told_with_its_path(
    declared: tuple[Parameter, ...], values: dict[str, Any], problem: Problem
) -> None:
    _, problems = resolve(declared, values, RUN)
    assert problems == [problem]


@pytest.mark.parametrize("filler", ["x", "\n", '"'], ids=["letters", "lines", "quotes"])
def test_all_values_together_fit_into_an_annotation_as_json(filler: str) -> None:
    declared = tuple(a_parameter(name=f"p{index}") for index in range(64))
    size = TOTAL_LIMIT // 64 // len(orjson.dumps(filler * 100)) * 100
    fits = {one.name: filler * (size - 100) for one in declared}
    resolved, problems = resolve(declared, fits, RUN)
    assert not problems
    assert len(orjson.dumps({one.name: one.value for one in resolved})) < 128 * 1024
    too_much = {one.name: filler * (size * 2) for one in declared}
    assert resolve(declared, too_much, RUN)[1] == [
        Problem("spec.parameters", "all values together are larger than 96 KiB")
    ]


FLOATS = st.floats(allow_nan=False, allow_infinity=False)
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | FLOATS | st.text(max_size=50),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def read(type_: ParameterType, value: Any) -> list[Any]:
    """The value as the type has it; nothing where it is refused in words."""
    try:
        return [check(a_parameter(type_), value)]
    except ValueError as error:
        if not str(error):
            raise
        return []


@given(st.sampled_from(ParameterType), JSON | JSON.map(lambda value: orjson.dumps(value).decode()))
def test_a_value_is_taken_or_refused_and_reading_it_again_changes_nothing(type_: ParameterType, value: Any) -> None:
    for typed in read(type_, value):
        assert read(type_, typed) == [typed]
        assert read(type_, orjson.loads(orjson.dumps(typed))) == [typed]
