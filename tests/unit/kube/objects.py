"""Objects for the tests of the cache and of list and watch."""

from collections.abc import Iterable
from typing import Any

from dataops_operator.kube.cache import Change, Object, Store


def make(
    name: str,
    version: int,
    *,
    uid: str | None = None,
    namespace: str = "a",
    owner: str | None = None,
    **more: Any,
) -> dict[str, Any]:
    metadata: dict[str, Any] = {
        "name": name,
        "namespace": namespace,
        "uid": uid or f"uid-{name}",
        "resourceVersion": str(version),
    }
    if owner:
        metadata["ownerReferences"] = [
            {"kind": "PipelineRun", "name": "x", "uid": "not-a-controller"},
            {"kind": "PipelineRun", "name": "r", "uid": owner, "controller": True},
        ]
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, **more}


def status_of(code: int, reason: str) -> dict[str, Any]:
    return {"kind": "Status", "code": code, "reason": reason, "message": f"made up {reason}"}


def replaced(store: Store, items: Iterable[Object], version: str, *, namespace: str | None = None) -> list[Change]:
    """Take a whole list into the store, as a re-list does."""
    seen: set[str] = set()
    return store.merge(items, seen) + store.prune(seen, version, namespace=namespace)
