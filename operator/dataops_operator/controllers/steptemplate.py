"""StepTemplates: hold each against the rules, count who uses it; and read those that a pipeline uses."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any, Final

from ..api.conditions import Reason, Type, drop_condition, find_condition, set_condition
from ..core.problems import Problem, summarise
from ..core.status import difference
from ..core.steptemplates import parse_template, used
from ..core.times import to_rfc3339
from ..kube.errors import Conflict, NotFound
from ..kube.resources import STEP_TEMPLATES
from .events import News
from .keys import Key
from .world import BY_TEMPLATE, Object, World

_AT_ONCE: Final = 8
"""Templates of one pipeline that are read side by side."""


class StepTemplateController:
    """Reconciles StepTemplates."""

    def __init__(self, world: World) -> None:
        """Work on what the world holds."""
        self._world = world

    async def reconcile(self, key: Key) -> None:
        """Bring one StepTemplate's status up to its spec and to those who use it."""
        template = self._world.templates.get(key.namespace, key.name)
        if template is None or "deletionTimestamp" in template["metadata"]:
            return
        now, store = time.time(), self._world.templates
        _, problems = parse_template(template["spec"])
        users = len(self._world.pipelines.by_index(BY_TEMPLATE, f"{key.namespace}/{key.name}"))
        after = compose(template, problems, users, now)
        patch = difference(template["status"], after)
        if not patch:
            return
        try:
            written = await self._world.write_status(STEP_TEMPLATES, template, patch)
        except NotFound:
            return  # deleted meanwhile
        except Conflict:
            store.upsert(await self._world.client.get(STEP_TEMPLATES, key.namespace, key.name))
            self._world.queue.add(key)
            return
        store.upsert(written)
        self._tell(template, problems, after, now)

    def _tell(self, template: Object, problems: list[Problem], after: Mapping[str, Any], now: float) -> None:
        old = find_condition(template, Type.READY)
        new = find_condition({"status": after}, Type.READY)
        if new is None or (old is not None and (old["status"], old["message"]) == (new["status"], new["message"])):
            return
        detail = str(template["metadata"]["generation"])
        news = News(new["reason"], new["message"], warning=bool(problems), detail=detail)
        self._world.recorder.tell("StepTemplate", template, news, now)


def compose(template: Object, problems: list[Problem], users: int, now: float) -> dict[str, Any]:
    """A StepTemplate's status.

    Args:
        template: as it stands; not changed.
        problems: what is wrong with it.
        users: how many Pipelines use it.
        now: seconds since the epoch.
    """
    generation = template["metadata"]["generation"]
    status = dict(template["status"])
    conditions: list[dict[str, Any]] = list(status.get("conditions") or ())
    message = summarise(problems) if problems else "pipelines can use it"
    reason = Reason.INVALID if problems else Reason.VALID
    at = to_rfc3339(now)
    conditions = set_condition(conditions, Type.READY, not problems, reason, message, now=at, generation=generation)
    if problems:
        conditions = set_condition(conditions, Type.STALLED, True, reason, message, now=at, generation=generation)
    else:
        conditions = drop_condition(conditions, Type.STALLED)
    return status | {"observedGeneration": generation, "conditions": conditions, "pipelines": users}


# For those who compile pipelines.


def held_templates(world: World, pipeline: Object) -> dict[str, Object]:
    """The StepTemplates that a pipeline uses, as the cache has them, by name; those that are not there are left out."""
    namespace = pipeline["metadata"]["namespace"]
    found = ((name, world.templates.get(namespace, name)) for name in used(pipeline["spec"]))
    return {name: one for name, one in found if one is not None}


async def read_templates(world: World, pipeline: Object) -> dict[str, Object]:
    """The same, read live: a run may have been made right after an edit that our watch has not told of yet.

    One with a version cannot have changed since it was seen, and is not read again.
    """
    namespace, found = pipeline["metadata"]["namespace"], held_templates(world, pipeline)
    unsure = [name for name in used(pipeline["spec"]) if not _fixed(found.get(name))]
    turns = asyncio.Semaphore(_AT_ONCE)

    async def read(name: str) -> None:
        try:
            async with turns:
                one = await world.read(STEP_TEMPLATES, namespace, name)
        except NotFound:
            found.pop(name, None)
            return
        if (change := world.templates.put(one)) is not None:
            world.template_changed(*change)
        found[name] = world.templates.get(namespace, name) or one

    await asyncio.gather(*(read(name) for name in unsure))
    return found


def _fixed(template: Object | None) -> bool:
    return template is not None and isinstance(template["spec"].get("version"), str)
