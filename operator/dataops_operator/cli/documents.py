"""YAML as kubectl reads it, with the line of every field.

kubectl turns YAML 1.1 into JSON by Go's yaml.v2: a bare `on` is true and `010` is 8, dates stay text, and there are no
sexagesimal numbers. PyYAML differs in each of these, so only its parser is used, and scalars are read here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import yaml

SEPARATE: Final = re.compile(r"\.|\[")
LARGEST: Final = 200_000
"""Values in one document: aliases of aliases can make more of them than there are bytes of memory."""
DEEPEST: Final = 100
"""Levels of values in values."""

_TRUE: Final = frozenset(("y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"))
_FALSE: Final = frozenset(("n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"))
_NULL: Final = frozenset(("", "~", "null", "Null", "NULL"))
_FLOAT: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_SPECIAL: Final = {".inf": "inf", "+.inf": "inf", "-.inf": "-inf", ".nan": "nan"}
_STRING: Final = "tag:yaml.org,2002:str"
_TAGGED: Final = re.compile(r"tag:yaml\.org,2002:(\w+)")


@dataclass(frozen=True, slots=True)
class Position:
    """A place in a file; both count from 1."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Mistake:
    """Something wrong in the YAML itself."""

    position: Position
    path: str
    message: str


@dataclass(slots=True)
class Document:
    """One YAML document of a file.

    Attributes:
        value: what the API server would be sent; None for an empty document.
        start: where it begins.
        mistakes: what is wrong before any rule of ours.
    """

    value: Any
    start: Position
    mistakes: list[Mistake] = field(default_factory=list)
    _root: yaml.Node | None = None

    def position(self, path: str) -> Position:
        """Where a field stands, such as `spec.steps[2].needs[0]`; the nearest one around it where it is not written."""
        return self._find(path)[0]

    def word(self, path: str) -> str | None:
        """A field's value as it is written, where it is a bare word."""
        _, node, rest = self._find(path)
        bare = isinstance(node, yaml.ScalarNode) and node.style is None and not rest
        return str(node.value) if bare and node is not None else None

    def _find(self, path: str) -> tuple[Position, yaml.Node | None, str]:
        node, rest, found = self._root, path, self.start
        while node is not None and rest:
            step = _descend(node, rest)
            if step is None:
                break
            found, node, rest = step
        return found, node, rest


def read(text: str) -> Iterator[Document]:
    """The documents of a YAML text; one that is no YAML ends it with a mistake."""
    loader = yaml.SafeLoader(text)
    try:
        while loader.check_node():
            if (node := loader.get_node()) is not None:
                yield _document(node)
    except (yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        position = _position(mark) if mark is not None else Position(1, 1)
        yield Document(None, position, [Mistake(position, "", _not_yaml(error))])
    finally:
        loader.dispose()


def _not_yaml(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "nested too deeply"
    words = [getattr(error, part, None) for part in ("context", "problem", "note")]
    told = ", ".join(word for word in words if word) or " ".join(str(error).split())
    return f"not YAML: {told}"


def _document(node: yaml.Node) -> Document:
    document = Document(None, _position(node.start_mark), [], node)
    reader = _Reader(document.mistakes)
    try:
        document.value = reader.value(node, "", 0)
    except _TooLargeError as error:
        document.mistakes.append(Mistake(_position(node.start_mark), "", str(error)))
    return document


def _position(mark: yaml.Mark) -> Position:
    return Position(mark.line + 1, mark.column + 1)


class _TooLargeError(ValueError):
    """More than anybody writes."""


class _Reader:
    """Turns nodes into values."""

    def __init__(self, mistakes: list[Mistake]) -> None:
        self._mistakes = mistakes
        self._count = 0

    def value(self, node: yaml.Node, path: str, depth: int) -> Any:
        self._count += 1
        if self._count > LARGEST:
            raise _TooLargeError(f"more than {LARGEST} values, aliases counted; write less of it")
        if depth > DEEPEST:
            raise _TooLargeError(f"nested deeper than {DEEPEST} levels")
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path, depth)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(one, f"{path}[{index}]", depth + 1) for index, one in enumerate(node.value)]
        return self._scalar(node, path) if isinstance(node, yaml.ScalarNode) else None

    def _mapping(self, node: yaml.MappingNode, path: str, depth: int) -> dict[str, Any]:
        out: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        lines: dict[str, int] = {}
        for key_node, value_node in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                merged |= self._merged(value_node, path, depth)
                continue
            key = self._key(key_node, path)
            where = f"{path}.{key}" if path else key
            if key in out:
                text = f"the field {key!r} is there already, on line {lines[key]}; remove one"
                self._mistakes.append(Mistake(_position(key_node.start_mark), where, text))
            lines.setdefault(key, key_node.start_mark.line + 1)
            out[key] = self.value(value_node, where, depth + 1)
        return {**merged, **out}

    def _merged(self, node: yaml.Node, path: str, depth: int) -> dict[str, Any]:
        sources = node.value if isinstance(node, yaml.SequenceNode) else [node]
        out: dict[str, Any] = {}
        for source in reversed(sources):
            found = self.value(source, path, depth + 1)
            out |= found if isinstance(found, dict) else {}
        return out

    def _key(self, node: yaml.Node, path: str) -> str:
        """A field's name; what YAML 1.1 does not read as text would become another word on its way to JSON."""
        if not isinstance(node, yaml.ScalarNode):
            self._mistakes.append(Mistake(_position(node.start_mark), path, "the name of a field is a text"))
            return str(node.start_mark.index)
        value = self._plain(node)
        if isinstance(value, str):
            return value
        where = f"{path}.{node.value}" if path else node.value
        self._mistakes.append(Mistake(_position(node.start_mark), where, bare(node.value, value)))
        return str(node.value)

    def _scalar(self, node: yaml.ScalarNode, path: str) -> Any:
        value = self._plain(node)
        if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
            text = f"{node.value} cannot be said in JSON; write a number, or a text in quotes"
            self._mistakes.append(Mistake(_position(node.start_mark), path, text))
        return value

    def _plain(self, node: yaml.ScalarNode) -> Any:
        text: str = node.value
        match = _TAGGED.fullmatch(node.tag)
        if match is None:
            return text
        # Only a plain scalar is resolved; one in quotes, or after `!!str`, says that it is text.
        plain = node.style is None and node.tag != "!"
        if not plain or (match[1] == "str" and _explicit(node)):
            return text
        return plain_value(text)


def bare(word: str, value: Any) -> str:
    """What to say of a word that is none without quotes."""
    read_as = str(value).lower() if isinstance(value, bool) else "null" if value is None else str(value)
    return f'a bare {word} is read as {read_as} by YAML 1.1, and so by kubectl; write "{word}" in quotes'


def _explicit(node: yaml.Node) -> bool:
    """Whether the tag stands in the file: then the scalar begins behind its mark."""
    mark = node.start_mark
    return bool(mark.buffer is not None and mark.buffer[mark.pointer : mark.pointer + 1] == "!")


def plain_value(text: str) -> Any:
    """What a scalar without quotes is to kubectl (Go's yaml.v2, `resolve.go`)."""
    if text in _NULL:
        return None
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    if (whole := _integer(text)) is not None:
        return whole
    if text.lower() in _SPECIAL:
        return float(_SPECIAL[text.lower()])
    bare = text.replace("_", "")
    if not text.startswith("_") and _FLOAT.fullmatch(bare):
        number = float(bare)
        return int(number) if number.is_integer() else number  # as its JSON is written
    return text


def _integer(text: str) -> int | None:
    """As Go's ParseInt with base 0 reads it: 0x, 0o, 0b, and a leading 0 means octal; underscores are left out."""
    bare = "" if text.startswith("_") else text.replace("_", "")
    match = re.fullmatch(r"([-+]?)(?:0([xX])([0-9a-fA-F]+)|0([bB])([01]+)|0([oO]?)([0-7]+)|([1-9][0-9]*|0))", bare)
    if match is None:
        return None
    digits, base = next(
        (match[group], base) for group, base in ((3, 16), (5, 2), (7, 8), (8, 10)) if match[group] is not None
    )
    number = int(digits, base)
    return -number if match[1] == "-" else number


def _descend(node: yaml.Node, path: str) -> tuple[Position, yaml.Node, str] | None:
    """One step of a path down from a node: where that stands, its node, and the rest of the path.

    A key may itself hold dots and slashes (labels, `requests.cpu`), so the longest one that fits is taken. In brackets
    stands the position of an item, its name, or a key.
    """
    rest = path.removeprefix(".")
    if isinstance(node, yaml.MappingNode):
        keys = [(key, value) for key, value in node.value if isinstance(key, yaml.ScalarNode)]
        for key, value in sorted(keys, key=lambda pair: -len(pair[0].value)):
            for form in (f"[{key.value}]", key.value):
                if rest.startswith(form) and (len(rest) == len(form) or rest[len(form)] in ".["):
                    return _position(key.start_mark), value, rest[len(form) :]
        return None
    match = re.match(r"\[([^\]]*)\]", rest)
    if not isinstance(node, yaml.SequenceNode) or match is None:
        return None
    for index, item in enumerate(node.value):
        if match[1] in (str(index), _name(item)):
            return _position(item.start_mark), item, rest[match.end() :]
    return None


def _name(node: yaml.Node) -> str | None:
    """The `name` of an item of a list."""
    pairs = node.value if isinstance(node, yaml.MappingNode) else ()
    return next((value.value for key, value in pairs if key.value == "name"), None)
