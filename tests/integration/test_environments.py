"""Environments on a real API server: what one `kubectl apply` makes, what keeps it so, and what its end leaves."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import pytest_asyncio
from tests.harness.api import Api, Object, condition
from tests.harness.history import run_ended
from tests.harness.kinds import (
    BINDINGS,
    CLAIMS,
    CONFIGMAPS,
    ENVIRONMENTS,
    EVENTS,
    JOBS,
    LIMITS,
    NAMESPACES,
    PIPELINES,
    PODS,
    POLICIES,
    QUOTAS,
    REVISIONS,
    RUNS,
    SECRETS,
    SERVICE_ACCOUNTS,
    Kind,
)
from tests.harness.script import Outcome, Play, Rule
from tests.integration.support import PIPELINE_WAIT, World, a_world, audit_lines, spec, step, until, writes

from localcluster.controlplane import ControlPlane

pytestmark = pytest.mark.asyncio(loop_scope="module")

ALLOW = "dataops.dev/allow-project"
UID = "dataops.dev/environment-uid"
WAIT = 4
"""Seconds that each stage of a deletion has here; five minutes by default."""
INSIDE = (SERVICE_ACCOUNTS, BINDINGS, QUOTAS, LIMITS, POLICIES, CLAIMS, SECRETS, CONFIGMAPS, JOBS, PODS, RUNS)
WHOLE: dict[str, Any] = {
    "quota": {"runs": 20, "hard": {"requests.cpu": "4000m", "limits.memory": "8Gi"}},
    "access": [{"role": "Run", "subjects": [{"kind": "Group", "name": "engineers"}]}],
    "network": {"egress": [{"to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}], "ports": [{"port": 443}]}]},
    "podDefaults": {"imagePullSecrets": [{"name": "registry"}]},
}
OBJECTS = {
    (SERVICE_ACCOUNTS, "dataops-runner"),
    (BINDINGS, "dataops-access-run"),
    (QUOTAS, "dataops"),
    (LIMITS, "dataops"),
    (POLICIES, "dataops-default-deny"),
    (POLICIES, "dataops-dns"),
    (POLICIES, "dataops-egress"),
    (POLICIES, "dataops-targets"),
    (CLAIMS, "target-scratch"),
}


def full(project: str) -> dict[str, Any]:
    """A spec with everything; no two projects write to one place."""
    warehouse = {"host": "pg.data", "database": "dwh", "schema": project.replace("-", "_")}
    scratch = {"name": "scratch", "volume": {"size": "1Gi"}}
    return {**WHOLE, "targets": [{"name": "warehouse", "postgres": warehouse}, scratch]}


@dataclass
class Site:
    """The API server, the operator, and projects that no other test uses."""

    world: World
    api: Api
    plane: ControlPlane
    projects: list[str] = field(default_factory=list)

    async def project(self, name: str) -> str:
        """A project's namespace."""
        await self.api.create(NAMESPACES, None, {"metadata": {"name": name}})
        self.projects.append(name)
        return name

    async def apply(self, project: str, name: str, **spec: Any) -> Object:
        """Create an Environment; `from_` stands for `from`."""
        body = {"metadata": {"name": name}, "spec": {key.rstrip("_"): value for key, value in spec.items()}}
        return await self.api.create(ENVIRONMENTS, project, body)

    async def ready(self, project: str, name: str, within: float = 20) -> Object:
        """Wait until an environment is Ready as it is written now."""
        generation = (await self.api.get(ENVIRONMENTS, project, name))["metadata"]["generation"]

        def reached(one: Object) -> bool:
            ready = condition(one, "Ready")
            return ready.get("status") == "True" and ready["observedGeneration"] >= generation

        return await self.api.wait_for(ENVIRONMENTS, project, name, reached, within)

    async def says(self, project: str, name: str, reason: str, type_: str = "Ready", within: float = 20) -> Object:
        """Wait until a condition has a reason; gives the condition."""
        found = await self.api.wait_for(
            ENVIRONMENTS, project, name, lambda one: condition(one, type_).get("reason") == reason, within
        )
        return condition(found, type_)

    async def gone(self, kind: Kind, namespace: str | None, name: str, within: float = 30) -> None:
        """Wait until an object is no longer there."""

        async def is_gone() -> bool:
            return await self.api.find(kind, namespace, name) is None

        await until(is_gone, within)

    async def event(self, project: str, about: str, reason: str, within: float = 15) -> Object:
        """Wait for an Event about an environment."""
        fields = f"involvedObject.name={about},reason={reason}"
        async with asyncio.timeout(within):
            while True:
                if found := await self.api.list(EVENTS, project, fields=fields):
                    return found[0]
                await asyncio.sleep(0.1)

    async def inventory(self, *namespaces: str) -> set[str]:
        """Everything that is there: the namespaces of the cluster, and what these hold, Events left out."""
        found = {f"Namespace/{one['metadata']['name']}" for one in await self.api.list(NAMESPACES)}
        for namespace in namespaces:
            for kind in (*INSIDE, ENVIRONMENTS, REVISIONS):
                for one in await self.api.list(kind, namespace):
                    labels = sorted((one["metadata"].get("labels") or {}).items())
                    found.add(f"{kind.name}/{namespace}/{one['metadata']['name']} {labels}")
        return found

    async def quiet(self) -> None:
        """Wait until the operator has written nothing for a while."""
        assert self.plane.audit_log
        last, since = -1, time.monotonic()
        while time.monotonic() - since < 2:
            count = sum(len(writes(self.plane, name)) for name in self.projects)
            if count != last:
                last, since = count, time.monotonic()
            await asyncio.sleep(0.25)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    words = (
        "--deletion-wait",
        f"{WAIT}s",
        "--environment-namespaces",
        "{project}-*,shared-{project}",
        "--resync",
        "60s",
    )
    async with a_world(plane, tmp_path_factory.mktemp("environments"), *words) as it:
        yield it


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(world: World) -> Site:
    return Site(world, world.api, world.plane)


async def test_one_apply_gives_a_namespace_with_everything_in_it_within_seconds(site: Site) -> None:
    project = await site.project("whole")
    begun = time.monotonic()
    made = await site.apply(project, "prod", namespace="whole-prod", **full(project))
    found = await site.ready(project, "prod")
    took = time.monotonic() - begun
    assert took < 5, f"ready after {took:.1f} s"
    status = found["status"]
    assert (status["namespace"], status["createdNamespace"]) == ("whole-prod", True)
    assert status["observedGeneration"] == found["metadata"]["generation"]
    assert condition(found, "Stalled") == condition(found, "Reconciling") == {}
    for part in ("NamespaceReady", "AccessReady", "QuotaReady", "NetworkReady", "VaultReady", "TargetsReady"):
        assert condition(found, part)["status"] == "True", part
    assert found["metadata"]["finalizers"] == ["dataops.dev/environment"]

    namespace = await site.api.get(NAMESPACES, None, "whole-prod")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert namespace["metadata"]["labels"]["dataops.dev/project"] == project
    selector = f"{UID}={made['metadata']['uid']}"
    there = {
        (kind, one["metadata"]["name"]) for kind in INSIDE for one in await site.api.list(kind, "whole-prod", selector)
    }
    assert there == OBJECTS
    await site.event(project, "prod", "Provisioned")


async def test_an_environment_without_a_word_is_the_projects_own_namespace_and_holds_no_finalizer(site: Site) -> None:
    project = await site.project("plain")
    await site.apply(project, "main")
    found = await site.ready(project, "main")
    assert found["status"]["namespace"] == project
    assert "finalizers" not in found["metadata"]
    (policy,) = [one for one in await site.api.list(POLICIES, project) if one["metadata"]["name"] == "dataops-dns"]
    assert policy["metadata"]["ownerReferences"][0]["uid"] == found["metadata"]["uid"]
    assert policy["spec"]["podSelector"]["matchLabels"], "others share the namespace: their pods are left alone"
    await site.api.delete(ENVIRONMENTS, project, "main")
    # The garbage collector learns of kinds that are minutes old only now and then.
    await site.gone(POLICIES, project, "dataops-dns", within=90)


# Drift.

DRIFT: list[Any] = [
    pytest.param(SERVICE_ACCOUNTS, "dataops-runner", {"automountServiceAccountToken": True}, id="token"),
    pytest.param(SERVICE_ACCOUNTS, "dataops-runner", {"imagePullSecrets": None}, id="pull-secrets"),
    pytest.param(BINDINGS, "dataops-access-run", {"subjects": [{"kind": "Group", "name": "all"}]}, id="subjects"),
    pytest.param(QUOTAS, "dataops", {"spec": {"hard": {"requests.cpu": "400"}}}, id="quota-raised"),
    pytest.param(QUOTAS, "dataops", {"spec": {"hard": {"pods": "1"}}}, id="quota-added"),
    pytest.param(LIMITS, "dataops", {"spec": {"limits": [{"type": "Container", "max": {"cpu": "9"}}]}}, id="limits"),
    pytest.param(POLICIES, "dataops-default-deny", {"spec": {"egress": [{}]}}, id="egress-opened"),
    pytest.param(POLICIES, "dataops-default-deny", {"spec": {"ingress": [{}]}}, id="ingress-opened"),
    pytest.param(POLICIES, "dataops-dns", {"spec": {"egress": []}}, id="dns-closed"),
    pytest.param(POLICIES, "dataops-dns", {"metadata": {"labels": {"dataops.dev/environment": "x"}}}, id="label"),
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def drifting(site: Site) -> str:
    project = await site.project("drift")
    await site.apply(project, "prod", namespace="drift-prod", **full(project))
    await site.ready(project, "prod")
    return "drift-prod"


@pytest.mark.parametrize(("kind", "name", "change"), DRIFT)
async def test_what_somebody_changed_is_mended_at_once(
    site: Site, drifting: str, kind: Kind, name: str, change: Object
) -> None:
    before = await site.api.get(kind, drifting, name)
    await site.api.patch(kind, drifting, name, {"metadata": {"labels": {"team": "data"}}})
    await site.api.patch(kind, drifting, name, change)

    async def mended() -> bool:
        now = await site.api.get(kind, drifting, name)
        return comparable(now) == comparable(before)

    await until(mended, 10)
    now = await site.api.get(kind, drifting, name)
    assert now["metadata"]["labels"]["team"] == "data", "what others add beside it stays"
    assert now["metadata"]["uid"] == before["metadata"]["uid"]


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        pytest.param(*one, id=f"{one[0].name}-{one[1]}")
        for one in sorted(OBJECTS, key=lambda one: (one[0].name, one[1]))
    ],
)
async def test_what_somebody_deleted_is_made_again(site: Site, drifting: str, kind: Kind, name: str) -> None:
    before: Object = await site.api.get(kind, drifting, name)
    await site.api.delete(kind, drifting, name)

    async def made_again() -> bool:
        now = await site.api.find(kind, drifting, name)
        return now is not None and now["metadata"]["uid"] != before["metadata"]["uid"]

    await until(made_again, 15)
    assert comparable(await site.api.get(kind, drifting, name)) == comparable(before)


def comparable(obj: Object) -> Object:
    """What of an object drifts."""
    labels = {key: value for key, value in obj["metadata"]["labels"].items() if key != "team"}
    left_out = ("metadata", "status", "secrets")
    rest = {key: value for key, value in obj.items() if key not in left_out}
    rest.get("spec", {}).pop("volumeName", None)
    return {"labels": labels, **rest}


async def test_a_binding_that_was_made_another_role_is_made_again(site: Site, drifting: str) -> None:
    bound = await site.api.get(BINDINGS, drifting, "dataops-access-run")
    await site.api.delete(BINDINGS, drifting, "dataops-access-run")
    body = {
        "metadata": {"name": "dataops-access-run", "labels": bound["metadata"]["labels"]},
        "roleRef": {**bound["roleRef"], "name": "cluster-admin"},
        "subjects": bound["subjects"],
    }
    for _ in range(20):
        try:
            await site.api.create(BINDINGS, drifting, body)
            break
        except Exception:
            await site.api.delete(BINDINGS, drifting, "dataops-access-run")

    async def mended() -> bool:
        now = await site.api.find(BINDINGS, drifting, "dataops-access-run")
        return now is not None and now["roleRef"]["name"] == "dataops-run"

    await until(mended, 10)


async def test_pod_security_of_a_namespace_that_was_made_cannot_be_lowered(site: Site, drifting: str) -> None:
    level = "pod-security.kubernetes.io/enforce"
    await site.api.patch(NAMESPACES, None, drifting, {"metadata": {"labels": {level: "privileged"}}})

    async def mended() -> bool:
        labels = (await site.api.get(NAMESPACES, None, drifting))["metadata"]["labels"]
        return bool(labels[level] == "restricted")

    await until(mended, 10)


async def test_a_changed_spec_is_followed_and_what_it_no_longer_wants_is_removed(site: Site) -> None:
    project = await site.project("edited")
    await site.apply(project, "prod", namespace="edited-prod", **full(project))
    await site.ready(project, "prod")
    change: Object = {
        "spec": {
            "quota": {"hard": {"requests.cpu": "2", "limits.memory": None}},
            "network": None,
            "access": None,
            "targets": None,
        }
    }
    await site.api.patch(ENVIRONMENTS, project, "prod", change)
    await site.ready(project, "prod")
    await site.gone(BINDINGS, "edited-prod", "dataops-access-run")
    await site.gone(POLICIES, "edited-prod", "dataops-egress")
    await site.gone(POLICIES, "edited-prod", "dataops-targets")
    quota = await site.api.get(QUOTAS, "edited-prod", "dataops")
    assert quota["spec"]["hard"] == {"requests.cpu": "2"}
    assert await site.api.find(CLAIMS, "edited-prod", "target-scratch"), "data is not lost by an edit"
    told = await site.event(project, "prod", "TargetLeft")
    assert "target-scratch" in told["message"]


# What is not its own.


async def test_an_object_of_its_names_that_it_did_not_make_is_never_touched(site: Site) -> None:
    project = await site.project("foreign")
    await site.api.create(NAMESPACES, None, {"metadata": {"name": "foreign-prod", "labels": {ALLOW: project}}})
    theirs: Object = {"metadata": {"name": "dataops-dns", "labels": {"team": "net"}}, "spec": {"podSelector": {}}}
    before = await site.api.create(POLICIES, "foreign-prod", theirs)
    account = await site.api.create(SERVICE_ACCOUNTS, "foreign-prod", {"metadata": {"name": "dataops-runner"}})
    await site.apply(project, "prod", namespace="foreign-prod", **full(project))
    told = await site.says(project, "prod", "ForeignObject", "NetworkReady")
    assert "NetworkPolicy dataops-dns in namespace foreign-prod was not made by this environment" in told["message"]
    found = await site.api.get(ENVIRONMENTS, project, "prod")
    assert condition(found, "Stalled")["reason"] == "ForeignObject"
    assert condition(found, "AccessReady")["status"] == "True"
    assert "used as it is" in condition(found, "AccessReady")["message"]

    await site.api.delete(ENVIRONMENTS, project, "prod")
    await site.gone(ENVIRONMENTS, project, "prod")
    assert await site.api.get(POLICIES, "foreign-prod", "dataops-dns") == before
    assert await site.api.get(SERVICE_ACCOUNTS, "foreign-prod", "dataops-runner") == account


@pytest.mark.parametrize("label", [None, "another"])
async def test_a_namespace_that_is_not_given_to_the_project_is_not_taken(site: Site, label: str | None) -> None:
    project = await site.project(f"refused-{label}".lower())
    name = f"{project}-prod"
    labels = {ALLOW: label} if label else {}
    await site.api.create(NAMESPACES, None, {"metadata": {"name": name, "labels": labels}})
    before = await site.api.get(NAMESPACES, None, name)
    await site.apply(project, "prod", namespace=name, **full(project))
    told = await site.says(project, "prod", "NamespaceNotAllowed")
    assert told["message"].startswith("spec.namespace: ")
    assert f"label it {ALLOW}={project}" in told["message"]
    found = await site.api.get(ENVIRONMENTS, project, "prod")
    assert condition(found, "Stalled")["status"] == "True"
    assert "namespace" not in found["status"]
    await site.quiet()
    assert await site.api.get(NAMESPACES, None, name) == before
    assert await site.api.list(POLICIES, name) == []
    await site.api.delete(ENVIRONMENTS, project, "prod")
    await site.gone(ENVIRONMENTS, project, "prod")
    assert await site.api.get(NAMESPACES, None, name) == before


@pytest.mark.parametrize("name", ["elsewhere", "kube-mine", "shared-x"])
async def test_only_a_namespace_of_an_allowed_name_is_made(site: Site, name: str) -> None:
    project = await site.project(f"named-{name}")
    await site.apply(project, "prod", namespace=name)
    told = await site.says(project, "prod", "NamespaceNotAllowed")
    assert f"({project}-* or shared-{project})" in told["message"]
    assert await site.api.find(NAMESPACES, None, name) is None


async def test_a_namespace_that_was_given_is_taken_and_given_back_as_it_was(site: Site) -> None:
    project = await site.project("given")
    labels = {ALLOW: project, "team": "data", "pod-security.kubernetes.io/enforce": "baseline"}
    await site.api.create(NAMESPACES, None, {"metadata": {"name": "given-prod", "labels": labels}})
    await site.api.create(CONFIGMAPS, "given-prod", {"metadata": {"name": "theirs"}})
    before = await site.inventory(project, "given-prod")
    own = (await site.api.get(NAMESPACES, None, "given-prod"))["metadata"]["labels"]
    await site.apply(project, "prod", namespace="given-prod", **full(project))
    found = await site.ready(project, "prod")
    assert found["status"]["createdNamespace"] is False
    taken = (await site.api.get(NAMESPACES, None, "given-prod"))["metadata"]["labels"]
    assert own.items() <= taken.items(), "its own labels stay"
    assert taken["dataops.dev/environment"] == "prod"

    await site.api.delete(ENVIRONMENTS, project, "prod")
    await site.gone(ENVIRONMENTS, project, "prod")
    assert (await site.api.get(NAMESPACES, None, "given-prod"))["metadata"]["labels"] == own
    assert await site.inventory(project, "given-prod") == before


async def test_a_namespace_belongs_to_one_environment_and_goes_to_the_next_when_it_is_free(site: Site) -> None:
    project = await site.project("taken")
    await site.apply(project, "first", namespace="taken-prod")
    await site.ready(project, "first")
    await site.apply(project, "second", namespace="taken-prod")
    told = await site.says(project, "second", "NamespaceTaken")
    assert "environment taken/first" in told["message"]
    assert condition(await site.api.get(ENVIRONMENTS, project, "second"), "Stalled")["status"] == "True"
    await site.api.delete(ENVIRONMENTS, project, "first")
    await site.ready(project, "second", within=30)


# Bad input.


@pytest.mark.parametrize(
    ("given", "reason", "message"),
    [
        pytest.param({"quota": {"hard": {"pods": "0"}}}, "QuotaTooSmall", "spec.quota.hard[pods]: 0", id="quota"),
        pytest.param({"ttl": "0s"}, "Invalid", "spec.ttl: 0s would delete", id="ttl"),
        pytest.param({"from_": "nowhere"}, "ParentNotFound", "spec.from: there is no environment", id="parent"),
        pytest.param({"vault": {"role": "r"}}, "VaultNotConfigured", "spec.vault.server", id="vault"),
        pytest.param({"quota": {"hard": {"bananas": "1"}}}, "ObjectRefused", "bananas", id="refused"),
    ],
)
async def test_bad_input_stalls_with_reason_path_and_cure(
    site: Site, request: pytest.FixtureRequest, given: dict[str, Any], reason: str, message: str
) -> None:
    project = await site.project(f"bad-{request.node.callspec.id}")
    await site.apply(project, "prod", **given)
    told = await site.says(project, "prod", reason, "Stalled", within=PIPELINE_WAIT + 10)
    assert message in told["message"]
    found = await site.api.get(ENVIRONMENTS, project, "prod")
    assert condition(found, "Ready")["status"] == "False"
    assert found["status"]["observedGeneration"] == 1
    await site.api.delete(ENVIRONMENTS, project, "prod")


# Branches, their life and their end.


async def test_a_branch_is_ready_in_seconds_follows_its_parent_and_leaves_nothing(site: Site) -> None:
    project = await site.project("branches")
    await site.apply(project, "prod", namespace="branches-prod", **WHOLE)
    await site.ready(project, "prod")
    before = await site.inventory(project, "branches-prod")
    begun = time.monotonic()
    await site.apply(project, "feature-x", from_="prod", branch="feature-x", ttl="72h")
    found = await site.ready(project, "feature-x")
    took = time.monotonic() - begun
    print(f"a branch environment was ready {took:.2f} s after its apply")
    assert took < 5
    assert found["status"]["namespace"] == "branches-feature-x"
    assert found["status"]["expiresAt"]
    assert {(kind.name, name) for kind, name in OBJECTS} - {
        ("PersistentVolumeClaim", "target-scratch"),
        ("NetworkPolicy", "dataops-targets"),
    } <= {
        (kind.name, one["metadata"]["name"])
        for kind in INSIDE
        for one in await site.api.list(kind, "branches-feature-x", UID)
    }

    change = {"spec": {"quota": {"hard": {"requests.cpu": "3"}}}}
    await site.api.patch(ENVIRONMENTS, project, "prod", change)

    async def followed() -> bool:
        quota = await site.api.get(QUOTAS, "branches-feature-x", "dataops")
        return bool(quota["spec"]["hard"].get("requests.cpu") == "3")

    await until(followed, 10)
    await site.ready(project, "prod")
    begun = time.monotonic()
    await site.api.delete(ENVIRONMENTS, project, "feature-x")
    await site.gone(ENVIRONMENTS, project, "feature-x")
    print(f"and gone {time.monotonic() - begun:.2f} s after its delete")
    await site.gone(NAMESPACES, None, "branches-feature-x")
    assert await site.inventory(project, "branches-prod") == before


async def test_a_short_lived_environment_tells_its_end_and_deletes_itself(site: Site) -> None:
    project = await site.project("short")
    await site.apply(project, "preview", namespace="short-preview", ttl="8s")
    await site.ready(project, "preview")
    told = await site.event(project, "preview", "Expiring")
    assert told["type"] == "Warning"
    await site.gone(ENVIRONMENTS, project, "preview", within=30)
    await site.gone(NAMESPACES, None, "short-preview")
    await site.event(project, "preview", "Expired")


async def test_a_deletion_that_something_holds_up_says_what_and_goes_on(site: Site) -> None:
    project = await site.project("stuck")
    await site.apply(project, "prod", namespace="stuck-prod")
    await site.ready(project, "prod")
    held = {"metadata": {"name": "held", "finalizers": ["example.test/held"]}}
    await site.api.create(CONFIGMAPS, "stuck-prod", held)
    await site.api.delete(ENVIRONMENTS, project, "prod")
    told = await site.says(project, "prod", "Deleting", "Reconciling")
    assert "waits for namespace stuck-prod to be gone" in told["message"]
    await site.gone(ENVIRONMENTS, project, "prod", within=5 * WAIT)
    told = await site.event(project, "prod", "NamespaceLeft")
    assert (told["type"], "stuck-prod" in told["message"]) == ("Warning", True)
    await site.api.patch(CONFIGMAPS, "stuck-prod", "held", {"metadata": {"finalizers": None}})
    await site.gone(NAMESPACES, None, "stuck-prod")


async def test_runs_under_way_end_with_their_environment_and_what_ended_before_stays(site: Site) -> None:
    project = await site.project("busy")
    await site.api.create(NAMESPACES, None, {"metadata": {"name": "busy-prod", "labels": {ALLOW: project}}})
    rules = site.world.script.rules
    rules.append(Rule(Play(start=0.05, end=0.1), namespace="busy-prod", run="done"))
    rules.append(Rule(Play(outcome=Outcome.HANG), namespace="busy-prod", run="long"))
    await site.apply(project, "prod", namespace="busy-prod", quota={"runs": 1})
    await site.ready(project, "prod")
    await site.api.create(PIPELINES, project, {"metadata": {"name": "p"}, "spec": spec(step("a"))})
    await site.api.create(RUNS, "busy-prod", {"metadata": {"name": "done"}, "spec": {"pipeline": "p"}})
    await site.api.wait_for(RUNS, "busy-prod", "done", run_ended)
    for name in ("long", "next"):
        await site.api.create(RUNS, "busy-prod", {"metadata": {"name": name}, "spec": {"pipeline": "p"}})
        await asyncio.sleep(1.1)  # places go by whole seconds of creation
    found = await site.api.wait_for(ENVIRONMENTS, project, "prod", lambda one: counts(one) == (1, 1), 30)
    assert condition(found, "Ready")["status"] == "True"
    await site.api.delete(ENVIRONMENTS, project, "prod")
    await site.gone(ENVIRONMENTS, project, "prod")
    assert [run["metadata"]["name"] for run in await site.api.list(RUNS, "busy-prod")] == ["done"]
    running = [pod for pod in await site.api.list(PODS, "busy-prod") if pod["status"]["phase"] == "Running"]
    assert running == []
    assert await site.api.list(POLICIES, "busy-prod") == []


def counts(environment: Object) -> tuple[int | None, int | None]:
    """Runs under way and waiting, as an environment tells them."""
    status = environment["status"]
    return status.get("activeRuns"), status.get("waitingRuns")


async def test_two_environments_never_write_to_one_place(site: Site) -> None:
    first, second = await site.project("one"), await site.project("two")
    target = [{"name": "dwh", "postgres": {"host": "pg.shared", "database": "dwh", "schema": "marts"}}]
    other = [{"name": "mart", "postgres": {"host": "PG.shared", "port": 5432, "database": "dwh", "schema": "marts"}}]
    await site.apply(first, "prod", targets=target)
    await site.ready(first, "prod")
    await asyncio.sleep(1.1)  # creation times are whole seconds
    await site.apply(second, "prod", targets=other)
    told = await site.says(second, "prod", "TargetShared", "Stalled")
    assert "environment one/prod writes as its target dwh" in told["message"]
    assert condition(await site.api.get(ENVIRONMENTS, first, "prod"), "Ready")["status"] == "True"
    await site.api.patch(ENVIRONMENTS, second, "prod", {"spec": {"targets": [{**other[0], "access": "ReadOnly"}]}})
    await site.ready(second, "prod")


# Quiet.


async def test_an_environment_that_stands_is_not_written_again_not_even_by_a_new_operator(site: Site) -> None:
    project = await site.project("steady")
    await site.apply(project, "prod", namespace="steady-prod", **full(project))
    await site.ready(project, "prod")
    await site.quiet()
    since = audit_lines(site.plane)
    operator = site.world.operator
    assert operator
    await operator.terminate()
    await operator.start()
    await asyncio.sleep(3)
    everywhere = [*site.projects, *(one["metadata"]["name"] for one in await site.api.list(NAMESPACES, None, UID))]
    written = {name: found for name in everywhere if (found := writes(site.plane, name, since))}
    assert written == {}
    # And it is at work, not asleep.
    await site.api.delete(POLICIES, "steady-prod", "dataops-dns")

    async def made_again() -> bool:
        return await site.api.find(POLICIES, "steady-prod", "dataops-dns") is not None

    await until(made_again, 10)


async def test_the_log_of_all_this_shows_no_failure(world: World) -> None:
    assert world.operator
    log = world.operator.tail(10_000_000)
    assert "Traceback" not in log, log[log.index("Traceback") - 500 :][:3000]
