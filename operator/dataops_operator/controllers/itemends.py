"""The ends of an Indexed Job's items: read of its pods page by page, and of each no more than is needed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ..core.names import INDEX_LABEL, JOB_NAME_LABEL
from ..core.plan import Gather
from ..kube.client import KubeClient
from ..kube.resources import PODS
from .kept import slim_pod

Object = Mapping[str, Any]

PAGE: Final = 250
"""Pods in one answer: about 2 MB."""


async def item_ends(client: KubeClient, namespace: str, wanted: Gather) -> dict[int, Object]:
    """For each item its pod that succeeded, else the last that failed.

    Args:
        client: of the API server.
        namespace: of the Job.
        wanted: whose pods; of failed ones only those asked for.

    Raises:
        ApiError: they could not be read.
    """
    selector = f"{JOB_NAME_LABEL}={wanted.job}"
    if not wanted.outputs:
        selector += f",{INDEX_LABEL} in ({','.join(map(str, wanted.failed))})"
    out: dict[int, Object] = {}
    async for page in client.pages(PODS, namespace, label_selector=selector, limit=PAGE):
        for pod in page["items"]:
            index = int(pod["metadata"]["labels"][INDEX_LABEL])
            phase = pod["status"].get("phase")
            if phase == "Succeeded" or (phase == "Failed" and index in wanted.failed and _newer(pod, out.get(index))):
                out[index] = slim_pod(pod)
    return out


def _newer(pod: Object, held: Object | None) -> bool:
    if held is None:
        return True
    created = pod["metadata"]["creationTimestamp"], pod["metadata"]["name"]
    return held["status"].get("phase") != "Succeeded" and created > (
        held["metadata"]["creationTimestamp"],
        held["metadata"]["name"],
    )
