"""Reads that many ask for at once, made once for all of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

V = TypeVar("V")


class SharedReads(Generic[V]):
    """Answers that are never older than the question.

    Who asks while a request for the same thing is under way gets no part in it, since what that one sees may have
    changed before he asked: he shares the next one with all who ask until it is sent. So there is one request under
    way for a thing and one to follow, however many ask. What is given back is shared: nobody may change it.
    """

    def __init__(self) -> None:
        """Begin with nothing asked."""
        self._under_way: dict[Hashable, asyncio.Task[V]] = {}
        self._next: dict[Hashable, asyncio.Task[V]] = {}

    async def get(self, key: Hashable, read: Callable[[], Awaitable[V]]) -> V:
        """Have something read.

        Args:
            key: what it is.
            read: makes the request; of those who share one, the first one's is taken.

        Raises:
            Exception: what the request raised, to all who share it.
        """
        task = self._next.get(key)
        if task is None:
            task = self._next[key] = asyncio.create_task(self._read(key, read))
        return await asyncio.shield(task)  # one who gives up leaves it to the others

    async def _read(self, key: Hashable, read: Callable[[], Awaitable[V]]) -> V:
        while (before := self._under_way.get(key)) is not None:
            await asyncio.wait([before])
        task = self._under_way[key] = self._next.pop(key)
        try:
            return await read()
        finally:
            if self._under_way.get(key) is task:
                del self._under_way[key]
