"""The operator dies, in every way it can, in the middle of runs: they end right, and each attempt had one Job."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from tests.e2e.observer import Observer
from tests.e2e.replicas import Replicas
from tests.e2e.room import Room, row, shell
from tests.e2e.site import RELEASE, SYSTEM
from tests.harness.kinds import LEASES

DISTURBS = 1
RUNS = ("a", "b")
STEPS = ("s1", "s2", "s3", "s4", "s5")
COUNT = """sleep 1; echo "{\\"outputs\\": {\\"n\\": $((BEFORE + 1))}}" > /dataops/result"""
HANDED_OVER_WITHIN = 5.0


def chain() -> list[dict[str, Any]]:
    """Five steps, each adding one to what the one before told."""
    befores = ["0", *(f"$(steps.{step}.outputs.n)" for step in STEPS)]
    outputs = [{"name": "n", "type": "Integer"}]
    return [
        shell(step, COUNT, env=[{"name": "BEFORE", "value": before}], outputs=outputs)
        for step, before in zip(STEPS, befores, strict=False)
    ]


def begin(room: Room) -> None:
    """Start runs of the chain, and come back when they are in its middle."""
    room.define("chain", chain())
    for run in RUNS:
        room.launch("chain", run)
    for run in RUNS:
        room.until(run, lambda seen: bool(seen.get("status", {}).get("steps")) and "job" in row(seen, "s2"))


def ended_right(room: Room) -> None:
    """Every step ran once, in order, and counted on."""
    for name in RUNS:
        run = room.succeeded(name)
        assert row(run, "s5")["outputs"] == {"n": 5}
        assert room.jobs(name) == [(step, 1) for step in STEPS], "a death of the operator costs no attempt"
        assert [reason for _, reason, _ in room.events(name, last="Succeeded")] == ["Started", "Succeeded"]


def test_a_single_replica_that_is_killed_starts_again_and_goes_on(room: Room, replicas: Replicas) -> None:
    replicas.scale(1)
    try:
        begin(room)
        pod = replicas.leader()
        before = replicas.restarts(pod)
        assert replicas.kill(pod) == 1, "one process of the operator is on this machine"
        ended_right(room)
        assert replicas.restarts(pod) == before + 1, "the same pod with a new container"
    finally:
        replicas.scale(2)


def test_when_the_leader_dies_again_and_again_the_standby_takes_over(room: Room, replicas: Replicas) -> None:
    begin(room)
    replicas.keep_killing(replicas.leader())
    ended_right(room)


def test_when_the_leaders_pod_is_deleted_by_force_another_takes_over(room: Room, replicas: Replicas) -> None:
    begin(room)
    before = replicas.leader()
    room.site.kubectl("delete", "pod", before, "-n", SYSTEM, "--grace-period=0", "--force")
    replicas.leader(other_than=before)
    ended_right(room)
    replicas.scale(2)


def test_a_rolling_restart_hands_the_lease_over_at_once(room: Room, replicas: Replicas, observer: Observer) -> None:
    with observer.follow(LEASES, SYSTEM) as changes:
        begin(room)
        before = replicas.leader()
        room.site.kubectl("rollout", "restart", f"deployment/{RELEASE}", "-n", SYSTEM)
        room.site.kubectl("rollout", "status", f"deployment/{RELEASE}", "-n", SYSTEM, "--timeout=180s", within=200)
        replicas.leader(other_than=before)
        ended_right(room)
    leases = [one.obj["spec"] for one in changes if one.obj["metadata"]["name"] == RELEASE]
    gaps = handed_over(leases)
    assert gaps, "the Lease was never released"
    assert max(gaps) < HANDED_OVER_WITHIN, f"seconds between two leaders: {gaps}"


def handed_over(leases: list[dict[str, Any]]) -> list[float]:
    """Seconds from each release of a Lease to the next leader's taking it."""
    gaps = []
    released: datetime | None = None
    for lease in leases:
        if not lease.get("holderIdentity"):
            released = datetime.fromisoformat(lease["renewTime"])
        elif released is not None:
            gaps.append((datetime.fromisoformat(lease["acquireTime"]) - released).total_seconds())
            released = None
    return gaps
