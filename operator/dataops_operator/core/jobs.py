"""The objects of a run: the Job of one attempt at a stage of steps, and the claim of its workspace.

A stage is one or more consecutive steps that share a pod, the earlier ones as init containers in order, the last as
the main container. Pods meet the Pod Security level *restricted* with no work by the user.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Mapping
from typing import Any, Final

import orjson

from ..api.base import parse_duration
from ..api.pipeline import Workspace
from ..api.step import Resources, Step
from . import names, podplacement
from .credentials import Armed
from .delivery import agent_container, agent_order, secret_mounts, secret_variables, secret_volumes
from .graph import own_name
from .images import check_image
from .inputs import Identity, Inputs, Item
from .parameters import Resolved
from .retry import with_more_memory
from .scopes import Scope
from .targets import MOUNT, ResolvedTarget
from .templating import Reference, as_text, fill, fill_value, kubernetes_literal

USER: Final = 65532
_TMP: Final = "tmp"
"""Volume at /tmp: of each container its own, so that none finds what another left."""
RESULT_PATH: Final = "/dataops/result"
_PARAMETERS_PATH: Final = "/dataops/params.json"
_PARAMETERS: Final = "params"
_GOES_ON: Final = "DATAOPS_GOES_ON"
RESULT_LIMIT: Final = 4096
"""Bytes of a termination message that the kubelet keeps (container API, "terminationMessagePath")."""

POD_SECURITY: Final = {
    "runAsNonRoot": True,
    "runAsUser": USER,
    "runAsGroup": USER,
    "fsGroup": USER,
    "fsGroupChangePolicy": "OnRootMismatch",
    "seccompProfile": {"type": "RuntimeDefault"},
}
CONTAINER_SECURITY: Final = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}
# Ignore would restart a disrupted pod without bound and without telling; the retry is ours to decide.
FAILURE_POLICY: Final = {
    "rules": [{"action": "FailJob", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}]
}


def build_job(
    inputs: Inputs,
    stage: tuple[Step, ...],
    attempt: int,
    outputs: Mapping[str, Mapping[str, Any]],
    armed: Armed | None = None,
    *,
    outcome: str | None = None,
    raised: int = 0,
    item: Item | None = None,
) -> dict[str, Any]:
    """The Job of one attempt at a stage.

    Args:
        inputs: the run's fixed inputs.
        stage: the steps that share the pod, in order; the Job is named after the first.
        attempt: at the first of them, from 1; those behind it have not begun before.
        outputs: the outputs of each step that has succeeded.
        armed: the run's secrets; None where none of the steps uses any.
        outcome: how the run has ended, for steps of `finally`.
        raised: how many attempts at the first before were killed for their memory.
        item: the one of a fan-out that it is for.

    Raises:
        TemplateError: a template names a part of a value that is not there.
        ImageError: a step's image may not run in the environment.
    """
    identity, first = inputs.identity, stage[0]
    labels = identity.labels() | {names.STEP_LABEL: first.name, names.ATTEMPT_LABEL: str(attempt)}
    if len(stage) > 1:
        labels |= {names.STAGE_LABEL: str(len(stage)), names.GOES_ON_LABEL: _PARAMETERS}
    if item is not None:
        labels[names.ITEM_LABEL] = str(item.index)
    named = None if item is None else {own_name(first): item.value}
    resolve = inputs.resolver(outputs, outcome, named)
    values = {one.name: one.value for one in inputs.parameters}
    scopes = {step.name: scope for step in stage if (scope := inputs.scope(step, outputs, outcome, named)) is not None}
    containers = [
        _container(inputs, step, attempt, resolve, armed, scopes.get(step.name), raised, item, _TMP)
        if step is first
        else _container(inputs, step, 1, resolve, armed, scopes.get(step.name), 0, None, f"{_TMP}-{index}")
        for index, step in enumerate(stage)
    ]
    for container in containers[1:]:
        _hold_back(container)
    if outcome is not None:
        for container in containers:
            container["env"].insert(0, {"name": "DATAOPS_RUN_OUTCOME", "value": str(outcome)})
    annotations = {names.PARAMETERS_ANNOTATION: orjson.dumps(values).decode()}
    if item is not None:
        annotations[names.ITEM_ANNOTATION] = orjson.dumps(item.value).decode()
    annotations |= {_script_annotation(step): step.script for step in stage if step.script is not None}
    for step in stage:
        if (scope := scopes.get(step.name)) is not None:
            own = {one.name: one.value for one in scope.values()}
            annotations[_step_annotation(names.PARAMETERS_ANNOTATION, step)] = orjson.dumps(own).decode()
    pod: dict[str, Any] = {
        "restartPolicy": "Never",
        "serviceAccountName": inputs.runner,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": POD_SECURITY,
        "containers": containers[-1:],
        "volumes": [
            *_volumes(inputs, stage, item),
            *secret_volumes(inputs, stage, armed),
            *podplacement.pod_volumes(inputs, first),
        ],
        **podplacement.placement(inputs, first),
    }
    before = containers[:-1]
    if (order := agent_order(inputs, stage, armed)) is not None and armed is not None and armed.agent is not None:
        before.insert(0, agent_container(armed.agent, CONTAINER_SECURITY))
        annotations[names.AGENT_ANNOTATION] = order
    if before:
        pod["initContainers"] = before
    if (seconds := inputs.revision.pod_timeout(stage)) is not None:
        # The pod's, not the Job's: the Job's would call a pod that succeeded late a failed Job.
        pod["activeDeadlineSeconds"] = seconds + _to_be_armed(inputs, armed)
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": names.job_name(
                identity.name, identity.uid, first.name, attempt, None if item is None else item.index
            ),
            "namespace": identity.namespace,
            "labels": labels,
            "annotations": _told(inputs),
            "ownerReferences": [identity.owner()],
        },
        "spec": {
            "backoffLimit": 0,
            "podReplacementPolicy": "Failed",
            "podFailurePolicy": FAILURE_POLICY,
            "template": {
                "metadata": {
                    "labels": {**podplacement.pod_labels(inputs, first), **labels},
                    "annotations": {**podplacement.pod_annotations(inputs, first), **annotations},
                },
                "spec": pod,
            },
        },
    }


def _to_be_armed(inputs: Inputs, armed: Armed | None) -> int:
    """Seconds that a pod may take to read its secrets by itself, before the time to start counts."""
    vault = inputs.environment.vault if inputs.environment is not None else None
    if armed is None or armed.agent is None or vault is None:
        return 0
    return int(parse_duration(vault.wait_limit))


def _hold_back(container: dict[str, Any]) -> None:
    """Have a container begin only while its pod has the label by which it finds its parameters.

    A kubelet makes a container's variables and mounts when it is its turn, by the pod as it is then; where the label is
    gone, it has no path to mount, and waits (`ExpandContainerVolumeMounts`, "missing value").
    """
    label = {"fieldRef": {"fieldPath": f"metadata.labels['{names.GOES_ON_LABEL}']"}}
    container["env"].insert(0, {"name": _GOES_ON, "valueFrom": label})
    mount = next(one for one in container["volumeMounts"] if one["mountPath"] == _PARAMETERS_PATH)
    mount["subPathExpr"] = mount.pop("subPath").replace(_PARAMETERS, f"$({_GOES_ON})", 1)


def _told(inputs: Inputs) -> dict[str, str]:
    """What the run began with, for an operator that ended before it was written into the status."""
    told = {
        names.REVISION_ANNOTATION: inputs.revision.name,
        names.LOGICAL_DATE_ANNOTATION: inputs.logical_date,
        names.ORIGINS_ANNOTATION: orjson.dumps({one.name: one.origin for one in inputs.parameters}).decode(),
    }
    if inputs.environment is not None:
        told[names.ENVIRONMENT_ANNOTATION] = inputs.environment.key
        told[names.ENVIRONMENT_REVISION_ANNOTATION] = inputs.environment.revision
    return told


def resources_of(inputs: Inputs, step: Step) -> Resources | None:
    """The compute resources of a step: its own, else the pipeline's, else the environment's."""
    defaults = inputs.environment.spec.pod_defaults if inputs.environment is not None else None
    return step.resources or inputs.revision.defaults.resources or (defaults.resources if defaults else None)


def step_image(inputs: Inputs, step: Step, resolve: Callable[[Reference], Any]) -> str:
    """A step's image, held against the environment's policy.

    Raises:
        TemplateError: a template names a part of a value that is not there.
        ImageError: it may not run in the environment.
    """
    image = as_text(
        fill_value(inputs.revision.image(step), resolve, own_name(step))
    )  # Kubernetes expands nothing in it
    check_image(inputs.environment.spec.images if inputs.environment is not None else None, image)
    return image


def _container(
    inputs: Inputs,
    step: Step,
    attempt: int,
    resolve: Callable[[Reference], Any],
    armed: Armed | None,
    scope: Scope | None,
    raised: int,
    item: Item | None,
    tmp: str,
) -> dict[str, Any]:
    parameters = inputs.parameters
    if scope is not None:
        resolve, parameters = scope.resolve, scope.values()
    container: dict[str, Any] = {
        "name": step.name,
        "image": step_image(inputs, step, resolve),
        "env": [
            *_environment(inputs, step, attempt, resolve, parameters, item),
            *secret_variables(inputs, step, armed),
        ],
        "terminationMessagePath": RESULT_PATH,
        "securityContext": CONTAINER_SECURITY,
        "volumeMounts": [
            *_mounts(inputs, step, item, tmp),
            *secret_mounts(inputs, step, armed),
            *podplacement.volume_mounts(inputs, step),
        ],
    }
    if step.script is not None:
        path = "/dataops/script"
        container["command"] = [path] if step.script.startswith("#!") else ["/bin/sh", path]
    for field, texts in (("command", step.command), ("args", step.args)):
        if texts is not None:
            container[field] = [fill(text, resolve, own_name(step)) for text in texts]
    resources = with_more_memory(resources_of(inputs, step), inputs.revision.retry(step), raised)
    if resources is not None:
        container["resources"] = resources.model_dump(by_alias=True, exclude_none=True)
    return container


def lineage_id(identity: Identity, step: Step) -> str:
    """The OpenLineage run id of a step: a UUID that anyone can compute from the run's uid and the step's name."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{identity.uid}/{step.name}"))


def _span_id(identity: Identity, step: Step, attempt: int) -> str:
    """W3C Trace Context span id of an attempt: 16 hexadecimal digits."""
    return hashlib.sha256(f"{identity.uid}/{step.name}/{attempt}".encode()).hexdigest()[:16]


def _environment(
    inputs: Inputs,
    step: Step,
    attempt: int,
    resolve: Callable[[Reference], Any],
    parameters: tuple[Resolved, ...],
    item: Item | None,
) -> list[dict[str, str]]:
    """The step contract's variables, the parameters, then the step's own."""
    identity = inputs.identity
    contract = {
        "DATAOPS_RUN": identity.name,
        "DATAOPS_RUN_UID": identity.uid,
        "DATAOPS_PIPELINE": identity.pipeline,
        "DATAOPS_ENVIRONMENT": inputs.environment_name,
        "DATAOPS_STEP": step.name,
        "DATAOPS_ATTEMPT": str(attempt),
        # The same for every attempt, so that a repeated side effect can be told from a new one.
        "DATAOPS_IDEMPOTENCY_KEY": f"{identity.uid}/{step.name}" + ("" if item is None else f"/{item.index}"),
        "DATAOPS_LOGICAL_DATE": inputs.logical_date,
        "OPENLINEAGE_PARENT_ID": f"{identity.namespace}/{identity.pipeline}.{step.name}/{lineage_id(identity, step)}",
        "TRACEPARENT": f"00-{identity.uid.replace('-', '')}-{_span_id(identity, step, attempt)}-01",
    }
    if step.cache is not None:
        del contract["DATAOPS_LOGICAL_DATE"]  # what tells two runs apart and is not in the cache's key is kept out
    if item is not None:
        contract["DATAOPS_ITEM_INDEX"] = str(item.index)
    if not any(one.name == "HOME" for one in step.env or ()):
        contract["HOME"] = "/tmp"  # noqa: S108 - the image's own cannot be written to, and many tools want to
    out = [{"name": name, "value": value} for name, value in contract.items()]
    out += [
        {"name": f"DATAOPS_PARAM_{one.name.upper()}", "value": kubernetes_literal(as_text(one.value))}
        for one in parameters
    ]
    return out + [{"name": one.name, "value": fill(one.value, resolve, own_name(step))} for one in step.env or ()]


def _parameters_file(step: str | None) -> str:
    """What the contract's volume calls the parameters of the run, or of a step that has its own."""
    return f"{_PARAMETERS}.json" if step is None else f"{_PARAMETERS}-{step}.json"


def _script_annotation(step: Step) -> str:
    return _step_annotation(names.SCRIPT_ANNOTATION, step)


def _step_annotation(prefix: str, step: Step) -> str:
    """The part behind the slash has at most 63 characters; what is cut off a step's name is told apart by a hash."""
    name, room = step.name, 62 - len(prefix.rpartition("/")[2])
    if len(name) > room:
        name = f"{name[: room - 9]}.{hashlib.sha256(name.encode()).hexdigest()[:8]}"
    return f"{prefix}.{name}"


def _mounts(inputs: Inputs, step: Step, item: Item | None, tmp: str) -> list[dict[str, Any]]:
    """Single files by subPath: a volume on /dataops itself would be read-only, and nothing could be mounted below."""
    out: list[dict[str, Any]] = [
        {"name": tmp, "mountPath": "/tmp"},  # noqa: S108 - a path inside the container
        {
            "name": "contract",
            "mountPath": _PARAMETERS_PATH,
            "subPath": _parameters_file(None if step.template is None else step.name),
            "readOnly": True,
        },
    ]
    if item is not None:
        out.append({"name": "contract", "mountPath": "/dataops/item", "subPath": "item", "readOnly": True})
    if step.script is not None:
        script = {"mountPath": "/dataops/script", "subPath": f"script-{step.name}"}
        out.append({"name": "contract", "readOnly": True} | script)
    if inputs.revision.spec.workspace is not None and step.workspace != "None":
        out.append({"name": "workspace", "mountPath": "/dataops/workspace"})
    for target in inputs.targets(step):
        if target.claim is not None:
            mount = {"name": _target_volume(target), "mountPath": f"{MOUNT}/{target.name}"}
            out.append(mount if target.writable else mount | {"readOnly": True})
    return out


def _target_volume(target: ResolvedTarget) -> str:
    """Name of the volume of a target: a target's own name may have 63 characters already."""
    digest = hashlib.sha256(target.name.encode()).hexdigest()[:8]
    return f"target-{target.name[:40].rstrip('-')}-{digest}"


def _volumes(inputs: Inputs, stage: tuple[Step, ...], item: Item | None) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = [_item(_parameters_file(None), names.PARAMETERS_ANNOTATION)]
    items += [
        _item(_parameters_file(step.name), _step_annotation(names.PARAMETERS_ANNOTATION, step))
        for step in stage
        if step.template is not None
    ]
    if item is not None:
        items.append(_item("item", names.ITEM_ANNOTATION))
    items += [_item(f"script-{step.name}", _script_annotation(step)) | {"mode": 0o555} for step in stage if step.script]
    out: list[dict[str, Any]] = [
        *({"name": f"{_TMP}-{index}" if index else _TMP, "emptyDir": {}} for index in range(len(stage))),
        {"name": "contract", "downwardAPI": {"items": items}},
    ]
    workspace = inputs.revision.spec.workspace
    if workspace is not None and any(step.workspace != "None" for step in stage):
        identity = inputs.identity
        claim = workspace.claim or names.workspace_claim_name(identity.name, identity.uid)
        out.append({"name": "workspace", "persistentVolumeClaim": {"claimName": claim}})
    mounted = {target.name: target for step in stage for target in inputs.targets(step) if target.claim is not None}
    for target in mounted.values():
        out.append({"name": _target_volume(target), "persistentVolumeClaim": {"claimName": target.claim}})
    return out


def _item(path: str, annotation: str) -> dict[str, Any]:
    return {"path": path, "fieldRef": {"fieldPath": f"metadata.annotations['{annotation}']"}}


def build_claim(identity: Identity, workspace: Workspace) -> dict[str, Any]:
    """The claim that a run makes for its workspace and that goes with the run."""
    spec: dict[str, Any] = {
        "accessModes": [workspace.access_mode or "ReadWriteOnce"],
        "resources": {"requests": {"storage": workspace.size}},
    }
    if workspace.storage_class is not None:
        spec["storageClassName"] = workspace.storage_class
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {
            "name": names.workspace_claim_name(identity.name, identity.uid),
            "namespace": identity.namespace,
            "labels": identity.labels(),
            "ownerReferences": [identity.owner()],
        },
        "spec": spec,
    }
