"""The outputs of a run, which its status holds: their bound, and what the run as a whole tells."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import replace
from typing import Any, Final

from ..api.conditions import Reason
from ..api.run import Phase
from .concurrency import first_hidden
from .inputs import Inputs
from .rows import Row
from .templating import TemplateError, fill_deep

OUTPUTS_LIMIT: Final = 256 * 1024
"""Bytes of all outputs of a run, which its status holds."""


def bounded(rows: Mapping[str, Row], ended: Set[str]) -> Mapping[str, Row]:
    """The rows, with the largest outputs of this turn refused where all together are too large.

    Args:
        rows: by the step's name.
        ended: steps that had ended before this turn: they never change.
    """
    too_much = sum(_size(row) for row in rows.values()) - OUTPUTS_LIMIT
    if too_much <= 0:
        return rows
    message = (
        f"with this step's outputs those of the run are larger than {OUTPUTS_LIMIT // 1024} KiB in all; "
        "write data to the workspace and only its location to the result"
    )
    out = dict(rows)
    fresh = [row for name, row in rows.items() if row.outputs and name not in ended]
    for row in sorted(fresh, key=_size, reverse=True):
        if too_much <= 0:
            break
        items = row.items and {**row.items, "active": 0}  # of a fan-out that is not over, which is ended with that
        reason = Reason.RESULT_TOO_LARGE
        out[row.name] = replace(row, phase=Phase.FAILED, reason=reason, message=message, outputs=None, items=items)
        too_much -= _size(row)
    return out


def _size(row: Row) -> int:
    return len(str(row.outputs)) if row.outputs else 0


RUN_OUTPUTS_LIMIT: Final = 64 * 1024
"""Bytes of what a run as a whole tells."""


def run_outputs(
    inputs: Inputs, rows: Mapping[str, Row], outputs: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any] | None:
    """What a run that has succeeded tells, as its pipeline declares it; None where that declares nothing.

    What names a step that was skipped, or something masked, is left out, and so is, from the first on that has no room,
    what is too large.

    Args:
        inputs: of the run.
        rows: where its steps stand.
        outputs: all outputs of those that have succeeded, also those that are too large for a row.
    """
    declared = inputs.revision.spec.outputs
    if not declared:
        return None
    steps = {name: outputs.get(name) or row.outputs or {} for name, row in rows.items() if row.phase is Phase.SUCCEEDED}
    resolve, left, told = inputs.resolver(steps), RUN_OUTPUTS_LIMIT, dict[str, Any]()
    for one in declared:
        if first_hidden(inputs, one.value) is not None:
            continue  # masked by the environment: of a parameter that is, its pipeline was told
        try:
            value = fill_deep(one.value, resolve)
        except TemplateError:
            continue
        left -= len(str(value))
        if left < 0:
            break
        told[one.name] = value
    return told
