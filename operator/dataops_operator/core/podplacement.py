"""What comes of a podTemplate in a pod, and what its environment allows of it.

Of a step's, its template's and the pipeline's, the first that says a field is heard. The environment's own words on
nodes come on top and cannot be taken back: its node labels win, and its taints are tolerated besides. What could lead a
pod to other nodes, before other pods or under others' selectors, the environment has to list (`podPolicy`); where there
is none, nothing of it is allowed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from ..api.conditions import Reason
from ..api.podtemplate import PodPolicy, PodTemplate, Volume
from ..api.step import Step
from .graph import placed
from .inputs import Inputs
from .podtemplate import merged
from .problems import Problem
from .revision import Revision

VOLUME_PREFIX: Final = "extra-"
"""Before the names of volumes of a user, so that none is ever one of ours."""

_FREE_KEY: Final = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_]{0,61}[A-Za-z0-9])?")
"""Keys of annotations that no system acts on: theirs have a prefix (Kubernetes, "Labels and Selectors"), or dots."""


def pod_template(revision: Revision, step: Step) -> PodTemplate:
    """What is said about a step's pod; two steps of which it is equal may share one."""
    return merged(step.pod_template, revision.defaults.pod_template) or PodTemplate()


def refusals(inputs: Inputs, where: str, step: Step) -> Iterator[tuple[Reason, Problem]]:
    """What of a step's podTemplate its environment does not allow; `where` is the step's path in the pipeline."""
    whole = pod_template(inputs.revision, step)
    policy = (inputs.environment.spec.pod_policy if inputs.environment is not None else None) or PodPolicy()
    pipeline, own = f"pipeline {inputs.identity.pipeline}", step.pod_template or PodTemplate()

    def refuse(name: str, field: str, rest: str, listed: str, what: str) -> tuple[Reason, Problem]:
        place = where if getattr(own, name) is not None else "spec.defaults"
        if inputs.environment is None:
            cure = f"namespace {inputs.identity.namespace} belongs to no environment, which could allow it in {listed}"
        else:
            cure = f"environment {inputs.environment.key} does not list it in its {listed}"
        text = f"{what}: {cure}; remove it, or have it listed there"
        return Reason.POD_NOT_ALLOWED, Problem(f"{pipeline}: {place}.podTemplate.{field}{rest}", text)

    for key in whole.labels or {}:
        if key not in (policy.labels or ()):
            yield refuse("labels", "labels", f"[{key}]", "spec.podPolicy.labels", f"label {key!r}")
    for key in whole.annotations or {}:
        if not _FREE_KEY.fullmatch(key) and key not in (policy.annotations or ()):
            yield refuse("annotations", "annotations", f"[{key}]", "spec.podPolicy.annotations", f"annotation {key!r}")
    for number, one in enumerate(whole.tolerations or ()):
        if one.key not in (policy.taints or ()):
            what = f"tolerating {one.key!r}"
            yield refuse("tolerations", "tolerations", f"[{number}].key", "spec.podPolicy.taints", what)
    wanted = whole.priority_class_name
    if wanted is not None and wanted not in (policy.priority_classes or ()):
        what = f"priority class {wanted!r}"
        yield refuse("priority_class_name", "priorityClassName", "", "spec.podPolicy.priorityClasses", what)


def claims(revision: Revision) -> dict[str, str]:
    """The claims that a pipeline names, each with the path where it does so first."""
    spec, found = revision.spec, dict[str, str]()
    if spec.workspace is not None and spec.workspace.claim is not None:
        found[spec.workspace.claim] = "spec.workspace.claim"
    for where, step in placed(spec):
        own = step.pod_template is not None and step.pod_template.volumes is not None
        place = where if own else "spec.defaults"
        for number, volume in enumerate(pod_template(revision, step).volumes or ()):
            if volume.claim is not None:
                found.setdefault(volume.claim.name, f"{place}.podTemplate.volumes[{number}].claim.name")
    return found


# What comes of it.


def placement(inputs: Inputs, step: Step) -> dict[str, Any]:
    """Where a pod may run and before whom, and what it pulls images with."""
    defaults = inputs.environment.spec.pod_defaults if inputs.environment is not None else None
    bounds: Mapping[str, Any] = {}
    if defaults is not None:
        bounds = defaults.model_dump(by_alias=True, exclude_none=True, exclude={"resources"})
    fields = {"node_selector", "tolerations", "affinity", "priority_class_name"}
    asked = pod_template(inputs.revision, step).model_dump(by_alias=True, exclude_none=True, include=fields)
    out = {**asked, **bounds}
    out["nodeSelector"] = {**asked.get("nodeSelector", {}), **bounds.get("nodeSelector", {})}
    own = bounds.get("tolerations", [])
    out["tolerations"] = [*own, *(one for one in asked.get("tolerations", []) if one not in own)]
    return {key: value for key, value in out.items() if value}


def pod_labels(inputs: Inputs, step: Step) -> Mapping[str, str]:
    """A pod's labels beside ours."""
    return pod_template(inputs.revision, step).labels or {}


def pod_annotations(inputs: Inputs, step: Step) -> Mapping[str, str]:
    """A pod's annotations beside ours."""
    return pod_template(inputs.revision, step).annotations or {}


def pod_volumes(inputs: Inputs, step: Step) -> list[dict[str, Any]]:
    """A pod's volumes beside ours: those that something is mounted of."""
    whole = pod_template(inputs.revision, step)
    used = {mount.name for mount in whole.volume_mounts or ()}
    return [_source(volume) for volume in whole.volumes or () if volume.name in used]


def _source(volume: Volume) -> dict[str, Any]:
    out: dict[str, Any] = {"name": f"{VOLUME_PREFIX}{volume.name}"}
    if volume.empty_dir is not None:
        out["emptyDir"] = volume.empty_dir.model_dump(by_alias=True, exclude_none=True)
    elif volume.config_map is not None:
        out["configMap"] = volume.config_map.model_dump(by_alias=True, exclude_none=True, exclude_defaults=True)
    elif volume.claim is not None:
        read_only = {"readOnly": True} if volume.claim.read_only else {}
        out["persistentVolumeClaim"] = {"claimName": volume.claim.name, **read_only}
    return out


def volume_mounts(inputs: Inputs, step: Step) -> list[dict[str, Any]]:
    """A container's mounts beside ours."""
    out = []
    for mount in pod_template(inputs.revision, step).volume_mounts or ():
        one: dict[str, Any] = {"name": f"{VOLUME_PREFIX}{mount.name}", "mountPath": mount.mount_path}
        if mount.sub_path is not None:
            one["subPath"] = mount.sub_path
        out.append(one | {"readOnly": True} if mount.read_only else one)
    return out
