"""What can be known to be wrong between pipelines that run each other, where all of them are at hand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ..api.pipeline import PipelineSpec
from ..api.step import Step
from .graph import find_cycle, placed
from .parameters import Problem
from .references import nearest


def call_problems(path: str, step: Step, other: PipelineSpec) -> Iterator[Problem]:
    """What is wrong with a step that runs another pipeline, held against that.

    Args:
        path: of the step.
        step: one that runs a pipeline.
        other: that pipeline, as it is active.
    """
    assert step.pipeline is not None  # noqa: S101
    name = step.pipeline.name
    parameters = {one.name for one in other.parameters or ()}
    for index, given in enumerate(step.pipeline.parameters or ()):
        if given.name not in parameters:
            text = f"pipeline {name!r} has no parameter {given.name!r}{nearest(given.name, parameters)}"
            yield Problem(f"{path}.pipeline.parameters[{index}].name", text)
    outputs = {one.name for one in other.outputs or ()}
    for index, declared in enumerate(step.outputs or ()):
        if declared.name not in outputs:
            text = f"pipeline {name!r} tells no output {declared.name!r}{nearest(declared.name, outputs)}"
            yield Problem(f"{path}.outputs[{index}].name", text)


def circle_problems(name: str, pipelines: Mapping[str, PipelineSpec]) -> Iterator[Problem]:
    """Whether a pipeline runs itself, be it by way of others.

    Args:
        name: of the pipeline.
        pipelines: all that are at hand, by name.
    """
    calls = {
        pipeline: [step.pipeline.name for _, step in placed(spec) if step.pipeline is not None]
        for pipeline, spec in pipelines.items()
    }
    cycle = find_cycle({name: calls[name], **calls})
    if cycle is None or cycle[0] != name:
        return
    for path, step in placed(pipelines[name]):
        if step.pipeline is not None and step.pipeline.name == cycle[1]:
            text = f"pipelines run each other in a circle: {' -> '.join(cycle)}; remove one of these steps"
            yield Problem(f"{path}.pipeline.name", text)
