"""`dataops revisions` and `dataops diff`: a pipeline's history."""

from __future__ import annotations

import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.text import Text

from ...core.revision import content, make_revision
from .. import completion
from ..app import command
from ..cluster import Cluster
from ..difference import changes, told
from ..errors import CliError, Exit
from ..history import Kept, history, pick, uses
from ..kubeconfig import connect
from ..options import Context, Kubeconfig, Namespace, Output, PipelineName
from ..output import Format, as_json, as_yaml, console, note, plain, table
from ..pipelinefile import pipeline_in
from ..projects import project_of
from ..runview import age

HEADS: Final = ("number", "revision", "active", "age", "steps", "runs")


@command("revisions", "dataops revisions flights-daily", "dataops revisions flights-daily -o json")
def revisions(
    pipeline: PipelineName,
    output: Output = Format.TEXT,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """List a pipeline's revisions, the newest first: which is active, and how many runs use each."""
    cluster = connect(kubeconfig, context, namespace)
    project = project_of(cluster)
    kept = history(cluster, project, pipeline)
    if output is Format.NAME:
        for one in kept:
            plain(f"controllerrevision.apps/{one.name}")
        return
    counts, unseen = uses(cluster, project, pipeline)
    kept = [replace(one, runs=counts.get(one.name, 0)) for one in kept]
    if output in (Format.JSON, Format.YAML):
        rows = [{**asdict(one), "spec": dict(one.spec)} for one in kept]
        plain(as_json(rows) if output is Format.JSON else as_yaml(rows))
    elif not kept:
        note(f"pipeline {pipeline} has no revision yet: it is not valid, or the operator has not seen it")
    else:
        now = time.time()
        console().print(table(HEADS, [_row(one, now) for one in kept]))
    if unseen:
        note(f"runs in {', '.join(unseen)} are not counted: you may not list them")


def _row(one: Kept, now: float) -> list[str | Text]:
    active = Text("active" if one.active else "", "green")
    return [str(one.number), one.name, active, age(one.created, now), str(len(one.spec["steps"])), str(one.runs)]


@command(
    "diff",
    "dataops diff flights-daily",
    "dataops diff flights-daily 3 5",
    "dataops diff flights-daily --file pipeline.yaml",
)
def diff(
    pipeline: PipelineName,
    old: Annotated[
        str | None,
        typer.Argument(
            metavar="OLD",
            help="A revision: its name, its hash or its number.",
            show_default=False,
            autocompletion=completion.revisions,
        ),
    ] = None,
    new: Annotated[
        str | None,
        typer.Argument(
            metavar="NEW",
            help="Another one; the active one where unset.",
            show_default=False,
            autocompletion=completion.revisions,
        ),
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--file", "-f", help="Compare with the Pipeline in this file instead of NEW.")
    ] = None,
    output: Output = Format.TEXT,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> Exit:
    """Show what changed between two revisions of a pipeline.

    Without OLD the active revision is compared with the one before it; with a file, the file with the active one, which
    is what applying it would change. The exit code is 0 whether anything changed or not.
    """
    if file is not None and new is not None:
        raise typer.BadParameter("goes with no NEW", param_hint="--file")
    cluster = connect(kubeconfig, context, namespace)
    before, after = _two(cluster, pipeline, old, new, file)
    found = changes(before.spec, after.spec)
    if output in (Format.JSON, Format.YAML):
        value = {"old": before.name, "new": after.name, "changes": [asdict(one) for one in found]}
        plain(as_json(value) if output is Format.JSON else as_yaml(value))
        return Exit.OK
    screen = console()
    screen.print(Text(f"{_title(before)} → {_title(after)}", "bold"))
    screen.print(told(found) if found else Text("no difference"))
    return Exit.OK


def _two(cluster: Cluster, pipeline: str, old: str | None, new: str | None, file: Path | None) -> tuple[Kept, Kept]:
    kept = history(cluster, project_of(cluster), pipeline)
    active = next((one for one in kept if one.active), kept[0] if kept else None)
    if active is None:
        raise CliError(f"pipeline {pipeline} has no revision yet")
    if file is not None:
        made = make_revision(pipeline, pipeline_in(file, pipeline)[1])
        applied = Kept(made.name, 0, "", False, content(made.spec))
        return (pick(kept, old) if old else active), applied
    after = pick(kept, new) if new else active
    if old:
        return pick(kept, old), after
    earlier = [one for one in kept if one.number < after.number]
    if not earlier:
        raise CliError(f"pipeline {pipeline} has no revision before {after.name}")
    return earlier[0], after


def _title(one: Kept) -> str:
    return f"{one.name} ({one.number})" if one.number else f"{one.name} (file)"
