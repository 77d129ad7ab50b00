"""Whose turn it is: a table of cases, and a machine that plays runs coming, ending and vanishing in any order."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from dataops_operator.core.line import Place
from dataops_operator.core.quota import EXACT, TOLD, in_line, order, told
from dataops_operator.core.turns import Entry, Turn, Turns

CONCURRENCY, QUOTA = "ConcurrencyLimit", "RunQuota"


def run(name: str, second: int = 0, *, priority: Any = None, waits: str = "", **meta: Any) -> dict[str, Any]:
    created = f"2026-01-05T06:00:{second:02d}Z"
    return {
        "metadata": {"name": name, "uid": f"uid-{name}", "creationTimestamp": created, **meta},
        "spec": {"priority": priority} if priority is not None else {},
        "status": {"waitingFor": [{"reason": waits}]} if waits else {},
    }


def a(name: str, second: int = 0, *, priority: Any = None, pipeline: str = "p", **more: Any) -> Entry:
    """A run; those called active are under way."""
    one = run(name, second, priority=priority)
    begun = name.startswith("active")
    return Entry(one["metadata"]["uid"], name, order(one), pipeline, begun=begun, **more)


def place(mine: Entry, *others: Entry, quota: int | None = None) -> tuple[int, str | None, str | None]:
    """Place, reason and holder of a run among others."""
    turns = Turns()
    for one in others:
        turns.put(one)
    found = turns.turn(mine, quota)
    assert found.position or (found.reason, found.holder, found.refused) == (None, None, False)
    return found.position, found.reason, found.holder


FREE = (0, None, None)


def test_a_run_that_another_made_takes_no_place_of_the_environment_and_waits_for_none() -> None:
    below = a("below", 5, nested=True)
    assert place(below, a("active-a"), a("early", 1), quota=1) == FREE
    assert place(a("late", 9), replace(below, begun=True), quota=1) == FREE
    assert place(a("late", 9), below, quota=1) == FREE, "nor does it stand in line before others"
    limited: Any = {"pipeline": "q", "limit": 1}
    waits = place(a("below", 5, nested=True, **limited), a("active-b", pipeline="q", limit=1), quota=9)
    assert waits == (1, CONCURRENCY, "active-b"), "its pipeline's own limit counts"
    assert place(a("late", 9, **limited), replace(a("below", nested=True, **limited), begun=True)) == (
        1, CONCURRENCY, "below",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("others", "expected"),
    [
        ([], FREE),
        ([a("active-a")], FREE),
        ([a("active-a", 1), a("active-b", 0)], (1, QUOTA, "active-b")),
        ([a("active-a"), a("active-b"), a("active-c")], (1, QUOTA, "active-a")),
        ([a("active-a"), a("early", 1)], (1, QUOTA, "active-a")),
        ([a("early-1", 1), a("early-2", 2)], (1, QUOTA, "early-1")),
        ([a("active-a"), a("active-b"), a("early", 1)], (2, QUOTA, "active-a")),
        ([a("active-a"), a("late", 9)], FREE),
        ([a("active-a"), a("a-mate", 5)], (1, QUOTA, "active-a")),
        ([a("active-a"), a("z-mate", 5)], FREE),
        ([a("active-a"), a("early", 1, ready=False)], FREE),
        ([a("active-a"), a("late", 9, priority="High")], (1, QUOTA, "active-a")),
        ([a("active-a"), a("early", 1, priority="Low")], FREE),
        ([a("active-a"), a("early", 1, pipeline="q", limit=1), a("active-q", pipeline="q")], (1, QUOTA, "active-a")),
        ([a("active-q", pipeline="q"), a("early", 1, pipeline="q", limit=1)], FREE),
    ],
    ids=[
        "the only one",
        "the second of two",
        "none is free: it waits behind the oldest",
        "more than there should be, since the quota was lowered",
        "one is free, for the one before it",
        "two are free, for the two before it",
        "behind one that waits already",
        "who came later waits",
        "of one second the name decides: before it",
        "of one second the name decides: after it",
        "who waits for something else holds up nobody",
        "who came later and is more urgent comes first",
        "who came earlier and is less urgent does not",
        "who waits for its own pipeline holds up no other",
        "nor where there is a place for it but not for them both",
    ],
)
def test_a_run_begins_when_the_environment_has_a_place_and_its_turn_has_come(
    others: list[Entry], expected: tuple[int, str | None, str | None]
) -> None:
    assert place(a("mine", 5), *others, quota=2) == expected


@pytest.mark.parametrize(
    ("mine", "others", "expected"),
    [
        ({"limit": 1}, [], FREE),
        ({"limit": 1}, [a("active-a")], (1, CONCURRENCY, "active-a")),
        ({"limit": 2}, [a("active-a")], FREE),
        ({"limit": 1}, [a("active-a", pipeline="q")], FREE),
        ({"limit": 1, "key": "x"}, [a("active-a", key="y")], FREE),
        ({"limit": 1, "key": "x"}, [a("active-a", key="y"), a("active-b", key="x")], (1, CONCURRENCY, "active-b")),
        ({"limit": 1, "key": "x"}, [a("active-a")], (1, CONCURRENCY, "active-a")),
        ({"limit": 1}, [a("active-a", key="y")], (1, CONCURRENCY, "active-a")),
        ({"limit": 1, "key": ""}, [a("active-a", key="y")], FREE),
        ({"limit": 1}, [a("early", 1, limit=1)], (1, CONCURRENCY, "early")),
        ({"limit": 1}, [a("late", 9, limit=1)], FREE),
        ({"limit": 1}, [a("late", 9, limit=1, priority="High")], (1, CONCURRENCY, "late")),
        ({"limit": 1, "priority": "High"}, [a("early", 1, limit=1)], FREE),
        ({"limit": 1, "key": "x"}, [a("early", 1, limit=1, key="y")], FREE),
        ({"limit": 1}, [a("active-a"), a("early", 1, limit=1)], (2, CONCURRENCY, "active-a")),
        ({"limit": 1}, [a("active-a"), a("active-b"), a("active-c")], (1, CONCURRENCY, "active-a")),
        ({"limit": 1}, [a("early", 1, limit=1, ready=False)], FREE),
    ],
    ids=[
        "the only one",
        "the second of one",
        "the second of two",
        "another pipeline's runs do not count",
        "another key's runs do not count",
        "the same key's do",
        "one without a key, of another revision, counts with every key",
        "for one without a key all keys count",
        "an empty key is a key",
        "the one before it has not begun yet",
        "who came later waits",
        "who came later and is more urgent comes first",
        "who is more urgent comes before who waits already",
        "who waits with another key holds up nobody",
        "behind one that waits already",
        "more than there should be, since the limit was lowered: nobody is stopped, nobody begins",
        "who waits for something else holds up nobody",
    ],
)
def test_a_run_begins_when_its_pipeline_has_a_place_and_its_turn_has_come(
    mine: dict[str, Any], others: list[Entry], expected: tuple[int, str | None, str | None]
) -> None:
    assert place(a("mine", 5, **mine), *others) == expected


def test_what_the_pipeline_has_no_place_for_is_told_before_what_the_environment_has_none_for() -> None:
    holder = a("active-a")
    assert place(a("mine", 5, limit=1), holder, quota=1) == (1, CONCURRENCY, "active-a")
    assert place(a("mine", 5, limit=2), holder, quota=1) == (1, QUOTA, "active-a")


@pytest.mark.parametrize(
    ("key", "others", "refused"),
    [
        (None, [a("active-a")], True),
        ("x", [a("active-a", key="x")], True),
        ("x", [a("active-a")], False),
        (None, [a("early", 1, limit=1)], False),
        (None, [a("active-a", leaving=True)], False),
        ("x", [a("active-a", key="x", leaving=True)], False),
        (None, [a("active-a", leaving=True), a("active-b", key="y")], True),
    ],
    ids=[
        "one goes on",
        "one of the same key goes on",
        "one goes on of which it may not be known yet which key it has",
        "the one before it has not begun, and may never",
        "the pods of one that is gone have not",
        "the same, with its key",
        "one goes on beside one that is gone",
    ],
)
def test_a_run_is_refused_only_for_what_is_certain(key: str | None, others: list[Entry], refused: bool) -> None:
    turns = Turns()
    for one in others:
        turns.put(one)
    found = turns.turn(a("mine", 5, key=key, limit=1, refuse=True), None)
    assert (found.position, found.refused) == (1, refused)
    assert not turns.turn(a("other", 6, key=key, limit=1), None).refused, "whose pipeline does not say so waits"


def test_a_line_of_thousands_that_moves_up_by_one_is_news_for_few() -> None:
    turns = Turns()
    turns.put(a("active"))
    waiting = [a(f"r{number:04d}", 1, limit=1) for number in range(2000)]
    for one in waiting:
        turns.turn(one, None)
    turns.moves()
    turns.drop("uid-active")
    moves = turns.moves()
    assert moves.may_begin == ("r0000",)
    assert len(moves.moved_up) <= len(TOLD)
    assert turns.turn(waiting[0], None) == Turn(0)
    turns.begin("uid-r0000")
    moves = turns.moves()
    assert moves.may_begin == ()
    assert set(moves.moved_up) == {f"r{position:04d}" for position in TOLD if position < 2000}


def test_a_place_is_told_exactly_for_the_first_and_rounded_up_for_those_far_behind() -> None:
    positions = list(range(1, 200_000))
    assert [told(position) for position in positions[:EXACT]] == positions[:EXACT]
    assert all(told(position) >= position for position in positions)
    assert [told(position) for position in (11, 30, 31, 100, 101, 2000)] == [30, 30, 100, 100, 300, 3000]
    changes = [position for position in range(1, 100_000) if told(position) != told(position + 1)]
    assert set(changes) <= set(TOLD), "whoever is told another place is told so when the line moves up"


@pytest.mark.parametrize("priority", ["Urgent", 5, ["High"], {}, ""])
def test_a_priority_that_there_is_not_is_normal(priority: Any) -> None:
    assert order(run("r", priority=priority)) == order(run("r"))


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        (run("r"), True),
        (run("r", waits="RunQuota"), True),
        (run("r", waits="ConcurrencyLimit"), True),
        (run("r", waits="Frozen"), True),
        (run("r", waits="Suspended"), False),
        (run("r", waits="PipelineNotFound"), False),
        (run("r", waits="TemplateNotFound"), False),
        (run("r", waits="TargetUnreachable"), False),
        (run("r", waits="OperatorError"), False),
        (run("r", deletionTimestamp="2026-01-05T06:01:00Z"), False),
    ],
    ids=[
        "fresh",
        "quota",
        "concurrency",
        "freeze keeps the place",
        "suspended",
        "pipeline",
        "template",
        "target",
        "error",
        "being deleted",
    ],
)
def test_who_stands_in_line(one: dict[str, Any], expected: bool) -> None:
    assert in_line(one) is expected


# The machine.


@dataclass(frozen=True)
class Want:
    """Where a run stands, told by a walk over all of them."""

    position: int
    reason: str | None


def counts(one: Entry, other: Entry) -> bool:
    return one.pipeline == other.pipeline and (one.key is None or other.key is None or one.key == other.key)


def blocked(entries: list[Entry], mine: Entry) -> int:
    """The place among those for whom the pipeline has none; 0 where it has."""
    if mine.limit is None:
        return 0
    held = sum(counts(mine, one) for one in entries if one.begun)
    ahead = sum(counts(mine, one) for one in entries if one.ready and not one.begun and one.place < mine.place)
    free = mine.limit - held
    return 0 if ahead < free else ahead - max(free, 0) + 1


def wanted(entries: list[Entry], mine: Entry, quota: int | None) -> Want:
    if position := blocked(entries, mine):
        return Want(position, CONCURRENCY)
    if quota is None:
        return Want(0, None)
    free = quota - sum(one.begun for one in entries)
    waiting = [one for one in entries if one.ready and not one.begun and one.place < mine.place]
    ahead = sum(not blocked(entries, one) for one in waiting)
    return Want(0, None) if ahead < free else Want(ahead - max(free, 0) + 1, QUOTA)


class Rush(RuleBasedStateMachine):
    """Runs come, end, vanish and are edited about; whoever is called looks whether its turn has come.

    Nobody looks who was not called, so that a call that is missing leaves somebody waiting for nothing.
    """

    @initialize(
        quota=st.one_of(st.none(), st.integers(1, 5)),
        limits=st.tuples(st.one_of(st.none(), st.integers(1, 3)), st.integers(1, 3), st.integers(1, 2)),
    )
    def begin(self, quota: int | None, limits: tuple[int | None, int, int]) -> None:
        self.quota = quota
        self.limits: dict[str, int | None] = dict(zip("pqr", limits, strict=True))
        self.turns = Turns()
        self.numbers = itertools.count()
        self.called: dict[str, None] = {}
        self.entries: dict[str, Entry] = {}

    def hear(self) -> None:
        moves = self.turns.moves()
        self.called |= dict.fromkeys(moves.may_begin)
        assert set(moves.may_begin) <= {one.name for one in self.entries.values()}

    def put(self, entry: Entry) -> None:
        self.entries[entry.uid] = entry
        self.turns.put(entry)
        self.hear()

    @rule(
        pipeline=st.sampled_from("pqr"), key=st.sampled_from(["x", "y"]), rank=st.integers(0, 2), old=st.integers(0, 3)
    )
    def come(self, pipeline: str, key: str, rank: int, old: int) -> None:
        number = next(self.numbers)
        name = f"r{number}"
        place: Place = (rank, f"{number - old:06d}", name, name)
        limit, own = self.limits[pipeline], key if pipeline == "r" else None
        self.put(Entry(name, name, place, pipeline, own, limit))
        self.called[name] = None

    @precondition(lambda self: self.entries)
    @rule(data=st.data(), gone=st.booleans())
    def leave(self, data: st.DataObject, gone: bool) -> None:
        """A run ends, is deleted, or its holder dies: to those who wait it is all the same."""
        uid = data.draw(st.sampled_from(sorted(self.entries)))
        del self.entries[uid]
        self.called.pop(uid, None)
        self.turns.drop(uid)
        self.hear()

    @precondition(lambda self: any(not one.begun for one in self.entries.values()))
    @rule(data=st.data(), ready=st.booleans())
    def wait_for_something_else(self, data: st.DataObject, ready: bool) -> None:
        entry = data.draw(st.sampled_from([one for one in self.entries.values() if not one.begun]))
        self.put(replace(entry, ready=ready))
        if ready:
            self.called[entry.name] = None

    @rule(quota=st.integers(1, 5))
    def edit_quota(self, quota: int) -> None:
        if self.quota is not None:
            self.quota = quota
            self.turns.look()
            self.hear()

    @rule(pipeline=st.sampled_from("pqr"), limit=st.integers(1, 4))
    def edit_limit(self, pipeline: str, limit: int) -> None:
        """It counts for those that have not begun; nobody is stopped."""
        self.limits[pipeline] = limit
        for entry in [one for one in self.entries.values() if one.pipeline == pipeline and not one.begun]:
            self.put(replace(entry, limit=limit))

    @precondition(lambda self: self.called)
    @rule(data=st.data())
    def look(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.called)))
        self.look_at(name)

    def look_at(self, name: str) -> None:
        del self.called[name]
        entry = self.entries[name]
        if entry.begun or not entry.ready:
            return
        found = self.turns.turn(entry, self.quota)
        want = wanted(list(self.entries.values()), entry, self.quota)
        assert (found.position, found.reason) == (want.position, want.reason)
        holders = {one.name: one for one in self.entries.values()}
        assert found.holder is None or found.holder in holders, "who holds it is there"
        if not found.position:
            others = sum(counts(entry, one) for one in self.entries.values() if one.begun)
            assert entry.limit is None or others < entry.limit, "no more than there are places"
            assert self.quota is None or sum(one.begun for one in self.entries.values()) < self.quota
            self.entries[name] = replace(entry, begun=True)
            self.turns.begin(name)
        self.hear()

    @rule()
    def come_to_rest(self) -> None:
        while self.called:
            self.look_at(next(iter(self.called)))
        waiting = [one for one in self.entries.values() if one.ready and not one.begun]
        for one in waiting:
            want = wanted(list(self.entries.values()), one, self.quota)
            assert want.position, f"{one.name} waits for nothing, and nobody called it"
        for one in waiting:
            held = sum(counts(one, other) for other in self.entries.values() if other.begun)
            full = self.quota is not None and sum(other.begun for other in self.entries.values()) >= self.quota
            earlier = any(counts(one, other) and other.place < one.place for other in waiting)
            assert full or (one.limit is not None and (held >= one.limit or earlier)), "nobody waits for nothing"
        if waiting:
            assert any(one.begun for one in self.entries.values()), "where somebody waits somebody goes on: no deadlock"

    def teardown(self) -> None:
        """All who wait have their turn in the end, when those before them have ended."""
        if not hasattr(self, "entries"):
            return
        self.come_to_rest()
        for _ in range(len(self.entries)):
            begun = [one for one in self.entries.values() if one.begun]
            if not begun:
                break
            del self.entries[begun[0].uid]
            self.turns.drop(begun[0].uid)
            self.hear()
            self.come_to_rest()
        assert not [one for one in self.entries.values() if one.ready]


TestRush = Rush.TestCase
TestRush.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
