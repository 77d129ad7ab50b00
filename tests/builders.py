"""Objects for tests, built by what matters: `a_pipeline().step("a").step("b", needs=["a"])`.

Every builder gives itself back, so that calls chain; `build()` gives the object as the API server would.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Self

from dataops_operator.api.environment import EnvironmentSpec
from dataops_operator.api.parameter import Parameter
from dataops_operator.api.pipeline import PipelineSpec
from dataops_operator.api.run import PipelineRunSpec
from dataops_operator.api.step import Step
from dataops_operator.core.accept import Pinned, pin
from dataops_operator.core.environment import Effective
from dataops_operator.core.inputs import Identity, Inputs
from dataops_operator.core.names import AGENT_CONTAINER
from dataops_operator.core.plan import View
from dataops_operator.core.revision import Revision, make_revision
from dataops_operator.core.steptemplates import Compiled, compile_pipeline
from dataops_operator.core.targets import resolve_targets
from dataops_operator.core.times import from_rfc3339, to_rfc3339

Object = dict[str, Any]

FUSE = "Never"
"""Whether steps share pods in pipelines that do not say it: most tests are about a step in its own pod. Those that hold
in both modes say so by the fixture `both_modes`."""
EPOCH = from_rfc3339("2026-01-05T06:00:00Z")
"""The moment at which the tests' time begins, in seconds."""
RUN_UID = "3f0c9f7e-5d5b-4c39-9a51-0f0f5b1f2a11"
RUNNER = "dataops-runner"


def at(seconds: float) -> str:
    """RFC 3339 time so many seconds after the epoch of the tests."""
    return to_rfc3339(EPOCH + seconds)


class PipelineBuilder:
    """A Pipeline; steps run `true` in the image `img` where nothing else is said."""

    def __init__(self, name: str = "flights", namespace: str = "team") -> None:
        self.name = name
        self.namespace = namespace
        self.raw: Object = {"steps": []}
        self.library: dict[str, Object] = {}

    def __repr__(self) -> str:
        return f"a_pipeline().having(**{self.raw})"

    def template(self, name: str, **fields: Any) -> Self:
        """Have a StepTemplate beside it, of that metadata.name; fields of its spec as on the wire."""
        self.library[name] = fields
        return self

    def uses(self, name: str, template: str, values: Mapping[str, Any] | None = None, **fields: Any) -> Self:
        """Add a step of a template."""
        given = [{"name": key, "value": value} for key, value in (values or {}).items()]
        body = {"name": name, "template": {"name": template}, "with": given or None, **fields}
        self.raw["steps"].append({key: value for key, value in body.items() if value is not None})
        return self

    def whole(self) -> Object:
        """Its spec as on the wire. `fuse` is said in any case, but where it was set to None."""
        fuse = self.raw.get("fuse", FUSE)
        return {key: value for key, value in {**self.raw, "fuse": fuse}.items() if key != "fuse" or value}

    def compiled(self) -> Compiled:
        """With its templates filled in."""
        return compile_pipeline(self.whole(), self.library)

    def step(self, name: str, **fields: Any) -> Self:
        """Add a step; fields as on the wire. `command=None` leaves the command out."""
        body: Object = {"name": name, "image": "img", **fields}
        if not {"command", "args", "script"} & fields.keys():
            body["command"] = ["true"]
        self.raw["steps"].append({key: value for key, value in body.items() if value is not None})
        return self

    def jobless(self, name: str, **fields: Any) -> Self:
        """Add a step that has no container; fields as on the wire."""
        self.raw["steps"].append({"name": name, **{key: value for key, value in fields.items() if value is not None}})
        return self

    def chain(self, *names: str, **fields: Any) -> Self:
        """Add steps of which each needs the one before."""
        for before, name in zip((None, *names), names, strict=False):
            self.step(name, **({"needs": [before]} if before else {}), **fields)
        return self

    def parameter(self, name: str, type_: str = "String", **fields: Any) -> Self:
        """Declare a parameter."""
        self.raw.setdefault("parameters", []).append({"name": name, "type": type_, **fields})
        return self

    def having(self, **fields: Any) -> Self:
        """Set fields of the spec, such as `defaults` and `workspace`."""
        self.raw.update(fields)
        return self

    def spec(self) -> PipelineSpec:
        """The spec as a model."""
        return PipelineSpec.model_validate(self.whole())

    def revision(self) -> Revision:
        """The revision of this content."""
        if not self.library:
            return make_revision(self.name, self.spec())
        made = self.compiled()
        assert made.spec is not None, made.problems
        return make_revision(self.name, made.spec, made.templates)

    def build(self) -> Object:
        """The object to apply."""
        return {
            "apiVersion": "dataops.dev/v1alpha1",
            "kind": "Pipeline",
            "metadata": {"name": self.name, "namespace": self.namespace},
            "spec": self.whole(),
        }


class RunBuilder:
    """A PipelineRun, created at the tests' epoch."""

    def __init__(self, name: str = "flights-1", pipeline: str = "flights", namespace: str = "team") -> None:
        self.name = name
        self.namespace = namespace
        self.uid = RUN_UID
        self.raw: Object = {"pipeline": pipeline}
        self.status: Object = {}

    def uid_of(self, uid: str) -> Self:
        """Set the uid."""
        self.uid = uid
        return self

    def parameter(self, name: str, value: Any) -> Self:
        """Give a parameter's value."""
        self.raw.setdefault("parameters", []).append({"name": name, "value": value})
        return self

    def having(self, **fields: Any) -> Self:
        """Set fields of the spec, such as `revision` and `logicalDate`."""
        self.raw.update(fields)
        return self

    def standing(self, status: Mapping[str, Any]) -> Self:
        """Set the status."""
        self.status = dict(status)
        return self

    def spec(self) -> PipelineRunSpec:
        """The spec as a model."""
        return PipelineRunSpec.model_validate(self.raw)

    def identity(self) -> Identity:
        """Who the run is."""
        return Identity(self.namespace, self.name, self.uid, self.raw["pipeline"])

    def pinned(self, pipeline: PipelineBuilder, environment: Effective | None = None) -> Pinned:
        """What the run is accepted with; fails the test where it is refused."""
        settled = pin(self.identity(), self.spec(), at(0), pipeline.revision(), environment)
        assert isinstance(settled, Pinned), settled
        return settled

    def inputs(self, pipeline: PipelineBuilder, environment: Effective | None = None) -> Inputs:
        """What the run's steps may use."""
        fixed = self.pinned(pipeline, environment)
        return Inputs(self.identity(), pipeline.revision(), fixed.parameters, fixed.logical_date, RUNNER, environment)

    def build(self) -> Object:
        """The object, with its status where one was set."""
        body: Object = {
            "apiVersion": "dataops.dev/v1alpha1",
            "kind": "PipelineRun",
            "metadata": {"name": self.name, "namespace": self.namespace},
            "spec": self.raw,
        }
        if self.status:
            body["metadata"] |= {"uid": self.uid, "creationTimestamp": at(0), "generation": 1}
            body["status"] = self.status
        return body


class JobBuilder:
    """A Job as the API server gives it back."""

    def __init__(self, name: str = "job", created: float = 0) -> None:
        self.body: Object = {
            "metadata": {"name": name, "uid": f"uid-{name}", "creationTimestamp": at(created)},
            "status": {"startTime": at(created)},
        }

    @classmethod
    def of(cls, body: Mapping[str, Any], created: float = 0) -> Self:
        """The stored form of a Job that was created from this body."""
        made = cls(body["metadata"]["name"], created)
        made.body["metadata"] |= {key: value for key, value in body["metadata"].items() if key != "namespace"}
        made.body["spec"] = body["spec"]
        return made

    def _condition(self, type_: str, seconds: float, reason: str, message: str) -> Self:
        self.body["status"].setdefault("conditions", []).append(
            {"type": type_, "status": "True", "reason": reason, "message": message, "lastTransitionTime": at(seconds)}
        )
        return self

    def taken_up(self, seconds: float | None) -> Self:
        """The Job controller got to it so late; None where it has not yet."""
        self.body["status"] = {"startTime": at(seconds)} if seconds is not None else {}
        return self

    def complete(self, seconds: float = 60) -> Self:
        """The Job controller says that it is Complete."""
        return self._condition("Complete", seconds, "CompletionsReached", "")

    def failed(self, reason: str = "BackoffLimitExceeded", message: str = "", seconds: float = 60) -> Self:
        """The Job controller says that it has Failed."""
        return self._condition("Failed", seconds, reason, message)

    def failing(self) -> Self:
        """The Job controller says that it will fail, which is not the end."""
        return self._condition("FailureTarget", 0, "PodFailurePolicy", "")

    def deleting(self) -> Self:
        """Somebody deletes it."""
        self.body["metadata"]["deletionTimestamp"] = at(60)
        return self

    def build(self) -> Object:
        """The object."""
        return self.body


class PodBuilder:
    """A pod of a step, pending and without container statuses at first."""

    def __init__(self, step: str = "a", name: str = "pod") -> None:
        self.step = step
        self.body: Object = {
            "metadata": {"name": name, "uid": f"uid-{name}"},
            "spec": {},
            "status": {"phase": "Pending"},
        }

    def _state(self, **state: Any) -> Self:
        self.body["status"]["containerStatuses"] = [
            {"name": self.step, "imageID": "registry/img@sha256:abc", "state": state}
        ]
        return self

    def _ended(self, phase: str, code: int, reason: str, message: str, began: float, ended: float) -> Self:
        self.body["status"] |= {"phase": phase, "startTime": at(began)}
        terminated = {"exitCode": code, "reason": reason, "startedAt": at(began), "finishedAt": at(ended)}
        return self._state(terminated=terminated | ({"message": message} if message else {}))

    def running(self, began: float = 2) -> Self:
        """Its container runs."""
        self.body["status"] |= {"phase": "Running", "startTime": at(began)}
        return self._state(running={"startedAt": at(began)})

    def succeeded(
        self, outputs: Mapping[str, Any] | None = None, *, message: str = "", began: float = 2, ended: float = 9
    ) -> Self:
        """Its container exited with 0; `message` is the whole result where outputs are not enough."""
        text = json.dumps({"outputs": outputs}) if outputs is not None else message
        return self._ended("Succeeded", 0, "Completed", text, began, ended)

    def failed(
        self, exit_code: int = 1, *, reason: str = "Error", message: str = "", began: float = 2, ended: float = 9
    ) -> Self:
        """Its container exited with a code that is not 0."""
        return self._ended("Failed", exit_code, reason, message, began, ended)

    def limited(self, seconds: int) -> Self:
        """Its kubelet ends it so many seconds after its start."""
        self.body["spec"]["activeDeadlineSeconds"] = seconds
        return self

    def out_of_time(self, seconds: int) -> Self:
        """Its kubelet has ended it, as it does so many seconds after its start; containers are left as they were."""
        return self.limited(seconds).gone_bad("DeadlineExceeded")

    def gone_bad(self, reason: str | None = None, message: str | None = None, **spec: Any) -> Self:
        """The pod's own status says Failed; containers are left as they were."""
        told = {"reason": reason, "message": message}
        self.body["status"] |= {"phase": "Failed"} | {key: value for key, value in told.items() if value}
        self.body["spec"] |= spec
        return self

    def disrupted(self, reason: str | None = "EvictionByEvictionAPI", message: str | None = None) -> Self:
        """It carries the condition of a disruption."""
        told = {"type": "DisruptionTarget", "status": "True", "reason": reason, "message": message}
        self.body["status"].setdefault("conditions", []).append({k: v for k, v in told.items() if v})
        return self

    def deleted(self) -> Self:
        """Somebody deletes it."""
        self.body["metadata"]["deletionTimestamp"] = at(9)
        return self

    def agent(self, **state: Any) -> Self:
        """The state of its init container that reads secrets; its own container waits."""
        self._state(waiting={"reason": "PodInitializing"})
        self.body["status"]["initContainerStatuses"] = [{"name": AGENT_CONTAINER, "state": state}]
        return self

    def waiting(self, reason: str, message: str = "") -> Self:
        """Its container cannot start."""
        return self._state(waiting={"reason": reason} | ({"message": message} if message else {}))

    def unschedulable(self, message: str = "0/1 nodes are available") -> Self:
        """No node takes it."""
        self.body["status"].setdefault("conditions", []).append(
            {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
        )
        return self

    def build(self) -> Object:
        """The object."""
        return self.body


def an_environment(name: str = "prod", namespace: str = "team", **spec: Any) -> Effective:
    """An environment as runs use it; fields of the spec as on the wire."""
    model = EnvironmentSpec.model_validate(spec)
    execution = model.namespace or namespace
    targets, problems = resolve_targets(model, namespace, name, execution, None)
    assert not problems, problems
    return Effective(namespace, name, execution, f"{name}-0", model, {one.name: one for one in targets})


def a_pipeline(name: str = "flights", namespace: str = "team") -> PipelineBuilder:
    """A pipeline without steps."""
    return PipelineBuilder(name, namespace)


def a_run(name: str = "flights-1", pipeline: str = "flights", namespace: str = "team") -> RunBuilder:
    """A run of a pipeline."""
    return RunBuilder(name, pipeline, namespace)


def a_job(name: str = "job", created: float = 0) -> JobBuilder:
    """A Job that has only been created."""
    return JobBuilder(name, created)


def a_pod(step: str = "a", name: str = "pod") -> PodBuilder:
    """A pod that has only been created."""
    return PodBuilder(step, name)


def a_step(name: str = "a", **fields: Any) -> Step:
    """A step as a model."""
    return a_pipeline().step(name, **fields).spec().steps[0]


def a_parameter(type_: str = "String", name: str = "p", **fields: Any) -> Parameter:
    """A parameter as a model."""
    return Parameter.model_validate({"name": name, "type": type_, **fields})


def a_view(*jobs: tuple[JobBuilder, Sequence[PodBuilder]], **more: Any) -> View:
    """A view of Jobs, each with its pods."""
    built = [(job.build(), [pod.build() for pod in pods]) for job, pods in jobs]
    return View(
        jobs={job["metadata"]["name"]: job for job, _ in built},
        pods={job["metadata"]["uid"]: pods for job, pods in built if pods},
        **more,
    )
