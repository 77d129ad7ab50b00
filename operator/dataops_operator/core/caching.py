"""The cache: a step that was done before, with the same image and the same values, is not done again.

What is kept are the rows of runs, by a key over all that reaches a step's container from outside: so a step with a
cache gets no DATAOPS_LOGICAL_DATE unless it names it. No store has to be cleaned up, and none can disagree with the
runs.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import orjson

from ..api.base import parse_duration
from ..api.conditions import Reason
from ..api.run import Phase
from ..api.step import Step
from .cacherules import LEAVES, CacheError, image_digest, leaves_with_run
from .concurrency import hides
from .graph import own_name
from .images import ImageError
from .inputs import Inputs
from .jobs import step_image
from .podplacement import pod_volumes, volume_mounts
from .rows import Row
from .templating import TemplateError, fill
from .times import from_rfc3339, to_rfc3339
from .turn import Turn

KEY_DIGITS = 32
"""Hexadecimal digits of a key."""


def key_of(inputs: Inputs, step: Step, outputs: Any) -> str:
    """A hash over all that a step's outputs may come from.

    Args:
        inputs: of the run.
        step: with a cache, of the revision.
        outputs: those of the steps that have succeeded.

    Raises:
        TemplateError: a template names a part of a value that is not there.
        ImageError: the image may not run in the environment.
        CacheError: the image is not named by digest, a masked value is used, or more is left than outputs.
    """
    assert step.cache is not None  # noqa: S101 - the caller looked
    hidden = [reference.text for reference in inputs.revision.references(step) if hides(inputs, reference)]
    hidden += [f"parameter {one.name!r}" for one in inputs.parameters if one.masked]
    hidden += [f"the template's parameter {one.name!r}" for one in inputs.revision.parameters(step) or () if one.masked]
    if hidden:
        raise CacheError(f"{hidden[0]} is masked and would be part of the key, which is shown; remove cache")
    if leaves_with_run(inputs.revision.spec, step):
        raise CacheError(LEAVES)
    resolve, given, workspace = inputs.resolver(outputs), inputs.parameters, inputs.revision.spec.workspace
    if (scope := inputs.scope(step, outputs)) is not None:
        resolve, given = scope.resolve, (*given, *scope.values())

    def filled(texts: list[str] | None) -> list[str]:
        return [fill(text, resolve, own_name(step)) for text in texts or ()]

    content = {
        "image": image_digest(step_image(inputs, step, resolve)),
        "command": filled(step.command),
        "args": filled(step.args),
        "script": step.script,
        "env": {one.name: fill(one.value, resolve, own_name(step)) for one in step.env or ()},
        "parameters": [[one.name, one.value] for one in given],
        "outputs": [[one.name, str(one.type)] for one in step.outputs or ()],
        "secrets": [one.model_dump(mode="json", by_alias=True, exclude_none=True) for one in step.secrets or ()],
        "claims": [[one.name, one.claim] for one in inputs.targets(step)],
        "workspace": workspace.claim if workspace is not None and step.workspace != "None" else None,
        "environment": inputs.environment.key if inputs.environment is not None else None,
        "inputs": filled(step.cache.inputs),
        "salt": step.cache.salt,
    }
    if mounts := volume_mounts(inputs, step):
        content["volumes"] = [pod_volumes(inputs, step), mounts]
    text = orjson.dumps(content, option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(text).hexdigest()[:KEY_DIGITS]


def recalled(turn: Turn, row: Row) -> Row | None:
    """The row of a step that is due, with what an earlier run has of it; None where it is to be run.

    Where that is not known yet, `turn.recall` asks for it. What is taken is written down before anything else begins:
    then the earlier run may go, and after a crash nothing stands on what cannot be found again.
    """
    step = turn.inputs.revision.steps[row.name]
    if step.cache is None or row.attempt:
        return None
    try:
        key = key_of(turn.inputs, step, turn.outputs)
    except CacheError as error:
        return row.anew(Phase.FAILED, Reason.CACHE_IMPOSSIBLE, f"cache: {error}", finished_at=to_rfc3339(turn.now))
    except (TemplateError, ImageError):
        return None  # its beginning tells
    if turn.asked.refresh or row.name in turn.asked.again:
        return None
    if key not in turn.view.recalled:
        turn.recall.append(key)
        return row
    if (found := turn.view.recalled[key]) is None or found.row.finished_at is None:
        return None
    if turn.now > from_rfc3339(found.row.finished_at) + parse_duration(step.cache.max_age):
        return None
    run, turn.taken = found.row.reused or found.run, True
    return Row(
        row.name,
        Phase.SUCCEEDED,
        message=f"not run: run {run} did the same at {found.row.finished_at}",
        started_at=found.row.started_at,
        finished_at=found.row.finished_at,
        outputs=found.row.outputs,
        reused=run,
        cache=key,
    )


def keyed(turn: Turn, row: Row) -> Row:
    """The row of a step that has succeeded, with the key by which other runs find it; any other as it is.

    One whose outputs are too large for a row goes without: they go with this run. So does one that was taken over from
    a run that had none: with what it was done then, this run cannot tell.
    """
    step = turn.inputs.revision.steps[row.name]
    if step.cache is None or row.phase is not Phase.SUCCEEDED or row.cache is not None or row.result is not None:
        return row
    if row.reused is not None:
        return row
    try:
        return replace(row, cache=key_of(turn.inputs, step, turn.outputs))
    except (TemplateError, ImageError, CacheError):
        return row  # it could not have begun so
