"""podTemplate: what is wrong with one, before anybody knows where it will run."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import Final

from ..api.pipeline import PipelineSpec
from ..api.podtemplate import RESERVED_MOUNTS, Affinity, PodPolicy, PodTemplate, Requirement, Volume
from .graph import placed
from .problems import Problem, nearest
from .quantities import QUANTITY

_KEY: Final = re.compile(
    r"([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
)
_LABEL_VALUE: Final = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
_RESERVED: Final = re.compile(r"([^/]*\.)?(dataops\.dev|kubernetes\.io|k8s\.io)/.*|job-name|controller-uid")
_VALUELESS: Final = ("Exists", "DoesNotExist")


def merged(own: PodTemplate | None, other: PodTemplate | None) -> PodTemplate | None:
    """A podTemplate, filled up field by field from another one."""
    if own is None or other is None:
        return own or other
    return other.model_copy(
        update={name: value for name in PodTemplate.model_fields if (value := getattr(own, name)) is not None}
    )


# What is wrong with one.


def is_reserved(key: str) -> bool:
    """Whether a key of labels or annotations is the cluster's or ours."""
    return _RESERVED.fullmatch(key) is not None


def problems_of(spec: PipelineSpec) -> Iterator[Problem]:
    """What is wrong with the podTemplates of a pipeline, its step templates filled in."""
    defaults = spec.defaults.pod_template if spec.defaults is not None else None
    if defaults is not None:
        yield from template_problems("spec.defaults.podTemplate", defaults, defaults)
    for path, step in placed(spec):
        whole = merged(step.pod_template, defaults)
        if step.pod_template is not None and whole is not None:
            yield from template_problems(f"{path}.podTemplate", step.pod_template, whole)


def template_problems(path: str, own: PodTemplate, whole: PodTemplate) -> Iterator[Problem]:
    """What is wrong with a podTemplate.

    Args:
        path: where it stands.
        own: what stands there.
        whole: the same, filled up: a mount may be of a volume that stands elsewhere.
    """
    for field, given in (("labels", own.labels), ("annotations", own.annotations), ("nodeSelector", own.node_selector)):
        for key, value in (given or {}).items():
            yield from _pair(f"{path}.{field}[{key[:100]}]", field, key, value)
    for number, one in enumerate(own.tolerations or ()):
        if one.key is None:
            text = "a toleration of every taint leads to every node; name the taint's key"
            yield Problem(f"{path}.tolerations[{number}].key", text)
    if (own.priority_class_name or "").startswith("system-"):
        yield Problem(f"{path}.priorityClassName", "the classes system-... are the cluster's own; name another one")
    if own.affinity is not None:
        for number, asked in enumerate(_requirements(own.affinity)):
            if (asked.operator in _VALUELESS) != (not asked.values):
                text = (
                    f"condition {number + 1}, on {asked.key}: In, NotIn, Gt and Lt need values; Exists and DoesNotExist"
                )
                yield Problem(f"{path}.affinity", f"{text} have none")
    names: set[str] = set()
    for number, volume in enumerate(own.volumes or ()):
        where = f"{path}.volumes[{number}]"
        if volume.name in names:
            yield Problem(f"{where}.name", f"the name {volume.name!r} is there already; names are unique")
        names.add(volume.name)
        yield from _volume(where, volume)
    yield from _mounts(path, own, {volume.name for volume in whole.volumes or ()})


def _pair(path: str, field: str, key: str, value: str) -> Iterator[Problem]:
    if not _KEY.fullmatch(key) or len(key.rpartition("/")[0]) > 253:
        yield Problem(path, f"{key[:100]!r} is no key of a label or annotation; write it as Kubernetes has them")
    elif field != "nodeSelector" and is_reserved(key):
        yield Problem(path, "keys of dataops.dev, kubernetes.io and k8s.io are not a step's to set; remove it")
    if field != "annotations" and not _LABEL_VALUE.fullmatch(value):
        yield Problem(path, f"{value!r} is no value of a label: at most 63 letters, digits, '-', '_' and '.'")


def _requirements(affinity: Affinity) -> Iterator[Requirement]:
    node = affinity.node_affinity
    if node is not None:
        if (needed := node.required_during_scheduling_ignored_during_execution) is not None:
            for term in needed.node_selector_terms:
                yield from term.match_expressions
        for preferred in node.preferred_during_scheduling_ignored_during_execution or ():
            yield from preferred.preference.match_expressions
    for pods in (affinity.pod_affinity, affinity.pod_anti_affinity):
        if pods is not None:
            terms = list(pods.required_during_scheduling_ignored_during_execution or ())
            terms += [one.pod_affinity_term for one in pods.preferred_during_scheduling_ignored_during_execution or ()]
            for one in terms:
                yield from one.label_selector.match_expressions or ()


def _volume(path: str, volume: Volume) -> Iterator[Problem]:
    if sum(one is not None for one in (volume.empty_dir, volume.config_map, volume.claim)) != 1:
        yield Problem(path, "a volume is exactly one of emptyDir, configMap and claim")
    if volume.empty_dir is not None:
        limit = volume.empty_dir.size_limit
        if volume.empty_dir.medium is not None and limit is None:
            yield Problem(f"{path}.emptyDir.sizeLimit", "memory is the node's: say how much with sizeLimit")
        if limit is not None and not QUANTITY.fullmatch(limit):
            yield Problem(f"{path}.emptyDir.sizeLimit", f"{limit!r} is not a quantity; write a size such as 1Gi")


def _mounts(path: str, own: PodTemplate, volumes: Collection[str]) -> Iterator[Problem]:
    places: set[str] = set()
    for number, mount in enumerate(own.volume_mounts or ()):
        where = f"{path}.volumeMounts[{number}]"
        if mount.name not in volumes:
            yield Problem(
                f"{where}.name", f"no volume {mount.name!r} in podTemplate.volumes{nearest(mount.name, volumes)}"
            )
        if mount.mount_path in places:
            yield Problem(
                f"{where}.mountPath", f"something is mounted at {mount.mount_path} already; mount it elsewhere"
            )
        places.add(mount.mount_path)
        if any(
            mount.mount_path == one or (one != "/tmp" and mount.mount_path.startswith(f"{one}/"))  # noqa: S108
            for one in RESERVED_MOUNTS
        ):
            text = "the step contract's and the runtime's own places are not a step's to take; mount it elsewhere"
            yield Problem(f"{where}.mountPath", text)


def policy_problems(policy: PodPolicy) -> Iterator[Problem]:
    """What is wrong with an Environment's spec.podPolicy."""
    for field, keys in (("labels", policy.labels), ("annotations", policy.annotations)):
        for number, key in enumerate(keys or ()):
            if is_reserved(key):
                text = f"{field} of dataops.dev, kubernetes.io and k8s.io are not a step's to set; remove it"
                yield Problem(f"spec.podPolicy.{field}[{number}]", text)
    for number, name in enumerate(policy.priority_classes or ()):
        if name.startswith("system-"):
            text = "the classes system-... are the cluster's own; remove it"
            yield Problem(f"spec.podPolicy.priorityClasses[{number}]", text)
