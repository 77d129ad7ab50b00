"""The pipelines that the faults hit, what their pods do, and how an end state is compared."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from tests.harness.api import Object, condition
from tests.harness.history import Cluster, attempt_key, pod_phase
from tests.harness.kinds import JOBS, PODS, RUNS
from tests.harness.script import Outcome, Play, Script, fail, succeed

LONG = os.environ.get("FAULTS") == "long"
"""Whether every fault hits every kind of run, as `make faults` has it, or one each, as CI has it."""
START, END = 0.05, 0.15
"""Seconds from a pod's creation to its start and end."""

TIMES = frozenset(
    {"startedAt", "finishedAt", "lastTransitionTime", "retryAt", "since", "deletionTimestamp", "job", "run", "message"}
    | {"environment", "environmentRevision"}
)
"""What differs between two sound runs: times, names with a hash of the UID, prose that tells them, the place."""


@dataclass(frozen=True)
class Scenario:
    """A pipeline with one run of it; pods know by the run's name what to do."""

    name: str
    pipeline: Object
    steps: int
    attempts: int
    """How many Jobs, and runs of other pipelines, a run makes in all."""
    others: tuple[Object, ...] = ()
    """Pipelines that the run's steps run."""
    environment: Object | None = None
    """What the run belongs to; nothing where None."""
    stopped: int = 0
    """How many pods are asked to end before their time."""

    @property
    def run(self) -> Object:
        """The run to create."""
        spec = {"pipeline": self.pipeline["metadata"]["name"], "logicalDate": "2013-02-09T00:00:00Z"}
        if self.environment is not None:
            spec["parameters"] = [{"name": "own", "value": "of the run"}]
        return {"metadata": {"name": self.name}, "spec": spec}


def _diamond(name: str, retry: Object | None = None) -> Object:
    count = [{"name": "rows", "type": "Integer"}]
    left: Object = {"name": "b", "command": ["left", "$(steps.a.outputs.rows)"], "outputs": count}
    if retry:
        left["retry"] = retry
    steps = [
        {"name": "a", "command": ["begin"], "outputs": count},
        left,
        {"name": "c", "command": ["right", "$(steps.a.outputs.rows)"], "outputs": count},
        {"name": "d", "command": ["join", "$(steps.b.outputs.rows)", "$(steps.c.outputs.rows)"]},
    ]
    spec = {"defaults": {"image": "example.test/step:1"}, "fuse": "Never", "steps": steps}
    return {"metadata": {"name": name}, "spec": spec}


DIAMOND = Scenario("diamond", _diamond("diamond"), steps=4, attempts=4)
RETRY = Scenario("retry", _diamond("retry", {"limit": 2, "backoff": {"initial": "1s"}}), steps=4, attempts=5)


_AGAIN: Object = {"limit": 1, "backoff": {"initial": "1s"}}
_SHARED: Object = {
    "metadata": {"name": "shared"},
    "spec": {
        "defaults": {"image": "example.test/step:1"},
        "fuse": "Auto",
        "steps": [
            {"name": "x", "command": ["first"]},
            {"name": "y", "needs": ["x"], "command": ["second"], "retry": _AGAIN},
            {"name": "c", "needs": ["y"], "command": ["third"], "outputs": [{"name": "rows", "type": "Integer"}]},
        ],
    },
}
SHARED = Scenario("shared", _SHARED, steps=3, attempts=2)

_INNER: Object = {
    "metadata": {"name": "inner"},
    "spec": {
        "defaults": {"image": "example.test/step:1"},
        "steps": [{"name": "a", "command": ["begin"], "outputs": [{"name": "rows", "type": "Integer"}]}],
        "outputs": [{"name": "rows", "value": "$(steps.a.outputs.rows)"}],
    },
}
_FAN: Object = {
    "metadata": {"name": "fan"},
    "spec": {
        "defaults": {"image": "example.test/step:1"},
        "fuse": "Never",
        "steps": [
            {"name": "y", "forEach": {"items": [1, 2]}, "command": ["each", "$(item)"], "retry": _AGAIN},
            {
                "name": "n",
                "needs": ["y"],
                "pipeline": {"name": "inner"},
                "outputs": [{"name": "rows", "type": "Integer"}],
            },
            {"name": "d", "command": ["join", "$(steps.n.outputs.rows)"]},
        ],
        "finally": [{"name": "z", "command": ["tidy"]}],
    },
}
FAN = Scenario("fan", _FAN, steps=4, attempts=8, others=(_INNER,))
"""A fan-out whose items are tried again, a run of another pipeline, and what follows in any case."""


_PLACED: Object = {
    "metadata": {"name": "placed"},
    "spec": {
        "defaults": {"image": "example.test/step:1"},
        "fuse": "Never",
        "parameters": [{"name": "own", "masked": True}, {"name": "given"}],
        "steps": [
            {"name": "a", "command": ["$(params.own)", "$(params.given)", "$(env.params.other)"]},
            {"name": "b", "needs": ["a"], "command": ["$(params.own)", "$(params.given)", "$(env.params.other)"]},
        ],
    },
}
_PLACE: Object = {
    "metadata": {"name": "prod"},
    "spec": {
        "parameters": [
            {"name": "given", "value": "by the environment", "masked": True},
            {"name": "other", "value": [1]},
        ],
        "quota": {"runs": 1, "jobs": 1},
    },
}
PLACED = Scenario("placed", _PLACED, steps=2, attempts=2, environment=_PLACE)


_LATE: Object = {
    "metadata": {"name": "late"},
    "spec": {
        "defaults": {"image": "example.test/step:1"},
        "fuse": "Auto",
        "timeout": "10s",
        "steps": [
            {"name": "x", "command": ["first"]},
            {"name": "s", "needs": ["x"], "command": ["second"]},
            {"name": "t", "command": ["beside"], "outputs": [{"name": "rows", "type": "Integer"}]},
        ],
        "finally": [{"name": "z", "command": ["tidy"]}],
    },
}
LATE = Scenario("late", _LATE, steps=4, attempts=3, stopped=2)
"""A run out of time: a pod that two steps share and one that tells its result are ended, and stay.

It has the time that an operator takes that dies and starts again on a busy machine: all that is ended has begun.
"""


def script() -> Script:
    """Step b and c pass on what a gave them, one more each; in the run `retry` b fails at first, in others y does.

    Step s and t go on until they are ended; t then tells its result.
    """
    plays = Script().add("b", fail(3), attempt=1, run=RETRY.name).add("y", fail(3), attempt=1)
    plays.add("s", Play(outcome=Outcome.HANG)).add("t", Play(outcome=Outcome.HANG, tells='{"outputs": {"rows": 3}}'))
    return plays.add("a", succeed(rows=7)).add("b", succeed(rows=8)).add("c", succeed(rows=9)).paced(START, END)


def end_state(cluster: Cluster) -> Object:
    """What a user finds at the end, without what differs between two sound runs of one scenario."""
    runs = sorted(cluster.of(RUNS), key=lambda run: str(run["spec"]["pipeline"]))
    jobs = sorted((attempt_key(job)[1:], job) for job in cluster.of(JOBS))
    return {
        "statuses": [_plain(run["status"]) for run in runs],
        "jobs": [
            {
                "attempt": key,
                "command": job["spec"]["template"]["spec"]["containers"][0].get("command"),
                "complete": condition(job, "Complete").get("status") == "True",
            }
            for key, job in jobs
        ],
        "pods": sorted((pod["metadata"]["labels"]["dataops.dev/step"], pod_phase(pod)) for pod in cluster.of(PODS)),
    }


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items() if key not in TIMES}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value
