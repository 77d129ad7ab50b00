"""Reading the API server's JSON, also where a user nested a value deeper than any JSON library goes.

The API server takes objects of ten thousand levels in a field of any JSON, no schema can say otherwise, and a library
that gives up does so on the whole list in which the object is: one object of one user, and nobody's are read any more.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import orjson

LEVELS: Final = 200
"""What is kept of such an object; the kinds' own models allow far less, and orjson writes no more than 254."""
_MARK: Final = b'"(nested too deep to be read)"'
_TOKEN: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*(?:"|\\?\Z)|[\[\]{}]', re.DOTALL)
"""A string, or the rest where it has no end, or where a level begins or ends: no input makes it look back."""
_OPEN: Final = b"[{"
_CLOSE: Final = b"]}"


class Shape(NamedTuple):
    """Reads of a kind's objects what is wanted of them, for kinds of which little is.

    Both raise ValueError for what they do not understand; it is then read in full.
    """

    event: Callable[[bytes], tuple[str, dict[str, Any]]]
    """The line of a watch event, as its type and its object."""
    page: Callable[[bytes], dict[str, Any]]
    """The answer to a list, with its `metadata` and its `items`."""


def loads(data: bytes) -> Any:
    """The value of a JSON text; what is nested deeper than the limit is replaced by a mark, if it cannot be read.

    Raises:
        orjson.JSONDecodeError: it is no JSON.
    """
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        return orjson.loads(_cut(data))


def _cut(data: bytes) -> bytes:
    """The text with everything below the limit replaced."""
    out, kept, depth = bytearray(), 0, 0
    for token in _TOKEN.finditer(data):
        first = data[token.start() : token.start() + 1]
        if first in _OPEN:
            depth += 1
            if depth == LEVELS + 1:
                out += data[kept : token.start()] + _MARK
        elif first in _CLOSE:
            if depth == LEVELS + 1:
                kept = token.end()
            depth -= 1
    return bytes(out + data[kept:]) if depth == 0 else data
