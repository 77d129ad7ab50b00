"""The bounds of an environment: freeze, runs at once, Jobs at once.

All of it is derived from what lives in the cluster, so that a restart changes nothing. What is decided and not yet
written is remembered here, since other reconciles go on meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from ..api.conditions import Reason
from ..core.accept import Waiting
from ..core.quota import turn
from .tenancy import Home, Tenancy
from .world import AT_WORK, LIVE_IN, Object, World, has_ended, run_key

_LOOK_AGAIN: Final = 300.0
"""Seconds after which a waiting run looks again, whatever it heard; nothing waits for it."""
_SOON: Final = 5.0
"""The same for the first in line; the others follow by their place, so that a long line costs little."""


class Admission:
    """Lets runs and Jobs in."""

    def __init__(self, world: World, tenancy: Tenancy) -> None:
        """Look at what the world holds."""
        self._world = world
        self._tenancy = tenancy
        self._let_in: set[str] = set()
        self._coming: dict[str, int] = {}

    def wait(self, run: Object, home: Home, now: float) -> Waiting | None:
        """What keeps a run from beginning; None lets it in, from this moment on.

        Args:
            run: one that has not begun.
            home: its environment.
            now: seconds since the epoch.
        """
        if self._begun(run):
            return None
        spec, name = home.effective.spec, home.effective.key
        if home.object["spec"].get("freeze"):
            text = f"environment {name} is frozen: new runs wait until its spec.freeze is false"
            return Waiting(Reason.FROZEN, text, now + _LOOK_AGAIN)
        limit = spec.quota.runs if spec.quota is not None else None
        if limit is not None:
            live = self._world.runs.by_index(LIVE_IN, run["metadata"]["namespace"])
            place = turn(run, live, limit, self._begun)
            if place.position:
                text = f"environment {name} has {limit} runs at once (spec.quota.runs); place {place.position} in line"
                until = now + min(_SOON + place.position, _LOOK_AGAIN)
                return Waiting(Reason.RUN_QUOTA, text, until, place.holder, place.position)
            self._remember(run)
        return None

    def _begun(self, run: Object) -> bool:
        """Whether a run is under way: by its status, by its Jobs, or because it was let in a moment ago."""
        uid = run["metadata"]["uid"]
        return bool(run["status"].get("revision")) or uid in self._let_in or bool(self._world.jobs.by_owner(uid))

    def _remember(self, run: Object) -> None:
        if len(self._let_in) > 1000:
            held = (self._world.runs.by_uid(uid) for uid in self._let_in)
            self._let_in = {one["metadata"]["uid"] for one in held if one and not one["status"].get("revision")}
        self._let_in.add(run["metadata"]["uid"])

    # Jobs.

    def room(self, run: Object) -> int | None:
        """How many Jobs a run may create now; None where nothing bounds them.

        Those that stand in line before it have theirs first.
        """
        namespace = run["metadata"]["namespace"]
        environment = self._tenancy.holder(namespace)
        content = self._tenancy.effective(environment)[0] if environment is not None else None
        limit = content.spec.quota.jobs if content is not None and content.spec.quota is not None else None
        if limit is None:
            return None
        world, key = self._world, run_key(run)
        at_work = sum(not self._pods_ended(job) for job in world.jobs.by_index(AT_WORK, namespace))
        before = 0
        for other in world.job_line.get(namespace, ()):
            if other == key:
                break
            before += 1
        return max(limit - at_work - self._coming.get(namespace, 0) - before, 0)

    def _pods_ended(self, job: Object) -> bool:
        """Whether a Job's pods have ended, which its condition tells a second later."""
        pods = self._world.pods.by_owner(job["metadata"]["uid"])
        return bool(pods) and all(has_ended(pod) for pod in pods)

    @contextmanager
    def creating(self, run: Object, count: int) -> Iterator[None]:
        """Count Jobs as at work from the decision to create them on, until they are held or were refused."""
        namespace = run["metadata"]["namespace"]
        self._coming[namespace] = self._coming.get(namespace, 0) + count
        try:
            yield
        finally:
            self._coming[namespace] -= count
            if not self._coming[namespace]:
                del self._coming[namespace]
            if count:
                self._world.place_for_job(namespace)  # for a moment they counted twice

    def line_up(self, run: Object, *, waits: bool) -> None:
        """Have a run stand in line for Jobs, where it stands if it does already; or leave it."""
        namespace, key = run["metadata"]["namespace"], run_key(run)
        line = self._world.job_line
        if waits:
            line.setdefault(namespace, {}).setdefault(key)
        elif namespace in line and key in line[namespace]:
            self._world.leave_line(key)
