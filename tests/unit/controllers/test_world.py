"""What a change in the caches means for the queue and the metrics."""

from __future__ import annotations

import time
from typing import Any, cast

import pytest
from tests.harness.faketime import FakeTime

from dataops_operator.controllers.admission import Admission
from dataops_operator.controllers.indices import RERUN_OF
from dataops_operator.controllers.keys import Key
from dataops_operator.controllers.lines import LAST_BREATH
from dataops_operator.controllers.pace import LATEST
from dataops_operator.controllers.run import PATIENCE, RunController
from dataops_operator.controllers.tenancy import PARTS, Home, Tenancy
from dataops_operator.controllers.world import SETTLE, Settings, World
from dataops_operator.core.accept import Refused
from dataops_operator.core.concurrency import UNBOUND, Bound
from dataops_operator.core.times import to_rfc3339
from dataops_operator.kube.queue import WorkQueue
from dataops_operator.metrics.registry import Metrics

Object = dict[str, Any]
VERSIONS = iter(range(1, 100_000))


class Queue(WorkQueue[Key]):
    """Remembers what was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[Key] = []
        self.later: list[Key] = []
        self.seconds: list[float] = []

    def add(self, key: Key) -> None:
        self.asked.append(key)

    def add_after(self, key: Key, seconds: float) -> None:
        """Later is not now."""
        self.later.append(key)
        self.seconds.append(seconds)

    def taken(self, kind: str = "PipelineRun") -> list[str]:
        """The names asked for since the last call."""
        found = [key.name for key in dict.fromkeys(self.asked) if key.kind == kind]
        self.asked.clear()
        return found


@pytest.fixture
def world() -> World:
    nobody = cast(Any, None)
    return World(nobody, Settings(), Metrics(), nobody, Queue(), Queue())


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


def test_the_end_of_a_run_wakes_the_one_whose_turn_has_come_and_no_other(world: World) -> None:
    settle(world, quota={"runs": 1})
    put(world, run("active", phase="Running", revision="p-1"))
    for number in (2, 0, 1):
        put(world, run(f"r{number}", at=number, **waits("RunQuota")))
    put(world, run("other", **waits("PipelineNotFound")))
    assert let_in(Admission(world, Tenancy(world)), world, run("r2", at=2)) == (3, "active")
    queue(world).taken()
    put(world, run("active", **ended()))
    assert queue(world).taken() == ["r0", "active"]


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


def test_an_edit_of_a_pipeline_wakes_those_that_wait_for_it_and_of_those_in_line_the_ones_whose_turn_it_makes(
    world: World,
) -> None:
    bounds = {"limit": 1}
    world.lines.bound_of = lambda _run: Bound(bounds["limit"])
    put(world, run("active", phase="Running", revision="p-1"))
    put(world, run("stuck", **waits("PipelineNotFound")))
    for number in range(40):
        put(world, run(f"r{number:02d}", at=number, **waits("ConcurrencyLimit")))
    queue(world).taken()
    meta = {"name": "p", "namespace": "team", "uid": "uid-p", "generation": 1, "resourceVersion": "1"}
    world.pipeline_changed(None, {"metadata": meta, "spec": {}, "status": {}})
    assert queue(world).taken() == ["stuck"]
    bounds["limit"] = 3
    world.pipeline_changed({"metadata": meta}, {"metadata": {**meta, "generation": 2}})
    assert sorted(queue(world).taken()) == ["r00", "r01", "stuck"]


# Places, among reconciles that go on side by side.


def let_in(admission: Admission, world: World, one: Object, bound: Bound = UNBOUND) -> tuple[Any, Any] | None:
    """Place and holder of a run that waits; None where it was let in."""
    found = admission.let_in(one, home(world), bound, 0)
    assert not isinstance(found, Refused)
    return None if found is None else (found.position, found.holder)


def test_of_runs_that_ask_at_once_no_more_are_let_in_than_there_are_places(world: World) -> None:
    settle(world, quota={"runs": 2})
    admission = Admission(world, Tenancy(world))
    runs = [run(f"r{number}") for number in range(5)]
    for one in runs:
        put(world, one)
    places = [let_in(admission, world, one) for one in runs]
    assert places == [None, None, (1, "r0"), (2, "r0"), (3, "r0")]
    assert let_in(admission, world, runs[0]) is None, "who was let in stays in"
    world.lines.withdraw(runs[0], ready=True)
    assert let_in(admission, world, runs[2]) == (1, "r1"), "a place is free, for the one before it"
    assert let_in(admission, world, runs[0]) is None


def test_a_run_by_whose_job_it_has_begun_counts_after_a_restart(world: World) -> None:
    settle(world, quota={"runs": 1})
    put(world, run("late", at=9))
    put(world, run("early"))
    put_child(world, job("late"))
    admission = Admission(world, Tenancy(world))
    assert let_in(admission, world, run("early")) == (1, "late")
    assert let_in(admission, world, run("late", at=9)) is None


def job(owner: str, name: str = "j") -> Object:
    meta = {
        "name": name,
        "namespace": "team",
        "uid": f"uid-{name}",
        "resourceVersion": str(next(VERSIONS)),
        "creationTimestamp": "2026-01-05T06:00:01Z",
        "labels": {
            "dataops.dev/pipeline": "p",
            "dataops.dev/run": owner,
            "dataops.dev/run-uid": f"uid-{owner}",
        },
        "ownerReferences": [{"uid": f"uid-{owner}", "controller": True}],
    }
    return {"metadata": meta, "status": {}}


def pod(owner: str, phase: str = "Running", **meta: Any) -> Object:
    made = job(owner, f"{owner}-pod")
    made["metadata"] |= meta
    return {**made, "spec": {}, "status": {"phase": phase}}


def put_child(world: World, child: Object) -> None:
    store = world.jobs if "phase" not in child["status"] else world.pods
    change = store.put(child)
    if change is not None:
        world.child_changed(*change)


# A place is free when its holder's last pod has ended: two that must not run at once do not.


ONE = Bound(1)


def holds(world: World) -> bool:
    """Whether somebody holds the pipeline's one place."""
    return let_in(Admission(world, Tenancy(world)), world, run("mine", at=30), ONE) is not None


@pytest.mark.parametrize("how", ["gone", "going"])
def test_a_run_that_is_deleted_while_it_is_being_accepted_takes_no_place(world: World, how: str) -> None:
    settle(world, quota={"jobs": 1})
    admission, late, other = Admission(world, Tenancy(world)), run("late"), run("other", at=1)
    put(world, late)
    if how == "gone":
        delete(world, "late")
    else:
        put(world, {**late, "metadata": {**run("late")["metadata"], "deletionTimestamp": "2026-01-05T06:01:00Z"}})
    assert let_in(admission, world, late, ONE) == (None, None), "it has nothing to wait for, and does not begin"
    admission.line_up(late, waits=True)
    put(world, other)
    assert (let_in(admission, world, other, ONE), admission.room(other)) == (None, 1)


def test_a_run_that_is_suspended_before_it_begins_holds_up_nobody(world: World) -> None:
    settle(world)
    admission, first, second = Admission(world, Tenancy(world)), run("first"), run("second", at=1)
    for one in (first, second):
        put(world, one)
    put(world, run("first", **waits("Suspended")))
    assert let_in(admission, world, second, ONE) is None


async def test_a_run_that_fails_again_and_again_lets_others_go_first_each_time(world: World) -> None:
    settle(world, quota={"jobs": 1})
    nobody, admission, key = cast(Any, None), Admission(world, Tenancy(world)), Key("PipelineRun", "team", "stuck")
    runs = RunController(world, nobody, nobody, nobody)
    world.lines.bound_of = lambda _run: ONE
    stuck, other = run("stuck"), run("other", at=1)
    put(world, stuck)
    assert let_in(admission, world, stuck, ONE) is None
    put(world, other)
    admission.line_up(stuck, waits=True)
    for _ in range(PATIENCE - 1):
        queue(world).retry(key)
        await runs.failed(key, OSError("no"))
    assert (let_in(admission, world, other, ONE), admission.room(other)) == ((1, "stuck"), 0), "it may pass"
    put(world, run("stuck", **waits("OperatorError")))
    for _ in range(2):
        queue(world).retry(key)
        assert let_in(admission, world, stuck, ONE) is None, "the next try"
        admission.line_up(stuck, waits=True)
    queue(world).taken()
    await runs.failed(key, OSError("no"))
    assert "stuck" not in queue(world).taken(), "it has a time of its own to be tried again"
    assert (let_in(admission, world, other, ONE), admission.room(other)) == (None, 1)


@pytest.fixture
def held(world: World) -> World:
    settle(world)
    put(world, run("active", phase="Running", revision="p-1"))
    put_child(world, pod("active"))
    put(world, run("mine", at=30))
    assert holds(world)
    return world


def delete(world: World, name: str) -> None:
    world.run_changed(world.runs.take(run(name)), None)


@pytest.mark.parametrize("gone", [True, False], ids=["deleted", "ended"])
def test_a_run_that_is_over_holds_its_place_until_its_pod_has_ended(held: World, gone: bool) -> None:
    delete(held, "active") if gone else put(held, run("active", **ended()))
    assert holds(held)
    queue(held).taken()
    put_child(held, pod("active", "Failed"))
    assert queue(held).taken()[0] == "mine"
    assert not holds(held)


def test_a_run_that_is_deleted_holds_its_place_until_its_pod_is_gone(held: World) -> None:
    delete(held, "active")
    queue(held).taken()
    held.child_changed(held.pods.take(pod("active")), None)
    assert "mine" in queue(held).taken()
    assert not holds(held)


def test_a_run_that_is_back_holds_its_place_for_as_long_as_it_lives(held: World) -> None:
    def refused() -> bool:
        found = Admission(held, Tenancy(held)).let_in(run("mine", at=30), home(held), Bound(1, refuse=True), 0)
        return isinstance(found, Refused)

    assert refused()
    put(held, run("active", **ended()))
    assert not refused(), "its place is free at any moment"
    put(held, run("active"))
    assert refused(), "somebody has cleared its status by hand"


def test_a_run_without_pods_frees_its_place_at_once(held: World) -> None:
    put_child(held, pod("active", "Succeeded"))
    queue(held).taken()
    delete(held, "active")
    assert "mine" in queue(held).taken()
    assert not holds(held)


@pytest.mark.parametrize(("ago", "expected"), [(LAST_BREATH - 10, True), (LAST_BREATH + 10, False)])
def test_a_pod_whose_node_is_dead_holds_a_place_no_longer_than_its_grace(
    held: World, ago: float, expected: bool
) -> None:
    delete(held, "active")
    put_child(held, pod("active", deletionTimestamp=to_rfc3339(time.time() - ago)))
    assert holds(held) is expected


def test_a_pod_that_outlives_its_run_holds_its_place_after_a_restart(world: World) -> None:
    settle(world)
    put(world, run("mine", at=30))
    put_child(world, pod("gone-meanwhile"))
    assert let_in(Admission(world, Tenancy(world)), world, run("mine", at=30), ONE) == (1, "gone-meanwhile")
    put_child(world, pod("gone-meanwhile", "Succeeded"))
    assert not holds(world)


def test_a_pod_seen_before_its_run_is_the_runs(world: World) -> None:
    """The two come by watches of their own."""
    settle(world)
    put_child(world, pod("active"))
    put(world, run("active", phase="Running", revision="p-1", concurrencyKey="x"))
    put(world, run("mine", at=30))
    admission = Admission(world, Tenancy(world))
    assert let_in(admission, world, run("mine", at=30), Bound(1, "x")) == (1, "active")
    put_child(world, pod("active", "Succeeded"))
    assert let_in(admission, world, run("mine", at=30), Bound(1, "x")) == (1, "active"), "the run goes on"
    assert let_in(admission, world, run("mine", at=30), Bound(1, "y")) is None, "its key is known by now"


def test_a_forged_pod_without_an_owner_holds_nothing(world: World) -> None:
    settle(world)
    put(world, run("mine", at=30))
    put_child(world, pod("nobody", ownerReferences=[]))
    assert not holds(world)


def test_what_many_runs_wait_for_is_counted_under_few_names(world: World) -> None:
    put(world, run("a", **waits("ConcurrencyLimit")))
    put(world, run("b", **waits("ConcurrencyLimit")))
    put(world, run("c", **waits("forged by hand")))
    put(world, run("d", phase="Running", revision="p-1"))
    (family,) = world.metrics.waiting.collect()
    counted = {tuple(sample.labels.values()): sample.value for sample in family.samples}
    assert counted == {("team", "ConcurrencyLimit"): 2, ("team", "Other"): 1}


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


def test_a_run_in_line_for_jobs_is_told_its_place(world: World) -> None:
    settle(world, quota={"jobs": 1})
    runs = [run(f"r{number}") for number in range(3)]
    admission = Admission(world, Tenancy(world))
    for one in runs:
        put(world, one)
        assert admission.place(one) is None, "it stands in no line yet"
        admission.line_up(one, waits=True)
    assert [admission.place(one) for one in runs] == [1, 2, 3]
    admission.line_up(runs[0], waits=False)
    assert [admission.place(one) for one in runs] == [None, 1, 2]


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


# Clean-up.


def clean_up(world: World) -> set[tuple[str, str]]:
    """What has to be looked at for what it lets go, since the last call."""
    waiting = cast(Queue, world.clean_up)
    found = {(key.kind, key.name) for key in (*waiting.asked, *waiting.later)}
    waiting.asked.clear()
    waiting.later.clear()
    return found


def test_the_end_of_a_run_and_its_deletion_are_looked_at_by_its_pipeline_and_environment(world: World) -> None:
    put(world, run("r"))
    put(world, run("r", phase="Running", revision="p-1", environment="team/prod"))
    assert clean_up(world) == set()
    put(world, run("r", environment="team/prod", **ended()))
    assert clean_up(world) == {("Pipeline", "p"), ("Environment", "prod")}
    gone = world.runs.get("team", "r")
    assert gone is not None
    world.runs.take(gone)
    world.run_changed(gone, None)
    assert clean_up(world) == {("Pipeline", "p"), ("Environment", "prod")}


def test_the_deletion_of_a_finished_run_wakes_no_run_and_no_environment(world: World) -> None:
    """Ten thousand of them must cost those under way nothing."""
    settle(world)
    put(world, run("done", **ended()))
    put(world, run("waits", **waits("RunQuota")))
    queue(world).asked.clear()
    queue(world).later.clear()
    gone = world.runs.get("team", "done")
    assert gone is not None
    world.runs.take(gone)
    world.run_changed(gone, None)
    assert queue(world).asked == queue(world).later == []


def test_a_pipeline_is_looked_at_when_what_it_says_or_has_active_changes(world: World) -> None:
    def pipeline(generation: int, **status: Any) -> None:
        meta = {"name": "p", "namespace": "team", "uid": "uid-p", "generation": generation}
        change = world.pipelines.put({"metadata": meta | {"resourceVersion": str(next(VERSIONS))}, "status": status})
        assert change is not None
        world.pipeline_changed(*change)

    pipeline(1)
    assert clean_up(world) == {("Pipeline", "p")}
    pipeline(1, activeRevision="p-1")
    assert clean_up(world) == {("Pipeline", "p")}
    pipeline(1, activeRevision="p-1", lastRun="r")
    assert clean_up(world) == set()
    pipeline(2, activeRevision="p-1", lastRun="r")
    assert clean_up(world) == {("Pipeline", "p")}


@pytest.mark.parametrize("rerun", [None, {}, {"of": None}, {"of": ["r"]}, "r", {"of": "r"}])
def test_a_live_run_holds_the_one_whose_work_it_takes_over(world: World, rerun: Any) -> None:
    again = run("again")
    again["spec"]["rerun"] = rerun
    put(world, again)
    held = [one["metadata"]["name"] for one in world.runs.by_index(RERUN_OF, "team/r")]
    assert held == (["again"] if rerun == {"of": "r"} else [])
    put(world, run("again", **ended()))
    assert world.runs.by_index(RERUN_OF, "team/r") == []


def an_indexed_pod(phase: str, **status: Any) -> Object:
    labels = {"dataops.dev/run": "r", "dataops.dev/run-uid": "u", "batch.kubernetes.io/job-completion-index": "3"}
    meta = {"name": "p", "namespace": "team", "uid": "pod", "labels": labels, "resourceVersion": str(next(VERSIONS))}
    return {"metadata": meta, "spec": {}, "status": {"phase": phase, **status}}


def test_of_an_indexed_jobs_pods_those_that_ended_are_not_held_unless_they_may_hold_a_lease(world: World) -> None:
    assert world.pods.put(an_indexed_pod("Running"))
    assert world.pods.put(an_indexed_pod("Succeeded")) is not None
    assert len(world.pods) == 0
    agent = {"initContainerStatuses": [{"name": "dataops-secrets", "state": {}}]}
    pod = an_indexed_pod("Succeeded", **agent)
    pod["metadata"] |= {"uid": "other"}
    world.pods.put(pod)
    assert len(world.pods) == 1


def test_a_job_whose_items_go_on_is_held_when_its_run_has_ended_and_others_let_go(world: World) -> None:
    put(world, run("r", phase="Running", revision="p-1"))
    owner = {"uid": "uid-r", "controller": True, "kind": "PipelineRun"}
    meta = {"name": "j", "namespace": "team", "uid": "j", "resourceVersion": str(next(VERSIONS))}
    labels = {"dataops.dev/run": "r", "dataops.dev/run-uid": "uid-r"}
    spec = {"completionMode": "Indexed", "completions": 3}
    world.jobs.put({"metadata": meta | {"labels": labels, "ownerReferences": [owner]}, "spec": spec, "status": {}})
    agent = {"initContainerStatuses": [{"name": "dataops-secrets", "state": {}}]}
    pod = an_indexed_pod("Succeeded", **agent)
    pod["metadata"]["ownerReferences"] = [{"uid": "j", "controller": True, "kind": "Job"}]
    pod["metadata"]["labels"]["dataops.dev/run-uid"] = "uid-r"
    world.pods.put(pod)
    assert len(world.pods) == 1, "it may hold a lease"
    put(world, run("r", **ended()))
    world.let_go(run("r"))
    assert (len(world.jobs), len(world.pods)) == (1, 0)


def test_a_run_that_waits_for_its_environment_hears_that_it_was_seen_as_it_is_now(world: World) -> None:
    put(world, run("r", **waits("EnvironmentNotReady")))
    before = environment()
    after = {**before, "metadata": {**before["metadata"], "resourceVersion": str(next(VERSIONS))}}
    told = [{**one, "observedGeneration": 7} for one in before["status"]["conditions"]]
    after["status"] = {**before["status"], "conditions": told}
    queue(world).taken()
    world.environment_changed(before, after)
    assert queue(world).taken() == ["r"]


def test_the_ends_of_an_indexed_jobs_pods_are_looked_at_together_and_its_own_at_once(world: World) -> None:
    world.child_changed(an_indexed_pod("Running"), None)
    assert (queue(world).taken(), [key.name for key in queue(world).later]) == ([], ["r"])
    labels = {"dataops.dev/run": "r", "dataops.dev/run-uid": "u"}
    status: dict[str, Any] = {"indexes": {"total": 3}, "conditions": []}
    job = {"metadata": {"name": "j", "namespace": "team", "uid": "j", "labels": labels}, "status": status}
    done = {**job, "status": {**status, "conditions": [{"type": "Complete", "status": "True"}]}}
    world.child_changed(job, done)
    assert queue(world).taken() == ["r"]


def a_shared_pod(owner: str, waiting: str | None = None) -> Object:
    """A pod of several steps, the first of which runs, or waits."""
    state: Object = {"waiting": {"reason": waiting}} if waiting else {"running": {}}
    made = pod(owner, "Pending", uid=f"pod-{next(VERSIONS)}")
    made["metadata"]["labels"]["dataops.dev/stage"] = "2"
    behind = {"name": "b", "state": {"waiting": {"reason": "PodInitializing"}}}
    made["status"] |= {"initContainerStatuses": [{"name": "a", "state": state}], "containerStatuses": [behind]}
    return made


def test_which_step_of_a_shared_pod_runs_is_told_soon_and_later_where_much_is_told(world: World) -> None:
    for number in range(400):
        put_child(world, a_shared_pod(f"r{number}"))
    assert queue(world).taken() == []
    seconds = queue(world).seconds
    assert round(seconds[0], 3) == SETTLE
    assert SETTLE < seconds[20] < seconds[-1] <= LATEST


def test_of_one_run_it_is_told_together(world: World) -> None:
    for name in ("other", "r", "r"):
        put_child(world, a_shared_pod(name))
    _, first, second = queue(world).seconds
    assert second <= first < second + 0.1


async def test_news_are_told_though_their_run_was_looked_at_for_another_reason_before_their_time(world: World) -> None:
    time = FakeTime()
    queue = world.queue = WorkQueue[Key](time, call_later=time.call_later)
    world.queue.add_after(Key("PipelineRun", "team", "r"), SETTLE / 2)
    put_child(world, a_shared_pod("r"))  # told with that look, which comes first
    for news in (SETTLE / 2, LATEST):
        time.advance(news)
        assert len(queue) == 1
        queue.done(await queue.get())
        put_child(world, a_shared_pod("r"))


@pytest.mark.parametrize(
    "child",
    [
        a_shared_pod("late", "ImagePullBackOff"),
        {**a_shared_pod("late"), "status": {"phase": "Pending"}},
        pod("late", "Pending"),
        pod("late", "Running", deletionTimestamp="2026-01-05T06:00:00Z"),
    ],
    ids=["it cannot begin", "nothing is known of it yet", "a step's own pod", "it is to end"],
)
def test_what_is_in_the_way_is_told_soon_however_much_else_there_is(world: World, child: Object) -> None:
    for number in range(400):
        put_child(world, a_shared_pod(f"r{number}"))
    put_child(world, child)
    assert queue(world).seconds[-1] == SETTLE


def test_a_run_that_ends_is_not_said_to_have_been_edited_since_less_of_it_is_kept(world: World) -> None:
    live = run("r", phase="Running")
    live["spec"]["parameters"] = [{"name": "day", "value": "mon"}]
    put(world, live)
    over = run("r", phase="Cancelled", conditions=[{"type": "Succeeded", "status": "False", "reason": "Cancelled"}])
    over["spec"] = {**live["spec"], "cancel": "Immediate"}
    put(world, over)
    assert world.edited == set()
