"""Whose turn it is, in every namespace: derived from the runs and pods that the caches hold, as they change."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

from ..core import status as statuses
from ..core.concurrency import UNBOUND, Bound
from ..core.names import RUN_LABEL, RUN_UID_LABEL
from ..core.quota import in_line, maker, order
from ..core.revision import PIPELINE_LABEL
from ..core.times import from_rfc3339
from ..core.turns import Entry, Turn, Turns
from ..kube.cache import Store

Object = Mapping[str, Any]

BY_RUN: Final = "run"
"""Index of pods by the uid of their run."""
SETTLE: Final = 1.0
"""Seconds in which the moves of a line become one look of those whose place is told."""
LAST_BREATH: Final = 60.0
"""Seconds after the time that a pod was given to end, after which one that does not is taken for dead: its node is."""


def _unbound(_run: Object) -> Bound:
    """Nothing is known of what bounds a run."""
    return UNBOUND


class Lines:
    """Who is under way, and who waits for it."""

    def __init__(self, jobs: Store, pods: Store, look: Callable[[str, str, float], None]) -> None:
        """Begin with nobody.

        Args:
            jobs: of runs.
            pods: of runs.
            look: has a run looked at, by namespace and name, in so many seconds.
        """
        self._jobs = jobs
        self._pods = pods
        self._look = look
        self._turns: dict[str, Turns] = {}
        self._left: dict[str, str] = {}
        """Namespace of runs that have ended or are gone and whose pods have not, by the run's uid."""
        self.bound_of: Callable[[Object], Bound] = _unbound
        """What bounds a run that has not been looked at, as far as the caches tell."""
        pods.index(BY_RUN, lambda pod: ((pod["metadata"].get("labels") or {}).get(RUN_UID_LABEL, ""),))

    def entry(self, run: Object) -> Entry | None:
        """What is known of a run."""
        turns = self._turns.get(run["metadata"]["namespace"])
        return turns.get(run["metadata"]["uid"]) if turns is not None else None

    def begun(self, run: Object) -> bool:
        """Whether a run is under way: by its status, by its Jobs, or because it was let in a moment ago."""
        entry = self.entry(run)
        return self._shows(run) or (entry is not None and entry.begun)

    # Turns.

    def turn(self, run: Object, bound: Bound | None, quota: int | None) -> Turn:
        """Where a run stands that has not begun.

        Args:
            run: it stands in line from now on.
            bound: what bounds it among those of its pipeline; None for what was known before.
            quota: how many runs of the namespace may be under way at once; None where nothing bounds them.
        """
        namespace = run["metadata"]["namespace"]
        self._bury(namespace)
        entry = self._entry(run)
        if bound is not None:
            entry = replace(entry, key=bound.key, limit=bound.limit, refuse=bound.refuse)
        found = self._of(namespace).turn(entry, quota)
        self._tell(namespace)
        return found

    def begin(self, run: Object) -> None:
        """Have a run whose turn has come count as under way, before anything says so."""
        self._of(run["metadata"]["namespace"]).begin(run["metadata"]["uid"])
        self._tell(run["metadata"]["namespace"])

    def withdraw(self, run: Object, *, ready: bool) -> None:
        """Take back a beginning of which nothing came.

        Args:
            run: whose.
            ready: whether others stand behind it; else it has no place in a line until it is looked at again.
        """
        entry = self.entry(run)
        if entry is not None and entry.begun and not self._shows(run):
            self._of(run["metadata"]["namespace"]).put(replace(entry, begun=False, ready=ready))
            self._tell(run["metadata"]["namespace"])

    def look(self, namespace: str) -> None:
        """Have those look again who stand first in the lines of a namespace."""
        if (turns := self._turns.get(namespace)) is not None:
            turns.look()
            self._tell(namespace)

    # Changes of the caches.

    def run_changed(self, before: Object | None, after: Object | None) -> None:
        """Take in what a run has become."""
        run = after or before
        assert run is not None  # noqa: S101 - a change is of something
        if before is not None and after is not None and before["metadata"]["uid"] != after["metadata"]["uid"]:
            self._over(before)  # the name was given anew
        if after is None or statuses.is_final(after["status"]):
            self._over(run)
        else:
            self._left.pop(run["metadata"]["uid"], None)
            self._of(run["metadata"]["namespace"]).put(self._entry(after))
        self._tell(run["metadata"]["namespace"])

    def bounds_changed(self, runs: Iterable[Object]) -> None:
        """Take in that a pipeline says something else; its runs that have not begun are given."""
        for run in runs:
            known = self.entry(run)
            if known is not None and not known.begun:
                bound = self.bound_of(run)
                entry = replace(known, key=bound.key, limit=bound.limit, refuse=bound.refuse)
                self._of(run["metadata"]["namespace"]).put(entry)
                self._tell(run["metadata"]["namespace"])

    def child_changed(self, run: Object | None, child: Object) -> None:
        """Take in what a Job or a pod says of its run.

        Args:
            run: None where it is gone.
            child: as it is, or was.
        """
        meta = child["metadata"]
        namespace, uid = meta["namespace"], (meta.get("labels") or {}).get(RUN_UID_LABEL, "")
        if run is not None and not statuses.is_final(run["status"]):
            if not run["status"].get("revision") and (entry := self.entry(run)) is not None and not entry.begun:
                self._of(namespace).put(self._entry(run))
                self._tell(namespace)
        elif uid in self._left:
            if not self._breathes(uid):
                self._drop(namespace, uid)
        elif self._breathes(uid):
            self._adopt(run, child)

    def _over(self, run: Object) -> None:
        """A run has ended or is gone: its place is free once its last pod has ended, too."""
        namespace, uid = run["metadata"]["namespace"], run["metadata"]["uid"]
        entry = self.entry(run)
        if entry is not None and entry.begun and self._breathes(uid):
            self._left[uid] = namespace
            self._of(namespace).put(replace(entry, leaving=True))
        else:
            self._drop(namespace, uid)

    def _adopt(self, run: Object | None, pod: Object) -> None:
        """A pod that outlives its run was found, as after a restart; it may have any key."""
        meta = pod["metadata"]
        labels = meta["labels"]
        owned = any(one.get("controller") for one in meta.get("ownerReferences") or ())
        if not owned or PIPELINE_LABEL not in labels or RUN_LABEL not in labels:
            return
        uid, name = labels[RUN_UID_LABEL], labels[RUN_LABEL]
        created = (run or pod)["metadata"]["creationTimestamp"]
        self._left[uid] = meta["namespace"]
        entry = Entry(uid, name, (0, created, name, uid), labels[PIPELINE_LABEL], begun=True, leaving=True)
        self._of(meta["namespace"]).put(entry)
        self._tell(meta["namespace"])

    def _bury(self, namespace: str) -> None:
        """Free what pods hold that will never say that they ended."""
        for uid in [uid for uid, where in self._left.items() if where == namespace]:
            if not self._breathes(uid):
                self._drop(namespace, uid)

    def _drop(self, namespace: str, uid: str) -> None:
        self._left.pop(uid, None)
        turns = self._turns.get(namespace)
        if turns is not None:
            turns.drop(uid)
            self._tell(namespace)
            if not turns:
                del self._turns[namespace]

    # What the caches say.

    def _entry(self, run: Object) -> Entry:
        meta, status, known = run["metadata"], run["status"], self.entry(run)
        shows = self._shows(run)
        begun = shows or (known is not None and known.begun)
        ready = begun or in_line(run)
        if known is not None and not (shows and status.get("revision")):
            return replace(known, place=order(run), begun=begun, ready=ready, leaving=False)
        key = status.get("concurrencyKey")
        bound = Bound(None, key if isinstance(key, str) else None) if begun else self.bound_of(run)
        limit, refuse = (known.limit, known.refuse) if known is not None else (bound.limit, bound.refuse)
        pipeline = run["spec"]["pipeline"]
        nested = maker(run) is not None
        return Entry(meta["uid"], meta["name"], order(run), pipeline, bound.key, limit, refuse, begun, ready, nested)

    def _shows(self, run: Object) -> bool:
        """Whether a run itself or one of its Jobs says that it has begun."""
        return bool(run["status"].get("revision")) or bool(self._jobs.by_owner(run["metadata"]["uid"]))

    def _breathes(self, uid: str) -> bool:
        """Whether a run has a pod that has not ended."""
        return any(_alive(pod) for pod in self._pods.by_index(BY_RUN, uid))

    def _of(self, namespace: str) -> Turns:
        return self._turns.setdefault(namespace, Turns())

    def _tell(self, namespace: str) -> None:
        turns = self._turns.get(namespace)
        if turns is None:
            return
        moves = turns.moves()
        for name in moves.may_begin:
            self._look(namespace, name, 0.0)
        for name in moves.moved_up:
            self._look(namespace, name, SETTLE)


def _alive(pod: Object) -> bool:
    if pod["status"].get("phase") in ("Succeeded", "Failed"):
        return False
    ends = pod["metadata"].get("deletionTimestamp")
    return ends is None or time.time() < from_rfc3339(ends) + LAST_BREATH
