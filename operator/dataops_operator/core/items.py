"""What a fan-out is over: a list, or whole numbers; how many, how large, and how many of them may fail."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

import orjson

from ..api.conditions import truncate
from ..api.step import FanOutMode, ForEach, Range, Step
from .templating import Reference, fill_deep, fill_value

ITEMS_LIMIT: Final = 500
"""Items of a fan-out of which each has a Job of its own."""
INDEXED_LIMIT: Final = 10_000
"""Items of a fan-out that is one Indexed Job."""
ITEM_BYTES: Final = 64 * 1024
"""Bytes of an item as JSON: it travels in an annotation of its pod, of which all together have 256 KiB."""
INDEXED_BYTES: Final = 8 * 1024 * 1024
"""Bytes of all items of an Indexed Job as JSON: each of its pods' nodes has them all."""


def is_indexed(step: Step) -> bool:
    """Whether a step is run by one Indexed Job."""
    return step.for_each is not None and step.for_each.mode is FanOutMode.INDEXED


class FanOutError(ValueError):
    """A step cannot be run for each of what is given."""


def expand(fan: ForEach, resolve: Callable[[Reference], Any]) -> list[Any]:
    """The items of a fan-out.

    Args:
        fan: as written.
        resolve: gives the value of a reference, or raises TemplateError.

    Raises:
        FanOutError: that is no list, or there are too many, or one is too large; the message has the path and the cure.
        TemplateError: a template names a part of a value that is not there.
    """
    if fan.range is not None:
        return list(_numbers(fan, fan.range, resolve))
    items = fill_deep(fan.items, resolve)
    if not isinstance(items, list):
        given = truncate(orjson.dumps(items).decode(), 60)
        raise FanOutError(f"forEach.items: {given} is no list; give one, or a parameter or output of type Array")
    if (excess := _excess(fan, len(items))) is not None:
        raise FanOutError(f"forEach.items: {excess}")
    total = 0
    for index, item in enumerate(items):
        size = len(orjson.dumps(item))
        if size > ITEM_BYTES:
            cure = "pass a location instead of the data"
            raise FanOutError(f"forEach.items[{index}]: {size:,} bytes, at most {ITEM_BYTES:,} are taken; {cure}")
        total += size
    if fan.mode is FanOutMode.INDEXED and total > INDEXED_BYTES:
        cure = "pass locations instead of the data"
        raise FanOutError(f"forEach.items: {total:,} bytes in all, at most {INDEXED_BYTES:,} are taken; {cure}")
    return items


def _excess(fan: ForEach, count: int) -> str | None:
    """What is wrong with so many items, and the cure; None where they are not too many."""
    if fan.mode is FanOutMode.INDEXED:
        cure = "give each item more to do"
        return f"{count:,} items, at most {INDEXED_LIMIT:,} are taken; {cure}" if count > INDEXED_LIMIT else None
    if count <= ITEMS_LIMIT:
        return None
    cure = "give each item more to do"
    if count <= INDEXED_LIMIT:
        cure += ", or set forEach.mode to Indexed and have the step read its item from /dataops/item"
    return f"{count:,} items, at most {ITEMS_LIMIT} may have a Job each; {cure}"


def _numbers(fan: ForEach, given: Range, resolve: Callable[[Reference], Any]) -> range:
    ends = []
    for field, value in (("from", given.from_), ("to", given.to)):
        filled = fill_value(value, resolve) if isinstance(value, str) else value
        try:
            ends.append(int(str(filled)))
        except ValueError:
            raise FanOutError(f"forEach.range.{field}: {filled!r} is no whole number") from None
    numbers = range(ends[0], ends[1] + 1, given.step)
    # len() of a range is bounded by what a machine word holds, and a template may give any number.
    count = max(0, (numbers.stop - numbers.start + given.step - 1) // given.step)
    if (excess := _excess(fan, count)) is not None:
        raise FanOutError(f"forEach.range: {excess}")
    return numbers


def tolerated(fan: ForEach, total: int) -> int:
    """How many items may fail.

    Raises:
        FanOutError: what is given is neither a number nor a share.
    """
    text = str(fan.tolerate if fan.tolerate is not None else 0).strip()
    found = re.fullmatch(r"([0-9]{1,9})(%?)", text)
    if found is None or (found[2] and int(found[1]) > 100):
        raise FanOutError(f"forEach.tolerate: {text!r} is neither a number of items nor a share such as 10%")
    return total * int(found[1]) // 100 if found[2] else int(found[1])
