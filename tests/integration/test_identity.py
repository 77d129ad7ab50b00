"""Who did it: written by the API server, whatever a request says; and the operator's own account held to its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import pytest_asyncio
from tests.harness.api import ApiError, Object
from tests.harness.chart import ACCOUNT, MUTATING_BINDINGS, eventually
from tests.harness.kinds import (
    BINDINGS,
    CONFIGMAPS,
    ENVIRONMENTS,
    GOES_ON,
    JOBS,
    NAMESPACES,
    PODS,
    QUOTAS,
    REVISIONS,
    RUNS,
    SECRETS,
    Kind,
)
from tests.integration.rights import OTHER, PROJECT, Site, a_plane, a_site, give
from tests.integration.support import refused

from localcluster.controlplane import ControlPlane

pytestmark = pytest.mark.asyncio(loop_scope="module")

CREATOR, CHANGER = "dataops.dev/created-by", "dataops.dev/changed-by"
FORGED = {CREATOR: "root", CHANGER: "root"}
UID = "dataops.dev/environment-uid"
MADE = "dataops.dev/made-for"
APPLY = "application/apply-patch+yaml"
USERS = ("alice", "bob")


@pytest.fixture(scope="module")
def plane() -> Iterator[ControlPlane]:
    with a_plane("identity") as made:
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(plane: ControlPlane) -> AsyncIterator[Site]:
    values = {"vault": {"servers": [{"name": "default", "address": "https://vault.example:8200"}]}}
    async with a_site(plane, values) as made:
        for user in USERS:
            await give(made.api, PROJECT, user, "dataops-edit")
            await give(made.api, PROJECT, user, "dataops-environments")
        await give(made.api, PROJECT, ACCOUNT, "dataops-operator-runs")
        # The policies are in force once they have spoken.
        names = iter(f"try-{n}" for n in range(1000))
        await eventually(lambda: create(made, "alice", RUNS, next(names)), lambda run: said(run) == ("alice", ""))
        await eventually(lambda: foreign_quota(made, next(names)), lambda answer: isinstance(answer, ApiError))
        yield made


async def create(
    site: Site, user: str, kind: Kind, name: str, annotations: Object | None = None, **spec: Any
) -> Object:
    """Create a run or an Environment as somebody."""
    whole = {"pipeline": "p", **spec} if kind is RUNS else spec
    async with site.as_user(user) as api:
        return await api.create(
            kind, PROJECT, {"metadata": {"name": name, "annotations": annotations or {}}, "spec": whole}
        )


async def patch(site: Site, user: str, kind: Kind, name: str, body: Object) -> Object:
    async with site.as_user(user) as api:
        return await api.patch(kind, PROJECT, name, body)


def said(obj: Object) -> tuple[str, str]:
    """Who created and who changed it, as it says; empty for nobody, or where the answer is a refusal."""
    if isinstance(obj, ApiError):
        return "", ""
    annotations = obj["metadata"].get("annotations", {})
    return annotations.get(CREATOR, ""), annotations.get(CHANGER, "")


async def test_a_run_says_who_created_it_and_nothing_can_change_that(site: Site) -> None:
    assert said(await create(site, "alice", RUNS, "plain")) == ("alice", "")
    forged = {"metadata": {"annotations": {CREATOR: "root"}}}
    assert said(await patch(site, "bob", RUNS, "plain", forged)) == ("alice", "")
    removed = {"metadata": {"annotations": {CREATOR: None}}}
    assert said(await patch(site, "alice", RUNS, "plain", removed)) == ("alice", "")
    assert said(await patch(site, "bob", RUNS, "plain", {"spec": {"cancel": "Graceful"}})) == ("alice", "bob")


async def test_a_forged_creator_is_overwritten(site: Site) -> None:
    assert said(await create(site, "alice", RUNS, "forged", {CREATOR: "root"})) == ("alice", "")


async def test_a_manifest_that_is_applied_or_replaced_keeps_the_truth(site: Site) -> None:
    body = {"apiVersion": RUNS.group_version, "kind": "PipelineRun", "spec": {"pipeline": "p"}}
    body["metadata"] = {"name": "applied", "annotations": {CREATOR: "root"}}
    query = {"fieldManager": "kubectl", "force": "true"}
    for user in USERS:
        async with site.as_user(user) as api:
            path = RUNS.path(PROJECT, "applied")
            assert said(await api.request("PATCH", path, body, query, APPLY)) == ("alice", "")
    async with site.as_user("bob") as api:
        there = await api.get(RUNS, PROJECT, "applied")
        del there["metadata"]["annotations"]
        assert said(await api.request("PUT", RUNS.path(PROJECT, "applied"), there)) == ("alice", "")


async def test_a_status_that_says_who_created_the_object_changes_nothing(site: Site) -> None:
    await create(site, "alice", RUNS, "by-status")
    body = {"metadata": {"annotations": {CREATOR: "root"}}, "status": {"phase": "Pending"}}
    assert said(await site.api.patch(RUNS, PROJECT, "by-status", body, "status")) == ("alice", "")


async def test_an_environment_says_who_created_it_and_who_changed_its_spec_last(site: Site) -> None:
    assert said(await create(site, "alice", ENVIRONMENTS, "env", FORGED)) == ("alice", "alice")
    freeze = {"spec": {"freeze": True}, "metadata": {"annotations": FORGED}}
    assert said(await patch(site, "bob", ENVIRONMENTS, "env", freeze)) == ("alice", "bob")


async def test_a_run_says_who_cancelled_it(site: Site) -> None:
    await create(site, "alice", RUNS, "cancelled")
    change = {"spec": {"cancel": "Graceful"}, "metadata": {"annotations": FORGED}}
    assert said(await patch(site, "bob", RUNS, "cancelled", change)) == ("alice", "bob")
    assert said(await patch(site, "alice", RUNS, "cancelled", {"metadata": {"annotations": FORGED}})) == (
        "alice",
        "bob",
    )


@pytest.mark.parametrize(
    "body",
    [
        {"metadata": {"labels": {"team": "data"}}},
        {"metadata": {"annotations": FORGED}},
        {"metadata": {"annotations": {CREATOR: None, CHANGER: None}}},
        {"spec": {"freeze": False}},
    ],
    ids=["a label", "a forged name", "a removed name", "the same spec"],
)
async def test_what_changes_no_spec_changes_no_name(site: Site, body: Object, request: pytest.FixtureRequest) -> None:
    name = f"same-{abs(hash(request.node.name)) % 10000}"
    await create(site, "alice", ENVIRONMENTS, name, freeze=False)
    assert said(await patch(site, "bob", ENVIRONMENTS, name, body)) == ("alice", "alice")


async def test_the_operators_finalizer_leaves_the_names_as_they_are_and_lets_the_object_go(site: Site) -> None:
    await create(site, "alice", ENVIRONMENTS, "finalized")
    held = {"metadata": {"finalizers": ["dataops.dev/environment"]}}
    assert said(await patch(site, ACCOUNT, ENVIRONMENTS, "finalized", held)) == ("alice", "alice")
    await site.api.delete(ENVIRONMENTS, PROJECT, "finalized")
    await patch(site, ACCOUNT, ENVIRONMENTS, "finalized", {"metadata": {"finalizers": None}})
    assert await site.api.find(ENVIRONMENTS, PROJECT, "finalized") is None


# The operator's account.


async def foreign_quota(site: Site, name: str) -> Object:
    """The operator changes a quota that nobody gave it."""
    await site.api.create(QUOTAS, PROJECT, {"metadata": {"name": name}, "spec": {"hard": {"pods": "70"}}})
    return await patch(site, ACCOUNT, QUOTAS, name, {"spec": {"hard": {"pods": "71"}}})  # it stays where it was taken


async def delete(site: Site, kind: Kind, namespace: str | None, name: str) -> None:
    async with site.as_user(ACCOUNT) as api:
        await api.delete(kind, namespace, name)


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (QUOTAS, {"spec": {"hard": {"pods": "7"}}}),
        (SECRETS, {"stringData": {"key": "value"}}),
        (
            JOBS,
            {"spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "a", "image": "b"}]}}}},
        ),
        (BINDINGS, {"roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"}}),
    ],
    ids=lambda value: value.name if isinstance(value, Kind) else "",
)
async def test_the_operator_deletes_what_it_made_and_nothing_else(site: Site, kind: Kind, body: Object) -> None:
    await site.api.create(kind, PROJECT, {"metadata": {"name": "foreign"}, **body})
    assert "only what it made" in await refused(delete(site, kind, PROJECT, "foreign"))
    assert await site.api.find(kind, PROJECT, "foreign") is not None
    labels = {UID: "u", "app.kubernetes.io/managed-by": "dataops-operator"}
    await site.api.create(kind, PROJECT, {"metadata": {"name": "own", "labels": labels}, **body})
    await delete(site, kind, PROJECT, "own")


async def test_the_operator_deletes_runs_that_have_ended_and_no_others(site: Site) -> None:
    for name in ("under-way", "over", "wanted"):
        await create(site, "alice", RUNS, name)
    for name in ("over", "wanted"):
        told = {"type": "Succeeded", "status": "False", "reason": "Invalid", "message": ""}
        told |= {"lastTransitionTime": "2026-01-05T06:00:00Z", "observedGeneration": 1}  # type: ignore[dict-item]
        body = {"status": {"observedGeneration": 1, "conditions": [told]}}
        await site.api.patch(RUNS, PROJECT, name, body, subresource="status")
    await site.api.patch(RUNS, PROJECT, "wanted", {"metadata": {"labels": {"dataops.dev/keep": "true"}}})
    for name in ("under-way", "wanted"):
        assert "deletes runs that have ended" in await refused(delete(site, RUNS, PROJECT, name))
    await delete(site, RUNS, PROJECT, "over")
    # One under way goes with its Environment, whose status names it where the namespace is the project's own.
    body = {"status": {"environment": f"{PROJECT}/own"}}
    await site.api.patch(RUNS, PROJECT, "under-way", body, subresource="status")
    await delete(site, RUNS, PROJECT, "under-way")
    await site.api.create(NAMESPACES, None, {"metadata": {"name": "held", "labels": {UID: "u"}}})
    await site.api.create(RUNS, "held", {"metadata": {"name": "r"}, "spec": {"pipeline": "p"}})
    await delete(site, RUNS, "held", "r")


async def test_the_operator_numbers_and_deletes_revisions_that_it_made_and_nobody_wants(site: Site) -> None:
    managed = {"app.kubernetes.io/managed-by": "dataops-operator"}
    for name, labels in (("foreign", {}), ("wanted", managed | {"dataops.dev/keep": "true"}), ("own-1", managed)):
        body = {"metadata": {"name": name, "labels": labels}, "revision": 1, "data": {}}
        await site.api.create(REVISIONS, PROJECT, body)
    number = {"revision": 2}
    assert "only what it made" in await refused(patch(site, ACCOUNT, REVISIONS, "foreign", number))
    assert "only what it made" in await refused(delete(site, REVISIONS, PROJECT, "foreign"))
    await patch(site, ACCOUNT, REVISIONS, "wanted", number)
    assert "dataops.dev/keep" in await refused(delete(site, REVISIONS, PROJECT, "wanted"))
    await patch(site, ACCOUNT, REVISIONS, "own-1", number)
    await delete(site, REVISIONS, PROJECT, "own-1")


async def test_the_operator_changes_no_quota_that_somebody_else_made(site: Site) -> None:
    assert "only what it made" in await refused(foreign_quota(site, "theirs"))


async def test_the_operator_makes_and_removes_namespaces_of_environments_alone(site: Site) -> None:
    async with site.as_user(ACCOUNT) as api:
        assert "labels them so" in await refused(api.create(NAMESPACES, None, {"metadata": {"name": "any"}}))
        made = {"name": "analytics-prod", "labels": {UID: "u"}, "annotations": {MADE: "u"}}
        await api.create(NAMESPACES, None, {"metadata": made})
        await api.patch(NAMESPACES, None, "analytics-prod", {"metadata": {"labels": {"a": "b"}}})
        await api.delete(NAMESPACES, None, "analytics-prod")
        for name in (PROJECT, OTHER):
            assert "only what it made" in await refused(api.delete(NAMESPACES, None, name))
            mark = {"metadata": {"labels": {UID: "u", "dataops.dev/project": PROJECT}}}
            assert "only what it made" in await refused(api.patch(NAMESPACES, None, name, mark))


async def test_the_operator_takes_a_namespace_only_for_the_project_that_an_administrator_named(site: Site) -> None:
    offered = {"metadata": {"name": "offered", "labels": {"dataops.dev/allow-project": PROJECT}}}
    await site.api.create(NAMESPACES, None, offered)
    async with site.as_user(ACCOUNT) as api:
        for project, taken in (("sales", False), (PROJECT, True)):
            mark = api.patch(NAMESPACES, None, "offered", {"metadata": {"labels": {"dataops.dev/project": project}}})
            if taken:
                await mark
            else:
                assert "only what it made" in await refused(mark)
        assert "only what it made" in await refused(api.delete(NAMESPACES, None, "offered"))
        held = {"metadata": {"labels": {UID: "u"}}}
        await api.patch(NAMESPACES, None, "offered", held)
        assert "was there before" in await refused(api.delete(NAMESPACES, None, "offered"))
        lie = {"metadata": {"annotations": {MADE: "u"}}}
        assert "cannot be written later" in await refused(api.patch(NAMESPACES, None, "offered", lie))
        await api.patch(NAMESPACES, None, "offered", {"metadata": {"labels": {"dataops.dev/project": None}}})


@pytest.mark.parametrize("role", ["cluster-admin", "dataops-environments", "dataops-operator", "view"])
async def test_the_operator_gives_away_the_charts_roles_and_no_others(site: Site, role: str) -> None:
    """Not even its own, all of whose rights it has and which RBAC would let it bind."""
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role}
    body: Object = {"metadata": {"generateName": "a-"}, "roleRef": reference}
    body["subjects"] = [{"kind": "User", "name": "eve", "apiGroup": "rbac.authorization.k8s.io"}]
    async with site.as_user(ACCOUNT) as api:
        await refused(api.create(BINDINGS, PROJECT, body))
        body["roleRef"] = reference | {"name": "dataops-run"}
        await api.create(BINDINGS, PROJECT, body)


async def test_records_are_changed_and_removed_and_other_config_is_left_alone(site: Site) -> None:
    home = ACCOUNT.split(":")[2]
    await site.api.create(CONFIGMAPS, home, {"metadata": {"name": "settings"}})
    async with site.as_user(ACCOUNT) as api:
        labels = {"app.kubernetes.io/managed-by": "dataops-operator"}
        await api.create(CONFIGMAPS, home, {"metadata": {"name": "vault-1", "labels": labels}})
        await api.patch(CONFIGMAPS, home, "vault-1", {"data": {"record": "{}"}})
        await api.delete(CONFIGMAPS, home, "vault-1")
        assert "only what it made" in await refused(api.delete(CONFIGMAPS, home, "settings"))


async def test_of_a_pod_the_operator_changes_nothing_but_when_it_ends(site: Site) -> None:
    """The right to change a pod would else be one to have anything run in it."""
    containers = [{"name": "a", "image": "b"}]
    labels = {"app.kubernetes.io/managed-by": "dataops-operator", GOES_ON: "params"}
    for name, meta in (("mine", {"labels": labels}), ("foreign", {})):
        spec = {"containers": containers, "initContainers": [{"name": "i", "image": "b"}]}
        pod = await site.api.create(PODS, PROJECT, {"metadata": {"name": name, **meta}, "spec": spec})
    end: Object = {"spec": {"activeDeadlineSeconds": 60}}
    changes: list[Object] = [
        {"spec": {"tolerations": [*pod["spec"]["tolerations"], {"key": "x", "operator": "Exists"}]}},
        {"metadata": {"labels": {"more": "x"}}},
        {"metadata": {"annotations": {"more": "x"}}},
        {"metadata": {"finalizers": ["example.test/x"]}},
    ]
    async with site.as_user(ACCOUNT) as api:
        for change in changes:
            assert "but when it ends" in await refused(api.patch(PODS, PROJECT, "mine", change))
        for kind in ("containers", "initContainers"):
            other = [{"op": "replace", "path": f"/spec/{kind}/0/image", "value": "c"}]
            path, content = PODS.path(PROJECT, "mine"), "application/json-patch+json"
            assert "but when it ends" in await refused(api.request("PATCH", path, other, content_type=content))
        away: Object = {"metadata": {"labels": {GOES_ON: None}}}
        back: Object = {"metadata": {"labels": {GOES_ON: "other"}}}
        disowned: Object = {"metadata": {"labels": {"app.kubernetes.io/managed-by": None}}}
        assert "but when it ends" in await refused(api.patch(PODS, PROJECT, "mine", disowned))
        await api.patch(PODS, PROJECT, "mine", away)
        assert "but when it ends" in await refused(api.patch(PODS, PROJECT, "mine", back))
        await api.patch(PODS, PROJECT, "mine", end)
        assert "only what it made" in await refused(api.patch(PODS, PROJECT, "foreign", end))
    await site.api.patch(
        PODS, PROJECT, "foreign", end | {"metadata": {"labels": {"more": "x"}}}
    )  # nobody else's request


async def test_jobs_of_a_run_are_made_by_the_operator_alone(site: Site) -> None:
    """A Job says with what its run began; who may create Jobs could say it for a run that still waits."""
    await give(site.api, PROJECT, "dora", "admin")
    uid = (await create(site, "alice", RUNS, "waits"))["metadata"]["uid"]
    owner = {"apiVersion": "dataops.dev/v1alpha1", "kind": "PipelineRun", "name": "waits", "uid": uid}
    claims: dict[str, Object] = {
        "owner": {"ownerReferences": [owner]},
        "label": {"labels": {"dataops.dev/run-uid": uid}},
    }
    template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "a", "image": "b"}]}}
    body: Object = {"spec": {"suspend": True, "template": template}}
    async with site.as_user("dora") as api:
        for name, claim in claims.items():
            asked = api.create(JOBS, PROJECT, {"metadata": {"name": name, **claim}, **body})
            assert "made by the operator alone" in await refused(asked)
        await api.create(JOBS, PROJECT, {"metadata": {"name": "plain", "labels": {"dataops.dev/team": "x"}}, **body})
        for claim in claims.values():
            assert "made by the operator alone" in await refused(api.patch(JOBS, PROJECT, "plain", {"metadata": claim}))
    told = {"dataops.dev/environment": "analytics/prod", "dataops.dev/revision": "p-1"}
    meta = {"name": "real", **claims["owner"], **claims["label"], "annotations": told}
    async with site.as_user(ACCOUNT) as api:
        await api.create(JOBS, PROJECT, {"metadata": meta, **body})
    async with site.as_user("dora") as api:
        for change in ({"dataops.dev/environment": "sales/prod"}, {"dataops.dev/parameter-origins": "{}"}):
            edit = api.patch(JOBS, PROJECT, "real", {"metadata": {"annotations": change}})
            assert "made by the operator alone" in await refused(edit)
        await api.patch(
            JOBS, PROJECT, "real", {"metadata": {"annotations": {"note": "seen"}}, "spec": {"suspend": False}}
        )
        await api.patch(JOBS, PROJECT, "real", {"metadata": {"ownerReferences": None}})
        await api.delete(JOBS, PROJECT, "real")


async def test_the_account_of_steps_makes_jobs_that_a_run_owns_and_none_that_pass_for_the_runs(site: Site) -> None:
    runner = f"system:serviceaccount:{PROJECT}:dataops-runner"
    await give(site.api, PROJECT, runner, "admin")
    uid = (await create(site, "alice", RUNS, "makes"))["metadata"]["uid"]
    owner = {"apiVersion": "dataops.dev/v1alpha1", "kind": "PipelineRun", "name": "makes", "uid": uid}
    template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "a", "image": "b"}]}}
    body: Object = {"spec": {"suspend": True, "template": template}}
    async with site.as_user(runner) as api:
        await api.create(JOBS, PROJECT, {"metadata": {"name": "made", "ownerReferences": [owner]}, **body})
        for labels in ({"dataops.dev/run-uid": uid}, {"dataops.dev/step": "x"}):
            meta = {"name": "forged", "ownerReferences": [owner], "labels": labels}
            assert "made by the operator alone" in await refused(api.create(JOBS, PROJECT, {"metadata": meta, **body}))


async def test_runs_that_another_run_owns_are_made_and_steered_by_the_operator_alone(site: Site) -> None:
    uid = (await create(site, "alice", RUNS, "above"))["metadata"]["uid"]
    owner = {
        "apiVersion": "dataops.dev/v1alpha1", "kind": "PipelineRun", "name": "above", "uid": uid, "controller": True,
    }  # fmt: skip
    nested = {"metadata": {"name": "below", "ownerReferences": [owner]}, "spec": {"pipeline": "p"}}
    async with site.as_user("alice") as api:
        assert "made by the operator alone" in await refused(api.create(RUNS, PROJECT, nested))
        adopted = api.patch(RUNS, PROJECT, "above", {"metadata": {"ownerReferences": [owner]}})
        assert "made by the operator alone" in await refused(adopted)
    async with site.as_user(ACCOUNT) as api:
        alone = {"metadata": {"name": "alone"}, "spec": {"pipeline": "p"}}
        assert "only runs that another run made" in await refused(api.create(RUNS, PROJECT, alone))
        await api.create(RUNS, PROJECT, nested)
        await api.patch(RUNS, PROJECT, "below", {"spec": {"suspend": True}})
        steer = api.patch(RUNS, PROJECT, "above", {"spec": {"cancel": "Graceful"}})
        assert "only runs that another run made" in await refused(steer)
    async with site.as_user("alice") as api:
        await api.patch(RUNS, PROJECT, "below", {"spec": {"cancel": "Graceful"}})
        await api.patch(RUNS, PROJECT, "below", {"metadata": {"labels": {"dataops.dev/keep": "true"}}})


async def test_nobody_elses_requests_are_looked_at(site: Site) -> None:
    await give(site.api, PROJECT, "carol", "admin")
    await site.api.create(QUOTAS, PROJECT, {"metadata": {"name": "by-hand"}, "spec": {"hard": {"pods": "7"}}})
    async with site.as_user("carol") as api:
        await api.create(SECRETS, PROJECT, {"metadata": {"name": "hers"}})
        await api.delete(SECRETS, PROJECT, "hers")
    await site.api.delete(QUOTAS, PROJECT, "by-hand")


# Last, since it takes the mutating policy away for good.


async def test_a_server_without_mutating_policies_leaves_the_names_empty_and_refuses_forged_ones(site: Site) -> None:
    await create(site, "alice", ENVIRONMENTS, "early")
    await create(site, "alice", RUNS, "early")
    await site.api.delete(MUTATING_BINDINGS, None, "dataops-operator-identity")
    names = iter(f"bare-{n}" for n in range(1000))
    await eventually(lambda: create(site, "alice", RUNS, next(names)), lambda run: said(run) == ("", ""))
    await asyncio.sleep(0.5)

    told = await refused(create(site, "alice", RUNS, "lie", {CREATOR: "root"}))
    assert "created-by] is written by the API server alone: it says root, and alice is true" in told
    assert "changed-by" in await refused(create(site, "alice", ENVIRONMENTS, "lie", {CHANGER: "root"}))
    assert said(await create(site, "alice", RUNS, "truth", {CREATOR: "alice"})) == ("alice", "")
    for user in USERS:
        for value in ("root", None, user if user != "alice" else "bob"):
            forged = {"metadata": {"annotations": {CREATOR: value}}}
            assert "leave it as it is" in await refused(patch(site, user, RUNS, "early", forged))
    # A change of the spec may not go by under the name of who changed it before.
    freeze = {"spec": {"freeze": True}}
    assert "remove it from the request" in await refused(patch(site, "bob", ENVIRONMENTS, "early", freeze))
    unnamed = freeze | {"metadata": {"annotations": {CHANGER: None}}}
    assert said(await patch(site, "bob", ENVIRONMENTS, "early", unnamed)) == ("alice", "")
    assert said(await patch(site, "bob", ENVIRONMENTS, "early", {"metadata": {"labels": {"a": "b"}}})) == ("alice", "")
