"""The end of an Environment: what it made is taken back in order, and nothing holds it up for good.

Runs first, so that nobody writes any more; then what its targets made outside the cluster; then what its runs hold in
Vault; then the namespace. Each stage has until a moment that follows from the deletion's own time, so that a restart
changes nothing; after it the next begins, and a warning names what is left.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from ..api.conditions import Reason
from ..core.environment_status import Facts, deleting
from ..core.names import ENVIRONMENT_FINALIZER, RUN_LABEL
from ..core.provision import Place
from ..core.times import from_rfc3339, to_rfc3339
from ..kube.errors import ApiError, Conflict, NotFound
from ..kube.resources import ENVIRONMENTS, PIPELINE_RUNS
from .events import News
from .holding import Holding
from .keys import environment_key
from .provisioner import Provisioner
from .telling import Telling
from .world import LIVE_IN, Object, World

logger = logging.getLogger(__name__)

_AGAIN: Final = 0.5
_SHOWN: Final = 5


Release = Callable[[Object, Place], Awaitable[str]]
"""Takes something back, or goes on with that; tells what is still there, for people, and nothing once nothing is."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One step of the way out.

    Attributes:
        work: does it, and tells what it waits for.
        reason: of the warning when its time is over.
    """

    work: Release
    reason: Reason


class Deletion:
    """Takes back what Environments made."""

    def __init__(
        self,
        world: World,
        provisioner: Provisioner,
        holding: Holding,
        telling: Telling,
        *,
        targets: Release,
        leases: Release,
        patience: float,
    ) -> None:
        """Work for one operator.

        Args:
            world: what the caches hold.
            provisioner: removes objects.
            holding: removes namespaces.
            telling: writes the status.
            targets: takes back what was made in targets.
            leases: takes back what runs hold in Vault.
            patience: seconds that each stage has.
        """
        self._world = world
        self._provisioner = provisioner
        self._holding = holding
        self._telling = telling
        self._patience = patience
        self._given_up: set[tuple[str, Reason]] = set()
        self._stages = (
            Stage(self._runs, Reason.RUNS_LEFT),
            Stage(targets, Reason.TARGET_LEFT),
            Stage(leases, Reason.LEASES_LEFT),
            Stage(self._objects, Reason.NAMESPACE_LEFT),
        )

    async def go_on(self, environment: Object, place: Place) -> bool:
        """Take the deletion as far as it goes now; whether it has come to its end."""
        meta = environment["metadata"]
        if ENVIRONMENT_FINALIZER not in meta.get("finalizers", ()):
            return True  # what it made is owned by it, and goes with it
        began = from_rfc3339(meta["deletionTimestamp"])
        for number, stage in enumerate(self._stages, 1):
            try:
                left = await stage.work(environment, place)
            except ApiError as error:
                left = f"the API server answers {error.status} {error.reason}: {error.message}"
            if not left:
                continue
            now, until = time.time(), began + number * self._patience
            if now < until:
                text = f"{left}; at {to_rfc3339(until)} it goes on without"
                facts = self._facts(environment, place)
                await self._telling.write(
                    environment, deleting(environment["status"], text, facts, meta["generation"], now), now
                )
                self._world.queue.add_after(environment_key(environment), min(_AGAIN, until - now))
                return False
            text = f"deleted without waiting longer: {left}"
            if (place.uid, stage.reason) not in self._given_up:
                self._given_up.add((place.uid, stage.reason))
                logger.warning("Environment %s/%s: %s: %s", place.project, place.name, stage.reason, text)
            news = News(stage.reason, text, warning=True, detail=str(number))
            self._world.recorder.tell("Environment", environment, news, now)
        return await self._let_go(environment)

    def _facts(self, environment: Object, place: Place) -> Facts:
        status = environment["status"]
        held = status.get("namespace")
        runs = len(self._live_runs(place)) if held else 0
        return Facts(held, place.made, tuple(status.get("targets") or ()), active=runs)

    async def _let_go(self, environment: Object) -> bool:
        """Take our finalizer off; the API server then removes the object."""
        meta = environment["metadata"]
        rest = [one for one in meta.get("finalizers", ()) if one != ENVIRONMENT_FINALIZER]
        body = {"metadata": {"finalizers": rest, "resourceVersion": meta["resourceVersion"]}}
        try:
            written = await self._world.client.patch(ENVIRONMENTS, meta["namespace"], meta["name"], body)
        except NotFound:
            return True
        except Conflict:
            await self._telling.reread(environment)
            return False
        logger.info("Environment %s/%s is deleted", meta["namespace"], meta["name"])
        if rest:
            self._world.environments.put(written)
        self._given_up = {one for one in self._given_up if one[0] != meta["uid"]}
        return True

    # Stages.

    def _live_runs(self, place: Place) -> Sequence[Object]:
        """Runs under way in the namespace; all of them belong to the environment that holds it."""
        return self._world.runs.by_index(LIVE_IN, place.execution)

    async def _runs(self, environment: Object, place: Place) -> str:
        """Delete the runs under way, and wait until their pods have ended, too."""
        if environment["status"].get("namespace") != place.execution:
            return ""  # it never held the namespace: whoever runs there is no business of its
        for run in self._live_runs(place):
            meta = run["metadata"]
            if "deletionTimestamp" not in meta:
                with contextlib.suppress(NotFound, Conflict):  # gone, or another one by now
                    await self._world.client.delete(PIPELINE_RUNS, meta["namespace"], meta["name"], uid=meta["uid"])
        names = sorted(run["metadata"]["name"] for run in self._live_runs(place))
        if names:
            return f"waits for runs to end: {_some(names)}"
        pods = sorted(
            pod["metadata"]["name"]
            for pod in self._world.pods
            if pod["metadata"]["namespace"] == place.execution
            and RUN_LABEL in pod["metadata"]["labels"]
            and pod["status"].get("phase") not in ("Succeeded", "Failed")
        )
        return f"waits for pods of runs to end: {_some(pods)}" if pods else ""

    async def _objects(self, environment: Object, place: Place) -> str:  # noqa: ARG002 - as a Release
        """Delete the namespace where the environment made it; else what it made there, and take its labels off."""
        if await self._holding.is_made(place):
            gone = await self._holding.delete(place)
            return "" if gone else f"waits for namespace {place.execution} to be gone"
        left = await self._provisioner.remove(place)
        if left:
            return f"waits for what it made in namespace {place.execution} to be gone: {_some(left)}"
        if place.execution != place.project:
            await self._holding.give_back(place)
        return ""


def _some(names: list[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
