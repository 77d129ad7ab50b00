"""What is told of runs: their statuses, with events and metrics of what changed.

How a run began is told later where many begin at once, and mostly together with what comes next: until then its Jobs
say it (`core.accept`), and to an operator that begins anew they do so in any case.
"""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any, Final

from ..core import news
from ..core import status as statuses
from ..kube.errors import Conflict, NotFound
from ..kube.resources import PIPELINE_RUNS
from .children import Children
from .events import News
from .keys import Key, environment_label, pipeline_key, run_key
from .pace import Spread
from .pipeline import LAST_RUN_DELAY
from .world import Object, World

logger = logging.getLogger(__name__)

Status = Mapping[str, Any]

_NAMESPACES: Final = 1000
"""Of how many it is remembered how many began in them."""
BEGINNINGS: Final = 10.0
"""Runs a second of one namespace of which it is told at once that they have begun."""


class RunStatus:
    """Writes the statuses of runs."""

    def __init__(self, world: World, children: Children, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin with nothing to tell.

        Args:
            world: the caches and the client.
            children: what reads a run live.
            clock: seconds.
        """
        self._world = world
        self._children = children
        self._clock = clock
        self._beginnings: defaultdict[str, Spread[Key]] = defaultdict(lambda: Spread(0.0, BEGINNINGS, clock))
        """Of each namespace, so that many in one are no matter to another."""
        self._held: dict[Key, tuple[Status, Status, float]] = {}
        """Of runs whose status is told later: as the cache has it, as it stands, and until when."""

    def forget(self, key: Key) -> None:
        """Let go of a run that has ended or is gone."""
        self._held.pop(key, None)

    async def write(self, run: Object, after: Status, now: float, *, begins: bool = False) -> bool:
        """Write a status if it differs.

        Args:
            run: as the cache has it.
            after: its status as it is to be.
            now: seconds since the epoch.
            begins: whether it says that the run has begun and no more, which may be told a little later.

        Returns:
            Whether it now stands as asked, or will by itself.
        """
        key = run_key(run)
        foreseen, before, until = self._held.get(key, (None, run["status"], 0.0))
        if run["status"] is not foreseen:  # nothing is told later, or somebody has written in between
            before, until = run["status"], 0.0
        if (left := until - self._clock()) > 0 and not statuses.difference(run["status"], after):
            self._world.queue.add_after(key, left)
            return True  # it is told with what comes next
        patch = statuses.difference(before, after)
        if not patch:
            return True
        if len(self._beginnings) > _NAMESPACES:
            self._beginnings.clear()
        if (
            begins
            and not until
            and (wait := self._beginnings[key.namespace].wait(key))
            and self._hold(run, after, wait)
        ):
            return True
        return await self._patch({**run, "status": before}, patch, after, now)

    def _hold(self, run: Object, after: Status, wait: float) -> bool:
        """Have the cache show a status that is told in so many seconds, or with the next one; False if it cannot."""
        foreseen = {**after}
        change = self._world.runs.foresee({**run, "status": foreseen})
        if change is None:
            return False
        self._held[run_key(run)] = foreseen, run["status"], self._clock() + wait
        self._world.run_changed(*change)
        self._world.queue.add_after(run_key(run), wait)
        return True

    async def _patch(self, run: Object, patch: Status, after: Status, now: float) -> bool:
        try:
            written = await self._world.write_status(PIPELINE_RUNS, run, patch)
        except NotFound:
            return False  # deleted meanwhile
        except Conflict:
            # Somebody wrote in between: decide again on what is there.
            await self._children.refresh(self._world.runs, PIPELINE_RUNS, run, self._world.run_changed)
            self._world.queue.add(run_key(run))
            return False
        untold = self._held.pop(run_key(run), None) is not None
        if (change := self._world.runs.put(written)) is not None:
            self._world.run_changed(*change)
        self._told(run, after, now, untold=untold)
        return True

    def _told(self, run: Object, after: Status, now: float, *, untold: bool) -> None:
        """Events and metrics of what the written status changed."""
        metrics, meta = self._world.metrics, run["metadata"]
        labels = run["spec"]["pipeline"], environment_label({**run, "status": after})
        for one in news.of(run["status"], after, edited=meta["uid"] in self._world.edited, untold=untold):
            logger.info("Run %s/%s: %s: %s", meta["namespace"], meta["name"], one.reason, one.message)
            self._world.recorder.tell("PipelineRun", run, News(one.reason, one.message, one.warning, one.detail), now)
            if one.retried is not None:
                metrics.step_retries.labels(*labels, one.retried).inc()
        if hits := news.cache_hits(run["status"], after):
            metrics.cache_hits.labels(*labels).inc(hits)
        for phase, seconds in news.step_durations(run["status"], after):
            metrics.step_duration.labels(*labels, phase).observe(seconds)
        if (waited := news.queue_wait(run, after)) is not None:
            metrics.queue_wait.labels(*labels).observe(waited)
        if statuses.is_final(after):
            if (took := news.run_duration(after)) is not None:
                metrics.run_duration.labels(*labels, after["phase"]).observe(took)
            self._world.pod_ends.pop(run_key(run), None)
            self._world.queue.add_after(pipeline_key({**run, "status": after}), LAST_RUN_DELAY)
