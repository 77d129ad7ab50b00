"""What the parameters of step templates are in a run, each with its origin: for its status, written once."""

from __future__ import annotations

from typing import Any, Final

import orjson

from .inputs import Inputs
from .scopes import Scope
from .templating import TemplateError

SHOWN: Final = 256
"""Parameters of templates that a run's status names at most."""
VALUE_SHOWN: Final = 1024
"""Bytes of a value, as JSON, that a status shows; a larger one is left out."""
TOTAL_SHOWN: Final = 16 * 1024
"""Bytes that they all take at most: the status of a run of 1,000 steps has to stay below 256 KiB."""


def step_parameters(inputs: Inputs) -> list[dict[str, Any]]:
    """The rows of `status.stepParameters`, in the order of the steps; the same whenever it is asked.

    A value that comes from a step's output is not known when the run begins, and only its origin is told.

    Args:
        inputs: what the run was accepted with.
    """
    rows: list[dict[str, Any]] = []
    room = TOTAL_SHOWN
    for step in inputs.revision.steps.values():
        scope = inputs.scope(step, {})
        for parameter in inputs.revision.parameters(step) or ():
            assert scope is not None  # noqa: S101 - it has one where it has parameters
            row = {"step": step.name, "name": parameter.name} | _value(scope, parameter.name)
            room -= len(orjson.dumps(row))
            if room < 0 or len(rows) == SHOWN:
                return rows
            rows.append(row)
    return rows


def _value(scope: Scope, name: str) -> dict[str, Any]:
    told: dict[str, Any] = {"origin": scope.origin(name)}
    if scope.is_masked(name):
        return told | {"masked": True}
    try:
        value = scope.value(name).value
    except TemplateError:
        return told
    return told | {"value": value} if len(orjson.dumps(value)) <= VALUE_SHOWN else told
