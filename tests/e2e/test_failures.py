"""What a user reads when a step cannot start or ends badly: soon, in the run itself, with the reason and the cure."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

from tests.e2e.room import Room, begins, python, row, shell
from tests.harness.api import Object

LATE = 15.0
"""Seconds that a verdict may come after its time on a loaded machine."""


def waited_for(room: Room) -> set[str]:
    """The reasons that the run, while its phase was Waiting, gave for waiting."""
    waiting = [one for one in room.statuses() if one.get("phase") == "Waiting"]
    return {entry["reason"] for one in waiting for entry in one["waitingFor"]}


def warnings(room: Room) -> list[str]:
    """Reasons of the warnings that `kubectl describe drun` shows."""
    return [reason for type_, reason, _ in room.events() if type_ == "Warning"]


def assert_not_started_within(room: Room, seconds: float, reason: str, *words: str) -> None:
    """The run waited visibly for this reason, and failed with it when the time was over."""
    message = room.failed()
    run = room.ended()
    step = row(run, "only")
    assert step["reason"] == reason
    assert message.startswith(f"step only: did not start within {seconds:.0f}s"), message
    for word in words:
        assert re.search(word, message), message
    assert waited_for(room) == {reason}
    assert seconds - 1 <= _lasted(run) < seconds + LATE
    assert "StepWaiting" in warnings(room)
    assert "StepFailed" in warnings(room)
    assert room.column()["REASON"] == "StepFailed"


def _lasted(run: Object) -> float:
    begun, ended = (datetime.fromisoformat(run["status"][name]) for name in ("startedAt", "finishedAt"))
    return (ended - begun).total_seconds()


ABSENT = "localhost/dataops-there-is-no-such-image:dev"


@begins(lambda room: room.start(shell("only", "true", image=ABSENT, startTimeout="15s")))
def test_an_image_that_cannot_be_pulled_is_said_within_the_start_timeout(room: Room) -> None:
    assert_not_started_within(room, 15, "ImageUnavailable", ABSENT)


LARGE = {"resources": {"requests": {"cpu": "1000"}}}


@begins(lambda room: room.start(shell("only", "true", startTimeout="8s", **LARGE)))
def test_a_pod_that_fits_on_no_node_is_said_within_the_start_timeout(room: Room) -> None:
    assert_not_started_within(room, 8, "Unschedulable", "Insufficient cpu")


def no_pods(room: Room) -> Object:
    """A quota that lets no pod in."""
    metadata = {"name": "no-pods", "namespace": room.namespace}
    return {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": metadata, "spec": {"hard": {"pods": "0"}}}


def begin_quota(room: Room) -> None:
    room.apply(no_pods(room))
    room.start(shell("only", "true", startTimeout="8s"))


@begins(begin_quota)
def test_a_quota_that_refuses_the_pod_is_said_within_the_start_timeout(room: Room) -> None:
    assert_not_started_within(room, 8, "QuotaExceeded", "exceeded quota: no-pods", "pods=0")


def begin_lifted(room: Room) -> None:
    room.apply(no_pods(room))
    room.start(shell("only", "echo at last"), shell("after", "true", needs=["only"]))


@begins(begin_lifted)
def test_a_run_goes_on_by_itself_once_the_quota_is_lifted(room: Room) -> None:
    waiting = room.until("x", lambda run: bool(run.get("status", {}).get("waitingFor")))
    assert waiting["status"]["waitingFor"][0]["reason"] == "QuotaExceeded"
    assert room.column()["PHASE"] == "Waiting"
    room.kubectl("delete", "resourcequota", "no-pods")
    run = room.succeeded()
    assert "waitingFor" not in run["status"]
    assert row(run, "after")["phase"] == "Succeeded"
    assert room.jobs() == [("only", 1)], "one pod for both"
    assert room.log("only") == "at last\n"


@begins(lambda room: room.start({"name": "only", "command": ["/no/such/program"]}))
def test_a_command_that_does_not_exist_fails_with_what_the_runtime_says(room: Room) -> None:
    message = room.failed()
    assert row(room.ended(), "only")["reason"] == "ContainerConfig"
    assert "/no/such/program" in message
    assert "no such file or directory" in message


def begin_refused(room: Room) -> None:
    """A LimitRange refuses every pod that asks for too much, at admission."""
    metadata = {"name": "small", "namespace": room.namespace}
    limits = [{"type": "Container", "max": {"memory": "64Mi"}, "default": {"memory": "64Mi"}}]
    room.apply({"apiVersion": "v1", "kind": "LimitRange", "metadata": metadata, "spec": {"limits": limits}})
    room.start(shell("only", "true", startTimeout="8s", resources={"limits": {"memory": "1Gi"}}))


@begins(begin_refused)
def test_a_pod_that_admission_refuses_is_said_within_the_start_timeout(room: Room) -> None:
    assert_not_started_within(room, 8, "PodRefused", "maximum memory usage per Container is 64Mi")


ROWS = [{"name": "rows", "type": "Integer"}]


@begins(lambda room: room.start(shell("only", "true", outputs=ROWS), shell("after", "true", needs=["only"])))
def test_exit_0_without_a_declared_output_is_a_failure(room: Room) -> None:
    message = room.failed()
    run = room.ended()
    assert row(run, "only")["reason"] == "MissingOutput"
    assert 'has no output \'rows\'; write {"outputs": {"rows": …}} to it' in message
    after = row(run, "after")
    assert (after["phase"], after["reason"]) == ("Skipped", "UpstreamFailed")
    assert after["message"] == "not run, since step only failed"
    assert room.jobs() == [("only", 1)]
    assert room.column() | {"AGE": ""} == {
        "NAME": "x", "PIPELINE": "x", "PHASE": "Failed", "STEPS": "0/2", "REASON": "StepFailed", "AGE": "",
    }  # fmt: skip


@begins(lambda room: room.start(shell("only", "echo 12 rows > /dataops/result")))
def test_exit_0_with_junk_in_the_result_is_a_failure(room: Room) -> None:
    assert "/dataops/result is not JSON" in room.failed()
    assert row(room.ended(), "only")["reason"] == "InvalidResult"


TOO_MUCH = """
import json
with open("/dataops/result", "w") as file:
    json.dump({"outputs": {"rows": 1}, "metrics": {"noise": "ü" * 3000}}, file, ensure_ascii=False)
"""


@begins(lambda room: room.start(python("only", TOO_MUCH, outputs=ROWS)))
def test_a_result_larger_than_the_platform_keeps_is_a_failure(room: Room) -> None:
    assert "/dataops/result is larger than 4096 bytes" in room.failed()
    assert row(room.ended(), "only")["reason"] == "ResultTooLarge"


FITS = """
import json
text = json.dumps({"outputs": {"rows": 1}, "metrics": {"noise": ""}})
with open("/dataops/result", "w") as file:
    file.write(text.replace('""', '"' + "x" * (4096 - len(text)) + '"'))
"""


@begins(lambda room: room.start(python("only", FITS, outputs=ROWS)))
def test_a_result_of_exactly_what_the_platform_keeps_is_read(room: Room) -> None:
    assert row(room.succeeded(), "only")["outputs"] == {"rows": 1}


WRONG = """echo '{"outputs": {"rows": "many"}}' > /dataops/result"""


@begins(lambda room: room.start(shell("only", WRONG, outputs=ROWS)))
def test_an_output_of_another_type_than_declared_is_a_failure(room: Room) -> None:
    assert "output 'rows' in /dataops/result: \"many\" is not a whole number" in room.failed()
    assert row(room.ended(), "only")["reason"] == "InvalidResult"


EAT = "held = [bytearray(b'x' * 1_000_000) for _ in range(400)]"
SMALL: dict[str, Any] = {"resources": {"limits": {"memory": "32Mi"}}}


@begins(lambda room: room.start(python("only", EAT, **SMALL)))
def test_a_step_that_uses_more_memory_than_its_limit_is_told_so(room: Room) -> None:
    assert "used more memory than its limit; raise resources.limits.memory" in room.failed()
    assert row(room.ended(), "only")["reason"] == "OutOfMemory"


EAT_LESS = "held = [bytearray(b'x' * 1_000_000) for _ in range(80)]"
RAISED: dict[str, Any] = {
    "limit": 2,
    "on": ["OutOfMemory"],
    "memory": {"factor": 2, "max": "1Gi"},
    "backoff": {"initial": "1s"},
}


@begins(lambda room: room.start(python("only", EAT_LESS, retry=RAISED, **SMALL)))
def test_a_step_that_is_killed_for_its_memory_gets_more_until_it_is_enough(room: Room) -> None:
    run = room.succeeded()
    assert (row(run, "only")["attempt"], row(run, "only")["outOfMemory"]) == (3, 2)
    given = [pod["spec"]["containers"][0]["resources"] for pod in room.pods("only")]
    assert [one["limits"]["memory"] for one in given] == ["32Mi", "64Mi", "128Mi"]
    retries = [message for _, reason, message in room.events() if reason == "StepRetrying"]
    assert len(retries) == 2
    assert all("used more memory than its limit" in message for message in retries)


@begins(lambda room: room.start(shell("only", "sleep 600", timeout="3s")))
def test_a_step_that_runs_longer_than_its_timeout_is_ended(room: Room) -> None:
    assert "ran longer than its timeout of 3s; raise the step's timeout" in room.failed()
    run = room.ended()
    assert row(run, "only")["reason"] == "DeadlineExceeded"
    assert _lasted(run) < 300, "the container was not ended"


SAID = """echo '{"message": "the source is empty: ask its owner"}' > /dataops/result; exit 3"""


@begins(lambda room: room.start(shell("only", SAID), shell("beside", "sleep 8")))
def test_a_failure_tells_the_exit_code_and_what_the_step_said_and_lets_others_end(room: Room) -> None:
    assert room.failed() == "step only: exit code 3: the source is empty: ask its owner"
    run = room.ended()
    assert row(run, "beside")["phase"] == "Succeeded", "what was under way ends, and its outcome counts"


BACKOFF = {"limit": 1, "backoff": {"initial": "15s"}}


@begins(lambda room: room.start(shell("only", "exit 1", retry=BACKOFF)))
def test_a_run_between_two_attempts_says_when_the_next_begins(room: Room) -> None:
    room.failed()
    assert waited_for(room) == {"Backoff"}
    waiting = next(one for one in room.statuses() if one.get("waitingFor"))
    retry_at = waiting["steps"][0]["retryAt"]
    told = waiting["waitingFor"][0]["message"]
    assert told == f"step only: attempt 1 ended (Error); the next begins at {retry_at}"
    assert room.jobs() == [("only", 1), ("only", 2)]
    assert warnings(room).count("StepRetrying") == 1
