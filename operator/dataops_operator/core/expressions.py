"""Conditions and other expressions in CEL (cel.dev): compiled once, held against what they may name, evaluated bounded.

A `when`, a success condition and an output of a resource are written by one person and evaluated inside the operator's
one event loop, over data of others. The text is short, nested to 32 levels at most, and its loops have 10,000 turns in
all (both the library's own bounds).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, Final

from cel_expr_python import cel

from . import celtree
from .celtree import Node, Path
from .references import nearest

MAX_LENGTH: Final = 1024
"""Characters of an expression."""

_CACHED: Final = 4096
_TYPES: Final = frozenset({"bool", "bytes", "double", "int", "list", "map", "null_type", "string", "type", "uint"})


class ExpressionError(ValueError):
    """An expression is wrong, or cannot be evaluated with what there is; the message says what, and where."""


@dataclass(frozen=True, slots=True)
class Expression:
    """One that can be evaluated.

    Attributes:
        text: as written.
        references: each name from outside that it uses, as far as its text tells: `("steps", "land", "outputs",
            "rows")`, and `("steps",)` where what follows is only known when it is evaluated.
        type: what it gives: `BOOL`, `INT` and so on, or `DYN` where the values decide.
    """

    text: str
    references: tuple[Path, ...]
    type: str
    program: Any = field(repr=False, compare=False)
    needed: tuple[Path, ...] = field(repr=False, compare=False)
    tree: Node = field(repr=False, compare=False)


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
    return _compile(text, frozenset(roots))


def compile_condition(text: str, roots: Collection[str]) -> Expression:
    """Compile an expression that must be true or false.

    Raises:
        ExpressionError: as compile_expression, or whatever the values are, it is no boolean.
    """
    expression = compile_expression(text, roots)
    if expression.type not in ("BOOL", "DYN"):
        raise ExpressionError(f"it gives {_type_name(expression.type)}; a condition must be true or false")
    return expression


@lru_cache(maxsize=_CACHED)
def _compile(text: str, roots: frozenset[str]) -> Expression:
    environment = _environment(roots)
    try:
        tree = celtree.decode(environment.compile(text, disable_check=True).serialize())
    except (RuntimeError, UnicodeError) as error:
        raise ExpressionError(_compiler_message(str(error))) from None
    references: dict[Path, None] = {}
    for path, at in celtree.paths(tree):
        if path[0] in roots:
            references[path] = None
        elif path[0] not in _TYPES:
            raise ExpressionError(f"no variable {path[0]!r} {_place(text, at)}{nearest(path[0], roots)}")
    try:
        program = environment.compile(text)
    except RuntimeError as error:
        raise ExpressionError(_compiler_message(str(error))) from None
    needed = tuple(one for one in references if not any(one[:size] in references for size in range(1, len(one))))
    return Expression(text, tuple(references), str(program.return_type()), program, needed, tree)


@lru_cache(maxsize=32)
def _environment(roots: frozenset[str]) -> Any:
    return cel.NewEnv(variables=dict.fromkeys(roots, cel.Type.DYN))


def evaluate(expression: Expression, variables: Mapping[str, Any]) -> Any:
    """The value of an expression, as JSON has it: timestamps and durations as their texts.

    Args:
        expression: from compile_expression.
        variables: JSON values by name; one that is missing is missing to the expression as well.

    Raises:
        ExpressionError: it cannot be evaluated with these values, or would take too long.
    """
    try:
        value = expression.program.eval(data=_named(variables, expression.needed))
        plain = value.plain_value()
    except (RuntimeError, UnicodeError) as error:
        raise ExpressionError(str(error)) from None
    if value.type() == cel.Type.ERROR:
        raise ExpressionError(str(plain))
    return _as_json(plain)


def holds(expression: Expression, variables: Mapping[str, Any]) -> bool:
    """Whether a condition is true.

    Raises:
        ExpressionError: as evaluate, or it gives something that is no boolean.
    """
    value = evaluate(expression, variables)
    if not isinstance(value, bool):
        raise ExpressionError(f"it gives {value!r:.60}, {_type_of(value)}; a condition must be true or false")
    return value


def _named(variables: Mapping[str, Any], references: Collection[Path]) -> dict[str, Any]:
    """What the expression names, and nothing else: the library copies all that it is handed.

    Args:
        variables: all that there is.
        references: of which none begins another.
    """
    named: dict[str, Any] = {}
    for path in references:
        source: Any = variables
        target = named
        for position, key in enumerate(path):
            if key not in source:
                break
            source = source[key]
            if position + 1 == len(path) or not isinstance(source, Mapping):
                target[key] = source
                break
            target = target.setdefault(key, {})
    return named


def _as_json(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, timedelta):
        return f"{value.total_seconds():g}s"
    if isinstance(value, list):
        return [_as_json(one) for one in value]
    if isinstance(value, dict):
        return {key: _as_json(one) for key, one in value.items()}
    return value


_NAMES: Final = {
    "BOOL": "a boolean", "INT": "an integer", "UINT": "an unsigned integer", "DOUBLE": "a number", "STRING": "a string",
    "BYTES": "bytes", "NULL": "null", "TIMESTAMP": "a timestamp", "DURATION": "a duration",
}  # fmt: skip


def _type_name(name: str) -> str:
    return _NAMES.get(name, {"L": "a list", "M": "a map"}.get(name[:1], name.lower()))


def _type_of(value: Any) -> str:
    kinds = {type(None): "NULL", int: "INT", float: "DOUBLE", str: "STRING", list: "LIST", dict: "MAP"}
    return _type_name(kinds.get(type(value), "DYN"))


def _place(text: str, at: int) -> str:
    line = text.count("\n", 0, at) + 1
    column = at - (text.rfind("\n", 0, at) + 1) + 1
    return f"at line {line}, column {column}" if "\n" in text else f"at column {column}"


def _compiler_message(message: str) -> str:
    found = re.search(r"ERROR: <input>:(-?\d+):(-?\d+): (.*)", message)
    if found is None:
        return message.split(": ", 1)[-1].removesuffix("]")
    return f"{found[3]} at line {found[1]}, column {found[2]}"
