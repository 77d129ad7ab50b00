"""Runs from their beginning to their end, each with a pod for every step and with shared pods: both tell the same.

What the pods do stands in a table, by step and attempt; the cluster of the tests plays them, one container after the
other where steps share one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from tests import builders
from tests.builders import PipelineBuilder, PodBuilder, a_pipeline, a_run
from tests.unit.core.cluster import Cluster

from dataops_operator.api.run import Cancel, Phase, Rerun
from dataops_operator.core import rerun
from dataops_operator.core.plan import Asked
from dataops_operator.core.rows import Row

OUT = [{"name": "n"}]
NOW = {"initial": "0s"}
TIDY = {"finally": [{"name": "z", "image": "img", "command": ["true"]}]}
Told = tuple[str, str, int]
"""Of a step: phase, reason and attempt."""


@dataclass
class Story:
    """What happens to one run.

    Attributes:
        pipeline: of the run.
        fates: what attempts at steps do, by step and attempt, or by step alone; what is not told of succeeds.
        asked: what somebody asks for, by the step that is at work when they do.
        told: what becomes of each step.
        verdict: how the run ends.
        jobs: the steps of each of its Jobs where steps share pods.
        before: rows that the run begins with.
    """

    pipeline: PipelineBuilder
    told: Mapping[str, Told]
    jobs: tuple[str, ...]
    fates: Mapping[Any, str] = field(default_factory=dict)
    asked: Mapping[str, Cancel] = field(default_factory=dict)
    verdict: Phase = Phase.SUCCEEDED
    before: tuple[Row, ...] = ()


def chain(**of: Mapping[str, Any]) -> PipelineBuilder:
    """Three steps, each behind the one before, and one that comes last; fields of single steps by name."""
    built = a_pipeline().having(**TIDY)
    for before, name in zip(" ab", "abc", strict=True):
        built.step(name, **{"needs": [before] if before != " " else [], **of.get(name, {})})
    return built


DONE: Told = ("Succeeded", "", 1)
LEFT_OUT: Told = ("Skipped", "UpstreamFailed", 0)


class Stage:
    """One run under way, and its pods."""

    def __init__(self, story: Story) -> None:
        self.story = story
        self.cluster = Cluster(story.pipeline)
        self.cluster.rows = story.before
        for row in story.before:
            if row.phase is Phase.SUCCEEDED:
                self.cluster.done[row.name, None] = dict(row.outputs or {})
        self.began: dict[str, float] = {}

    def play(self) -> Cluster:
        """From the beginning to the end."""
        cluster = self.cluster
        for _ in range(80):
            cluster.reconcile()
            if cluster.verdict is not None:
                cluster.check_end()
                return cluster
            for name in list(cluster.live()):
                self.act(name)
            for name in {*cluster.jobs, *cluster.cached_jobs}:
                cluster.sync(name)
            cluster.now += 5
        raise AssertionError(f"the run does not end: {cluster.rows}")

    def act(self, name: str) -> None:
        """A pod does the next thing that it does."""
        cluster, step = self.cluster, self.cluster.step_of(name)
        attempt = cluster.attempts[step, None]
        fate = self.story.fates.get((step, attempt), self.story.fates.get(step, "succeeds"))
        now = cluster.seconds()
        if cluster.told_to_end(name):
            if fate != "ends well when told to":
                began = self.began.get(f"{name}/{step}", now)
                cluster.fail(name, lambda pod: pod.failed(143, began=began, ended=now), again=False)
                return
            fate = "succeeds"
        began = self.began.setdefault(f"{name}/{step}", now)
        if now == began and step in self.story.asked:
            cluster.asked = replace(cluster.asked, cancel=self.story.asked[step])
            cluster.pod(name, lambda pod: pod.running(now))
        elif fate == "succeeds":
            cluster.succeed(name)
        elif fate == "says nothing":
            cluster.succeed(name, silent=True)
        elif fate in ("hangs", "ends well when told to"):
            cluster.pod(name, lambda pod: pod.running(began))
        else:
            cluster.fail(name, lambda pod: FATES[fate](pod, now), again=False)


FATES: Mapping[str, Callable[[PodBuilder, float], PodBuilder]] = {
    "fails": lambda pod, now: pod.failed(3, began=now, ended=now),
    "fails for good": lambda pod, now: pod.failed(64, began=now, ended=now),
    "runs out of memory": lambda pod, now: pod.failed(137, reason="OOMKilled", began=now, ended=now),
    "is evicted": lambda pod, now: pod.failed(143, began=now, ended=now).disrupted(),
    "loses its node": lambda pod, now: pod.running(now).disrupted("DeletionByTaintManager").gone_bad(),
    "never starts": lambda pod, _: pod.waiting("ImagePullBackOff", "Back-off"),
}
MEMORY = {"limits": {"memory": "1Gi"}}


def again(after: str) -> tuple[Row, ...]:
    """What a run begins with that goes on from where another one failed: behind this step."""
    pipeline = chain(a={"outputs": OUT})
    status: dict[str, Any] = {"phase": "Succeeded", "attempt": 1, "outputs": {"n": "7"}}
    old = tuple(Row.from_status({"name": name, **(status if name <= after else {"phase": "Failed"})}) for name in "abc")
    fixed = a_run().pinned(pipeline)
    made = rerun.rows(pipeline.revision(), fixed, Rerun(of="old"), rerun.Before("old", old, {}, fixed.logical_date))
    assert isinstance(made, tuple)
    return made


STORIES = {
    "all ends well": Story(chain(), dict.fromkeys("abcz", DONE), jobs=("abc", "z")),
    "one fails and is tried again": Story(
        chain(b={"retry": {"limit": 2, "backoff": NOW}}),
        dict.fromkeys("abcz", DONE) | {"b": ("Succeeded", "", 3)},
        jobs=("abc", "bc", "bc", "z"),
        fates={("b", 1): "fails", ("b", 2): "fails"},
    ),
    "one fails for good": Story(
        chain(b={"retry": {"limit": 1, "backoff": NOW}}),
        {"a": DONE, "b": ("Failed", "Error", 2), "c": LEFT_OUT, "z": DONE},
        jobs=("abc", "bc", "z"),
        fates={"b": "fails"},
        verdict=Phase.FAILED,
    ),
    "an exit code that is not worth another attempt": Story(
        chain(a={"retry": {"limit": 3, "exitCodes": {"never": [64]}, "backoff": NOW}}),
        {"a": ("Failed", "Error", 1), "b": LEFT_OUT, "c": LEFT_OUT, "z": DONE},
        jobs=("abc", "z"),
        fates={"a": "fails for good"},
        verdict=Phase.FAILED,
    ),
    "a class of failure that is not tried again": Story(
        chain(c={"retry": {"limit": 3, "on": ["Failure"], "backoff": NOW}}),
        {"a": DONE, "b": DONE, "c": ("Failed", "OutOfMemory", 1), "z": DONE},
        jobs=("abc", "z"),
        fates={"c": "runs out of memory"},
        verdict=Phase.FAILED,
    ),
    "more memory for the one that needs it": Story(
        chain(b={"retry": {"limit": 1, "on": ["OutOfMemory"], "memory": {"max": "4Gi"}, "backoff": NOW}}).having(
            defaults={"resources": MEMORY}
        ),
        dict.fromkeys("abcz", DONE) | {"b": ("Succeeded", "", 2)},
        jobs=("abc", "b", "c", "z"),
        fates={("b", 1): "runs out of memory"},
    ),
    "what the infrastructure ends is tried again unasked": Story(
        chain(),
        dict.fromkeys("abcz", DONE) | {"b": ("Succeeded", "", 2), "c": ("Succeeded", "", 2)},
        jobs=("abc", "bc", "c", "z"),
        fates={("b", 1): "is evicted", ("c", 1): "loses its node"},
    ),
    "one that must not be begun twice": Story(
        chain(b={"retry": {"infrastructure": 0}}),
        {"a": DONE, "b": ("Failed", "Disrupted", 1), "c": LEFT_OUT, "z": DONE},
        jobs=("abc", "z"),
        fates={"b": "is evicted"},
        verdict=Phase.FAILED,
    ),
    "one takes too long": Story(
        chain(b={"timeout": "30s"}),
        {"a": DONE, "b": ("Failed", "DeadlineExceeded", 1), "c": LEFT_OUT, "z": DONE},
        jobs=("abc", "z"),
        fates={"b": "hangs"},
        verdict=Phase.FAILED,
    ),
    "and is quicker the next time": Story(
        chain(b={"timeout": "30s", "retry": {"limit": 1, "on": ["Deadline"], "backoff": NOW}}),
        dict.fromkeys("abcz", DONE) | {"b": ("Succeeded", "", 2)},
        jobs=("abc", "bc", "z"),
        fates={("b", 1): "hangs"},
    ),
    "one never starts": Story(
        chain(b={"startTimeout": "30s"}),
        {"a": DONE, "b": ("Failed", "ImageUnavailable", 1), "c": LEFT_OUT, "z": DONE},
        jobs=("abc", "z"),
        fates={"b": "never starts"},
        verdict=Phase.FAILED,
    ),
    "one forgets its output": Story(
        chain(b={"outputs": OUT}),
        {"a": DONE, "b": ("Failed", "MissingOutput", 1), "c": LEFT_OUT, "z": DONE},
        jobs=("ab", "z"),
        fates={"b": "says nothing"},
        verdict=Phase.FAILED,
    ),
    "outputs reach what uses them": Story(
        chain(b={"outputs": OUT}, c={"args": ["$(steps.b.outputs.n)"]}),
        dict.fromkeys("abcz", DONE),
        jobs=("ab", "c", "z"),
    ),
    "a condition that does not hold": Story(
        chain(b={"outputs": OUT}, c={"when": "steps.b.outputs.n == 'other'"}),
        dict.fromkeys("abz", DONE) | {"c": ("Skipped", "ConditionNotMet", 0)},
        jobs=("ab", "z"),
    ),
    "a failure that another step answers": Story(
        chain(c={"needs": [], "after": [{"step": "b", "on": "Failed"}]}),
        {"a": DONE, "b": ("Failed", "Error", 1), "c": DONE, "z": DONE},
        jobs=("ab", "c", "z"),
        fates={"b": "fails"},
    ),
    "the last step fails the run": Story(
        chain(),
        dict.fromkeys("abc", DONE) | {"z": ("Failed", "Error", 1)},
        jobs=("abc", "z"),
        fates={"z": "fails"},
        verdict=Phase.FAILED,
    ),
    "cancelled": Story(
        chain(),
        {"a": DONE, "b": ("Cancelled", "Cancelled", 1), "c": ("Skipped", "Cancelled", 0), "z": DONE},
        jobs=("abc", "z"),
        fates={"b": "hangs"},
        asked={"b": Cancel.GRACEFUL},
        verdict=Phase.CANCELLED,
    ),
    "cancelled, and the one at work tells its result in its time": Story(
        chain(b={"outputs": OUT}),
        {"a": DONE, "b": DONE, "c": ("Skipped", "Cancelled", 0), "z": DONE},
        jobs=("ab", "z"),
        fates={"b": "ends well when told to"},
        asked={"b": Cancel.GRACEFUL},
        verdict=Phase.CANCELLED,
    ),
    "cancelled at once": Story(
        chain(),
        {
            "a": ("Cancelled", "Cancelled", 1),
            "b": ("Skipped", "Cancelled", 0),
            "c": ("Skipped", "Cancelled", 0),
            "z": ("Skipped", "Cancelled", 0),
        },
        jobs=("abc",),
        fates={"a": "hangs"},
        asked={"a": Cancel.IMMEDIATE},
        verdict=Phase.CANCELLED,
    ),
    "the run is out of time": Story(
        chain().having(timeout="1m"),
        {
            "a": DONE,
            "b": ("Failed", "RunDeadlineExceeded", 1),
            "c": ("Skipped", "RunDeadlineExceeded", 0),
            "z": DONE,
        },
        jobs=("abc", "z"),
        fates={"b": "hangs"},
        verdict=Phase.FAILED,
    ),
    "done again from where it failed": Story(
        chain(a={"outputs": OUT}),
        {"a": ("Succeeded", "", 0), "b": DONE, "c": DONE, "z": DONE},
        jobs=("bc", "z"),
        before=again("a"),
    ),
}


@pytest.mark.parametrize("story", STORIES.values(), ids=STORIES)
def test_a_run_ends_the_same_in_both_modes(story: Story, both_modes: str) -> None:
    cluster = Stage(story).play()
    told = {row.name: (str(row.phase), str(row.reason or ""), row.attempt) for row in cluster.rows}
    assert told == story.told
    assert cluster.verdict is story.verdict
    made = sorted("".join(names) for names in cluster.carried.values())
    if both_modes == "Auto":
        assert made == sorted(story.jobs)
    else:
        attempts = {row.name: row.attempt for row in cluster.rows}
        assert made == sorted(name for name, count in attempts.items() for _ in range(count))


def test_of_a_suspended_run_what_is_at_work_ends_and_nothing_begins_before_it_goes_on(both_modes: str) -> None:
    cluster = Cluster(chain())

    def turns(count: int) -> None:
        for _ in range(count):
            for name in cluster.live():
                cluster.succeed(name)
            for name in [one for one in cluster.overdue() if one in cluster.held]:
                cluster.end_in_time(name, "dies")
            for name in cluster.jobs:
                cluster.sync(name)
            cluster.now += 5
            cluster.reconcile()

    cluster.reconcile()
    (name,) = cluster.live()
    cluster.pod(name, lambda pod: pod.running(0))
    cluster.sync(name)
    cluster.asked = Asked(suspend=True, began=builders.EPOCH)
    cluster.reconcile()
    turns(6)
    assert [str(row.phase) for row in cluster.rows] == ["Succeeded", *["Pending"] * 3]
    assert not cluster.live(), "no pod waits for somebody to let it go on"
    cluster.asked = Asked(began=builders.EPOCH)
    turns(8)
    assert [(str(row.phase), row.attempt) for row in cluster.rows] == [("Succeeded", 1)] * 4
    assert len(cluster.created) == (4 if both_modes == "Never" else 3)
