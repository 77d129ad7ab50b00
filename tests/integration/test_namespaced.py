"""The operator with Roles in two namespaces and none in the cluster: what works there, and what says that it cannot."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from tests.harness.api import Object, condition
from tests.harness.chart import FULLNAME, login
from tests.harness.history import run_ended
from tests.harness.kinds import ENVIRONMENTS, NAMESPACES, PIPELINES, QUOTAS, RUNS
from tests.harness.player import Player
from tests.harness.script import Play, Script
from tests.integration.rights import OTHER, PROJECT, Site, a_plane, a_site, audited
from tests.integration.support import Operator, spec, step, succeeded, until

from chartcheck import NAMESPACE
from localcluster.controlplane import ControlPlane

pytestmark = pytest.mark.asyncio(loop_scope="module")

PROD = "analytics-prod"


@pytest.fixture(scope="module")
def plane() -> Iterator[ControlPlane]:
    with a_plane("namespaced") as made:
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    folder = tmp_path_factory.mktemp("namespaced")
    values = {"watch": {"namespaces": [PROJECT, PROD]}}
    async with (
        a_site(plane, values, {PROD: {"dataops.dev/allow-project": PROJECT}}) as made,
        Player(made.api, Script(default=Play(start=0.05, end=0.2))),
    ):
        kubeconfig = folder / "operator.kubeconfig"
        await login(plane, made.api, kubeconfig)
        words = ("--environment-namespaces=", "--service-account", FULLNAME, "--pipeline-wait", "8s")
        log = folder / "operator.log"
        async with Operator(
            plane, log, *words, lease_namespace=NAMESPACE, namespaces=[PROJECT, PROD], kubeconfig=kubeconfig
        ) as operator:
            yield made
            assert operator.alive, operator.tail()
            await operator.terminate()


async def test_there_is_no_role_of_its_own_in_the_cluster(site: Site) -> None:
    kinds = {one["kind"] for one in site.installed if one["metadata"]["name"].startswith(FULLNAME)}
    assert "ClusterRole" not in kinds
    assert "ClusterRoleBinding" not in kinds


async def test_an_environment_takes_a_watched_namespace_and_runs_work_in_it(site: Site) -> None:
    api = site.api
    await api.create(
        PIPELINES, PROJECT, {"metadata": {"name": "p"}, "spec": spec(step("a"), workspace={"size": "1Gi"})}
    )
    access = [{"role": "Run", "subjects": [{"kind": "Group", "name": "engineers"}]}]
    body: Object = {"namespace": PROD, "quota": {"hard": {"requests.cpu": "4"}}, "access": access}
    await api.create(ENVIRONMENTS, PROJECT, {"metadata": {"name": "prod"}, "spec": body})
    await api.wait_for(ENVIRONMENTS, PROJECT, "prod", lambda one: condition(one, "Ready").get("status") == "True")
    for namespace in (PROD, PROJECT):
        await api.create(RUNS, namespace, {"metadata": {"name": "r"}, "spec": {"pipeline": "p"}})
    for namespace in (PROD, PROJECT):
        assert succeeded(await api.wait_for(RUNS, namespace, "r", run_ended, timeout=60))
    await api.patch(QUOTAS, PROD, "dataops", {"spec": {"hard": {"requests.cpu": "64"}}})
    await api.wait_for(QUOTAS, PROD, "dataops", lambda one: one["spec"]["hard"]["requests.cpu"] == "4")
    await api.delete(ENVIRONMENTS, PROJECT, "prod")

    async def gone() -> bool:
        return await api.find(ENVIRONMENTS, PROJECT, "prod") is None

    await until(gone, within=60)
    labels = (await api.get(NAMESPACES, None, PROD))["metadata"]["labels"]
    assert {key for key in labels if key.startswith("dataops")} == {"dataops.dev/allow-project"}


@pytest.mark.parametrize("namespace", [OTHER, "analytics-new"])
async def test_another_namespace_is_neither_made_nor_taken_and_that_is_said(site: Site, namespace: str) -> None:
    name = f"in-{namespace}"
    await site.api.create(ENVIRONMENTS, PROJECT, {"metadata": {"name": name}, "spec": {"namespace": namespace}})
    found = await site.api.wait_for(
        ENVIRONMENTS, PROJECT, name, lambda one: condition(one, "Stalled").get("status") == "True"
    )
    stalled = condition(found, "Stalled")
    assert stalled["reason"] == "NamespaceNotAllowed"
    assert f"the operator watches only {PROJECT}, {PROD}" in stalled["message"]
    assert f"add {namespace}" in stalled["message"]


async def test_nothing_was_refused_for_want_of_a_right_or_by_a_policy(site: Site) -> None:
    found = [one for one in audited(site.plane) if one["responseStatus"]["code"] == 403]
    assert [f"{one['verb']} {one['requestURI']}: {one['responseStatus'].get('message')}" for one in found] == []
