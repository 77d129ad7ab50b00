"""What of an object's change can change anything else: pure functions of what was held and what is held now."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..core.observe import job_condition

Object = Mapping[str, Any]


def history(pipeline: Object | None) -> tuple[Any, ...]:
    """What of a Pipeline can change which of its runs and revisions stay."""
    if pipeline is None:
        return ()
    meta = pipeline["metadata"]
    return meta["uid"], meta["generation"], (pipeline.get("status") or {}).get("activeRevision")


def matters(environment: Object) -> tuple[Any, ...]:
    """What of an Environment can change whether its runs go on."""
    meta, status = environment["metadata"], environment["status"]
    conditions = [(one["type"], one["status"], one["reason"]) for one in status.get("conditions") or ()]
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
