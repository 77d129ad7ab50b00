"""What an Environment makes in its execution namespace: all of its objects, each with the condition it is part of.

Names are the same for the same thing, so that a repeated write meets itself. Whether an object that is there may be
changed is decided by its label with the environment's uid alone, never by its name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from ..api.base import API_VERSION, GROUP
from ..api.conditions import Type
from ..api.environment import PodDefaults
from ..api.target import AccessMode, VolumeTarget
from .environment import Effective
from .limits import limit_range, resource_quota
from .names import (
    ALLOW_PROJECT_LABEL,
    ENVIRONMENT_LABEL,
    ENVIRONMENT_UID_LABEL,
    MANAGED_BY_LABEL,
    MANAGER,
    PROJECT_LABEL,
)
from .network import Reach, policies

MADE_ANNOTATION: Final = f"{GROUP}/made-for"
"""On a namespace that an Environment made: its uid. Written with the namespace and never later, so that one that was
only taken can never be taken for one that was made."""

ROLES: Final = {"View": "dataops-view", "Run": "dataops-run", "Promote": "dataops-promote", "Edit": "dataops-edit"}
"""The chart's ClusterRoles."""

PARTS: Final = (
    Type.NAMESPACE_READY,
    Type.ACCESS_READY,
    Type.QUOTA_READY,
    Type.NETWORK_READY,
    Type.VAULT_READY,
    Type.TARGETS_READY,
)
"""The conditions of an environment's parts, in the order in which they are told."""

_POD_SECURITY: Final = "pod-security.kubernetes.io/"
_RBAC: Final = "rbac.authorization.k8s.io"


@dataclass(frozen=True, slots=True)
class Place:
    """Whose the objects are, and where they go.

    Attributes:
        project: namespace of the Environment.
        name: of the Environment.
        uid: of the Environment.
        execution: namespace of what it makes.
        made: whether the environment made that namespace.
    """

    project: str
    name: str
    uid: str
    execution: str
    made: bool

    def labels(self) -> dict[str, str]:
        """What everything carries that the environment makes."""
        return {MANAGED_BY_LABEL: MANAGER, **self.holder_labels()}

    def holder_labels(self) -> dict[str, str]:
        """What a namespace carries that the environment holds."""
        return {ENVIRONMENT_LABEL: self.name, PROJECT_LABEL: self.project, ENVIRONMENT_UID_LABEL: self.uid}

    def owner(self) -> dict[str, Any] | None:
        """The owner reference of an object beside the Environment; an owner in another namespace is none."""
        if self.execution != self.project:
            return None
        return {"apiVersion": API_VERSION, "kind": "Environment", "name": self.name, "uid": self.uid}


@dataclass(frozen=True, slots=True)
class Agents:
    """Who acts in an execution namespace.

    Attributes:
        runner: ServiceAccount that steps run as.
        operator: the operator's own ServiceAccount.
        operator_namespace: where that is.
        runs_role: ClusterRole with what the operator needs for secrets of runs and to act as their ServiceAccount; none
            is bound where empty.
        steps_role: ClusterRole with what the runner may do with other objects; none is bound where empty.
        results_port: where it takes results of steps; 0 where it takes none.
    """

    runner: str
    operator: str
    operator_namespace: str
    runs_role: str
    steps_role: str = ""
    results_port: int = 0


@dataclass(frozen=True, slots=True)
class Piece:
    """One object to have, and the condition that says whether it stands."""

    part: Type
    body: Mapping[str, Any]

    @property
    def kind(self) -> str:
        """Kind of the object."""
        return str(self.body["kind"])

    @property
    def name(self) -> str:
        """Name of the object."""
        return str(self.body["metadata"]["name"])


def namespace_body(place: Place, level: str) -> dict[str, Any]:
    """The execution namespace as an environment makes it.

    Args:
        place: whose it is; its execution is the name.
        level: Pod Security level.
    """
    labels = place.labels() | {ALLOW_PROJECT_LABEL: place.project} | pod_security_labels(level)
    meta = {"name": place.execution, "labels": labels, "annotations": {MADE_ANNOTATION: place.uid}}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": meta}


def pod_security_labels(level: str) -> dict[str, str]:
    """Pod Security admission at a level; warnings and audit are of the strictest, so that people hear of the rest."""
    return {f"{_POD_SECURITY}enforce": level} | {f"{_POD_SECURITY}{mode}": "restricted" for mode in ("warn", "audit")}


def pieces(environment: Effective, place: Place, agents: Agents, vault: Reach | None) -> tuple[Piece, ...]:
    """Everything that an environment has in its execution namespace, besides the namespace.

    Args:
        environment: what holds.
        place: whose it is.
        agents: who acts there.
        vault: the Vault server that pods themselves log in to; None where none do.
    """
    out = [
        Piece(Type.ACCESS_READY, _runner(place, agents.runner, environment.spec.pod_defaults)),
        *(Piece(Type.ACCESS_READY, body) for body in _bindings(environment, place, agents)),
    ]
    hard = (environment.spec.quota.hard if environment.spec.quota else None) or {}
    if hard:
        out.append(Piece(Type.QUOTA_READY, _object(place, "v1", "ResourceQuota", "dataops", spec=resource_quota(hard))))
    limits = limit_range(hard, always=place.made)
    if limits is not None:
        out.append(Piece(Type.QUOTA_READY, _object(place, "v1", "LimitRange", "dataops", spec=limits)))
    results = (agents.operator_namespace, agents.results_port) if agents.results_port else None
    for name, spec in policies(environment, vault, every_pod=place.made, results=results):
        body = _object(place, "networking.k8s.io/v1", "NetworkPolicy", name, spec=spec)
        out.append(Piece(Type.NETWORK_READY, body))
    out += [Piece(Type.TARGETS_READY, body) for body in _claims(environment, place)]
    return tuple(out)


def _object(place: Place, api_version: str, kind: str, name: str, **content: Any) -> dict[str, Any]:
    meta: dict[str, Any] = {"name": name, "namespace": place.execution, "labels": place.labels()}
    owner = place.owner()
    if owner is not None:
        meta["ownerReferences"] = [owner]
    return {"apiVersion": api_version, "kind": kind, "metadata": meta, **content}


# Access.


def _runner(place: Place, name: str, defaults: PodDefaults | None) -> dict[str, Any]:
    secrets = [{"name": one.name} for one in (defaults.image_pull_secrets if defaults else None) or ()]
    more = {"imagePullSecrets": secrets} if secrets else {}
    return _object(place, "v1", "ServiceAccount", name, automountServiceAccountToken=False, **more)


def _bindings(environment: Effective, place: Place, agents: Agents) -> Iterator[dict[str, Any]]:
    subjects: dict[str, list[dict[str, str]]] = {}
    for access in environment.spec.access or ():
        there = subjects.setdefault(access.role, [])
        for subject in access.subjects:
            one = {"kind": str(subject.kind), "name": subject.name}
            if subject.kind == "ServiceAccount":
                one["namespace"] = subject.namespace or place.project
            else:
                one["apiGroup"] = _RBAC
            if one not in there:
                there.append(one)
    for role, who in subjects.items():
        yield _binding(place, f"dataops-access-{role.lower()}", ROLES[role], who)
    if agents.steps_role:
        runner = {"kind": "ServiceAccount", "name": agents.runner, "namespace": place.execution}
        yield _binding(place, "dataops-steps", agents.steps_role, [runner])
    if (environment.vault is not None or agents.steps_role) and agents.runs_role:
        operator = {"kind": "ServiceAccount", "name": agents.operator, "namespace": agents.operator_namespace}
        yield _binding(place, "dataops-operator-runs", agents.runs_role, [operator])


def _binding(place: Place, name: str, role: str, subjects: list[dict[str, str]]) -> dict[str, Any]:
    reference = {"apiGroup": _RBAC, "kind": "ClusterRole", "name": role}
    return _object(place, f"{_RBAC}/v1", "RoleBinding", name, roleRef=reference, subjects=subjects)


# Claims of targets.


def _claims(environment: Effective, place: Place) -> Iterator[dict[str, Any]]:
    for _, target in sorted(environment.targets.items()):
        volume = target.spec.volume or target.spec.duckdb
        if target.claim is not None and target.made_by_us and volume is not None and volume.size is not None:
            yield _claim(place, target.claim, volume)


def _claim(place: Place, name: str, volume: VolumeTarget) -> dict[str, Any]:
    mode: AccessMode = volume.access_mode
    spec: dict[str, Any] = {"accessModes": [mode], "resources": {"requests": {"storage": volume.size}}}
    if volume.storage_class is not None:
        spec["storageClassName"] = volume.storage_class
    return _object(place, "v1", "PersistentVolumeClaim", name, spec=spec)


def is_made(namespace: Mapping[str, Any], uid: str) -> bool:
    """Whether a namespace was made by the environment of that uid, and so goes with it."""
    meta = namespace["metadata"]
    written = (meta.get("annotations") or {}).get(MADE_ANNOTATION) == uid
    return written and (meta.get("labels") or {}).get(ENVIRONMENT_UID_LABEL) == uid
