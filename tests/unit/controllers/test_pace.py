"""When the next deletion may be, and when small news are told."""

from __future__ import annotations

import asyncio
import time

from tests.harness.faketime import FakeTime

from dataops_operator.controllers.pace import LATEST, PATIENCE, Pace, Spread


async def test_deletions_are_so_many_a_second_and_no_more() -> None:
    pace, began = Pace(lambda: False, rate=20), time.monotonic()
    for _ in range(5):
        await pace.turn()
    assert 0.2 <= time.monotonic() - began < 1


async def test_work_goes_first_for_a_while_and_never_for_good() -> None:
    busy = True
    pace, began = Pace(lambda: busy, rate=1000), time.monotonic()
    await pace.turn()
    assert PATIENCE <= time.monotonic() - began < PATIENCE + 1
    waiting = asyncio.create_task(pace.turn())
    await asyncio.sleep(0.1)
    assert not waiting.done()
    busy = False
    await asyncio.wait_for(waiting, 0.5)


def test_few_news_are_told_soon_and_of_many_each_has_its_time() -> None:
    spread = Spread[str](0.5, rate=10, clock=FakeTime())
    assert [round(spread.wait(key), 3) for key in "abcd"] == [0.5, 0.6, 0.7, 0.8]


def test_what_is_told_soon_is_told_with_all_that_comes_until_then() -> None:
    clock = FakeTime()
    spread = Spread[str](0.5, rate=10, clock=clock)
    assert spread.wait("a") == 0.5
    clock.now += 0.4
    assert round(spread.wait("a"), 3) == 0.1
    assert round(spread.wait("b"), 3) == 0.5, "and takes no time of others"
    clock.now += 0.2
    assert round(spread.wait("a"), 3) == 0.5, "what comes after it was told is told again"


def test_time_that_passes_makes_room_for_news() -> None:
    clock = FakeTime()
    spread = Spread[int](0.5, rate=10, clock=clock)
    for number in range(10):
        spread.wait(number)
    clock.now += 0.5
    assert round(spread.wait(10), 3) == 1.0, "those before have theirs first"
    clock.now += 10
    assert spread.wait(11) == 0.5


def test_no_news_wait_longer_than_they_may_however_many_there_are() -> None:
    spread = Spread[int](0.5, rate=10, clock=FakeTime())
    waits = [spread.wait(number) for number in range(1000)]
    assert max(waits) == waits[-1] == LATEST


def test_nothing_is_remembered_of_what_was_told() -> None:
    clock = FakeTime()
    spread = Spread[int](0.5, clock=clock)
    for number in range(1000):
        spread.wait(number)
        clock.now += 0.1
    assert len(spread._due) < 120
