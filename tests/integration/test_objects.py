"""Steps that make objects on a real API server: a kind of a CRD that the test plays, a plain Job, what is refused."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from tests.harness.api import Api, Object, condition
from tests.harness.chart import CLUSTER_ROLES
from tests.harness.kinds import CRDS, JOBS, PIPELINES, PODS, RUNS, Kind
from tests.integration.beside import side_by_side
from tests.integration.rights import give
from tests.integration.support import (
    Case,
    World,
    a_world,
    failed_because,
    row,
    said,
    spec,
    step,
    succeeded,
    until,
    verdict,
)

from localcluster.controlplane import ControlPlane

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]

SERVICES = Kind("Service", "v1", "services")
WIDGETS = Kind("Widget", "test.example/v1", "widgets")
ALLOWED = (
    '[{"apiVersion": "test.example/v1", "kind": "Widget", "resource": "widgets", "access": "Apply"},'
    ' {"apiVersion": "batch/v1", "kind": "Job", "resource": "jobs", "access": "Apply"},'
    ' {"apiVersion": "v1", "kind": "ConfigMap", "resource": "configmaps"}]'
)
SCHEMA = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


async def prepare(api: Api) -> None:
    """The kind, and the role that the chart would make of the list above."""
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": SCHEMA},
        "subresources": {"status": {}},
    }
    names = {"plural": "widgets", "singular": "widget", "kind": "Widget"}
    crd = {"group": "test.example", "scope": "Namespaced", "names": names, "versions": [version]}
    await api.create(CRDS, None, {"metadata": {"name": "widgets.test.example"}, "spec": crd})
    verbs = ["get", "create", "delete"]
    rules = [
        {"apiGroups": ["test.example"], "resources": ["widgets"], "verbs": verbs},
        {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": verbs},
    ]
    await api.create(CLUSTER_ROLES, None, {"metadata": {"name": "steps-of-these-tests"}, "rules": rules})


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    async with a_world(plane, tmp_path_factory.mktemp("objects"), "--step-objects", ALLOWED) as it:
        await prepare(it.api)
        yield it


def makes(manifest: Any = None, **resource: Any) -> Object:
    more: Object = {key: resource.pop(key) for key in ("retry", "timeout", "startTimeout") if key in resource}
    whole = {"apiVersion": "test.example/v1", "kind": "Widget", **(manifest or {})}
    conditions = {"successWhen": "object.status.state == 'done'", "failureWhen": "object.status.state == 'broken'"}
    return {"name": "make", "needs": ["a"], "resource": {"manifest": whole, **conditions, **resource}, **more}


async def begin(case: Case, *steps: Object, rights: bool = True) -> None:
    if rights:
        await give(
            case.api, case.namespace, f"system:serviceaccount:{case.namespace}:dataops-runner", "steps-of-these-tests"
        )
    await case.ready(spec(step("a"), *steps))
    await case.run()


async def the_widget(case: Case, attempt: int = 1) -> Object:
    run = await case.until(
        RUNS, "r", lambda run: row(run, "make").get("attempt") == attempt and "object" in row(run, "make")
    )
    name = row(run, "make")["object"].partition("/")[2]
    return await case.api.get(WIDGETS, case.namespace, name)


async def becomes(case: Case, widget: Object, **status: Any) -> None:
    await case.api.patch(WIDGETS, case.namespace, widget["metadata"]["name"], {"status": status}, "status")


@side_by_side
async def test_an_object_is_made_judged_read_and_deleted_with_the_end_of_the_run(case: Case) -> None:
    manifest = {"spec": {"text": "run $(run.name)"}}
    outputs = [{"name": "rows", "value": "object.status.rows * 2"}]
    await begin(case, makes(manifest, outputs=outputs), step("b", "make", args=["$(steps.make.outputs.rows)"]))
    widget = await the_widget(case)
    run = await case.api.get(RUNS, case.namespace, "r")
    assert widget["spec"] == {"text": "run r"}
    assert widget["metadata"]["ownerReferences"][0]["uid"] == run["metadata"]["uid"]
    managers = {one["manager"] for one in widget["metadata"]["managedFields"]}
    assert managers == {"dataops-operator"}
    await becomes(case, widget, state="done", rows=21)
    run = await case.ended()
    assert succeeded(run)
    assert row(run, "make")["outputs"] == {"rows": 42}
    (job,) = await case.jobs("b")
    assert job["spec"]["template"]["spec"]["containers"][0]["args"] == ["42"]
    await case.none_left(WIDGETS)


@side_by_side
async def test_one_that_fails_is_tried_again_by_another_and_kept_where_that_is_said(case: Case) -> None:
    await begin(case, makes(deletion="Keep", retry={"limit": 1, "backoff": {"initial": "0s"}}))
    await becomes(case, await the_widget(case), state="broken")
    second = await the_widget(case, 2)
    await becomes(case, second, state="broken")
    run = await case.ended()
    assert failed_because(run, "make") == "ObjectFailed"
    assert "object.status.state == 'broken'" in said(run)
    assert len(await case.api.list(WIDGETS, case.namespace)) == 2
    await case.api.delete(RUNS, case.namespace, "r")
    await case.none_left(WIDGETS)


@side_by_side
async def test_a_cancelled_run_takes_its_object_along(case: Case) -> None:
    await begin(case, makes(deletion="Keep"))
    await the_widget(case)
    await case.api.patch(RUNS, case.namespace, "r", {"spec": {"cancel": "Graceful"}})
    assert verdict(await case.ended()) == ("False", "Cancelled")
    assert await case.api.list(WIDGETS, case.namespace) == []


@side_by_side
async def test_one_that_somebody_deletes_is_made_anew(case: Case) -> None:
    await begin(case, makes())
    widget = await the_widget(case)
    await case.api.delete(WIDGETS, case.namespace, widget["metadata"]["name"])
    await becomes(case, await the_widget(case, 2), state="done")
    assert succeeded(await case.ended())


@side_by_side
async def test_without_the_right_it_is_the_runner_who_may_not(case: Case) -> None:
    await begin(case, makes(startTimeout="3s"), rights=False)
    run = await case.ended()
    assert failed_because(run, "make") == "ObjectRefused"
    assert "dataops-runner" in said(run)


@side_by_side
async def test_kinds_that_are_not_listed_or_only_to_be_read_are_not_made(case: Case) -> None:
    unlisted = makes({"apiVersion": "v1", "kind": "Service"})
    readable = makes({"apiVersion": "v1", "kind": "ConfigMap"}) | {"name": "other"}
    await begin(case, unlisted, readable)
    run = await case.ended()
    assert row(run, "make")["reason"] == row(run, "other")["reason"] == "KindNotAllowed"
    assert "steps may not make Service (v1); the chart's stepObjects allows: Job, Widget" in said(run)
    assert await case.api.list(SERVICES, case.namespace) == []


@side_by_side
async def test_a_kind_that_no_step_may_touch_is_refused_before_any_run(case: Case) -> None:
    await case.apply(spec(makes({"apiVersion": "v1", "kind": "Secret"})))
    pipeline = await case.until(PIPELINES, "p", lambda one: condition(one, "Ready").get("status") == "False")
    assert (
        "spec.steps[0].resource.manifest.kind: Secret (v1) is a kind that no step"
        in condition(pipeline, "Ready")["message"]
    )


@side_by_side
async def test_a_plain_job_runs_to_its_end(case: Case) -> None:
    security = {
        "allowPrivilegeEscalation": False,
        "runAsNonRoot": True,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    container = {"name": "main", "image": "example.test/x:1", "securityContext": security}
    template = {"spec": {"restartPolicy": "Never", "containers": [container]}}
    manifest = {"apiVersion": "batch/v1", "kind": "Job", "spec": {"template": template}}
    done = "object.status.conditions.exists(c, c.type == 'Complete' && c.status == 'True')"
    await begin(case, makes(manifest, successWhen=done, outputs=[{"name": "n", "value": "object.status.succeeded"}]))

    async def made() -> bool:
        return any(pod["metadata"]["labels"].get("batch.kubernetes.io/job-name") for pod in await case.pods())

    await until(made)
    run = await case.until(RUNS, "r", lambda run: "object" in row(run, "make"))
    name = row(run, "make")["object"].partition("/")[2]

    async def ours() -> bool:
        pods = await case.api.list(PODS, case.namespace, f"batch.kubernetes.io/job-name={name}")
        for pod in pods:
            await case.api.patch(
                PODS, case.namespace, pod["metadata"]["name"], {"status": {"phase": "Succeeded"}}, "status"
            )
        return bool(pods)

    await until(ours)
    run = await case.ended()
    assert succeeded(run)
    assert row(run, "make")["outputs"] == {"n": 1}

    async def gone() -> bool:
        return await case.api.find(JOBS, case.namespace, name) is None

    await until(gone)
