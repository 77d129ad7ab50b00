"""What is done to a step that is at work: its pod is evicted, as a drain of its node does, or its run is cancelled."""

from __future__ import annotations

import time
from typing import Any

from tests.e2e.replicas import processes
from tests.e2e.room import Room, begins, row, shell, until_gone

N = [{"name": "n", "type": "Integer"}]
TELL = """echo '{"outputs": {"n": 1}}' > /dataops/result"""
AT_ONCE = {"backoff": {"initial": "1s"}}
DEAF = "trap '' TERM; echo at work; sleep 600"
"""Does not end by SIGTERM."""


def first(what: str, then: str = "true") -> str:
    """A script whose first attempt does something else than those after it."""
    return f'if [ "$DATAOPS_ATTEMPT" = 1 ]; then {what}; else {then}; fi'


def until_told(what: str) -> str:
    """Words that wait for SIGTERM, and then do something."""
    return f"told() {{ {what}; }}; trap told TERM; echo at work; sleep 600 & wait"


def ended_as(room: Room, step: str, attempt: int) -> tuple[str, str]:
    """Reason and message with which an attempt ended that another one followed."""
    rows = [one for status in room.statuses() for one in status.get("steps", []) if one["name"] == step]
    ended = next(one for one in rows if one.get("attempt") == attempt and "retryAt" in one)
    return ended["reason"], ended["message"]


def begin_evicted(room: Room) -> None:
    later = first(DEAF, f'test "$DATAOPS_ATTEMPT" = 3 || exit 7; {TELL}')
    room.start(shell("only", later, outputs=N, retry={"limit": 1, **AT_ONCE}))
    room.evict(room.at_work("only"), grace=2)


@begins(begin_evicted)
def test_an_evicted_step_is_begun_again_without_a_try_of_its_own_being_lost(room: Room) -> None:
    run = room.succeeded()
    assert (row(run, "only")["attempt"], row(run, "only")["disruptions"]) == (3, 1)
    assert room.jobs() == [("only", 1), ("only", 2), ("only", 3)]
    reason, message = ended_as(room, "only", 1)
    assert reason == "Disrupted"
    assert message.startswith("the pod was disrupted: EvictionByEvictionAPI")
    assert ended_as(room, "only", 2)[0] == "Error", "the one failure that it may have came after"
    assert row(run, "only")["outputs"] == {"n": 1}


def begin_drained(room: Room) -> None:
    """Two that end well when they are told to end: one owes a result, one has none to give."""
    room.start(
        shell("owes", first(until_told("exit 0"), TELL), outputs=N, retry=AT_ONCE),
        shell("plain", first(until_told("exit 0")), retry=AT_ONCE),
        shell("after", "true", needs=["owes", "plain"]),
    )
    for step in ("owes", "plain"):
        room.evict(room.at_work(step))


@begins(begin_drained)
def test_a_drained_step_that_exits_0_without_its_result_has_not_succeeded(room: Room) -> None:
    run = room.succeeded()
    for step in ("owes", "plain"):
        (drained, _) = room.pods(step)
        state = drained["status"]["containerStatuses"][0]["state"]["terminated"]
        assert state["exitCode"] == 0, "it ended well, as far as its node can tell"
        assert ended_as(room, step, 1)[0] == "Disrupted"
        assert (row(run, step)["attempt"], row(run, step)["disruptions"]) == (2, 1)
    assert row(run, "owes")["outputs"] == {"n": 1}
    assert room.jobs()[-1] == ("after", 1), "it began after both had really ended"


def begin_finished(room: Room) -> None:
    room.start(shell("only", until_told(f"sleep 2; {TELL}; exit 0"), outputs=N))
    room.evict(room.at_work("only"))


@begins(begin_finished)
def test_a_drained_step_that_tells_its_result_in_its_time_has_succeeded(room: Room) -> None:
    run = room.succeeded()
    assert row(run, "only")["outputs"] == {"n": 1}
    assert room.jobs() == [("only", 1)]


def begin_once(room: Room) -> None:
    room.start(shell("only", until_told("exit 143"), retry={"limit": 5, "infrastructure": 0}))
    room.evict(room.at_work("only"))


@begins(begin_once)
def test_a_step_that_must_not_run_twice_fails_when_it_is_evicted(room: Room) -> None:
    assert room.failed().startswith("step only: the pod was disrupted: EvictionByEvictionAPI")
    assert row(room.ended(), "only")["reason"] == "Disrupted"
    assert room.jobs() == [("only", 1)]


ITEM = f"""
test "$(cat /dataops/item)" = 0 || exit 0
test ! -e /dataops/workspace/began || exit 0
touch /dataops/workspace/began
{DEAF}
"""


def begin_item(room: Room) -> None:
    each = {"items": [0, 1, 2], "mode": "Indexed"}
    room.start(shell("part", ITEM, forEach=each), workspace={"size": "10Mi"})
    room.evict(room.at_work("part"), grace=1)


@begins(begin_item)
def test_an_evicted_item_of_an_indexed_job_gets_another_pod(room: Room) -> None:
    found = row(room.succeeded(), "part")
    assert (found["items"]["succeeded"], found["items"]["failed"]) == (3, 0)
    assert room.jobs() == [("part", 1)]
    assert len(room.pods("part")) == 4


TIDY = "echo got SIGTERM | tee /dataops/workspace/said; sleep 2; echo tidied up | tee -a /dataops/workspace/said"
SAY = """echo '{"message": "stopped in the middle, all is well"}' > /dataops/result"""
AT_MOST = 20.0
"""Seconds in which a loaded machine kills what has one second to end; a pod that is asked to has thirty."""
LAST: dict[str, Any] = {"finally": [shell("last", "echo $DATAOPS_RUN_OUTCOME; cat /dataops/workspace/said")]}


def begin_graceful(room: Room) -> None:
    room.start(
        shell("tells", until_told(f"{TIDY}; {SAY}; exit 0")),
        shell("mute", until_told("exit 0"), retry={"limit": 3}),
        shell("after", "true", needs=["tells"]),
        workspace={"size": "10Mi"},
        **LAST,
    )
    room.at_work("tells")
    room.at_work("mute")
    room.cancel()


@begins(begin_graceful)
def test_a_cancelled_step_gets_sigterm_and_the_time_to_tidy_up_and_to_tell_its_result(room: Room) -> None:
    run = room.ended()
    assert run["status"]["phase"] == "Cancelled"
    phases = {one["name"]: one["phase"] for one in run["status"]["steps"]}
    assert phases == {"tells": "Succeeded", "mute": "Cancelled", "after": "Skipped", "last": "Succeeded"}
    assert row(run, "tells")["message"] == "stopped in the middle, all is well"
    assert room.log("last") == "Cancelled\ngot SIGTERM\ntidied up\n"
    assert room.log("tells") == "at work\ngot SIGTERM\ntidied up\n", "its log can be read when it has ended"
    assert room.log("mute") == "at work\n"
    assert sorted(room.jobs()) == [("last", 1), ("mute", 1), ("tells", 1)]
    assert ended_for(room, "tells") == ended_for(room, "mute") == "DeadlineExceeded"


def ended_for(room: Room, step: str) -> str:
    """Why the one pod of a step Failed."""
    (pod,) = room.pods(step)
    assert "deletionTimestamp" not in pod["metadata"]
    return str(pod["status"].get("reason"))


def begin_late(room: Room) -> None:
    """A run whose time is over when its steps have been at work for some seconds."""
    again = {"limit": 3, "on": ["Deadline", "Failure", "Infrastructure"]}
    told: dict[str, Any] = {"finally": [shell("last", "echo $DATAOPS_RUN_OUTCOME")]}
    room.start(
        shell("tidies", until_told("sleep 1; echo tidied up; exit 7"), retry=again),
        shell("after", "true", needs=["tidies"]),
        timeout="25s",
        **told,
    )


@begins(begin_late)
def test_a_step_of_a_run_out_of_time_can_still_be_read(room: Room) -> None:
    assert room.failed() == "the run took longer than its timeout of 25s; ended in the middle: tidies"
    run = room.ended()
    phases = {one["name"]: one["phase"] for one in run["status"]["steps"]}
    assert phases == {"tidies": "Failed", "after": "Skipped", "last": "Succeeded"}
    assert row(run, "tidies")["reason"] == "RunDeadlineExceeded"
    assert room.log("tidies") == "at work\ntidied up\n"
    assert room.log("last") == "Failed\n"
    assert sorted(room.jobs()) == [("last", 1), ("tidies", 1)], "and is not tried again"


def begin_immediate(room: Room) -> None:
    room.start(shell("only", DEAF), **LAST)
    uid = room.at_work("only")["metadata"]["uid"]
    began = time.monotonic()
    room.cancel("Immediate")
    until_gone(lambda: processes(uid, "/dataops/script"))
    room.notes["took"] = time.monotonic() - began


@begins(begin_immediate)
def test_an_immediate_cancel_kills_a_step_that_is_deaf_to_sigterm(room: Room) -> None:
    run = room.ended()
    assert run["status"]["phase"] == "Cancelled"
    assert {one["name"]: one["phase"] for one in run["status"]["steps"]} == {"only": "Cancelled", "last": "Skipped"}
    assert room.jobs() == [("only", 1)]
    assert room.notes["took"] < AT_MOST, "it got the time that a graceful end has"
