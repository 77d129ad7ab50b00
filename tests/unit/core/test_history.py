"""Which finished runs and which revisions go, and when: tables of cases, and laws."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataops_operator.core.history import (
    GRACE,
    LOOK_AGAIN,
    Decision,
    Finished,
    Kept,
    Policy,
    decide,
    policy_of,
    prune,
)

NOW = 1_800_000_000.0
DAY = 86400.0


def policy(**history: Any) -> Policy:
    found = policy_of({"history": history})
    assert found is not None
    return found


def run(name: str, ago: float, phase: str = "Succeeded", **more: Any) -> Finished:
    return Finished(f"uid-{name}", more.pop("namespace", "team"), name, phase, NOW - ago, **more)


def deleted(decision: Decision) -> dict[str, str]:
    return {one.name: str(why) for one, why in decision.delete}


def stripped(decision: Decision) -> list[str]:
    return [one.name for one in decision.strip]


THREE = [run("a", 300), run("b", 200), run("c", 100)]


@pytest.mark.parametrize(
    ("history", "runs", "gone"),
    [
        pytest.param({}, THREE, {}, id="nothing is said, and everything stays"),
        pytest.param({"succeeded": 3}, THREE, {}, id="as many as may stay"),
        pytest.param({"succeeded": 2}, THREE, {"a": "Count"}, id="the one that ended first goes"),
        pytest.param({"succeeded": 0}, THREE, dict.fromkeys("abc", "Count"), id="none may stay"),
        pytest.param({"failed": 0}, THREE, {}, id="each outcome is counted by itself"),
        pytest.param({"ttl": "150s"}, THREE, {"a": "Ttl", "b": "Ttl"}, id="those whose time is over"),
        pytest.param({"succeeded": 2, "ttl": "150s"}, THREE, {"a": "Count", "b": "Ttl"}, id="whichever comes first"),
        pytest.param({"failedTtl": "1s"}, THREE, {}, id="the time of failed ones is no business of others"),
        pytest.param(
            {"failed": 1},
            [run("a", 300, "Failed"), run("b", 200, "Cancelled"), run("c", 100, "Failed")],
            {"a": "Count"},
            id="cancelled ones take no place of failed ones",
        ),
        pytest.param(
            {"failed": 1},
            [run("a", 300, "Cancelled"), run("b", 200, "Cancelled")],
            {"a": "Count"},
            id="and as many of them stay",
        ),
        pytest.param(
            {"failed": 5, "cancelled": 0},
            [run("a", 300, "Cancelled"), run("b", 200, "Failed")],
            {"a": "Count"},
            id="unless they have a number of their own",
        ),
        pytest.param(
            {"ttl": "150s", "failedTtl": "1h"},
            [run("a", 300), run("b", 300, "Failed"), run("c", 300, "Cancelled"), run("d", 3601, "Cancelled")],
            {"a": "Ttl", "d": "Ttl"},
            id="what failed or was cancelled has a time of its own",
        ),
        pytest.param(
            {"succeeded": 1},
            [run("a", 300), run("b", 200, namespace="prod"), run("c", 100, namespace="prod")],
            {"b": "Count"},
            id="one environment's runs take no place of another's",
        ),
        pytest.param(
            {"succeeded": 1},
            [run("a", 300), run("b", 200), run("c", 100, kept=True)],
            {"a": "Count"},
            id="one that is labelled stays and takes nobody's place",
        ),
        pytest.param(
            {"succeeded": 1, "ttl": "1d"},
            [run("a", 300), run("b", 200), run("c", 100, owned=True), run("d", 9 * DAY, owned=True)],
            {"a": "Count"},
            id="one that another run made stays and takes nobody's place",
        ),
        pytest.param({"ttl": "1s", "succeeded": 0}, [run("a", 9 * DAY, kept=True)], {}, id="and stays for ever"),
        pytest.param({"ttl": "1s"}, [run("a", 300, needed=True)], {}, id="one that is needed stays"),
        pytest.param({"succeeded": 0, "ttl": "0s"}, [run("a", GRACE - 1)], {}, id="one that has just ended stays"),
        pytest.param(
            {"failed": 0}, [run("a", 300, "Skipped")], {"a": "Count"}, id="what is unheard of counts as failed"
        ),
        pytest.param(
            {"succeeded": 1},
            [replace(one, ended=NOW - 100) for one in THREE],
            {"a": "Count", "b": "Count"},
            id="of one second the name decides",
        ),
    ],
)
def test_runs_go(history: dict[str, Any], runs: Sequence[Finished], gone: dict[str, str]) -> None:
    assert deleted(decide(runs, policy(**history), NOW)) == gone


def test_one_that_another_run_made_gives_up_its_jobs_by_itself() -> None:
    runs = [run("a", 9 * DAY, owned=True), run("b", 9 * DAY), run("c", DAY / 2, owned=True)]
    assert stripped(decide(runs, policy(logs="1d"), NOW)) == ["a", "b"]


def test_runs_go_in_the_order_of_their_ends() -> None:
    runs = [run("x", 100), run("b", 400, "Failed"), run("c", 300, namespace="prod"), run("d", 200)]
    decision = decide(runs, policy(succeeded=0, failed=0), NOW)
    assert [one.name for one, _ in decision.delete] == ["b", "c", "d", "x"]


@pytest.mark.parametrize(
    ("history", "one", "wake"),
    [
        pytest.param({}, run("a", 100), None, id="never where nothing is said"),
        pytest.param({"succeeded": 1}, run("a", 100), None, id="never for a number: the next end will ask"),
        pytest.param({"ttl": "1h"}, run("a", 100), 3500, id="when its time is over"),
        pytest.param({"succeeded": 0}, run("a", 4), GRACE - 4, id="when it has been seen long enough"),
        pytest.param({"ttl": "1s"}, run("a", 100, needed=True), LOOK_AGAIN, id="in a while where it is needed"),
        pytest.param({"logs": "1h"}, run("a", 100), 3500, id="when its logs have to go"),
        pytest.param({"logs": "1s"}, run("a", 100, jobs=False), None, id="not for logs that are gone"),
        pytest.param({"ttl": "1h"}, run("a", 100, kept=True), None, id="not for one that is labelled"),
        pytest.param({"ttl": "9" * 30 + "d"}, run("a", 100), None, id="at no time that ever comes"),
    ],
)
def test_it_is_looked_at_again(history: dict[str, Any], one: Finished, wake: float | None) -> None:
    found = decide([one], policy(**history), NOW)
    assert (found.delete, found.strip) == ((), ())
    if wake is None:
        assert found.wake_at is None or found.wake_at > NOW + 1e9
    else:
        assert found.wake_at == NOW + wake


@pytest.mark.parametrize(
    ("history", "one", "gone"),
    [
        pytest.param({"logs": "1h"}, run("a", 3601), True, id="an hour is over"),
        pytest.param({"logs": "1h"}, run("a", 3599), False, id="it is not"),
        pytest.param({"logs": "1h"}, run("a", 3601, kept=True), False, id="a kept run keeps its logs"),
        pytest.param({"logs": "1h"}, run("a", 3601, needed=True), False, id="a run that is needed, too"),
        pytest.param({"logs": "1h"}, run("a", 3601, jobs=False), False, id="they are gone"),
        pytest.param({"logs": "1h", "ttl": "1h"}, run("a", 3601), False, id="they go with the run"),
        pytest.param({"logs": "0s"}, run("a", 5), False, id="the last words have not been said"),
        pytest.param({}, run("a", 9 * DAY), False, id="as long as the run where nothing is said"),
    ],
)
def test_runs_give_up_their_jobs(history: dict[str, Any], one: Finished, gone: bool) -> None:
    assert stripped(decide([one], policy(**history), NOW)) == (["a"] if gone else [])


@pytest.mark.parametrize("junk", [{"ttl": "soon"}, {"succeeded": -1}, {"succeeded": "many"}, ["a"], "text", 7])
def test_a_history_that_cannot_be_read_deletes_nothing(junk: Any) -> None:
    assert policy_of({"history": junk}) is None


def test_a_pipeline_without_a_history_bounds_no_runs_and_keeps_ten_revisions() -> None:
    silent: list[dict[str, Any]] = [{}, {"history": None}, {"history": {}}]
    for spec in silent:
        found = policy_of(spec)
        assert found is not None
        assert not found.bounds_runs
        assert found.revisions == 10
    for bound in (
        {"succeeded": 1},
        {"failed": 1},
        {"cancelled": 0},
        {"ttl": "1d"},
        {"failedTtl": "1d"},
        {"logs": "1d"},
    ):
        assert policy(**bound).bounds_runs


# Laws.

FINISHED = st.builds(
    Finished,
    uid=st.uuids().map(str),
    namespace=st.sampled_from(["a", "b"]),
    name=st.text("abc", min_size=1, max_size=3),
    phase=st.sampled_from(["Succeeded", "Failed", "Cancelled"]),
    ended=st.integers(0, 3000).map(lambda ago: NOW - ago),
    kept=st.booleans(),
    needed=st.booleans(),
    jobs=st.booleans(),
)
RUNS = st.lists(FINISHED, max_size=30, unique_by=lambda one: one.uid)
COUNTS = st.none() | st.integers(0, 8)
DURATIONS = st.none() | st.integers(0, 3000).map(lambda seconds: f"{seconds}s")
POLICIES = st.builds(
    lambda **history: policy(**{key: value for key, value in history.items() if value is not None}),
    succeeded=COUNTS,
    failed=COUNTS,
    cancelled=COUNTS,
    ttl=DURATIONS,
    failedTtl=DURATIONS,
    logs=DURATIONS,
)


@given(RUNS, POLICIES)
def test_nothing_kept_needed_or_just_ended_ever_goes(runs: list[Finished], what: Policy) -> None:
    found = decide(runs, what, NOW)
    touched = [one for one, _ in found.delete] + list(found.strip)
    assert len({one.uid for one in touched}) == len(touched)
    assert not [one for one in touched if one.kept or one.needed or one.ended + GRACE > NOW]


@given(RUNS, POLICIES)
def test_what_was_done_is_not_to_be_done_again(runs: list[Finished], what: Policy) -> None:
    found = decide(runs, what, NOW)
    gone, bare = {one.uid for one, _ in found.delete}, {one.uid for one in found.strip}
    left = [replace(one, jobs=one.jobs and one.uid not in bare) for one in runs if one.uid not in gone]
    again = decide(left, what, NOW)
    assert (again.delete, again.strip) == ((), ())


@given(RUNS, POLICIES, st.data())
def test_half_of_the_work_done_leaves_the_other_half(runs: list[Finished], what: Policy, data: st.DataObject) -> None:
    """A restart in between, at any place: what is left to do is what had not been done."""
    found = decide(runs, what, NOW)
    done = data.draw(st.integers(0, len(found.delete)))
    gone = {one.uid for one, _ in found.delete[:done]}
    again = decide([one for one in runs if one.uid not in gone], what, NOW)
    assert [one.uid for one, _ in again.delete] == [one.uid for one, _ in found.delete[done:]]


@given(RUNS, st.integers(0, 8), st.randoms())
def test_what_stays_ended_last_in_whatever_order_it_is_told(runs: list[Finished], count: int, random: Any) -> None:
    what = policy(succeeded=count, failed=count)
    found = decide(runs, what, NOW)
    random.shuffle(shuffled := list(runs))
    assert decide(shuffled, what, NOW) == found
    gone = {one.uid for one, _ in found.delete}
    for one, _ in found.delete:
        rivals = [r for r in runs if (r.namespace, r.phase, r.kept) == (one.namespace, one.phase, False)]
        later = [r for r in rivals if r.ended >= one.ended and r.uid not in gone]
        assert len(later) >= count


@given(RUNS, POLICIES)
def test_nothing_goes_before_the_moment_that_was_named(runs: list[Finished], what: Policy) -> None:
    found = decide(runs, what, NOW)
    gone, bare = {one.uid for one, _ in found.delete}, {one.uid for one in found.strip}
    left = [replace(one, jobs=one.jobs and one.uid not in bare) for one in runs if one.uid not in gone]
    due = decide(left, what, NOW).wake_at
    end = NOW + 10_000 if due is None else due
    for moment in (NOW, (NOW + end) / 2, end - 0.001):
        early = decide(left, what, moment)
        assert (early.delete, early.strip) == ((), ())


# Revisions.


def revision(number: int, age: float = DAY, **more: Any) -> Kept:
    return Kept(f"p-{number}", number, NOW - age, **more)


def pruned(revisions: list[Kept], **more: Any) -> list[str]:
    asked: dict[str, Any] = {"current": ["p-9"], "pinned": [], "newest": 2, "grace": 300.0, "now": NOW, **more}
    return list(prune(revisions, **asked).delete)


FIVE = [revision(number) for number in (5, 6, 7, 8, 9)]


@pytest.mark.parametrize(
    ("revisions", "more", "gone"),
    [
        pytest.param(FIVE, {}, ["p-5", "p-6"], id="the last two beside the active one stay"),
        pytest.param(FIVE, {"newest": 10}, [], id="no more than may stay"),
        pytest.param(FIVE, {"newest": 0}, ["p-5", "p-6", "p-7", "p-8"], id="none but the active one"),
        pytest.param(FIVE, {"pinned": ["p-5"]}, ["p-6"], id="one that a run has stays, and takes nobody's place"),
        pytest.param(FIVE, {"current": ["p-5"]}, ["p-6", "p-7"], id="the active one stays whatever its number"),
        pytest.param([revision(5, labelled=True), *FIVE[1:]], {}, ["p-6"], id="one that is labelled, likewise"),
        pytest.param([revision(5, age=299), *FIVE[1:]], {}, ["p-6"], id="one that was just made stays"),
        pytest.param([], {}, [], id="nothing there"),
    ],
)
def test_revisions_go(revisions: list[Kept], more: dict[str, Any], gone: list[str]) -> None:
    assert pruned(revisions, **more) == gone


def test_a_young_revision_is_looked_at_again_when_it_is_not_young_any_more() -> None:
    found = prune([revision(5, age=100), *FIVE[1:]], current=["p-9"], pinned=[], newest=2, grace=300, now=NOW)
    assert found.wake_at == NOW + 200


@given(
    st.lists(
        st.builds(revision, st.integers(1, 30), st.integers(0, 1000), labelled=st.booleans()),
        unique_by=lambda one: one.name,
    ),
    st.sets(st.integers(1, 30).map("p-{}".format)),
    st.integers(1, 30).map("p-{}".format),
    st.integers(0, 12),
)
def test_no_revision_goes_that_is_pinned_active_labelled_or_among_the_newest(
    revisions: list[Kept], pinned: set[str], active: str, newest: int
) -> None:
    asked: dict[str, Any] = {"current": [active], "pinned": pinned, "newest": newest, "grace": 300.0, "now": NOW}
    gone = prune(revisions, **asked).delete
    there = {one.name: one for one in revisions}
    assert not set(gone) & (pinned | {active} | {one.name for one in revisions if one.labelled})
    for name in gone:
        newer = [one for one in revisions if one.number > there[name].number and one.name not in gone]
        assert len(newer) >= newest
    left = [one for one in revisions if one.name not in gone]
    assert prune(left, **asked).delete == ()
