"""What can be known to be wrong with steps that run pipelines: by itself, or where the other pipelines are at hand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ..api.pipeline import PipelineSpec
from ..api.step import On, Step
from .graph import dependencies, placed, topological
from .problems import Problem, nearest


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


def self_problems(name: str, spec: PipelineSpec) -> Iterator[Problem]:
    """What is wrong with steps that run the pipeline they are in: none of them can, whatever its condition."""
    for path, step in placed(spec):
        if step.pipeline is not None and step.pipeline.name == name:
            text = f"pipeline {name!r} cannot run itself, whatever the step's condition; remove the step"
            yield Problem(f"{path}.pipeline.name", text)


@dataclass(frozen=True, slots=True)
class _Call:
    """A step that runs another pipeline.

    Attributes:
        path: of the step.
        other: name of that pipeline.
        pinned: whether it is a revision of it that the files need not show.
        certain: whether every run comes to it in which nothing fails.
    """

    path: str
    other: str
    pinned: bool
    certain: bool


@dataclass(frozen=True, slots=True)
class Circle:
    """Pipelines that run each other.

    Attributes:
        problem: with the path of the first call.
        certain: whether every run comes to it; else conditions decide.
    """

    problem: Problem
    certain: bool


def circle(name: str, pipelines: Mapping[str, PipelineSpec]) -> Circle | None:
    """How a pipeline runs itself by way of others, as the files have them; None where it does not.

    Args:
        name: of the pipeline.
        pipelines: all that are at hand, by name.
    """
    calls = {pipeline: tuple(_calls(spec)) for pipeline, spec in pipelines.items()}
    certain = {pipeline: [one for one in made if one.certain] for pipeline, made in calls.items()}
    if (way := _way_back(name, certain)) is not None:
        text = f"pipelines run each other in a circle: {_shown(name, way)}; remove one of these steps"
        return Circle(Problem(f"{way[0].path}.pipeline.name", text), True)
    if (way := _way_back(name, calls)) is not None:
        text = (
            f"a run fails in which all conditions on this way hold: {_shown(name, way)}; see that no run has them all"
        )
        return Circle(Problem(f"{way[0].path}.pipeline.name", text), False)
    return None


def _calls(spec: PipelineSpec) -> Iterator[_Call]:
    before, unsure = dependencies(spec), set[str]()
    steps = {step.name: step for _, step in placed(spec)}
    for name in topological({step: [one.step for one in found] for step, found in before.items()}):
        if steps[name].when is not None:
            unsure.add(name)
        for one in before[name]:
            if one.on in (On.FAILED, On.SKIPPED) or (one.on is On.SUCCEEDED and one.step in unsure):
                unsure.add(name)
    for path, step in placed(spec):
        if step.pipeline is not None:
            yield _Call(path, step.pipeline.name, step.pipeline.revision is not None, step.name not in unsure)


def _way_back(name: str, calls: Mapping[str, Sequence[_Call]]) -> list[_Call] | None:
    """The shortest way from a pipeline by way of others back to it; None where there is none."""
    ways: dict[str, list[_Call]] = {name: []}
    pending = [name]
    for pipeline in pending:
        for one in calls.get(pipeline, ()):
            if one.other == name:
                if pipeline != name:
                    return [*ways[pipeline], one]
            elif one.other not in ways and not one.pinned:
                ways[one.other] = [*ways[pipeline], one]
                pending.append(one.other)
    return None


def _shown(name: str, way: Sequence[_Call]) -> str:
    return " -> ".join([name, *(one.other for one in way)])
