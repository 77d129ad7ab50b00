"""A fan-out by one Indexed Job, whose pods find their items on a real node."""

from __future__ import annotations

from tests.e2e.room import Room, begins, python, row

ITEMS = 200
BROKEN = (3, 50, 77, 120, 199)
WORK = f"""
import json, os, sys
with open("/dataops/item") as file:
    item = json.load(file)
index = int(os.environ["DATAOPS_ITEM_INDEX"])
assert item == {{"day": index * 2}}, (item, index)
assert os.environ["DATAOPS_IDEMPOTENCY_KEY"].endswith(f"/part/{{index}}"), os.environ["DATAOPS_IDEMPOTENCY_KEY"]
if index in {BROKEN}:
    with open("/dataops/result", "w") as file:
        json.dump({{"message": f"day {{index}} is broken"}}, file)
    sys.exit(9)
with open("/dataops/result", "w") as file:
    json.dump({{"outputs": {{"n": index}}}}, file)
"""


def begin(room: Room) -> None:
    each = {
        "items": [{"day": index * 2} for index in range(ITEMS)],
        "mode": "Indexed",
        "parallelism": 20,
        "tolerate": len(BROKEN),
        "failFast": False,
    }
    small = {"requests": {"cpu": "1m", "memory": "8Mi"}}
    retry = {"limit": 1, "exitCodes": {"never": [9]}}
    room.start(
        python("part", WORK, forEach=each, outputs=[{"name": "n", "type": "Integer"}], resources=small, retry=retry)
    )


@begins(begin)
def test_two_hundred_items_of_which_five_fail_are_one_job(room: Room) -> None:
    found = row(room.succeeded(within=500), "part")
    assert (found["items"]["total"], found["items"]["succeeded"], found["items"]["failed"]) == (ITEMS, 195, 5)
    assert found["items"]["errors"][0] == "item 3: exit code 9: day 3 is broken"
    assert found["outputs"]["n"] == [None if index in BROKEN else index for index in range(ITEMS)]
    assert room.jobs() == [("part", 1)]
