"""The planner among random events: whatever happens in whatever order, a run ends once, and rightly."""

import os
from dataclasses import replace
from typing import Any
from unittest import TestCase

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from tests.builders import PipelineBuilder, a_pipeline, at
from tests.unit.core.cluster import ARMED, Cluster, CrashError

from dataops_operator.api.conditions import Reason
from dataops_operator.api.run import Cancel, Decision
from dataops_operator.api.step import On
from dataops_operator.core.credentials import Armed, Hindrance

NAMES = "abcde"
SEALED = Hindrance(Reason.VAULT_UNAVAILABLE, "sealed")
FORBIDDEN = Hindrance(Reason.VAULT_FORBIDDEN, "no", final=True)
WHENS = st.sampled_from([None, None, None, None, "1 > 0", "false", "[1][3] == 1"])
FANS = st.fixed_dictionaries(
    {"items": st.sampled_from([[], [1], [1, 2], ["a", "b", "c"]]), "mode": st.sampled_from(["Jobs", "Indexed"])},
    optional={
        "parallelism": st.sampled_from([1, 2]),
        "failFast": st.booleans(),
        "tolerate": st.sampled_from([1, "50%"]),
    },
)
RETRIES = st.sampled_from(
    [
        None,
        {"limit": 1, "backoff": {"initial": "10s"}},
        {"limit": 2, "on": ["Infrastructure", "Failure", "Start"], "backoff": {"initial": "0s"}},
        {"limit": 1, "on": ["OutOfMemory"]},
    ]
)


WIDGET = {
    "manifest": {"apiVersion": "test.example/v1", "kind": "Widget"},
    "successWhen": "object.state == 'done'",
    "failureWhen": "object.state == 'broken'",
    "outputs": [{"name": "n", "value": "object.n"}],
}
JOBLESS: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
    [
        {"approval": {"approvers": {"users": ["ann"]}}},
        {"approval": {"approvers": {"users": ["ann"]}}},
        {"approval": {"approvers": {"users": ["ann"]}, "timeout": "30s"}},
        {"approval": {"timeout": "30s"}},
        {"approval": {"timeout": "30s", "onTimeout": "Approve"}},
        {"wait": {"duration": "20s"}},
        {"wait": {"until": at(100)}},
        {"pipeline": {"name": "other"}},
        {"pipeline": {"name": "other"}},
        {"pipeline": {"name": "other"}, "timeout": "30s"},
        {"resource": WIDGET},
        {"resource": WIDGET, "timeout": "30s"},
    ]
)


def _jobless(
    draw: st.DrawFn, builder: PipelineBuilder, name: str, fields: dict[str, Any], used: str | None
) -> list[str]:
    """Add a step without a container; its name where it has an output."""
    kind = draw(JOBLESS)
    if fields.pop("args"):
        fields["needs"] = [*fields["needs"], used] if used not in fields["needs"] else fields["needs"]
    if "approval" not in kind and "wait" not in kind:
        fields["retry"] = draw(RETRIES)
    told = "pipeline" in kind and draw(st.booleans())
    builder.jobless(name, **kind, **fields, **({"outputs": [{"name": "n"}]} if told else {}))
    return [name] if told else []


@st.composite
def pipelines(draw: st.DrawFn) -> PipelineBuilder:
    """A small graph; some steps declare an output, which some of those behind them use."""
    builder = a_pipeline().having(secrets=[{"name": "x", "vault": {"path": "secret/data/x"}}])
    with_output: list[str] = []
    chain = draw(st.booleans())
    for index in range(draw(st.integers(1, 5))):
        before = NAMES[:index]
        needs = draw(st.lists(st.sampled_from(before), unique=True, max_size=3)) if before else []
        used = draw(st.sampled_from([None, *with_output]))
        fields: dict[str, Any] = {"needs": needs, "args": [f"$(steps.{used}.outputs.n)"] if used else None}
        free = sorted(set(before) - {*needs, used})
        if free and draw(st.integers(0, 2)) == 0:
            fields["after"] = [{"step": draw(st.sampled_from(free)), "on": str(draw(st.sampled_from(On)))}]
        fields["when"] = draw(WHENS)
        if draw(st.integers(0, 3)) == 0:
            with_output += _jobless(draw, builder, NAMES[index], fields, used)
            continue
        if draw(st.integers(0, 2)) == 0:
            fields["forEach"] = draw(FANS)
        if draw(st.booleans()):
            fields["outputs"] = [{"name": "n"}]
            if "forEach" not in fields and draw(st.booleans()):
                fields["results"] = "Endpoint"
            with_output.append(NAMES[index])
        if draw(st.integers(0, 3)) == 0:
            fields["secrets"] = [{"name": "x"}]
        if "forEach" not in fields and draw(st.integers(0, 2)) == 0:
            fields |= {"cache": {"maxAge": "5m"}, "image": f"img@sha256:{'a' * 64}"}
        if chain:  # most of its steps may share a pod
            fields = {"needs": list(before[-1:])} | {key: fields[key] for key in ("secrets",) if key in fields}
            fields["outputs"] = draw(st.sampled_from([None, None, [{"name": "n"}]]))
            fields["timeout"] = draw(st.sampled_from([None, "2m"]))
        builder.step(NAMES[index], retry=draw(RETRIES), startTimeout=draw(st.sampled_from([None, "30s"])), **fields)
    last = [{"name": name, "image": "img", "command": ["true"]} for name in "yz"[: draw(st.integers(0, 2))]]
    if len(last) == 2 and draw(st.booleans()):
        last[1] |= {"needs": ["y"]}
    timeout = {"timeout": "1m"} if draw(st.integers(0, 3)) == 0 else {}
    fuse = draw(st.sampled_from(["Auto", "Auto", "Never"])) if chain else draw(st.sampled_from(["Auto", "Never"]))
    return builder.having(**({"finally": last} if last else {}), **timeout, fuse=fuse)


class Runs(RuleBasedStateMachine):
    """One run among events."""

    cluster: Cluster

    @initialize(pipeline=pipelines(), known=st.booleans())
    def begin(self, pipeline: PipelineBuilder, known: bool) -> None:
        self.cluster = Cluster(pipeline)
        self.another_run_did_the_same(known)
        self.cluster.reconcile()

    def one_of(self, names: list[str], index: int) -> str:
        return names[index % len(names)]

    # The operator.

    @rule(
        refused=st.sampled_from(["", "", "", *NAMES]),
        explanation=st.sampled_from(["", "exceeded quota"]),
        secrets=st.sampled_from([ARMED, ARMED, None, SEALED]),
        room=st.sampled_from([None, None, 2, 1, 0]),
    )
    def reconcile(self, refused: str, explanation: str, secrets: Armed | Hindrance | None, room: int | None) -> None:
        self.cluster.reconcile(
            lambda name: bool(refused) and f"-{refused}-" in name, explanation=explanation, secrets=secrets, room=room
        )

    @rule(final=st.sampled_from([False, False, True]))
    @precondition(lambda self: isinstance(self.cluster.armed, Hindrance))
    def ask_again(self, final: bool) -> None:
        self.cluster.armed = FORBIDDEN if final else None

    # People.

    @rule(how=st.sampled_from([Cancel.GRACEFUL, Cancel.GRACEFUL, Cancel.IMMEDIATE]), sure=st.booleans())
    def cancel(self, how: Cancel, sure: bool) -> None:
        if sure and self.cluster.asked.cancel is not Cancel.IMMEDIATE:
            self.cluster.asked = replace(self.cluster.asked, cancel=how)

    @rule(suspend=st.booleans())
    def suspend(self, suspend: bool) -> None:
        self.cluster.asked = replace(self.cluster.asked, suspend=suspend)

    @rule(index=st.integers(0, 4), decision=st.sampled_from(Decision), by=st.sampled_from(["ann", "ann", "bob", ""]))
    @precondition(lambda self: self.cluster.asking())
    def decide(self, index: int, decision: Decision, by: str) -> None:
        self.cluster.decide(self.one_of(self.cluster.asking(), index), decision, by)

    @rule(known=st.booleans())
    def another_run_did_the_same(self, known: bool) -> None:
        outputs: dict[str, Any] = {"n": "9"}
        self.cluster.earlier = outputs if known else None

    @rule(writes=st.integers(0, 3))
    def crash(self, writes: int) -> None:
        try:
            self.cluster.reconcile(crash_after=writes)
        except CrashError:
            self.cluster.restart()

    @rule(sure=st.booleans())
    @precondition(lambda self: self.cluster.inputs.revision.linked)
    def another_release_goes_on(self, sure: bool) -> None:
        if sure:
            self.cluster.upgrade()

    @rule()
    def lose_the_status_write(self) -> None:
        self.cluster.reconcile(conflict=True)

    # The cache.

    @rule(index=st.integers(0, 9))
    @precondition(lambda self: self.cluster.jobs)
    def hear_of_one(self, index: int) -> None:
        self.cluster.sync(self.one_of(list(self.cluster.jobs), index))

    @rule()
    def hear_of_all(self) -> None:
        for name in {*self.cluster.jobs, *self.cluster.cached_jobs}:
            self.cluster.sync(name)

    @rule(index=st.integers(0, 9))
    def forget_one(self, index: int) -> None:
        known = [row.job for row in self.cluster.flat() if row.job in self.cluster.cached_jobs]
        if known:  # what the status does not name yet was created, or listed, by this very process
            held = self.cluster.cached_jobs.pop(known[index % len(known)])
            self.cluster.cached_pods.pop(held["metadata"]["uid"], None)

    # The world.

    @rule(index=st.integers(0, 9), silent=st.sampled_from([False, False, False, True]))
    @precondition(lambda self: self.cluster.live())
    def pod_succeeds(self, index: int, silent: bool) -> None:
        self.cluster.succeed(self.one_of(self.cluster.live(), index), silent=silent)

    @rule(index=st.integers(0, 9), how=st.sampled_from(["exits", "drained", "lost", "out of memory", "late"]))
    @precondition(lambda self: self.cluster.live())
    def pod_fails(self, index: int, how: str) -> None:
        began = self.cluster.seconds()
        name = self.one_of(self.cluster.live(), index)
        self.cluster.fail(name, lambda pod: _fail(pod, how, began), again=how in ("drained", "lost"))

    @rule(index=st.integers(0, 9), how=st.sampled_from(["dies", "mute", "tells"]))
    @precondition(lambda self: self.cluster.overdue())
    def a_pod_is_out_of_time(self, index: int, how: str) -> None:
        self.cluster.end_in_time(self.one_of(self.cluster.overdue(), index), how)

    @rule(index=st.integers(0, 9), how=st.sampled_from(["runs", "new", "no image", "unschedulable"]))
    @precondition(lambda self: self.cluster.live())
    def pod_moves(self, index: int, how: str) -> None:
        name = self.one_of(self.cluster.live(), index)
        if any("running" in one["state"] for pod in self.cluster.pods.get(name, ()) for one in containers(pod)):
            return  # a container that ran does not go back to waiting, since pods are never restarted
        began = self.cluster.seconds()
        self.cluster.pod(name, lambda pod: _move(pod, how, began))

    @rule(index=st.integers(0, 9), reap=st.booleans())
    @precondition(lambda self: self.cluster.jobs)
    def job_settles(self, index: int, reap: bool) -> None:
        name = self.one_of(list(self.cluster.jobs), index)
        self.cluster.settle(name)
        if reap:
            self.cluster.reap_pod(name)

    @rule(index=st.integers(0, 9))
    def somebody_deletes_a_job(self, index: int) -> None:
        known = [row.job for row in self.cluster.flat() if row.job in self.cluster.jobs]
        if known:  # one that the status does not name yet would be created again, for nobody can know of it
            self.cluster.remove(known[index % len(known)])

    @rule(index=st.integers(0, 9))
    @precondition(lambda self: self.cluster.leaving())
    def a_job_is_gone(self, index: int) -> None:
        self.cluster.remove(self.one_of(self.cluster.leaving(), index))

    @rule(index=st.integers(0, 9), how=st.sampled_from(["Succeeded", "StepFailed", "Cancelled", "gone", "heard of"]))
    @precondition(lambda self: self.cluster.nested.runs)
    def another_run_moves(self, index: int, how: str) -> None:
        self.cluster.nested.move_run(self.one_of(list(self.cluster.nested.runs), index), how)

    @rule(index=st.integers(0, 9), how=st.sampled_from(["done", "broken", "gone"]))
    @precondition(lambda self: self.cluster.nested.objects)
    def an_object_moves(self, index: int, how: str) -> None:
        self.cluster.nested.move_object(self.one_of(list(self.cluster.nested.objects), index), how)

    @rule(seconds=st.sampled_from([1, 4, 11, 40, 400]))
    def time_passes(self, seconds: float) -> None:
        self.cluster.now += seconds

    def teardown(self) -> None:
        """From wherever it stands, the run ends once the world stands still."""
        if not hasattr(self, "cluster"):
            return
        cluster = self.cluster
        cluster.asked = replace(cluster.asked, suspend=False)
        for _ in range(60):
            if cluster.verdict is not None:
                break
            for name in cluster.live():
                if not cluster.given_up(name):
                    cluster.succeed(name)
            for name in cluster.asking():
                cluster.decide(name, Decision.APPROVE, "ann")
            cluster.nested.settle()
            for name in {*cluster.jobs, *cluster.cached_jobs}:
                cluster.sync(name)
            cluster.now = max(cluster.now + 1, cluster.wake_at or 0)
            cluster.reconcile()
        assert cluster.verdict is not None, f"the run does not end: {cluster.rows}"
        cluster.check_end()
        ended = cluster.rows, cluster.verdict
        cluster.now += 1000
        for name in {*cluster.jobs, *cluster.cached_jobs}:
            cluster.sync(name)  # a list beside the watch mends what the cache had forgotten
        cluster.reconcile()
        for name in cluster.leaving():
            cluster.remove(name)
        cluster.now += 2
        for name in cluster.overdue():
            cluster.end_in_time(name, "dies")
        assert (cluster.rows, cluster.verdict) == ended
        assert not cluster.live(), "I4: a Job goes on for nobody"
        assert not cluster.nested.unwanted(), "I4: another run, or an object, goes on for nobody"


class Stopped(Runs):
    """One run that is to end while its pods run, so that most of what happens to it does at its end."""

    @initialize(pipeline=pipelines(), turns=st.integers(0, 2), why=st.sampled_from(["cancelled", "late"]))
    def begin(self, pipeline: PipelineBuilder, turns: int, why: str) -> None:
        self.cluster = cluster = Cluster(pipeline)
        cluster.reconcile()
        for turn in range(turns + 1):
            if turn:
                for name in cluster.live():
                    cluster.succeed(name)
                self.hear_of_all()
                cluster.reconcile()
            for name in cluster.live():
                cluster.pod(name, lambda pod: pod.running(cluster.seconds()))
        self.hear_of_all()
        cluster.reconcile()
        if why == "cancelled":
            cluster.asked = replace(cluster.asked, cancel=Cancel.GRACEFUL)
        cluster.now += 5 if why == "cancelled" else 150
        cluster.reconcile()


def containers(pod: dict[str, Any]) -> list[dict[str, Any]]:
    return [one for kind in ("initContainerStatuses", "containerStatuses") for one in pod["status"].get(kind, ())]


def _fail(pod: Any, how: str, began: float) -> Any:
    if how == "exits":
        return pod.failed(1, began=began, ended=began)
    if how == "drained":
        return pod.failed(143, began=began, ended=began).disrupted()
    if how == "lost":
        return pod.running(began).gone_bad()
    if how == "out of memory":
        return pod.failed(137, reason="OOMKilled", began=began, ended=began)
    return pod.failed(143, began=began, ended=began).gone_bad("DeadlineExceeded")


def _move(pod: Any, how: str, began: float) -> Any:
    if how == "runs":
        return pod.running(began)
    if how == "no image":
        return pod.waiting("ImagePullBackOff", "Back-off pulling")
    return pod.unschedulable() if how == "unschedulable" else pod


THOROUGH = os.environ.get("HYPOTHESIS_PROFILE") == "thorough"
SETTINGS = settings(
    max_examples=5_000 if THOROUGH else 500,
    stateful_step_count=40,
    phases=[Phase.reuse, Phase.generate, Phase.shrink],
    report_multiple_bugs=False,
)


def part(name: str, of: type[Runs] = Runs) -> type[TestCase]:
    """A share of the examples as a test of its own, so that the workers of a test run have something to share."""
    case: type[TestCase] = type(name, (of,), {}).TestCase  # type: ignore[attr-defined]
    case.settings = SETTINGS  # type: ignore[attr-defined]
    return pytest.mark.timeout(3600 if THOROUGH else 300)(case)


TestRunsOne, TestRunsTwo, TestRunsThree, TestRunsFour = map(part, ("RunsOne", "RunsTwo", "RunsThree", "RunsFour"))
TestStopped = part("Stopped", Stopped)
