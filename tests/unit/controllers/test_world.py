"""What a change in the caches means for the queue and the metrics."""

from __future__ import annotations

from typing import Any, cast

import pytest

from dataops_operator.controllers.admission import Admission
from dataops_operator.controllers.tenancy import PARTS, Home, Tenancy
from dataops_operator.controllers.world import Key, Settings, World
from dataops_operator.kube.queue import WorkQueue
from dataops_operator.metrics.registry import Metrics

Object = dict[str, Any]
VERSIONS = iter(range(1, 100_000))


class Queue(WorkQueue[Key]):
    """Remembers what was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[Key] = []

    def add(self, key: Key) -> None:
        self.asked.append(key)

    def add_after(self, key: Key, seconds: float) -> None:
        """Later is not now."""

    def taken(self, kind: str = "PipelineRun") -> list[str]:
        """The names asked for since the last call."""
        found = [key.name for key in dict.fromkeys(self.asked) if key.kind == kind]
        self.asked.clear()
        return found


@pytest.fixture
def world() -> World:
    nobody = cast(Any, None)
    return World(nobody, Settings(), Metrics(), nobody, Queue())


def queue(world: World) -> Queue:
    return cast(Queue, world.queue)


def run(name: str, *, at: int = 0, **status: Any) -> Object:
    meta = {
        "name": name,
        "namespace": "team",
        "uid": f"uid-{name}",
        "generation": 1,
        "resourceVersion": str(next(VERSIONS)),
        "creationTimestamp": f"2026-01-05T06:00:{at:02d}Z",
    }
    return {"metadata": meta, "spec": {"pipeline": "p"}, "status": status}


def waits(reason: str) -> Object:
    return {"phase": "Waiting", "waitingFor": [{"reason": reason}]}


def ended() -> Object:
    return {"phase": "Succeeded", "conditions": [{"type": "Succeeded", "status": "True", "reason": "Succeeded"}]}


def put(world: World, one: Object) -> None:
    change = world.runs.put(one)
    assert change is not None
    world.run_changed(*change)


def environment(**spec: Any) -> Object:
    conditions = [{"type": str(part), "status": "True", "reason": "Provisioned", "message": ""} for part in PARTS]
    meta = {
        "name": "prod",
        "namespace": "team",
        "uid": "uid-prod",
        "generation": next(VERSIONS),
        "resourceVersion": str(next(VERSIONS)),
        "creationTimestamp": "2026-01-05T06:00:00Z",
    }
    return {"metadata": meta, "spec": spec, "status": {"namespace": "team", "conditions": conditions}}


def settle(world: World, **spec: Any) -> None:
    change = world.environments.put(environment(**spec))
    assert change is not None
    world.environment_changed(*change)


def home(world: World) -> Home:
    found = Tenancy(world).of("team")
    assert isinstance(found, Home)
    return found


def test_a_run_is_counted_under_its_environment_once_it_says_so(world: World) -> None:
    put(world, run("r"))
    put(world, run("r", phase="Running", environment="team/prod", revision="p-1"))
    put(world, run("r", environment="team/prod", **ended()))
    put(world, run("s", phase="Running", revision="p-1"))
    (family,) = world.metrics.runs.collect()
    counted = {tuple(sample.labels.values()): sample.value for sample in family.samples}
    assert counted == {("p", "team/prod", "Succeeded"): 1, ("p", "team", "Running"): 1}


def test_the_end_of_a_run_wakes_the_next_in_line_in_their_order(world: World) -> None:
    put(world, run("active", phase="Running", revision="p-1"))
    for number in range(12):
        put(world, run(f"r{number:02d}", at=number, **waits("RunQuota")))
    put(world, run("other", **waits("PipelineNotFound")))
    queue(world).taken()
    put(world, run("active", **ended()))
    assert queue(world).taken() == ["active", *(f"r{number:02d}" for number in range(8))]


def test_what_runs_do_on_their_way_wakes_nobody(world: World) -> None:
    put(world, run("active", phase="Running", revision="p-1"))
    put(world, run("first", **waits("RunQuota")))
    queue(world).taken()
    put(world, run("active", phase="Running", revision="p-1", progress="1/2"))
    assert queue(world).taken() == ["active"]


@pytest.mark.parametrize(
    ("name", "woken"),
    [("fresh", True), ("waits", True), ("stuck", True), ("runs", False), ("over", False)],
)
def test_a_change_of_the_environment_wakes_the_runs_that_it_may_concern(world: World, name: str, woken: bool) -> None:
    settle(world, freeze=True)
    put(world, run("fresh"))
    put(world, run("waits", **waits("Frozen")))
    put(world, run("stuck", phase="Waiting", revision="p-1"))
    put(world, run("runs", phase="Running", revision="p-1"))
    put(world, run("over", **ended()))
    queue(world).taken()
    settle(world)
    assert (name in queue(world).taken()) is woken


def test_an_environment_that_only_counts_its_runs_anew_wakes_nobody(world: World) -> None:
    settle(world)
    put(world, run("fresh"))
    queue(world).taken()
    (held,) = world.environments
    meta = held["metadata"] | {"resourceVersion": str(next(VERSIONS))}
    change = world.environments.put({**held, "metadata": meta, "status": {**held["status"], "activeRuns": 1}})
    assert change is not None
    world.environment_changed(*change)
    assert queue(world).taken() == []


# Places, among reconciles that go on side by side.


def test_of_runs_that_ask_at_once_no_more_are_let_in_than_there_are_places(world: World) -> None:
    settle(world, quota={"runs": 2})
    admission = Admission(world, Tenancy(world))
    runs = [run(f"r{number}") for number in range(5)]
    for one in runs:
        put(world, one)
    places = [admission.wait(one, home(world), 0) for one in runs]
    assert [None if wait is None else (wait.position, wait.holder) for wait in places] == [
        None,
        None,
        (1, "r0"),
        (2, "r0"),
        (3, "r0"),
    ]
    assert admission.wait(runs[0], home(world), 0) is None, "who was let in stays in"


def test_a_run_by_whose_job_it_has_begun_counts_after_a_restart(world: World) -> None:
    settle(world, quota={"runs": 1})
    put(world, run("late", at=9))
    put(world, run("early"))
    world.jobs.put(job("late"))
    admission = Admission(world, Tenancy(world))
    wait = admission.wait(run("early"), home(world), 0)
    assert wait is not None
    assert wait.holder == "late"
    assert admission.wait(run("late", at=9), home(world), 0) is None


def job(owner: str, name: str = "j") -> Object:
    meta = {
        "name": name,
        "namespace": "team",
        "uid": f"uid-{name}",
        "resourceVersion": str(next(VERSIONS)),
        "labels": {"dataops.dev/run": owner, "dataops.dev/run-uid": f"uid-{owner}"},
        "ownerReferences": [{"uid": f"uid-{owner}", "controller": True}],
    }
    return {"metadata": meta, "status": {}}


def test_jobs_that_are_about_to_be_created_take_their_places_at_once(world: World) -> None:
    settle(world, quota={"jobs": 3})
    mine, other = run("mine"), run("other")
    put(world, mine)
    put(world, other)
    world.jobs.put(job("other"))
    admission = Admission(world, Tenancy(world))
    assert admission.room(mine) == 2
    with admission.creating(mine, 2):
        assert admission.room(other) == 0
        admission.line_up(other, waits=True)
        queue(world).taken()
    assert queue(world).taken() == ["other"], "whoever was told no meanwhile looks again"
    assert admission.room(other) == 2


def test_who_stands_in_line_for_jobs_comes_before_who_does_not(world: World) -> None:
    settle(world, quota={"jobs": 1})
    first, second = run("first"), run("second")
    put(world, first)
    put(world, second)
    admission = Admission(world, Tenancy(world))
    admission.line_up(first, waits=True)
    assert (admission.room(first), admission.room(second)) == (1, 0)
    admission.line_up(second, waits=True)
    queue(world).taken()
    admission.line_up(first, waits=False)
    assert queue(world).taken() == ["second"]
    assert admission.room(second) == 1


@pytest.mark.parametrize("gone", [True, False], ids=["it is deleted", "it ends"])
def test_a_run_that_is_over_leaves_the_line_for_jobs(world: World, gone: bool) -> None:
    settle(world, quota={"jobs": 1})
    first, second = run("first", revision="p-1"), run("second", revision="p-1")
    put(world, first)
    put(world, second)
    admission = Admission(world, Tenancy(world))
    admission.line_up(first, waits=True)
    admission.line_up(second, waits=True)
    queue(world).taken()
    if gone:
        world.run_changed(world.runs.take(first), None)
    else:
        put(world, run("first", **ended()))
    assert "second" in queue(world).taken()
    assert admission.room(second) == 1


def test_nothing_bounds_runs_of_no_environment(world: World) -> None:
    put(world, run("r"))
    assert Admission(world, Tenancy(world)).room(run("r")) is None
