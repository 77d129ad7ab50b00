"""Which containers hold the log that somebody asks for: of a step, of one of its attempts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..core.names import ATTEMPT_LABEL
from .errors import CliError

Object = Mapping[str, Any]


@dataclass(frozen=True, slots=True, order=True)
class Source:
    """One container of a run.

    Attributes:
        step: which is also the container's name.
        attempt: from 1.
        pod: its pod's name.
        begun: whether it has begun to run, so that there is a log.
    """

    step: str
    attempt: int
    pod: str
    begun: bool


def sources(pods: Iterable[Object]) -> list[Source]:
    """The containers of a run's steps; of several pods of one attempt the one that was made last.

    A step has a container of its name, in a pod that it may share with others.
    """
    found: dict[tuple[str, int], Source] = {}
    for pod in sorted(pods, key=lambda one: (one["metadata"]["creationTimestamp"], one["metadata"]["name"])):
        attempt = int((pod["metadata"].get("labels") or {}).get(ATTEMPT_LABEL) or 1)
        status = pod.get("status") or {}
        states = [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]
        begun = {one["name"] for one in states if {"running", "terminated"} & (one.get("state") or {}).keys()}
        for container in [*(pod["spec"].get("initContainers") or ()), *pod["spec"]["containers"]]:
            name = container["name"]
            found[name, attempt] = Source(name, attempt, pod["metadata"]["name"], name in begun)
    return list(found.values())


def choose(found: Sequence[Source], run: Object, step: str | None, attempt: int | None, previous: bool) -> list[Source]:
    """The containers that a command line means, in the order of the run's steps.

    Args:
        found: all of the run's.
        run: the run.
        step: one of its steps; None for all that have begun.
        attempt: which one; the last where unset.
        previous: the attempt before the last.

    Raises:
        CliError: there is no such step, or its log is not there; the message says why.
    """
    rows = {one["name"]: one for one in (run.get("status") or {}).get("steps") or ()}
    if step is not None and step not in rows:
        names = ", ".join(rows) or "none yet"
        raise CliError(f"run {run['metadata']['name']} has no step {step!r}; it has: {names}")
    out: list[Source] = []
    for name in [step] if step is not None else rows:
        attempts = {one.attempt: one for one in found if one.step == name}
        last = max([rows[name].get("attempt") or 0, *attempts])
        wanted = attempt or (last - 1 if previous else last)
        if wanted in attempts:
            out.append(attempts[wanted])
        elif step is not None:
            raise CliError(_absent(rows[name], wanted, last))
    return out


def _absent(row: Object, wanted: int, last: int) -> str:
    name = row["name"]
    if last == 0:
        return f"step {name} has not begun: it is {row['phase']}"
    if not 0 < wanted <= last:
        return (
            f"step {name} has no attempt {wanted}; it has had {last}"
            if wanted
            else f"step {name} has had one attempt alone"
        )
    return f"the pod of step {name}, attempt {wanted}, is gone, and its log with it"
