"""Approvals and waits on a real API server with the chart's policies: who decides, what silence means, what is read."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import pytest_asyncio
from tests.harness.api import Api, Object
from tests.harness.chart import CLUSTER_ROLES, eventually, install_rights
from tests.harness.kinds import CONFIGMAPS, RUNS
from tests.harness.operator import ROOT
from tests.harness.script import succeed
from tests.integration.beside import side_by_side
from tests.integration.rights import give
from tests.integration.support import (
    Case,
    World,
    a_world,
    failed_because,
    phases,
    refused,
    row,
    said,
    spec,
    step,
    succeeded,
    verdict,
)
from tests.integration.test_cli import dataops

from localcluster.controlplane import ControlPlane

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]

OBJECTS = '[{"apiVersion": "v1", "kind": "ConfigMap", "resource": "configmaps"}]'
TIDY = {"finally": [step("tidy", args=["$(run.outcome)"])]}


@pytest.fixture(scope="module")
def plane() -> Iterator[ControlPlane]:
    with ControlPlane.start(f"waits-{os.getpid()}", tuned_jobs=True) as made:
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    async with Api(plane.server, plane.token, plane.ca) as api:
        await api.install_crds(ROOT / "crds")
        await install_rights(api, {"admission": {"guard": False}})  # the operator here is an administrator
    async with a_world(plane, tmp_path_factory.mktemp("waits"), "--step-objects", OBJECTS) as it:
        await in_force(it)
        yield it


async def in_force(world: World) -> None:
    """Wait until both policies of approvals have spoken: one names a decision's author, the other refuses it."""
    await world.api.make_namespace("policies")
    names = iter(range(1000))

    async def attempt() -> Object:
        body = {"metadata": {"name": f"try-{next(names)}"}, "spec": {"pipeline": "p", "approvals": decided("x")}}
        return await world.api.create(RUNS, "policies", body)

    await eventually(attempt, lambda answer: "no step of this run asks" in str(answer))


def decided(step_name: str, decision: str = "Approve", **more: Any) -> list[Object]:
    return [{"step": step_name, "decision": decision, **more}]


def asks(**approval: Any) -> Object:
    return {"name": "ask", "approval": approval, "needs": ["a"]}


async def begin(case: Case, *steps: Object, **more: Any) -> None:
    """Start a run in which somebody may change runs."""
    for user in ("ann", "bob", "eve"):
        await give(case.api, case.namespace, user, "dataops-run")
    rows = [{"name": "rows", "type": "Integer"}]
    case.plays("a", succeed(rows=3))
    await case.ready(spec(step("a", outputs=rows), *steps, **more))
    await case.run()


async def decide(case: Case, user: str, approvals: list[Object], groups: tuple[str, ...] = ()) -> Object:
    async with Api(case.plane.server, case.plane.token, case.plane.ca, user=user, groups=groups) as api:
        return await api.patch(RUNS, case.namespace, "r", {"spec": {"approvals": approvals}})


@side_by_side
async def test_a_run_waits_for_who_may_decide_and_nobody_else_can(case: Case) -> None:
    approvers = {"users": ["ann"], "groups": ["releasers"]}
    question = asks(message="publish $(steps.a.outputs.rows) rows?", approvers=approvers)
    await begin(case, question, step("b", "ask", args=["$(steps.ask.outputs.by)"]))
    run = await case.waits("Approval")
    assert row(run, "ask")["message"] == "asks ann, group releasers: publish 3 rows?"
    assert row(run, "ask")["approvers"] == approvers
    assert run["status"]["phase"] == "Waiting"
    await case.event("r", "ApprovalRequested")
    assert "eve is none of the approvers of step ask" in await refused(decide(case, "eve", decided("ask")))
    assert "eve is none of the approvers" in await refused(decide(case, "eve", decided("ask", by="ann")))
    assert "no step of this run asks for a decision now that is called b" in await refused(
        decide(case, "ann", decided("b"))
    )
    lies = await refused(decide(case, "eve", decided("ask", groups=["releasers"])))
    assert "is none of the approvers" in lies or "none but your own" in lies
    written = await decide(case, "ann", decided("ask", comment="looks right", by="eve"))
    (one,) = written["spec"]["approvals"]
    assert (one["by"], one["comment"], one.get("groups", [])) == ("ann", "looks right", [])
    run = await case.ended()
    assert succeeded(run)
    assert row(run, "ask")["message"] == "approved by ann: looks right"
    assert "approvers" not in row(run, "ask")
    (job,) = await case.jobs("b")
    assert job["spec"]["template"]["spec"]["containers"][0]["args"] == ["ann"]
    assert await case.jobs("ask") == []
    await case.event("r", "Approved")
    late = await refused(decide(case, "bob", decided("ask", "Reject")))
    assert "no step of this run asks" in late


@side_by_side
async def test_who_is_in_a_group_that_may_rejects_and_the_last_steps_run(case: Case) -> None:
    await begin(case, asks(approvers={"groups": ["releasers"]}), step("b", "ask"), **TIDY)
    await case.waits("Approval")
    assert "none of the approvers" in await refused(decide(case, "bob", decided("ask"), ("others",)))
    written = await decide(case, "bob", decided("ask", "Reject", comment="no"), ("releasers", "others"))
    assert written["spec"]["approvals"][0]["groups"] == ["releasers"]
    run = await case.ended()
    assert failed_because(run, "ask") == "Rejected"
    assert said(run) == "step ask: rejected by bob: no"
    assert phases(run) == {"a": "Succeeded", "ask": "Failed", "b": "Skipped", "tidy": "Succeeded"}


@side_by_side
async def test_the_command_line_decides(case: Case) -> None:
    await begin(case, asks(), asks() | {"name": "other", "needs": ["ask"]})
    early = await dataops(case, "approve", "r", "other")
    assert early.code == 3
    await case.waits("Approval")
    wrong = await dataops(case, "approve", "r", "nothing")
    assert wrong.err == "dataops: step 'nothing' of run r does not ask for a decision now; these do: ask\n"
    done = await dataops(case, "approve", "r", "ask", "--comment", "fine")
    assert (done.code, done.out) == (0, "step ask of r is approved\n")
    await case.until(RUNS, "r", lambda run: row(run, "other").get("reason") == "Approval")
    rejected = json.loads((await dataops(case, "reject", "r", "other", "-m", "not today", "-o", "json")).out)
    assert rejected["kind"] == "PipelineRun"
    assert [one["decision"] for one in rejected["spec"]["approvals"]] == ["Approve", "Reject"]
    run = await case.ended()
    assert row(run, "ask")["message"].startswith("approved by ")
    assert row(run, "other")["message"].endswith(": not today")
    assert [one["step"] for one in run["spec"]["approvals"]] == ["ask", "other"]
    again = await dataops(case, "approve", "r", "other")
    assert again.err == "dataops: run r has ended: it is Failed\n"


@side_by_side
async def test_silence_means_what_the_step_says_and_a_time_is_waited_for(case: Case) -> None:
    silent = {"name": "ask", "approval": {"timeout": "2s", "onTimeout": "Approve"}}
    wait = {"name": "pause", "wait": {"duration": "2s"}, "needs": ["ask"]}
    last = {"name": "other", "approval": {"timeout": "1s"}, "needs": ["pause"]}
    await begin(case, silent, wait, last, step("b", "other"))
    run = await case.ended()
    assert failed_because(run, "other") == "ApprovalTimedOut"
    assert phases(run) == {
        "a": "Succeeded",
        "ask": "Succeeded",
        "pause": "Succeeded",
        "other": "Failed",
        "b": "Skipped",
    }
    assert await case.jobs("pause") == []


@side_by_side
async def test_a_wait_survives_a_cancel_and_asks_no_more(case: Case) -> None:
    await begin(case, asks(), {"name": "pause", "wait": {"until": "2999-01-01"}}, **TIDY)
    run = await case.waits("TimeNotReached")
    assert "waits until 2999-01-01T00:00:00Z" in row(run, "pause")["message"]
    await case.waits("Approval")
    await case.api.patch(RUNS, case.namespace, "r", {"spec": {"cancel": "Graceful"}})
    run = await case.ended()
    assert verdict(run) == ("False", "Cancelled")
    assert phases(run) == {"a": "Succeeded", "ask": "Cancelled", "pause": "Cancelled", "tidy": "Succeeded"}


@side_by_side
async def test_an_object_is_waited_for_with_the_runs_own_rights(case: Case) -> None:
    condition = {"apiVersion": "v1", "kind": "ConfigMap", "name": "gate", "when": "object.data.open == 'yes'"}
    await begin(case, {"name": "gate", "wait": {"condition": condition}}, step("b", "gate"))
    run = await case.waits("ObjectUnreadable")
    assert "cannot be read" in row(run, "gate")["message"]
    assert "dataops-runner" in row(run, "gate")["message"], "it is the runner who may not, whatever the operator may"
    rules = [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"]}]
    await case.api.create(CLUSTER_ROLES, None, {"metadata": {"name": "reads-gates"}, "rules": rules})
    await give(case.api, case.namespace, f"system:serviceaccount:{case.namespace}:dataops-runner", "reads-gates")
    await case.waits("ObjectNotReady", within=40)
    await case.api.create(CONFIGMAPS, case.namespace, {"metadata": {"name": "gate"}, "data": {"open": "yes"}})
    assert succeeded(await case.ended(within=40))


@side_by_side
async def test_a_kind_that_the_administrator_does_not_list_is_never_read(case: Case) -> None:
    condition = {"apiVersion": "v1", "kind": "Service", "name": "s", "when": "true"}
    await begin(case, {"name": "gate", "wait": {"condition": condition}})
    run = await case.ended()
    assert failed_because(run, "gate") == "KindNotAllowed"
    assert "the chart's stepObjects allows: ConfigMap" in said(run)
