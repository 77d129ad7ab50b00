from typing import Any

import pytest

from dataops_operator.core.quota import Turn, turn

Object = dict[str, Any]


def run(name: str, second: int = 0, waits: str = "", **more: Any) -> Object:
    meta = {"name": name, "uid": f"uid-{name}", "creationTimestamp": f"2026-01-05T06:00:{second:02d}Z", **more}
    status: Object = {"waitingFor": [{"reason": waits}]} if waits else {}
    if name.startswith("active"):
        status["revision"] = "p-1"
    return {"metadata": meta, "status": status}


def place(mine: Object, *live: Object, limit: int = 2) -> Turn:
    return turn(mine, [mine, *live], limit, lambda one: "revision" in one["status"])


@pytest.mark.parametrize(
    ("live", "expected"),
    [
        ([], Turn(0)),
        ([run("active-a")], Turn(0)),
        ([run("active-a", 1), run("active-b", 0)], Turn(1, "active-b")),
        ([run("active-a"), run("active-b"), run("active-c")], Turn(1, "active-a")),
        ([run("active-a"), run("early", 1)], Turn(1, "active-a")),
        ([run("early-1", 1), run("early-2", 2)], Turn(1, "early-1")),
        ([run("active-a"), run("active-b"), run("early", 1, "RunQuota")], Turn(2, "active-a")),
        ([run("active-a"), run("late", 9)], Turn(0)),
        ([run("active-a"), run("a-mate", 5)], Turn(1, "active-a")),
        ([run("active-a"), run("z-mate", 5)], Turn(0)),
        ([run("active-a"), run("early", 1, "PipelineNotFound")], Turn(0)),
        ([run("active-a"), run("early", 1, "OperatorError")], Turn(0)),
        ([run("active-a"), run("early", 1, "Frozen")], Turn(1, "active-a")),
        ([run("active-a"), run("early", 1, deletionTimestamp="2026-01-05T06:01:00Z")], Turn(0)),
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
        "who waits for a pipeline holds up nobody",
        "nor does who cannot be reconciled",
        "who waited for the end of a freeze keeps the place",
        "nor does who is being deleted",
    ],
)
def test_a_run_begins_when_its_turn_has_come(live: list[Object], expected: Turn) -> None:
    assert place(run("mine", 5), *live) == expected


def test_of_many_as_many_begin_as_have_room_and_the_rest_has_its_places_in_order() -> None:
    runs = [run(f"r{number}", number) for number in range(5)]
    assert [place(one, *(other for other in runs if other is not one)).position for one in runs] == [0, 0, 1, 2, 3]
