"""By what the stores of runs and environments are indexed: pure functions of an object."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ..core import status as statuses
from ..core.steptemplates import used

Object = Mapping[str, Any]

UNPINNED: Final = "unpinned"
"""Index of the live runs whose status does not say yet which revision they have, by the name of their pipeline."""
RERUN_OF: Final = "rerun-of"
"""Index of the live runs that take over another's work, by that one, as `<namespace>/<name>`."""

CACHED: Final = "cached"
"""Index of the runs by the keys of their cached steps, as `<namespace>/<key>`."""


def cached(run: Object) -> Mapping[str, str]:
    """When the cached steps of a run ended, by key."""
    status = run["status"]
    return status["cached"] if "cached" in status else ends_of_cached(status)


def ends_of_cached(status: Object) -> dict[str, str]:
    """The same of a status as the API server has it."""
    rows = status.get("steps") or ()
    return {
        str(one["cacheKey"]): str(one["finishedAt"]) for one in rows if one.get("cacheKey") and one.get("finishedAt")
    }


def cache_keys(run: Object) -> tuple[str, ...]:
    """Under what a run is found in the index."""
    return tuple(f"{run['metadata']['namespace']}/{key}" for key in cached(run))


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


def templates_of(pipeline: Object) -> list[str]:
    """The StepTemplates that a Pipeline uses."""
    return [f"{pipeline['metadata']['namespace']}/{name}" for name in used(pipeline.get("spec") or {})]
