"""What an expression is made of: its syntax tree, and which names it uses.

The CEL library parses; what it gives is the tree as `cel.expr.ParsedExpr`, a protobuf message whose field numbers are
frozen (github.com/google/cel-spec, proto/cel/expr/syntax.proto). Macros are expanded in it: `exists`, `all`, `map`,
`filter` and `exists_one` stand as loops.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

Path: TypeAlias = tuple[str, ...]

INDEX: Final = "_[_]"


@dataclass(frozen=True, slots=True)
class Constant:
    """A literal: a string, or None for any other, whose value matters to nobody here."""

    at: int
    text: str | None


@dataclass(frozen=True, slots=True)
class Name:
    """A variable, a type's name, or what a loop binds."""

    at: int
    name: str


@dataclass(frozen=True, slots=True)
class Select:
    """`operand.field`, or `has(operand.field)` where it is a test."""

    at: int
    operand: Node
    field: str
    test: bool


@dataclass(frozen=True, slots=True)
class Call:
    """A function or operator; the target of a method is the first argument."""

    at: int
    function: str
    arguments: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Literal:
    """A list, or a map as its keys and values in turn; `message` where it names a protobuf message."""

    at: int
    elements: tuple[Node, ...]
    is_map: bool
    message: str


@dataclass(frozen=True, slots=True)
class Loop:
    """A macro: `result`, after `accumulator` went from `start` through `step` for each `variable` of `over`."""

    at: int
    variable: str
    over: Node
    accumulator: str
    start: Node
    condition: Node
    step: Node
    result: Node


Node: TypeAlias = Constant | Name | Select | Call | Literal | Loop

_Fields: TypeAlias = dict[int, list[Any]]


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def _fields(data: bytes) -> _Fields:
    """The fields of a protobuf message by number (protobuf.dev/programming-guides/encoding)."""
    found: _Fields = {}
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        value: Any
        if key & 7 == 0:
            value, at = _varint(data, at)
        elif key & 7 == 1:
            (value,), at = struct.unpack_from("<Q", data, at), at + 8
        else:  # a length and as many bytes; the two kinds left over stand in no message of this file
            length, at = _varint(data, at)
            value, at = data[at : at + length], at + length
        found.setdefault(key >> 3, []).append(value)
    return found


def _text(fields: _Fields, number: int) -> str:
    return str(fields[number][0], "utf-8") if number in fields else ""


def decode(serialized: bytes) -> Node:
    """The tree of a parsed expression, as the library serializes it: a `google.protobuf.Any` of a ParsedExpr."""
    parsed = _fields(_fields(serialized)[2][0])
    positions: dict[int, int] = {}
    for entry in _fields(parsed[3][0]).get(4, ()):
        pair = _fields(entry)
        positions[pair.get(1, [0])[0]] = pair.get(2, [0])[0]
    return _node(parsed[2][0], positions)


def _node(data: bytes, positions: Mapping[int, int]) -> Node:
    fields = _fields(data)
    at = positions.get(fields.get(2, [0])[0], 0)

    def inner(of: _Fields, number: int) -> tuple[Node, ...]:
        return tuple(_node(one, positions) for one in of.get(number, ()))

    if 4 in fields:
        return Name(at, _text(_fields(fields[4][0]), 1))
    if 5 in fields:
        body = _fields(fields[5][0])
        return Select(at, inner(body, 1)[0], _text(body, 2), 3 in body)
    if 6 in fields:
        body = _fields(fields[6][0])
        return Call(at, _text(body, 2), inner(body, 1) + inner(body, 3))
    if 7 in fields:
        return Literal(at, inner(_fields(fields[7][0]), 1), False, "")
    if 8 in fields:
        body = _fields(fields[8][0])
        entries = [_fields(one) for one in body.get(2, ())]
        elements = [part for entry in entries for part in inner(entry, 3) + inner(entry, 4)]
        return Literal(at, tuple(elements), True, _text(body, 1))
    if 9 in fields:
        body = _fields(fields[9][0])
        over, start, condition, step, result = (inner(body, number)[0] for number in (2, 4, 5, 6, 7))
        return Loop(at, _text(body, 1), over, _text(body, 3), start, condition, step, result)
    constant = _fields(fields[3][0])
    return Constant(at, _text(constant, 6) if 6 in constant else None)


def children(node: Node) -> Sequence[tuple[Node, frozenset[str]]]:
    """What a node holds, each with the names that a loop binds there."""
    free: frozenset[str] = frozenset()
    if isinstance(node, Select):
        return [(node.operand, free)]
    if isinstance(node, Call):
        return [(one, free) for one in node.arguments]
    if isinstance(node, Literal):
        return [(one, free) for one in node.elements]
    if isinstance(node, Loop):
        inside = frozenset({node.variable, node.accumulator})
        bound = [(one, inside) for one in (node.condition, node.step)]
        return [(node.over, free), (node.start, free), *bound, (node.result, frozenset({node.accumulator}))]
    return []


def walk(node: Node, bound: frozenset[str] = frozenset()) -> Iterator[tuple[Node, frozenset[str]]]:
    """Every node, each with the names that loops around it bind."""
    yield node, bound
    for child, more in children(node):
        yield from walk(child, bound | more)


def global_name(node: Node, bound: frozenset[str]) -> str | None:
    """The name of a node that stands for something from outside of the expression."""
    if not isinstance(node, Name):
        return None
    if node.name.startswith("."):  # `.params` is the variable also where a loop binds that name
        return node.name[1:]
    return None if node.name in bound else node.name


def path_of(node: Node, bound: frozenset[str]) -> Path | None:
    """The names of `steps.load.outputs.rows`, also where one is written `["load"]`; None for anything else."""
    if isinstance(node, Select):
        inner = path_of(node.operand, bound)
        return None if inner is None else (*inner, node.field)
    if isinstance(node, Call) and node.function == INDEX:
        inner, key = path_of(node.arguments[0], bound), node.arguments[1]
        return (*inner, key.text) if inner is not None and isinstance(key, Constant) and key.text is not None else None
    name = global_name(node, bound)
    return None if name is None else (name,)


def paths(node: Node, bound: frozenset[str] = frozenset()) -> Iterator[tuple[Path, int]]:
    """The longest paths that an expression names, and where each stands in its text, in order."""
    path = path_of(node, bound)
    if path is not None:
        first = node
        while not isinstance(first, Name):
            first = first.operand if isinstance(first, Select) else children(first)[0][0]
        yield path, first.at
        return
    for child, more in children(node):
        yield from paths(child, bound | more)
