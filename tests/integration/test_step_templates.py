"""Step templates on a real API server: they come in any order, are edited under way, and stand side by side."""

from __future__ import annotations

from typing import Any

import pytest
from tests.harness.api import Object, condition
from tests.harness.kinds import PIPELINES, TEMPLATES
from tests.harness.script import succeed
from tests.integration.beside import side_by_side
from tests.integration.support import Case, refused, spec, step, succeeded, verdict

pytestmark = pytest.mark.asyncio(loop_scope="module")


COUNT = {"name": "rows", "type": "Integer"}
LAND: Object = {
    "parameters": [{"name": "day", "type": "Date"}, {"name": "limit", "type": "Integer", "default": 10}],
    "command": ["land", "$(params.day)", "$(params.limit)"],
    "outputs": [COUNT],
}


def land(**more: Any) -> Object:
    return {"name": "land", "template": {"name": "land"}, "with": [{"name": "day", "value": "$(params.day)"}], **more}


DAYS: Object = {"parameters": [{"name": "day", "default": "2013-02-09"}]}


async def template(case: Case, name: str = "land", **fields: Any) -> Object:
    return await case.api.create(TEMPLATES, case.namespace, {"metadata": {"name": name}, "spec": fields or LAND})


async def edit(case: Case, name: str = "land", **fields: Any) -> Object:
    return await case.api.patch(TEMPLATES, case.namespace, name, {"spec": fields})


def ready(found: Object) -> bool:
    return condition(found, "Ready").get("status") == "True"


async def command(case: Case, name: str = "land", run: str = "r") -> list[str]:
    (job,) = await case.jobs(name, run)
    (container,) = job["spec"]["template"]["spec"]["containers"]
    words: list[str] = container["command"]
    return words


@side_by_side
async def test_a_step_of_a_template_runs_and_its_outputs_go_on(case: Case) -> None:
    await template(case)
    show = step("show", command=["show", "$(steps.land.outputs.rows)"])
    found = await case.ready(spec(land(), show, **DAYS))
    (kept,) = await case.revisions()
    assert kept["metadata"]["name"] == found["status"]["activeRevision"]
    assert kept["data"]["spec"]["steps"][0]["command"] == ["land", "$(with.day)", "$(with.limit)"]
    case.plays("land", succeed(rows=7))
    await case.run(parameters=[{"name": "day", "value": "2013-02-10"}])
    ended = await case.ended()
    assert succeeded(ended)
    assert await command(case) == ["land", "2013-02-10", "10"]
    assert await command(case, "show") == ["show", "7"]
    assert ended["status"]["stepParameters"] == [
        {"step": "land", "name": "day", "value": "2013-02-10", "origin": "Run"},
        {"step": "land", "name": "limit", "value": 10, "origin": "Template"},
    ]
    counted = await case.until(TEMPLATES, "land", lambda one: one["status"].get("pipelines") == 1)
    assert ready(counted)
    assert counted["status"]["observedGeneration"] == counted["metadata"]["generation"]


@side_by_side
async def test_a_template_may_come_after_its_pipeline_and_even_after_a_run(case: Case) -> None:
    await case.apply(spec(land(), **DAYS))
    found = await case.until(PIPELINES, "p", lambda one: condition(one, "Ready").get("reason") == "TemplateNotFound")
    assert condition(found, "Ready")["status"] == "False"
    assert condition(found, "Reconciling")["status"] == "True", "for kstatus it is under way"
    assert condition(found, "Stalled") == {}
    assert "spec.steps[0].template: no step template 'land'" in condition(found, "Ready")["message"]
    await case.run()
    waiting = await case.waits("TemplateNotFound")
    assert "step template 'land' does not exist yet" in condition(waiting, "Succeeded")["message"]
    case.plays("land", succeed(rows=7))
    await template(case)
    found = await case.until(PIPELINES, "p", ready)
    assert condition(found, "Reconciling") == {}
    assert succeeded(await case.ended())


@side_by_side
async def test_a_run_whose_template_never_comes_fails_after_a_while(case: Case) -> None:
    await case.apply(spec(land(), **DAYS))
    await case.run()
    ended = await case.ended()
    assert verdict(ended) == ("False", "TemplateNotFound")
    assert "apply it, then start the run again" in condition(ended, "Succeeded")["message"]


@side_by_side
async def test_an_edited_template_is_for_new_runs_and_one_under_way_keeps_what_it_began_with(case: Case) -> None:
    await template(case)
    before = await case.ready(spec(step("first"), land(needs=["first"]), **DAYS))
    case.plays("first", succeed(), run="r", end=20)
    case.plays("land", succeed(rows=7))
    await case.run()
    await case.step_is("first", "Running")

    await edit(case, command=["land", "anew", "$(params.day)"])
    other = before["status"]["activeRevision"]
    after = await case.until(PIPELINES, "p", lambda one: ready(one) and one["status"]["activeRevision"] != other)
    assert after["metadata"]["generation"] == before["metadata"]["generation"], "nobody touched the pipeline"
    await case.run("new")
    assert succeeded(await case.ended("new"))
    assert await command(case, run="new") == ["land", "anew", "2013-02-09"]

    await case.api.delete(TEMPLATES, case.namespace, "land")
    await case.until(PIPELINES, "p", lambda one: condition(one, "Ready").get("reason") == "TemplateNotFound")
    assert await case.jobs("land") == [], "the first run is still at its first step"
    old = await case.ended(within=60)
    assert succeeded(old)
    assert old["status"]["revision"] == other
    assert await command(case) == ["land", "2013-02-09", "10"]


@side_by_side
async def test_two_versions_stand_side_by_side_and_pipelines_move_one_at_a_time(case: Case) -> None:
    for version in ("1", "2"):
        await template(case, f"land-{version}", **LAND, version=version, env=[{"name": "V", "value": version}])

    def of(version: str) -> Object:
        return spec(land(template={"name": "land", "version": version}), **DAYS)

    first, other = await case.ready(of("1"), "p"), await case.ready(of("1"), "q")
    assert "cannot change" in await refused(edit(case, "land-1", timeout="1m"))
    moved = await case.ready(of("2"), "p")
    assert moved["status"]["activeRevision"] != first["status"]["activeRevision"]
    case.plays("land", succeed(rows=7))
    await case.run("a", "p")
    await case.run("b", "q")
    assert succeeded(await case.ended("a"))
    assert succeeded(await case.ended("b"))
    for run, version in (("a", "2"), ("b", "1")):
        (job,) = await case.jobs("land", run)
        env = {one["name"]: one["value"] for one in job["spec"]["template"]["spec"]["containers"][0]["env"]}
        assert env["V"] == version
    again = await case.api.get(PIPELINES, case.namespace, "q")
    assert again["status"]["activeRevision"] == other["status"]["activeRevision"]
    for version in ("1", "2"):
        await case.until(TEMPLATES, f"land-{version}", lambda one: one["status"].get("pipelines") == 1)


@side_by_side
async def test_a_run_right_after_an_edit_runs_the_edited_template(case: Case) -> None:
    await template(case)
    await case.ready(spec(land(), **DAYS))
    case.plays("land", succeed(rows=7))
    for number in range(5):
        await edit(case, command=["land", str(number)])
        await case.run(f"r{number}")
        assert succeeded(await case.ended(f"r{number}"))
        assert await command(case, run=f"r{number}") == ["land", str(number)]


@side_by_side
async def test_a_wrong_template_stalls_and_with_it_those_who_use_it_until_it_is_mended(case: Case) -> None:
    await template(case, **{**LAND, "command": ["land", "$(params.dya)"]})
    found = await case.until(TEMPLATES, "land", lambda one: condition(one, "Stalled").get("status") == "True")
    assert condition(found, "Ready")["reason"] == "Invalid"
    said = "spec.command[1]: $(params.dya): no parameter 'dya'; did you mean 'day'?"
    assert said in condition(found, "Ready")["message"]
    await case.event("land", "Invalid")
    await case.apply(spec(land(), **DAYS))
    stalled = await case.until(PIPELINES, "p", lambda one: condition(one, "Stalled").get("status") == "True")
    said = "spec.steps[0].template: step template 'land' is not valid: spec.command[1]"
    assert said in condition(stalled, "Ready")["message"]
    await edit(case, command=LAND["command"])
    mended = await case.until(TEMPLATES, "land", ready)
    assert condition(mended, "Stalled") == {}
    await case.until(PIPELINES, "p", ready)


@side_by_side
@pytest.mark.parametrize(
    ("given", "said"),
    [
        pytest.param([], "spec.steps[0].with: step template 'land' needs a value for 'day'", id="missing"),
        pytest.param(
            [{"name": "day", "value": "soon"}], "spec.steps[0].with[0].value: day: \"soon\" is not a date", id="wrong"
        ),
        pytest.param(
            [{"name": "day", "value": "2013-02-09"}, {"name": "x", "value": 1}],
            "spec.steps[0].with[1].name: step template 'land' has no parameter 'x'",
            id="unknown",
        ),
    ],
)  # fmt: skip
async def test_a_wrong_value_says_where_and_what_to_do(case: Case, given: list[Object], said: str) -> None:
    await template(case)
    await case.apply(spec(land(**{"with": given})))
    found = await case.until(PIPELINES, "p", lambda one: condition(one, "Stalled").get("status") == "True")
    assert said in condition(found, "Stalled")["message"]
