"""Sorted lines of those that wait, or hold: a place among thousands is found without a walk over them."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")

Place = tuple[int, str, str, str]
"""Rank of the priority, creation, name, and what tells two of the same name apart: the smaller comes first."""


class Line(Generic[T]):
    """Members by their places. Adding, leaving and finding a place cost the logarithm of its length, and a move."""

    def __init__(self) -> None:
        """Begin with nobody."""
        self._places: list[Place] = []
        self._members: dict[Place, T] = {}

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[T]:
        """Give the members, the first in line first; the line may change meanwhile."""
        return iter([self._members[place] for place in self._places])

    def __getitem__(self, index: int) -> T:
        return self._members[self._places[index]]

    def __contains__(self, place: Place) -> bool:
        return place in self._members

    def add(self, place: Place, member: T) -> None:
        """Have somebody stand at a place; whoever stands there already stays."""
        if place not in self._members:
            insort(self._places, place)
            self._members[place] = member

    def leave(self, place: Place) -> bool:
        """Take out who stands at a place; False where nobody does."""
        if place not in self._members:
            return False
        del self._members[place]
        del self._places[bisect_left(self._places, place)]
        return True

    def before(self, place: Place) -> int:
        """Count those that stand before a place, whether anybody stands at it or not."""
        return bisect_left(self._places, place)

    def first(self) -> tuple[Place, T] | None:
        """Who stands first, with the place; None where nobody stands."""
        return (self._places[0], self._members[self._places[0]]) if self._places else None

    def last(self) -> T | None:
        """Who stands last; None where nobody stands."""
        return self._members[self._places[-1]] if self._places else None


class Keyed(Generic[T]):
    """A line whose members have keys. One without a key counts with all of them, and all of them count for it."""

    def __init__(self) -> None:
        """Begin with nobody."""
        self._all: Line[T] = Line()
        self._by: dict[str | None, Line[T]] = {}

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[T]:
        return iter(self._all)

    def add(self, key: str | None, place: Place, member: T) -> None:
        """Have somebody stand at a place."""
        self._all.add(place, member)
        self._by.setdefault(key, Line()).add(place, member)

    def leave(self, key: str | None, place: Place) -> None:
        """Take out who stands at a place."""
        self._all.leave(place)
        line = self._by.get(key)
        if line is not None and line.leave(place) and not line:
            del self._by[key]

    def count(self, key: str | None) -> int:
        """Count those that count for a key."""
        return sum(len(line) for line in self._for(key))

    def before(self, key: str | None, place: Place) -> int:
        """Count those that count for a key and stand before a place."""
        return sum(line.before(place) for line in self._for(key))

    def first(self, key: str | None) -> T | None:
        """Who stands first of those that count for a key."""
        found = [one for line in self._for(key) if (one := line.first()) is not None]
        return min(found, key=lambda one: one[0])[1] if found else None

    def keys(self, key: str | None) -> list[str | None]:
        """The keys in use that count for a key."""
        return list(self._by) if key is None else [one for one in (key, None) if one in self._by]

    def own(self, key: str | None) -> Line[T]:
        """Those that have just this key."""
        return self._by.get(key) or Line()

    def _for(self, key: str | None) -> list[Line[T]]:
        return [self._all] if key is None else [self._by[one] for one in (key, None) if one in self._by]
