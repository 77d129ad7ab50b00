"""The objects of a fan-out that is one Indexed Job: the Job, and the ConfigMaps with its items.

A Job has one template for all of its pods, so each finds its item by its index: as a file of that name in a volume,
which is mounted at /dataops/item.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import orjson

from ..api.step import FailureClass, Retry, Step
from . import names
from .inputs import Identity
from .items import tolerated
from .observe import job_condition

PARALLELISM: Final = 500
"""Items at work at once where nothing is said."""
PART_BYTES: Final = 768 * 1024
"""Bytes of items in one ConfigMap, which may have 1 MiB (core API, "MaxSecretSize") with its keys and labels."""
FAILED_SHOWN: Final = 5
"""Failed items of which the positions are kept, and why."""
VOLUME: Final = "items"
INDEX: Final = "DATAOPS_ITEM_INDEX"
OUT_OF_MEMORY: Final = 137
"""Exit code of a container that the kernel killed for its memory: SIGKILL."""


def as_indexed(
    job: dict[str, Any], step: Step, policy: Retry, parts: Sequence[str], total: int, timeout: float | None
) -> dict[str, Any]:
    """The Job of an attempt at a step, made one of all of its items.

    Args:
        job: as `build_job` gives it; not changed.
        step: the step.
        policy: its retry.
        parts: names of the ConfigMaps with the items.
        total: how many items there are.
        timeout: seconds that a pod may take; nobody else looks at each of them.
    """
    fan = step.for_each
    assert fan is not None  # noqa: S101 - the caller looked
    template = job["spec"]["template"]
    pod = template["spec"] | ({} if timeout is None else {"activeDeadlineSeconds": int(timeout)})
    *others, main = pod["containers"]
    spec = {
        **{key: value for key, value in job["spec"].items() if key != "backoffLimit"},
        "completionMode": "Indexed",
        "completions": total,
        "parallelism": min(fan.parallelism or PARALLELISM, total),
        "backoffLimitPerIndex": policy.limit,
        "podFailurePolicy": {"rules": failure_rules(step.name, policy)},
        "template": {
            **template,
            "spec": {
                **pod,
                "containers": [*others, _with_item(main)],
                "volumes": [*pod["volumes"], _volume(parts)],
            },
        },
    }
    if fan.fail_fast:
        spec["maxFailedIndexes"] = min(tolerated(fan, total), total)
    return {**job, "spec": spec}


def _with_item(container: Mapping[str, Any]) -> dict[str, Any]:
    """The container with its index and its item; what else names the item is filled in by the kubelet."""
    index = {"name": INDEX, "valueFrom": {"fieldRef": {"fieldPath": f"metadata.annotations['{names.INDEX_LABEL}']"}}}
    env = [
        one | {"value": f"{one['value']}/$({INDEX})"} if one["name"] == "DATAOPS_IDEMPOTENCY_KEY" else one
        for one in container["env"]
    ]
    mount = {"name": VOLUME, "mountPath": "/dataops/item", "subPathExpr": f"$({INDEX})", "readOnly": True}
    return {**container, "env": [index, *env], "volumeMounts": [*container["volumeMounts"], mount]}


def _volume(parts: Sequence[str]) -> dict[str, Any]:
    """One part as it is, which the kubelet keeps on disk; several as one directory, which it keeps in memory."""
    if len(parts) == 1:
        return {"name": VOLUME, "configMap": {"name": parts[0]}}
    return {"name": VOLUME, "projected": {"sources": [{"configMap": {"name": name}} for name in parts]}}


def failure_rules(container: str, policy: Retry) -> list[dict[str, Any]]:
    """What Kubernetes makes of a failed pod, in its order: what no rule names is tried again within the limit.

    Args:
        container: name of the step's.
        policy: its retry.
    """
    disrupted = [{"type": "DisruptionTarget", "status": "True"}]
    again = FailureClass.INFRASTRUCTURE in policy.on and policy.infrastructure > 0
    rules: list[dict[str, Any]] = [{"action": "Ignore" if again else "FailIndex", "onPodConditions": disrupted}]

    def fails(operator: str, codes: Iterable[int]) -> None:
        said = {"containerName": container, "operator": operator, "values": sorted(set(codes))}
        rules.append({"action": "FailIndex", "onExitCodes": said})

    killed = FailureClass.OUT_OF_MEMORY in policy.on
    if not killed:
        fails("In", [OUT_OF_MEMORY])
    if FailureClass.FAILURE not in policy.on:
        fails("NotIn", [OUT_OF_MEMORY] if killed else [0])
        return rules
    if policy.exit_codes is not None and policy.exit_codes.never:
        fails("In", policy.exit_codes.never)
    if policy.exit_codes is not None and policy.exit_codes.retry:
        fails("NotIn", [*policy.exit_codes.retry, *([OUT_OF_MEMORY] if killed else [])])
    return rules


def item_parts(identity: Identity, step: Step, values: Sequence[Any]) -> list[dict[str, Any]]:
    """The ConfigMaps with the items, each under its position as JSON; the same for the same items.

    Args:
        identity: of the run, which owns them.
        step: the step.
        values: the items.
    """
    parts: list[dict[str, str]] = []
    room = 0
    for index, value in enumerate(values):
        key, text = str(index), orjson.dumps(value).decode()
        size = len(key) + len(text.encode())
        if not parts or size > room:
            parts.append({})
            room = PART_BYTES
        parts[-1][key] = text
        room -= size
    return [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": names.items_name(identity.name, identity.uid, step.name, number),
                "namespace": identity.namespace,
                "labels": identity.labels() | {names.STEP_LABEL: step.name},
                "ownerReferences": [identity.owner()],
            },
            "immutable": True,
            "data": data,
        }
        for number, data in enumerate(parts)
    ]


def _ranges(text: str) -> list[range]:
    """The positions that a Job's status names, such as `1,3-5,7` (batch API, "completedIndexes")."""
    out = []
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        out.append(range(int(first), int(last or first) + 1))
    return out


def tally(job: Mapping[str, Any]) -> dict[str, Any]:
    """Where the items of an Indexed Job stand: what is kept of its status, which may be long, in constant size.

    Returns:
        total, active, succeeded, failed: numbers of items; first: positions of the first that failed.
    """
    status, spec = job.get("status") or {}, job["spec"]
    failed = _ranges(status.get("failedIndexes") or "")
    first = [index for some in failed for index in some[:FAILED_SHOWN]][:FAILED_SHOWN]
    return {
        "total": spec["completions"],
        "active": 0 if job_condition(job) else status.get("active") or 0,
        "succeeded": sum(map(len, _ranges(status.get("completedIndexes") or ""))),
        "failed": sum(map(len, failed)),
        "first": first,
    }
