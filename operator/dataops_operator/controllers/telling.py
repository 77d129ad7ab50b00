"""An Environment's status, written at most once a reconcile and only where it differs, and the events of it."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any, Final

from ..api.conditions import Type, find_condition
from ..core.status import difference
from ..kube.errors import Conflict, NotFound
from ..kube.resources import ENVIRONMENTS
from .events import News
from .keys import environment_key
from .world import Object, World

logger = logging.getLogger(__name__)

COUNT_DELAY: Final = 5.0
"""Seconds between two writes of a status in which only the counts of runs changed."""
_COUNTS: Final = frozenset({"activeRuns", "waitingRuns"})


class Telling:
    """Writes the status of Environments."""

    def __init__(self, world: World) -> None:
        """Write through the world's client."""
        self._world = world
        self._counted: dict[str, float] = {}

    async def write(self, environment: Object, after: Mapping[str, Any], now: float) -> bool:
        """Write the status if it differs; whether it now stands as asked.

        Args:
            environment: as it stands in the cache.
            after: the whole status.
            now: seconds since the epoch.
        """
        before, meta = environment["status"], environment["metadata"]
        patch = difference(before, after)
        if not patch:
            return True
        if patch.keys() <= _COUNTS and (wait := self._too_soon(meta["uid"])) > 0:
            self._world.queue.add_after(environment_key(environment), wait)
            return True
        try:
            written = await self._world.write_status(ENVIRONMENTS, environment, patch)
        except NotFound:
            return False  # deleted meanwhile
        except Conflict:
            await self.reread(environment)
            return False
        self._counted[meta["uid"]] = time.monotonic()
        if (change := self._world.environments.put(written)) is not None:
            self._world.environment_changed(*change)
        self._tell(environment, after, now)
        return True

    async def reread(self, environment: Object) -> None:
        """Take in what somebody else wrote, and decide again on that."""
        meta = environment["metadata"]
        try:
            live = await self._world.client.get(ENVIRONMENTS, meta["namespace"], meta["name"])
        except NotFound:
            return
        if (change := self._world.environments.put(live)) is not None:
            self._world.environment_changed(*change)
        self._world.queue.add(environment_key(environment))

    def forget(self, uid: str) -> None:
        """Let go of what is known of an environment that is gone."""
        self._counted.pop(uid, None)

    def _too_soon(self, uid: str) -> float:
        return self._counted.get(uid, float("-inf")) + COUNT_DELAY - time.monotonic()

    def _tell(self, environment: Object, after: Mapping[str, Any], now: float) -> None:
        """An Event where Ready changed, once for each time it did."""
        old, new = find_condition(environment, Type.READY), find_condition({"status": after}, Type.READY)
        if new is None or (old is not None and (old["status"], old["reason"]) == (new["status"], new["reason"])):
            return
        meta = environment["metadata"]
        logger.info("Environment %s/%s: %s: %s", meta["namespace"], meta["name"], new["reason"], new["message"])
        detail = f"{meta['generation']}/{new['lastTransitionTime']}/{new['reason']}"
        news = News(new["reason"], new["message"], warning=new["status"] == "False", detail=detail)
        self._world.recorder.tell("Environment", environment, news, now)
