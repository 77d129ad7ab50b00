import asyncio
from typing import NamedTuple

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from tests.harness.faketime import FakeTime

from dataops_operator.kube.queue import ShutDown, WorkQueue, run_workers


class Key(NamedTuple):
    kind: str
    namespace: str
    name: str


def key(name: str, namespace: str = "a") -> Key:
    return Key("PipelineRun", namespace, name)


@pytest.fixture
def time() -> FakeTime:
    return FakeTime()


@pytest.fixture
def queue(time: FakeTime) -> WorkQueue[Key]:
    return WorkQueue(time, call_later=time.call_later)


def take(queue: WorkQueue[Key]) -> Key:
    """Take a key that waits, without an event loop."""
    try:
        queue.get().send(None)
    except StopIteration as got:
        taken: Key = got.value
        return taken
    raise AssertionError("no key was waiting")


def test_a_key_added_twice_is_handed_out_once(queue: WorkQueue[Key]) -> None:
    queue.add(key("x"))
    queue.add(key("x"))
    assert len(queue) == 1
    assert take(queue) == key("x")
    assert len(queue) == 0


def test_a_key_added_while_in_work_waits_until_it_is_done(queue: WorkQueue[Key]) -> None:
    queue.add(key("x"))
    take(queue)
    queue.add(key("x"))
    assert len(queue) == 0
    queue.done(key("x"))
    assert take(queue) == key("x")
    queue.done(key("x"))
    assert len(queue) == 0


def test_a_namespace_with_many_keys_does_not_delay_another(queue: WorkQueue[Key]) -> None:
    for number in range(2000):
        queue.add(key(str(number), "busy"))
    queue.add(key("x", "quiet"))
    queue.add(key("y", "quiet"))
    assert [take(queue).namespace for _ in range(5)] == ["busy", "quiet", "busy", "quiet", "busy"]


def test_of_several_times_the_earliest_counts(queue: WorkQueue[Key], time: FakeTime) -> None:
    queue.add_after(key("x"), 10)
    queue.add_after(key("x"), 5)
    queue.add_after(key("x"), 20)
    time.advance(4.9)
    assert len(queue) == 0
    time.advance(0.1)
    assert take(queue) == key("x")
    queue.done(key("x"))
    time.advance(100)
    assert len(queue) == 0


def test_one_timer_serves_all_delays(queue: WorkQueue[Key], time: FakeTime) -> None:
    for number in range(100):
        queue.add_after(key(str(number)), 100 - number)
    assert time.pending() == 1
    time.advance(50)
    assert len(queue) == 50
    assert time.pending() == 1


def test_delays_overtaken_again_and_again_do_not_fill_the_memory(queue: WorkQueue[Key]) -> None:
    for number in range(10_000):
        queue.add_after(key("x"), 10_000 - number)
    assert len(queue._heap) < 200


def test_the_backoff_doubles_up_to_a_minute_and_ends_when_forgotten(queue: WorkQueue[Key], time: FakeTime) -> None:
    waits = []
    for _ in range(14):
        queue.retry(key("x"))
        started = time.now
        while not len(queue):
            time.advance(0.005)
        waits.append(time.now - started)
        take(queue)
        queue.done(key("x"))
    assert 0.025 <= waits[0] <= 0.06
    assert 0.1 <= waits[2] <= 0.21
    assert 30 <= waits[-1] <= 60.01
    queue.forget(key("x"))
    queue.retry(key("x"))
    time.advance(0.05)
    assert take(queue) == key("x")


def test_latency_and_depth_are_reported(time: FakeTime) -> None:
    latencies: list[float] = []
    depths: list[int] = []
    queue: WorkQueue[Key] = WorkQueue(
        time, call_later=time.call_later, observe_latency=latencies.append, observe_depth=depths.append
    )
    queue.add(key("x"))
    time.advance(3)
    take(queue)
    assert (latencies, depths) == ([3.0], [1, 0])


async def test_get_waits_and_a_cancelled_waiter_loses_no_key() -> None:
    queue: WorkQueue[Key] = WorkQueue()
    first, second = (asyncio.create_task(queue.get()) for _ in range(2))
    await asyncio.sleep(0)
    queue.add(key("x"))  # wakes the first, which is cancelled before it runs
    first.cancel()
    assert await asyncio.wait_for(second, 1) == key("x")
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_shutting_down_ends_waiting_and_drops_what_waits() -> None:
    queue: WorkQueue[Key] = WorkQueue()
    waiting = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.shut_down()
    with pytest.raises(ShutDown):
        await waiting
    queue.add(key("x"))
    queue.add_after(key("y"), 0.001)
    await asyncio.sleep(0.01)
    with pytest.raises(ShutDown):
        await queue.get()


async def test_workers_finish_what_is_in_hand_when_the_queue_shuts_down() -> None:
    queue: WorkQueue[Key] = WorkQueue()
    finished = []

    async def handler(taken: Key) -> None:
        await asyncio.sleep(0.05)
        finished.append(taken.name)

    queue.add(key("in-hand"))
    workers = asyncio.create_task(run_workers(queue, 1, handler))
    await asyncio.sleep(0.01)
    queue.add(key("waiting"))
    queue.shut_down()
    await workers
    assert finished == ["in-hand"]


async def test_a_failing_handler_is_logged_with_its_key_and_called_again(caplog: pytest.LogCaptureFixture) -> None:
    queue: WorkQueue[Key] = WorkQueue()
    calls = []

    async def handler(taken: Key) -> None:
        calls.append(taken.name)
        if len(calls) < 3:
            raise RuntimeError("broken")
        queue.shut_down()

    queue.add(key("x"))
    await asyncio.wait_for(run_workers(queue, 4, handler), 5)
    assert calls == ["x"] * 3
    assert len(caplog.records) == 2
    assert "name='x'" in caplog.text
    assert "RuntimeError: broken" in caplog.text
    assert queue.failures(key("x")) == 0


async def test_a_handler_that_asks_for_a_retry_keeps_its_backoff() -> None:
    queue: WorkQueue[Key] = WorkQueue()
    seen = []

    async def handler(taken: Key) -> None:
        seen.append(queue.failures(taken))
        if len(seen) == 3:
            queue.shut_down()
        queue.retry(taken)

    queue.add(key("x"))
    await asyncio.wait_for(run_workers(queue, 1, handler), 5)
    assert seen == [0, 1, 2]


async def test_a_long_queue_of_quick_handlers_lets_others_run() -> None:
    queue: WorkQueue[Key] = WorkQueue()
    for number in range(1000):
        queue.add(key(str(number)))
    done = 0

    async def handler(_: Key) -> None:
        nonlocal done
        done += 1

    workers = asyncio.create_task(run_workers(queue, 4, handler))
    for _ in range(3):
        await asyncio.sleep(0)
    assert 0 < done < 100
    queue.shut_down()
    await workers


class QueueMachine(RuleBasedStateMachine):
    """Any order of calls: no key is lost, none is in two hands at once."""

    keys = st.builds(key, st.sampled_from("uvwxyz"), st.sampled_from("ab"))

    def __init__(self) -> None:
        super().__init__()
        self.time = FakeTime()
        self.queue: WorkQueue[Key] = WorkQueue(self.time, call_later=self.time.call_later)
        self.owed: set[Key] = set()  # added, and not taken since
        self.later: dict[Key, float] = {}
        self.in_hand: list[Key] = []

    def settle(self) -> None:
        due = {k for k, when in self.later.items() if when <= self.time.now}
        self.owed |= due
        for one in due:
            del self.later[one]

    @rule(k=keys)
    def add(self, k: Key) -> None:
        self.queue.add(k)
        self.owed.add(k)

    @rule(k=keys, seconds=st.integers(0, 20))
    def add_after(self, k: Key, seconds: int) -> None:
        self.queue.add_after(k, seconds)
        self.later[k] = min(self.later.get(k, float("inf")), self.time.now + seconds)
        self.settle()

    @rule(k=keys)
    def retry(self, k: Key) -> None:
        self.queue.retry(k)
        self.time.advance(60)
        self.owed.add(k)
        self.settle()

    @rule(seconds=st.integers(1, 10))
    def advance(self, seconds: int) -> None:
        self.time.advance(seconds)
        self.settle()

    @precondition(lambda self: len(self.queue) > 0)
    @rule()
    def take(self) -> None:
        taken = take(self.queue)
        assert taken not in self.in_hand, "in two hands at once"
        assert taken in self.owed, "handed out though nobody asked"
        self.owed.remove(taken)
        self.in_hand.append(taken)

    @precondition(lambda self: self.in_hand)
    @rule(data=st.data())
    def done(self, data: st.DataObject) -> None:
        k = data.draw(st.sampled_from(self.in_hand))
        self.in_hand.remove(k)
        self.queue.done(k)

    @invariant()
    def nothing_is_lost(self) -> None:
        assert len(self.queue) == len(self.owed - set(self.in_hand))


QueueMachine.TestCase.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
TestQueueMachine = QueueMachine.TestCase
