"""One tenant's two thousand runs in line, and another's single run, on a real API server."""

from __future__ import annotations

import asyncio
import time

import pytest
from tests.harness.kinds import RUNS
from tests.harness.script import Outcome, Play
from tests.integration.lines import limited
from tests.integration.support import Operator, World, spec, step, succeeded, until

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]
OPERATOR = False

BACKLOG = 2000
AT_ONCE = 50


async def test_a_run_beside_another_tenants_two_thousand_does_not_wait_for_them(world: World) -> None:
    async with world.case("fair-busy") as busy, world.case("fair-other") as other:
        busy.broken |= {"I2", "I4", "Jobs"}  # none of them ends before it is deleted
        busy.plays("a", Play(outcome=Outcome.HANG))
        await busy.apply(limited())
        await other.apply(spec(step("a"), step("b", "a"), step("c", "b")))
        gate = asyncio.Semaphore(AT_ONCE)

        async def create(index: int) -> None:
            async with gate:
                await busy.run(f"r{index}")

        await asyncio.gather(*map(create, range(BACKLOG)))
        await other.run("first")

        async def told() -> int:
            return sum(bool(one.get("status", {}).get("phase")) for one in await busy.api.list(RUNS, busy.namespace))

        operator = Operator(
            world.plane,
            world.logs / "fair.log",
            lease_namespace=other.namespace,
            namespaces=[busy.namespace, other.namespace],
        )
        await operator.start()
        try:
            # All of them are new to the operator, and the one that came last is among the first to be looked at.
            first = await other.ended("first", within=60)
            assert succeeded(first)
            assert await told() < BACKLOG / 2, "the other tenant's run waited for the backlog"

            async def all_told() -> bool:
                return await told() == BACKLOG

            await until(all_told, within=120)
            began = time.monotonic()
            await other.run("second")
            assert succeeded(await other.ended("second"))
            took = time.monotonic() - began
            print(f"\n  three steps beside {BACKLOG:,} runs in line: {took:.1f} s")
            assert took < 10
        finally:
            operator.kill()
            await busy.api.request("DELETE", RUNS.path(busy.namespace))
