"""The node is drained, falls silent or dies in the middle of runs, and comes back: they end right all the same."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

import pytest
from tests.e2e.machine import Machine
from tests.e2e.replicas import Replicas, processes
from tests.e2e.room import Room, row, shell, until_gone
from tests.harness.api import Object

DISTURBS = 3
N = [{"name": "n", "type": "Integer"}]
TELL = """echo "{\\"outputs\\": {\\"n\\": $DATAOPS_ATTEMPT}}" > /dataops/result"""
WORK = "trap 'exit 143' TERM; sleep 600 & wait"
AT_ONCE = {"backoff": {"initial": "1s"}}


def chain(work: str, **fields: Any) -> list[dict[str, Any]]:
    """Three steps, of which the middle one is at work when it happens, and tells which attempt it was."""
    return [
        shell("before", "true"),
        shell("middle", f"echo at work; {work}; {TELL}", needs=["before"], outputs=N, **fields),
        shell("after", "echo after $N", env=[{"name": "N", "value": "$(steps.middle.outputs.n)"}]),
    ]


def once(work: str) -> str:
    """A script of which the first attempt alone has work to do."""
    return f'if [ "$DATAOPS_ATTEMPT" = 1 ]; then {work}; fi'


def at_work(pod: Object) -> list[int]:
    """The processes of a pod's script."""
    return processes(pod["metadata"]["uid"], "/dataops/script")


def assert_went_on(room: Room, run: str, attempts: int) -> None:
    """The chain succeeded with so many attempts at its middle one, and everything else was done once."""
    found = room.succeeded(run)
    middle = row(found, "middle")
    assert (middle["attempt"], middle.get("disruptions", 0)) == (attempts, attempts - 1)
    assert room.log("after", run) == f"after {attempts}\n"
    tries = [("middle", attempt) for attempt in range(1, attempts + 1)]
    assert room.jobs(run) == [("before", 1), *tries, ("after", 1)]


def test_a_run_waits_for_its_drained_node_and_goes_on_when_it_is_back(room: Room) -> None:
    room.start(*chain(once(WORK), retry=AT_ONCE), fuse="Never")
    pod = room.at_work("middle")
    name = pod["spec"]["nodeName"]
    mine = f"--pod-selector=dataops.dev/run-uid={pod['metadata']['labels']['dataops.dev/run-uid']}"
    try:
        room.site.kubectl("drain", name, mine, "--delete-emptydir-data", "--grace-period=1", "--timeout=60s")
        waiting = room.until("x", lambda run: said(run) == "Unschedulable")
        assert "unschedulable" in waiting["status"]["waitingFor"][0]["message"]
    finally:
        room.site.kubectl("uncordon", name)
    assert_went_on(room, "x", attempts=2)


def said(run: Object) -> str:
    """What the run waits for first."""
    waiting = run["status"].get("waitingFor")
    return str(waiting[0]["reason"]) if waiting else ""


def test_what_ends_while_the_kubelet_is_away_is_told_when_it_is_back(room: Room) -> None:
    machine = Machine()
    room.start(*chain("sleep 3"), fuse="Never")
    pod = room.at_work("middle")
    machine.stop_kubelet()
    try:
        until_gone(lambda: at_work(pod))
        late = room.start(shell("only", "true"), name="late")
        back = datetime.now(UTC)
    finally:
        machine.start()
    assert_went_on(room, "x", attempts=1)
    assert datetime.fromisoformat(row(room.ended(), "middle")["finishedAt"]) <= back
    room.succeeded(late)
    assert room.jobs(late) == [("only", 1)]


def test_a_pod_deleted_by_force_on_a_silent_node_has_no_other_beside_it(room: Room) -> None:
    machine = Machine()
    room.start(*chain(once(WORK), retry=AT_ONCE), fuse="Never")
    pod = room.at_work("middle")
    machine.stop_kubelet()
    try:
        room.kubectl("delete", "pod", pod["metadata"]["name"], "--force", "--grace-period=0", "--wait=false")
        time.sleep(3)
        assert room.jobs() == [("before", 1), ("middle", 1)]
        assert at_work(pod), "nobody is there to end it, so nothing may begin beside it"
    finally:
        machine.start()
    assert_went_on(room, "x", attempts=2)
    assert not at_work(pod)


def test_a_cancelled_run_ends_though_its_node_is_silent(room: Room) -> None:
    machine = Machine()
    room.start(*chain(WORK), fuse="Never")
    pod = room.at_work("middle")
    machine.stop_kubelet()
    try:
        began = time.monotonic()
        room.cancel()
        assert room.ended()["status"]["phase"] == "Cancelled"
        assert 50 < time.monotonic() - began < 90, "a minute, and no longer"
        assert at_work(pod), "nobody is there to end it"
    finally:
        machine.start()
    until_gone(lambda: at_work(pod))
    assert room.jobs() == [("before", 1), ("middle", 1)]


@pytest.mark.crashes
def test_a_machine_that_dies_with_the_operator_on_it_costs_what_was_at_work_one_attempt(
    room: Room, replicas: Replicas
) -> None:
    machine = Machine()
    room.start(*chain(once(WORK), retry=AT_ONCE), fuse="Never")
    room.start(*chain(once(WORK), retry={"infrastructure": 0}), name="once", fuse="Never")
    room.start(
        shell("first", "echo first"),
        shell("second", f"echo at work; {once(WORK)}", needs=["first"], retry=AT_ONCE),
        shell("third", "echo third", needs=["second"]),
        name="shared",
    )
    pods = [room.at_work("middle"), room.at_work("middle", "once"), room.at_work("second", "shared", behind="first")]
    machine.crash()
    try:
        assert not [one for pod in pods for one in at_work(pod)]
    finally:
        machine.start()
    assert_went_on(room, "x", attempts=2)
    assert room.failed("once") == "step middle: its node died or started anew while it ran (Unknown)"
    assert room.jobs("once") == [("before", 1), ("middle", 1)]
    shared = room.succeeded("shared")
    assert [row(shared, step)["attempt"] for step in ("first", "second", "third")] == [1, 2, 1]
    assert row(shared, "second")["disruptions"] == 1
    assert room.jobs("shared") == [("first", 1), ("second", 2)]
    replicas.scale(2)
