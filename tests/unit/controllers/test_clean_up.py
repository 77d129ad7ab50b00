"""How a revision that goes and one that is taken keep out of each other's way."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from tests.builders import a_pipeline

from dataops_operator.controllers.revisions import Revisions
from dataops_operator.core.revision import controller_revision
from dataops_operator.kube.errors import ApiError, NotFound, Unavailable

Object = dict[str, Any]


class Server:
    """An API server with one revision, whose deletions take until they are let through."""

    def __init__(self, there: Object) -> None:
        self.there: Object | None = there
        self.through = asyncio.Event()
        self.made: list[Object] = []
        self.refusal: ApiError | None = None

    async def get(self, *_: Any) -> Object:
        if self.there is None:
            raise NotFound(404, "NotFound", "gone")
        return self.there

    async def list_all(self, *_: Any, **__: Any) -> Object:
        return {"items": [self.there] if self.there else []}

    async def create(self, _kind: Any, _namespace: str, body: Object) -> Object:
        self.there = body
        self.made.append(body)
        return body

    async def delete(self, *_: Any, **__: Any) -> Object:
        await self.through.wait()
        if self.refusal is not None:
            raise self.refusal
        self.there = None
        return {}


PIPELINE = {"metadata": {"name": "flights", "namespace": "team", "uid": "uid-p", "generation": 1}}
REVISION = a_pipeline().step("a").revision()


@pytest.fixture
def server() -> Server:
    there = controller_revision(REVISION, "flights", "uid-p", 1)
    there["metadata"] |= {"namespace": "team", "uid": "uid-r", "resourceVersion": "1"}
    return Server(there)


@pytest.fixture
def revisions(server: Server) -> Revisions:
    return Revisions(cast(Any, server), grace=0.2)


async def test_a_revision_that_was_just_taken_is_not_deleted(server: Server, revisions: Revisions) -> None:
    assert server.there is not None
    server.through.set()
    for take in (revisions.ensure(PIPELINE, REVISION), revisions.load("team", "flights", REVISION.name)):
        await take
        assert not await revisions.delete("Pipeline", "flights", server.there)
    await asyncio.sleep(0.25)
    assert await revisions.delete("Pipeline", "flights", server.there)
    assert server.there is None


async def test_who_takes_a_revision_that_is_going_waits_and_then_makes_it_anew(
    server: Server, revisions: Revisions
) -> None:
    """Or it would be seen to be there, and be gone a moment later, under a run that has begun with it."""
    await revisions.ensure(PIPELINE, REVISION)  # seen, and for a while taken to be there
    await asyncio.sleep(0.25)
    assert server.there is not None
    going = asyncio.create_task(revisions.delete("Pipeline", "flights", server.there))
    await asyncio.sleep(0)
    taking = asyncio.create_task(revisions.ensure(PIPELINE, REVISION))
    loading = asyncio.create_task(revisions.load("team", "flights", REVISION.name))
    await asyncio.sleep(0.05)
    assert not taking.done()
    assert not loading.done(), "not even one that is held in memory"
    server.through.set()
    assert await going
    await taking
    assert [one["metadata"]["name"] for one in server.made] == [REVISION.name]
    await loading


async def test_a_revision_of_a_pipeline_that_is_gone_is_made_anew_for_the_next_of_its_name(
    server: Server, revisions: Revisions
) -> None:
    server.through.set()
    another = {"metadata": {**PIPELINE["metadata"], "uid": "uid-next"}}
    await revisions.ensure(another, REVISION)
    assert [one["metadata"]["ownerReferences"][0]["uid"] for one in server.made] == ["uid-next"]


async def test_a_revision_that_a_policy_holds_stays_and_is_no_error(server: Server, revisions: Revisions) -> None:
    server.through.set()
    assert server.there is not None
    server.refusal = ApiError(422, "Invalid", "held")
    assert not await revisions.delete("Pipeline", "flights", server.there)
    server.refusal = Unavailable(500, "InternalError", "no answer")
    with pytest.raises(Unavailable):
        await revisions.delete("Pipeline", "flights", server.there)
