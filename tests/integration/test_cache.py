"""Steps that an earlier run has done already, on a real API server."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.harness.api import Object, condition
from tests.harness.kinds import EVENTS, JOBS, RUNS
from tests.harness.script import Outcome, Play, succeed
from tests.integration.beside import side_by_side
from tests.integration.support import Case, phases, row, spec, step, succeeded, verdict

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(600)]

IMAGE = f"example.test/step@sha256:{'a' * 64}"
ROWS = [{"name": "rows", "type": "Integer"}]


def counting(**cache: Any) -> Object:
    """A cached step `a` with an output, `b` that uses it, and a cached `c` behind it."""
    cached: Object = {"image": IMAGE, "cache": {"maxAge": "1h", **cache}}
    use = step("b", args=["$(steps.a.outputs.rows)"])
    day = {"name": "day", "default": "mon"}
    return spec(
        step("a", outputs=ROWS, **cached), use, step("c", args=["$(steps.a.outputs.rows)"], **cached), parameters=[day]
    )


async def jobs_of(case: Case, run: str) -> list[str]:
    jobs = [one["metadata"] for one in await case.api.list(JOBS, case.namespace)]
    return sorted(one["labels"]["dataops.dev/step"] for one in jobs if one["labels"]["dataops.dev/run"] == run)


@side_by_side
async def test_what_was_done_is_taken_and_what_the_run_before_was_is_shown(case: Case) -> None:
    case.plays("a", succeed(rows=7))
    await case.ready(counting())
    await case.run()
    first = await case.ended()
    assert succeeded(first)
    assert await jobs_of(case, "r") == ["a", "b", "c"]
    await case.run("again", logicalDate="2013-02-09T00:00:00Z")
    again = await case.ended("again")
    assert succeeded(again)
    assert await jobs_of(case, "again") == ["b"]
    assert [one.get("reusedFrom") for one in again["status"]["steps"]] == ["r", None, "r"]
    assert row(again, "a")["outputs"] == {"rows": 7}
    assert row(again, "a")["finishedAt"] == row(first, "a")["finishedAt"]
    assert row(again, "a")["cacheKey"] == row(first, "a")["cacheKey"]
    told = [one for one in await case.api.list(EVENTS, case.namespace) if one["involvedObject"]["name"] == "again"]
    assert any(one["reason"] == "StepCached" and "run r did the same" in one["message"] for one in told)
    # A taken one may be taken in turn, and names who did it.
    case.broken |= {"Jobs", "I4"}
    await case.api.delete(RUNS, case.namespace, "r")
    await case.run("third")
    assert row(await case.ended("third"), "c")["reusedFrom"] == "r"


@side_by_side
async def test_another_value_another_salt_and_a_refresh_are_run(case: Case) -> None:
    case.plays("a", succeed(rows=7))
    await case.ready(counting())
    for name, fields in (
        ("r", {}),
        ("other", {"parameters": [{"name": "day", "value": "tue"}]}),
        ("refreshed", {"cache": "Refresh"}),
    ):
        await case.run(name, **fields)
        assert succeeded(await case.ended(name))
        assert await jobs_of(case, name) == ["a", "b", "c"]
    await case.run("last")
    assert row(await case.ended("last"), "a")["reusedFrom"] == "refreshed", "the newest"
    await case.ready(counting(salt="2"))
    await case.run("salted")
    assert succeeded(await case.ended("salted"))
    assert await jobs_of(case, "salted") == ["a", "b", "c"]


@side_by_side
async def test_a_run_under_way_tells_others_what_it_has_done(case: Case) -> None:
    case.plays("a", succeed(rows=7))
    case.plays("b", Play(outcome=Outcome.HANG), run="r")
    await case.ready(counting())
    await case.run()
    await case.until(RUNS, "r", lambda run: phases(run).get("a") == "Succeeded")
    await case.run("again")
    assert row(await case.ended("again"), "a")["reusedFrom"] == "r"
    await case.api.patch(RUNS, case.namespace, "r", {"spec": {"cancel": "Immediate"}})
    await case.ended()


@side_by_side
async def test_what_is_too_old_is_run(case: Case) -> None:
    case.plays("a", succeed(rows=7))
    await case.ready(counting(maxAge="1s"))
    await case.run()
    await case.ended()
    await asyncio.sleep(2.2)  # times of the API server have no fractions
    await case.run("again")
    assert succeeded(await case.ended("again"))
    assert await jobs_of(case, "again") == ["a", "b", "c"]


@side_by_side
async def test_a_chain_longer_than_the_turns_of_a_reconcile_is_taken_whole(case: Case) -> None:
    cached: Object = {"image": IMAGE, "cache": {"maxAge": "1h"}, "outputs": [{"name": "n"}]}
    names = [f"s{index}" for index in range(9)]
    steps = [
        step(name, args=[f"$(steps.{before}.outputs.n)" if before else "x"], **cached)
        for before, name in zip((None, *names), names, strict=False)
    ]
    for name in names:
        case.plays(name, succeed(n=name))
    await case.ready(spec(*steps))
    await case.run()
    await case.ended()
    await case.run("again")
    run = await case.ended("again")
    assert succeeded(run)
    assert await jobs_of(case, "again") == []
    assert [one["reusedFrom"] for one in run["status"]["steps"]] == ["r"] * 9


@side_by_side
async def test_an_image_by_tag_is_refused_with_the_cure(case: Case) -> None:
    by_tag = step("a", image="$(params.image)", cache={"maxAge": "1h"})
    await case.ready(spec(by_tag, parameters=[{"name": "image", "default": IMAGE}]))
    await case.run(parameters=[{"name": "image", "value": "example.test/step:1"}])
    run = await case.ended()
    assert verdict(run) == ("False", "CacheImpossible")
    assert "write example.test/step@sha256:..." in condition(run, "Succeeded")["message"]
