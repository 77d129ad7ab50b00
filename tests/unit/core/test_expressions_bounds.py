"""No expression keeps the operator: the worst that the bounds let through ends in time, and so does a refusal."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from dataops_operator.core import celtree
from dataops_operator.core.celcost import BUDGET, FUNCTIONS, measure
from dataops_operator.core.expressions import Expression, ExpressionError, compile_expression, evaluate

SECONDS = 0.050
"""CPU that one evaluation, or one refusal, may take."""
FAR = 50_000
"""A size at which everything is refused."""


def numbers(size: int) -> Any:
    return {"a": list(range(size)), "b": list(range(size))}


def mapping(size: int) -> Any:
    return {"a": {f"key{index}": index for index in range(size)}}


def texts(size: int) -> Any:
    length = 20 * size
    return {"a": "a" * length, "b": "a" * (length // 2) + "b", "l": [0] * 10}


def objects(size: int) -> Any:
    return {"a": [{"type": f"T{index}", "status": "False", "at": index} for index in range(size)]}


def nested(size: int) -> Any:
    return {"a": [[{"x": [0]}] * 10] * size}


def chain(operator: str, part: str, count: int) -> str:
    """A chain of operators within the depth that is allowed."""
    return f" {operator} ".join([part] * count)


WORST: dict[str, tuple[str, Callable[[int], Any]]] = {
    "one loop that never ends early": ("params.a.exists(x, x < 0)", numbers),
    "one loop with a long body": (f"params.a.exists(x, {chain('||', 'x * x - x + 7 < -x', 25)})", numbers),
    "a loop in a loop": ("params.a.exists(x, params.b.exists(y, y < x - 100000))", numbers),
    "three loops": ("params.a.all(x, params.a.all(y, params.a.all(z, x + y + z >= 0)))", numbers),
    "loops one after another": (chain("||", "params.a.exists(x, x < 0)", 30), numbers),
    "a list gathered": ("params.a.map(x, x)", numbers),
    "lists of lists gathered": ("params.a.map(x, params.a.map(y, y)).size()", numbers),
    "a list filtered": ("params.a.filter(x, true)", numbers),
    "a loop over what was gathered": ("params.a.map(x, [x, x]).map(y, y + y).exists(z, z == [])", numbers),
    "maps gathered": ('params.a.map(x, {"a": x, "b": [x, x], "c": {"d": x}})', numbers),
    "in, at every turn": ("params.a.exists(x, -1 in params.b)", numbers),
    "equality at every turn": ("params.a.exists(x, params.a + [x] == params.b + [x + 1])", numbers),
    "lists joined at every turn": ("params.a.map(x, params.a + params.b)[0].size()", numbers),
    "lists doubled again and again": (f"{'[' * 8}params.a{'].map(x, x + x)[0]' * 8}.size()", numbers),
    "lists of the same list": (f"{'[' * 8}params.a{'].map(x, [x, x])[0]' * 8} == []", numbers),
    "lists of the same list, given back": (f"{'[' * 7}params.a{'].map(x, [x, x])[0]' * 7}", numbers),
    "keys of a map": ("params.a.exists(k, params.a[k] < 0)", mapping),
    "a map given back": ("params.a", mapping),
    "objects": ('params.a.exists(c, c.type == "Complete" && c.status == "True" || c.at < 0)', objects),
    "objects given back": ("params.a", objects),
    "objects compared": ("params.a == params.a && params.a.map(x, x) == params.a", objects),
    "loops into what is nested": ("params.a.all(x, x.all(y, y.x.all(z, z == 0)))", nested),
    "texts joined": ("(params.a + params.a).size()", texts),
    "texts doubled again and again": (f"{'[' * 8}params.a{'].map(x, x + x)[0]' * 8}.size()", texts),
    "a text searched": ("params.a.contains(params.b)", texts),
    "a text searched at every turn": ("params.l.exists(x, (params.a + string(x)).contains(params.b))", texts),
    "texts compared at every turn": ("params.l.exists(x, params.a + string(x) == params.a)", texts),
    "a pattern": ('params.a.matches("(a|b|aa){0,40}c")', texts),
    "a large pattern": ('params.a.matches("(.{0,20}a){0,9}c")', texts),
    "a large pattern at every turn": ('params.a.exists(x, string(x).matches("(.{0,20}a){0,9}c"))', numbers),
    "a pattern with many states": ('params.a.matches("(.*a.{12})c")', texts),
    "numbers as texts": ("params.a.map(x, string(x))", numbers),
    "timestamps": ('params.a.exists(x, timestamp(string(timestamp(x))).getHours("Europe/Berlin") > 24)', numbers),
    "durations": ('params.a.exists(x, duration(string(x) + "s") < duration("0s"))', numbers),
}


def cpu(expression: Expression, values: Any) -> tuple[float, str]:
    """Seconds of the quickest of three evaluations, since a machine may be busy, and why there was no value."""
    taken, reason = [], ""
    for _ in range(3):
        began = time.thread_time()
        try:
            evaluate(expression, values)
        except ExpressionError as error:
            reason = str(error)
        taken.append(time.thread_time() - began)
    return min(taken), reason


def refused(reason: str) -> bool:
    return (
        "units of work, and at most" in reason or "is too large for an expression" in reason or "10,000 times" in reason
    )


@pytest.mark.parametrize("case", WORST)
def test_the_largest_that_is_let_through_ends_in_time(case: str) -> None:
    text, values = WORST[case]
    expression = compile_expression(text, ["params"])
    low, high = 1, FAR  # let through, and refused
    assert not refused(cpu(expression, {"params": values(low)})[1])
    while high - low > low // 50 + 1:
        middle = min((low + high) // 2, low * 4)
        seconds, reason = cpu(expression, {"params": values(middle)})
        assert seconds < SECONDS, f"{middle} took {seconds:.3f} s {reason}"
        low, high = (low, middle) if refused(reason) else (middle, high)
    assert 1 < low < FAR // 2


@pytest.mark.parametrize("case", WORST)
def test_what_is_far_too_much_is_refused_in_time(case: str) -> None:
    text, values = WORST[case]
    seconds, reason = cpu(compile_expression(text, ["params"]), {"params": values(FAR)})
    assert refused(reason)
    assert seconds < SECONDS


def test_what_doubles_is_refused_whatever_it_begins_with() -> None:
    once = f"{'[' * 9}params.a{'].map(x, [x, x, x, x, x, x, x, x])[0]' * 9}"
    _, reason = cpu(compile_expression(f"{once} == {once}", ["params"]), {"params": {"a": 1}})
    assert refused(reason)


def test_what_a_large_run_asks_is_let_through() -> None:
    steps = {f"load-{index}": {"phase": "Succeeded", "outputs": {"rows": index}} for index in range(1000)}
    text = 'steps.all(s, steps[s].phase == "Succeeded")'
    assert evaluate(compile_expression(text, ["steps"]), {"steps": steps}) is True


def test_what_is_not_named_costs_nothing() -> None:
    large = {"status": {"phase": "Done", "log": "x" * 10_000_000}, "data": list(range(1_000_000))}
    expression = compile_expression('object.status.phase == "Done" && has(object.data)', ["object"])
    assert evaluate(expression, {"object": large}) is True
    assert cpu(expression, {"object": large})[0] < 0.001


def test_an_evaluation_costs_less_than_a_write() -> None:
    expression = compile_expression('params.day == "2013-02-09" && steps.land.outputs.rows > 0', ["params", "steps"])
    values = {"params": {"day": "2013-02-09"}, "steps": {"land": {"outputs": {"rows": 1}}}}
    assert cpu(expression, values)[0] < 0.001


def test_values_nested_too_deep_are_refused() -> None:
    deep: Any = 1
    for _ in range(100_000):
        deep = [deep]
    _, reason = cpu(compile_expression("params", ["params"]), {"params": deep})
    assert "params is too large for an expression; name a part of it" in reason


@pytest.mark.parametrize(
    "text", ["(", "[", "{", "!", "-", "a?", "a||", "1--", "a.b(", "[1,", "{1:", "'", "a in ", "a["]
)
def test_a_text_of_any_kind_is_read_in_time(text: str) -> None:
    long = (text * 1024)[:1024]
    taken = []
    for spaces in range(3):  # another text each time, or it is known
        began = time.thread_time()
        with pytest.raises(ExpressionError):
            compile_expression(long[spaces:] + " " * spaces, ["params"])
        taken.append(time.thread_time() - began)
    assert min(taken) < SECONDS


def test_every_function_has_its_cost() -> None:
    """What the library has more of, such as an operator of a later version, is refused and not taken for free."""
    assert {"size", "_+_", "matches", "@in", "_[_]", "contains"} <= set(FUNCTIONS)
    for text in ("[1, 2].slice(0, 1)", '"a".lowerAscii()', "math.greatest(1, 2)", "optional.of(1)"):
        with pytest.raises(ExpressionError, match=r"^no (function|variable)"):
            compile_expression(text, ["params"])


def test_a_size_is_the_most_of_all_that_is_in_it() -> None:
    size = measure({"a": ["x" * 40, "y"], "bb": [1, [2, 3, 4]]})
    assert size.length == 2
    assert size.items is not None
    assert size.items.length == 2
    assert size.items.items is not None
    assert size.items.items.length == 40  # of a string, and of a list that has three
    assert size.weight < 40 < BUDGET


def test_the_tree_is_the_librarys() -> None:
    """The wire format is read by hand: a change of it in a new version of the library is seen here."""
    tree = compile_expression(
        'has(params.a.b) || params["é"].map(x, {x: [1, -2.5, b"\\x00"]})[0] == item', ["params", "item"]
    )
    kinds = {type(node) for node in celtree.walk(tree.tree)}
    assert kinds == {
        celtree.Bound,
        celtree.Call,
        celtree.Constant,
        celtree.Literal,
        celtree.Loop,
        celtree.Outside,
    }
    assert set(tree.references) == {("params", "a", "b"), ("params", "é"), ("item",)}
