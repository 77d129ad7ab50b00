"""Runs on a real API server and Job controller: what they are given, which revision they take, how they end."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest
from tests.harness.api import ApiError, Object, condition
from tests.harness.kinds import CLAIMS, JOBS, PIPELINES, PODS, REVISIONS, RUNS, SERVICE_ACCOUNTS
from tests.harness.script import Outcome, Play, succeed
from tests.integration.beside import side_by_side
from tests.integration.support import (
    PIPELINE_WAIT,
    Case,
    command,
    phases,
    refused,
    row,
    said,
    spec,
    step,
    succeeded,
    verdict,
    waiting_for,
)

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(600)]

COUNT = {"name": "rows", "type": "Integer"}
HANG = Play(outcome=Outcome.HANG)


# Largest first, since the others go on beside it.


@side_by_side
async def test_a_thousand_steps_end_right_in_a_status_under_256_kib(case: Case) -> None:
    chains = [[f"chain-{chain:02d}-{link}" for link in range(10)] for chain in range(100)]
    steps = [step(name, *chain[max(link - 1, 0) : link]) for chain in chains for link, name in enumerate(chain)]
    case.plays("", Play(), end=0.1)
    await case.ready(spec(*steps))
    await case.run()
    run = await case.ended(within=400)
    assert succeeded(run)
    assert run["status"]["progress"] == "1000/1000"
    assert set(phases(run).values()) == {"Succeeded"}
    assert len(orjson.dumps(run["status"])) < 256 * 1024
    assert len(await case.jobs()) == 1000


@side_by_side
async def test_a_run_right_after_an_edit_of_its_pipeline_uses_the_edit(case: Case) -> None:
    for number in range(100):
        await case.apply(spec(step("a", command=["edit", str(number)])))
        await case.run(f"r{number}")
        await case.until(RUNS, f"r{number}", lambda run: "revision" in run.get("status", {}))
    for number in range(100):
        assert succeeded(await case.ended(f"r{number}", within=90))
        (job,) = await case.jobs(run=f"r{number}")
        assert command(job) == ["edit", str(number)]


# What steps get.


@side_by_side
async def test_a_diamond_passes_outputs_on_and_succeeds(case: Case) -> None:
    parts = {"name": "parts", "type": "Array"}
    await case.ready(
        spec(
            step("land", outputs=[COUNT, parts]),
            step("left", command=["left", "--rows=$(steps.land.outputs.rows)"]),
            step("right", command=["right", "$(steps.land.outputs.parts)"], outputs=[COUNT]),
            step("join", "left", command=["join", "$(steps.right.outputs.rows)", "$(date)"]),
        )
    )
    case.plays("land", succeed(rows=42, parts=["a b", "$(HOME)"]))
    case.plays("right", succeed(rows=7))
    await case.run()
    run = await case.ended()
    assert succeeded(run)
    assert run["status"]["phase"] == "Succeeded"
    assert run["status"]["progress"] == "4/4"
    assert condition(run, "Reconciling") == condition(run, "Stalled") == {}
    assert row(run, "land")["outputs"] == {"rows": 42, "parts": ["a b", "$(HOME)"]}
    commands = {job["metadata"]["labels"]["dataops.dev/step"]: command(job) for job in await case.jobs()}
    assert commands["left"] == ["left", "--rows=42"]
    # Kubernetes turns `$$` into `$`, and leaves names alone that are no variable's.
    assert commands["right"] == ["right", '["a b","$$(HOME)"]']
    assert commands["join"] == ["join", "7", "$(date)"]
    assert (await case.event("r", "Succeeded"))["type"] == "Normal"


@side_by_side
async def test_parameters_of_every_type_reach_the_step_as_declared(case: Case) -> None:
    types = ("String", "Integer", "Number", "Boolean", "Date", "Array", "Object")
    declared: list[Object] = [{"name": f"p{type_}", "type": type_} for type_ in types]
    declared.append({"name": "label", "default": "$(run.name) of $(run.logicalDate)"})
    names = [one["name"] for one in declared]
    await case.ready(spec(step("a", command=[f"$(params.{name})" for name in names]), parameters=declared))
    given = ["a b", 7, 0.5, True, "2013-02-09", ["AA", "DL"], {"k": 1}]
    text = ["a b", "7", "0.5", "true", "2013-02-09T11:00:00Z", '["AA","DL"]', '{"k":1}']
    for run, values in (("json", given), ("text", text)):
        parameters = [{"name": name, "value": value} for name, value in zip(names, values, strict=False)]
        await case.run(run, parameters=parameters, logicalDate="2013-02-09T01:00:00+01:00")
        ended = await case.ended(run)
        assert succeeded(ended)
        label = f"{run} of 2013-02-09T01:00:00+01:00"
        found = {one["name"]: (one["value"], one["origin"]) for one in ended["status"]["parameters"]}
        expected: dict[str, Any] = {name: (value, "Run") for name, value in zip(names, given, strict=False)}
        assert found == expected | {"label": (label, "Pipeline")}
        (job,) = await case.jobs(run=run)
        written = ["a b", "7", "0.5", "true", "2013-02-09", '["AA","DL"]', '{"k":1}', label]
        assert command(job) == written
        template = job["spec"]["template"]
        environment = {one["name"]: one["value"] for one in template["spec"]["containers"][0]["env"]}
        assert [environment[f"DATAOPS_PARAM_{name.upper()}"] for name in names] == written
        whole = orjson.loads(template["metadata"]["annotations"]["dataops.dev/parameters"])
        assert whole == dict(zip(names, [*given, label], strict=True))


@side_by_side
@pytest.mark.parametrize(
    ("given", "message"),
    [
        pytest.param({"n": "many"}, 'spec.parameters[1].value: n: "many" is not a whole number', id="type"),
        pytest.param({}, "", id="valid"),
        pytest.param({"day": None}, "no value for 'day', which has no default; give one", id="missing"),
        pytest.param({"dya": "x"}, "spec.parameters[1].name: no parameter 'dya'; the pipeline has: ", id="unknown"),
        pytest.param({"size": "XXL"}, 'size: "XXL" is not one of "S", "M"', id="enum"),
        pytest.param({"n": 17}, "spec.parameters[1].value: n: 17 is greater than 16", id="bounds"),
        pytest.param({"tail": "N1 23"}, 'tail: "N1 23" does not match the pattern N[0-9]+', id="pattern"),
    ],
)
async def test_a_wrong_parameter_refuses_the_run_and_says_where(case: Case, given: Object, message: str) -> None:
    declared = [
        {"name": "day", "type": "Date", "required": True},
        {"name": "n", "type": "Integer", "minimum": 1, "maximum": 16, "default": 2},
        {"name": "size", "enum": ["S", "M"], "default": "S"},
        {"name": "tail", "pattern": "N[0-9]+", "default": "N123"},
    ]
    await case.ready(spec(step("a"), parameters=declared))
    values = {"day": "2013-02-09", **given}
    await case.run(parameters=[{"name": name, "value": value} for name, value in values.items() if value is not None])
    run = await case.ended()
    if not message:
        assert succeeded(run)
        return
    assert verdict(run) == ("False", "InvalidParameters")
    assert message in condition(run, "Succeeded")["message"]
    assert condition(run, "Accepted")["status"] == "False"
    assert await case.jobs() == []


# Which pipeline, which revision.


@side_by_side
async def test_a_run_before_its_pipeline_waits_visibly_and_starts_when_it_is_applied(case: Case) -> None:
    await case.run()
    run = await case.waits("PipelineNotFound")
    accepted = condition(run, "Accepted")
    assert (accepted["status"], accepted["reason"]) == ("Unknown", "PipelineNotFound")
    assert "pipeline 'p' does not exist yet" in accepted["message"]
    assert run["status"]["phase"] == "Waiting"
    assert run["status"]["observedGeneration"] == run["metadata"]["generation"]
    assert condition(run, "Reconciling")["status"] == "True"
    await case.apply(spec(step("a")))
    run = await case.ended()
    assert succeeded(run)
    assert waiting_for(run) == []


@side_by_side
async def test_a_run_whose_pipeline_never_comes_fails_after_the_wait(case: Case) -> None:
    began = asyncio.get_running_loop().time()
    await case.run()
    run = await case.ended()
    assert verdict(run) == ("False", "PipelineNotFound")
    assert f"did not exist within {PIPELINE_WAIT}s" in condition(run, "Succeeded")["message"]
    assert condition(run, "Stalled")["status"] == "True"
    assert PIPELINE_WAIT - 2 < asyncio.get_running_loop().time() - began < PIPELINE_WAIT + 8


@side_by_side
async def test_a_run_of_an_older_revision_executes_that_one(case: Case) -> None:
    old = (await case.ready(spec(step("a", command=["old"]))))["status"]["activeRevision"]
    await case.ready(spec(step("a", command=["new"])))
    await case.run("older", revision=old)
    await case.run("active")
    for name, word in (("older", "old"), ("active", "new")):
        run = await case.ended(name)
        assert succeeded(run)
        assert (run["status"]["revision"] == old) == (word == "old")
        assert [command(job) for job in await case.jobs(run=name)] == [[word]]


@side_by_side
async def test_a_run_that_cannot_be_reconciled_says_so_instead_of_hanging(case: Case) -> None:
    await case.ready(spec(step("a")))
    broken = {
        "metadata": {"name": "p-broken", "labels": {"dataops.dev/pipeline": "p"}},
        "data": {"spec": {"steps": []}},
        "revision": 99,
    }
    await case.api.create(REVISIONS, case.namespace, broken)
    await case.run(revision="p-broken")
    run = await case.waits("OperatorError")
    assert "tried again" in said(run)
    await case.api.delete(RUNS, case.namespace, "r")


@side_by_side
async def test_a_job_that_can_never_be_taken_fails_its_step_at_once(case: Case) -> None:
    await case.ready(spec(step("a", resources={"limits": {"hugepages-2Mi": "3Mi", "cpu": 1}}, startTimeout="10m")))
    await case.run()
    run = await case.ended(within=20)
    assert row(run, "a")["reason"] == "JobRefused"
    assert "cannot start: " in row(run, "a")["message"]
    assert "hugepages" in row(run, "a")["message"]


@side_by_side
async def test_a_workspace_whose_claim_is_refused_says_that_it_is_the_claim(case: Case) -> None:
    await case.ready(spec(step("a"), workspace={"size": "1Gi", "storageClass": "No_Such_Name"}))
    await case.run()
    run = await case.ended(within=20)
    assert row(run, "a")["reason"] == "ClaimRefused"
    assert "storageClassName" in row(run, "a")["message"]
    assert await case.jobs() == []


@side_by_side
async def test_a_time_that_cannot_be_is_refused_and_one_with_an_offset_keeps_its_day(case: Case) -> None:
    await case.ready(spec(step("a"), parameters=[{"name": "day", "type": "Date", "default": "$(run.logicalDate)"}]))
    with pytest.raises(ApiError, match="logicalDate"):
        await case.run("nowhere", logicalDate="2013-02-09T10:00:00+25:00")
    await case.run("never", logicalDate="2013-02-30T10:00:00Z")
    await case.run("evening", logicalDate="2013-02-09T23:00:00-05:00")
    assert verdict(await case.ended("never")) == ("False", "InvalidParameters")
    evening = await case.ended("evening")
    assert evening["status"]["parameters"] == [{"name": "day", "value": "2013-02-09", "origin": "Pipeline"}]


@side_by_side
async def test_a_run_of_a_revision_that_is_not_there_or_anothers_waits_then_fails(case: Case) -> None:
    await case.ready(spec(step("a")))
    foreign = (await case.ready(spec(step("b")), name="q"))["status"]["activeRevision"]
    await case.run("nowhere", revision="p-0000000000")
    await case.run("foreign", revision=foreign)
    for name in ("nowhere", "foreign"):
        await case.waits("RevisionNotFound", name)
    for name in ("nowhere", "foreign"):
        assert verdict(await case.ended(name)) == ("False", "RevisionNotFound")
        assert await case.jobs(run=name) == []


@side_by_side
async def test_an_edit_under_way_changes_nothing_for_the_run(case: Case) -> None:
    before = await case.ready(spec(step("a"), step("b", "a", command=["old"])))
    case.plays("a", Play(), end=3)
    await case.run()
    await case.step_is("a", "Running")
    after = await case.ready(spec(step("a"), step("b", "a", command=["new"]), step("c", "b")))
    assert after["status"]["activeRevision"] != before["status"]["activeRevision"]
    run = await case.ended()
    assert succeeded(run)
    assert run["status"]["revision"] == before["status"]["activeRevision"]
    assert phases(run) == {"a": "Succeeded", "b": "Succeeded"}
    assert [command(job) for job in await case.jobs("b")] == [["old"]]


@side_by_side
async def test_what_a_run_runs_cannot_be_changed(case: Case) -> None:
    case.plays("a", Play(), end=2)
    await case.ready(spec(step("a", command=["$(params.x)"]), parameters=[{"name": "x", "default": "1"}]))
    await case.run(parameters=[{"name": "x", "value": "2"}])
    for field, value in {
        "pipeline": "q",
        "revision": "p-1",
        "logicalDate": "2013-02-09T00:00:00Z",
        "parameters": [{"name": "y", "value": "2"}],
    }.items():
        text = await refused(case.api.patch(RUNS, case.namespace, "r", {"spec": {field: value}}))
        assert f"a run's {field} cannot change; start another run" in text
        assert f"spec.{field}" in text
    assert succeeded(await case.ended())


@side_by_side
async def test_a_changed_parameter_value_is_ignored_and_the_user_is_told(case: Case) -> None:
    steps = [step(name, *needs, command=["use", "$(params.x)"]) for name, needs in (("a", ()), ("b", ("a",)))]
    await case.ready(spec(*steps, parameters=[{"name": "x"}]))
    case.plays("a", Play(), end=2)
    await case.run(parameters=[{"name": "x", "value": "first"}])
    await case.step_is("a", "Running")
    edit = {"spec": {"parameters": [{"name": "x", "value": "second"}]}}
    await case.api.patch(RUNS, case.namespace, "r", edit)
    event = await case.event("r", "ChangeIgnored")
    assert event["type"] == "Warning"
    assert "start another run" in event["message"]
    run = await case.ended()
    assert succeeded(run)
    assert [command(job) for job in await case.jobs()] == [["use", "first"]] * 2
    assert [one["value"] for one in run["status"]["parameters"]] == ["first"]


# What becomes of it when things are taken away.


@side_by_side
async def test_deleting_a_run_in_the_middle_takes_its_jobs_and_pods_along(case: Case) -> None:
    await case.ready(spec(step("a"), step("b"), step("c", "a")))
    case.plays("", HANG)
    await case.run()
    for name in ("a", "b"):
        await case.a_pod(name, "Running")
    await case.api.delete(RUNS, case.namespace, "r")
    await case.none_left(RUNS)
    await case.none_left(JOBS)
    await case.none_left(PODS)


@side_by_side
async def test_deleting_a_pipeline_in_the_middle_lets_its_run_go_on(case: Case) -> None:
    await case.ready(spec(step("a"), step("b", "a")))
    case.plays("a", Play(), end=3)
    await case.run()
    await case.step_is("a", "Running")
    await case.api.delete(PIPELINES, case.namespace, "p")
    run = await case.ended()
    assert succeeded(run)
    assert phases(run) == {"a": "Succeeded", "b": "Succeeded"}
    case.broken.add("I3")  # which reads what a step needs from the Pipeline or its revision


@side_by_side
async def test_a_claim_serves_as_workspace_only_where_its_owner_offers_it_to_runs(case: Case) -> None:
    """Who may write pipelines need not be let at every claim of the namespace."""
    await case.ready(spec(step("a"), workspace={"claim": "mine"}))
    await case.run("early")
    await case.waits("ClaimNotFound", "early")
    body = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    await case.api.create(CLAIMS, case.namespace, {"metadata": {"name": "mine"}, "spec": body})
    refused_run = await case.ended("early")
    assert verdict(refused_run) == ("False", "ClaimNotAllowed")
    assert "label it dataops.dev/allow-runs=true" in said(refused_run)
    assert await case.jobs(run="early") == []
    await case.api.patch(CLAIMS, case.namespace, "mine", {"metadata": {"labels": {"dataops.dev/allow-runs": "true"}}})
    await case.run("late")
    assert succeeded(await case.ended("late"))


@side_by_side
async def test_the_service_account_of_steps_is_made_where_it_is_missing(case: Case) -> None:
    await case.api.delete(SERVICE_ACCOUNTS, case.namespace, "dataops-runner")
    await case.ready(spec(step("a")))
    await case.run()
    assert succeeded(await case.ended())
    account = await case.api.get(SERVICE_ACCOUNTS, case.namespace, "dataops-runner")
    assert account["automountServiceAccountToken"] is False
