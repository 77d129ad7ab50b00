"""Environments for tests, as the API server has them."""

from __future__ import annotations

from typing import Any

from dataops_operator.core.environment import Effective, effective
from dataops_operator.core.provision import Place

Object = dict[str, Any]

PROJECT = "analytics"
UID = "00000000-0000-0000-0000-00000000000e"
VAULT: Object = {"role": "analytics"}
LOGIN: Object = {"vault": {"path": "database/creds/loader"}}
WAREHOUSE: Object = {"name": "warehouse", "postgres": {"host": "pg.data", "database": "dwh", "schema": "marts"}}
LAKE: Object = {"name": "lake", "s3": {"endpoint": "https://s3.eu.example", "bucket": "lake", "prefix": "prod/"}}
SCRATCH: Object = {"name": "scratch", "volume": {"size": "5Gi"}}


def an_environment(name: str = "prod", **spec: Any) -> Object:
    """An Environment; `from_` stands for `from`."""
    meta = {"name": name, "namespace": PROJECT, "uid": UID, "generation": 1}
    return {
        "metadata": {**meta, "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {key.rstrip("_"): value for key, value in spec.items()},
        "status": {"observedGeneration": -1},
    }


def in_effect(environment: Object, parent: Object | None = None) -> Effective:
    """What holds in an environment that is valid."""
    found, problems = effective(environment, parent)
    assert found is not None, problems
    return found


def told(environment: Object, parent: Object | None = None) -> dict[str, str]:
    """What is wrong with an environment: message by path."""
    found, problems = effective(environment, parent)
    assert (found is None) == bool(problems)
    return {problem.path: problem.message for problem in problems}


def place(execution: str = PROJECT, *, made: bool = False) -> Place:
    """The place of an environment's objects."""
    return Place(PROJECT, "prod", UID, execution, made)
