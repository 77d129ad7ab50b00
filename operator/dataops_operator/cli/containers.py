"""Which containers hold the log that somebody asks for: of a step, of one of its attempts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..core.names import ATTEMPT_LABEL, FAILURES_ANNOTATION, INDEX_LABEL, ITEM_LABEL
from .errors import CliError

Object = Mapping[str, Any]


@dataclass(frozen=True, slots=True, order=True)
class Source:
    """One container of a run.

    Attributes:
        step: which is also the container's name.
        attempt: from 1.
        item: position in the list of a fan-out, from 0; None for a step that is none.
        pod: its pod's name.
        begun: whether it has begun to run, so that there is a log.
    """

    step: str
    attempt: int
    pod: str
    begun: bool
    item: int | None = None

    @property
    def label(self) -> str:
        """What its lines begin with, such as `conform[3]#2`."""
        item = "" if self.item is None else f"[{self.item}]"
        return f"{self.step}{item}{f'#{self.attempt}' if self.attempt > 1 else ''}"


def sources(pods: Iterable[Object]) -> list[Source]:
    """The containers of a run's steps; of several pods of one attempt the one that was made last.

    A step has a container of its name, in a pod that it may share with others.
    """
    found: dict[tuple[str, int | None, int], Source] = {}
    for pod in sorted(pods, key=lambda one: (one["metadata"]["creationTimestamp"], one["metadata"]["name"])):
        labels = pod["metadata"].get("labels") or {}
        attempt = int(labels.get(ATTEMPT_LABEL) or 1)
        index = labels.get(ITEM_LABEL, labels.get(INDEX_LABEL))
        item = None if index is None else int(index)
        if INDEX_LABEL in labels:  # Kubernetes tries items of an Indexed Job again, and counts
            attempt = 1 + int((pod["metadata"].get("annotations") or {}).get(FAILURES_ANNOTATION) or 0)
        status = pod.get("status") or {}
        states = [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]
        begun = {one["name"] for one in states if {"running", "terminated"} & (one.get("state") or {}).keys()}
        for container in [*(pod["spec"].get("initContainers") or ()), *pod["spec"]["containers"]]:
            name, number = container["name"], _attempt(container) or attempt
            found[name, item, number] = Source(name, number, pod["metadata"]["name"], name in begun, item)
    return list(found.values())


def _attempt(container: Object) -> int | None:
    """The attempt that a container is at its step: in a pod that several share, not that of the first."""
    told = next((one.get("value") for one in container.get("env") or () if one["name"] == "DATAOPS_ATTEMPT"), None)
    return int(told) if told and told.isdecimal() else None


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which logs a command line asks for.

    Attributes:
        step: one step; None for all that have begun.
        item: one item of its fan-out, from 0; None for all.
        attempt: which one; the last where unset.
        previous: the attempt before the last.
    """

    step: str | None = None
    item: int | None = None
    attempt: int | None = None
    previous: bool = False

    def covers(self, source: Source) -> bool:
        """Whether a container is among them, whatever the others are; `previous` apart."""
        return (
            self.step in (None, source.step)
            and self.item in (None, source.item)
            and self.attempt in (None, source.attempt)
        )


def choose(found: Sequence[Source], run: Object, wanted: Wanted) -> list[Source]:
    """The containers that a command line means, in the order of the run's steps and of their items.

    Args:
        found: all of the run's.
        run: the run.
        wanted: which ones.

    Raises:
        CliError: there is no such step, or its log is not there; the message says why.
    """
    rows = {one["name"]: one for one in (run.get("status") or {}).get("steps") or ()}
    if wanted.step is not None and wanted.step not in rows:
        names = ", ".join(rows) or "none yet"
        raise CliError(f"run {run['metadata']['name']} has no step {wanted.step!r}; it has: {names}")
    out: list[Source] = []
    for name in [wanted.step] if wanted.step is not None else rows:
        own = [one for one in found if one.step == name and wanted.item in (None, one.item)]
        before = len(out)
        for item in sorted({-1 if one.item is None else one.item for one in own}):
            attempts = {one.attempt: one for one in own if one.item == (None if item < 0 else item)}
            last = max([rows[name].get("attempt") or 0 if item < 0 else 0, *attempts])
            number = wanted.attempt or (last - 1 if wanted.previous else last)
            out += [attempts[number]] if number in attempts else []
        if wanted.step is not None and len(out) == before:
            raise CliError(_absent(rows[name], wanted, own))
    return out


def _absent(row: Object, wanted: Wanted, own: Sequence[Source]) -> str:
    name, items = row["name"], int((row.get("items") or {}).get("total") or 0)
    last = max([row.get("attempt") or 0, *(one.attempt for one in own)])
    if wanted.item is not None and not items:
        return f"step {name} has no items" if row["phase"] != "Pending" else f"step {name} has not begun: it is Pending"
    if wanted.item is not None and wanted.item >= items:
        return f"step {name} has no item {wanted.item}; it has {items}, from 0"
    if last == 0:
        return f"step {name} has not begun: it is {row['phase']}"
    if wanted.previous and last == 1:
        return f"step {name} has had one attempt alone"
    if wanted.attempt is not None and wanted.attempt > last:
        return f"step {name} has no attempt {wanted.attempt}; it has had {last}"
    number = wanted.attempt or (last - 1 if wanted.previous else last)
    what = f"step {name}" if wanted.item is None else f"item {wanted.item} of step {name}"
    return f"the pod of {what}, attempt {number}, is gone, and its log with it"
