"""Runs that wait for a place of their pipeline, on a real API server: whose turn it is, and what frees a place."""

from __future__ import annotations

import asyncio
import itertools
import re

import pytest
import yaml
from tests.harness.kinds import COLLECTED, JOBS, PIPELINES, PODS, RUNS
from tests.harness.operator import ROOT
from tests.harness.script import Outcome, Play
from tests.integration.beside import side_by_side
from tests.integration.lines import SECOND, entry, limited, one_by_one, position, waits
from tests.integration.standing import edit, stands
from tests.integration.support import Case, said, spec, step, succeeded, until, verdict, waiting_for

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]

HANG = Play(outcome=Outcome.HANG)


@side_by_side
async def test_runs_of_a_pipeline_take_turns_and_say_who_goes_on_and_where_they_stand(case: Case) -> None:
    await case.ready(limited())
    for name in ("r1", "r2", "r3"):
        case.plays("a", Play(), run=name, end=9.0 if name == "r1" else 1.0)
    await one_by_one(case, "r1", "r2", "r3")
    first = await position(case, 1, "r2")
    assert entry(first)["reason"] == "ConcurrencyLimit"
    assert entry(first)["holder"] == "r1"
    assert said(first) == "pipeline p has 1 run at once (spec.concurrency); place 1 in line"
    assert first["status"]["phase"] == "Waiting"
    assert entry(await position(case, 2, "r3"))["holder"] == "r1"
    assert entry(await position(case, 1, "r3"))["holder"] == "r2", "it moves up, and its holder is another"
    ended = [await case.ended(name) for name in ("r1", "r2", "r3")]
    assert all(succeeded(run) for run in ended)
    for before, after in itertools.pairwise(ended):
        assert before["status"]["finishedAt"] <= after["status"]["startedAt"]


@side_by_side
async def test_the_example_of_the_documentation_waits_as_the_page_says(case: Case) -> None:
    page = (ROOT / "docs" / "concurrency.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```yaml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    pipeline, first, second = yaml.safe_load_all(block)
    case.plays("load", Play(), end=4.0)
    await case.ready(pipeline["spec"], pipeline["metadata"]["name"])
    for run in (first, second):
        run["metadata"].pop("namespace")
        await case.api.create(RUNS, case.namespace, run)
        await asyncio.sleep(SECOND)
    waiting = await case.waits("ConcurrencyLimit", second["metadata"]["name"])
    (shown,) = re.findall(r"^    status:\n(?:    .*\n)+", page, re.MULTILINE)
    told = yaml.safe_load(shown)["status"]
    told["waitingFor"][0]["since"] = entry(waiting)["since"]
    assert {key: waiting["status"][key] for key in told} == told
    for run in (first, second):
        assert succeeded(await case.ended(run["metadata"]["name"]))


@side_by_side
async def test_runs_with_different_keys_do_not_wait_for_each_other(case: Case) -> None:
    await case.ready(limited(key="$(params.day)", parameters=[{"name": "day", "type": "Date"}]))
    case.plays("a", HANG, run="r1")
    given = {name: [{"name": "day", "value": day}] for name, day in (("r1", "2013-02-09"), ("r3", "2013-02-10"))}
    await case.run("r1", parameters=given["r1"])
    await case.step_is("a", "Running", "r1")
    await case.run("r2", parameters=given["r1"])
    await case.run("r3", parameters=given["r3"])
    other = await case.ended("r3")
    assert succeeded(other)
    assert other["status"]["concurrencyKey"] == "2013-02-10"
    waiting = await case.waits("ConcurrencyLimit", "r2")
    assert entry(waiting)["holder"] == "r1"
    assert waiting["status"]["concurrencyKey"] == "2013-02-09"
    assert "with the key '2013-02-09' (spec.concurrency)" in said(waiting)
    await case.api.delete(RUNS, case.namespace, "r1")
    assert succeeded(await case.ended("r2"))


@side_by_side
async def test_a_run_that_is_suspended_before_it_begins_holds_up_nobody(case: Case) -> None:
    await case.ready(limited())
    await case.run("r1", suspend=True)
    await case.waits("Suspended", "r1")
    await case.run("r2")
    assert succeeded(await case.ended("r2"))
    await case.api.patch(RUNS, case.namespace, "r1", {"spec": {"suspend": False}})
    assert succeeded(await case.ended("r1"))


@side_by_side
async def test_the_more_urgent_run_comes_first_then_the_older(case: Case) -> None:
    await case.ready(limited())
    case.plays("a", Play(), run="first", end=12.0)
    await one_by_one(case, "first")
    await one_by_one(case, "low", priority="Low")
    await one_by_one(case, "normal-1", "normal-2")
    await one_by_one(case, "high", priority="High")
    await position(case, 1, "high")
    await position(case, 4, "low")
    names = ["first", "high", "normal-1", "normal-2", "low"]
    began = [(await case.ended(name))["status"]["startedAt"] for name in names]
    assert began == sorted(began)


@side_by_side
async def test_a_pipeline_that_refuses_fails_a_run_at_once_while_another_goes_on(case: Case) -> None:
    await case.ready(limited(policy="Refuse"))
    case.plays("a", HANG, run="r1")
    await case.run("r1")
    await case.step_is("a", "Running", "r1")
    await case.run("r2")
    refused = await case.ended("r2")
    assert verdict(refused) == ("False", "ConcurrencyLimit")
    assert "refuses more while run r1 goes on; start it again when that has ended" in said(refused)
    assert await case.jobs(run="r2") == []
    await case.api.delete(RUNS, case.namespace, "r1")
    await case.run("r3")  # whose predecessor's pod is yet to end: that is waited for
    assert succeeded(await case.ended("r3", within=COLLECTED))


@side_by_side
async def test_of_two_that_come_at_once_to_a_pipeline_that_refuses_one_runs_and_one_is_refused(case: Case) -> None:
    await case.ready(limited(policy="Refuse"))
    case.plays("a", Play(), end=4.0)
    await asyncio.gather(*(case.run(f"r{number}") for number in range(3)))
    verdicts = [verdict(await case.ended(f"r{number}")) for number in range(3)]
    assert sorted(verdicts) == [("False", "ConcurrencyLimit")] * 2 + [("True", "Succeeded")]


@side_by_side
async def test_a_holder_that_is_deleted_frees_its_place_when_its_pod_has_ended(case: Case) -> None:
    await case.ready(limited())
    case.plays("a", HANG, run="r1")
    await case.run("r1")
    await case.step_is("a", "Running", "r1")
    await case.run("r2")
    await case.waits("ConcurrencyLimit", "r2")
    most = 0

    async def both_seen() -> bool:
        nonlocal most
        pods = await case.api.list(PODS, case.namespace)
        most = max(most, sum(pod["status"].get("phase") not in ("Succeeded", "Failed") for pod in pods))
        return bool(await case.jobs(run="r2"))

    await both_seen()
    await case.api.delete(RUNS, case.namespace, "r1")
    await until(both_seen, COLLECTED)
    assert succeeded(await case.ended("r2"))
    assert most == 1, "at no time did pods of both run"


@side_by_side
async def test_a_limit_that_is_lowered_counts_for_those_that_have_not_begun(case: Case) -> None:
    await case.ready(limited(2))
    for name in ("r1", "r2"):
        case.plays("a", HANG, run=name)
    await asyncio.gather(case.run("r1"), case.run("r2"))
    await asyncio.sleep(SECOND)
    await case.run("r3")
    await position(case, 1, "r3")
    await case.ready(limited(1))
    await case.api.delete(RUNS, case.namespace, "r1")
    await case.until(RUNS, "r3", lambda run: [one.get("holder") for one in waits(run)] == ["r2"], COLLECTED)
    await asyncio.sleep(2)
    assert await case.jobs(run="r3") == [], "two were under way; that one of them ended makes no place of one"
    await case.ready(limited(2))
    assert succeeded(await case.ended("r3"))
    await case.api.delete(RUNS, case.namespace, "r2")


@side_by_side
async def test_who_waits_for_its_pipeline_keeps_no_place_of_the_environment(case: Case) -> None:
    """It waits for two things: with one of them in hand it would hold up everybody else."""
    await stands(case, quota={"runs": 2})
    await case.ready(limited())
    await case.ready(spec(step("a")), "free")
    case.plays("a", HANG, run="r1")
    await one_by_one(case, "r1", "r2", "r3")
    await case.waits("ConcurrencyLimit", "r3")
    await case.run("other", "free")
    assert succeeded(await case.ended("other"))
    assert waiting_for(await case.api.get(RUNS, case.namespace, "r2")) == ["ConcurrencyLimit"]
    await case.api.delete(RUNS, case.namespace, "r1")
    for name in ("r2", "r3"):
        assert succeeded(await case.ended(name))


@side_by_side
async def test_who_has_its_pipelines_place_waits_for_the_environments_and_says_so(case: Case) -> None:
    await stands(case, quota={"runs": 1})
    await case.ready(limited())
    await case.ready(spec(step("a")), "free")
    case.plays("a", Play(), run="other", end=4.0)
    await case.run("other", "free")
    await case.step_is("a", "Running", "other")
    await one_by_one(case, "r1", "r2")
    assert entry(await case.waits("RunQuota", "r1"))["holder"] == "other"
    assert entry(await case.waits("ConcurrencyLimit", "r2"))["holder"] == "r1"
    for name in ("other", "r1", "r2"):
        assert succeeded(await case.ended(name))


@side_by_side
async def test_jobs_go_to_the_more_urgent_run_first(case: Case) -> None:
    await stands(case, quota={"jobs": 1})
    await case.ready(spec(step("a")))
    case.plays("a", Play(), run="first", end=9.0)
    await case.run("first")
    await case.step_is("a", "Running", "first")
    await one_by_one(case, "normal")
    await case.run("high", priority="High")
    for name in ("normal", "high"):
        await case.waits("JobQuota", name)
    ended = {name: await case.ended(name) for name in ("first", "high", "normal")}
    jobs = {job["metadata"]["labels"]["dataops.dev/run"]: job for job in await case.api.list(JOBS, case.namespace)}
    assert all(succeeded(run) for run in ended.values())
    made = [jobs[name]["metadata"]["creationTimestamp"] for name in ("first", "high", "normal")]
    assert made == sorted(made)


@side_by_side
async def test_a_key_that_a_run_has_no_value_for_refuses_it(case: Case) -> None:
    parameters = [{"name": "config", "type": "Object", "default": {}}]
    await case.ready(limited(key="$(params.config.zone)", parameters=parameters))
    await case.run()
    run = await case.ended()
    assert verdict(run) == ("False", "InvalidParameters")
    assert "pipeline p: spec.concurrency.key: $(params.config.zone): the value has no 'zone'" in said(run)


@side_by_side
async def test_a_pipeline_whose_key_cannot_be_is_told_so(case: Case) -> None:
    await case.apply(limited(key="$(params.day)"))
    found = await case.until(
        PIPELINES, "p", lambda one: any(c["status"] == "False" for c in one.get("status", {}).get("conditions", []))
    )
    messages = [one["message"] for one in found["status"]["conditions"]]
    assert any("spec.concurrency.key: $(params.day): no parameter 'day'" in text for text in messages)


@side_by_side
async def test_a_frozen_environment_keeps_those_in_line_and_their_order(case: Case) -> None:
    environment = await stands(case)
    await case.ready(limited())
    case.plays("a", Play(), run="r1", end=10.0)
    await one_by_one(case, "r1", "r2", "r3")
    await case.waits("ConcurrencyLimit", "r3")
    await edit(case, environment, freeze=True)
    for name in ("r2", "r3"):
        await case.waits("Frozen", name)
    assert succeeded(await case.ended("r1"))
    await edit(case, environment, freeze=False)
    ended = [await case.ended(name) for name in ("r2", "r3")]
    assert ended[0]["status"]["finishedAt"] <= ended[1]["status"]["startedAt"]
