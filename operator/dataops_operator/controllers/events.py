"""Kubernetes Events on transitions: told once, in the background, and never at the cost of the work."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from ..api.base import API_VERSION
from ..api.conditions import truncate
from ..core.names import event_name
from ..core.times import to_rfc3339
from ..kube.client import KubeClient
from ..kube.errors import AlreadyExists, ApiError
from ..kube.resources import EVENTS

logger = logging.getLogger(__name__)

COMPONENT: Final = "dataops-operator"
BACKLOG: Final = 2000
"""Events that may wait to be told; what comes beyond is dropped, and counted in the log."""


@dataclass(frozen=True, slots=True)
class News:
    """Something a person may want to hear of an object.

    Attributes:
        reason: CamelCase, out of the closed list of reasons.
        message: for people.
        warning: whether somebody may have to act.
        detail: tells two news of one reason apart, such as a step and its attempt.
    """

    reason: str
    message: str
    warning: bool = False
    detail: str = ""


class Recorder:
    """Writes Events, one after another."""

    def __init__(self, client: KubeClient) -> None:
        """Begin with nothing to tell."""
        self._client = client
        self._backlog: asyncio.Queue[tuple[str, dict[str, Any]]] = asyncio.Queue(BACKLOG)
        self._dropped = 0

    def tell(self, kind: str, obj: Mapping[str, Any], news: News, now: float) -> None:
        """Queue an Event about an object; the same news of the same object is one Event, however often it is told."""
        meta = obj["metadata"]
        stamp = to_rfc3339(now)
        body = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {
                "name": event_name(meta["uid"], news.reason, news.detail),
                "namespace": meta["namespace"],
            },
            "involvedObject": {
                "apiVersion": API_VERSION,
                "kind": kind,
                "name": meta["name"],
                "namespace": meta["namespace"],
                "uid": meta["uid"],
            },
            "reason": news.reason,
            "message": truncate(news.message),
            "type": "Warning" if news.warning else "Normal",
            "firstTimestamp": stamp,
            "lastTimestamp": stamp,
            "count": 1,
            "source": {"component": COMPONENT},
            "reportingComponent": COMPONENT,
            "reportingInstance": os.environ.get("POD_NAME", COMPONENT),
        }
        try:
            self._backlog.put_nowait((meta["namespace"], body))
        except asyncio.QueueFull:
            self._dropped += 1
            if self._dropped % 100 == 1:
                logger.warning("Too many events wait to be written; %d dropped so far", self._dropped)

    async def run(self) -> None:
        """Write Events until cancelled."""
        while True:
            namespace, body = await self._backlog.get()
            try:
                await self._client.create(EVENTS, namespace, body)
            except AlreadyExists:
                pass  # told before, perhaps by the replica that led then
            except ApiError as error:
                about = body["involvedObject"]["name"]
                logger.info("Event %s of %s was not written: %s", body["reason"], about, error)
            finally:
                self._backlog.task_done()

    async def flush(self) -> None:
        """Wait until everything queued so far is written."""
        await self._backlog.join()
