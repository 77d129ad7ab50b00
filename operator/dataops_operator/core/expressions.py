"""Conditions and other expressions in CEL (cel.dev): compiled once, held against what they may name, evaluated bounded.

A `when`, a success condition and an output of a resource are written by one person and evaluated inside the operator's
one event loop, over data of others. Nothing of an expression can keep that loop: the text is short and nested to 32
levels at most (the library's bound), its functions are those of `core/celcost.py`, and before each evaluation the most
work that it can make of the values that it names is reckoned from their sizes. docs/expressions.md is for users.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, Final

from cel_expr_python import cel

from . import celtree
from .celcheck import ExpressionError as ExpressionError
from .celcheck import check, environment_of, program_of
from .celcost import BUDGET, COPY, Size, TooMuch, measure, work
from .celmessages import compiler_message, type_name, value_message
from .celtree import Node, Outside, Path

MAX_LENGTH: Final = 1024
"""Characters of an expression."""

_CACHED: Final = 1024
"""Expressions that are kept; each takes some 10 KiB, and a millisecond when it is made again."""
_SURROGATE: Final = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Expression:
    """One that can be evaluated.

    Attributes:
        text: as written.
        references: each name from outside that it uses, as far as its text tells: `("steps", "land", "outputs",
            "rows")`, and `("steps",)` where what follows is only known when it is evaluated. A name inside of `has()`
            is one of them.
        type: what it gives: `BOOL`, `INT` and so on, or `DYN` where the values decide.
        program: of the library.
        tree: of its syntax.
        measured: the names whose values it uses.
        needed: those of them that hold the others.
        tested: the names of which it only asks whether they are there, longest first.
        patterns: instructions that RE2 makes of each.
    """

    text: str
    references: tuple[Path, ...]
    type: str
    program: Any = field(repr=False, compare=False)
    tree: Node = field(repr=False, compare=False)
    measured: tuple[Path, ...] = field(repr=False, compare=False)
    needed: tuple[Path, ...] = field(repr=False, compare=False)
    tested: tuple[Path, ...] = field(repr=False, compare=False)
    patterns: Mapping[str, int] = field(repr=False, compare=False)


def compile_expression(text: str, roots: Collection[str]) -> Expression:
    """Compile an expression.

    Args:
        text: what the user wrote.
        roots: the variables that there are, such as `params` and `steps`.

    Raises:
        ExpressionError: it is no CEL, names something else, or is over a bound.
    """
    if len(text) > MAX_LENGTH:
        raise ExpressionError(f"it has {len(text):,} characters; at most {MAX_LENGTH:,} are taken")
    if not text.isascii() and _SURROGATE.search(text):
        raise ExpressionError("it has half of a surrogate pair, which is no character")
    compiled = _compiled(text, frozenset(roots))
    if isinstance(compiled, str):
        raise ExpressionError(compiled)
    return compiled


def compile_condition(text: str, roots: Collection[str]) -> Expression:
    """Compile an expression that must be true or false.

    Raises:
        ExpressionError: as compile_expression, or whatever the values are, it is no boolean.
    """
    expression = compile_expression(text, roots)
    if expression.type not in ("BOOL", "DYN"):
        raise ExpressionError(f"it gives {type_name(expression.type)}; a condition must be true or false")
    return expression


@lru_cache(maxsize=_CACHED)
def _compiled(text: str, roots: frozenset[str]) -> Expression | str:
    """An expression, or what is wrong with it: that is asked for as often."""
    try:
        return _compile(text, roots)
    except ExpressionError as error:
        return str(error)


def _compile(text: str, roots: frozenset[str]) -> Expression:
    try:
        tree = celtree.decode(environment_of(roots).compile(text, disable_check=True).serialize())
    except RuntimeError as error:
        raise ExpressionError(compiler_message(str(error), text)) from None
    nodes = list(celtree.walk(tree))
    patterns: dict[str, int] = {}
    for node in nodes:
        check(node, text, roots, patterns)
    program = program_of(text, roots)
    named = [node for node in nodes if isinstance(node, Outside) and node.path[0] in roots]
    measured = dict.fromkeys(node.path for node in named if not node.test)
    tested = {node.path for node in named if node.test} - measured.keys()
    return Expression(
        text=text,
        references=tuple(dict.fromkeys(node.path for node in named)),
        type=str(program.return_type()),
        program=program,
        tree=tree,
        measured=tuple(measured),
        needed=tuple(path for path in measured if not _begun(path, measured)),
        tested=tuple(sorted((path for path in tested if not _begun(path, measured)), key=len, reverse=True)),
        patterns=patterns,
    )


def _begun(path: Path, others: Collection[Path]) -> bool:
    """Whether one of the others holds what is at the path."""
    return any(path[:size] in others for size in range(1, len(path)))


def evaluate(expression: Expression, variables: Mapping[str, Any]) -> Any:
    """The value of an expression, as JSON has it: timestamps and durations as their texts.

    Args:
        expression: from compile_expression.
        variables: JSON values by name; one that is missing is missing to the expression as well.

    Raises:
        ExpressionError: it cannot be evaluated with these values, or would take too long.
    """
    _bound(expression, variables)
    try:
        value = expression.program.eval(data=_named(expression, variables))
        plain = value.plain_value()
    except (RuntimeError, UnicodeError) as error:
        raise ExpressionError(value_message(str(error), expression.text)) from None
    if value.type() == cel.Type.ERROR:
        raise ExpressionError(_missing(expression, variables, str(plain)) or value_message(str(plain), expression.text))
    return _as_json(plain)


def holds(expression: Expression, variables: Mapping[str, Any]) -> bool:
    """Whether a condition is true.

    Raises:
        ExpressionError: as evaluate, or it gives something that is no boolean.
    """
    value = evaluate(expression, variables)
    if not isinstance(value, bool):
        raise ExpressionError(f"it gives {type_name(_KINDS[type(value)])}; a condition must be true or false")
    return value


_ABSENT: Final = object()


def _at(variables: Mapping[str, Any], path: Path) -> tuple[Any, int]:
    """The value at a path, and how many of its names there are; _ABSENT where the last is not there."""
    value: Any = variables
    for position, key in enumerate(path):
        if not isinstance(value, Mapping) or key not in value:
            return _ABSENT, position
        value = value[key]
    return value, len(path)


def _bound(expression: Expression, variables: Mapping[str, Any]) -> None:
    """See that an evaluation stays within the budget of work."""
    sizes: dict[Path, Size] = {}
    left = BUDGET // COPY
    for path in expression.measured:
        value, _ = _at(variables, path)
        if value is _ABSENT:
            continue
        try:
            sizes[path] = measure(value, left)
        except TooMuch:
            raise ExpressionError(f"{'.'.join(path)} is too large for an expression; name a part of it") from None
        except ValueError as error:
            raise ExpressionError(f"{'.'.join(path)} has {error}, which no expression takes") from None
        except TypeError as error:
            raise ExpressionError(f"{'.'.join(path)} is no JSON value but {error}") from None
        left -= sizes[path].weight
    try:
        work(expression.tree, sizes, expression.patterns)
    except TooMuch as error:
        raise ExpressionError(
            f"with these values it could take {error.units:,} units of work, and at most {BUDGET:,} are done; "
            "loop over less, or in fewer loops"
        ) from None


def _named(expression: Expression, variables: Mapping[str, Any]) -> dict[str, Any]:
    """What the expression names, and nothing else: the library copies all that it is handed."""
    named: dict[str, Any] = {}
    for path in expression.needed:
        _hand_over(named, variables, path, True)
    for path in expression.tested:
        _hand_over(named, variables, path, False)
    return named


def _hand_over(named: dict[str, Any], variables: Mapping[str, Any], path: Path, whole: bool) -> None:
    """Put the value at a path among those named: whole, or only that it is there."""
    source: Any = variables
    for position, key in enumerate(path):
        if key not in source:
            return
        source = source[key]
        if position + 1 == len(path):
            named.setdefault(key, source if whole else True)
        elif isinstance(source, Mapping):
            named = named.setdefault(key, {})
        else:
            named.setdefault(key, True)  # has no fields either, whatever its size
            return


def _missing(expression: Expression, variables: Mapping[str, Any], message: str) -> str | None:
    """What an expression names and is not there, if that is why it has no value."""
    for path in (*expression.measured, *expression.tested):
        value, there = _at(variables, path)
        if value is not _ABSENT:
            continue
        inside, _ = _at(variables, path[:there])
        name = ".".join(path[:there])
        if not isinstance(inside, Mapping):
            # What it asks such a value for was not handed over, but true in place of the value.
            if "SELECT" in message or "overload" in message or "container type: 'bool'" in message:
                return f"{name} is {type_name(_KINDS.get(type(inside), 'DYN'))} and has no {path[there]!r}"
        elif message.endswith(f'"{path[there]}"') or f'name "{path[there]}"' in message:
            full = f"{name}.{path[there]}" if there else path[there]
            return f"there is no {full}" + (f"; has({full}) tells whether it is there" if there else "")
    return None


_KINDS: Final = {
    type(None): "NULL",
    bool: "BOOL",
    int: "INT",
    float: "DOUBLE",
    str: "STRING",
    list: "LIST",
    dict: "MAP",
}


def _as_json(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, timedelta):
        return _duration(value)
    if isinstance(value, list):
        return [_as_json(one) for one in value]
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise ExpressionError("it gives a map with a key that is no string; use string()")
        # The library's maps have another order each time; what is written to a status must not.
        return {key: _as_json(value[key]) for key in sorted(value)}
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ExpressionError("it gives a number that is not finite")
        return value
    raise ExpressionError(f"it gives {'bytes' if isinstance(value, bytearray) else 'a type'}; use string()")


def _duration(value: timedelta) -> str:
    """As CEL and protobuf write one: `108000s`, `-1.5s`."""
    micro = value // timedelta(microseconds=1)
    whole, part = divmod(abs(micro), 1_000_000)
    fraction = f".{part:06d}".rstrip("0") if part else ""
    return f"{'-' if micro < 0 else ''}{whole}{fraction}s"
