"""What changed from one revision of a pipeline to another, by the names of its parts and not by their places."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson
from rich.text import Text

from .runview import LONGEST_VALUE

_ONE: Final = {"steps": "step", "finally": "finally step", "parameters": "parameter", "secrets": "secret"}
"""What one item of a list is called."""
_ABSENT: Final = object()


@dataclass(frozen=True, slots=True)
class Change:
    """One difference.

    Attributes:
        part: what of the pipeline, such as `step land` or `defaults`.
        change: `added`, `removed` or `changed`.
        field: path below the part; empty for the whole of it.
        old, new: values; None where there is none.
    """

    part: str
    change: str
    field: str = ""
    old: Any = None
    new: Any = None


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Change]:
    """All differences of two specs, in the order of the fields."""
    out: list[Change] = []
    for key in dict.fromkeys([*new, *old]):
        before, after = old.get(key), new.get(key)
        if before == after:
            continue
        if key in _ONE:
            out += _named(_ONE[key], before or [], after or [])
        else:
            out += _part(key, before, after)
    return out


def _named(word: str, old: list[Any], new: list[Any]) -> Iterator[Change]:
    before, after = ({one["name"]: one for one in items} for items in (old, new))
    for name in dict.fromkeys([*after, *before]):
        yield from _part(f"{word} {name}", before.get(name), after.get(name))
    common = [name for name in after if name in before]
    if common != [name for name in before if name in after]:
        yield Change(f"{word}s", "changed", "order", list(before), list(after))


def _part(part: str, old: Any, new: Any) -> Iterator[Change]:
    if old is None or new is None:
        yield Change(part, "added" if old is None else "removed", "", old, new)
    else:
        yield from _fields(part, "", old, new)


def _fields(part: str, path: str, old: Any, new: Any) -> Iterator[Change]:
    if old == new:
        return
    if isinstance(old, dict) and isinstance(new, dict):
        for key in dict.fromkeys([*new, *old]):
            where = f"{path}.{key}" if path else key
            yield from _fields(part, where, old.get(key, _ABSENT), new.get(key, _ABSENT))
    elif _by_name(old) and _by_name(new):
        before, after = ({one["name"]: one for one in items} for items in (old, new))
        for name in dict.fromkeys([*after, *before]):
            yield from _fields(part, f"{path}[{name}]", before.get(name, _ABSENT), after.get(name, _ABSENT))
    elif old is _ABSENT or new is _ABSENT:
        change = "added" if old is _ABSENT else "removed"
        yield Change(part, change, path, None if old is _ABSENT else old, None if new is _ABSENT else new)
    else:
        yield Change(part, "changed", path, old, new)


def _by_name(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(one, dict) and "name" in one for one in value)


# For people.

_SIGNS: Final = {"added": ("+", "green"), "removed": ("-", "red"), "changed": ("~", "yellow")}


def told(found: list[Change]) -> Text:
    """Differences for people: a line a part, and below it one a field."""
    out: list[Text] = []
    part = ""
    for one in found:
        sign, style = _SIGNS[one.change]
        if not one.field:
            out.append(Text(f"{sign} {one.part}", style))
            out += _whole(one, style)
        else:
            if one.part != part:
                out.append(Text(f"~ {one.part}", "yellow"))
            out += _field(one, sign, style)
        part = one.part
    return Text("\n").join(out)


def _whole(one: Change, style: str) -> Iterator[Text]:
    """Every field of a part that came or went."""
    value = one.new if one.change == "added" else one.old
    if not isinstance(value, dict):
        yield Text(f"    {_show(value)}", style)
        return
    for key, inner in value.items():
        if key != "name":
            yield Text(f"    {key}: {_show(inner)}", style)


def _field(one: Change, sign: str, style: str) -> Iterator[Text]:
    if any(isinstance(value, str) and "\n" in value for value in (one.old, one.new)):
        yield Text(f"    {one.field}:")
        before, after = str(one.old or "").splitlines(), str(one.new or "").splitlines()
        for line in [*difflib.unified_diff(before, after, lineterm="", n=2)][2:]:
            colour = {"+": "green", "-": "red", "@": "cyan"}.get(line[:1], "")
            yield Text(f"      {line}", colour)
    elif one.change == "changed":
        yield Text.assemble(f"    {one.field}: ", (_show(one.old), "red"), " → ", (_show(one.new), "green"))
    else:
        yield Text(f"  {sign} {one.field}: {_show(one.new if one.change == 'added' else one.old)}", style)


def _show(value: Any) -> str:
    text = value if isinstance(value, str) and value else orjson.dumps(value).decode()
    text = text.replace("\n", "⏎")
    return text if len(text) <= 3 * LONGEST_VALUE else text[: 3 * LONGEST_VALUE - 1] + "…"
