"""Whose turn it is in one namespace: who is under way, who waits, and who of them may begin.

It is kept as runs come, change and go, so that a decision costs no walk over all of them, and it knows nothing but
what the runs themselves say: there is no lock and no count that could be left behind. A run that waits holds nothing,
and one that begins takes all that it needs in one decision; so nobody waits for what somebody holds who waits, too.

The order is strict, by priority and then age, as Kueue and the scheduler of Kubernetes have it: who has the lower
priority waits as long as there are others. But who cannot begin since its pipeline has no place stands in nobody's way
who waits for the environment alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from ..api.conditions import Reason
from .line import Keyed, Line, Place
from .quota import TOLD

_AT_ONCE: Final = 32
"""How many look at once whether their turn has come; each that begins has the next one look."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A run, as far as turns depend on it.

    Attributes:
        uid: who it is.
        name: the same for people.
        place: where it stands in each line.
        pipeline: whose run it is.
        key: with which others of the pipeline it counts; None counts with all of them.
        limit: how many of those may be under way at once; None where nothing bounds them.
        refuse: whether it is refused where they are; else it waits.
        begun: whether it is under way.
        ready: whether it could begin, but for its turn; others stand behind it only then.
        nested: whether another run made it, which holds the environment's place for both.
        leaving: whether it is gone, and only its last pods hold its place.
    """

    uid: str
    name: str
    place: Place
    pipeline: str
    key: str | None = None
    limit: int | None = None
    refuse: bool = False
    begun: bool = False
    ready: bool = True
    nested: bool = False
    leaving: bool = False


@dataclass(frozen=True, slots=True)
class Turn:
    """Where a run stands.

    Attributes:
        position: from 1 among those that wait; 0 where it may begin.
        reason: what it waits for; None where it may begin.
        holder: name of a run that holds what it waits for; None where it may begin.
        refused: whether it shall not wait: those under way hold all places, whoever else waits.
    """

    position: int
    reason: Reason | None = None
    holder: str | None = None
    refused: bool = False


@dataclass(frozen=True, slots=True)
class Moves:
    """Whom changes concern, by name.

    Attributes:
        may_begin: those whose turn may have come.
        moved_up: those whose place, as it is told, may be another.
    """

    may_begin: tuple[str, ...] = ()
    moved_up: tuple[str, ...] = ()


class _Pipeline:
    """The runs of one pipeline."""

    def __init__(self) -> None:
        self.active: Keyed[Entry] = Keyed()
        self.waiting: Keyed[Entry] = Keyed()
        # Those that wait are one of these:
        self.blocked: Keyed[Entry] = Keyed()
        """The pipeline has no place for them."""
        self.free: Keyed[Entry] = Keyed()
        """It has: at most the environment has none."""

    def turn(self, entry: Entry) -> Turn:
        """Where one that has not begun stands in its pipeline."""
        if entry.limit is None:
            return Turn(0)
        key, held = entry.key, self.active.count(entry.key)
        ahead, left = self.waiting.before(key, entry.place), entry.limit - held
        if ahead < left:
            return Turn(0)
        holder = self.active.first(key) or self.waiting.first(key)
        name = holder.name if holder is not None else None
        refused = entry.refuse and self._sure(key) >= entry.limit
        return Turn(ahead - max(left, 0) + 1, Reason.CONCURRENCY_LIMIT, name, refused)

    def _sure(self, key: str | None) -> int:
        """Count those under way for which another may be failed for good.

        Of one without a key it may not be known yet which it has, and one that is gone leaves a place at any moment.
        """
        return sum(not one.leaving for one in (self.active if key is None else self.active.own(key)))


class Turns:
    """The runs of one namespace that have not ended."""

    def __init__(self) -> None:
        """Begin with none."""
        self._entries: dict[str, Entry] = {}
        self._pipelines: dict[str, _Pipeline] = {}
        self._active: Line[Entry] = Line()
        self._lined: Line[Entry] = Line()
        """Those that wait for the environment alone, or for nothing: of each pipeline the free ones."""
        self._quota: int | None = None
        self._may_begin: dict[str, None] = {}
        self._moved_up: dict[str, None] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(list(self._entries.values()))

    def get(self, uid: str) -> Entry | None:
        """What is known of a run."""
        return self._entries.get(uid)

    # Changes.

    def put(self, entry: Entry) -> None:
        """Take in a run, or what it has become."""
        before = self._entries.get(entry.uid)
        if before == entry:
            return
        free = before is None or before.place in self._lined
        if before is not None:
            self._take(before)
        self._entries[entry.uid] = entry
        if entry.begun or entry.ready:
            pipeline = self._pipelines.setdefault(entry.pipeline, _Pipeline())
            if entry.begun:
                if not entry.nested:
                    self._active.add(entry.place, entry)
                pipeline.active.add(entry.key, entry.place, entry)
            else:
                pipeline.waiting.add(entry.key, entry.place, entry)
                blocked = bool(pipeline.turn(entry).position)
                self._stand(pipeline, entry, blocked=blocked)
                if not blocked and not free:
                    self._may_begin[entry.name] = None  # by another limit or key than it had
        self._moved(*(one for one in (before, entry) if one is not None))

    def drop(self, uid: str) -> None:
        """Let go of a run that has ended or is gone; what it held is free."""
        before = self._entries.pop(uid, None)
        if before is not None:
            self._take(before)
            self._moved(before)

    def turn(self, entry: Entry, quota: int | None) -> Turn:
        """Whether a run may begin; it stands in line from then on, until `begin`.

        Args:
            entry: the run as it is known now.
            quota: how many runs of the namespace may be under way at once; None where nothing bounds them.
        """
        self._quota = quota
        self.put(replace(entry, begun=False, ready=True))
        mine = self._entries[entry.uid]
        self._may_begin.pop(mine.name, None)  # it is being told
        pipeline = self._pipelines[mine.pipeline]
        found = pipeline.turn(mine)
        if bool(found.position) == (mine.place in self._lined):
            # Of another limit than those around it, it stood in the wrong line.
            self._stand(pipeline, mine, blocked=bool(found.position))
            self._moved_for_environment(mine.place)
        if found.position or quota is None or mine.nested:
            return found
        ahead, left = self._lined.before(mine.place), quota - len(self._active)
        if ahead < left:
            return Turn(0)
        holder = (self._active.first() or self._lined.first() or (mine.place, mine))[1]
        return Turn(ahead - max(left, 0) + 1, Reason.RUN_QUOTA, holder.name)

    def begin(self, uid: str) -> None:
        """Have a run be under way from now on."""
        self.put(replace(self._entries[uid], begun=True))

    def look(self) -> None:
        """Have those look again who stand first, since something else changed, such as the quota."""
        for name, pipeline in self._pipelines.items():
            self._moved_in(name, None, None)
            for key in pipeline.blocked.keys(None):
                self._call(pipeline.blocked.own(key), _AT_ONCE)
        self._call(self._lined, _AT_ONCE)

    def moves(self) -> Moves:
        """Whom the changes since the last call concern."""
        found = Moves(tuple(self._may_begin), tuple(self._moved_up))
        self._may_begin.clear()
        self._moved_up.clear()
        return found

    def _take(self, entry: Entry) -> None:
        pipeline = self._pipelines.get(entry.pipeline)
        if pipeline is None:
            return
        self._active.leave(entry.place)
        self._lined.leave(entry.place)
        for line in (pipeline.active, pipeline.waiting, pipeline.blocked, pipeline.free):
            line.leave(entry.key, entry.place)
        if not pipeline.active and not pipeline.waiting:
            del self._pipelines[entry.pipeline]

    def _stand(self, pipeline: _Pipeline, entry: Entry, *, blocked: bool) -> None:
        """Have one that waits stand in the line for what it waits for."""
        pipeline.blocked.leave(entry.key, entry.place)
        pipeline.free.leave(entry.key, entry.place)
        self._lined.leave(entry.place)
        if blocked:
            pipeline.blocked.add(entry.key, entry.place, entry)
        else:
            pipeline.free.add(entry.key, entry.place, entry)
            if not entry.nested:
                self._lined.add(entry.place, entry)

    # What they mean for others.

    def _moved(self, *entries: Entry) -> None:
        """What was changed about a run, before and after."""
        # Who stands before one that came to wait, or left the line, stands as before; a holder concerns all.
        first = None if any(one.begun for one in entries) else min(one.place for one in entries)
        for name, key in {(one.pipeline, one.key) for one in entries}:
            self._moved_in(name, key, first)
        self._moved_for_environment(first)

    def _moved_in(self, name: str, key: str | None, first: Place | None) -> None:
        """The same within a pipeline: who was blocked may be free now, and the other way round."""
        pipeline = self._pipelines.get(name)
        if pipeline is None:
            return
        for one in pipeline.blocked.keys(key):
            while (head := pipeline.blocked.own(one).first()) is not None and not pipeline.turn(head[1]).position:
                self._stand(pipeline, head[1], blocked=False)
                self._may_begin[head[1].name] = None
        for one in pipeline.free.keys(key):
            while (tail := pipeline.free.own(one).last()) is not None and pipeline.turn(tail).position:
                self._stand(pipeline, tail, blocked=True)
        for one in pipeline.blocked.keys(key):
            self._tell(pipeline.blocked.own(one), first, 0)

    def _moved_for_environment(self, first: Place | None) -> None:
        if self._quota is not None:
            left = max(self._quota - len(self._active), 0)
            self._call(self._lined, min(left, _AT_ONCE))
            self._tell(self._lined, first, left)

    def _call(self, line: Line[Entry], count: int) -> None:
        """Have the first of a line look whether their turn has come."""
        for index in range(min(count, len(line))):
            self._may_begin[line[index].name] = None

    def _tell(self, line: Line[Entry], first: Place | None, left: int) -> None:
        """Have those of a line look whose place is told and may have changed: from one place on, or all.

        Args:
            line: those that wait for the same thing.
            first: who stands before it has not moved.
            left: how many of the first may begin.
        """
        start = 0 if first is None else line.before(first)
        for position in TOLD:
            index = position - 1 + left
            if start <= index < len(line):
                self._moved_up[line[index].name] = None
