"""What nobody applies is not tracked field by field; what somebody applied is, like all else in the cluster."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from tests.harness.api import Object
from tests.harness.chart import ACCOUNT, eventually
from tests.harness.kinds import JOBS, PODS, RUN_UID, RUNS
from tests.integration.rights import PROJECT, Site, a_plane, a_site, give

from localcluster.controlplane import ControlPlane

pytestmark = pytest.mark.asyncio(loop_scope="module")

APPLY = "application/apply-patch+yaml"
LABELS = {RUN_UID: "none", "app.kubernetes.io/managed-by": "dataops-operator"}


@pytest.fixture(scope="module")
def plane() -> Iterator[ControlPlane]:
    with a_plane("lean") as made:
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(plane: ControlPlane) -> AsyncIterator[Site]:
    async with a_site(plane) as made:
        await give(made.api, PROJECT, "alice", "dataops-edit")
        await give(made.api, PROJECT, ACCOUNT, "edit")
        tries = iter(range(1000))
        await eventually(lambda: job(made, f"try-{next(tries)}", LABELS), lambda found: not tracked(found))
        yield made


def tracked(obj: Object) -> bool:
    """Whether the API server tracks who wrote what of an object."""
    return not isinstance(obj, dict) or "managedFields" in obj["metadata"]


async def job(site: Site, name: str, labels: dict[str, str]) -> Object:
    """Create a Job as the operator."""
    pod = {"restartPolicy": "Never", "containers": [{"name": "a", "image": "example.test/step:1"}]}
    template = {"metadata": {"labels": labels}, "spec": pod}
    async with site.as_user(ACCOUNT) as api:
        return await api.create(
            JOBS, PROJECT, {"metadata": {"name": name, "labels": labels}, "spec": {"template": template}}
        )


async def a_pod(site: Site, name: str) -> Object:
    """The pod of a Job, once the Job says that it has one."""
    await site.api.wait_for(JOBS, PROJECT, name, lambda found: "active" in found.get("status", {}))
    (pod,) = await site.api.list(PODS, PROJECT, f"job-name={name}")
    return pod


def run(name: str, **annotations: str) -> Object:
    return {"metadata": {"name": name, "annotations": annotations}, "spec": {"pipeline": "p"}}


async def apply(site: Site, body: Object) -> Object:
    """Apply a run at the server's side, as alice."""
    whole = {"apiVersion": RUNS.group_version, "kind": RUNS.name, **body}
    async with site.as_user("alice") as api:
        path = RUNS.path(PROJECT, body["metadata"]["name"])
        return await api.request("PATCH", path, whole, {"fieldManager": "alice"}, APPLY)


async def test_a_runs_job_and_its_pod_are_not_tracked_whoever_writes_them(site: Site) -> None:
    assert not tracked(await job(site, "of-a-run", LABELS))
    pod = await a_pod(site, "of-a-run")
    assert not tracked(pod)
    status = {"status": {"phase": "Succeeded"}}
    assert not tracked(await site.api.patch(PODS, PROJECT, pod["metadata"]["name"], status, "status"))
    ended = await site.api.wait_for(JOBS, PROJECT, "of-a-run", lambda found: "completionTime" in found["status"])
    assert not tracked(ended)


async def test_a_job_of_somebody_else_is_tracked_like_any(site: Site) -> None:
    assert tracked(await job(site, "of-nobody", {}))
    assert tracked(await a_pod(site, "of-nobody"))


async def test_a_run_that_was_created_is_not_tracked_until_somebody_applies_it(site: Site) -> None:
    async with site.as_user("alice") as api:
        assert not tracked(await api.create(RUNS, PROJECT, run("created")))
    assert not tracked(await site.api.patch(RUNS, PROJECT, "created", {"status": {"phase": "Running"}}, "status"))
    cancelled = run("created")
    cancelled["spec"]["cancel"] = "Graceful"
    applied = await apply(site, cancelled)
    assert applied["spec"]["cancel"] == "Graceful"
    assert {one["manager"] for one in applied["metadata"]["managedFields"]} >= {"alice"}


async def test_a_run_that_was_applied_is_tracked(site: Site) -> None:
    assert tracked(await apply(site, run("applied")))
    async with site.as_user("alice") as api:
        by_kubectl = run("by-kubectl", **{"kubectl.kubernetes.io/last-applied-configuration": "{}"})
        assert tracked(await api.create(RUNS, PROJECT, by_kubectl))
