"""Steps that share a pod, on a real node: the kubelet runs them one after the other, each by itself."""

from __future__ import annotations

import json
from typing import Any

from tests.e2e.room import Room, begins, row, shell

OUTPUT = """printf '{"outputs": {"attempt": %s}}' "$DATAOPS_ATTEMPT" > /dataops/result"""
ONCE = "echo try $DATAOPS_ATTEMPT; test ! -e /tmp/mine; test $DATAOPS_ATTEMPT -gt 1 || exit 3"
LAST: dict[str, Any] = {"finally": [shell("last", "echo $DATAOPS_RUN_OUTCOME")]}


def begin_chain(room: Room) -> None:
    room.start(
        shell("first", "echo from first > /dataops/workspace/said; touch /tmp/mine; echo $DATAOPS_STEP"),
        shell("second", ONCE, needs=["first"], retry={"limit": 1, "backoff": {"initial": "1s"}}),
        shell(
            "third",
            f"cat /dataops/workspace/said; {OUTPUT}",
            needs=["second"],
            outputs=[{"name": "attempt", "type": "Integer"}],
        ),
        workspace={"size": "10Mi"},
    )


@begins(begin_chain)
def test_a_chain_runs_in_one_pod_and_goes_on_behind_a_failure_where_it_was(room: Room) -> None:
    run = room.succeeded()
    pods = json.loads(room.kubectl("get", "pods", "-l", "dataops.dev/run=x", "-o", "json"))["items"]
    carried = {
        pod["metadata"]["labels"]["dataops.dev/step"]: [
            one["name"] for one in (*pod["spec"].get("initContainers", []), *pod["spec"]["containers"])
        ]
        for pod in pods
    }
    assert carried == {"first": ["first", "second", "third"], "second": ["second", "third"]}
    assert [row(run, step)["attempt"] for step in ("first", "second", "third")] == [1, 2, 1]
    assert row(run, "third")["outputs"] == {"attempt": 1}
    by_step = {pod["metadata"]["labels"]["dataops.dev/step"]: pod["metadata"]["name"] for pod in pods}

    def log(pod: str, container: str) -> str:
        return room.kubectl("logs", by_step[pod], "-c", container)

    assert log("first", "first") == "first\n"
    assert log("first", "second") == "try 1\n"
    assert log("second", "second") == "try 2\n"
    assert log("second", "third") == "from first\n"


def begin_cancelled(room: Room) -> None:
    room.start(
        shell("first", "echo first"),
        shell("second", "trap 'echo told to end; exit 0' TERM; echo at work; sleep 600 & wait", needs=["first"]),
        shell("third", "echo never", needs=["second"]),
        **LAST,
    )


@begins(begin_cancelled)
def test_a_cancelled_chain_gets_its_time_to_end_and_begins_nothing_more(room: Room) -> None:
    room.at_work("second", behind="first")
    room.kubectl("patch", "drun", "x", "--type=merge", "-p", '{"spec": {"cancel": "Graceful"}}')
    run = room.ended()
    assert [row(run, step)["phase"] for step in ("first", "second", "third", "last")] == [
        "Succeeded",
        "Cancelled",
        "Skipped",
        "Succeeded",
    ]
    assert room.log("last") == "Cancelled\n"
    assert logs(room, "first", "second") == ["first\n", "at work\ntold to end\n"]


def logs(room: Room, first: str, *others: str) -> list[str]:
    """What steps printed that share the one pod of the first of them."""
    (pod,) = room.pods(first)
    return [room.kubectl("logs", pod["metadata"]["name"], "-c", step) for step in (first, *others)]


def begin_overdue(room: Room) -> None:
    room.start(
        shell("first", "echo first"),
        shell("second", "trap 'echo told to end; exit 9' TERM; sleep 600 & wait", needs=["first"], timeout="5s"),
        shell("third", "echo never", needs=["second"]),
        fuse="Auto",
    )


@begins(begin_overdue)
def test_a_step_beyond_its_timeout_takes_no_log_along(room: Room) -> None:
    assert room.failed().startswith("step second: ran longer than its timeout of 5s")
    assert row(room.ended(), "second")["reason"] == "DeadlineExceeded"
    assert logs(room, "first", "second") == ["first\n", "told to end\n"]
    assert room.jobs() == [("first", 1)]


def begin_beside(room: Room) -> None:
    room.start(
        shell("bad", "sleep 2; exit 3"),
        shell("first", "sleep 8; echo first"),
        shell("second", "echo second", needs=["first"]),
        fuse="Auto",
    )


@begins(begin_beside)
def test_in_a_run_that_fails_elsewhere_the_next_step_of_a_pod_does_not_begin(room: Room) -> None:
    assert room.failed().startswith("step bad: exit code 3")
    run = room.ended()
    assert {one["name"]: one["phase"] for one in run["status"]["steps"]} == {
        "bad": "Failed",
        "first": "Succeeded",
        "second": "Skipped",
    }
    (pod,) = room.pods("first")
    (second,) = pod["status"]["containerStatuses"]
    assert "startedAt" not in second["state"].get("terminated", {}), "it never began"
    assert logs(room, "first") == ["first\n"]
