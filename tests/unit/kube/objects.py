"""Objects for the tests of the cache and of list and watch."""

from typing import Any


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
