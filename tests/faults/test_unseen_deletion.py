"""A run is deleted while the operator's watch of runs is blind: it must find out, and leave nothing behind."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from tests.faults.case import Bench
from tests.faults.scenarios import DIAMOND, START
from tests.harness.api import Api
from tests.harness.faults import ExpireWatch
from tests.harness.history import Cluster
from tests.harness.kinds import COLLECTED, JOBS, PIPELINES, PODS, RUNS
from tests.harness.player import Player
from tests.harness.script import Script, succeed

from localcluster.controlplane import ControlPlane


@pytest.mark.timeout(120)
async def test_a_run_deleted_unseen_leaves_nothing(plane: ControlPlane, tmp_path: Path) -> None:
    slow = Script().add("a", succeed(rows=7)).paced(START, 2.0)
    async with Api(plane.server, plane.token, plane.ca) as api, Player(api, slow):
        bench, ns = Bench(plane, api, tmp_path), "deleted-unseen"
        blind = ExpireWatch("pipelineruns", 4, after=1)
        async with bench.place(ns), bench.operator(ns, lambda _: blind) as (operator, _):
            await api.create(PIPELINES, ns, DIAMOND.pipeline)
            await api.create(RUNS, ns, DIAMOND.run)
            async with asyncio.timeout(30):
                while not (blind.struck() and await api.list(PODS, ns)):  # noqa: ASYNC110 - two things at once
                    await asyncio.sleep(0.05)
            await api.delete(RUNS, ns, DIAMOND.name)
            left = await _left(api, ns, within=COLLECTED)
            assert not left, f"left behind: {left}"
            await asyncio.sleep(5)
            assert not await _left(api, ns, within=0), "it came back"
            assert operator.alive, operator.tail()


async def _left(api: Api, namespace: str, within: float) -> list[str]:
    deadline = time.monotonic() + within
    while True:
        cluster = await Cluster.read(api, namespace)
        left = [f"{kind.name} {obj['metadata']['name']}" for kind in (RUNS, JOBS, PODS) for obj in cluster.of(kind)]
        if not left or time.monotonic() > deadline:
            return left
        await asyncio.sleep(0.2)
