"""Two hundred runs that each need a login to a real PostgreSQL by a real OpenBao: one login each, and none is left."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from tests.harness.history import run_ended
from tests.harness.kinds import RUNS
from tests.harness.postgres import Postgres
from tests.integration.support import step, succeeded, until
from tests.integration.vaulted import VaultCase, VaultWorld, a_vault_world

from localcluster.controlplane import ControlPlane

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(600)]

MANY = 200
WITHIN = 400.0
"""Seconds; forty on an idle machine of two cores."""
SIDE_BY_SIDE = 16
ADMINISTRATOR = {"postgres"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[VaultWorld]:
    async with a_vault_world(plane, tmp_path_factory.mktemp("vault-many")) as it:
        yield it


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with Postgres() as server:
        yield server


async def begin_all(case: VaultCase) -> None:
    gate = asyncio.Semaphore(SIDE_BY_SIDE)

    async def begin(number: int) -> None:
        async with gate:
            await case.run(f"run-{number:03}")

    await asyncio.gather(*(begin(number) for number in range(MANY)))


async def all_end(case: VaultCase) -> None:
    ended: set[str] = set()
    async with asyncio.timeout(WITHIN):
        async for type_, run in case.api.list_then_watch(RUNS, case.namespace):
            if type_ != "SYNCED" and run_ended(run):
                assert succeeded(run)
                ended.add(run["metadata"]["name"])
                if len(ended) == MANY:
                    return


async def test_two_hundred_runs_log_in_once_each_and_leave_no_lease(
    world: VaultWorld, postgres: Postgres, capsys: pytest.CaptureFixture[str]
) -> None:
    async with world.case("vault-many") as case:
        path = f"database/creds/{case.namespace}"
        await case.bao.database(
            host=postgres.host,
            port=postgres.port,
            database="postgres",
            username="postgres",
            password=postgres.password,
            role=case.namespace,
        )
        await case.environment(rules={path: ["read"]})
        uses = [{"name": "login"}]
        login = {"name": "login", "vault": {"path": path}}
        await case.simple(step("one", secrets=uses), step("two", "one", secrets=uses), secrets=[login])
        asked = len(case.bao.audit())
        began = time.monotonic()
        await begin_all(case)
        await until(lambda: some_held(case, path), within=30)
        assert postgres.roles() > ADMINISTRATOR, "each lease is a login that PostgreSQL knows"
        await all_end(case)
        took = time.monotonic() - began
        await case.nothing_left()
        gone = time.monotonic() - began - took
        assert case.logins() == MANY
        reads = [one for one in case.bao.audit(asked) if one["request"]["path"] == path and "error" not in one]
        assert len(reads) == MANY, "one credential a run, for both of its steps"
        assert await case.bao.leases(path) == []
        assert postgres.roles() == ADMINISTRATOR
        assert world.operator is not None
        metrics = await world.operator.get("/metrics") or ""
        assert "\ndataops_vault_leases 0.0\n" in metrics
        assert "\ndataops_vault_overdue_leases 0.0\n" in metrics
    with capsys.disabled():
        print(f"\n  {MANY} runs with a login each: {took:.0f} s; {gone:.1f} s later none was left")


async def some_held(case: VaultCase, path: str) -> bool:
    return bool(await case.bao.leases(path))
