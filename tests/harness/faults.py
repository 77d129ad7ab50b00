"""What can go wrong between the operator and the API server: one small class each, for `Proxy(fault=...)`.

A fault that aims at write k takes its number from the proxy (from 1, Leases and Events not counted).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
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


class CrashAt(Fault):
    """The operator dies at write `k`: before it reaches the server, or after it was committed, answer unseen.

    Args:
        k: the write's number.
        when: `before` or `after`.
        kill: ends the operator at once (SIGKILL); called exactly once.

    `struck` is the call at which it happened, None until then.
    """

    def __init__(self, k: int, when: When, kill: Callable[[], None]) -> None:
        self.k = k
        self.when = when
        self.struck: Call | None = None
        self._kill = kill

    async def write(self, call: Call, forward: Forward) -> Answer | None:
        if call.number != self.k:
            return await forward()
        self.struck = call
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
        self.k = k
        self.status = status
        self.times = times
        self.retry_after = retry_after
        self.struck: Call | None = None

    async def write(self, call: Call, forward: Forward) -> Answer | None:
        if not self.k <= call.number < self.k + self.times:
            return await forward()
        self.struck = call
        headers = {"Content-Type": "application/json"}
        if self.retry_after is not None:
            headers["Retry-After"] = str(self.retry_after)
        reason = "AlreadyExists" if self.status == 409 and call.method == "POST" else REASONS[self.status]
        body = status_object(self.status, reason, f"{reason}, made up by a test")
        return Answer(self.status, orjson.dumps(body), headers)


class LoseAnswer(Fault):
    """Write `k` is committed, and its answer lost: the connection breaks."""

    def __init__(self, k: int) -> None:
        self.k = k
        self.struck: Call | None = None

    async def write(self, call: Call, forward: Forward) -> Answer | None:
        answer = await forward()
        if call.number != self.k:
            return answer
        self.struck = call
        return None


class HoldEvents(Fault):
    """From a kind's first event on, nothing of it is told for some seconds; then all of it, in order.

    Args:
        plural: the kind, `pods`.
        seconds: for how long.
        after: how many events pass before.
    """

    def __init__(self, plural: str, seconds: float, after: int = 0) -> None:
        self.plural = plural
        self.seconds = seconds
        self.held = 0
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
            self.held += 1
            await asyncio.sleep(wait)
        return line


class DropWatches(Fault):
    """Each watch's connection is cut after every few events (the event itself is told)."""

    def __init__(self, every: int) -> None:
        self.every = every
        self.dropped = 0
        self._seen: dict[int, int] = {}

    async def event(self, call: Call, line: bytes) -> bytes | None:
        seen = self._seen[id(call)] = self._seen.get(id(call), 0) + 1
        if seen >= self.every:
            del self._seen[id(call)]
            self.dropped += 1
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
        self.plural = plural
        self.seconds = seconds
        self.swallowed = 0
        self._left = after
        self._done = False

    async def event(self, call: Call, line: bytes) -> bytes | None:
        if self._done or call.plural != self.plural:
            return line
        if self._left:
            self._left -= 1
            return line
        # The lines that arrive meanwhile stay unread behind this one, and go with the connection.
        self.swallowed += 1
        self._done = True
        await asyncio.sleep(self.seconds)
        body = status_object(410, "Expired", "too old resource version, made up by a test")
        raise Dropped(orjson.dumps({"type": "ERROR", "object": body}))


class StaleLists(Fault):
    """Lists of a kind are answered from the past: the first answer again, until `fresh()` is called.

    A watch that starts there is told everything since, as by an API server that lags behind.
    """

    def __init__(self, plural: str) -> None:
        self.plural = plural
        self.served = 0
        self._old: dict[str, Answer] | None = {}

    def fresh(self) -> None:
        """From now on the truth."""
        self._old = None

    async def read(self, call: Call, forward: Forward) -> Answer | None:
        if self._old is None or not call.is_list or call.plural != self.plural:
            return await forward()
        key = call.path + "?" + call.query
        if key in self._old:
            self.served += 1
        else:
            self._old[key] = await forward()
        return self._old[key]
