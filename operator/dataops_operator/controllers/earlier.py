"""What earlier runs have of a step that is cached: found by the index of runs, read of the run itself."""

from __future__ import annotations

from typing import Final

from ..core import status as statuses
from ..core.plan import Earlier
from ..core.rows import Row
from ..kube.errors import NotFound
from ..kube.resources import PIPELINE_RUNS
from .indices import CACHED, cached
from .world import Object, World

TRIES: Final = 3
"""Runs that are read for one key, where those before are gone."""


async def earlier(world: World, run: Object, key: str) -> Earlier | None:
    """The last step that has succeeded with a key in another run of the same namespace; None where there is none.

    Raises:
        ApiError: a run could not be read.
    """
    meta = run["metadata"]
    namespace = meta["namespace"]
    held = world.runs.by_index(CACHED, f"{namespace}/{key}")
    others = [one for one in held if one["metadata"]["uid"] != meta["uid"]]
    others.sort(key=lambda one: cached(one)[key], reverse=True)
    for other in others[:TRIES]:
        name, status = other["metadata"]["name"], other["status"]
        if statuses.is_final(status):  # the store keeps no steps of it
            try:
                status = (await world.client.get(PIPELINE_RUNS, namespace, name)).get("status") or {}
            except NotFound:
                continue
        for raw in status.get("steps") or ():
            if raw.get("cacheKey") == key and raw.get("finishedAt"):
                return Earlier(name, Row.from_status(raw))
    return None
