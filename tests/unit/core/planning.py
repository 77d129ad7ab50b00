"""What tests of the planner are written with: plans of pipelines, rows and views of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.builders import EPOCH, PipelineBuilder, PodBuilder, a_job, a_run, a_view, at

from dataops_operator.api.run import Phase
from dataops_operator.core.inputs import Inputs
from dataops_operator.core.names import job_name
from dataops_operator.core.plan import Asked, Plan, View
from dataops_operator.core.planner import plan
from dataops_operator.core.rows import Row


def name_of(step: str, attempt: int = 1) -> str:
    run = a_run()
    return job_name(run.name, run.uid, step, attempt)


def inputs_of(pipeline: PipelineBuilder) -> Inputs:
    return a_run().inputs(pipeline)


def planned(
    pipeline: PipelineBuilder,
    rows: list[Row],
    view: View | None = None,
    *,
    now: float = 0,
    asked: Asked | None = None,
) -> Plan:
    """The plan so many seconds after the tests' epoch."""
    return plan(inputs_of(pipeline), rows, view or View(), EPOCH + now, asked)


def planned_when_told(
    pipeline: PipelineBuilder,
    rows: list[Row],
    view: View | None = None,
    *,
    now: float = 0,
    asked: Asked | None = None,
) -> Plan:
    """The plan behind the one that does nothing but write down what others say."""
    told = planned(pipeline, rows, view, now=now, asked=asked)
    assert (told.create, told.start, told.make, told.wake_at) == ((), (), (), EPOCH + now)
    assert not told.rests, "what follows needs its secrets"
    return planned(pipeline, list(told.rows), view, now=now, asked=asked)


def running(step: str, attempt: int = 1) -> Row:
    return Row(step, Phase.RUNNING, attempt=attempt, started_at=at(0), job=name_of(step, attempt))


def done(step: str, **outputs: Any) -> Row:
    return replace(running(step), phase=Phase.SUCCEEDED, finished_at=at(9), outputs=outputs or None)


def pending(*steps: str) -> list[Row]:
    return [Row(step) for step in steps]


def attempt_of(
    step: str, *pods: PodBuilder, attempt: int = 1, created: float = 0, proven: bool = True, **more: Any
) -> View:
    """A view of one attempt's Job and its pods."""
    name = name_of(step, attempt)
    return a_view((a_job(name, created), pods), proven=frozenset({name} if proven else ()), **more)


def created(made: Plan) -> list[str]:
    return [job["metadata"]["name"] for job in made.create]


def phases(made: Plan) -> list[str]:
    return [str(row.phase) for row in made.rows]
