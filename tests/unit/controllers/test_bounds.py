"""What bounds a run that nobody has looked at yet, by the caches alone."""

from __future__ import annotations

from typing import Any, cast

import pytest
from tests.builders import a_pipeline, a_run

from dataops_operator.controllers.bounds import bound_of
from dataops_operator.controllers.revisions import Revisions
from dataops_operator.controllers.tenancy import Tenancy
from dataops_operator.controllers.world import Settings, World
from dataops_operator.core.concurrency import Bound
from dataops_operator.kube.queue import WorkQueue
from dataops_operator.metrics.registry import Metrics

NOBODY = cast(Any, None)
ENDED = [{"type": "Succeeded", "status": "False", "reason": "StepFailed"}]


def stored(body: dict[str, Any]) -> dict[str, Any]:
    """An object as the API server has it."""
    meta = {"uid": "u", "generation": 1, "resourceVersion": "1", "creationTimestamp": "2026-01-05T06:00:00Z"}
    return body | {"metadata": meta | body["metadata"]}


def bound(key: str, then: dict[str, Any], **fields: Any) -> Bound:
    """Of a run of a pipeline with this key, beside one that has ended with this status."""
    world = World(NOBODY, Settings(), Metrics(), NOBODY, WorkQueue(), WorkQueue())
    pipeline = a_pipeline().parameter("day", default="2000-01-01").parameter("x", default="y").step("a")
    world.pipelines.put(stored(pipeline.having(concurrency={"limit": 1, "key": key}).build()))
    revisions = Revisions(NOBODY)
    made, _ = revisions.compile(world.pipelines.get("team", "flights") or {})
    assert made is not None
    then = {"phase": "Failed", "revision": made.name, "conditions": ENDED, **then}
    world.runs.put(stored(a_run("old").standing(then).build()))
    return bound_of(world, revisions, Tenancy(world), stored(a_run("new").having(**fields).build()))


OF = {"rerun": {"of": "old"}}
GIVEN = {"parameters": [{"name": "day", "value": "2013-02-11"}]}
OTHER = {"parameters": [{"name": "x", "value": "y"}]}


@pytest.mark.parametrize(
    ("fields", "key"),
    [
        pytest.param({}, "2000-01-01", id="a run of its own"),
        pytest.param(OF, "2013-02-09", id="one that does another again"),
        pytest.param(OF | OTHER, "2013-02-09", id="one that gives another value"),
        pytest.param(OF | GIVEN, "2013-02-11", id="one that gives the value itself"),
        pytest.param({"rerun": {"of": "nobody"}}, "2000-01-01", id="one of a run that the cache has not"),
    ],
)
def test_a_run_that_is_done_again_counts_with_the_one_before(fields: dict[str, Any], key: str) -> None:
    assert bound("$(params.day)", {"concurrencyKey": "2013-02-09"}, **fields) == Bound(1, key)


def test_a_key_of_another_revision_says_nothing() -> None:
    then = {"concurrencyKey": "2013-02-09", "revision": "flights-0"}
    assert bound("$(params.day)", then, **OF) == Bound(1, "2000-01-01")


@pytest.mark.parametrize(
    ("key", "fields", "found"),
    [
        ("$(run.name)", {}, "new"),
        ("$(run.logicalDate)", {}, "then"),
        ("$(run.logicalDate)", {"logicalDate": "2013-02-11T00:00:00Z"}, "2013-02-11T00:00:00Z"),
    ],
)
def test_a_key_that_names_the_run_itself_is_its_own(key: str, fields: dict[str, Any], found: str) -> None:
    assert bound(key, {"concurrencyKey": "then"}, **OF, **fields) == Bound(1, found)
