"""What an expression may hold beyond what CEL checks: names that there are, known functions, patterns that are small.

Patterns and time zones stand in the text: a pattern's work depends on its size, and a time zone is a file's name.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from functools import lru_cache
from typing import Any, Final

import re2
from cel_expr_python import cel

from .celcost import FUNCTIONS, MATCHES
from .celmessages import compiler_message, place
from .celtree import Call, Constant, Literal, Node, Outside
from .problems import nearest

MAX_PROGRAM: Final = 2_000
"""Instructions that RE2 may make of a pattern; one of a date has twelve."""
_SMALL: Final = re2.Options()
"""RE2 gives up on a pattern that becomes far larger, and says so by an exception alone."""
_SMALL.log_errors = False
_SMALL.max_mem = 128 * 1024

_CALLED: Final = frozenset(name for name in FUNCTIONS if name.isidentifier())
_ARGUMENTS: Final = {
    **{name: name.count("_") for name in FUNCTIONS if not name.isidentifier()},
    **dict.fromkeys(_CALLED, 1),
    **dict.fromkeys(("contains", "startsWith", "endsWith", MATCHES, "@in"), 2),
    "@not_strictly_false": 1,
}
"""How many arguments each function has, with the value that a method is called on; a time zone may come on top."""
_TYPES: Final = frozenset({"bool", "bytes", "double", "int", "list", "map", "null_type", "string", "type", "uint"})
_ZONE: Final = re.compile(r"[+-]?[0-9]{2}:[0-9]{2}|[A-Za-z_]+(/[A-Za-z0-9_+-]+){0,2}")


class ExpressionError(ValueError):
    """An expression is wrong, or cannot be evaluated with what there is; the message says what, and where."""


def program_of(text: str, roots: frozenset[str]) -> Any:
    """The library's program for a text whose nodes are checked.

    Raises:
        ExpressionError: its types do not fit.
    """
    environment = environment_of(roots)
    try:
        return environment.compile(text)
    except RuntimeError as error:
        # The library (0.1.3) does not let a loop go over `params["list"]`, while params.list may be anything. Types are
        # then looked at when it is evaluated.
        if re.search(r"type 'dyn' cannot be the range of a comprehension", str(error)):
            return environment.compile(text, disable_check=True)
        raise ExpressionError(compiler_message(str(error), text)) from None


@lru_cache(maxsize=32)
def environment_of(roots: frozenset[str]) -> Any:
    """The library's environment with these variables, of any type each."""
    return cel.NewEnv(variables=dict.fromkeys(roots, cel.Type.DYN))


def check(node: Node, text: str, roots: Collection[str], patterns: dict[str, int]) -> None:
    """Hold a node against what is allowed.

    Args:
        node: one of the tree.
        text: of the expression.
        roots: the variables that there are.
        patterns: gets the instructions of the node's pattern.

    Raises:
        ExpressionError: it is not allowed.
    """
    if isinstance(node, Outside) and node.path[0] not in roots and node.path[0] not in _TYPES:
        raise ExpressionError(f"no variable {node.path[0]!r} {place(text, node.at)}{nearest(node.path[0], roots)}")
    if isinstance(node, Literal) and node.message:
        raise ExpressionError(f"{node.message} {place(text, node.at)}: write a map with keys in quotes")
    if not isinstance(node, Call):
        return
    if node.function not in FUNCTIONS:
        raise ExpressionError(f"no function {node.function!r} {place(text, node.at)}{nearest(node.function, _CALLED)}")
    more = len(node.arguments) - _ARGUMENTS[node.function]
    if more == 1 and node.function.startswith("get"):
        _check_zone(node, text)
    elif more:
        raise ExpressionError(f"{node.function!r} {place(text, node.at)} is not called with as many values as it takes")
    if node.function == MATCHES:
        _check_pattern(node, text, patterns)


def _check_pattern(node: Call, text: str, patterns: dict[str, int]) -> None:
    given = node.arguments[1]
    if not isinstance(given, Constant) or given.text is None:
        raise ExpressionError(f"the pattern of matches {place(text, node.at)} must stand there as a string")
    where = f"the pattern {place(text, given.at)}"
    try:
        size = re2.compile(given.text, _SMALL).programsize
    except re2.error as error:
        reason = error.args[0].decode() if error.args and isinstance(error.args[0], bytes) else str(error)
        if not reason.startswith("pattern too large"):
            raise ExpressionError(f"{where} is none that RE2 takes: {reason:.80}") from None
        size = MAX_PROGRAM + 1
    if size > MAX_PROGRAM:
        raise ExpressionError(f"{where} is too large; use smaller repetitions")
    patterns[given.text] = size


def _check_zone(node: Call, text: str) -> None:
    given = node.arguments[1]
    if not isinstance(given, Constant) or given.text is None or _ZONE.fullmatch(given.text) is None:
        raise ExpressionError(
            f"the time zone of {node.function} {place(text, node.at)} must stand there as a string, "
            'such as "Europe/Berlin" or "+01:00"'
        )
    probe = environment_of(frozenset()).compile(f'timestamp("2000-01-01T00:00:00Z").getHours("{given.text}")')
    if probe.eval().type() == cel.Type.ERROR:
        raise ExpressionError(f"no time zone {given.text!r} {place(text, given.at)}")
