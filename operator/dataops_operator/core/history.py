"""History: which finished runs go and when, which give up their Jobs, and which revisions nobody needs any more.

Everything is derived from what there is now, so that a restart changes nothing: the same runs at the same moment give
the same answer, and a deletion that was not carried out is decided again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from pydantic import ValidationError

from ..api.base import parse_duration
from ..api.history import REVISIONS, History
from ..api.run import Phase

GRACE: Final = 10.0
"""Seconds that a run stays after its end whatever was said, for those who wait for its end, and for its last words."""
LOOK_AGAIN: Final = 60.0
"""Seconds until something is looked at again that is over its time and still needed."""


class Why(StrEnum):
    """What a run was deleted for."""

    COUNT = "Count"
    TTL = "Ttl"


@dataclass(frozen=True, slots=True)
class Policy:
    """What a pipeline's `history` comes to; None bounds nothing.

    Attributes:
        counts: by outcome, how many runs stay in a namespace.
        ttls: by outcome, seconds that a run stays after its end.
        logs: seconds that a run's Jobs and pods stay after its end.
        revisions: how many unused revisions stay.
    """

    counts: Mapping[Phase, int | None]
    ttls: Mapping[Phase, float | None]
    logs: float | None
    revisions: int

    @property
    def bounds_runs(self) -> bool:
        """Whether any run may have to go, or to give up its Jobs."""
        return any(one is not None for one in (*self.counts.values(), *self.ttls.values(), self.logs))


@dataclass(frozen=True, slots=True)
class Finished:
    """A run that has ended.

    Attributes:
        uid: of the run.
        namespace: where it is.
        name: of the run.
        phase: how it ended.
        ended: when, in seconds since the epoch.
        created: its metadata.creationTimestamp.
        owned: whether another run made it: it goes with that one, and gives up its Jobs by itself.
        kept: whether somebody labelled it to be kept.
        needed: whether something still needs it, such as a live run that takes over its work.
        jobs: whether its Jobs may be there.
    """

    uid: str
    namespace: str
    name: str
    phase: str
    ended: float
    created: str = ""
    owned: bool = False
    kept: bool = False
    needed: bool = False
    jobs: bool = True

    @property
    def outcome(self) -> Phase:
        """What it counts as."""
        return Phase(self.phase) if self.phase in (Phase.SUCCEEDED, Phase.CANCELLED) else Phase.FAILED


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to be done about a pipeline's finished runs.

    Attributes:
        delete: runs that go, with why; those that ended first come first.
        strip: runs that give up their Jobs, likewise.
        wake_at: when to decide again if nothing happens, in seconds since the epoch.
    """

    delete: tuple[tuple[Finished, Why], ...] = ()
    strip: tuple[Finished, ...] = ()
    wake_at: float | None = None


def policy_of(spec: Mapping[str, Any]) -> Policy | None:
    """What a Pipeline's spec says of its history; None where it cannot be read, and so nothing may be deleted."""
    try:
        said = History.model_validate(spec.get("history") or {})
    except ValidationError:
        return None
    ttl = _seconds(said.ttl)
    bad = ttl if said.failed_ttl is None else _seconds(said.failed_ttl)
    cancelled = said.failed if said.cancelled is None else said.cancelled
    return Policy(
        {Phase.SUCCEEDED: said.succeeded, Phase.FAILED: said.failed, Phase.CANCELLED: cancelled},
        {Phase.SUCCEEDED: ttl, Phase.FAILED: bad, Phase.CANCELLED: bad},
        _seconds(said.logs),
        REVISIONS if said.revisions is None else said.revisions,
    )


def _seconds(duration: str | None) -> float | None:
    return None if duration is None else parse_duration(duration)


def decide(runs: Iterable[Finished], policy: Policy, now: float) -> Decision:
    """Which of a pipeline's finished runs go, and which give up their Jobs.

    Runs are counted by namespace and outcome, those that ended last stay. A run that is labelled to be kept, or that
    another one made, is not counted, so that it takes nobody's place.

    Args:
        runs: the pipeline's finished runs, in any order.
        policy: what its `history` says.
        now: seconds since the epoch.
    """
    groups: dict[tuple[str, Phase], list[Finished]] = defaultdict(list)
    for run in runs:
        if not run.kept:
            groups[run.namespace, run.outcome].append(run)
    delete: list[tuple[Finished, Why]] = []
    strip: list[Finished] = []
    wakes: list[float] = []
    for (_, outcome), group in groups.items():
        group.sort(key=_end, reverse=True)
        owned = [(run, Why.TTL, None) for run in group if run.owned]
        own = [run for run in group if not run.owned]
        for run, why, due in (*_dues(own, policy.counts[outcome], policy.ttls[outcome]), *owned):
            if due is not None and due <= now and not run.needed:
                delete.append((run, why))
                continue
            if due is not None:
                wakes.append(max(due, now + LOOK_AGAIN) if due <= now else due)
            if policy.logs is None or not run.jobs:
                continue
            end_of_logs = run.ended + max(policy.logs, GRACE)
            if end_of_logs > now:
                wakes.append(end_of_logs)
            elif run.needed:
                wakes.append(now + LOOK_AGAIN)
            else:
                strip.append(run)
    delete.sort(key=lambda one: _end(one[0]))
    strip.sort(key=_end)
    return Decision(tuple(delete), tuple(strip), min(wakes, default=None))


def _dues(group: list[Finished], count: int | None, ttl: float | None) -> Iterator[tuple[Finished, Why, float | None]]:
    """Each run of a group with when it goes; the group begins with the one that ended last."""
    for place, run in enumerate(group):
        if count is not None and place >= count:
            yield run, Why.COUNT, run.ended + GRACE
        else:
            yield run, Why.TTL, None if ttl is None else run.ended + max(ttl, GRACE)


def _end(run: Finished) -> tuple[float, str, str, str]:
    """Order of ends; times are whole seconds, so that the name decides between equals, today as after a restart."""
    return run.ended, run.created, run.name, run.uid


# Revisions.


@dataclass(frozen=True, slots=True)
class Kept:
    """A revision that there is.

    Attributes:
        name: of its ControllerRevision.
        number: its place in the history; the last one that became active has the highest.
        created: when it was made, in seconds since the epoch.
        labelled: whether somebody labelled it to be kept.
    """

    name: str
    number: int
    created: float
    labelled: bool = False


@dataclass(frozen=True, slots=True)
class Pruning:
    """What is to be done about revisions.

    Attributes:
        delete: names of those that go, the oldest first.
        wake_at: when to decide again if nothing happens, in seconds since the epoch.
    """

    delete: tuple[str, ...] = ()
    wake_at: float | None = None


def prune(
    revisions: Iterable[Kept],
    *,
    current: Collection[str],
    pinned: Collection[str],
    newest: int,
    grace: float,
    now: float,
) -> Pruning:
    """Which revisions nobody needs.

    What is current, of a run that exists, or labelled is not counted. Of the others the highest numbers stay.

    Args:
        revisions: all there are of one pipeline or environment.
        current: names of what new runs would take.
        pinned: names that runs have, or ask for.
        newest: how many of the others stay.
        grace: seconds for which a new one stays, since a run that has it may not say so yet.
        now: seconds since the epoch.
    """
    unused = [one for one in revisions if not one.labelled and one.name not in {*current, *pinned}]
    over = sorted(unused, key=lambda one: (-one.number, one.name))[newest:]
    ripe = [one for one in over if one.created + grace <= now]
    wakes = [one.created + grace for one in over if one.created + grace > now]
    return Pruning(tuple(one.name for one in reversed(ripe)), min(wakes, default=None))
