"""Targets of Environments on a real API server: Jobs that really make, check and take them back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio
from tests.harness.api import Object, condition
from tests.harness.kinds import CLAIMS, ENVIRONMENTS, JOBS, NAMESPACES, PODS
from tests.harness.storagepods import LABEL, StoragePods
from tests.integration.support import World, a_world, requests, until

from localcluster.controlplane import ControlPlane

pytestmark = pytest.mark.asyncio(loop_scope="module")

IMAGE = "example.test/storage:1"


@dataclass
class Site:
    """The API server, the operator, and what carries pods of storage Jobs out."""

    world: World
    pods: StoragePods

    async def environment(self, project: str, **spec: Any) -> Object:
        """An Environment in a project's namespace of its own."""
        await self.world.api.create(NAMESPACES, None, {"metadata": {"name": project}})
        body = {"metadata": {"name": "prod"}, "spec": spec}
        return await self.world.api.create(ENVIRONMENTS, project, body)

    async def says(self, project: str, status: str, reason: str, within: float = 60) -> Object:
        """Wait until TargetsReady has a status and a reason; gives the environment."""

        def reached(one: Object) -> bool:
            found = condition(one, "TargetsReady")
            return (found.get("status"), found.get("reason")) == (status, reason)

        return await self.world.api.wait_for(ENVIRONMENTS, project, "prod", reached, within)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    words = ("--storage-image", IMAGE, "--deletion-wait", "10s")
    async with a_world(plane, tmp_path_factory.mktemp("targets"), *words) as world, StoragePods(world.api) as pods:
        yield Site(world, pods)


async def test_a_volume_is_looked_into_by_a_job_of_the_runner_and_its_bytes_are_told(site: Site) -> None:
    project, api = "volumes", site.world.api
    folder = site.pods.folder / project / "target-scratch"
    folder.mkdir(parents=True)
    (folder / "data.bin").write_bytes(b"x" * 1000)
    site.pods.held.clear()
    await site.environment(project, targets=[{"name": "scratch", "volume": {"size": "1Gi"}}])
    pod = await found(site, PODS, project)
    spec = pod["spec"]
    assert (spec["serviceAccountName"], spec["automountServiceAccountToken"]) == ("dataops-runner", False)
    assert spec["containers"][0]["image"] == IMAGE
    assert spec["volumes"][1]["persistentVolumeClaim"]["claimName"] == "target-scratch"
    try:
        waiting = await site.says(project, "Unknown", "Provisioning")
        assert condition(waiting, "Reconciling").get("status") == "True"
    finally:
        site.pods.held.set()
    ready = await site.says(project, "True", "Provisioned")
    (row,) = ready["status"]["targets"]
    assert row.pop("checkedAt")
    url = "file:///dataops/targets/scratch"
    assert row == {"name": "scratch", "kind": "volume", "url": url, "reachable": "True", "usedBytes": 1000}
    assert await api.get(CLAIMS, project, "target-scratch")

    async def removed() -> bool:
        return not await api.list(JOBS, project, LABEL)

    await until(removed, 10)


async def found(site: Site, kind: Any, namespace: str) -> Object:
    """Wait for the one object of a storage Job."""
    async with asyncio.timeout(20):
        while True:
            if there := await site.world.api.list(kind, namespace, LABEL):
                return there[0]
            await asyncio.sleep(0.05)


async def test_a_target_that_cannot_be_reached_is_told_and_looked_into_again(site: Site) -> None:
    project = "unreachable"
    host = {"host": "127.0.0.1", "port": 1, "database": "dwh"}
    await site.environment(project, targets=[{"name": "warehouse", "postgres": host}])
    told = await site.says(project, "False", "TargetUnreachable")
    assert condition(told, "TargetsReady")["message"].startswith("warehouse: ")
    assert condition(told, "Ready")["reason"] == "TargetUnreachable"
    assert told["status"]["targets"][0]["reachable"] == "False"
    assert condition(told, "NamespaceReady")["status"] == "True", "runs that do not use it may go on"
    first = told["status"]["targets"][0]["checkedAt"]
    generation = told["metadata"]["generation"]

    def again(one: Object) -> bool:
        return bool(one["status"]["targets"][0]["checkedAt"] != first)

    after = await site.world.api.wait_for(ENVIRONMENTS, project, "prod", again, 90)
    assert after["metadata"]["generation"] == generation


async def test_a_job_under_way_is_taken_up_by_the_next_operator(site: Site) -> None:
    project = "restarted"
    site.pods.held.clear()
    await site.environment(project, targets=[{"name": "scratch", "volume": {"size": "1Gi"}}])
    job = await found(site, JOBS, project)
    operator, plane = site.world.operator, site.world.plane
    assert operator

    def looks() -> int:
        asked = [(one["verb"], one["objectRef"]["resource"]) for one in requests(plane, project)]
        return asked.count(("list", "jobs"))

    operator.kill()
    await asyncio.sleep(1)  # the audit log is written in batches
    before = looks()
    await operator.start()

    async def looked() -> bool:
        return looks() > before

    await until(looked, 60)  # it leads, and has found the Job; one that had ended by then would be made anew
    site.pods.held.set()
    await site.says(project, "True", "Provisioned", within=60)
    events = site.pods.done.count(f"{project} probe")
    assert events == 1, "the Job of the operator before served"
    assert job
