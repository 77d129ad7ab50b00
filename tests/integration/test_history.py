"""What stays of finished runs and of revisions, and for how long: the real garbage collector takes what runs owned."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest
from tests.harness.api import Object, condition
from tests.harness.kinds import CLAIMS, JOBS, PIPELINES, PODS, REVISIONS, RUN_UID, RUNS
from tests.harness.script import fail
from tests.integration.beside import side_by_side
from tests.integration.standing import edit, stands
from tests.integration.support import Case, audit_lines, spec, step, succeeded, until, writes

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]

GRACE = 3
"""Seconds that an unused revision stays with the operators of these tests."""
WORDS = ("--revision-grace", f"{GRACE}s")
KEEP = {"dataops.dev/keep": "true"}


async def runs(case: Case) -> list[str]:
    return sorted(run["metadata"]["name"] for run in await case.api.list(RUNS, case.namespace))


async def left(case: Case, *names: str, within: float = 60) -> None:
    """Wait until these runs are left."""
    try:
        await until(lambda: _are(case, names), within)
    except TimeoutError:
        raise AssertionError(f"{await runs(case)} are left, and {sorted(names)} should be") from None
    # The garbage collector of a fresh control plane hears of our kinds up to a minute after they were made.
    await until(lambda: _collected(case, names), 90)


async def _are(case: Case, names: tuple[str, ...]) -> bool:
    return await runs(case) == sorted(names)


async def _collected(case: Case, names: tuple[str, ...]) -> bool:
    owned = [one for kind in (JOBS, PODS) for one in await case.api.list(kind, case.namespace, RUN_UID)]
    return {one["metadata"]["labels"]["dataops.dev/run"] for one in owned} <= set(names)


async def done(case: Case, name: str, pipeline: str = "p", **more: Any) -> Object:
    """Run a pipeline to its end; ends are whole seconds, so the next begins in another one."""
    await case.run(name, pipeline, **more)
    ended = await case.ended(name)
    await asyncio.sleep(1.1)
    return ended


# Runs.


@side_by_side
async def test_the_last_ones_of_each_outcome_stay_and_the_others_go_with_all_that_they_own(case: Case) -> None:
    case.plays("a", fail(1), run="f1")
    case.plays("a", fail(1), run="f2")
    await case.ready(spec(step("a"), workspace={"size": "1Gi"}))
    for name in ("s1", "f1", "s2", "f2", "s3"):
        await done(case, name)
    assert len(await case.api.list(CLAIMS, case.namespace)) == 5
    await asyncio.sleep(6)
    assert len(await runs(case)) == 5, "as long as nothing is said, everything stays"
    await case.ready(spec(step("a"), workspace={"size": "1Gi"}, history={"succeeded": 2, "failed": 1}))
    await left(case, "s2", "s3", "f2")

    async def owned() -> list[int]:
        return [len(await case.api.list(kind, case.namespace)) for kind in (JOBS, PODS, CLAIMS)]

    async def collected() -> bool:
        return await owned() == [3, 3, 3]

    await until(collected, within=60)
    (revision,) = await case.revisions()
    assert "history" not in revision["data"]["spec"], "how long runs stay is nothing that is run"


@side_by_side
async def test_a_run_goes_when_its_time_is_over_and_its_pipeline_still_says_how_it_ended(case: Case) -> None:
    await case.ready(spec(step("a"), history={"ttl": "12s"}))
    ended = await done(case, "r")
    await left(case)
    gone = datetime.now(UTC) - datetime.fromisoformat(ended["status"]["finishedAt"])
    assert 11 < gone.total_seconds() < 30
    found = await case.until(PIPELINES, "p", lambda one: one["status"].get("lastRun") == "r")
    assert condition(found, "LastRunSucceeded")["status"] == "True"
    assert found["status"]["lastRunAt"] == ended["status"]["finishedAt"]


@side_by_side
async def test_the_last_run_is_never_an_older_one_that_happened_to_stay(case: Case) -> None:
    case.plays("a", fail(1), run="bad")
    await case.ready(spec(step("a"), history={"succeeded": 0}))
    await done(case, "bad")
    await done(case, "good")
    await left(case, "bad")
    await case.ready(spec(step("a", command=["other"]), history={"succeeded": 0}))
    found = await case.api.get(PIPELINES, case.namespace, "p")
    assert found["status"]["lastRun"] == "good"
    assert condition(found, "LastRunSucceeded")["status"] == "True"


@side_by_side
async def test_a_run_that_is_labelled_stays_until_it_is_not(case: Case) -> None:
    await case.ready(spec(step("a")))
    for name in ("a", "b", "c"):
        await done(case, name)
    await case.api.patch(RUNS, case.namespace, "a", {"metadata": {"labels": KEEP}})
    await case.ready(spec(step("a"), history={"succeeded": 1, "ttl": "1h"}))
    await left(case, "a", "c")
    await case.api.patch(RUNS, case.namespace, "a", {"metadata": {"labels": {"dataops.dev/keep": None}}})
    await left(case, "c")


@side_by_side
async def test_logs_go_before_their_run_and_the_run_says_so_once(case: Case) -> None:
    case.broken.add("Jobs")
    await case.ready(spec(step("a"), step("b", "a")))
    await done(case, "kept")
    await case.api.patch(RUNS, case.namespace, "kept", {"metadata": {"labels": KEEP}})
    before = await done(case, "r")
    await case.ready(spec(step("a"), step("b", "a"), history={"logs": "10s"}))
    run = await case.until(RUNS, "r", lambda one: "logsDeletedAt" in one["status"], within=40)
    assert await case.jobs() == []

    async def pods() -> set[str]:
        return {pod["metadata"]["labels"]["dataops.dev/run"] for pod in await case.pods()}

    async def only_kept() -> bool:
        return await pods() == {"kept"}

    await until(only_kept)
    assert {key: run["status"][key] for key in before["status"]} == before["status"], "nothing else of it changed"
    since = audit_lines(case.plane)
    await asyncio.sleep(8)
    assert writes(case.plane, case.namespace, since) == []
    assert len(await case.jobs(run="kept")) == 2


@side_by_side
async def test_a_run_that_somebody_elses_finalizer_holds_is_deleted_once(case: Case) -> None:
    await case.ready(spec(step("a")))
    await done(case, "held")
    await done(case, "free")
    await case.api.patch(RUNS, case.namespace, "held", {"metadata": {"finalizers": ["team.example/archive"]}})
    since = audit_lines(case.plane)
    await case.ready(spec(step("a"), history={"succeeded": 0}))
    await left(case, "held")
    held = await case.until(RUNS, "held", lambda one: "deletionTimestamp" in one["metadata"])
    assert held["metadata"]["finalizers"] == ["team.example/archive"]
    await asyncio.sleep(8)
    asked = [one for one in writes(case.plane, case.namespace, since) if one.startswith("delete pipelineruns")]
    assert sorted(asked) == ["delete pipelineruns/free 200", "delete pipelineruns/held 200"]
    await case.api.patch(RUNS, case.namespace, "held", {"metadata": {"finalizers": None}})
    await left(case)


# Revisions.


def words(*said: str, **history: Any) -> Object:
    """A pipeline whose one step says something."""
    return spec(step("a", command=["say", *said]), **({"history": history} if history else {}))


async def revisions_are(case: Case, *names: str, namespace: str = "", within: float = 60) -> None:
    """Wait until these revisions are there, in the order of their numbers."""
    found: list[str] = []

    async def there() -> bool:
        listed = await case.api.list(REVISIONS, namespace or case.namespace, "dataops.dev/pipeline")
        found[:] = [one["metadata"]["name"] for one in sorted(listed, key=lambda one: int(one["revision"]))]
        return found == list(names)

    try:
        await until(there, within)
    except TimeoutError:
        raise AssertionError(f"there are {found}, and {list(names)} should be") from None


async def active(case: Case, *said: str, **history: Any) -> str:
    """Apply a pipeline; the name of its revision."""
    found = await case.ready(words(*said, **history))
    return str(found["status"]["activeRevision"])


@side_by_side
async def test_unused_revisions_go_and_those_stay_that_are_active_of_a_run_labelled_or_the_newest(case: Case) -> None:
    used = await active(case, "used", revisions=1)
    await done(case, "r")
    wanted = await active(case, "wanted", revisions=1)
    await case.api.patch(REVISIONS, case.namespace, wanted, {"metadata": {"labels": KEEP}})
    names = [await active(case, word, revisions=1) for word in ("one", "two", "three", "four")]
    await revisions_are(case, used, wanted, *names[-2:])
    await asyncio.sleep(GRACE + 6)
    await revisions_are(case, used, wanted, *names[-2:], within=1)
    await case.api.delete(RUNS, case.namespace, "r")
    await revisions_are(case, wanted, *names[-2:])


@side_by_side
async def test_an_old_revision_runs_again_and_the_active_one_has_the_highest_number(case: Case) -> None:
    """As a Deployment that is rolled back: the old content becomes the newest of the history."""
    old = await active(case, "old")
    new = await active(case, "new")
    assert [(one["metadata"]["name"], one["revision"]) for one in await case.revisions()] == [(old, 1), (new, 2)]
    run = await done(case, "r", revision=old)
    assert run["status"]["revision"] == old
    (job,) = await case.jobs(run="r")
    assert job["spec"]["template"]["spec"]["containers"][0]["command"] == ["say", "old"]
    assert await active(case, "old") == old
    assert [(one["metadata"]["name"], one["revision"]) for one in await case.revisions()] == [(new, 2), (old, 3)]


@side_by_side
async def test_a_revision_that_went_is_said_to_be_gone_and_comes_back_with_its_content(case: Case) -> None:
    old = await active(case, "old", revisions=0)
    new = await active(case, "new", revisions=0)
    await revisions_are(case, new)
    await case.run("r", revision=old)
    await case.waits("RevisionNotFound")
    assert await active(case, "old") == old
    assert succeeded(await case.ended())


@side_by_side
async def test_a_revision_that_a_run_of_another_namespace_has_stays(case: Case) -> None:
    case.broken.add("I3")  # whose check looks for pipelines in the case's namespace alone; there is one step here
    project = f"{case.namespace[:50]}-project"
    await stands(case, project=project)

    async def apply(word: str) -> str:
        body = words(word, revisions=0)
        if await case.api.find(PIPELINES, project, "p") is None:
            await case.api.create(PIPELINES, project, {"metadata": {"name": "p"}, "spec": body})
        else:
            await case.api.patch(PIPELINES, project, "p", {"spec": body})
        found = await case.api.wait_for(
            PIPELINES,
            project,
            "p",
            lambda one: (
                one.get("status", {}).get("observedGeneration") == one["metadata"]["generation"]
                and condition(one, "Ready").get("status") == "True"
            ),
        )
        return str(found["status"]["activeRevision"])

    pinned = await apply("pinned")
    await done(case, "r")
    await apply("unused")
    last = await apply("last")
    await revisions_are(case, pinned, last, namespace=project)
    await asyncio.sleep(GRACE + 6)
    await revisions_are(case, pinned, last, namespace=project, within=1)
    await case.api.delete(RUNS, case.namespace, "r")
    await revisions_are(case, last, namespace=project)


@side_by_side
async def test_what_an_environment_was_stays_as_long_as_a_run_began_with_it(case: Case) -> None:
    environment = await stands(case, parameters=[{"name": "level", "value": "0"}])
    await case.ready(spec(step("a")))
    kept: list[str] = []
    for number in range(3):
        await edit(case, environment, parameters=[{"name": "level", "value": str(number)}])
        run = await done(case, f"r{number}")
        kept.append(run["status"]["environmentRevision"])
    assert len(set(kept)) == 3

    async def there() -> list[str]:
        listed = await case.api.list(REVISIONS, case.namespace, "dataops.dev/environment")
        return [one["metadata"]["name"] for one in sorted(listed, key=lambda one: int(one["revision"]))]

    await asyncio.sleep(GRACE + 6)
    assert await there() == kept
    for name in ("r0", "r2"):
        await case.api.delete(RUNS, case.namespace, name)

    async def pruned() -> bool:
        return await there() == kept[1:]

    await until(pruned)
    # What it was before is what it is again.
    await edit(case, environment, parameters=[{"name": "level", "value": "1"}])
    run = await done(case, "again")
    assert run["status"]["environmentRevision"] == kept[1]

    async def raised() -> bool:
        return await there() == [kept[1]]

    await until(raised)
