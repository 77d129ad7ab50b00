"""Kubernetes Events on transitions: told once, in the background, and never at the cost of the work.

The namespaces take turns, so that the thousand events of one hold up nobody else's.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections import deque
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
"""Events of a namespace that may wait to be told; what comes beyond is dropped, and counted in the log."""


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
        self._backlog: dict[str, deque[dict[str, Any]]] = {}
        """By namespace, that whose turn is next first."""
        self._something = asyncio.Event()
        self._nothing = asyncio.Event()
        self._nothing.set()
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
        waiting = self._backlog.setdefault(meta["namespace"], deque())
        if len(waiting) < BACKLOG:
            waiting.append(body)
            self._something.set()
            self._nothing.clear()
            return
        self._dropped += 1
        if self._dropped % 100 == 1:
            logger.warning("Too many events wait to be written; %d dropped so far", self._dropped)

    async def run(self) -> None:
        """Write Events until cancelled."""
        while True:
            await self._something.wait()
            namespace, body = self._next()
            try:
                await self._client.create(EVENTS, namespace, body)
            except AlreadyExists:
                pass  # told before, perhaps by the replica that led then
            except ApiError as error:
                about = body["involvedObject"]["name"]
                logger.info("Event %s of %s was not written: %s", body["reason"], about, error)
            if not self._backlog:
                self._something.clear()
                self._nothing.set()

    def _next(self) -> tuple[str, dict[str, Any]]:
        """The first Event of the namespace whose turn it is."""
        namespace = next(iter(self._backlog))
        waiting = self._backlog.pop(namespace)
        body = waiting.popleft()
        if waiting:
            self._backlog[namespace] = waiting  # behind the others
        return namespace, body

    async def flush(self) -> None:
        """Wait until everything queued is written."""
        await self._nothing.wait()
