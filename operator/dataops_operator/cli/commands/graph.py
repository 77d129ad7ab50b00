"""`dataops graph`: what needs what."""

from __future__ import annotations

import time
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from ...api.pipeline import PipelineSpec
from ...core.graph import dependencies
from ...core.problems import summarise
from ...core.steptemplates import parse_pipeline
from .. import completion
from ..app import command
from ..cluster import PIPELINES, REVISIONS, RUNS, Cluster
from ..drawing import Edges, Node, lanes, listed, marked, mermaid
from ..errors import CliError, Exit
from ..kubeconfig import connect
from ..options import Context, Kubeconfig, Namespace
from ..output import console, plain
from ..pipelinefile import pipeline_in
from ..projects import project_of
from ..runview import took, view


class Form(StrEnum):
    """Forms of a graph."""

    TEXT = "text"
    MERMAID = "mermaid"


@command(
    "graph",
    "dataops graph flights-daily",
    "dataops graph --file pipeline.yaml --output mermaid",
    "dataops graph --run flights-daily-20130209",
)
def graph(
    pipeline: Annotated[
        str | None,
        typer.Argument(
            metavar="PIPELINE", help="Name of the Pipeline.", autocompletion=completion.pipelines, show_default=False
        ),
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--file", "-f", help="The Pipeline in a file; - for standard input.")
    ] = None,
    run: Annotated[
        str | None, typer.Option("--run", help="A run, with its phases.", autocompletion=completion.runs)
    ] = None,
    output: Annotated[Form, typer.Option("--output", "-o", help="Form of the result.")] = Form.TEXT,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Draw the graph of a Pipeline in the cluster, of one in a file, or of a run with the phases of its steps."""
    if run is not None and (pipeline or file):
        raise typer.BadParameter("goes with neither PIPELINE nor --file", param_hint="--run")
    if file is not None:
        spec = pipeline_in(file, pipeline)[1]
        nodes: Mapping[str, Node] = {}
    elif run is not None:
        spec, nodes = _of_run(connect(kubeconfig, context, namespace), run)
    elif pipeline is not None:
        spec, nodes = _of_pipeline(connect(kubeconfig, context, namespace), pipeline), {}
    else:
        raise typer.BadParameter("name a Pipeline, or give --file or --run", param_hint="PIPELINE")
    edges = {name: {one.step: str(one.on) for one in before} for name, before in dependencies(spec).items()}
    final = [step.name for step in spec.finally_ or ()]
    if output is Form.MERMAID:
        plain(mermaid(edges, nodes, final))
        return
    width = max(map(len, edges))
    parts = [_drawn({name: edges[name] for name in edges if name not in final}, nodes, width)]
    if final:
        parts += [Text("finally", "bold"), _drawn({name: edges[name] for name in final}, nodes, width)]
    for part in parts:
        console().print(part)


def _drawn(edges: Edges, nodes: Mapping[str, Node], width: int) -> Text:
    """One graph in lanes, or in words where that is wider than the terminal."""

    def label(step: str) -> Text:
        return marked(step, nodes.get(step, Node()), width, edges[step])

    screen, drawn = console(), lanes(edges, label)
    if screen.is_terminal and max(line.cell_len for line in drawn.split()) > screen.width:
        return listed(edges, label)
    return drawn


def _of_pipeline(cluster: Cluster, name: str) -> PipelineSpec:
    found = cluster.get(PIPELINES, project_of(cluster), name)
    spec, problems = parse_pipeline(found["spec"])
    if spec is None or problems:
        raise CliError(f"pipeline {name} is not valid: {summarise(problems)}", Exit.FAILED)
    return spec


def _of_run(cluster: Cluster, name: str) -> tuple[PipelineSpec, dict[str, Node]]:
    """The revision that a run executes, and where its steps stand."""
    run = cluster.get(RUNS, cluster.namespace, name)
    status: Mapping[str, Any] = run.get("status") or {}
    if not status.get("revision"):
        told = view(run, time.time())
        raise CliError(f"run {name} has no graph yet: it is {told.phase}{f', {told.message}' if told.message else ''}")
    project = (status.get("environment") or "").partition("/")[0] or project_of(cluster)
    kept = cluster.get(REVISIONS, project, status["revision"])
    nodes = {
        one.row.name: Node(
            one.row.phase, "  ".join(filter(None, (took(one.elapsed), one.why if one.row.final else "")))
        )
        for one in view(run, time.time()).steps
    }
    return PipelineSpec.model_validate(kept["data"]["spec"]), nodes
