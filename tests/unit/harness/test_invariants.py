"""Each invariant's checker finds a history that breaks it, and leaves a sound one alone."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy

import orjson
import pytest
from tests.harness.api import Object
from tests.harness.history import Change, Cluster, History
from tests.harness.invariants import OUTLIVES, Held, check_all, nothing_outlives, unchanged
from tests.harness.kinds import (
    ATTEMPT,
    CLAIMS,
    ENVIRONMENT_UID,
    ENVIRONMENTS,
    JOBS,
    PIPELINES,
    PODS,
    RUN_UID,
    RUNS,
    SECRETS,
    STEP,
    Kind,
)

PIPELINE = {
    "metadata": {"name": "p", "uid": "pipeline", "resourceVersion": "1"},
    "spec": {
        "steps": [
            {"name": "a", "command": ["make"]},
            {"name": "b", "command": ["use", "$(steps.a.outputs.rows)"]},
        ]
    },
}


class World:
    """A namespace whose history is written by hand; each change takes the next version."""

    def __init__(self) -> None:
        self.history = History()
        self.live: dict[tuple[str, str], Object] = {(PIPELINES.name, "pipeline"): deepcopy(PIPELINE)}
        self._version = 10

    def change(self, kind: Kind, obj: Object, type_: str = "") -> Object:
        """Record a new state of an object, which is then what is there."""
        self._version += 1
        obj = deepcopy(obj)
        obj["metadata"] |= {"resourceVersion": str(self._version), "namespace": "ns"}
        key = (kind.name, obj["metadata"]["uid"])
        type_ = type_ or ("MODIFIED" if key in self.live else "ADDED")
        self.history.changes.append(Change(kind.name, type_, obj))
        if type_ == "DELETED":
            self.live.pop(key)
        else:
            self.live[key] = obj
        return obj

    def cluster(self) -> Cluster:
        """What is there."""
        found: dict[str, list[Object]] = {}
        for (kind, _), obj in self.live.items():
            found.setdefault(kind, []).append(obj)
        return Cluster(found)

    def run(self, phase: str, rows: list[Object], succeeded: str = "Unknown") -> None:
        """Set the run's status."""
        status = {
            "observedGeneration": 1,
            "phase": phase,
            "conditions": [{"type": "Succeeded", "status": succeeded}],
            "steps": rows,
        }
        meta = {"name": "r", "uid": "run", "generation": 1}
        self.change(RUNS, {"metadata": meta, "spec": {"pipeline": "p"}, "status": status})

    def job(self, step: str, attempt: int = 1, name: str = "", ended: str = "", owner: str = "run") -> None:
        """Create a Job, or change it."""
        name = name or f"r-{step}-{attempt}"
        conditions = [{"type": ended, "status": "True"}] if ended else []
        self.change(JOBS, _owned(name, step, attempt, owner, RUNS.name) | {"status": {"conditions": conditions}})

    def pod(self, step: str, phase: str, attempt: int = 1, **outputs: int) -> None:
        """Create a pod, or change it."""
        message = orjson.dumps({"outputs": outputs}).decode()
        state = {"terminated": {"exitCode": 0, "message": message}}
        status = {"phase": phase, "containerStatuses": [{"name": "x", "state": state}]}
        owner = f"r-{step}-{attempt}"
        self.change(PODS, _owned(f"{owner}-pod", step, attempt, owner, JOBS.name) | {"status": status})


def _owned(name: str, step: str, attempt: int, owner: str, kind: str) -> Object:
    labels = {RUN_UID: "run", STEP: step, ATTEMPT: str(attempt)}
    reference = {"kind": kind, "name": owner, "uid": owner, "controller": True}
    return {"metadata": {"name": name, "uid": name, "labels": labels, "ownerReferences": [reference]}}


def row(name: str, phase: str, attempt: int = 1, **outputs: int) -> Object:
    """A step's row in the status."""
    return {"name": name, "phase": phase, "attempt": attempt, "job": f"r-{name}-{attempt}", "outputs": outputs}


def sound() -> World:
    """A run of two steps that went well."""
    world = World()
    world.run("Pending", [])
    world.job("a")
    world.pod("a", "Pending")
    world.pod("a", "Succeeded", rows=7)
    world.job("b")
    world.pod("b", "Pending")
    world.run("Running", [row("a", "Succeeded", rows=7), row("b", "Running")])
    world.pod("b", "Succeeded")
    world.run("Succeeded", [row("a", "Succeeded", rows=7), row("b", "Succeeded")], "True")
    world.job("a", ended="Complete")
    world.job("b", ended="Complete")
    return world


def test_a_sound_history_has_no_violation() -> None:
    world = sound()
    assert check_all(world.history, world.cluster()) == []


def test_a_retried_step_has_no_violation() -> None:
    world = World()
    world.run("Pending", [])
    world.job("a")
    world.pod("a", "Failed")
    world.job("a", ended="Failed")
    world.job("a", attempt=2)
    world.pod("a", "Succeeded", attempt=2, rows=7)
    world.job("b")
    world.pod("b", "Succeeded")
    world.job("a", attempt=2, ended="Complete")
    world.job("b", ended="Complete")
    world.run("Succeeded", [row("a", "Succeeded", 2, rows=7), row("b", "Succeeded")], "True")
    assert check_all(world.history, world.cluster()) == []


def _second_job(world: World) -> None:
    world.job("a", name="other", ended="Complete")


def _second_job_after_the_first_was_deleted(world: World) -> None:
    world.change(JOBS, world.live[(JOBS.name, "r-a-1")], "DELETED")
    world.job("a", name="other", ended="Complete")


def _unlabelled_job(world: World) -> None:
    job = _owned("stray", "a", 1, "run", RUNS.name)
    del job["metadata"]["labels"][STEP]
    world.change(JOBS, job | {"status": {"conditions": [{"type": "Complete", "status": "True"}]}})


def _jobs_of_two_owners(world: World) -> None:
    world.job("a", name="foreign", owner="pipeline", ended="Complete")


def _terminal_state_left(world: World) -> None:
    done = [row("a", "Succeeded", rows=7), row("b", "Succeeded")]
    world.run("Running", done)
    world.run("Succeeded", done, "True")


def _verdict_turned(world: World) -> None:
    world.run("Failed", [row("a", "Succeeded", rows=7), row("b", "Failed")], "False")


def _never_ended(world: World) -> None:
    meta = {"name": "r2", "uid": "run2", "generation": 1}
    status = {"observedGeneration": 1, "phase": "Running"}
    world.change(RUNS, {"metadata": meta, "spec": {"pipeline": "p"}, "status": status})


def _orphan_secret(world: World) -> None:
    secret = _owned("s", "a", 1, "gone", RUNS.name)
    world.live[(SECRETS.name, "s")] = secret


def _secret_without_owner(world: World) -> None:
    secret = _owned("s", "a", 1, "run", RUNS.name)
    del secret["metadata"]["ownerReferences"]
    world.live[(SECRETS.name, "s")] = secret


def _active_job(world: World) -> None:
    world.job("b")


def _active_pod(world: World) -> None:
    world.pod("b", "Running")


def _wrong_output(world: World) -> None:
    world.run("Succeeded", [row("a", "Succeeded", rows=8), row("b", "Succeeded")], "True")


def _wrong_attempt(world: World) -> None:
    world.run("Succeeded", [row("a", "Succeeded", 2, rows=7), row("b", "Succeeded")], "True")


def _success_of_a_failed_pod(world: World) -> None:
    world.pod("b", "Failed")
    world.job("b", ended="Failed")


def _success_with_a_pending_step(world: World) -> None:
    world.run("Succeeded", [row("a", "Succeeded", rows=7), row("b", "Pending")], "True")


def _stale_generation(world: World) -> None:
    run = deepcopy(world.live[(RUNS.name, "run")])
    run["metadata"]["generation"] = 2
    world.change(RUNS, run)


@pytest.mark.parametrize(
    ("damage", "invariant", "words"),
    [
        (_second_job, "I1", "2 Jobs were created"),
        (_second_job_after_the_first_was_deleted, "I1", "2 Jobs were created"),
        (_unlabelled_job, "I1", "lacks the label"),
        (_jobs_of_two_owners, "I1", "owned by another"),
        (_terminal_state_left, "I2", "had ended as"),
        (_verdict_turned, "I2", "became ('False', 'Failed')"),
        (_never_ended, "I2", "run ns/r2 never ended"),
        (_orphan_secret, "I4", "its owner gone is gone"),
        (_secret_without_owner, "I4", "it has no owner"),
        (_active_job, "I4", "Job ns/r-b-1 is active"),
        (_active_pod, "I4", "Pod ns/r-b-1-pod is Running"),
        (_wrong_output, "I7", "output rows = 8"),
        (_wrong_attempt, "I7", "says attempt 2"),
        (_success_of_a_failed_pod, "I7", "step b is Succeeded, its pods are ['Failed']"),
        (_success_with_a_pending_step, "I7", "step b is Pending, its pods have ended"),
        (_stale_generation, "I7", "observedGeneration is 1, generation 2"),
    ],
)
def test_a_broken_history_is_found(damage: Callable[[World], None], invariant: str, words: str) -> None:
    world = sound()
    damage(world)
    found = check_all(world.history, world.cluster())
    assert any(one.invariant == invariant and words in one.message for one in found), found


def test_what_an_environment_made_belongs_to_it_while_it_is_there() -> None:
    world = sound()
    environment = world.change(ENVIRONMENTS, {"metadata": {"name": "prod", "uid": "environment"}})
    labels = {"app.kubernetes.io/managed-by": "dataops-operator", ENVIRONMENT_UID: "environment"}
    world.change(CLAIMS, {"metadata": {"name": "target-lake", "uid": "claim", "labels": labels}})
    assert check_all(world.history, world.cluster()) == []
    world.change(ENVIRONMENTS, environment, "DELETED")
    (found,) = check_all(world.history, world.cluster())
    assert str(found) == "I4: PersistentVolumeClaim ns/target-lake is left over: its owner environment is gone"


def test_a_step_that_starts_before_its_needs_is_found() -> None:
    world = World()
    world.run("Pending", [])
    world.job("a")
    world.pod("a", "Running")
    world.job("b")
    world.pod("a", "Succeeded", rows=7)
    found = check_all(world.history, world.cluster())
    assert "I3: Job ns/r-b-1 was created before step a had succeeded" in map(str, found)


def test_a_step_whose_need_failed_is_found() -> None:
    world = World()
    world.run("Pending", [])
    world.job("a")
    world.pod("a", "Failed")
    world.job("b")
    found = check_all(world.history, world.cluster())
    assert "I3: Job ns/r-b-1 was created before step a had succeeded" in map(str, found)


def test_a_run_that_failed_with_all_steps_well_is_found() -> None:
    world = World()
    world.run("Failed", [row("a", "Skipped")], "False")
    assert "it failed though every step succeeded" in str(check_all(world.history, world.cluster())[0])


def test_a_write_without_a_change_is_found() -> None:
    world = sound()
    before = world.cluster()
    assert unchanged(before, world.cluster()) == []
    world.change(RUNS, world.live[(RUNS.name, "run")])
    assert "PipelineRun/r was written to" in str(unchanged(before, world.cluster())[0])


ENDED = 1000.0
TTL = 30.0


def token(last: float, *, recorded: bool = True, run: str = "r") -> Held:
    return Held("t", run, lease=False, ttl=TTL, first=990, last=last, recorded=recorded)


def lease(last: float, *, recorded: bool = True) -> Held:
    return Held("database/creds/x/1", "r", lease=True, ttl=3600, first=991, last=last, recorded=recorded)


@pytest.mark.parametrize(
    "held",
    [
        pytest.param(token(999), id="a token that went before its run's end"),
        pytest.param(token(ENDED + OUTLIVES), id="a token that went at the bound"),
        pytest.param(lease(ENDED + OUTLIVES), id="a lease that went at the bound"),
        pytest.param(token(990 + TTL, recorded=False), id="a token of which nobody knew, gone with its ttl"),
    ],
)
def test_what_is_gone_within_the_bound_is_no_violation(held: Held) -> None:
    assert nothing_outlives([held], {"r": ENDED}) == []


@pytest.mark.parametrize(
    ("held", "words"),
    [
        (token(ENDED + OUTLIVES + 1), "token t of run r outlived it by 121 s, 120 are allowed"),
        (lease(ENDED + OUTLIVES + 1), "lease database/creds/x/1 of run r outlived it by 121 s"),
        (lease(ENDED + OUTLIVES + 1, recorded=False), "of run r outlived it"),
        (token(990 + TTL + 3, recorded=False), "is in no record and lived for 33 s, its ttl is 30"),
        (token(999, run="other"), "run never ended, or there is none"),
    ],
)
def test_what_outlives_its_run_is_found(held: Held, words: str) -> None:
    (found,) = nothing_outlives([held], {"r": ENDED})
    assert found.invariant == "I5"
    assert words in found.message


def test_a_tighter_bound_may_be_asked_for() -> None:
    assert nothing_outlives([token(ENDED + 20)], {"r": ENDED}, bound=10)
