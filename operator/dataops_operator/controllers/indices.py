"""By what the stores of runs and environments are indexed: pure functions of an object."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ..core import status as statuses

Object = Mapping[str, Any]

UNPINNED: Final = "unpinned"
"""Index of the live runs whose status does not say yet which revision they have, by the name of their pipeline."""
RERUN_OF: Final = "rerun-of"
"""Index of the live runs that take over another's work, by that one, as `<namespace>/<name>`."""


def live_in(run: Object) -> tuple[str, ...]:
    """The run's namespace, while it lives."""
    return () if statuses.is_final(run["status"]) else (run["metadata"]["namespace"],)


def unpinned(run: Object) -> tuple[str, ...]:
    """The run's pipeline, as long as nothing says with which revision it runs."""
    begun = statuses.is_final(run["status"]) or run["status"].get("revision")
    return () if begun else (run["spec"]["pipeline"],)


def rerun_of(run: Object) -> tuple[str, ...]:
    """The run whose work a live run takes over."""
    rerun = run["spec"].get("rerun")
    name = rerun.get("of") if isinstance(rerun, dict) else None
    if not isinstance(name, str) or statuses.is_final(run["status"]):
        return ()
    return (f"{run['metadata']['namespace']}/{name}",)


def parent(environment: Object) -> tuple[str, ...]:
    """The environment that one branches off."""
    name = environment["spec"].get("from")
    return () if name is None else (f"{environment['metadata']['namespace']}/{name}",)
