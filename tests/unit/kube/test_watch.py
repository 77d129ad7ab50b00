import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest
from tests.unit.kube.objects import make, status_of
from tests.unit.kube.scripted import Answer, ScriptedApi

from dataops_operator.kube.cache import Object, Store
from dataops_operator.kube.client import KubeClient
from dataops_operator.kube.decode import Shape
from dataops_operator.kube.errors import Unavailable
from dataops_operator.kube.resources import JOBS
from dataops_operator.kube.watch import Informer, reconcile_store


class Changes:
    """What the informer reported, in short: `+x` came, `~x` changed, `-x` went."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def __call__(self, old: Object | None, new: Object | None) -> None:
        sign = "+" if old is None else "-" if new is None else "~"
        self.seen.append(sign + (new or old or {})["metadata"]["name"])


@pytest.fixture
def changes() -> Changes:
    return Changes()


@pytest.fixture
def store() -> Store:
    return Store(JOBS)


@asynccontextmanager
async def running(informer: Informer) -> AsyncIterator[None]:
    task = asyncio.create_task(informer.run())
    try:
        yield
        assert not task.done(), "nothing that the server does may end it"
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - any condition will do
            await asyncio.sleep(0.005)


def bookmark(version: int) -> tuple[str, dict[str, Any]]:
    return "BOOKMARK", {"kind": "Job", "metadata": {"resourceVersion": str(version)}}


async def test_it_lists_then_follows_and_reports_each_change_once(
    api: ScriptedApi, client: KubeClient, store: Store, changes: Changes
) -> None:
    api.listed([make("one", 1)], 10, token="t")
    api.listed([make("two", 2)], 10)
    api.watched(
        ("ADDED", make("three", 11)),
        ("MODIFIED", make("one", 12)),
        ("MODIFIED", make("one", 12)),
        ("DELETED", make("two", 13)),
        ("DELETED", make("never-seen", 14)),
    )
    informer = Informer(client, JOBS, store, changes, namespace="a", label_selector="x=y")
    assert not informer.synced.is_set()
    async with running(informer):
        await until(lambda: len(changes.seen) == 5)
        assert informer.synced.is_set()
    assert changes.seen == ["+one", "+two", "+three", "~one", "-two"]
    assert {item["metadata"]["name"] for item in store} == {"one", "three"}
    (watch,) = api.seen(watch=True)
    assert (watch.query["resourceVersion"], watch.query["labelSelector"]) == ("10", "x=y")
    assert watch.path == "/apis/batch/v1/namespaces/a/jobs"


async def test_what_a_kinds_shape_does_not_understand_is_read_in_full(
    api: ScriptedApi, client: KubeClient, changes: Changes
) -> None:
    def event(line: bytes) -> tuple[str, dict[str, Any]]:
        raise ValueError(line)

    def page(answer: bytes) -> dict[str, Any]:
        whole: dict[str, Any] = orjson.loads(answer)
        if any(one["metadata"]["name"] == "strange" for one in whole["items"]):
            raise ValueError("strange")
        return whole | {"items": [one | {"spec": "by the shape"} for one in whole["items"]]}

    store = Store(JOBS, shape=Shape(event, page))
    api.listed([make("one", 1)], 10, token="t")
    api.listed([make("strange", 2)], 10)
    api.watched(("ADDED", make("three", 11)))
    async with running(Informer(client, JOBS, store, changes)):
        await until(lambda: len(changes.seen) == 3)
    assert {one["metadata"]["name"]: one.get("spec") == "by the shape" for one in store} == {
        "one": True,
        "strange": False,
        "three": False,
    }


async def test_our_own_write_that_is_in_the_cache_already_is_not_reported_again(
    api: ScriptedApi, client: KubeClient, store: Store, changes: Changes
) -> None:
    api.listed([], 10)
    api.watched(("ADDED", make("ours", 11)), ("ADDED", make("theirs", 12)))
    store.upsert(make("ours", 11))
    async with running(Informer(client, JOBS, store, changes)):
        await until(lambda: changes.seen)
    assert changes.seen == ["+theirs"]


@pytest.mark.parametrize("early", [True, False], ids=["refused", "in the stream"])
async def test_a_lost_place_is_mended_by_the_difference_deletions_included(
    api: ScriptedApi, client: KubeClient, store: Store, changes: Changes, early: bool
) -> None:
    api.listed([make("stays", 1), make("goes", 2)], 10)
    if early:
        api.watches.append(Answer(410, status_of(410, "Expired")))
    else:
        api.watched(("ERROR", status_of(410, "Expired")))
    api.listed([make("stays", 1), make("comes", 15)], 20)
    async with running(Informer(client, JOBS, store, changes)):
        await until(lambda: len(api.seen(watch=True)) == 2)
    assert changes.seen == ["+stays", "+goes", "+comes", "-goes"]
    assert api.seen(watch=True)[1].query["resourceVersion"] == "20"


async def test_a_broken_stream_goes_on_from_the_last_version_without_a_new_list(
    api: ScriptedApi, client: KubeClient, store: Store, changes: Changes
) -> None:
    api.listed([], 10)
    api.watched(("ADDED", make("one", 11)), bookmark(15), hold=False, drop=True)
    api.watches.append(Answer(500, b"away"))
    api.watched(("ADDED", make("two", 16)))
    async with running(Informer(client, JOBS, store, changes)):
        await until(lambda: len(changes.seen) == 2)
    assert [request.query["resourceVersion"] for request in api.seen(watch=True)] == ["10", "15", "15"]
    assert len(api.seen()) == 1


async def test_a_silent_stream_is_opened_anew_and_signs_of_life_are_noted(
    api: ScriptedApi, client: KubeClient, store: Store, changes: Changes
) -> None:
    api.listed([], 10)
    api.watched(bookmark(11))
    api.watched(("ADDED", make("one", 12)))
    informer = Informer(client, JOBS, store, changes, inactivity=0.1)
    before = informer.last_activity
    async with running(informer):
        await until(lambda: changes.seen)
    assert api.seen(watch=True)[1].query["resourceVersion"] == "11"
    assert informer.last_activity > before


async def test_streams_that_end_at_once_are_not_opened_in_a_tight_loop(
    api: ScriptedApi, client: KubeClient, store: Store, changes: Changes
) -> None:
    api.listed([], 10)
    for _ in range(100):
        api.watched(hold=False)
    async with running(Informer(client, JOBS, store, changes)):
        await asyncio.sleep(0.5)
    assert 2 <= len(api.seen(watch=True)) <= 6


async def test_a_server_that_is_away_at_the_start_is_waited_for(
    api: ScriptedApi, client: KubeClient, store: Store, changes: Changes
) -> None:
    api.answer(403, status_of(403, "Forbidden"))
    api.answer(403, status_of(403, "Forbidden"))
    api.listed([make("one", 1)], 10)
    async with running(Informer(client, JOBS, store, changes)):
        await until(lambda: changes.seen)
    assert changes.seen == ["+one"]


async def test_a_list_beside_the_watch_finds_what_the_watch_missed(
    api: ScriptedApi, client: KubeClient, store: Store, changes: Changes
) -> None:
    api.listed([make("same", 1), make("missed", 2)], 10)
    api.watched(("ADDED", make("fresh", 30)))
    api.answer(500, b"away")  # tried again by the client
    api.listed([make("same", 1), make("unheard", 12)], 20)
    api.listed([make("same", 1), make("unheard", 12), make("fresh", 30)], 31)
    async with running(Informer(client, JOBS, store, changes, resync=0.2)):
        await until(lambda: len(api.seen()) == 5)  # the last one has no answer
    assert changes.seen == ["+same", "+missed", "+fresh", "+unheard", "-missed"]
    assert len(api.seen(watch=True)) == 1, "the watch never stopped"


async def test_one_object_that_cannot_be_handled_does_not_stop_the_others(
    api: ScriptedApi, client: KubeClient, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    seen = []

    def handle(old: Object | None, new: Object | None) -> None:
        name = (new or old or {})["metadata"]["name"]
        if name == "poison":
            raise ValueError("cannot be read")
        seen.append(name)

    api.listed([make("poison", 1), make("one", 2)], 10)
    api.watched(("MODIFIED", make("poison", 11)), ("ADDED", make("two", 12)))
    with caplog.at_level(logging.ERROR):
        async with running(Informer(client, JOBS, store, handle)):
            await until(lambda: len(seen) == 2)
    assert seen == ["one", "two"]
    assert "a/poison" in caplog.text


async def test_reconciling_a_store_that_others_fill(
    api: ScriptedApi, client: KubeClient, store: Store, changes: Changes
) -> None:
    store.upsert(make("held", 1))
    store.upsert(make("missed", 2))
    api.listed([make("held", 1)], 10)
    assert await reconcile_store(client, JOBS, store, changes) == "10"
    assert changes.seen == ["-missed"]


async def test_a_list_that_is_not_read_to_its_end_removes_nothing(
    api: ScriptedApi, client: KubeClient, store: Store, changes: Changes
) -> None:
    store.upsert(make("held", 1))
    api.listed([make("new", 2)], 10, token="t")
    for _ in range(4):
        api.answer(503, b"away")
    with pytest.raises(Unavailable):
        await reconcile_store(client, JOBS, store, changes)
    assert changes.seen == ["+new"]


async def test_pages_that_go_out_of_date_are_read_again_in_one(
    api: ScriptedApi, client: KubeClient, store: Store, changes: Changes
) -> None:
    store.upsert(make("held", 1))
    api.listed([make("one", 2)], 10, token="t")
    api.answer(410, status_of(410, "Expired"))
    api.listed([make("two", 15)], 20)
    assert await reconcile_store(client, JOBS, store, changes) == "20"
    assert sorted(changes.seen) == ["+one", "+two", "-held", "-one"]
