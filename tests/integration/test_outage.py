"""The API server goes away in the middle of runs; apart from the others, since it is everybody's."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

from tests.harness.api import Api, ApiError
from tests.harness.history import RECORDED, Change, Cluster, History, run_ended
from tests.harness.invariants import check_all
from tests.harness.kinds import JOBS, PIPELINES, PODS, RUNS
from tests.harness.player import Player
from tests.harness.script import Play, Script, succeed
from tests.integration.support import END, START, Operator, command, spec, step, succeeded, until

from localcluster import controlplane, processes, state
from localcluster.controlplane import ControlPlane

AWAY = 20.0
"""Seconds: longer than a leader that cannot renew its Lease goes on."""


async def test_runs_get_over_an_api_server_that_was_away(plane: ControlPlane, tmp_path: Path) -> None:
    rows = [{"name": "rows", "type": "Integer"}]
    definition = spec(step("a", outputs=rows), step("b", command=["b", "$(steps.a.outputs.rows)"]))
    script = Script(default=Play(start=START, end=END)).add("a", succeed(rows=6).scaled(START, END))
    operator = Operator(plane, tmp_path / "operator.log", lease_namespace="outage", namespaces=["outage"])
    async with operator:
        async with Api(plane.server, plane.token, plane.ca) as api:
            await api.make_namespace("outage")
            await api.create(PIPELINES, "outage", {"metadata": {"name": "p"}, "spec": definition})
            for name in ("one", "two"):
                await api.create(RUNS, "outage", {"metadata": {"name": name}, "spec": {"pipeline": "p"}})
            await until(lambda: two_pods(api))
        restarter = asyncio.create_task(restart_when_ended(operator))
        await away(plane)
        async with Api(plane.server, plane.token, plane.ca) as api, Player(api, script, "outage"):
            await api.create(RUNS, "outage", {"metadata": {"name": "after"}, "spec": {"pipeline": "p"}})
            for name in ("one", "two", "after"):
                run = await api.wait_for(RUNS, "outage", name, run_ended, timeout=60)
                assert succeeded(run)
            jobs = await api.list(JOBS, "outage")
            assert len(jobs) == 6
            assert [command(job) for job in jobs].count(["b", "6"]) == 3
            await until(lambda: settled(api))
            assert check_all(*await found(api)) == []
        restarter.cancel()


async def away(plane: ControlPlane) -> None:
    """End the API server, and start it again later; the Job controller too, which else waits for long to try again."""
    for part in ("kube-controller-manager", "kube-apiserver"):
        processes.kill(plane.pids[part])
    await asyncio.sleep(AWAY)
    cluster = state.load(plane.name)
    assert cluster is not None
    await asyncio.to_thread(controlplane.start, cluster)
    async with Api(plane.server, plane.token, plane.ca) as api:
        await until(lambda: served(api))


async def found(api: Api) -> tuple[History, Cluster]:
    """What is there; a history of what happened cannot be recorded over an outage."""
    cluster = await Cluster.read(api, "outage")
    return History([Change(kind.name, "LISTED", obj) for kind in RECORDED for obj in cluster.of(kind)]), cluster


async def two_pods(api: Api) -> bool:
    return len(await api.list(PODS, "outage")) == 2


async def settled(api: Api) -> bool:
    return (await Cluster.read(api, "outage")).settled()


async def served(api: Api) -> bool:
    with contextlib.suppress(ApiError):
        await api.list(RUNS, "outage")
        return True
    return False


async def restart_when_ended(operator: Operator) -> None:
    """Do what a kubelet does with a container that has ended."""
    while True:
        if not operator.alive:
            with contextlib.suppress(AssertionError):
                await operator.start()
        await asyncio.sleep(1)
