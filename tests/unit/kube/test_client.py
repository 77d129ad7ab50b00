import time
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from tests.unit.kube.objects import make, status_of
from tests.unit.kube.scripted import Answer, ScriptedApi

from dataops_operator.kube import errors
from dataops_operator.kube.client import KubeClient
from dataops_operator.kube.config import Credentials
from dataops_operator.kube.resources import JOBS, LEASES, PIPELINE_RUNS


async def test_each_method_sends_what_the_api_wants(api: ScriptedApi, client: KubeClient) -> None:
    for _ in range(6):
        api.answer(200, {"ok": True})
    await client.get(JOBS, "a", "j")
    await client.create(JOBS, "a", {"x": 1})
    await client.patch(PIPELINE_RUNS, "a", "r", {"status": {}}, subresource="status")
    await client.replace(LEASES, "a", "l", {})
    await client.apply(JOBS, "a", "j", {}, field_manager="dataops", force=True)
    await client.delete(JOBS, "a", "j", uid="u", grace=0)
    get, create, patch, replace, apply, delete = api.requests
    jobs = "/apis/batch/v1/namespaces/a/jobs"
    assert (get.method, get.path) == ("GET", f"{jobs}/j")
    assert (create.method, create.path, create.body) == ("POST", jobs, {"x": 1})
    assert create.headers["Content-Type"] == "application/json"
    assert (patch.method, patch.path.rsplit("/", 2)[1:]) == ("PATCH", ["r", "status"])
    assert patch.headers["Content-Type"] == "application/merge-patch+json"
    assert (replace.method, replace.path) == ("PUT", "/apis/coordination.k8s.io/v1/namespaces/a/leases/l")
    assert apply.headers["Content-Type"] == "application/apply-patch+yaml"
    assert apply.query == {"fieldManager": "dataops", "force": "true"}
    assert delete.body["preconditions"] == {"uid": "u"}
    assert (delete.body["propagationPolicy"], delete.body["gracePeriodSeconds"]) == ("Background", 0)


async def test_what_was_asked_and_how_it_went_is_observed(api: ScriptedApi) -> None:
    seen: list[tuple[Any, ...]] = []
    api.answer(200, {})
    api.answer(404, status_of(404, "NotFound"))
    api.answer(drop=True)
    async with KubeClient(Credentials(api.server), observe=lambda *what: seen.append(what)) as client:
        await client.create(JOBS, "a", {})
        with pytest.raises(errors.NotFound):
            await client.get(JOBS, "a", "x")
        with pytest.raises(errors.Unavailable):
            await client.create(JOBS, "a", {})
    assert [what[:3] for what in seen] == [
        ("create", "jobs", 200),
        ("get", "jobs", 404),
        ("create", "jobs", 0),
    ]
    assert all(0 < what[3] < 1 for what in seen)


async def test_a_read_is_tried_again_after_a_transient_failure(api: ScriptedApi, client: KubeClient) -> None:
    api.answer(500, status_of(500, "InternalError"))
    api.answer(429, status_of(429, "TooManyRequests"))
    api.answer(200, make("j", 1))
    assert (await client.get(JOBS, "a", "j"))["metadata"]["name"] == "j"
    assert len(api.requests) == 3


async def test_a_read_that_keeps_failing_is_given_up(api: ScriptedApi, client: KubeClient) -> None:
    for _ in range(4):
        api.answer(503, b"upstream is away")
    with pytest.raises(errors.Unavailable, match="upstream is away"):
        await client.get(JOBS, "a", "j")
    assert len(api.requests) == 4


@pytest.mark.parametrize("status", [500, 503, 504])
async def test_a_write_of_unknown_fate_is_not_repeated(api: ScriptedApi, client: KubeClient, status: int) -> None:
    for _ in range(3):
        api.answer(status, status_of(status, "ServerTimeout"))
    for call in (
        client.create(JOBS, "a", {}),
        client.patch(JOBS, "a", "j", {}),
        client.delete(JOBS, "a", "j"),
    ):
        with pytest.raises(errors.Unavailable):
            await call
    assert len(api.requests) == 3


async def test_a_write_whose_connection_breaks_is_not_repeated(api: ScriptedApi, client: KubeClient) -> None:
    api.answer(200, make("j", 1))
    await client.get(JOBS, "a", "j")  # so that the next call goes over a connection that was kept alive
    api.answer(drop=True)
    with pytest.raises(errors.Unavailable):
        await client.create(JOBS, "a", {})
    assert len(api.seen("POST")) == 1


async def test_a_refused_write_is_repeated_after_the_time_that_the_server_asks_for(
    api: ScriptedApi, client: KubeClient
) -> None:
    api.answer(429, status_of(429, "TooManyRequests"), headers={"Retry-After": "1"})
    api.answer(201, make("j", 1))
    started = time.monotonic()
    await client.create(JOBS, "a", {})
    assert time.monotonic() - started >= 1
    assert len(api.requests) == 2


@pytest.mark.parametrize("headers", [{}, {"Retry-After": "60"}])
async def test_a_refusal_that_names_no_time_or_a_long_one_is_the_callers(
    api: ScriptedApi, client: KubeClient, headers: dict[str, str]
) -> None:
    api.answer(429, status_of(429, "TooManyRequests"), headers=headers)
    with pytest.raises(errors.TooManyRequests) as caught:
        await client.create(JOBS, "a", {})
    assert caught.value.retry_after == (60 if headers else None)


async def test_a_timeout_is_unavailable(api: ScriptedApi) -> None:
    api.answer(delay=5)
    async with KubeClient(Credentials(api.server), timeout=0.1) as client:
        with pytest.raises(errors.Unavailable, match="Timeout"):
            await client.create(JOBS, "a", {})


async def test_no_server_is_unavailable() -> None:
    async with KubeClient(Credentials("http://127.0.0.1:1")) as client:
        with pytest.raises(errors.Unavailable):
            await client.create(JOBS, "a", {})
    with pytest.raises(errors.Unavailable, match="closed"):
        await client.create(JOBS, "a", {})


async def test_a_replaced_token_is_read_after_a_401_and_only_once(api: ScriptedApi, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("old")
    async with KubeClient(Credentials(api.server, token_path=str(token))) as client:
        api.answer(200, {})
        await client.get(JOBS, "a", "j")
        token.write_text("new")
        api.answer(401, status_of(401, "Unauthorized"))
        api.answer(201, {})
        await client.create(JOBS, "a", {})
        tokens = [request.headers["Authorization"] for request in api.requests]
        assert tokens == ["Bearer old", "Bearer old", "Bearer new"]
        api.answer(401, status_of(401, "Unauthorized"))
        api.answer(401, status_of(401, "Unauthorized"))
        with pytest.raises(errors.Unauthorized):
            await client.get(JOBS, "a", "j")
        assert len(api.requests) == 5


async def test_a_whole_list_follows_the_continue_tokens(api: ScriptedApi, client: KubeClient) -> None:
    bare = make("one", 1)
    del bare["kind"], bare["apiVersion"]
    api.listed([bare], 10, token="next=1&x")
    api.listed([make("two", 2)], 10)
    whole = await client.list_all(JOBS, label_selector="a in (b, c)")
    assert [item["metadata"]["name"] for item in whole["items"]] == ["one", "two"]
    assert whole["items"][0]["kind"] == "Job", "the server leaves kind and apiVersion out of a list's items"
    assert whole["metadata"] == {"resourceVersion": "10"}
    assert api.requests[1].query == {"continue": "next=1&x", "labelSelector": "a in (b, c)", "limit": "500"}


async def test_a_list_that_goes_out_of_date_between_pages_is_read_in_one(api: ScriptedApi, client: KubeClient) -> None:
    api.listed([make("one", 1)], 10, token="t")
    api.answer(410, status_of(410, "Expired"))
    api.listed([make("two", 2)], 20)
    whole = await client.list_all(JOBS)
    assert [item["metadata"]["name"] for item in whole["items"]] == ["two"]
    assert whole["metadata"]["resourceVersion"] == "20"
    assert "limit" not in api.requests[2].query


async def watch(client: KubeClient, **more: Any) -> list[tuple[str, str]]:
    seen = []
    async with aclosing(client.watch(JOBS, resource_version="5", **more)) as stream:
        async for kind, item in stream:
            seen.append((kind, item["metadata"]["name"]))
    return seen


async def test_a_watch_yields_events_however_they_are_cut_into_chunks(api: ScriptedApi, client: KubeClient) -> None:
    api.watched(("ADDED", make("one", 6)), ("MODIFIED", make("two", 7)), ("DELETED", make("ü", 8)), hold=False)
    script = api.watches[0]
    assert script.chunks is not None
    text = b"".join(script.chunks)
    script.chunks = [text[i : i + 7] for i in range(0, len(text), 7)]
    assert await watch(client) == [("ADDED", "one"), ("MODIFIED", "two"), ("DELETED", "ü")]
    assert api.requests[0].query == {
        "watch": "true",
        "allowWatchBookmarks": "true",
        "resourceVersion": "5",
        "timeoutSeconds": "300",
    }


@pytest.mark.parametrize("early", [True, False])
async def test_a_watch_from_too_old_a_version_is_gone(api: ScriptedApi, client: KubeClient, early: bool) -> None:
    if early:
        api.watches.append(Answer(410, status_of(410, "Expired")))
    else:
        api.watched(("ADDED", make("one", 6)), ("ERROR", status_of(410, "Expired")))
    with pytest.raises(errors.Gone):
        await watch(client)


async def test_a_watch_that_breaks_or_falls_silent_is_unavailable(api: ScriptedApi, client: KubeClient) -> None:
    api.watched(("ADDED", make("one", 6)), hold=False, drop=True)
    with pytest.raises(errors.Unavailable):
        await watch(client)
    api.watched(("ADDED", make("one", 6)))
    with pytest.raises(errors.Unavailable, match="Timeout"):
        await watch(client, inactivity=0.1)


async def test_a_watch_reads_the_token_again_after_a_401(api: ScriptedApi, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("old")
    api.watches.append(Answer(401, status_of(401, "Unauthorized")))
    api.watched(("ADDED", make("one", 6)), hold=False)
    async with KubeClient(Credentials(api.server, token_path=str(token))) as client:
        assert await watch(client) == [("ADDED", "one")]
