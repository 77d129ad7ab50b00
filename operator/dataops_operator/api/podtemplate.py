"""podTemplate: what a pipeline may say about the pod of a step; and what an Environment allows of it.

An allow-list of leaf fields: the pod is built from them field by field, so that what is not a field here cannot be
said at all. Nothing of a pod's identity, security, network or host is among them, and volumes are of kinds that hold
no secret and lead to no host.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field, StringConstraints

from .base import LIST_ATOMIC, LIST_BY_NAME, LIST_SET, ApiModel, Name, rule, rules

LabelKey = Annotated[
    str,
    StringConstraints(
        pattern=r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$",
        min_length=1,
        max_length=317,
    ),
]
LabelValue = Annotated[str, StringConstraints(pattern=r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$", max_length=63)]
LabelMap = Annotated[
    dict[
        Annotated[str, StringConstraints(max_length=317)],
        Annotated[str, StringConstraints(max_length=63)],
    ],
    Field(max_length=16),
]
AnnotationMap = Annotated[
    dict[
        Annotated[str, StringConstraints(max_length=317)],
        Annotated[str, StringConstraints(max_length=1024)],
    ],
    Field(max_length=16),
]
ObjectName = Annotated[
    str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", min_length=1, max_length=253)
]
# No part of a path is '.' or '..'.
Path = Annotated[
    str,
    StringConstraints(pattern=r"^\.?[A-Za-z0-9_-][A-Za-z0-9_.-]*(/\.?[A-Za-z0-9_-][A-Za-z0-9_.-]*)*$", max_length=253),
]
MountPath = Annotated[
    str, StringConstraints(pattern=r"^(/\.?[A-Za-z0-9_@+-][A-Za-z0-9_.@+-]*)+$", min_length=2, max_length=253)
]
RESERVED_MOUNTS: Final = ("/tmp", "/dataops", "/proc", "/sys", "/dev")  # noqa: S108 - paths inside the container
"""Where no volume of a user is mounted; below all of them but /tmp neither."""


class Toleration(ApiModel):
    """A node taint that pods tolerate, as Kubernetes has it."""

    key: Annotated[str, StringConstraints(max_length=317)] | None = None
    """Key of the taint; every taint where unset."""
    operator: Literal["Exists", "Equal"] = "Equal"
    """How key and value are compared."""
    value: Annotated[str, StringConstraints(max_length=63)] | None = None
    """Value of the taint."""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    """Effect of the taint; every effect where unset."""


class Requirement(ApiModel):
    """A condition on a label, as Kubernetes has it."""

    model_config = ApiModel.model_config | {
        "json_schema_extra": rules(
            rule(
                "self.operator in ['Exists', 'DoesNotExist'] ? !has(self.values) || self.values.size() == 0"
                " : has(self.values) && self.values.size() > 0",
                "In, NotIn, Gt and Lt need values; Exists and DoesNotExist have none",
                ".values",
            )
        )
    }

    key: LabelKey
    """Key of the label."""
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"]
    """How the label is compared; Gt and Lt are for labels of nodes, as whole numbers."""
    values: Annotated[list[LabelValue], Field(max_length=32, json_schema_extra=LIST_ATOMIC)] | None = None
    """What it is compared with."""


Requirements = Annotated[list[Requirement], Field(min_length=1, max_length=8, json_schema_extra=LIST_ATOMIC)]
Weight = Annotated[int, Field(ge=1, le=100)]


class NodeTerm(ApiModel):
    """Nodes of which all of these conditions hold."""

    match_expressions: Requirements
    """Conditions on the node's labels."""


class NodeSelection(ApiModel):
    """Nodes that fit one of several terms."""

    node_selector_terms: Annotated[list[NodeTerm], Field(min_length=1, max_length=8, json_schema_extra=LIST_ATOMIC)]
    """Terms, of which one has to fit."""


class PreferredNodes(ApiModel):
    """Nodes that are taken first where there is a choice."""

    weight: Weight
    """How much it counts beside the others."""
    preference: NodeTerm
    """Which nodes."""


class NodeAffinity(ApiModel):
    """Which nodes a pod needs, or would rather have."""

    required_during_scheduling_ignored_during_execution: NodeSelection | None = None
    """Nodes out of which one is taken, among those that the node selector leaves."""
    preferred_during_scheduling_ignored_during_execution: (
        Annotated[list[PreferredNodes], Field(max_length=8, json_schema_extra=LIST_ATOMIC)] | None
    ) = None
    """Nodes that are taken first."""


class PodSelector(ApiModel):
    """Pods of the same namespace, by label."""

    match_labels: LabelMap | None = None
    """Labels that they have, such as dataops.dev/pipeline."""
    match_expressions: Requirements | None = None
    """Conditions on their labels."""


class PodTerm(ApiModel):
    """Pods of the same namespace, and what near means."""

    topology_key: LabelKey
    """Label of nodes that are near each other where they have the same value, such as kubernetes.io/hostname."""
    label_selector: PodSelector
    """Which pods."""


class WeightedPods(ApiModel):
    """Pods that are kept near or far where there is a choice."""

    weight: Weight
    """How much it counts beside the others."""
    pod_affinity_term: PodTerm
    """Which pods."""


PodTerms = Annotated[list[PodTerm], Field(max_length=4, json_schema_extra=LIST_ATOMIC)]
WeightedTerms = Annotated[list[WeightedPods], Field(max_length=4, json_schema_extra=LIST_ATOMIC)]


class PodAffinity(ApiModel):
    """Pods of the same namespace to be near to, or far from."""

    required_during_scheduling_ignored_during_execution: PodTerms | None = None
    """What has to hold."""
    preferred_during_scheduling_ignored_during_execution: WeightedTerms | None = None
    """What is tried."""


class Affinity(ApiModel):
    """Where a pod goes, by nodes and by other pods; fields as Kubernetes has them."""

    node_affinity: NodeAffinity | None = None
    """By nodes."""
    pod_affinity: PodAffinity | None = None
    """Near other pods of the namespace."""
    pod_anti_affinity: PodAffinity | None = None
    """Far from other pods of the namespace."""


class EmptyDir(ApiModel):
    """A directory that goes with the pod."""

    model_config = ApiModel.model_config | {
        "json_schema_extra": rules(
            rule(
                "!has(self.medium) || has(self.sizeLimit)",
                "memory is the node's: say how much with sizeLimit",
                ".sizeLimit",
            )
        )
    }

    medium: Literal["Memory"] | None = None
    """Memory, which counts as the container's own; the node's disk where unset."""
    size_limit: (
        Annotated[str, StringConstraints(pattern=r"^[0-9]+(\.[0-9]+)?(Ki|Mi|Gi|Ti|k|M|G|T)?$", max_length=32)] | None
    ) = None
    """How large it may become, such as 1Gi."""


class ConfigItem(ApiModel):
    """One key of a ConfigMap."""

    key: Annotated[str, StringConstraints(pattern=r"^[-._a-zA-Z0-9]+$", min_length=1, max_length=253)]
    """Key."""
    path: Path
    """File below the mount."""


class ConfigFiles(ApiModel):
    """A ConfigMap of the run's namespace, read-only."""

    name: ObjectName
    """Name of the ConfigMap."""
    items: Annotated[list[ConfigItem], Field(min_length=1, max_length=32, json_schema_extra=LIST_ATOMIC)] | None = None
    """The keys to take; all of them, by their own names, where unset."""
    optional: bool = False
    """Whether the step starts without it where it does not exist."""


class Claim(ApiModel):
    """A PersistentVolumeClaim of the run's namespace."""

    name: ObjectName
    """Name of a claim whose owner offers it to runs by the label dataops.dev/allow-runs: "true"."""
    read_only: bool = False
    """Whether it is only read."""


class Volume(ApiModel):
    """A volume of a step's pod."""

    model_config = ApiModel.model_config | {
        "json_schema_extra": rules(
            rule(
                "[has(self.emptyDir), has(self.configMap), has(self.claim)].filter(x, x).size() == 1",
                "a volume is exactly one of emptyDir, configMap and claim",
            )
        )
    }

    name: Annotated[Name, StringConstraints(max_length=40)]
    """Name that volumeMounts use."""
    empty_dir: EmptyDir | None = None
    """A directory that goes with the pod."""
    config_map: ConfigFiles | None = None
    """A ConfigMap of the run's namespace, read-only."""
    claim: Claim | None = None
    """A claim of the run's namespace that is offered to runs."""


class VolumeMount(ApiModel):
    """Where a volume is found in the step's container."""

    model_config = ApiModel.model_config | {
        "json_schema_extra": rules(
            rule(
                "!(self.mountPath in ['/tmp', '/dataops', '/proc', '/sys', '/dev'])"
                " && !['/dataops/', '/proc/', '/sys/', '/dev/'].exists(one, self.mountPath.startsWith(one))",
                "/tmp and /dataops are the step contract's, /proc, /sys and /dev the runtime's; "  # noqa: S108
                "mount it elsewhere",
                ".mountPath",
            )
        )
    }

    name: Annotated[Name, StringConstraints(max_length=40)]
    """Name of one of podTemplate.volumes."""
    mount_path: MountPath
    """Absolute path in the container."""
    sub_path: Path | None = None
    """Path in the volume; its root where unset."""
    read_only: bool = False
    """Whether it is only read."""


class PodTemplate(ApiModel):
    """What is said about a step's pod beside its container: an allow-list, bounded by the run's environment."""

    labels: LabelMap | None = None
    """Labels of the pod, of keys that the environment lists in podPolicy.labels: others select pods by them."""
    annotations: AnnotationMap | None = None
    """Annotations of the pod: keys of letters, digits, '-' and '_', which no system acts on; others only as the
    environment lists them in podPolicy.annotations."""
    node_selector: LabelMap | None = None
    """Labels that a node must have, beside those that the environment asks for, which come first."""
    tolerations: Annotated[list[Toleration], Field(max_length=16, json_schema_extra=LIST_ATOMIC)] | None = None
    """Taints that the pod tolerates beside those that all pods of the environment do, of keys that it lists in
    podPolicy.taints."""
    affinity: Affinity | None = None
    """Which of the nodes that are left the pod needs, or would rather have."""
    priority_class_name: ObjectName | None = None
    """PriorityClass that the environment lists in podPolicy.priorityClasses."""
    volumes: Annotated[list[Volume], Field(max_length=8, json_schema_extra=LIST_BY_NAME)] | None = None
    """Volumes beside those of the step contract."""
    volume_mounts: Annotated[list[VolumeMount], Field(max_length=16, json_schema_extra=LIST_ATOMIC)] | None = None
    """Where the step's container finds them."""


_OWN_KEYS = "self.all(key, !key.matches('^([^/]*[.])?(dataops[.]dev|kubernetes[.]io|k8s[.]io)/'))"


class PodPolicy(ApiModel):
    """What steps may ask of their pods here beyond what is harmless anywhere; nothing where unset."""

    model_config = ApiModel.model_config | {
        "json_schema_extra": rules(
            rule(
                f"!has(self.labels) || {_OWN_KEYS.replace('self', 'self.labels', 1)}",
                "labels of dataops.dev, kubernetes.io and k8s.io are not a step's to set; remove them",
                ".labels",
            ),
            rule(
                f"!has(self.annotations) || {_OWN_KEYS.replace('self', 'self.annotations', 1)}",
                "annotations of dataops.dev, kubernetes.io and k8s.io are not a step's to set; remove them",
                ".annotations",
            ),
            rule(
                "!has(self.priorityClasses) || self.priorityClasses.all(one, !one.startsWith('system-'))",
                "the classes system-... are the cluster's own; remove them",
                ".priorityClasses",
            ),
        )
    }

    labels: Annotated[list[LabelKey], Field(max_length=32, json_schema_extra=LIST_SET)] | None = None
    """Keys of labels that steps may set: Services and NetworkPolicies select pods by labels."""
    annotations: Annotated[list[LabelKey], Field(max_length=32, json_schema_extra=LIST_SET)] | None = None
    """Keys of annotations with a prefix or a dot that steps may set: systems act on those."""
    taints: Annotated[list[LabelKey], Field(max_length=32, json_schema_extra=LIST_SET)] | None = None
    """Keys of node taints that steps may tolerate."""
    priority_classes: Annotated[list[ObjectName], Field(max_length=32, json_schema_extra=LIST_SET)] | None = None
    """PriorityClasses that steps may have."""
