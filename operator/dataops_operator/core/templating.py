"""Templates such as `$(params.day)`: finding them, and filling them in.

Only names under the roots below are templates. Every other `$(...)` belongs to the shell or to Kubernetes and stands
untouched, and `$$(params.x)` writes a literal `$(params.x)`. What is filled in is never looked at again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

ROOTS: Final = frozenset({"params", "env", "steps", "item", "run", "datasets", "targets", "with"})
"""`with` stands in filled-in step templates alone: there it is what `params` was in the template."""

NUL: Final = "holds a NUL character, which ends every argument and variable of a process; remove it"

_PATTERN: Final = re.compile(r"\$\$\(|\$\(([a-zA-Z][\w-]*(?:\.[\w-]+)*)\)", re.ASCII)
_EXPANDED: Final = re.compile(r"\$\$|\$\([^)]*\)|\$\(")
"""What Kubernetes' expansion reads: an escaped `$`, a whole `$(...)`, one that is never closed."""


class TemplateError(ValueError):
    """A template names something that is not there."""


@dataclass(frozen=True, slots=True)
class Reference:
    """One template, as written.

    Attributes:
        text: the whole of it, such as `$(steps.land.outputs.rows)`.
        path: its names, such as `("steps", "land", "outputs", "rows")`.
    """

    text: str
    path: tuple[str, ...]


def _reference(match: re.Match[str], own: str = "item") -> Reference | None:
    name = match[1]
    if name is None:
        return None  # `$$(`: an escaped one
    path = tuple(name.split("."))
    if path[0] != own and (path[0] not in ROOTS or (len(path) == 1 and path[0] != "item")):
        return None
    return Reference(match[0], path)


def references(text: str, own: str = "item") -> Iterator[Reference]:
    """Every template in a string, in order; `own` is what an item of a fan-out is called."""
    if "$(" in text:
        for match in _PATTERN.finditer(text):
            if (found := _reference(match, own)) is not None:
                yield found


def reroot(text: str, root: str, other: str) -> str:
    """The text with every template under one root moved to another root; what is no template stands untouched."""

    def move(match: re.Match[str]) -> str:
        found = _reference(match)
        return match[0] if found is None or found.path[0] != root else f"$({'.'.join((other, *found.path[1:]))})"

    return _PATTERN.sub(move, text) if "$(" in text else text


def strings(value: Any) -> Iterator[str]:
    """Every string in a JSON value in which templates are filled in: all but the keys of objects."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | dict):
        for one in value.values() if isinstance(value, dict) else value:
            yield from strings(one)


def fill(text: str, resolve: Callable[[Reference], Any], own: str = "item") -> str:
    """The text of a container field with its templates filled in.

    A string value stands as it is, everything else as compact JSON. Kubernetes expands `$(NAME)` in command, args and
    environment values once more, so each `$` of a value is doubled, which it undoes (container API, "command").

    Args:
        text: what the user wrote; what is no template stands untouched.
        resolve: gives the value of a reference, or raises TemplateError.
        own: what an item of a fan-out is called.
    """
    if "$(" not in text:
        return text
    values: list[str] = []
    hole = next(char for char in map(chr, range(0x110000)) if char not in text)

    def take(match: re.Match[str]) -> str:
        reference = _reference(match, own)
        if reference is None:
            return match[0]
        value = as_text(resolve(reference))
        if "\0" in value:
            raise TemplateError(f"{reference.text}: the value {NUL}")
        values.append(kubernetes_literal(value))
        return hole

    def settle(match: re.Match[str]) -> str:
        # Kubernetes takes `$(cat <value>)` for one name up to the `)`, and would leave a doubled `$` of the value in
        # it; and a value's `)` could close what the user left open. Written as a literal, neither happens.
        found = match[0]
        return kubernetes_literal(found) if hole in found or found == "$(" else found

    emptied = _PATTERN.sub(take, text)
    if not values:
        return text
    around = _EXPANDED.sub(settle, emptied).split(hole)
    return "".join(part for pair in zip(around, [*values, ""], strict=True) for part in pair)


def fill_value(text: str, resolve: Callable[[Reference], Any], own: str = "item") -> Any:
    """The value of a field that may have any type: a template that is the whole string keeps its value's type."""
    match = _PATTERN.fullmatch(text)
    if match is not None and (reference := _reference(match, own)) is not None:
        return resolve(reference)

    def one(found: re.Match[str]) -> str:
        if found[1] is None:
            return "$("
        inner = _reference(found, own)
        return found[0] if inner is None else as_text(resolve(inner))

    return _PATTERN.sub(one, text)


def fill_deep(value: Any, resolve: Callable[[Reference], Any], own: str = "item") -> Any:
    """A JSON value with the templates in all of its strings filled in; keys of objects stand untouched."""
    if isinstance(value, str):
        return fill_value(value, resolve, own)
    if isinstance(value, list):
        return [fill_deep(one, resolve, own) for one in value]
    if isinstance(value, dict):
        return {key: fill_deep(one, resolve, own) for key, one in value.items()}
    return value


def kubernetes_literal(text: str) -> str:
    """The text written so that Kubernetes' own expansion of `$(NAME)` gives it back unchanged."""
    return text.replace("$", "$$")


def as_text(value: Any) -> str:
    """A value inside a longer string: a string as it is, everything else as compact JSON."""
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def descend(value: Any, path: Sequence[str], text: str) -> Any:
    """The part of a nested value that the rest of a template's path names.

    Args:
        value: where to begin.
        path: keys of objects, or positions in arrays.
        text: the template, for the error.

    Raises:
        TemplateError: there is no such part.
    """
    for key in path:
        if isinstance(value, Mapping) and key in value:
            value = value[key]
        elif isinstance(value, list) and key.isdecimal() and int(key) < len(value):
            value = value[int(key)]
        else:
            raise TemplateError(f"{text}: the value has no {key!r}")
    return value
