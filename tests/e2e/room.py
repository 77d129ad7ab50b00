"""A test's own namespace: what it starts there, what is seen of it, and what must hold at its end."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from tests.e2e.observer import Observer
from tests.e2e.site import OPERATOR_IMAGE, Site
from tests.harness.api import ApiError, Object, condition
from tests.harness.history import attempt_key, run_ended
from tests.harness.invariants import check_all
from tests.harness.kinds import CLAIMS, ENVIRONMENTS, JOBS, NAMESPACES, PIPELINES, PODS, RUN, RUNS, STEP
from tests.harness.stages import began

RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}
PATIENCE = 240.0
"""Seconds that a run may take on a machine that has other things to do."""

Step = dict[str, Any]


class Room:
    """One namespace, whose runs, Jobs and pods are recorded from its beginning.

    Attributes:
        site: the cluster it is in.
        namespace: its name.
        notes: what the function that begins a test leaves for it.
    """

    def __init__(self, site: Site, observer: Observer, namespace: str, project: str = "") -> None:
        """Make the namespace, or take it where it is an environment's of that project."""
        self.site = site
        self.namespace = namespace
        self._observer = observer
        self.notes: dict[str, Any] = {}
        self._rooms: list[Room] = []
        if not project:
            labelled = {"metadata": {"name": namespace, "labels": RESTRICTED}}
            observer.do(observer.api.create(NAMESPACES, None, labelled))
        self._recorder = observer.record(namespace, project)

    # What the test does.

    def kubectl(self, *words: str, given: str | None = None, within: float = 120) -> str:
        """What kubectl printed, called for this namespace."""
        return self.site.kubectl(*words, "-n", self.namespace, given=given, within=within)

    def apply(self, *objects: Object) -> None:
        """`kubectl apply` of objects."""
        self.kubectl("apply", "-f", "-", given=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))

    def define(self, name: str, steps: Sequence[Step], **spec: Any) -> None:
        """Create a Pipeline of these steps, which take the operator's image unless they name one.

        Its steps share pods where they may, as users' do, unless it says `fuse="Never"`.
        """
        whole = {"defaults": {"image": OPERATOR_IMAGE}} | spec | {"steps": list(steps)}
        body = {"metadata": {"name": name}, "spec": whole}
        self._observer.do(self._observer.api.create(PIPELINES, self.namespace, body))

    def launch(
        self, pipeline: str, name: str | None = None, parameters: Mapping[str, Any] | None = None, **spec: Any
    ) -> str:
        """Create a run, named like its pipeline unless it is given a name; its name."""
        name = name or pipeline
        if parameters:
            spec["parameters"] = [{"name": key, "value": value} for key, value in parameters.items()]
        body = {"metadata": {"name": name}, "spec": {"pipeline": pipeline, **spec}}
        self._observer.do(self._observer.api.create(RUNS, self.namespace, body))
        return name

    def start(self, *steps: Step, name: str = "x", **spec: Any) -> str:
        """Create a Pipeline of these steps and a run of it, both of one name; the name."""
        self.define(name, steps, **spec)
        return self.launch(name)

    def cancel(self, how: str = "Graceful", run: str = "x") -> None:
        """Have a run end."""
        self._observer.do(self._observer.api.patch(RUNS, self.namespace, run, {"spec": {"cancel": how}}))

    def evict(self, pod: Object, grace: int = 30) -> None:
        """End a pod through the API of evictions, as a drain of its node does; seconds until it is killed."""
        name = pod["metadata"]["name"]
        body = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": name, "namespace": self.namespace},
            "deleteOptions": {"gracePeriodSeconds": grace},
        }
        path = PODS.path(self.namespace, name, "eviction")
        self._observer.do(self._observer.api.request("POST", path, body))

    def environment(self, name: str = "prod", **spec: Any) -> Object:
        """Create an Environment of this namespace, and wait until it is ready; it."""
        self._observer.do(
            self._observer.api.create(ENVIRONMENTS, self.namespace, {"metadata": {"name": name}, "spec": spec})
        )
        return self.ready(name)

    def enter(self, namespace: str) -> Room:
        """The execution namespace of one of this namespace's environments, whose invariants then count, too."""
        room = Room(self.site, self._observer, namespace, self.namespace)
        self._rooms.append(room)
        return room

    # What the test sees.

    def ready(self, environment: str = "prod", within: float = 60) -> Object:
        """Wait until an Environment of this namespace is ready; it."""

        def reached(found: Object) -> bool:
            current = found.get("status", {}).get("observedGeneration") == found["metadata"]["generation"]
            return current and condition(found, "Ready").get("status") == "True"

        return self._observer.until(ENVIRONMENTS, self.namespace, environment, reached, within)

    def until(self, run: str, reached: Callable[[Object], bool], within: float = PATIENCE) -> Object:
        """Wait until a run is as asked; the run as it was then."""
        return self._observer.until(RUNS, self.namespace, run, reached, within)

    def ended(self, run: str = "x", within: float = PATIENCE) -> Object:
        """Wait for a run's end; the run."""
        return self.until(run, run_ended, within)

    def succeeded(self, run: str = "x", within: float = PATIENCE) -> Object:
        """Wait for a run's end, which must be a good one; the run."""
        found = self.ended(run, within)
        outcome = condition(found, "Succeeded")
        assert outcome["status"] == "True", f"the run {run} failed: {outcome['message']}"
        return found

    def failed(self, run: str = "x", within: float = PATIENCE) -> str:
        """Wait for a run's end, which must be a bad one that says so in the way of kstatus; its message."""
        found = self.ended(run, within)
        outcome = condition(found, "Succeeded")
        assert outcome["status"] == "False", f"the run {run} succeeded"
        assert found["status"]["phase"] == "Failed"
        stalled = condition(found, "Stalled")
        assert (stalled["status"], stalled["message"]) == ("True", outcome["message"])
        return str(outcome["message"])

    def statuses(self, run: str = "x") -> list[Object]:
        """Every status that the run has had, in order."""
        changes = self._recorder.history.of(RUNS)
        return [one.obj.get("status", {}) for one in changes if one.obj["metadata"]["name"] == run]

    def jobs(self, run: str = "x") -> list[tuple[str, int]]:
        """Step and attempt of every Job that was ever there for a run, in order of creation."""
        found = [changes[0].obj for changes in self._recorder.history.by_object(JOBS).values()]
        mine = [job for job in found if job["metadata"]["labels"].get(RUN) == run]
        return [(key[1], key[3]) for key in map(attempt_key, mine)]

    def pods(self, step: str, run: str = "x") -> list[Object]:
        """Every pod that was ever there for a step, in order of creation, as it was seen last."""
        found = [changes[-1].obj for changes in self._recorder.history.by_object(PODS).values()]
        mine = {RUN: run, STEP: step}
        return [pod for pod in found if mine.items() <= pod["metadata"].get("labels", {}).items()]

    def at_work(self, step: str, run: str = "x", *, behind: str = "", within: float = PATIENCE) -> Object:
        """Wait until a step's container has printed something, and its pod says that it runs; its pod.

        The pod says so up to a second after that; what is ended before counts as never begun.

        Args:
            step: which step, at its first attempt.
            run: of which run.
            behind: the first step of the pod, where several share it.
            within: seconds.

        Raises:
            AssertionError: it did not in time.
        """
        selector = f"{RUN}={run},{STEP}={behind or step}"
        deadline = time.monotonic() + within
        while time.monotonic() < deadline:
            for pod in self._observer.do(self._observer.api.list(PODS, self.namespace, selector)):
                alive = pod["status"].get("phase") in ("Pending", "Running")
                if alive and began(pod, step) and self._printed(pod, step):
                    return pod
            time.sleep(0.3)
        raise AssertionError(f"step {step} of run {run} printed nothing within {within:.0f} s")

    def _printed(self, pod: Object, container: str) -> bool:
        path = PODS.path(self.namespace, pod["metadata"]["name"], "log")
        try:
            return bool(self._observer.do(self._observer.api.raw("GET", path, query={"container": container})))
        except ApiError:  # it has not started
            return False

    def log(self, step: str, run: str = "x", attempt: int | None = None) -> str:
        """What a step's attempt (the only one unless told) printed, in whatever pod it was."""
        pods = self._observer.do(self._observer.api.list(PODS, self.namespace, f"{RUN}={run}"))
        tries = [pod["metadata"]["name"] for pod in pods if attempt in (None, *_tries(pod, step)) and began(pod, step)]
        assert tries, f"no pod has run step {step} of run {run}"
        return "".join(self.kubectl("logs", pod, "-c", step) for pod in tries)

    def events(self, run: str = "x", last: str = "") -> list[tuple[str, str, str]]:
        """Type, reason and message of a run's events; one of the reason `last` is waited for.

        The operator tells them in the background, a moment after the status.
        """
        deadline = time.monotonic() + 15
        while True:
            about = f"--field-selector=involvedObject.name={run}"
            items = self.site.read("events", "-n", self.namespace, about)["items"]
            if not last or last in {one["reason"] for one in items} or time.monotonic() > deadline:
                return [(one["type"], one["reason"], one["message"]) for one in items]
            time.sleep(0.5)

    def column(self, run: str = "x") -> dict[str, str]:
        """The line of `kubectl get drun` for a run, by its column heads."""
        heads, values = (line.split() for line in self.kubectl("get", "drun", run).splitlines())
        return dict(zip(heads, values, strict=True))

    def claims(self) -> list[str]:
        """Names of the claims that are there."""
        found = self._observer.do(self._observer.api.list(CLAIMS, self.namespace))
        return [one["metadata"]["name"] for one in found]

    # The end.

    def violations(self, within: float) -> str:
        """What does not hold once everything has come to rest, as text; empty if all does."""
        cluster = self._observer.do(self._recorder.settled(within))
        mine = "\n".join(map(str, check_all(self._recorder.history, cluster)))
        return "\n".join(filter(None, [mine, *(room.violations(within) for room in self._rooms)]))

    def close(self) -> None:
        """Remove the namespace, without waiting for its end."""
        for room in self._rooms:
            room.close()
        self._observer.forget(self.namespace)
        self._observer.do(self._observer.api.delete(NAMESPACES, None, self.namespace))


def _tries(pod: Object, step: str) -> list[int]:
    """Which attempt at a step a pod is, if it is any."""
    containers = [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]
    mine = [one.get("env", []) for one in containers if one["name"] == step]
    return [int(one["value"]) for env in mine for one in env if one["name"] == "DATAOPS_ATTEMPT"]


def row(run: Object, step: str) -> Object:
    """A step's row in a run's status."""
    return next(one for one in run["status"]["steps"] if one["name"] == step)


def shell(name: str, text: str, **fields: Any) -> Step:
    """A step that runs a shell script."""
    return {"name": name, "script": text, **fields}


def python(name: str, text: str, **fields: Any) -> Step:
    """A step that runs a Python script."""
    return {"name": name, "script": f"#!/usr/bin/env python3\n{text}", **fields}


def begins(start: Callable[[Room], object]) -> pytest.MarkDecorator:
    """Mark a test with the function that starts its runs, beside those of its module."""
    return pytest.mark.begins.with_args(start)


def until_gone(what: Callable[[], object], within: float = 90) -> None:
    """Wait until there is nothing any more.

    Raises:
        AssertionError: there still is after that many seconds.
    """
    deadline = time.monotonic() + within
    while left := what():
        assert time.monotonic() < deadline, f"still there after {within:.0f} s: {left}"
        time.sleep(0.5)
