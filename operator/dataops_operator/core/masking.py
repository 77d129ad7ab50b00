"""Masked values kept out of what people read: a net below the places that leave them out to begin with.

An API server's refusal, a kubelet's word on a command that does not exist, an image that cannot be pulled: each may
repeat what was filled in.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from ..api.conditions import ELLIPSIS
from .templating import as_text, kubernetes_literal

HIDDEN: Final = "***"
SHORTEST: Final = 4
"""Characters of the shortest text that is looked for: shorter ones stand everywhere by chance, and hide nothing."""


def masks(values: Iterable[Any]) -> tuple[str, ...]:
    """The texts by which masked values could show, the longest first."""
    found: set[str] = set()
    for value in values:
        for part in (value, *_leaves(value)):
            text = as_text(part)
            found |= {text, kubernetes_literal(text), as_text([text])[2:-2]}
    return tuple(sorted((text for text in found if len(text) >= SHORTEST), key=lambda text: (-len(text), text)))


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, Mapping):
        for one in value.values():
            yield from _leaves(one)
    elif isinstance(value, list):
        for one in value:
            yield from _leaves(one)
    else:
        yield value


def hide(text: str, hidden: Sequence[str]) -> str:
    """The text without what must not show, nor the beginning of it where the text was cut."""
    for one in hidden:
        text = text.replace(one, HIDDEN)
    cut = text.find(ELLIPSIS)
    while cut >= 0:
        begun = max((_begun(text, cut, one) for one in hidden), default=0)
        if begun:
            text = f"{text[: cut - begun]}{HIDDEN}{text[cut:]}"
        cut = text.find(ELLIPSIS, cut + 1 - begun + (len(HIDDEN) if begun else 0))
    return text


def _begun(text: str, end: int, hidden: str) -> int:
    """How many of the first characters of a hidden text stand right before a place; 0 for fewer than are looked for."""
    longest = min(len(hidden) - 1, end)
    return next((size for size in range(longest, SHORTEST - 1, -1) if text.startswith(hidden[:size], end - size)), 0)
