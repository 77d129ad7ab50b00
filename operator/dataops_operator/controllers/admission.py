"""What bounds runs and Jobs: an environment's freeze and quota, a pipeline's concurrency.

All of it is derived from what lives in the cluster, so that a restart changes nothing. What is decided and not yet
written is remembered here, since other reconciles go on meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from ..api.conditions import Reason
from ..core.accept import Refused, Waiting
from ..core.concurrency import Bound
from ..core.line import Line
from ..core.observe import is_indexed_job
from ..core.quota import EXACT, in_words, maker, order, told
from .changes import has_ended
from .keys import run_key
from .tenancy import Home, Tenancy
from .world import AT_WORK, Object, World

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
        self._coming: dict[str, int] = {}

    def wait(self, run: Object, home: Home | None, bound: Bound | None, now: float) -> Waiting | Refused | None:
        """What keeps a run from beginning now; it stands in line until it is let in.

        Args:
            run: one that has not begun.
            home: its environment; None where it belongs to none.
            bound: what bounds it among those of its pipeline; None for what was known before.
            now: seconds since the epoch.
        """
        lines = self._world.lines
        if lines.begun(run):
            return None
        if not self._lives(run):  # no news of it come any more that would take it out of a line
            return Waiting(Reason.WAITING, "the run is being deleted", now)
        if home is not None and home.object["spec"].get("freeze") and maker(run) is None:
            text = f"environment {home.effective.key} is frozen: new runs wait until its spec.freeze is false"
            return Waiting(Reason.FROZEN, text, now + _LOOK_AGAIN)
        quota = home.effective.spec.quota if home is not None else None
        turn = lines.turn(run, bound, quota.runs if quota is not None else None)
        if not turn.position:
            return None
        if turn.reason is Reason.CONCURRENCY_LIMIT:
            text = self._bound_in_words(run)
        else:
            assert home is not None and quota is not None  # noqa: S101, PT018 - nothing else bounds runs
            text = f"environment {home.effective.key} runs at most {quota.runs} at once (spec.quota.runs)"
        if turn.refused:
            text = f"{text}, and refuses more while run {turn.holder} goes on"
            cure = "start it again when that has ended, or give the pipeline the policy Wait"
            return Refused(Reason.CONCURRENCY_LIMIT, f"{text}; {cure}")
        # A holder is told of those whose place is: for all others it would change with each end of a run.
        holder = turn.holder if turn.position <= EXACT else None
        until = now + min(_SOON + turn.position, _LOOK_AGAIN)
        text = f"{text}; {in_words(turn.position)}"
        return Waiting(turn.reason or Reason.WAITING, text, until, holder, told(turn.position))

    def let_in(self, run: Object, home: Home | None, bound: Bound, now: float) -> Waiting | Refused | None:
        """Do as `wait`, and have the run count as under way from this moment on where nothing keeps it."""
        found = self.wait(run, home, bound, now)
        if found is None and not self._world.lines.begun(run):
            self._world.lines.begin(run)
        return found

    def _lives(self, run: Object) -> bool:
        """Whether a run is still there, which may have been deleted while what it begins with was read."""
        held = self._world.runs.by_uid(run["metadata"]["uid"])
        return held is not None and "deletionTimestamp" not in held["metadata"]

    def _bound_in_words(self, run: Object) -> str:
        entry = self._world.lines.entry(run)
        assert entry is not None  # noqa: S101 - it was just asked for its turn
        runs = f"{entry.limit} run{'s' if entry.limit != 1 else ''} at once"
        key = f" with the key {entry.key!r}" if entry.key is not None else ""
        return f"pipeline {entry.pipeline} has {runs}{key} (spec.concurrency)"

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
        world = self._world
        at_work = sum(not self._pods_ended(job) for job in world.jobs.by_index(AT_WORK, namespace))
        line = world.job_line.get(namespace)
        before = line.before(order(run)) if line is not None else 0
        return max(limit - at_work - self._coming.get(namespace, 0) - before, 0)

    def _pods_ended(self, job: Object) -> bool:
        """Whether a Job's pods have ended, which its condition tells a second later."""
        if is_indexed_job(job):
            return False
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
        """Have a run stand in line for Jobs, or leave it."""
        if waits and self._lives(run):
            line = self._world.job_line.setdefault(run["metadata"]["namespace"], Line())
            line.add(order(run), run_key(run))
        else:
            self._world.leave_line(run)

    def place(self, run: Object) -> int | None:
        """Where a run stands in line for Jobs, from 1, as it is told; None where it stands in none."""
        line, own = self._world.job_line.get(run["metadata"]["namespace"]), order(run)
        return told(line.before(own) + 1) if line is not None and own in line else None
