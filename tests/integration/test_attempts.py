"""Attempts at steps on a real Job controller: retried, never started, badly told, taken away in the middle."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Any

import orjson
import pytest
from tests.harness.api import Object, condition
from tests.harness.kinds import JOBS, PIPELINES, PODS, QUOTAS, RUNS, Kind
from tests.harness.script import Outcome, Play, fail, never_start, succeed
from tests.integration.beside import in_both_modes, side_by_side
from tests.integration.support import (
    Case,
    command,
    failed_because,
    phases,
    requests,
    row,
    said,
    spec,
    step,
    succeeded,
    waiting_for,
)

from dataops_operator.core.names import job_name
from dataops_operator.core.timeouts import SLACK

pytestmark = pytest.mark.asyncio(loop_scope="module")

LIMITS = Kind("LimitRange", "v1", "limitranges")
COUNT = {"name": "rows", "type": "Integer"}
HANG = Play(outcome=Outcome.HANG)
AT_ONCE_RETRY: Object = {"limit": 3, "backoff": {"initial": "1s"}}


def seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


# Retries.


@side_by_side
@in_both_modes
async def test_a_step_is_tried_again_with_growing_waits_and_one_job_an_attempt(case: Case) -> None:
    retry = {"limit": 3, "backoff": {"initial": "2s", "factor": 2, "max": "5s"}}
    await case.ready(spec(step("a", retry=retry), step("b", "a")))
    for attempt in (1, 2, 3):
        case.plays("a", fail(7), attempt=attempt)
    await case.run()
    run = await case.ended()
    assert succeeded(run)
    assert row(run, "a")["attempt"] == 4
    jobs = await case.jobs("a")
    assert [job["metadata"]["labels"]["dataops.dev/attempt"] for job in jobs] == ["1", "2", "3", "4"]
    told = {}
    for change in case.seen.history.of(RUNS):
        seen = row(change.obj, "a")
        if "retryAt" in seen:
            assert seen["phase"] == "Waiting"
            assert "Backoff" in waiting_for(change.obj)
            told[seen["attempt"]] = seconds(seen["retryAt"]) - seconds(seen["finishedAt"])
            made = seconds(jobs[seen["attempt"]]["metadata"]["creationTimestamp"])
            assert made >= seconds(seen["retryAt"]), "the next attempt came too early"
            assert made <= seconds(seen["retryAt"]) + 10, "the next attempt came late"
    # Times are cut to whole seconds, so a second is added: the wait is never shorter than was asked for.
    assert told.keys() == {1, 2, 3}
    assert all(wait < told[attempt] <= wait + 3 for attempt, wait in ((1, 2), (2, 4), (3, 5))), told
    assert "exit code 7" in (await case.event("r", "StepRetrying"))["message"]


@side_by_side
async def test_after_the_last_attempt_the_run_fails_and_siblings_finish(case: Case) -> None:
    retry = {"limit": 1, "backoff": {"initial": "1s"}}
    await case.ready(spec(step("bad", retry=retry), step("slow"), step("late", "slow"), step("never", "bad")))
    case.plays("bad", fail(3, orjson.dumps({"message": "no rows for AA"}).decode()))
    case.plays("slow", Play(), end=6)
    await case.run()
    run = await case.ended()
    assert failed_because(run, "bad") == "Error"
    assert phases(run) == {"bad": "Failed", "slow": "Succeeded", "late": "Skipped", "never": "Skipped"}
    assert row(run, "bad")["attempt"] == 2
    assert row(run, "never")["reason"] == row(run, "late")["reason"] == "UpstreamFailed"
    assert said(run) == "step bad: exit code 3: no rows for AA"
    assert condition(run, "Succeeded")["status"] == "False"
    assert run["status"]["progress"] == "1/4"
    assert (await case.event("r", "Failed"))["type"] == "Warning"


@side_by_side
async def test_failed_checks_stand_in_the_message(case: Case) -> None:
    checks = [
        {"name": "rows", "outcome": "Fail", "value": 0, "expected": "> 0"},
        {"name": "keys", "outcome": "Error", "message": "no such column"},
        {"name": "fine", "outcome": "Pass"},
    ]
    await case.ready(spec(step("a")))
    case.plays("a", fail(1, orjson.dumps({"checks": checks}).decode()))
    await case.run()
    run = await case.ended()
    assert failed_because(run, "a") == "Error"
    assert said(run) == "step a: exit code 1: 2 checks failed: rows was 0, expected > 0; keys (no such column)"


FATES = {
    "Failure": (fail(1), "Error"),
    "OutOfMemory": (fail(137, reason="OOMKilled"), "OutOfMemory"),
    "Infrastructure": (Play(outcome=Outcome.EVICT), "Disrupted"),
    "Start": (fail(128, "exec: no such file", reason="StartError"), "ContainerConfig"),
}


@side_by_side
@pytest.mark.parametrize("kind", FATES)
async def test_only_the_classes_that_the_policy_names_are_tried_again(case: Case, kind: str) -> None:
    play, reason = FATES[kind]
    others = [other for other in (*FATES, "Deadline") if other != kind]
    await case.ready(spec(step("a", retry=AT_ONCE_RETRY | {"on": [kind]})), name="named")
    await case.ready(spec(step("a", retry=AT_ONCE_RETRY | {"on": others})), name="others")
    case.plays("a", play, attempt=1)
    for name in ("named", "others"):
        await case.run(name, pipeline=name)
    run = await case.ended("named")
    assert succeeded(run)
    assert row(run, "a")["attempt"] == 2
    run = await case.ended("others")
    assert failed_because(run, "a") == reason
    assert row(run, "a")["attempt"] == 1


@side_by_side
async def test_a_pod_on_a_lost_node_is_tried_again_as_infrastructure(case: Case) -> None:
    await case.ready(spec(step("a", retry=AT_ONCE_RETRY | {"on": ["Infrastructure"]})))
    case.plays("a", Play(outcome=Outcome.LOSE_NODE), attempt=1)
    await case.run()
    run = await case.ended()
    assert succeeded(run)
    assert row(run, "a")["attempt"] == 2


@side_by_side
@in_both_modes
async def test_a_step_that_runs_too_long_is_ended_and_fails_with_its_limit(case: Case) -> None:
    await case.ready(spec(step("a", timeout="3s", retry=AT_ONCE_RETRY), step("b", "a")))
    case.plays("a", HANG)
    await case.run()
    run = await case.ended()
    assert failed_because(run, "a") == "DeadlineExceeded"
    assert "longer than its timeout of 3s" in said(run)
    assert row(run, "a")["attempt"] == 1
    assert row(run, "b")["phase"] == "Skipped"
    (pod,) = await case.pods((await case.jobs("a"))[0])
    assert pod["status"]["phase"] == "Failed", "it stays, with its log"
    took = seconds(row(run, "a")["finishedAt"]) - seconds(row(run, "a")["startedAt"])
    assert 3 <= took <= 3 + SLACK + 5


# What never starts.


@side_by_side
@in_both_modes
@pytest.mark.parametrize(
    ("play", "reason", "detail"),
    [
        pytest.param(never_start(message="Back-off pulling image"), "ImageUnavailable", "Back-off", id="image"),
        pytest.param(
            never_start("CreateContainerConfigError", 'secret "s" not found'),
            "ContainerConfig",
            "not found",
            id="config",
        ),
        pytest.param(Play(outcome=Outcome.PENDING), "Unschedulable", "Insufficient cpu", id="node"),
    ],
)
async def test_a_step_that_cannot_start_says_so_and_fails_in_time(
    case: Case, play: Play, reason: str, detail: str
) -> None:
    await case.ready(spec(step("a", startTimeout="5s", timeout="1s"), step("b", "a")))
    case.plays("a", play)
    await case.run()
    run = await case.waits(reason)
    assert run["status"]["phase"] == "Waiting"
    assert detail in run["status"]["waitingFor"][0]["message"]
    run = await case.ended()
    assert failed_because(run, "a") == reason
    assert "did not start within 5s" in said(run)
    assert detail in said(run)
    assert row(run, "b")["phase"] == "Skipped"
    await case.none_left(JOBS)
    await case.none_left(PODS)


async def quota(case: Case, hard: Object) -> None:
    """A quota that the API server already holds against what is created."""
    await case.api.create(QUOTAS, case.namespace, {"metadata": {"name": "q"}, "spec": {"hard": hard}})
    await case.until(QUOTAS, "q", lambda found: found.get("status", {}).get("hard") == hard)


@side_by_side
async def test_a_quota_on_pods_is_told_while_waiting_and_at_the_end(case: Case) -> None:
    await quota(case, {"pods": "0"})
    await case.ready(spec(step("a", startTimeout="8s")))
    await case.run()
    run = await case.waits("QuotaExceeded")
    assert "exceeded quota: q" in run["status"]["waitingFor"][0]["message"]
    run = await case.ended()
    assert failed_because(run, "a") == "QuotaExceeded"
    await case.none_left(JOBS)


@side_by_side
async def test_many_runs_in_the_same_trouble_ask_the_api_server_once(case: Case) -> None:
    await quota(case, {"pods": "0"})
    await case.ready(spec(step("a")))
    names = [f"r{number}" for number in range(20)]
    await asyncio.gather(*(case.run(name) for name in names))
    for name in names:
        assert "exceeded quota: q" in (await case.waits("QuotaExceeded", name))["status"]["waitingFor"][0]["message"]
    asked = [(one["verb"], one["objectRef"]["resource"]) for one in requests(case.plane, case.namespace)]
    assert asked.count(("create", "jobs")) == len(names)
    # Each alone asks twice for events, a pass through all of the namespace, and once for its pipeline: 40 and 20. On a
    # machine that is at its limit they come one after the other, and share less.
    assert 0 < asked.count(("list", "events")) <= len(names)
    assert 0 < asked.count(("get", "pipelines")) <= len(names) * 3 / 4
    await case.api.delete(QUOTAS, case.namespace, "q")
    for name in names:
        assert succeeded(await case.ended(name))


@side_by_side
async def test_a_quota_on_jobs_is_told_and_when_it_is_lifted_the_run_goes_on(case: Case) -> None:
    await quota(case, {"count/jobs.batch": "0"})
    await case.ready(spec(step("a")))
    await case.run()
    run = await case.waits("QuotaExceeded")
    assert "exceeded quota: q" in run["status"]["waitingFor"][0]["message"]
    assert row(run, "a")["phase"] == "Waiting"
    await case.api.delete(QUOTAS, case.namespace, "q")
    run = await case.ended()
    assert succeeded(run)
    assert row(run, "a")["attempt"] == 1


@side_by_side
async def test_a_pod_that_admission_refuses_is_told(case: Case) -> None:
    limits = {"limits": [{"type": "Container", "max": {"cpu": "100m"}}]}
    await case.api.create(LIMITS, case.namespace, {"metadata": {"name": "small"}, "spec": limits})
    large = {"requests": {"cpu": "2"}, "limits": {"cpu": "2"}}
    await case.ready(spec(step("a", startTimeout="8s", resources=large)))
    await case.run()
    run = await case.waits("PodRefused")
    assert "maximum cpu usage per Container is 100m" in run["status"]["waitingFor"][0]["message"]
    run = await case.ended()
    assert failed_because(run, "a") == "PodRefused"
    await case.none_left(JOBS)


# Results.


@side_by_side
@pytest.mark.parametrize(
    ("told", "reason", "message"),
    [
        pytest.param("", "MissingOutput", "has no output 'rows'; write", id="nothing"),
        pytest.param('{"outputs": {"other": 1}}', "MissingOutput", "has no output 'rows'; write", id="another"),
        pytest.param("Traceback (most recent call last)", "InvalidResult", "is not JSON", id="junk"),
        pytest.param("[1, 2]", "InvalidResult", "is not a JSON object", id="list"),
        pytest.param('{"outputs": {"rows": "' + "x" * 4074, "ResultTooLarge", "larger than 4096 bytes", id="cut"),
        pytest.param('{"outputs": {"rows": "many"}}', "InvalidResult", '"many" is not a whole number', id="type"),
    ],
)
async def test_exit_code_0_with_a_bad_result_is_a_failure(case: Case, told: str, reason: str, message: str) -> None:
    assert len(told) <= 4096, "the kubelet keeps no more"
    await case.ready(spec(step("a", outputs=[COUNT]), step("b", command=["b", "$(steps.a.outputs.rows)"])))
    case.plays("a", Play(message=told))
    await case.run()
    run = await case.ended()
    assert failed_because(run, "a") == reason
    assert message in said(run)
    assert row(run, "b")["phase"] == "Skipped"
    assert await case.jobs("b") == []


@side_by_side
async def test_a_template_into_a_value_that_is_not_there_fails_with_its_text(case: Case) -> None:
    parts = {"name": "parts", "type": "Array"}
    await case.ready(spec(step("a", outputs=[parts]), step("b", command=["b", "$(steps.a.outputs.parts.3)"])))
    case.plays("a", succeed(parts=["one"]))
    await case.run()
    run = await case.ended()
    assert failed_because(run, "b") == "InvalidTemplate"
    assert "$(steps.a.outputs.parts.3): the value has no '3'" in said(run)


# Witnesses that go away.


@side_by_side
async def test_pods_deleted_right_after_their_success_lose_nothing(case: Case) -> None:
    case.plays("", Play(message='{"outputs": {"rows": 5}}', delete=True))
    retry = AT_ONCE_RETRY | {"on": ["Infrastructure"]}
    steps = [step(f"s{number}", outputs=[COUNT], retry=retry) for number in range(8)]
    uses = [f"$(steps.s{number}.outputs.rows)" for number in range(8)]
    await case.ready(spec(*steps, step("sum", command=["sum", *uses])))
    await case.run()
    assert succeeded(await case.ended())
    assert [command(job) for job in await case.jobs("sum")] == [["sum", *["5"] * 8]]
    case.broken.add("Jobs")


@side_by_side
@pytest.mark.parametrize("retried", [False, True], ids=["no-retry", "retry"])
async def test_a_job_deleted_by_hand_is_an_infrastructure_failure(case: Case, retried: bool) -> None:
    retry: Any = AT_ONCE_RETRY | {"on": ["Infrastructure"]} if retried else {"infrastructure": 0}
    await case.ready(spec(step("a", retry=retry)))
    case.plays("a", HANG, attempt=1)
    await case.run()
    await case.step_is("a", "Running")
    await case.a_pod("a", "Running")
    (job,) = await case.jobs("a")
    await case.api.delete(JOBS, case.namespace, job["metadata"]["name"])
    run = await case.ended()
    if retried:
        assert succeeded(run)
        assert row(run, "a")["attempt"] == 2
    else:
        assert failed_because(run, "a") == "JobDeleted"
        assert "the Job was deleted before its end was seen" in said(run)
        case.broken.add("I7")  # the pod went with its Job and was last seen running


@side_by_side
async def test_a_pod_deleted_by_hand_ends_the_attempt_and_the_next_one_goes_on(case: Case) -> None:
    await case.ready(spec(step("a", retry=AT_ONCE_RETRY)))
    case.plays("a", HANG, attempt=1)
    await case.run()
    pod = await case.a_pod("a", "Running")
    await case.api.delete(PODS, case.namespace, pod["metadata"]["name"])
    run = await case.ended()
    assert succeeded(run)
    assert row(run, "a")["attempt"] == 2


@side_by_side
async def test_a_name_that_a_foreign_job_has_is_told_and_taken_when_it_is_free(case: Case) -> None:
    made = await case.run()
    name = job_name("r", made["metadata"]["uid"], "a", 1)
    container = {
        "name": "main",
        "image": "example.test/other:1",
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    security = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    pod = {"restartPolicy": "Never", "containers": [container], "securityContext": security}
    foreign = {"metadata": {"name": name}, "spec": {"suspend": True, "template": {"spec": pod}}}
    await case.api.create(JOBS, case.namespace, foreign)
    await case.apply(spec(step("a")))
    run = await case.waits("NameTaken")
    message = run["status"]["waitingFor"][0]["message"]
    assert f"Job '{name}' exists and is not this run's; delete it" in message
    there = await case.api.get(JOBS, case.namespace, name)
    assert there["spec"]["suspend"] is True
    assert "ownerReferences" not in there["metadata"]
    await case.api.delete(JOBS, case.namespace, name)
    run = await case.ended()
    assert succeeded(run)


@side_by_side
async def test_a_status_wiped_by_hand_is_derived_again_from_the_jobs(case: Case) -> None:
    day = [{"name": "day", "default": "old"}]
    first = spec(step("a", outputs=[COUNT]), step("b", command=["b", "$(params.day)"]), step("c", "a", "b"))
    before = await case.ready(first | {"parameters": day})
    case.plays("a", succeed(rows=3))
    case.plays("b", Play(), end=6)
    await case.run(logicalDate="2013-02-09T00:00:00Z")
    await case.step_is("a", "Succeeded")
    await case.step_is("b", "Running")
    whole = await case.api.get(RUNS, case.namespace, "r")
    # The pipeline has gone on meanwhile; the run must not.
    await case.ready(first | {"parameters": [{"name": "day", "default": "new"}]})
    path = RUNS.path(case.namespace, "r", "status")
    wipe = [{"op": "replace", "path": "/status", "value": {}}]
    await case.api.request("PATCH", path, wipe, content_type="application/json-patch+json")
    run = await case.ended()
    assert succeeded(run)
    assert run["status"]["revision"] == before["status"]["activeRevision"]
    for field in ("parameters", "logicalDate"):
        assert run["status"][field] == whole["status"][field]
    assert row(run, "a")["outputs"] == {"rows": 3}
    assert [job["metadata"]["labels"]["dataops.dev/step"] for job in await case.jobs("b")] == ["b"]
    assert len(await case.jobs()) == 3
    assert [condition(one, "Ready")["status"] for one in await case.api.list(PIPELINES, case.namespace)] == ["True"]
