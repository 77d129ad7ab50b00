"""Runs in line while the operator is down: their order, and holders that ended meanwhile."""

from __future__ import annotations

import asyncio

import pytest
from tests.harness.kinds import JOBS, PODS, RUNS
from tests.harness.script import Outcome, Play
from tests.integration.beside import side_by_side
from tests.integration.lines import entry, limited, one_by_one, position
from tests.integration.support import Case, succeeded, until

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]
OPERATOR = False

HANG = Play(outcome=Outcome.HANG)


@side_by_side
async def test_a_restart_keeps_the_line_and_a_holder_that_ended_meanwhile_holds_nothing(case: Case) -> None:
    case.plays("a", HANG, run="r1")
    case.plays("a", Play(), run="r2", end=3.0)
    operator = case.operator()
    await operator.start()
    try:
        await case.ready(limited(key="$(params.day)", parameters=[{"name": "day", "default": "2013-02-09"}]))
        await one_by_one(case, "r1", "r2", "r3", "r4")
        await position(case, 3, "r4")
        operator.kill()
        await operator.start()
        await asyncio.sleep(2)
        runs = [await case.api.get(RUNS, case.namespace, name) for name in ("r2", "r3", "r4")]
        assert [(entry(run)["position"], entry(run)["holder"]) for run in runs] == [(1, "r1"), (2, "r1"), (3, "r1")]
        assert len(await case.api.list(JOBS, case.namespace)) == 1
        operator.kill()
        await case.api.delete(RUNS, case.namespace, "r1")
        await case.none_left(PODS)
        await operator.start()
        ended = [await case.ended(name) for name in ("r2", "r3", "r4")]
        began = [run["status"]["startedAt"] for run in ended]
        assert all(succeeded(run) for run in ended)
        assert began == sorted(began)
        assert began[1] >= ended[0]["status"]["finishedAt"]
    finally:
        operator.kill()


@side_by_side
async def test_a_pod_that_outlives_its_run_and_the_operator_still_holds_the_place(case: Case) -> None:
    case.plays("a", HANG, run="r1")
    operator = case.operator()
    await operator.start()
    try:
        await case.ready(limited())
        await case.run("r1")
        await case.step_is("a", "Running", "r1")
        pod = await case.a_pod("a", "Running")
        operator.kill()
        name = pod["metadata"]["name"]
        # A finalizer stands for a container that takes its time to end.
        await case.api.patch(PODS, case.namespace, name, {"metadata": {"finalizers": ["example.test/slow"]}})
        await case.api.delete(RUNS, case.namespace, "r1")

        async def alone() -> bool:
            return not await case.api.list(RUNS, case.namespace)

        await until(alone)
        await case.run("r2")
        await operator.start()
        found = await case.api.get(PODS, case.namespace, name)
        if found["status"].get("phase") == "Running":
            assert entry(await case.waits("ConcurrencyLimit", "r2"))["holder"] == "r1"
        await case.api.patch(PODS, case.namespace, name, {"metadata": {"finalizers": None}})
        assert succeeded(await case.ended("r2"))
    finally:
        operator.kill()
