import asyncio

import pytest

from dataops_operator.kube.errors import NotFound
from dataops_operator.kube.shared import SharedReads


class Server:
    """Answers when it is told to, with what it has at that moment."""

    def __init__(self) -> None:
        self.value = 0
        self.asked = 0
        self.gate = asyncio.Event()

    async def read(self) -> int:
        self.asked += 1
        seen = self.value
        await self.gate.wait()
        return seen

    async def refuse(self) -> int:
        self.asked += 1
        raise NotFound(404, "NotFound", "no such thing")


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_those_who_ask_at_once_share_one_request() -> None:
    reads, server = SharedReads[int](), Server()
    asked = [asyncio.create_task(reads.get("a", server.read)) for _ in range(10)]
    server.gate.set()
    assert (await asyncio.gather(*asked), server.asked) == ([0] * 10, 1)
    assert (await reads.get("a", server.read), server.asked) == (0, 2), "an answer is not kept"


async def test_nobody_gets_an_answer_that_is_older_than_his_question() -> None:
    reads, server = SharedReads[int](), Server()
    early = asyncio.create_task(reads.get("a", server.read))
    await turns()
    server.value = 1  # after the first request was sent
    late = [asyncio.create_task(reads.get("a", server.read)) for _ in range(3)]
    await turns()
    assert server.asked == 1, "one request for a thing at a time"
    server.gate.set()
    assert (await early, await asyncio.gather(*late), server.asked) == (0, [1, 1, 1], 2)


async def test_two_things_are_two_requests() -> None:
    reads, server = SharedReads[int](), Server()
    server.gate.set()
    await asyncio.gather(reads.get("a", server.read), reads.get("b", server.read))
    assert server.asked == 2


async def test_a_refusal_is_everybodys_and_is_not_kept() -> None:
    reads, server = SharedReads[int](), Server()
    told = await asyncio.gather(*(reads.get("a", server.refuse) for _ in range(3)), return_exceptions=True)
    assert [type(one) for one in told] == [NotFound] * 3
    server.gate.set()
    assert await reads.get("a", server.read) == 0


async def test_one_who_gives_up_leaves_the_answer_to_the_others() -> None:
    reads, server = SharedReads[int](), Server()
    first, second = (asyncio.create_task(reads.get("a", server.read)) for _ in range(2))
    await turns()
    first.cancel()
    await turns()
    server.gate.set()
    assert await second == 0
    with pytest.raises(asyncio.CancelledError):
        await first
