"""Pipelines: hold the definition against the rules, keep its revision, say how its last run ended."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Final

from ..api.conditions import Reason, Type, drop_condition, find_condition, set_condition
from ..core.problems import Problem, summarise
from ..core.revision import Revision
from ..core.status import difference, is_final
from ..core.steptemplates import missing
from ..core.times import to_rfc3339
from ..kube.errors import Conflict, NotFound
from ..kube.resources import PIPELINES
from .events import News
from .keys import Key
from .revisions import Revisions
from .steptemplate import held_templates
from .world import BY_PIPELINE, CLEAN_UP_DELAY, Object, World

LAST_RUN_DELAY: Final = 5.0
"""Seconds in which the ends of many runs become one write of their pipeline."""


class PipelineController:
    """Reconciles Pipelines."""

    def __init__(self, world: World, revisions: Revisions) -> None:
        """Work on what the world holds."""
        self._world = world
        self._revisions = revisions

    async def reconcile(self, key: Key) -> None:
        """Bring one Pipeline's status up to its spec and its runs."""
        pipeline = self._world.pipelines.get(key.namespace, key.name)
        if pipeline is None or "deletionTimestamp" in pipeline["metadata"]:
            return
        revision, problems = self._revisions.compile(pipeline, held_templates(self._world, pipeline))
        if revision is not None:
            await self._revisions.ensure(pipeline, revision)
            if pipeline["status"].get("activeRevision") != revision.name:
                await self._revisions.activate(pipeline, revision)
        now = time.time()
        before = pipeline["status"]
        last = self._last_run(key)
        after = compose(pipeline, revision, problems, last, now)
        patch = difference(before, after)
        if not patch:
            return
        try:
            written = await self._world.write_status(PIPELINES, pipeline, patch)
        except NotFound:
            return  # deleted meanwhile
        except Conflict:
            self._world.pipelines.upsert(await self._world.client.get(PIPELINES, key.namespace, key.name))
            self._world.queue.add(key)
            return
        self._world.pipelines.upsert(written)
        if "activeRevision" in patch:
            self._world.clean_up.add_after(key, CLEAN_UP_DELAY)  # what was active may go
        self._tell(pipeline, problems, after, now)

    def _last_run(self, key: Key) -> Object | None:
        """The run of this pipeline that ended last."""
        ended = [
            run
            for run in self._world.runs.by_index(BY_PIPELINE, f"{key.namespace}/{key.name}")
            if is_final(run["status"])
        ]
        return max(ended, key=_end, default=None)

    def _tell(self, pipeline: Object, problems: list[Problem], after: Mapping[str, Any], now: float) -> None:
        old = find_condition(pipeline, Type.READY)
        new = find_condition({"status": after}, Type.READY)
        if new is None or (old is not None and (old["status"], old["message"]) == (new["status"], new["message"])):
            return
        detail = str(pipeline["metadata"]["generation"])
        news = News(new["reason"], new["message"], warning=bool(problems), detail=detail)
        self._world.recorder.tell("Pipeline", pipeline, news, now)


def _end(run: Object) -> tuple[str, str, str]:
    """Order of ends; times are whole seconds, so that the name decides between equals, today as after a restart."""
    meta = run["metadata"]
    return run["status"].get("finishedAt", ""), meta["creationTimestamp"], meta["name"]


def compose(
    pipeline: Object, revision: Revision | None, problems: list[Problem], last: Object | None, now: float
) -> dict[str, Any]:
    """A Pipeline's status.

    Args:
        pipeline: as it stands; not changed.
        revision: what its spec makes, where it is valid.
        problems: what is wrong with it, where it is not.
        last: the run that ended last, if any.
        now: seconds since the epoch.
    """
    generation = pipeline["metadata"]["generation"]
    status = dict(pipeline["status"])
    conditions: list[dict[str, Any]] = list(status.get("conditions") or ())

    def put(type_: Type, holds: bool, reason: Reason, message: str) -> None:
        nonlocal conditions
        conditions = set_condition(
            conditions, type_, holds, reason, message, now=to_rfc3339(now), generation=generation
        )

    if revision is not None:
        put(Type.READY, True, Reason.VALID, f"revision {revision.name} is active")
        conditions = drop_condition(drop_condition(conditions, Type.STALLED), Type.RECONCILING)
        status["activeRevision"] = revision.name
        status["steps"] = len(revision.steps)
    elif missing(problems):
        # Tools apply in any order: it waits, and nobody need do anything if the template is on its way.
        message = summarise(problems)
        put(Type.READY, False, Reason.TEMPLATE_NOT_FOUND, message)
        put(Type.RECONCILING, True, Reason.TEMPLATE_NOT_FOUND, message)
        conditions = drop_condition(conditions, Type.STALLED)
    else:
        message = summarise(problems)
        conditions = drop_condition(conditions, Type.RECONCILING)
        put(Type.READY, False, Reason.INVALID, message)
        put(Type.STALLED, True, Reason.INVALID, message)
    # What ended last may be deleted while one that ended before stays.
    if last is not None and last["status"].get("finishedAt", "") >= (status.get("lastRunAt") or ""):
        outcome = find_condition(last, Type.SUCCEEDED) or {}
        put(
            Type.LAST_RUN_SUCCEEDED,
            outcome.get("status") == "True",
            Reason(outcome.get("reason") or Reason.STEP_FAILED),
            f"run {last['metadata']['name']} ended at {last['status'].get('finishedAt')}",
        )
        status["lastRun"] = last["metadata"]["name"]
        if ended := last["status"].get("finishedAt"):
            status["lastRunAt"] = ended
    return status | {"observedGeneration": generation, "conditions": conditions}
