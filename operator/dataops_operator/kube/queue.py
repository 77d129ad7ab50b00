"""The keyed work queue: one key is worked on by one worker at a time, and no namespace waits for another.

The semantics are those of client-go's workqueue: a key that is added several times before it is taken is
handed out once, and one that is added while it is worked on is handed out again afterwards.
Single-threaded: every method belongs to the event loop's thread.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, Protocol, TypeVar

logger = logging.getLogger(__name__)

FIRST_RETRY = 0.05
LONGEST_RETRY = 60.0


class QueueKey(Hashable, Protocol):
    """What a key must have besides being hashable."""

    @property
    def namespace(self) -> str:
        """The namespace that the key's turn is counted for."""


class TimerHandle(Protocol):
    """What `call_later` gives back."""

    def cancel(self) -> None:
        """Give up the call."""


K = TypeVar("K", bound=QueueKey)
CallLater = Callable[[float, Callable[[], None]], TimerHandle]


class ShutDown(Exception):  # noqa: N818 - an end, not an error
    """The queue hands out no more keys."""


class WorkQueue(Generic[K]):
    """Keys that wait for work, those in work, and those whose time is still to come."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        *,
        call_later: CallLater | None = None,
        observe_latency: Callable[[float], None] | None = None,
        observe_depth: Callable[[int], None] | None = None,
    ) -> None:
        """Make an empty queue.

        Args:
            clock: monotonic seconds.
            call_later: how to be called back after a delay of so many seconds of that clock; the running
                event loop's own where None.
            observe_latency: told, for each key handed out, the seconds it had waited.
            observe_depth: told the number of waiting keys whenever it changes.
        """
        self._clock = clock
        self._call_later = call_later
        self._observe_latency = observe_latency
        self._observe_depth = observe_depth
        self._dirty: dict[K, float] = {}  # must be worked on, since when; includes keys in work
        self._active: set[K] = set()
        self._waiting: dict[str, deque[K]] = {}  # by namespace: dirty and not active
        self._turns: deque[str] = deque()  # namespaces with waiting keys, whose turn is next first
        self._depth = 0
        self._due: dict[K, float] = {}
        self._heap: list[tuple[float, int, K]] = []  # may hold overtaken entries; `_due` has the truth
        self._sequence = 0
        self._timer: TimerHandle | None = None
        self._timer_at = 0.0
        self._failures: dict[K, int] = {}
        self._getters: deque[asyncio.Future[None]] = deque()
        self._closed = False

    def __len__(self) -> int:
        """Count the keys that wait for a worker; not those in work, nor those of `add_after`."""
        return self._depth

    def add(self, key: K) -> None:
        """Ask for work on the key as soon as a worker is free."""
        if self._closed or key in self._dirty:
            return
        self._dirty[key] = self._clock()
        if key not in self._active:
            self._enqueue(key)

    def add_after(self, key: K, seconds: float) -> None:
        """Ask for work on the key in so many seconds; of several such wishes the earliest counts."""
        if seconds <= 0:
            self.add(key)
            return
        when = self._clock() + seconds
        if self._closed or self._due.get(key, float("inf")) <= when:
            return
        self._due[key] = when
        self._sequence += 1
        heapq.heappush(self._heap, (when, self._sequence, key))
        if len(self._heap) > 2 * len(self._due) + 64:
            # Wishes overtaken again and again must not fill the memory.
            self._heap = [entry for entry in self._heap if self._due.get(entry[2]) == entry[0]]
            heapq.heapify(self._heap)
        self._arm()

    async def get(self) -> K:
        """Wait for a key and take it; the caller owes a `done`.

        Raises:
            ShutDown: once `shut_down` was called.
        """
        while not self._turns:
            if self._closed:
                raise ShutDown
            getter = asyncio.get_running_loop().create_future()
            self._getters.append(getter)
            try:
                await getter
            except asyncio.CancelledError:
                if getter.done() and not getter.cancelled():
                    self._wake()  # woken and cancelled at once: the key is another worker's
                elif getter in self._getters:
                    self._getters.remove(getter)
                raise
        return self._take()

    def done(self, key: K) -> None:
        """Say that the work on the key has ended; it waits again if it was added meanwhile."""
        self._active.discard(key)
        if key in self._dirty and not self._closed:
            self._enqueue(key)

    def retry(self, key: K) -> None:
        """Ask for the key again after its backoff: 0.05 s doubled by each failure up to 60 s, with jitter."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        delay = min(LONGEST_RETRY, FIRST_RETRY * 2.0 ** min(failures, 16))
        self.add_after(key, delay * random.uniform(0.5, 1.0))  # noqa: S311 - spreads load, guards nothing

    def failures(self, key: K) -> int:
        """Count the key's retries since it was last forgotten."""
        return self._failures.get(key, 0)

    def forget(self, key: K) -> None:
        """End the key's backoff: the work on it succeeded, or there is none."""
        self._failures.pop(key, None)

    def shut_down(self) -> None:
        """Hand out no more keys; waiting ones are dropped: the next start rebuilds them from the cluster."""
        self._closed = True
        self._dirty.clear()
        self._waiting.clear()
        self._turns.clear()
        self._due.clear()
        self._heap.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._getters:
            self._wake()
        self._changed(-self._depth)

    def _enqueue(self, key: K) -> None:
        waiting = self._waiting.get(key.namespace)
        if waiting is None:
            waiting = self._waiting[key.namespace] = deque()
            self._turns.append(key.namespace)
        waiting.append(key)
        self._changed(1)
        self._wake()

    def _take(self) -> K:
        namespace = self._turns.popleft()
        waiting = self._waiting[namespace]
        key = waiting.popleft()
        if waiting:
            self._turns.append(namespace)
        else:
            del self._waiting[namespace]
        self._active.add(key)
        since = self._dirty.pop(key)
        self._changed(-1)
        if self._observe_latency is not None:
            self._observe_latency(self._clock() - since)
        return key

    def _changed(self, by: int) -> None:
        self._depth += by
        if self._observe_depth is not None:
            self._observe_depth(self._depth)

    def _wake(self) -> None:
        while self._getters:
            getter = self._getters.popleft()
            if not getter.done():
                getter.set_result(None)
                return

    def _arm(self) -> None:
        """Have the one timer run for the earliest wish."""
        while self._heap and self._due.get(self._heap[0][2]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        if not self._heap:
            return
        when = self._heap[0][0]
        if self._timer is not None:
            if self._timer_at <= when:
                return
            self._timer.cancel()
        call_later = self._call_later or asyncio.get_running_loop().call_later
        self._timer_at = when
        self._timer = call_later(max(0.0, when - self._clock()), self._fire)

    def _fire(self) -> None:
        self._timer = None
        now = self._clock()
        while self._heap and self._heap[0][0] <= now:
            when, _, key = heapq.heappop(self._heap)
            if self._due.get(key) == when:
                del self._due[key]
                self.add(key)
        self._arm()


async def run_workers(queue: WorkQueue[K], n: int, handler: Callable[[K], Awaitable[None]]) -> None:
    """Work on the queue's keys, n at a time, until it is shut down; work in hand is finished.

    A handler that returns ends its key's backoff, unless it called `queue.retry` itself. One that raises
    has its error logged with the key and is called again after the key's backoff. Cancelling this cancels
    the handlers.
    """

    async def worker() -> None:
        while True:
            try:
                key = await queue.get()
            except ShutDown:
                return
            failures = queue.failures(key)
            try:
                await handler(key)
            except Exception:
                logger.exception("Reconciling %s failed; it is tried again", key)
                queue.retry(key)
            else:
                if queue.failures(key) == failures:
                    queue.forget(key)
            finally:
                queue.done(key)
            # Neither `get` nor a handler that finds nothing to do gives way by itself: a long queue of
            # such keys must not hold up watches, probes and the lease.
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as group:
        for number in range(n):
            group.create_task(worker(), name=f"worker-{number}")
