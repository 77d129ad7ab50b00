"""How much work an expression can make, known before it is evaluated: from its tree and the sizes of what it names.

The library cannot be interrupted, and its own bound on the turns of loops says nothing of what one turn costs: `+` in a
loop makes texts longer, `map` copies its list at each turn, `in` and `==` go through whole lists. So each node is given
the most that its value can be, and the most work that it takes; nothing is evaluated for that. A unit of work is about
0.15 µs on an idle core, measured for each function; what is not known is taken at its worst.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple

from .celtree import INDEX, Bound, Call, Constant, Loop, Node, Outside, Path, Select

BUDGET: Final = 100_000
"""Units of work that one evaluation may take: about 15 ms."""

MAX_DEPTH: Final = 64
"""How deep lists and maps of a value may stand in each other."""

COPY: Final = 4
"""Units for each part of a value that goes to the library: measured here, and copied there."""
_GIVE: Final = 8
"""Units for each part of what comes back: copied, and made JSON."""

_CONTAINER: Final = 4
_SCALARS: Final = frozenset({int, bool, float, type(None)})


class TooMuch(Exception):  # noqa: N818 - not an error of the expression
    """More than the budget.

    Attributes:
        units: of work at worst, or 0 where a value alone is too large to be measured.
    """

    def __init__(self, units: int) -> None:
        self.units = units
        super().__init__(units)


class Size(NamedTuple):
    """The most that a value can be.

    Attributes:
        length: characters of a string, or elements of a list or map.
        weight: its parts, counted through all levels; 16 characters of a string count as one, a list or map itself as
            four.
        items: of any element; None where there are none.
    """

    length: int
    weight: int
    items: Size | None


SCALAR: Final = Size(0, 1, None)
_EMPTY: Final = Size(0, _CONTAINER, None)
_SHORT: Final = Size(64, 5, None)
"""What becomes of a number, a timestamp or a duration as a string."""


def _string(length: int) -> Size:
    return Size(length, 1 + length // 16, None)


_STRINGS: Final = tuple(map(_string, range(64)))
"""The sizes of short strings, made once."""


def either(one: Size | None, other: Size | None) -> Size | None:
    """The most of two."""
    if other is None or one is other:
        return one
    if one is None:
        return other
    items = either(one.items, other.items)
    if items is one.items and one.length >= other.length and one.weight >= other.weight:
        return one  # most elements of a list are alike: nothing new is made for them
    return Size(max(one.length, other.length), max(one.weight, other.weight), items)


def measure(value: Any, left: int = BUDGET // COPY, depth: int = 0) -> Size:
    """The size of a JSON value.

    Args:
        value: of any size; what is beyond the budget is not looked at.
        left: how much it may weigh.
        depth: lists and maps around it.

    Raises:
        TooMuch: it is heavier, or too deep.
        ValueError: a string that the library would cut.
        TypeError: it is no JSON value.
    """
    kind = type(value)
    if kind in _SCALARS:
        return SCALAR
    if kind is str:
        return _string(_length(value))
    if kind is not dict and kind is not list:
        raise TypeError(kind.__name__)
    count = len(value)
    if not count:
        return _EMPTY
    if count > left or depth == MAX_DEPTH:
        raise TooMuch(0)
    weight, longest = _CONTAINER + count, -1
    if kind is dict:
        longest = max(map(_length, value))
        weight += count if longest < 16 else count + sum(map(len, value)) // 16
        value = value.values()
    weight, longest, items = _elements(value, left, depth, weight, longest)
    plain = SCALAR if longest < 0 else _STRINGS[longest] if longest < len(_STRINGS) else _string(longest)
    return Size(count, weight, either(items, plain))


def _elements(values: Iterable[Any], left: int, depth: int, weight: int, longest: int) -> tuple[int, int, Size | None]:
    """The weight and the longest string with those of the elements, and the most that a list or map of them is."""
    items = None
    # No call for what is no list or map: most of the time goes here.
    for element in values:
        kind = type(element)
        if kind is str:
            length = len(element)
            if length > longest:
                longest = length
            weight += length >> 4
            if "\0" in element:
                _length(element)
        elif kind not in _SCALARS:
            size = measure(element, left - weight, depth + 1)
            weight += size.weight - 1  # which itself is counted before
            items = either(items, size)
        if weight > left:
            raise TooMuch(0)
    return weight, longest, items


def _length(text: str) -> int:
    if type(text) is not str:
        raise TypeError(type(text).__name__)
    if "\0" in text:
        raise ValueError("a string with a NUL character")
    return len(text)


_Cost = tuple[Size, int]


def _nothing_more(_: tuple[Size, ...]) -> _Cost:
    return SCALAR, 1


def _compare(sizes: tuple[Size, ...]) -> _Cost:
    return SCALAR, 1 + min(size.weight for size in sizes)


def _all_of_it(sizes: tuple[Size, ...]) -> _Cost:
    return SCALAR, 1 + sum(size.weight for size in sizes)


def _contains(sizes: tuple[Size, ...]) -> _Cost:
    text, part = sizes
    return SCALAR, 1 + text.weight + part.weight + text.length * part.length // 8192


def _convert(sizes: tuple[Size, ...]) -> _Cost:
    return SCALAR, 64 + sizes[0].weight


def _as_text(sizes: tuple[Size, ...]) -> _Cost:
    # A character may have four bytes.
    return either(_string(sizes[0].length * 4), _SHORT) or _SHORT, 64 + sizes[0].weight


def _part_of_time(_: tuple[Size, ...]) -> _Cost:
    return SCALAR, 24


def _add(sizes: tuple[Size, ...]) -> _Cost:
    one, other = sizes
    together = one.length + other.length
    return Size(together, one.weight + other.weight, either(one.items, other.items)), 1 + together // 4


def _element(sizes: tuple[Size, ...]) -> _Cost:
    return sizes[0].items or SCALAR, 1 + sizes[1].weight


def _choose(sizes: tuple[Size, ...]) -> _Cost:
    return either(sizes[1], sizes[2]) or SCALAR, 1


def _same(sizes: tuple[Size, ...]) -> _Cost:
    return sizes[0], 1


MATCHES: Final = "matches"
"""Its work depends on its pattern, too."""

FUNCTIONS: Final[Mapping[str, Callable[[tuple[Size, ...]], _Cost]]] = {
    **dict.fromkeys(("!_", "-_", "_-_", "_*_", "_/_", "_%_", "_&&_", "_||_", "@not_strictly_false"), _nothing_more),
    **dict.fromkeys(("_==_", "_!=_", "_<_", "_<=_", "_>_", "_>=_", "startsWith", "endsWith"), _compare),
    **dict.fromkeys(("@in", "size", "type"), _all_of_it),
    **dict.fromkeys(("int", "uint", "double", "bool", "timestamp", "duration"), _convert),
    **dict.fromkeys(("string", "bytes"), _as_text),
    **dict.fromkeys(
        (
            *("getFullYear", "getMonth", "getDate", "getDayOfMonth", "getDayOfWeek", "getDayOfYear"),
            *("getHours", "getMinutes", "getSeconds", "getMilliseconds"),
        ),
        _part_of_time,
    ),
    "contains": _contains,
    "_+_": _add,
    INDEX: _element,
    "_?_:_": _choose,
    "dyn": _same,
    MATCHES: _all_of_it,
}
"""Each function that an expression may call: the most that it gives, and its work."""


def work(tree: Node, sizes: Mapping[Path, Size], programs: Mapping[str, int]) -> int:
    """Units that the evaluation of an expression can take at worst.

    Args:
        tree: of the expression.
        sizes: of what it names; what is missing there is no work.
        programs: instructions of each of its patterns.

    Raises:
        TooMuch: it is more than the budget.
    """
    size, units = _Estimate(sizes, programs).of(tree, {})
    units += COPY * sum(one.weight for one in sizes.values()) + _GIVE * size.weight
    if units > BUDGET:
        raise TooMuch(units)
    return units


class _Estimate:
    def __init__(self, sizes: Mapping[Path, Size], programs: Mapping[str, int]) -> None:
        self.sizes = sizes
        self.programs = programs

    def of(self, node: Node, bound: Mapping[str, Size]) -> _Cost:
        if isinstance(node, Outside):
            return (SCALAR if node.test else self.sizes.get(node.path, SCALAR)), len(node.path)
        if isinstance(node, Bound):
            return bound[node.name], 1
        if isinstance(node, Constant):
            return _string(node.length) if node.length else SCALAR, 1
        if isinstance(node, Call):
            return self.call(node, bound)
        if isinstance(node, Loop):
            return self.loop(node, bound)
        if isinstance(node, Select):
            size, units = self.of(node.operand, bound)
            return (SCALAR if node.test else size.items or SCALAR), units + 1
        parts, units = self.all(node.elements, bound)
        items: Size | None = None
        for part in parts:
            items = either(items, part)
        return Size(len(parts), _CONTAINER + sum(part.weight for part in parts), items), units + 8 * (1 + len(parts))

    def all(self, nodes: Iterable[Node], bound: Mapping[str, Size]) -> tuple[tuple[Size, ...], int]:
        found = [self.of(node, bound) for node in nodes]
        return tuple(size for size, _ in found), sum(units for _, units in found)

    def call(self, node: Call, bound: Mapping[str, Size]) -> _Cost:
        sizes, units = self.all(node.arguments, bound)
        size, own = FUNCTIONS[node.function](sizes)
        if node.function == MATCHES and isinstance(pattern := node.arguments[-1], Constant):
            # It is compiled at each call, and at worst every instruction looks at every character.
            program = self.programs[pattern.text or ""]
            own += 64 + 5 * program + sizes[0].length * program // 40
        return size, units + own

    def loop(self, node: Loop, bound: Mapping[str, Size]) -> _Cost:
        over, units = self.of(node.over, bound)
        start, more = self.of(node.start, bound)
        names = {**bound, node.variable: over.items or SCALAR, node.accumulator: start}
        after, turn = self.of(node.step, names)
        turn += self.of(node.condition, names)[1]
        turns = over.length
        grown = Size(
            start.length + turns * max(after.length - start.length, 0),
            start.weight + turns * max(after.weight - start.weight, 0),
            after.items,
        )
        names[node.accumulator] = grown
        size, last = self.of(node.result, names)
        # What is gathered is copied at every turn: half of its end on the mean.
        return size, units + more + last + turns * (turn + 2 + grown.length // 8)
