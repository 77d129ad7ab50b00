"""What can go wrong between the operator and the API server: one small class each, for `Proxy(fault=...)`.

A fault that aims at write k takes its number from the proxy (from 1, Leases and Events not counted).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Literal

import orjson
from tests.harness.proxy import Answer, Call, Dropped, Fault, Forward, status_object

REASONS = {
    409: "Conflict",
    410: "Expired",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
}
When = Literal["before", "after"]
Layer = Callable[[Call, Forward], Awaitable[Answer | None]]


class CrashAt(Fault):
    """The operator dies at write `k`: before it reaches the server, or after it was committed, answer unseen.

    Args:
        k: the write's number.
        when: `before` or `after`.
        kill: ends the operator at once (SIGKILL); called exactly once.
    """

    def __init__(self, k: int, when: When, kill: Callable[[], None]) -> None:
        super().__init__()
        self.k = k
        self.when = when
        self._kill = kill

    async def write(self, call: Call, forward: Forward) -> Answer | None:
        if call.number != self.k:
            return await forward()
        self.hits.append(str(call))
        if self.when == "after":
            await forward()
        self._kill()
        return None


class AnswerWith(Fault):
    """Write `k` is not done; the answer is an error.

    Args:
        k: the write's number.
        status: 409, 410, 429, 500 or 503.
        times: how many writes from the k-th on meet that.
        retry_after: seconds for the Retry-After header, None for no such header.
    """

    def __init__(self, k: int, status: int, times: int = 1, retry_after: int | None = None) -> None:
        super().__init__()
        self.k = k
        self.status = status
        self.times = times
        self.retry_after = retry_after

    async def write(self, call: Call, forward: Forward) -> Answer | None:
        if not self.k <= call.number < self.k + self.times:
            return await forward()
        self.hits.append(str(call))
        headers = {"Content-Type": "application/json"}
        if self.retry_after is not None:
            headers["Retry-After"] = str(self.retry_after)
        reason = "AlreadyExists" if self.status == 409 and call.method == "POST" else REASONS[self.status]
        body = status_object(self.status, reason, f"{reason}, made up by a test")
        return Answer(self.status, orjson.dumps(body), headers)


class LoseAnswer(Fault):
    """Write `k` is committed, and its answer lost: the connection breaks."""

    def __init__(self, k: int) -> None:
        super().__init__()
        self.k = k

    async def write(self, call: Call, forward: Forward) -> Answer | None:
        answer = await forward()
        if call.number != self.k:
            return answer
        self.hits.append(str(call))
        return None


class HoldEvents(Fault):
    """From a kind's first event on, nothing of it is told for some seconds; then all of it, in order.

    Args:
        plural: the kind, `pods`.
        seconds: for how long.
        after: how many events pass before.
    """

    def __init__(self, plural: str, seconds: float, after: int = 0) -> None:
        super().__init__()
        self.plural = plural
        self.seconds = seconds
        self._left = after
        self._until = 0.0

    async def event(self, call: Call, line: bytes) -> bytes | None:
        if call.plural != self.plural or b'"BOOKMARK"' in line[:30]:
            return line
        if self._left:
            self._left -= 1
            return line
        self._until = self._until or time.monotonic() + self.seconds
        wait = self._until - time.monotonic()
        if wait > 0:
            self.hits.append(f"an event of {self.plural} held")
            await asyncio.sleep(wait)
        return line


class DropWatches(Fault):
    """Each watch's connection is cut after every few events (the event itself is told)."""

    def __init__(self, every: int) -> None:
        super().__init__()
        self.every = every

    async def event(self, call: Call, line: bytes) -> bytes | None:
        if call.events >= self.every:
            self.hits.append(f"the watch of {call.plural} cut")
            raise Dropped(line)
        return line


class ExpireWatch(Fault):
    """A kind's events are swallowed for some seconds, then 410 ends the watch: only a new list tells of them.

    Args:
        plural: the kind.
        seconds: how long it is blind, from the first swallowed event on.
        after: how many events pass before.
    """

    def __init__(self, plural: str, seconds: float, after: int = 0) -> None:
        super().__init__()
        self.plural = plural
        self.seconds = seconds
        self._left = after
        self._done = False

    async def event(self, call: Call, line: bytes) -> bytes | None:
        if self._done or call.plural != self.plural:
            return line
        if self._left:
            self._left -= 1
            return line
        # The lines that arrive meanwhile stay unread behind this one, and go with the connection.
        self.hits.append(f"the watch of {self.plural} expired")
        self._done = True
        await asyncio.sleep(self.seconds)
        body = status_object(410, "Expired", "too old resource version, made up by a test")
        raise Dropped(orjson.dumps({"type": "ERROR", "object": body}))


class StaleLists(Fault):
    """Lists of a kind are answered from the past: the first answer again and again.

    A watch that starts there is told everything since, but only after a while, as by an API server that lags behind.

    Args:
        plural: the kind.
        lag: seconds from an old list to the first event after it.
    """

    def __init__(self, plural: str, lag: float) -> None:
        super().__init__()
        self.plural = plural
        self.lag = lag
        self._old: dict[str, Answer] = {}
        self._until = 0.0

    async def read(self, call: Call, forward: Forward) -> Answer | None:
        if not call.is_list or call.plural != self.plural:
            return await forward()
        key = call.path + "?" + call.query
        if key in self._old:
            self.hits.append(f"an old list of {self.plural} served")
            self._until = time.monotonic() + self.lag
        else:
            self._old[key] = await forward()
        return self._old[key]

    async def event(self, call: Call, line: bytes) -> bytes | None:
        if call.plural == self.plural:
            await asyncio.sleep(max(0.0, self._until - time.monotonic()))
        return line


class Together(Fault):
    """Several faults at once, the first the outermost; it has struck when each of them has."""

    def __init__(self, *faults: Fault) -> None:
        super().__init__()
        self._faults = faults

    def struck(self) -> list[str]:
        hits = [fault.struck() for fault in self._faults]
        return [hit for one in hits for hit in one] if all(hits) else []

    async def write(self, call: Call, forward: Forward) -> Answer | None:
        return await self._through([fault.write for fault in self._faults], call, forward)

    async def read(self, call: Call, forward: Forward) -> Answer | None:
        return await self._through([fault.read for fault in self._faults], call, forward)

    async def event(self, call: Call, line: bytes) -> bytes | None:
        passed: bytes | None = line
        for fault in self._faults:
            if passed is not None:
                passed = await fault.event(call, passed)
        return passed

    async def _through(self, layers: list[Layer], call: Call, forward: Forward) -> Answer | None:
        if not layers:
            return await forward()

        async def inner() -> Answer:
            answer = await self._through(layers[1:], call, forward)
            if answer is None:
                raise ConnectionAbortedError
            return answer

        try:
            return await layers[0](call, inner)
        except ConnectionAbortedError:
            return None
