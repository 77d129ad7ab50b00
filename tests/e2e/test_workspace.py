"""What a run has while it lives, and what is left of it when it is deleted."""

from __future__ import annotations

from tests.e2e.room import Room, begins, row, shell, until_gone

WRITES = "echo 12 > /dataops/workspace/rows; id -u > /dataops/workspace/writer"
READS = "cat /dataops/workspace/rows /dataops/workspace/writer; echo more >> /dataops/workspace/rows"
KEPT_OUT = "test ! -e /dataops/workspace && echo nothing here"


def begin_shared(room: Room) -> None:
    steps = (
        shell("write", WRITES),
        shell("read", READS, needs=["write"]),
        shell("kept-out", KEPT_OUT, needs=["read"], workspace="None"),
    )
    room.define("shared", steps, workspace={"size": "10Mi"})
    room.launch("shared", "x")
    room.launch("shared", "other")


@begins(begin_shared)
def test_a_workspace_is_shared_by_the_steps_of_one_run_and_goes_with_it(room: Room) -> None:
    for run in ("x", "other"):
        room.succeeded(run)
        assert room.log("read", run) == "12\n65532\n", "each run has a claim of its own"
        assert room.log("kept-out", run) == "nothing here\n"
        assert [step for step, _ in room.jobs(run)] == ["write", "kept-out"], "a pod without the workspace"
    names = room.claims()
    assert len(names) == 2
    room.kubectl("delete", "drun", "x")
    until_gone(lambda: [name for name in room.claims() if name.startswith("x-")])
    assert len(room.claims()) == 1, "the other run keeps its own"


def begin_existing(room: Room) -> None:
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "mine", "namespace": room.namespace, "labels": {"dataops.dev/allow-runs": "true"}},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "10Mi"}}},
    }
    room.apply(claim)
    room.start(shell("write", WRITES), workspace={"claim": "mine"})


@begins(begin_existing)
def test_a_claim_of_the_user_outlives_the_run(room: Room) -> None:
    room.succeeded()
    room.kubectl("delete", "drun", "x")
    room.define("again", [shell("read", READS)], workspace={"claim": "mine"})
    room.launch("again")
    room.succeeded("again")
    assert room.log("read", "again").startswith("12\n")
    assert room.claims() == ["mine"]


def begin_deleted(room: Room) -> None:
    room.start(shell("first", "true"), shell("long", "sleep 600", needs=["first"]), workspace={"size": "10Mi"})


@begins(begin_deleted)
def test_deleting_a_run_in_the_middle_takes_its_jobs_pods_and_claim_along(room: Room) -> None:
    room.until("x", lambda run: bool(run.get("status", {}).get("steps")) and row(run, "long")["phase"] == "Running")
    room.kubectl("delete", "drun", "x")
    until_gone(lambda: room.kubectl("get", "jobs,pods,pvc", "-o", "name").split())
    assert room.jobs() == [("first", 1)], "one pod for both, and nothing began after the deletion"
