"""What steps without a container have: their kind, the texts in which templates stand, conditions, implied outputs."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum

from ..api.step import Step
from .templating import strings


class Kind(StrEnum):
    """What a step is that has no container."""

    APPROVAL = "approval"
    WAIT = "wait"
    PIPELINE = "pipeline"
    RESOURCE = "resource"


def kind_of(step: Step) -> Kind | None:
    """What a step is; None for a container."""
    if step.approval is not None:
        return Kind.APPROVAL
    if step.wait is not None:
        return Kind.WAIT
    if step.pipeline is not None:
        return Kind.PIPELINE
    return Kind.RESOURCE if step.resource is not None else None


def kind_fields(step: Step) -> Iterator[tuple[str, str]]:
    """Every text of such a step in which templates are filled in, as (path below the step, text)."""
    if step.approval is not None and step.approval.message is not None:
        yield "approval.message", step.approval.message
    if step.wait is not None:
        if step.wait.until is not None:
            yield "wait.until", step.wait.until
        if (condition := step.wait.condition) is not None:
            yield "wait.condition.name", condition.name
    for index, given in enumerate((step.pipeline.parameters if step.pipeline is not None else None) or ()):
        for text in strings(given.value):
            yield f"pipeline.parameters[{index}].value", text
    if step.resource is not None:
        for text in strings(step.resource.manifest):
            yield "resource.manifest", text


def kind_conditions(step: Step) -> Iterator[tuple[str, str]]:
    """Every condition over an object, as (path below the step, text)."""
    if step.wait is not None and step.wait.condition is not None:
        yield "wait.condition.when", step.wait.condition.when
    if step.resource is not None:
        yield "resource.successWhen", step.resource.success_when
        if step.resource.failure_when is not None:
            yield "resource.failureWhen", step.resource.failure_when


def kind_values(step: Step) -> Iterator[tuple[str, str]]:
    """Every expression over an object that gives a value, as (path below the step, text)."""
    for index, one in enumerate((step.resource.outputs if step.resource is not None else None) or ()):
        yield f"resource.outputs[{index}].value", one.value


APPROVAL_OUTPUTS = frozenset({"by", "comment"})
"""What an approval that was given tells later steps: who gave it, empty where nobody did; and why."""


def output_names(step: Step) -> frozenset[str]:
    """The outputs that a step has, declared or by its kind."""
    if step.approval is not None:
        return APPROVAL_OUTPUTS
    if step.resource is not None:
        return frozenset(output.name for output in step.resource.outputs or ())
    return frozenset(output.name for output in step.outputs or ())
