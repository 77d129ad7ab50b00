"""Steps that are ended in the middle: their pods and Jobs stay, for their logs, and nothing of them is tried again."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.harness.api import Object, condition
from tests.harness.kinds import JOBS, PODS, RUNS
from tests.harness.script import Outcome, Play, never_start, succeed
from tests.integration.beside import side_by_side
from tests.integration.support import Case, phases, row, spec, step, until, verdict, writes

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(600)]

HANG = Play(outcome=Outcome.HANG)
RETRY = {"limit": 3, "on": ["Infrastructure", "Failure", "Deadline"], "backoff": {"initial": "0s"}}
COUNT = {"name": "rows", "type": "Integer"}
SAME = "object.spec.?activeDeadlineSeconds == oldObject.spec.?activeDeadlineSeconds"
TIDY: dict[str, Any] = {"finally": [step("tidy")]}


async def cancel(case: Case, how: str = "Graceful") -> None:
    await case.api.patch(RUNS, case.namespace, "r", {"spec": {"cancel": how}})


async def at_work(case: Case, *steps: str) -> None:
    """Start the run, and wait until the pods of these steps run."""
    await case.run()
    for one in steps:
        await case.a_pod(one, "Running")


async def stays(case: Case, name: str, code: int = 143) -> None:
    """A step's only Job has failed, with its only pod and how its container ended; nobody began another."""

    async def failed() -> bool:
        found = await case.jobs(name)
        return [condition(job, "Failed").get("reason") for job in found] == ["BackoffLimitExceeded"]

    await until(failed)
    (job,) = await case.jobs(name)
    (pod,) = await case.pods(job)
    assert (pod["status"]["phase"], pod["status"]["reason"]) == ("Failed", "DeadlineExceeded")
    assert [one["state"]["terminated"]["exitCode"] for one in pod["status"]["containerStatuses"]] == [code]


def of_pods(case: Case) -> list[str]:
    """What operators did to pods, and the Jobs that they deleted: verb and kind."""
    found = [line.split("/")[0] for line in writes(case.plane, case.namespace)]
    return [one for one in found if one.endswith(" pods") or one == "delete jobs"]


@side_by_side
async def test_a_cancelled_step_is_told_once_and_stays_with_its_log(case: Case) -> None:
    case.plays("load", HANG)
    await case.ready(spec(step("load", retry=RETRY, timeout="1h"), step("report", "load"), **TIDY))
    await at_work(case, "load")
    await cancel(case)
    run = await case.ended()
    assert verdict(run) == ("False", "Cancelled")
    assert phases(run) == {"load": "Cancelled", "report": "Skipped", "tidy": "Succeeded"}
    assert row(run, "load")["message"] == "cancelled"
    await stays(case, "load")
    await asyncio.sleep(4)  # beyond the last words of the run
    assert of_pods(case) == ["patch pods"], "one request for one pod, and no other"


@pytest.mark.parametrize("untold", [0.0, 0.5], ids=["at-once", "told-later"])
@side_by_side
async def test_a_step_that_tells_its_result_in_its_time_has_succeeded(case: Case, untold: float) -> None:
    told = succeed(rows=7).message
    case.plays("load", Play(outcome=Outcome.HANG, grace=1.5, tells=told, untold=untold))
    case.plays("mute", Play(outcome=Outcome.HANG, grace=1.5, tells="", untold=untold))
    await case.ready(spec(step("load", outputs=[COUNT], retry=RETRY), step("mute"), step("next", "load"), **TIDY))
    await at_work(case, "load", "mute")
    await cancel(case)
    run = await case.ended()
    assert phases(run) == {"load": "Succeeded", "mute": "Cancelled", "next": "Skipped", "tidy": "Succeeded"}
    assert row(run, "load")["outputs"] == {"rows": 7}
    await stays(case, "load", 0)
    await stays(case, "mute", 0)


@side_by_side
async def test_a_run_out_of_time_keeps_the_logs_of_all_that_it_ends(case: Case) -> None:
    case.plays("part", HANG)
    fan = step("part", forEach={"range": {"to": 2}}, retry=RETRY)
    await case.ready(spec(fan, step("after", "part"), timeout="4s", **TIDY))
    await case.run()
    run = await case.ended()
    assert verdict(run) == ("False", "RunDeadlineExceeded")
    assert phases(run) == {"part": "Failed", "after": "Skipped", "tidy": "Succeeded"}
    jobs = await case.jobs("part")
    assert len(jobs) == 3
    assert [[pod["status"]["reason"] for pod in await case.pods(job)] for job in jobs] == [["DeadlineExceeded"]] * 3
    assert of_pods(case) == ["patch pods"] * 3


@pytest.mark.parametrize("play", [never_start(), Play(outcome=Outcome.PENDING)], ids=["image", "node"])
@side_by_side
async def test_what_has_not_begun_has_no_log_and_goes(case: Case, play: Play) -> None:
    case.plays("load", play)
    await case.ready(spec(step("load", startTimeout="1h"), **TIDY))
    await case.run()
    await case.until(RUNS, "r", lambda run: row(run, "load").get("phase") == "Waiting")
    await cancel(case)
    run = await case.ended()
    assert phases(run) == {"load": "Cancelled", "tidy": "Succeeded"}
    assert of_pods(case) == ["delete jobs"]

    async def gone() -> bool:
        return not await case.jobs("load")

    await until(gone)


@side_by_side
async def test_at_once_does_not_wait_for_what_was_told_to_end_and_does_not_take_its_log(case: Case) -> None:
    case.plays("load", Play(outcome=Outcome.HANG, grace=6))
    case.plays("quick", HANG)
    await case.ready(spec(step("load"), step("quick"), **TIDY))
    await at_work(case, "load", "quick")
    await cancel(case)
    await case.until(RUNS, "r", lambda run: row(run, "quick").get("phase") == "Cancelled")
    await cancel(case, "Immediate")
    run = await case.ended()
    assert phases(run) == {"load": "Cancelled", "quick": "Cancelled", "tidy": "Skipped"}
    (job,) = await case.jobs("load")
    assert [pod["status"]["phase"] for pod in await case.pods(job)] == ["Running"], "it has not ended yet"
    await stays(case, "load")
    assert of_pods(case) == ["patch pods"] * 2


@side_by_side
async def test_at_once_takes_what_runs_along(case: Case) -> None:
    case.plays("load", HANG)
    await case.ready(spec(step("load")))
    await at_work(case, "load")
    await cancel(case, "Immediate")
    await case.ended()
    await case.none_left(PODS)
    await case.none_left(JOBS)


@side_by_side
async def test_where_pods_may_not_be_patched_they_go_with_their_jobs(case: Case) -> None:
    """As by a policy of the cluster: a run ends all the same."""
    case.plays("load", HANG)
    policy = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "spec": {
            "matchConstraints": {
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": case.namespace}},
                "resourceRules": [
                    {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": ["pods"]}
                ],
            },
            "validations": [{"expression": SAME}],
        },
    }
    await refuse_updates(case, policy)
    await case.ready(spec(step("load"), **TIDY))
    await at_work(case, "load")
    await cancel(case)
    run = await case.ended()
    assert phases(run) == {"load": "Cancelled", "tidy": "Succeeded"}
    # Whoever looks again before the deletion is heard of asks again, and is refused again.
    assert list(dict.fromkeys(of_pods(case))) == ["patch pods", "delete jobs"]


async def refuse_updates(case: Case, policy: Object) -> None:
    """Have the API server refuse changes of pods in the case's namespace, and wait until it does."""
    root, name = "/apis/admissionregistration.k8s.io/v1", f"no-pods-{case.namespace[-4:]}"
    meta = {"metadata": {"name": name}}
    await case.api.request("POST", f"{root}/validatingadmissionpolicies", {**policy, **meta})
    binding = {**meta, "spec": {"policyName": name, "validationActions": ["Deny"]}}
    await case.api.request("POST", f"{root}/validatingadmissionpolicybindings", binding)
    await asyncio.sleep(3)
