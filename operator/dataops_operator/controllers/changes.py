"""What of an object's change can change anything else: pure functions of what was held and what is held now."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ..api.conditions import Reason
from ..api.run import MUTABLE, Phase
from ..core import status as statuses
from ..core.names import STAGE_LABEL
from ..core.observe import WAITING, job_condition
from ..core.quota import waiting_reason
from ..metrics.registry import RunKind, WaitKind
from .keys import environment_label

Object = Mapping[str, Any]

_REASONS: Final = frozenset(map(str, Reason))


def history(pipeline: Object | None) -> tuple[Any, ...]:
    """What of a Pipeline can change which of its runs and revisions stay."""
    if pipeline is None:
        return ()
    meta = pipeline["metadata"]
    return meta["uid"], meta["generation"], (pipeline.get("status") or {}).get("activeRevision")


def matters(environment: Object) -> tuple[Any, ...]:
    """What of an Environment can change whether its runs go on."""
    meta, status = environment["metadata"], environment["status"]
    told = ("type", "status", "reason", "observedGeneration")
    conditions = [tuple(map(one.get, told)) for one in status.get("conditions") or ()]
    targets = [(one["name"], one.get("reachable")) for one in status.get("targets") or ()]
    return meta["generation"], meta.get("deletionTimestamp"), status.get("namespace"), conditions, targets


def same(before: Object | None, after: Object | None) -> bool:
    """Whether nothing changed of what is kept of a child; most of its events are of that kind."""
    return (
        before is not None
        and after is not None
        and before["metadata"]["uid"] == after["metadata"]["uid"]
        and before["status"] == after["status"]
        and before["metadata"].get("deletionTimestamp") == after["metadata"].get("deletionTimestamp")
    )


def has_ended(child: Object | None) -> bool:
    """Whether a pod has ended; a Job has no phase."""
    return child is not None and child.get("status", {}).get("phase") in ("Succeeded", "Failed")


def over(child: Object | None) -> bool:
    """Whether a Job or a pod has ended or is gone."""
    return child is None or has_ended(child) or job_condition(child) is not None


def in_its_course(child: Object | None) -> bool:
    """Whether a child is a pod that several steps share, or its Job, and nothing keeps it from going on."""
    if child is None or STAGE_LABEL not in child["metadata"]["labels"] or child["metadata"].get("deletionTimestamp"):
        return False
    status = child["status"]
    if "phase" not in status:  # the Job
        return True
    containers = [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]
    waiting = [(one["state"].get("waiting") or {}).get("reason") for one in containers]
    return bool(containers) and not any(reason in WAITING for reason in waiting)


def edited(before: Object | None, after: Object | None) -> bool:
    """Whether a definition is new, gone or has another spec."""
    if before is None or after is None or before["metadata"]["uid"] != after["metadata"]["uid"]:
        return True
    same: bool = before["metadata"]["generation"] == after["metadata"]["generation"]
    return not same


def run_kind(run: Object | None) -> RunKind | None:
    """What a run is counted under: its pipeline, environment and phase."""
    if run is None:
        return None
    phase = run["status"].get("phase") or str(Phase.PENDING)
    return run["spec"]["pipeline"], environment_label(run), phase


def waits(run: Object | None) -> WaitKind | None:
    """What a run is counted under that waits: its environment, and what for."""
    if run is None or run["status"].get("phase") != Phase.WAITING:
        return None
    reason = waiting_reason(run)
    return environment_label(run), reason if reason in _REASONS else "Other"


def fixed(run: Object) -> dict[str, Any]:
    """What of a run's spec is fixed when it begins."""
    return {key: value for key, value in run["spec"].items() if key not in MUTABLE}


def passed_on(run: Object | None) -> tuple[Any, ...]:
    """What of a run the one that made it goes by."""
    if run is None:
        return ()
    status, spec = run["status"], run["spec"]
    first: Mapping[str, Any] = next(iter(status.get("waitingFor") or ()), {})
    return status.get("phase"), first.get("message"), spec.get("suspend"), spec.get("cancel"), statuses.is_final(status)


def standing(run: Object | None) -> tuple[Any, ...]:
    """What of a run can change whether another may begin; one that has ended is as good as gone."""
    if run is None or statuses.is_final(run["status"]):
        return ()
    status = run["status"]
    return status.get("phase"), waiting_reason(run), bool(status.get("revision")), run["metadata"]["uid"]
