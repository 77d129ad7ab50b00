"""Pipelines on a real API server: what makes one Ready, what stalls it, and how its revisions come and stay."""

from __future__ import annotations

import asyncio

import pytest
from tests.harness.api import Object, condition
from tests.harness.kinds import PIPELINES, REVISIONS, RUNS
from tests.harness.script import fail, succeed
from tests.integration.beside import side_by_side
from tests.integration.support import (
    Case,
    refused,
    spec,
    step,
    succeeded,
    verdict,
)

from dataops_operator.controllers.revisions import Revisions
from dataops_operator.kube.client import KubeClient
from dataops_operator.kube.config import load_credentials

pytestmark = pytest.mark.asyncio(loop_scope="module")


COUNT = {"name": "rows", "type": "Integer"}
LAND = step("land", outputs=[COUNT])


@side_by_side
async def test_a_valid_pipeline_is_ready_with_a_revision_that_nobody_can_change(case: Case) -> None:
    found = await case.ready(spec(LAND, step("report", "land"), owner="data-platform"))
    status = found["status"]
    assert status["observedGeneration"] == found["metadata"]["generation"]
    assert condition(found, "Ready")["reason"] == "Valid"
    assert condition(found, "Stalled") == {}
    assert status["steps"] == 2
    (revision,) = await case.revisions()
    assert revision["metadata"]["name"] == status["activeRevision"]
    assert revision["metadata"]["labels"]["dataops.dev/pipeline"] == "p"
    assert [one["uid"] for one in revision["metadata"]["ownerReferences"]] == [found["metadata"]["uid"]]
    assert [one["name"] for one in revision["data"]["spec"]["steps"]] == ["land", "report"]
    change: Object = {"data": {"spec": {"steps": []}}}
    text = await refused(case.api.patch(REVISIONS, case.namespace, status["activeRevision"], change))
    assert "immutable" in text


@side_by_side
async def test_a_revision_that_somebody_deleted_is_made_again_once_it_is_not_trusted_to_be_there(case: Case) -> None:
    pipeline = await case.ready(spec(LAND))
    (before,) = await case.revisions()
    async with KubeClient(load_credentials(str(case.plane.kubeconfig))) as client:
        revisions = Revisions(client, trust=1)
        revision, _ = revisions.compile(pipeline)
        assert revision is not None
        await revisions.ensure(pipeline, revision)
        await case.api.delete(REVISIONS, case.namespace, revision.name)
        await asyncio.sleep(1.1)
        await revisions.ensure(pipeline, revision)
    (again,) = await case.revisions()
    assert again["metadata"]["uid"] != before["metadata"]["uid"]
    assert (again["metadata"]["name"], again["data"]) == (before["metadata"]["name"], before["data"])
    assert again["metadata"]["ownerReferences"] == before["metadata"]["ownerReferences"]


@side_by_side
@pytest.mark.parametrize(
    ("wrong", "where", "cure"),
    [
        pytest.param(
            spec(step("a", "b"), step("b", "a")), "spec.steps[0].needs", "a -> b -> a; remove one", id="cycle"
        ),
        pytest.param(
            spec(LAND, step("report", "lnad")),
            "spec.steps[1].needs[0]",
            "no step 'lnad'; did you mean 'land'?",
            id="unknown-step",
        ),
        pytest.param(
            spec(step("land", command=["land", "$(params.dya)"]), parameters=[{"name": "day"}]),
            "spec.steps[0].command[1]",
            "no parameter 'dya'; did you mean 'day'?",
            id="unknown-parameter",
        ),
        pytest.param(
            spec(LAND, step("report", command=["report", "$(steps.land.outputs.row)"])),
            "spec.steps[1].command[1]",
            "declares no output 'row'; did you mean 'rows'?",
            id="unknown-output",
        ),
        pytest.param(
            spec(LAND, parameters=[{"name": "n", "type": "Integer", "default": "many"}]),
            "spec.parameters[0].default",
            '"many" is not a whole number',
            id="wrong-default",
        ),
        pytest.param(
            spec(step("land", env=[{"name": "DATAOPS_RUN", "value": "x"}])),
            "spec.steps[0].env[0].name",
            "'DATAOPS_RUN' belongs to the step contract; rename it",
            id="reserved-variable",
        ),
    ],
)
async def test_a_wrong_pipeline_stalls_and_its_runs_are_refused_until_it_is_mended(
    case: Case, wrong: Object, where: str, cure: str
) -> None:
    await case.apply(wrong)
    found = await case.until(PIPELINES, "p", lambda one: condition(one, "Stalled").get("status") == "True")
    ready, stalled = condition(found, "Ready"), condition(found, "Stalled")
    assert (ready["status"], ready["reason"]) == ("False", "Invalid")
    assert where in stalled["message"]
    assert cure in stalled["message"]
    assert ready["message"] == stalled["message"]
    assert found["status"]["observedGeneration"] == found["metadata"]["generation"]
    assert await case.revisions() == []

    await case.run("refused")
    run = await case.ended("refused")
    assert verdict(run) == ("False", "PipelineInvalid")
    assert condition(run, "Accepted")["status"] == "False"
    assert condition(run, "Stalled")["status"] == "True"
    assert stalled["message"] in condition(run, "Succeeded")["message"]
    assert await case.jobs(run="refused") == []

    mended = await case.ready(spec(LAND))
    assert condition(mended, "Stalled") == {}
    case.plays("land", succeed(rows=1))
    await case.run("mended")
    assert succeeded(await case.ended("mended"))
    assert verdict(await case.ended("refused")) == ("False", "PipelineInvalid")


@side_by_side
async def test_the_same_content_written_otherwise_is_the_same_revision(case: Case) -> None:
    land, days = LAND | {"retry": {"limit": 1}}, [{"name": "day"}]
    first = await case.ready(spec(land, step("report", "land"), description="Lands.", parameters=days))
    name = first["status"]["activeRevision"]
    # Other order of fields, and defaults spelled out: the object changes, its content does not.
    land["retry"] = {"backoff": {"max": "10m", "initial": "10s"}, "on": ["Infrastructure", "Failure"], "limit": 1}
    days[0]["type"] = "String"
    report = dict(reversed(step("report", "land").items()))
    turned = spec(land, report, description="Lands.", parameters=days, defaults={"startTimeout": "5m"})
    second = await case.ready(dict(reversed(turned.items())))
    assert second["metadata"]["generation"] > first["metadata"]["generation"]
    assert second["status"]["activeRevision"] == name
    assert [one["metadata"]["name"] for one in await case.revisions()] == [name]


@side_by_side
async def test_an_edit_makes_a_new_revision_and_editing_back_returns_to_the_old_one(case: Case) -> None:
    names = [
        (await case.ready(spec(step("a", command=["run", word]))))["status"]["activeRevision"]
        for word in ("old", "new", "old")
    ]
    assert names[0] == names[2] != names[1]
    kept = await case.revisions()
    assert [one["metadata"]["name"] for one in kept] == [names[1], names[0]]
    assert [one["revision"] for one in kept] == [2, 3], "the active one has the highest number"


@side_by_side
async def test_a_failed_run_leaves_its_pipeline_ready_and_stands_in_last_run_succeeded(case: Case) -> None:
    await case.ready(spec(step("a")))
    case.plays("a", fail(1), run="bad")
    await case.run("bad")
    assert verdict(await case.ended("bad")) == ("False", "StepFailed")
    found = await case.until(PIPELINES, "p", lambda one: one["status"].get("lastRun") == "bad")
    assert condition(found, "LastRunSucceeded")["status"] == "False"
    assert condition(found, "Ready")["status"] == "True"
    await case.run("good")
    assert succeeded(await case.ended("good"))
    found = await case.until(PIPELINES, "p", lambda one: one["status"].get("lastRun") == "good")
    assert condition(found, "LastRunSucceeded")["status"] == "True"


@side_by_side
async def test_what_a_user_wrote_on_an_object_stays_as_it_was(case: Case) -> None:
    case.own = {"team.example/ticket": "DATA-7"}
    meta = {"annotations": case.own, "labels": {"tier": "gold"}}
    body = {"metadata": {"name": "p", **meta}, "spec": spec(step("a"))}
    await case.api.create(PIPELINES, case.namespace, body)
    await case.ready(spec(step("a")))
    run = {"metadata": {"name": "r", **meta}, "spec": {"pipeline": "p"}}
    await case.api.create(RUNS, case.namespace, run)
    ended = await case.ended()
    assert succeeded(ended)
    assert ended["metadata"]["labels"] == {"tier": "gold"}


@side_by_side
async def test_a_message_names_five_problems_and_counts_the_rest(case: Case) -> None:
    await case.apply(spec(*(step(f"s{number}", "nowhere") for number in range(8))))
    found = await case.until(PIPELINES, "p", lambda one: condition(one, "Stalled").get("status") == "True")
    text = condition(found, "Stalled")["message"]
    assert text.count("no step 'nowhere'") == 5
    assert text.endswith("and 3 more")
