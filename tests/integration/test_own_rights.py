"""The operator as the chart installs it: under its own account, with the rights and within the policies of the chart.

Every other test runs it as the administrator. Here nothing that it needs may be missing, and nothing that it was given
may be idle: what it did is read from the API server's audit log.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import pytest_asyncio
from tests.harness.api import Api, Object, condition
from tests.harness.chart import ACCOUNT, FULLNAME, login
from tests.harness.history import run_ended
from tests.harness.kinds import (
    BINDINGS,
    CLAIMS,
    CONFIGMAPS,
    ENVIRONMENTS,
    JOBS,
    LIMITS,
    NAMESPACES,
    PIPELINES,
    PODS,
    POLICIES,
    QUOTAS,
    REVISIONS,
    RUN,
    RUN_UID,
    RUNS,
    SECRETS,
    SERVICE_ACCOUNTS,
    TEMPLATES,
    Kind,
)
from tests.harness.player import Player
from tests.harness.script import Outcome, Play, Rule, Script
from tests.integration.rights import OTHER, PROJECT, Site, a_plane, a_site, audited
from tests.integration.support import Operator, failed_because, row, spec, step, succeeded, until
from tests.integration.vaulted import VAULT_RUN, a_vault, flags

from chartcheck import NAMESPACE
from localcluster.controlplane import ControlPlane

pytestmark = pytest.mark.asyncio(loop_scope="module")

PROD, BRANCH = "analytics-prod", "analytics-feature"
WHOLE: Object = {
    "namespace": PROD,
    "quota": {"hard": {"requests.cpu": "4"}},
    "access": [{"role": "Run", "subjects": [{"kind": "Group", "name": "engineers"}]}],
    "network": {"egress": [{"ports": [{"port": 443}]}]},
    "targets": [{"name": "scratch", "volume": {"size": "1Gi"}}],
    "vault": {"role": "prod"},
}
SECRET: Object = {"name": "api", "vault": {"path": "secret/data/prod/api"}}

RARE: dict[tuple[str, str], str] = {
    ("get", "pipelineruns"): "where somebody else wrote a run's status at the same moment",
    ("get", "configmaps"): "where somebody else wrote a record at the same moment",
}
"""Rights that this module's cases need not use, and when they are."""


@pytest.fixture(scope="module")
def plane() -> Iterator[ControlPlane]:
    with a_plane("own-rights") as made:
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    folder = tmp_path_factory.mktemp("own-rights")
    script = Script(default=Play(start=0.05, end=0.2))
    script.rules.append(Rule(Play(outcome=Outcome.HANG), "hang", 0, "", ""))
    values = {
        "vault": {"servers": [{"name": "default", "address": "https://vault.example"}]},
        "stepObjects": [{"apiVersion": "v1", "kind": "ConfigMap", "resource": "configmaps"}],
    }
    async with a_vault(plane, folder / "bao") as bao, a_site(plane, values) as made, Player(made.api, script):
        kubeconfig = folder / "operator.kubeconfig"
        await login(plane, made.api, kubeconfig)
        words = [
            "--revision-grace",
            "2s",
            "--pipeline-wait",
            "8s",
            "--deletion-wait",
            "6s",
            "--service-account",
            FULLNAME,
        ]
        words += ["--step-objects", json.dumps(values["stepObjects"]), "--steps-role", f"{FULLNAME}-steps"]
        words += ["--runs-role", f"{FULLNAME}-runs", *await flags(bao, folder, made.api, NAMESPACE)]
        await bao.policy("prod", {"secret/data/prod/*": ["read"], "pki/issue/prod": ["update"]})
        await bao.role("prod", PROD, ["prod"])
        await bao.role("given", "given", ["prod"])
        await bao.put("secret/data/prod/api", {"token": "value"})
        async with Operator(
            plane, folder / "operator.log", *words, lease_namespace=NAMESPACE, kubeconfig=kubeconfig
        ) as operator:
            yield made
            assert operator.alive, operator.tail()
            await operator.terminate()


async def stands(api: Api, name: str, **more: Any) -> Object:
    await api.create(ENVIRONMENTS, PROJECT, {"metadata": {"name": name}, "spec": more})
    return await api.wait_for(
        ENVIRONMENTS, PROJECT, name, lambda one: condition(one, "Ready").get("status") == "True", timeout=40
    )


def content(obj: Object) -> Object:
    """An object without what the API server and others keep in it."""
    meta = {key: obj["metadata"].get(key) for key in ("name", "labels")}
    return {key: value for key, value in obj.items() if key not in ("metadata", "status")} | {"metadata": meta}


async def gone(api: Api, kind: Any, namespace: str | None, name: str) -> None:
    async def is_gone() -> bool:
        return await api.find(kind, namespace, name) is None

    await until(is_gone, within=60)


async def runs(api: Api, run: str) -> None:
    """Wait until a pod of a run does."""

    async def begun() -> bool:
        pods = await api.list(PODS, PROD, f"{RUN}={run}")
        return any(pod["status"].get("phase") == "Running" for pod in pods)

    await until(begun)


async def test_an_environment_its_runs_their_workspace_and_the_way_back(site: Site) -> None:
    """One walk through everything, since each part needs what the one before made."""
    api = site.api
    await api.create(TEMPLATES, PROJECT, {"metadata": {"name": "land"}, "spec": {"command": ["land"]}})
    steps = [{"name": "land", "template": {"name": "land"}}, step("report", "land")]
    await api.create(PIPELINES, PROJECT, {"metadata": {"name": "p"}, "spec": spec(*steps, workspace={"size": "1Gi"})})
    await stands(api, "prod", **WHOLE)

    async with site.as_user("editor") as editor:
        await editor.create(RUNS, PROJECT, {"metadata": {"name": "here"}, "spec": {"pipeline": "p"}})
    run = await api.create(RUNS, PROD, {"metadata": {"name": "r"}, "spec": {"pipeline": "p"}})
    ended = await api.wait_for(RUNS, PROD, "r", run_ended, timeout=60)
    assert succeeded(ended)
    assert ended["status"]["environment"] == f"{PROJECT}/prod"
    assert ended["status"]["requestedBy"] == run["metadata"]["annotations"]["dataops.dev/created-by"]
    here = await api.wait_for(RUNS, PROJECT, "here", run_ended, timeout=60)
    assert here["status"]["requestedBy"] == "editor"

    # A run with a secret: read with the runner's own token, put into a Secret of the run, both gone after.
    keyed = spec(step("a", secrets=[{"name": "api"}]), secrets=[SECRET])
    await api.create(PIPELINES, PROJECT, {"metadata": {"name": "keyed"}, "spec": keyed})
    await api.create(RUNS, PROD, {"metadata": {"name": "k"}, "spec": {"pipeline": "keyed"}})
    assert succeeded(await api.wait_for(RUNS, PROD, "k", run_ended, timeout=60))

    async def taken_back() -> bool:
        return not await api.list(SECRETS, PROD) and not await api.list(CONFIGMAPS, NAMESPACE, VAULT_RUN)

    await until(taken_back, within=60)

    # A run of another pipeline belongs to who asked for the first, waits for an object with the rights of its own
    # account, which the Environment gave it, and is suspended and resumed with the first.
    gate = {"apiVersion": "v1", "kind": "ConfigMap", "name": "gate", "when": "object.data.open == 'yes'"}
    inner = {"steps": [{"name": "gate", "wait": {"condition": gate}}]}
    outer = {"steps": [{"name": "inner", "pipeline": {"name": "inner"}}]}
    await api.create(PIPELINES, PROJECT, {"metadata": {"name": "inner"}, "spec": inner})
    await api.create(PIPELINES, PROJECT, {"metadata": {"name": "outer"}, "spec": outer})
    above = await api.create(RUNS, PROD, {"metadata": {"name": "outer"}, "spec": {"pipeline": "outer"}})
    waits = await api.wait_for(RUNS, PROD, "outer", lambda one: row(one, "inner").get("reason") == "RunWaiting")
    below = row(waits, "inner")["run"]
    held = await api.wait_for(RUNS, PROD, below, lambda one: row(one, "gate").get("reason") == "ObjectNotReady")
    assert held["status"]["requestedBy"] == above["metadata"]["annotations"]["dataops.dev/created-by"]
    assert held["metadata"]["annotations"]["dataops.dev/created-by"] == ACCOUNT
    for suspend in (True, False):
        await api.patch(RUNS, PROD, "outer", {"spec": {"suspend": suspend}})
        await api.wait_for(RUNS, PROD, below, lambda one, suspend=suspend: one["spec"].get("suspend") is suspend)  # type: ignore[misc]
    await api.create(CONFIGMAPS, PROD, {"metadata": {"name": "gate"}, "data": {"open": "yes"}})
    assert succeeded(await api.wait_for(RUNS, PROD, "outer", run_ended, timeout=60))

    # Drift is mended, in each kind, and what is no longer wanted goes.
    drift: dict[tuple[Kind, str], Object] = {
        (QUOTAS, "dataops"): {"spec": {"hard": {"requests.cpu": "64"}}},
        (LIMITS, "dataops"): {"spec": {"limits": []}},
        (POLICIES, "dataops-default-deny"): {"spec": {"policyTypes": ["Ingress"]}},
        (BINDINGS, "dataops-access-run"): {"subjects": []},
        (SERVICE_ACCOUNTS, "dataops-runner"): {"automountServiceAccountToken": True},
        (CLAIMS, "target-scratch"): {"metadata": {"labels": {"dataops.dev/project": "another"}}},
    }
    for (kind, name), body in drift.items():
        there = await api.get(kind, PROD, name)
        await api.patch(kind, PROD, name, body)
        await api.wait_for(kind, PROD, name, lambda one, there=there: content(one) == content(there))  # type: ignore[misc]
    await api.delete(POLICIES, PROD, "dataops-default-deny")
    await api.wait_for(POLICIES, PROD, "dataops-default-deny", lambda _: True)
    await api.patch(ENVIRONMENTS, PROJECT, "prod", {"spec": {"access": None, "quota": None}})
    await gone(api, QUOTAS, PROD, "dataops")
    assert await api.find(CLAIMS, PROD, "target-scratch") is not None
    assert await api.find(LIMITS, PROD, "dataops") is not None

    # The pods of a run that is cancelled are asked to end, and killed where it is cancelled at once.
    await api.create(PIPELINES, PROJECT, {"metadata": {"name": "hang"}, "spec": spec(step("hang"))})
    for name, how in (("g", "Graceful"), ("c", "Immediate")):
        await api.create(RUNS, PROD, {"metadata": {"name": name}, "spec": {"pipeline": "hang"}})
        await runs(api, name)
        await api.patch(RUNS, PROD, name, {"spec": {"cancel": how}})
        cancelled = await api.wait_for(RUNS, PROD, name, run_ended, timeout=30)
        assert cancelled["status"]["phase"] == "Cancelled", cancelled["status"]
        left = {pod["status"].get("reason") for pod in await api.list(PODS, PROD, f"{RUN}={name}")}
        assert left == {"DeadlineExceeded"} or how == "Immediate", "it stays, and with it the log"

    # Its end takes a run under way along.
    await api.create(RUNS, PROD, {"metadata": {"name": "h"}, "spec": {"pipeline": "hang"}})
    await api.wait_for(RUNS, PROD, "h", lambda one: row(one, "hang").get("phase") == "Running")
    await api.delete(ENVIRONMENTS, PROJECT, "prod")
    await gone(api, NAMESPACES, None, PROD)
    await gone(api, ENVIRONMENTS, PROJECT, "prod")


async def test_a_namespace_that_was_given_is_taken_and_given_back(site: Site) -> None:
    api = site.api
    labels = {"dataops.dev/allow-project": PROJECT}
    await api.create(NAMESPACES, None, {"metadata": {"name": "given", "labels": labels}})
    await stands(api, "given", **WHOLE | {"namespace": "given", "vault": {"role": "given"}})
    await api.delete(ENVIRONMENTS, PROJECT, "given")
    await gone(api, ENVIRONMENTS, PROJECT, "given")
    left = await api.get(NAMESPACES, None, "given")
    assert {key for key in left["metadata"]["labels"] if key.startswith("dataops")} == set(labels)
    for kind in (QUOTAS, LIMITS, POLICIES, CLAIMS, JOBS):
        assert await api.list(kind, "given") == []


async def test_an_environment_whose_time_is_over_deletes_itself(site: Site) -> None:
    began = time.monotonic()
    await stands(site.api, "short", namespace="analytics-short", ttl="6s")
    await gone(site.api, ENVIRONMENTS, PROJECT, "short")
    assert time.monotonic() - began > 5


async def test_a_job_without_a_pod_is_explained_and_removed(site: Site) -> None:
    api = site.api
    await api.create(QUOTAS, OTHER, {"metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}}})
    await api.create(PIPELINES, OTHER, {"metadata": {"name": "p"}, "spec": spec(step("a", startTimeout="8s"))})
    await api.create(RUNS, OTHER, {"metadata": {"name": "r"}, "spec": {"pipeline": "p"}})
    run = await api.wait_for(RUNS, OTHER, "r", run_ended, timeout=60)
    assert failed_because(run, "a") == "QuotaExceeded"

    async def removed() -> bool:
        return await api.list(JOBS, OTHER) == []

    await until(removed, within=60)


async def test_finished_runs_and_unused_revisions_go(site: Site) -> None:
    """And an old revision becomes the newest."""
    api = site.api

    async def apply(word: str) -> str:
        body = spec(step("a", command=[word]), history={"succeeded": 0, "revisions": 0})
        if await api.find(PIPELINES, PROJECT, "h") is None:
            await api.create(PIPELINES, PROJECT, {"metadata": {"name": "h"}, "spec": body})
        else:
            await api.patch(PIPELINES, PROJECT, "h", {"spec": body})
        seen = await api.wait_for(
            PIPELINES,
            PROJECT,
            "h",
            lambda one: one.get("status", {}).get("observedGeneration") == one["metadata"]["generation"],
        )
        return str(seen["status"]["activeRevision"])

    first = await apply("one")
    await apply("two")
    assert await apply("one") == first
    bare = spec(step("a"), history={"logs": "0s"})
    await api.create(PIPELINES, PROJECT, {"metadata": {"name": "bare"}, "spec": bare})
    for name, pipeline in (("gone", "h"), ("bare", "bare")):
        await api.create(RUNS, PROJECT, {"metadata": {"name": name}, "spec": {"pipeline": pipeline}})

    async def pruned() -> bool:
        left = await api.list(REVISIONS, PROJECT, "dataops.dev/pipeline=h")
        return [(one["metadata"]["name"], one["revision"]) for one in left] == [(first, 3)]

    await gone(api, RUNS, PROJECT, "gone")
    await until(pruned, within=60)
    run = await api.wait_for(RUNS, PROJECT, "bare", lambda one: "logsDeletedAt" in one.get("status", {}), timeout=60)
    assert await api.list(JOBS, PROJECT, f"{RUN_UID}={run['metadata']['uid']}") == []


# Last: what the cases before have used.


async def test_nothing_was_refused_for_want_of_a_right_or_by_a_policy(site: Site) -> None:
    every = audited(site.plane)
    # A right that was given a moment before may not be known yet: what was refused so is taken when it is asked again.
    taken = {(one["verb"], one["requestURI"]) for one in every if one["responseStatus"]["code"] < 300}
    refused = [one for one in every if one["responseStatus"]["code"] == 403]
    found = [one for one in refused if (one["verb"], one["requestURI"]) not in taken]
    told = [f"{one['verb']} {one['requestURI']}: {one['responseStatus'].get('message')}" for one in found]
    # A namespace that is going away refuses what is created in it, whoever asks.
    assert [one for one in told if "because it is being terminated" not in one] == []


async def test_every_right_that_was_given_was_used(site: Site) -> None:
    await asyncio.sleep(1)  # the log is written in batches
    used = {
        (one["verb"], "/".join(filter(None, (one["objectRef"]["resource"], one["objectRef"].get("subresource")))))
        for one in audited(site.plane)
        if "objectRef" in one
    }
    granted = {
        (verb, resource)
        for role in site.installed
        if role["kind"] in ("ClusterRole", "Role") and role["metadata"]["name"].startswith(FULLNAME)
        for rule in role["rules"]
        for verb in rule["verbs"]
        for resource in rule["resources"]
    }
    granted.discard(("bind", "clusterroles"))  # asked for within a write of a RoleBinding
    assert granted - used - RARE.keys() == set(), "given and not used"
    assert RARE.keys() <= granted, "an exception for what is not given"
    assert used - granted == set(), "used and not given"
