"""Events are told in the background: each namespace has its turn."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from dataops_operator.controllers.events import BACKLOG, News, Recorder
from dataops_operator.kube.client import KubeClient

Object = dict[str, Any]


class Client:
    """Notes what it is asked to create."""

    def __init__(self) -> None:
        self.made: list[tuple[str, str]] = []

    async def create(self, _resource: Any, namespace: str, body: Object) -> None:
        await asyncio.sleep(0)
        self.made.append((namespace, body["message"]))


def tell(recorder: Recorder, namespace: str, count: int) -> None:
    run = {"metadata": {"name": "r", "namespace": namespace, "uid": f"uid-{namespace}"}}
    for number in range(count):
        recorder.tell("PipelineRun", run, News("Waiting", str(number), detail=str(number)), 0)


async def written(client: Client, recorder: Recorder) -> None:
    task = asyncio.create_task(recorder.run())
    await asyncio.wait_for(recorder.flush(), 10)
    assert not task.done()
    task.cancel()


async def test_a_flood_of_one_namespace_delays_no_event_of_another() -> None:
    client = Client()
    recorder = Recorder(cast(KubeClient, client))
    tell(recorder, "sick", 500)
    tell(recorder, "well", 3)
    await written(client, recorder)
    assert [one for one in client.made if one[0] == "well"] == [("well", "0"), ("well", "1"), ("well", "2")]
    assert client.made.index(("well", "2")) == 5
    assert [text for namespace, text in client.made if namespace == "sick"] == [str(number) for number in range(500)]


async def test_what_is_too_much_of_one_namespace_is_dropped_and_nothing_of_another() -> None:
    client = Client()
    recorder = Recorder(cast(KubeClient, client))
    tell(recorder, "sick", BACKLOG + 10)
    tell(recorder, "well", 1)
    await written(client, recorder)
    assert len(client.made) == BACKLOG + 1
    assert ("well", "0") in client.made


async def test_what_is_told_later_is_written_too() -> None:
    client = Client()
    recorder = Recorder(cast(KubeClient, client))
    task = asyncio.create_task(recorder.run())
    for count in (1, 2):
        tell(recorder, "team", count)
        await asyncio.wait_for(recorder.flush(), 10)
        client.made.sort()
    assert len(client.made) == 3
    task.cancel()
