"""What the stores keep of an object: what somebody reads."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, Final

from ..api.base import GROUP
from ..api.conditions import Type, find_condition
from ..core import status as statuses
from ..core.indexedjobs import tally
from ..core.names import GOES_ON_LABEL, INDEX_LABEL, ITEM_LABEL, KEEP_LABEL, RUN_LABEL, RUN_UID_LABEL, STAGE_LABEL
from ..core.observe import is_indexed_job
from ..core.revision import PIPELINE_LABEL
from .indices import ends_of_cached

Object = Mapping[str, Any]

_SHARED: Final = ("phase", "environment", "revision", "environmentRevision", "concurrencyKey")
"""Of a run's status, what many runs have in common: held in memory once."""
_OF_ENDED: Final = (*_SHARED, "finishedAt", "observedGeneration", "logsDeletedAt")
_META = ("name", "namespace", "uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp")


TRACKED: Final = "tracked"
"""In what is kept of a run's metadata: that the API server knows who wrote which field, as of one that was applied."""


def _meta(item: Object, *more: str) -> dict[str, Any]:
    meta = item["metadata"]
    return {key: meta[key] for key in (*_META, "ownerReferences", *more) if key in meta}


# Our own kinds may stand in etcd in any shape: with a schema of another release, or without one. What is read here by
# everybody has a shape; the rest is held against the models before anything is made of it.


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _status(item: Object, *lists: str) -> dict[str, Any]:
    """The status; an empty one where it has lists of something else, which is as if it had been wiped.

    Args:
        item: the object.
        lists: the fields of its kind, beside the conditions, that are lists of objects.
    """
    status = _mapping(item.get("status"))
    for key in ("conditions", *lists):
        rows = status.get(key) or []
        if not isinstance(rows, list) or not all(isinstance(one, dict) for one in rows):
            return {}
    return status


def slim_environment(item: dict[str, Any]) -> dict[str, Any]:
    """An Environment, with its finalizers and those annotations that are ours."""
    return {
        "metadata": _meta(item, "finalizers") | _annotations(item),
        "spec": _mapping(item.get("spec")),
        "status": _status(item, "targets"),
    }


def _annotations(item: Object) -> dict[str, Any]:
    """The annotations of this project's group: what kubectl keeps there can be as large as the object."""
    kept = {key: value for key, value in (item["metadata"].get("annotations") or {}).items() if key.startswith(GROUP)}
    return {"annotations": kept} if kept else {}


def slim_definition(item: dict[str, Any]) -> dict[str, Any]:
    """A definition, whole but for what the API server keeps for itself."""
    return {"metadata": _meta(item), "spec": _mapping(item.get("spec")), "status": _status(item)}


def slim_run(item: dict[str, Any]) -> dict[str, Any]:
    """A run; of one that has ended only what its pipeline, its clean-up and the metrics read."""
    status, pipeline = _status(item, "steps", "waitingFor"), _mapping(item.get("spec")).get("pipeline")
    if not isinstance(pipeline, str):
        item = item | {"spec": _mapping(item.get("spec")) | {"pipeline": ""}}
    if not statuses.is_final(status):
        tracked = {TRACKED: True} if item["metadata"].get("managedFields") else {}
        meta = _meta(item) | _annotations(item) | tracked
        return {"metadata": meta, "spec": _mapping(item["spec"]), "status": status}
    keep: dict[str, Any] = {key: status[key] for key in _OF_ENDED if key in status}
    for key in _SHARED:
        if isinstance(keep.get(key), str):
            keep[key] = sys.intern(keep[key])
    if ends := ends_of_cached(status):
        keep["cached"] = ends
    outcome = find_condition({"status": status}, Type.SUCCEEDED)
    return {
        "metadata": _meta(item) | _kept_label(item),
        "spec": {"pipeline": sys.intern(item["spec"]["pipeline"])},
        "status": keep | {"conditions": [{key: (outcome or {}).get(key) for key in ("type", "status", "reason")}]},
    }


def _kept_label(item: Object) -> dict[str, Any]:
    """Whether somebody wants a run to be kept, where that is so."""
    labels = _mapping(item["metadata"].get("labels"))
    return {"labels": {KEEP_LABEL: labels[KEEP_LABEL]}} if KEEP_LABEL in labels else {}


def slim_job(item: dict[str, Any]) -> dict[str, Any]:
    """A Job: whose it is, and how it ended."""
    status = item.get("status") or {}
    kept: dict[str, Any] = {
        "conditions": [c for c in status.get("conditions") or () if c.get("type") in ("Complete", "Failed")]
    }
    if "startTime" in status:
        kept["startTime"] = status["startTime"]
    if is_indexed_job(item):
        kept["indexes"] = tally(item)
    return {"metadata": _meta(item) | {"labels": _routing(item)}, "status": kept}


def slim_pod(item: dict[str, Any]) -> dict[str, Any]:
    """A pod: whose it is, and what its containers do."""
    status = item.get("status") or {}
    kept = {key: status[key] for key in ("phase", "reason", "message", "startTime") if key in status}
    for key in ("containerStatuses", "initContainerStatuses"):
        if status.get(key):
            kept[key] = [
                {"name": one["name"], "state": one.get("state") or {}, "imageID": one.get("imageID")}
                for one in status[key]
            ]
    kept["conditions"] = [
        c for c in status.get("conditions") or () if c.get("type") in ("PodScheduled", "DisruptionTarget")
    ]
    deadline = item["spec"].get("activeDeadlineSeconds")
    meta = _meta(item) | {"labels": _routing(item)}
    return {"metadata": meta, "spec": {"activeDeadlineSeconds": deadline}, "status": kept}


_ROUTES: Final = (PIPELINE_LABEL, RUN_LABEL, RUN_UID_LABEL, STAGE_LABEL, GOES_ON_LABEL, ITEM_LABEL, INDEX_LABEL)


def _routing(item: Object) -> dict[str, str]:
    labels = item["metadata"].get("labels") or {}
    return {key: labels[key] for key in _ROUTES if key in labels}
