"""What an expression is made of: its syntax tree, and the names from outside that it uses.

The CEL library parses; what it gives is the tree as `cel.expr.ParsedExpr`, a protobuf message whose field numbers are
frozen (github.com/google/cel-spec, proto/cel/expr/syntax.proto). Macros are expanded in it: `exists`, `all`, `map`,
`filter` and `exists_one` stand as loops.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

Path: TypeAlias = tuple[str, ...]

INDEX: Final = "_[_]"


@dataclass(frozen=True, slots=True)
class Constant:
    """A literal.

    Attributes:
        at: where it begins.
        text: of a string; None for any other.
        length: characters of a string, or bytes.
    """

    at: int
    text: str | None
    length: int


@dataclass(frozen=True, slots=True)
class Bound:
    """A name that a loop around it binds."""

    at: int
    name: str


@dataclass(frozen=True, slots=True)
class Outside:
    """A name from outside, with all that is named under it: `steps.land.outputs.rows`, also as `steps["land"]...`.

    Attributes:
        at: where it begins.
        path: its names; the first may be one that does not exist, or a type's.
        test: it stands in `has(...)`.
    """

    at: int
    path: Path
    test: bool


@dataclass(frozen=True, slots=True)
class Select:
    """A field of a value that is not Outside; `has(operand.field)` where it is a test."""

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


Node: TypeAlias = Constant | Bound | Outside | Select | Call | Literal | Loop

_Fields: TypeAlias = dict[int, list[Any]]
_Names: TypeAlias = frozenset[str]


def decode(serialized: bytes) -> Node:
    """The tree of a parsed expression, as the library serializes it: a `google.protobuf.Any` of a ParsedExpr."""
    parsed = _fields(_fields(serialized)[2][0])
    positions: dict[int, int] = {}
    for entry in _fields(parsed[3][0]).get(4, ()):
        pair = _fields(entry)
        positions[pair.get(1, [0])[0]] = pair.get(2, [0])[0]
    return _Decoder(positions).node(parsed[2][0], frozenset())


def walk(node: Node) -> Iterator[Node]:
    """Every node, in the order of the text but for loops."""
    yield node
    inner: tuple[Node, ...] = ()
    if isinstance(node, Select):
        inner = (node.operand,)
    elif isinstance(node, Call):
        inner = node.arguments
    elif isinstance(node, Literal):
        inner = node.elements
    elif isinstance(node, Loop):
        inner = (node.over, node.start, node.condition, node.step, node.result)
    for one in inner:
        yield from walk(one)


@dataclass(frozen=True, slots=True)
class _Decoder:
    positions: Mapping[int, int]

    def node(self, data: bytes, bound: _Names) -> Node:
        fields = _fields(data)
        at = self.positions.get(fields.get(2, [0])[0], 0)
        if 4 in fields:
            name = _text(_fields(fields[4][0]), 1)
            # `.params` is the variable also where a loop binds that name.
            return Bound(at, name) if name in bound else Outside(at, (name.removeprefix("."),), False)
        if 5 in fields:
            return self.select(at, _fields(fields[5][0]), bound)
        if 6 in fields:
            return self.call(at, _fields(fields[6][0]), bound)
        if 7 in fields:
            return Literal(at, self.all(_fields(fields[7][0]), 1, bound), "")
        if 8 in fields:
            body = _fields(fields[8][0])
            entries = [_fields(one) for one in body.get(2, ())]
            parts = [part for entry in entries for part in self.all(entry, 3, bound) + self.all(entry, 4, bound)]
            return Literal(at, tuple(parts), _text(body, 1))
        if 9 in fields:
            return self.loop(at, _fields(fields[9][0]), bound)
        constant = _fields(fields[3][0])
        if 6 in constant:
            text = _text(constant, 6)
            return Constant(at, text, len(text))
        return Constant(at, None, len(constant[7][0]) if 7 in constant else 0)

    def all(self, fields: _Fields, number: int, bound: _Names) -> tuple[Node, ...]:
        return tuple(self.node(one, bound) for one in fields.get(number, ()))

    def select(self, at: int, fields: _Fields, bound: _Names) -> Node:
        (operand,), field, test = self.all(fields, 1, bound), _text(fields, 2), 3 in fields
        if isinstance(operand, Outside) and not operand.test:
            return Outside(operand.at, (*operand.path, field), test)
        return Select(at, operand, field, test)

    def call(self, at: int, fields: _Fields, bound: _Names) -> Node:
        function, arguments = _text(fields, 2), self.all(fields, 1, bound) + self.all(fields, 3, bound)
        if function == INDEX and len(arguments) == 2:
            operand, key = arguments
            if isinstance(operand, Outside) and not operand.test and isinstance(key, Constant) and key.text is not None:
                return Outside(operand.at, (*operand.path, key.text), False)
        return Call(at, function, arguments)

    def loop(self, at: int, fields: _Fields, bound: _Names) -> Loop:
        variable, accumulator = _text(fields, 1), _text(fields, 3)
        (over,), (start,) = self.all(fields, 2, bound), self.all(fields, 4, bound)
        after = bound | {accumulator}
        (condition,), (step,) = (self.all(fields, number, after | {variable}) for number in (5, 6))
        (result,) = self.all(fields, 7, after)
        return Loop(at, variable, over, accumulator, start, condition, step, result)


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
