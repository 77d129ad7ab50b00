from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.kube.objects import make, replaced

from dataops_operator.kube.cache import TOMBSTONE_AGE, Store, version_of
from dataops_operator.kube.resources import JOBS


@pytest.fixture
def store() -> Store:
    return Store(JOBS)


def test_a_newer_version_is_taken_and_an_older_or_equal_one_is_not(store: Store) -> None:
    assert store.upsert(make("j", 9))
    assert store.upsert(make("j", 10))
    assert not store.upsert(make("j", 10))
    assert not store.upsert(make("j", 9))
    held = store.get("a", "j")
    assert held is not None
    assert version_of(held) == 10
    assert store.by_uid("uid-j") is held


def test_an_object_of_the_same_name_replaces_its_predecessor_for_good(store: Store) -> None:
    store.upsert(make("j", 5, uid="first"))
    assert not store.upsert(make("j", 4, uid="older"))
    assert store.upsert(make("j", 6, uid="second"))
    assert store.by_uid("first") is None
    assert not store.upsert(make("j", 7, uid="first"))
    assert len(store) == 1


def test_the_end_of_the_predecessor_does_not_remove_the_successor(store: Store) -> None:
    store.upsert(make("j", 6, uid="second"))
    assert not store.remove(make("j", 5, uid="first"))
    assert store.get("a", "j") is not None


@pytest.mark.parametrize("held", [True, False])
def test_a_late_answer_does_not_bring_a_removed_object_back(held: bool) -> None:
    now = [0.0]
    store = Store(JOBS, clock=lambda: now[0])
    if held:
        store.upsert(make("j", 5))
    assert store.remove(make("j", 6)) is held
    assert not store.upsert(make("j", 7))
    now[0] = TOMBSTONE_AGE + 1
    store.remove(make("other", 1))
    assert store.upsert(make("j", 8)), "tombstones do not pile up for ever"


def test_objects_are_found_by_their_controller_only(store: Store) -> None:
    store.upsert(make("one", 1, owner="run"))
    store.upsert(make("two", 2, owner="run"))
    store.upsert(make("three", 3, owner="other"))
    assert [item["metadata"]["name"] for item in store.by_owner("run")] == ["one", "two"]
    assert store.by_owner("not-a-controller") == []
    store.remove(make("one", 4))
    store.upsert(make("two", 5, owner="other"))
    assert store.by_owner("run") == []
    assert {item["metadata"]["name"] for item in store.by_owner("other")} == {"two", "three"}


def test_an_index_of_ones_own_is_filled_from_what_is_there_and_followed(store: Store) -> None:
    store.upsert(make("one", 1, phase="Running"))
    store.index("phase", lambda item: [item["phase"]] if "phase" in item else [])
    store.upsert(make("two", 2, phase="Running"))
    assert len(store.by_index("phase", "Running")) == 2
    store.upsert(make("one", 3, phase="Succeeded"))
    assert [item["metadata"]["name"] for item in store.by_index("phase", "Running")] == ["two"]
    assert store.by_index("phase", "Succeeded") == [store.get("a", "one")]


def test_a_list_is_compared_with_what_is_held(store: Store) -> None:
    for name, version in (("same", 1), ("changed", 2), ("gone", 3), ("made-after-the-list", 12)):
        store.upsert(make(name, version))
    changed, added = make("changed", 8), make("added", 9)
    difference = replaced(store, [make("same", 1), changed, added], "10")
    assert difference == [(make("changed", 2), changed), (None, added), (make("gone", 3), None)]
    assert sorted(item["metadata"]["name"] for item in store) == [
        "added",
        "changed",
        "made-after-the-list",
        "same",
    ]


def test_the_list_of_one_namespace_says_nothing_about_another(store: Store) -> None:
    store.upsert(make("j", 1, namespace="b", uid="b"))
    assert replaced(store, [], "10", namespace="a") == []
    assert len(store) == 1


# A history of the cluster: which of three names is created, changed or deleted, one version a step.
Step = tuple[str, bool]
histories = st.lists(st.tuples(st.sampled_from("xyz"), st.booleans()), min_size=1, max_size=30)


def play(history: list[Step]) -> list[tuple[str, dict[str, Any], dict[str, dict[str, Any]]]]:
    """Return each step's event and the whole state after it."""
    state: dict[str, dict[str, Any]] = {}
    events = []
    for version, (name, ends) in enumerate(history, start=1):
        before = state.get(name)
        uid = before["metadata"]["uid"] if before else f"{name}{version}"
        item = make(name, version, uid=uid, owner=f"owner-{version % 3}")
        kind = ("DELETED" if ends else "MODIFIED") if before else "ADDED"
        state = {key: value for key, value in state.items() if key != name}
        if kind != "DELETED":
            state[name] = item
        events.append((kind, item, state))
    return events


@given(histories, st.data())
def test_however_late_and_mixed_the_news_the_cache_never_goes_back(history: list[Step], data: st.DataObject) -> None:
    events = play(history)
    store = Store(JOBS)
    removed: set[str] = set()
    versions: dict[str, int] = {}
    count = len(events)
    for _ in range(data.draw(st.integers(0, 2 * count))):
        at = data.draw(st.integers(0, count - 1))
        kind, item, state = events[at]
        if data.draw(st.booleans()):  # a list of that moment, late as it may be
            for _old, new in replaced(store, list(state.values()), str(at + 1)):
                assert new is None or new["metadata"]["uid"] not in removed
        elif kind == "DELETED":
            store.remove(item)
            removed.add(item["metadata"]["uid"])
        else:
            store.upsert(item)
        for held in store:
            uid = held["metadata"]["uid"]
            assert uid not in removed
            assert version_of(held) >= versions.get(uid, 0)
            versions[uid] = version_of(held)
        by_owner = {id(item) for number in range(3) for item in store.by_owner(f"owner-{number}")}
        assert by_owner == {id(held) for held in store}
    replaced(store, list(events[-1][2].values()), str(count))
    assert {item["metadata"]["name"]: item for item in store} == events[-1][2]


def test_what_is_not_wanted_is_not_held_and_what_stops_being_wanted_is_let_go_for_good() -> None:
    store = Store(JOBS, wanted=lambda item: not item.get("ended"))
    assert store.put(make("a", 1, ended=True)) is None
    held = make("b", 2)
    assert store.upsert(held)
    assert store.put(make("b", 3, ended=True)) == (held, None)
    assert len(store) == 0
    assert not store.upsert(make("b", 2)), "an older state of it, told late, brings nothing back"


def test_an_object_is_held_as_our_next_write_will_make_it_until_another_version_comes(store: Store) -> None:
    store.index("phase", lambda item: (item.get("status", {}).get("phase", ""),))
    store.upsert(make("j", 5))
    foreseen = {**make("j", 5), "status": {"phase": "Running"}}
    change = store.foresee(foreseen)
    assert change is not None
    assert change[1] is store.get("a", "j") is store.by_uid("uid-j") is foreseen
    assert store.by_index("phase", "Running") == [foreseen]
    assert not store.upsert(make("j", 5)), "as the same version comes in once more"
    assert store.foresee({**make("j", 4), "status": {}}) is None, "something was foreseen of what is past"
    assert store.foresee({**make("j", 5, uid="other"), "status": {}}) is None
    assert store.foresee(make("none", 5)) is None
    assert store.upsert(make("j", 6))
    assert store.by_index("phase", "Running") == []
