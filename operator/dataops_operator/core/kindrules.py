"""What can be known to be wrong with a step that has no container."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ..api.base import GROUP, parse_duration
from ..api.step import Step
from ..api.stepkinds import Approval, ObjectStep, Wait
from .objects import never_allowed
from .problems import Problem
from .stepfields import Kind, kind_of
from .templating import references
from .times import parse_time

_OF_CONTAINERS: Final = {
    "template": "template",
    "image": "image",
    "command": "command",
    "args": "args",
    "script": "script",
    "env": "env",
    "resources": "resources",
    "secrets": "secrets",
    "workspace": "workspace",
    "podTemplate": "pod_template",
    "forEach": "for_each",
    "results": "results",
    "cache": "cache",
}
_OF_WORK: Final = {"outputs": "outputs", "retry": "retry", "startTimeout": "start_timeout"}
_NOT_SAID: Final = ("name", "generateName", "namespace", "ownerReferences", "finalizers")
_LONGEST: Final = "366d"


def kind_problems(path: str, step: Step) -> Iterator[Problem]:
    """What is wrong with a step that has no container, besides its templates and conditions."""
    yield from _fields(path, step, kind_of(step))
    if step.approval is not None:
        yield from _approval(f"{path}.approval", step.approval)
        if step.timeout is not None:
            yield Problem(f"{path}.timeout", "an approval has its own timeout; write approval.timeout")
    if step.wait is not None:
        yield from _wait(f"{path}.wait", step.wait, step.timeout)
    if step.resource is not None:
        yield from _resource(f"{path}.resource", step.resource)
    if step.pipeline is not None:
        yield from _twice(f"{path}.pipeline.parameters", [one.name for one in step.pipeline.parameters or ()])


def final_problems(path: str, step: Step) -> Iterator[Problem]:
    """What is wrong with a step of `finally` that waits for others: neither a cancel nor the run's timeout ends it."""
    why = "needed in finally, which neither a Graceful cancel nor the run's timeout ends"
    if step.approval is not None and step.approval.timeout is None:
        yield Problem(f"{path}.approval.timeout", why)
    if step.wait is not None and step.wait.condition is not None and step.timeout is None:
        yield Problem(f"{path}.timeout", why)


def _fields(path: str, step: Step, kind: Kind | None) -> Iterator[Problem]:
    """Fields that a step of its kind has not."""
    said = [name for name in Kind if getattr(step, name) is not None]
    if len(said) > 1:
        yield Problem(f"{path}.{said[1]}", f"a step is one of {', '.join(Kind)}, and this one is {said[0]}; remove one")
    for field, attribute in _OF_CONTAINERS.items():
        if getattr(step, attribute) is not None:
            yield Problem(f"{path}.{field}", f"belongs to a container, and this step is of the kind {kind}; remove it")
    for field, attribute in _OF_WORK.items() if kind in (Kind.APPROVAL, Kind.WAIT) else ():
        if getattr(step, attribute) is not None:
            yield Problem(f"{path}.{field}", f"a step of the kind {kind} has none; remove it")
    if step.resource is not None and step.outputs is not None:
        yield Problem(f"{path}.outputs", "outputs of a resource are taken from its object; write resource.outputs")


def _twice(path: str, names: list[str]) -> Iterator[Problem]:
    for index, name in enumerate(names):
        if name in names[:index]:
            yield Problem(f"{path}[{index}].name", f"the name {name!r} is there already; names are unique")


def _approval(path: str, approval: Approval) -> Iterator[Problem]:
    if approval.timeout is not None:
        yield from _bounded(f"{path}.timeout", approval.timeout)
        if parse_duration(approval.timeout) == 0:
            yield Problem(f"{path}.timeout", f"{approval.timeout} is no time at all; write at least 1s")
    if approval.timeout is None and approval.on_timeout == "Approve":
        yield Problem(f"{path}.onTimeout", "Approve means nothing without a timeout; add one")
    who = approval.approvers
    if who is not None and not who.users and not who.groups:
        yield Problem(f"{path}.approvers", "nobody could decide; name users or groups, or remove approvers")


def _wait(path: str, wait: Wait, timeout: str | None) -> Iterator[Problem]:
    given = [one for one in (wait.duration, wait.until, wait.condition) if one is not None]
    if len(given) != 1:
        yield Problem(path, "a wait is for a duration, until a time, or for a condition; give exactly one")
        return
    if wait.duration is not None:
        yield from _bounded(f"{path}.duration", wait.duration)
        if timeout is not None and parse_duration(timeout) <= parse_duration(wait.duration):
            text = f"{wait.duration} is not shorter than the step's timeout of {timeout}; it would always fail"
            yield Problem(f"{path}.duration", text)
    if wait.condition is not None:
        yield from _never(f"{path}.condition.kind", wait.condition.api_version, wait.condition.kind)
    if wait.until is not None and not any(references(wait.until)):
        try:
            parse_time(wait.until)
        except ValueError as error:
            yield Problem(f"{path}.until", str(error))


def _bounded(path: str, text: str) -> Iterator[Problem]:
    if parse_duration(text) > parse_duration(_LONGEST):
        yield Problem(path, f"{text} is longer than {_LONGEST}; write less")


def _resource(path: str, resource: ObjectStep) -> Iterator[Problem]:
    manifest = resource.manifest
    yield from _twice(f"{path}.outputs", [one.name for one in resource.outputs or ()])
    for field, example in (("apiVersion", "batch/v1"), ("kind", "Job")):
        told = manifest.get(field)
        if not isinstance(told, str) or not told or any(references(told)):
            yield Problem(f"{path}.manifest.{field}", f"write it, such as {example}; it may be no template")
    yield from _never(f"{path}.manifest.kind", str(manifest.get("apiVersion")), str(manifest.get("kind")))
    meta = manifest.get("metadata", {})
    if not isinstance(meta, dict):
        yield Problem(f"{path}.manifest.metadata", "not an object")
        return
    for field in _NOT_SAID:
        if field in meta:
            text = "is not yours to say: the object is the run's, in its namespace, of a name of its own; remove it"
            yield Problem(f"{path}.manifest.metadata.{field}", text)
    for field in ("labels", "annotations"):
        given = meta.get(field) or {}
        if not isinstance(given, dict):
            yield Problem(f"{path}.manifest.metadata.{field}", "not an object")
        elif any(str(key).startswith(f"{GROUP}/") for key in given):
            yield Problem(f"{path}.manifest.metadata.{field}", f"{GROUP}/... belongs to the operator; remove it")
    if "status" in manifest:
        yield Problem(f"{path}.manifest.status", "is the controller's of the kind to write; remove it")


def _never(path: str, api_version: str, kind: str) -> Iterator[Problem]:
    if never_allowed(api_version, kind):
        yield Problem(path, f"{kind} ({api_version}) is a kind that no step may touch, whatever stepObjects lists")
