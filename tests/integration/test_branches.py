"""Branch environments whole: namespace, a schema of a real PostgreSQL, logins of a real Vault; made and taken back."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio
from tests.harness.api import Api, Object, condition
from tests.harness.kinds import CONFIGMAPS, ENVIRONMENTS, EVENTS, JOBS, NAMESPACES, SECRETS
from tests.harness.openbao import OpenBao
from tests.harness.postgres import Postgres
from tests.harness.storagepods import LABEL, StoragePods
from tests.integration.support import World, a_world, until
from tests.integration.vaulted import a_vault, flags

from localcluster.controlplane import ControlPlane

pytestmark = pytest.mark.asyncio(loop_scope="module")

WAIT = 15
LOGIN = (
    "CREATE ROLE \"{{name}}\" LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}' IN ROLE %s;"
    " ALTER ROLE \"{{name}}\" SET role = '%s'"
)
"""A user who acts as a role that stays, so that what it makes is the role's and the user can go."""


@dataclass
class Site:
    """The API server with the operator, PostgreSQL, Vault, and what carries storage Jobs out."""

    world: World
    api: Api
    postgres: Postgres
    bao: OpenBao
    pods: StoragePods
    home: str

    def warehouse(self) -> Object:
        """The parent's target."""
        place = {"host": self.postgres.host, "port": self.postgres.port, "database": "dwh", "sslMode": "disable"}
        logins = {"credentials": "loader", "readCredentials": "reader", "branchCredentials": "brancher"}
        sources = {field: {"vault": {"path": f"database/creds/{role}"}} for field, role in logins.items()}
        return {"name": "warehouse", "postgres": {**place, **sources}}

    async def project(self, name: str) -> None:
        """A project with an Environment `prod` that stands; every project has a schema of its own."""
        schema = name.replace("-", "_")
        self.postgres.run(
            "dwh", f"CREATE SCHEMA {schema} AUTHORIZATION loaders", f"GRANT USAGE ON SCHEMA {schema} TO readers"
        )
        spaces = [f"{name}-{one}" for one in ("prod", "feature-x")]
        await self.bao.role(name, spaces[0], ["warehouse"], bound_service_account_namespaces=spaces)
        await self.api.create(NAMESPACES, None, {"metadata": {"name": name}})
        target = self.warehouse()
        target["postgres"]["schema"] = schema
        spec = {"namespace": spaces[0], "vault": {"role": name}, "targets": [target]}
        await self.api.create(ENVIRONMENTS, name, {"metadata": {"name": "prod"}, "spec": spec})
        await self.ready(name, "prod")

    async def branch(self, project: str, **spec: Any) -> Object:
        """A branch of a project's `prod`."""
        body = {"metadata": {"name": "feature-x"}, "spec": {"from": "prod", "branch": "x", **spec}}
        return await self.api.create(ENVIRONMENTS, project, body)

    async def ready(self, project: str, name: str, within: float = 60) -> Object:
        """Wait until an Environment is Ready."""

        def reached(one: Object) -> bool:
            return bool(condition(one, "Ready").get("status") == "True")

        return await self.api.wait_for(ENVIRONMENTS, project, name, reached, within)

    async def gone(self, project: str, name: str, within: float = 60) -> None:
        """Wait until an Environment is no more, and neither is the namespace that it made."""

        async def is_gone() -> bool:
            there = await self.api.find(ENVIRONMENTS, project, name)
            return there is None and await self.api.find(NAMESPACES, None, f"{project}-{name}") is None

        await until(is_gone, within)

    def schemas(self) -> set[str]:
        """Schemas of the warehouse."""
        rows = self.postgres.rows("dwh", "SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_'")
        return {str(row[0]) for row in rows}

    async def settled(self, project: str) -> None:
        """Wait until Vault has taken back what was for a moment."""

        async def nothing() -> bool:
            return not await self.held(project) and not await self.bao.leases("database/creds")

        await until(nothing, 60)

    async def held(self, project: str) -> list[str]:
        """What is held in Vault for a project, and where that is recorded."""
        found = [
            key for key, one in (await self.bao.accessors()).items() if (one.get("meta") or {}).get("role") == project
        ]
        found += [
            one["metadata"]["name"] for one in await self.api.list(CONFIGMAPS, self.home, "dataops.dev/vault-run")
        ]
        return found

    async def inventory(self, project: str) -> set[str]:
        """All there is: namespaces, what they hold, schemas, users, tokens and leases."""
        await self.settled(project)
        found = {one["metadata"]["name"] for one in await self.api.list(NAMESPACES)}
        for kind in (JOBS, SECRETS, CONFIGMAPS):
            found |= {f"{kind.name} {one['metadata']['name']}" for one in await self.api.list(kind, f"{project}-prod")}
        return found | {f"schema {one}" for one in self.schemas()} | {f"user {one}" for one in self.postgres.roles()}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    logs, home = tmp_path_factory.mktemp("branches"), "branches-system"
    with Postgres() as postgres:
        postgres.run(
            "postgres", "CREATE DATABASE dwh", "CREATE ROLE loaders", "CREATE ROLE readers", "CREATE ROLE branchers"
        )
        postgres.run("dwh", "GRANT CREATE ON DATABASE dwh TO branchers")
        async with a_vault(plane, logs / "bao") as bao, Api(plane.server, plane.token, plane.ca) as api:
            for role in ("loader", "reader", "brancher"):
                await bao.database(
                    host=postgres.host,
                    port=postgres.port,
                    database="dwh",
                    username="postgres",
                    password=postgres.password,
                    role=role,
                    statements=[LOGIN % (f"{role}s", f"{role}s")],
                )
            await bao.policy("warehouse", {"database/creds/*": ["read"]})
            await api.make_namespace(home)
            words = [*await flags(bao, logs, api, home), "--storage-image", "example.test/storage:1"]
            words += ["--deletion-wait", f"{WAIT}s"]
            async with (
                a_world(plane, logs, *words, lease_namespace=home) as world,
                StoragePods(world.api) as pods,
            ):
                yield Site(world, world.api, postgres, bao, pods, home)
                assert world.operator
                assert "Traceback" not in world.operator.tail(10_000_000)


async def test_a_branch_appears_whole_and_goes_whole(site: Site) -> None:
    await site.project("whole-branch")
    before = await site.inventory("whole-branch")
    begun, ran = time.monotonic(), site.pods.seconds
    await site.branch("whole-branch", ttl="72h")
    found = await site.ready("whole-branch", "feature-x")
    took, ran = time.monotonic() - begun, site.pods.seconds - ran
    print(f"a branch with a schema of its own was ready {took:.1f} s after its apply, {ran:.1f} s of it in its Job")
    assert took - ran < 5
    (row,) = found["status"]["targets"]
    assert row["reachable"] == "True"
    assert "whole_branch__feature_x" in row["url"]
    assert "whole_branch__feature_x" in site.schemas()
    assert condition(found, "VaultReady")["message"].startswith("dataops-runner of whole-branch-feature-x logs in")
    await site.settled("whole-branch")
    assert site.postgres.rows("dwh", "SELECT 1 FROM pg_roles WHERE rolname ~ '^v-'") == [], "no login outlives its Job"

    await site.api.delete(ENVIRONMENTS, "whole-branch", "feature-x")
    await site.gone("whole-branch", "feature-x")
    assert "whole_branch__feature_x" not in site.schemas()
    assert await site.inventory("whole-branch") == before


async def test_a_branch_whose_parent_has_gone_still_takes_its_places_back(site: Site) -> None:
    await site.project("orphan")
    await site.branch("orphan")
    await site.ready("orphan", "feature-x")
    await site.api.delete(ENVIRONMENTS, "orphan", "prod")
    await site.gone("orphan", "prod")

    def stalled(one: Object) -> bool:
        return bool(condition(one, "Ready").get("reason") == "ParentNotFound")

    await site.api.wait_for(ENVIRONMENTS, "orphan", "feature-x", stalled, 30)
    assert "orphan__feature_x" in site.schemas()
    await site.api.delete(ENVIRONMENTS, "orphan", "feature-x")
    await site.gone("orphan", "feature-x")
    assert "orphan__feature_x" not in site.schemas()
    assert "orphan" in site.schemas(), "the parent's own data was never its to remove"


async def test_a_target_that_is_down_holds_a_deletion_up_for_its_time_and_no_longer(site: Site) -> None:
    await site.project("down")
    await site.branch("down")
    await site.ready("down", "feature-x")
    site.postgres.stop()
    try:
        await site.api.delete(ENVIRONMENTS, "down", "feature-x")

        def tells(one: Object) -> bool:
            return "down__feature_x" in condition(one, "Reconciling").get("message", "")

        await site.api.wait_for(ENVIRONMENTS, "down", "feature-x", tells, 20)
        await site.gone("down", "feature-x", within=6 * WAIT)
    finally:
        site.postgres.start()
    fields = "involvedObject.name=feature-x,reason=TargetLeft"
    (told,) = await site.api.list(EVENTS, "down", fields=fields)
    assert told["type"] == "Warning"
    assert "down__feature_x" in told["message"]
    assert "down__feature_x" in site.schemas(), "and that is where it is"


async def test_an_operator_that_dies_while_places_are_made_ends_with_one_of_each(site: Site) -> None:
    await site.project("killed")
    operator = site.world.operator
    assert operator
    site.pods.held.clear()
    await site.branch("killed")

    async def under_way() -> bool:
        return bool(await site.api.list(JOBS, "killed-feature-x", LABEL))

    await until(under_way, 30)
    operator.kill()
    await operator.start()
    site.pods.held.set()
    await site.ready("killed", "feature-x")
    assert "killed__feature_x" in site.schemas()
    await site.settled("killed")
    await site.api.delete(ENVIRONMENTS, "killed", "feature-x")
    await site.gone("killed", "feature-x")
    assert "killed__feature_x" not in site.schemas()
    await site.settled("killed")
