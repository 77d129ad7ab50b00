"""The Job that begins: of a stage, as many steps as may begin in one pod now.

`stages` says by the pipeline alone which steps may share a pod. Here stands what the run has to say: each step keeps
what it would have had in a pod of its own, its own credentials, its own memory and disk, and a Job that the API server
takes.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

import orjson

from ..api.step import Step
from .credentials import Armed, wants
from .images import ImageError
from .inputs import Inputs, Item
from .jobs import build_job, resources_of
from .retry import with_more_memory
from .templating import TemplateError

ANNOTATIONS_LIMIT: Final = 256 * 1024
"""Bytes of an object's annotations, keys and values (apimachinery, `TotalAnnotationSizeLimitB`): scripts lie there."""
JOB_LIMIT: Final = 512 * 1024
"""Bytes of the Job of several steps, each of which has all parameters: etcd takes 1.5 MiB, of Jobs and of pods."""
_DISK: Final = "ephemeral-storage"


def joint_job(
    inputs: Inputs,
    stage: tuple[Step, ...],
    attempt: int,
    outputs: Mapping[str, Mapping[str, Any]],
    armed: Armed | None,
    *,
    outcome: str | None = None,
    raised: int = 0,
    item: Item | None = None,
) -> tuple[dict[str, Any], tuple[Step, ...]]:
    """The Job of a stage, and the steps that it runs: fewer where one behind the first has to begin in its own turn.

    Args:
        inputs: the run's fixed inputs.
        stage: the steps that may share the pod, in order; the first is due.
        attempt: at the first of them, from 1.
        outputs: the outputs of each step that has succeeded.
        armed: the run's secrets; None where none of the steps uses any.
        outcome: how the run has ended, for steps of `finally`.
        raised: how many attempts at the first before were killed for their memory.
        item: the one of a fan-out that it is for.

    Raises:
        TemplateError: a template of the first names a part of a value that is not there.
        ImageError: the image of the first may not run in the environment.
    """

    def build(count: int) -> dict[str, Any]:
        return build_job(inputs, stage[:count], attempt, outputs, armed, outcome=outcome, raised=raised, item=item)

    most = len(stage)
    if most > 1 and _alone(inputs, stage[0], armed, raised):
        most = 1
    for count in range(most, 1, -1):
        with suppress(TemplateError, ImageError):  # it fails in its own turn, by itself
            job = build(count)
            if _taken(job):
                return job, stage[:count]
    return build(1), stage[:1]


def _alone(inputs: Inputs, first: Step, armed: Armed | None, raised: int) -> bool:
    """Whether a step of a stage begins without those behind it."""
    if armed is not None and armed.agent is not None and wants(inputs, first):
        return True  # the pod gets its own credentials, whose life is to be the step's
    resources = resources_of(inputs, first)
    if resources is not None and _DISK in (resources.limits or {}):
        return True  # it is for all that lies in the pod, and what one step left in /tmp stays until its end
    quota = inputs.environment.spec.quota if inputs.environment is not None else None
    if quota is not None and f"limits.{_DISK}" in (quota.hard or {}):
        return True  # the same, from the namespace's LimitRange
    return with_more_memory(resources, inputs.revision.retry(first), raised) != resources


def _taken(job: Mapping[str, Any]) -> bool:
    """Whether the API server takes a Job of several steps, as far as its size goes."""
    annotations = job["spec"]["template"]["metadata"]["annotations"]
    told = sum(len(key) + len(value.encode()) for key, value in annotations.items())
    return told <= ANNOTATIONS_LIMIT and len(orjson.dumps(job)) <= JOB_LIMIT
