"""The Job that makes, checks or takes back an environment's targets, and what its pod came to.

One pod does what belongs together: the places are made by an init container, then all targets are looked into by the
main one. Each writes its report to its termination message; see `storagejob`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from ..api.target import VolumeTarget
from . import names
from .credentials import ENVIRONMENT, Armed, Holder, Order, filled
from .delivery import DIRECTORY, agent_container, agent_description, agent_volumes, secret_key
from .environment import Effective
from .jobs import CONTAINER_SECURITY, FAILURE_POLICY, POD_SECURITY
from .places import place_of
from .provision import Place
from .storagejob import RESULT, TASK_VARIABLE, Action, Code, Report, read_result, task_json
from .targets import MOUNT, ResolvedTarget
from .templating import Reference, TemplateError, descend, kubernetes_literal

DEADLINES: Final[Mapping[Action, int]] = {Action.PROBE: 180, Action.PREPARE: 3600, Action.DROP: 240}
"""Seconds that a pod may take, from its creation; a copy of a parent's data takes long."""
TTL: Final = 3600
"""Seconds after which Kubernetes removes a Job that nobody removed."""
_LONGEST_MESSAGE: Final = 300


@dataclass(frozen=True, slots=True)
class Work:
    """What a Job is to do.

    Attributes:
        action: PROBE looks into all targets; PREPARE makes the places first; DROP takes them back.
        targets: all that are looked into, or those that are taken back.
        made: those of them whose places the environment makes outside the cluster.
        task: stands for all of it: another task, another value.
    """

    action: Action
    targets: tuple[ResolvedTarget, ...]
    made: tuple[ResolvedTarget, ...]
    task: str

    @property
    def logins(self) -> bool:
        """Whether it needs credentials."""
        return any(one.job_logins for one in self.targets)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a Job's pod came to.

    Attributes:
        reports: of the targets that it told of, by name; what was not made is not looked into.
        why: of the others, for people.
    """

    reports: Mapping[str, Report] = field(default_factory=dict)
    why: str = ""


def made_outside(content: Effective) -> tuple[ResolvedTarget, ...]:
    """The targets whose places an environment makes outside the cluster; claims are objects, made with the others."""
    return tuple(one for one in content.targets.values() if one.made_by_us and one.claim is None)


def checking(content: Effective, uid: str) -> Work:
    """To make what must be made, and look into all.

    A claim for one pod alone would keep the pod that looks into it, or the run that has it, from starting.
    """
    targets = tuple(one for one in content.targets.values() if not _for_one_pod(one))
    made = made_outside(content)
    return Work(Action.PREPARE if made else Action.PROBE, targets, made, _stamp(content, uid, targets))


def dropping(content: Effective, uid: str) -> Work:
    """To take back what was made outside the cluster."""
    made = made_outside(content)
    return Work(Action.DROP, made, made, _stamp(content, uid, made))


def _for_one_pod(target: ResolvedTarget) -> bool:
    place = place_of(target.spec)
    return isinstance(place, VolumeTarget) and place.access_mode == "ReadWriteOncePod"


def _stamp(content: Effective, uid: str, targets: tuple[ResolvedTarget, ...]) -> str:
    """Ten hexadecimal digits that stand for where the targets are and how they are logged in to."""
    logins = {name: one.model_dump_json() for target in targets for name, one in sorted(target.job_logins.items())}
    vault = content.vault.model_dump_json() if content.vault is not None else ""
    text = f"{task_json(uid, targets)}\n{sorted(logins.items())}\n{vault}"
    return hashlib.sha256(text.encode()).hexdigest()[:10]


# What it needs.


def order(content: Effective, place: Place, work: Work) -> Order | None:
    """The credentials of a Job, for the environment itself; None where it needs none.

    Raises:
        CredentialError: a path cannot be filled in.
    """
    vault = content.vault
    if not work.logins or vault is None:
        return None
    resolve = _resolver(content)
    requests = {
        name: filled(name, login, resolve) for target in work.targets for name, login in target.job_logins.items()
    }
    return Order(
        holder=Holder(ENVIRONMENT, place.project, place.name, place.uid),
        namespace=place.execution,
        labels=place.labels() | {names.RUN_UID_LABEL: place.uid},
        owner=place.owner(),
        environment=content.key,
        vault=vault,
        requests=requests,
    )


def _resolver(content: Effective) -> Any:
    values: dict[str, Any] = {
        "env": {
            "name": content.name,
            "params": {name: one.value for name, one in content.parameters.items() if one.value is not None},
        },
        "targets": {name: one.attributes for name, one in content.targets.items()},
    }

    def resolve(reference: Reference) -> Any:
        if reference.path[0] not in values:
            raise TemplateError(f"{reference.text}: an environment's own credentials know env and targets alone")
        return descend(values, reference.path, reference.text)

    return resolve


# The Job.


def build(
    content: Effective,
    place: Place,
    work: Work,
    wanted: Order | None,
    armed: Armed | None,
    *,
    image: str,
    runner: str,
    nonce: str,
) -> dict[str, Any]:
    """The Job.

    Args:
        content: what holds in the environment.
        place: whose it is.
        work: what to do.
        wanted: the credentials that it needs; None where none.
        armed: those that are at hand.
        image: of the storage Jobs.
        runner: ServiceAccount to run as.
        nonce: tells this time from others.
    """
    job_labels = place.labels() | {names.TARGET_JOB_LABEL: str(work.action)}
    # The pod's label alone, so that the keeper of what Vault gave finds it, and no run counts it as its own.
    pod_labels = job_labels | {names.RUN_UID_LABEL: place.uid}
    annotations: dict[str, str] = {}
    before: list[dict[str, Any]] = []
    if wanted is not None and armed is not None and armed.agent is not None:
        annotations[names.AGENT_ANNOTATION] = agent_description(armed.agent, wanted.vault, wanted.requests)
        before.append(agent_container(armed.agent, CONTAINER_SECURITY))
    if work.action is Action.PREPARE:
        before.append(_container(Action.PREPARE, image, place.uid, work.made, wanted, armed))
    action = Action.DROP if work.action is Action.DROP else Action.PROBE
    main = _container(action, image, place.uid, work.targets, wanted, armed)
    pod: dict[str, Any] = {
        "restartPolicy": "Never",
        "serviceAccountName": runner,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "activeDeadlineSeconds": DEADLINES[work.action],
        "securityContext": POD_SECURITY,
        "containers": [main],
        "volumes": [{"name": "tmp", "emptyDir": {}}, *_claims(work), *_secrets(wanted, armed)],
        **_placement(content),
    }
    if before:
        pod["initContainers"] = before
    name = names.target_job_name(place.name, place.uid, str(work.action), work.task, nonce)
    meta: dict[str, Any] = {"name": name, "namespace": place.execution, "labels": job_labels}
    meta["annotations"] = {names.TARGET_TASK_ANNOTATION: work.task}
    if (owner := place.owner()) is not None:
        meta["ownerReferences"] = [owner]
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": meta,
        "spec": {
            "backoffLimit": 0,
            # Its pod may wait to be placed: that time counts, too.
            "activeDeadlineSeconds": DEADLINES[work.action] + 60,
            "ttlSecondsAfterFinished": TTL,
            "podReplacementPolicy": "Failed",
            "podFailurePolicy": FAILURE_POLICY,
            "template": {"metadata": {"labels": pod_labels, "annotations": annotations}, "spec": pod},
        },
    }


def _container(
    action: Action, image: str, uid: str, targets: tuple[ResolvedTarget, ...], wanted: Order | None, armed: Armed | None
) -> dict[str, Any]:
    mounts: list[dict[str, Any]] = [{"name": "tmp", "mountPath": "/tmp"}]  # noqa: S108 - a path inside the container
    mounts += [{"name": f"target-{number}", "mountPath": f"{MOUNT}/{one.name}"} for number, one in _mounted(targets)]
    names_ = list(wanted.requests) if wanted is not None and armed is not None else []
    for number, name in enumerate(names_):
        path = {"mountPath": f"{DIRECTORY}/{name}", "readOnly": True}
        by_pod = armed is not None and armed.agent is not None
        mounts.append(
            {"name": names.AGENT_CONTAINER, "subPath": name, **path} if by_pod else {"name": f"login-{number}", **path}
        )
    return {
        "name": str(action),
        "image": image,
        "command": ["python3", "-m", "dataops_operator.storage", str(action)],
        "env": [
            {"name": TASK_VARIABLE, "value": kubernetes_literal(task_json(uid, targets))},
            {"name": "HOME", "value": "/tmp"},  # noqa: S108
        ],
        "terminationMessagePath": RESULT,
        "securityContext": CONTAINER_SECURITY,
        "volumeMounts": mounts,
    }


def _mounted(targets: tuple[ResolvedTarget, ...]) -> list[tuple[int, ResolvedTarget]]:
    """Targets on claims; by number, since a target's own name may have 63 characters already."""
    return [(number, one) for number, one in enumerate(targets) if one.claim is not None]


def _claims(work: Work) -> list[dict[str, Any]]:
    return [
        {"name": f"target-{number}", "persistentVolumeClaim": {"claimName": one.claim, "readOnly": not one.writable}}
        for number, one in _mounted(work.targets)
    ]


def _secrets(wanted: Order | None, armed: Armed | None) -> list[dict[str, Any]]:
    if wanted is None or armed is None:
        return []
    if armed.agent is not None:
        return agent_volumes(armed.agent)
    return [
        {
            "name": f"login-{number}",
            "secret": {
                "secretName": armed.secret,
                "defaultMode": 0o440,
                "items": [{"key": secret_key(name, file), "path": file} for file in armed.files.get(name, ())],
            },
        }
        for number, name in enumerate(wanted.requests)
    ]


def _placement(content: Effective) -> dict[str, Any]:
    """Where pods of the environment may run, and with which credentials their images are pulled."""
    defaults = content.spec.pod_defaults
    if defaults is None:
        return {}
    raw = defaults.model_dump(mode="json", by_alias=True, exclude_none=True)
    return {key: raw[key] for key in ("nodeSelector", "tolerations", "imagePullSecrets") if raw.get(key)}


# What came of it.


def outcome(pod: Mapping[str, Any]) -> Outcome | None:
    """What the pod of a Job came to; None while it has not ended.

    Where places could not be made, nobody has looked into the rest.
    """
    status = pod.get("status") or {}
    if status.get("phase") not in ("Succeeded", "Failed"):
        return None
    reports: dict[str, Report] = {}
    why = str(status.get("message") or "")
    for one in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())):
        ended = (one.get("state") or {}).get("terminated")
        if ended is None or one["name"] == names.AGENT_CONTAINER:
            if ended is not None and ended.get("exitCode"):
                why = "the pod could not get its credentials from Vault"
            continue
        try:
            told = read_result(ended.get("message") or "")
        except ValueError:
            if ended.get("exitCode"):
                why = f"{one['name']} ended with {ended.get('reason') or 'Error'} (exit code {ended['exitCode']})"
            continue
        made_only = one["name"] == Action.PREPARE
        reports |= {name: report for name, report in told.items() if not (made_only and report.good)}
    return Outcome(reports, why[:_LONGEST_MESSAGE] or str(status.get("reason") or "its pod told nothing"))


def report_of(name: str, result: Outcome) -> Report:
    """What was found of one target."""
    return result.reports.get(name) or Report(name, Code.FAILED, f"not looked into: {result.why}")
