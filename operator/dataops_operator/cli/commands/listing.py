"""`dataops list`: runs, newest first."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.text import Text

from ...api.run import Phase
from .. import completion
from ..app import command
from ..cluster import RUNS, Cluster
from ..kubeconfig import connect
from ..options import Context, Kubeconfig, Namespace
from ..output import Format, console, note, phase_text, print_list, table


@command(
    "list",
    "dataops list flights-daily --phase Failed",
    "dataops list --all-namespaces --phase Running --phase Waiting -o wide",
    "dataops list --limit 1 -o name",
)
def list_runs(
    pipeline: Annotated[
        str | None,
        typer.Argument(
            metavar="PIPELINE",
            help="Runs of this Pipeline alone.",
            autocompletion=completion.pipelines,
            show_default=False,
        ),
    ] = None,
    phase: Annotated[
        list[Phase] | None, typer.Option("--phase", help="Runs in this phase alone; repeatable.", case_sensitive=False)
    ] = None,
    everywhere: Annotated[bool, typer.Option("--all-namespaces", "-A", help="Runs of all namespaces.")] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="So many at most, the newest.")] = None,
    output: Annotated[
        Format, typer.Option("--output", "-o", help="Form of the result.", case_sensitive=False)
    ] = Format.TEXT,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """List runs, the newest first."""
    cluster = connect(kubeconfig, context, namespace)
    wanted = [str(one) for one in phase or ()]
    fields = [f"spec.pipeline={pipeline}"] if pipeline else []
    fields += [f"status.phase={wanted[0]}"] if len(wanted) == 1 else []
    where = None if everywhere else cluster.namespace
    if output in (Format.JSON, Format.YAML):
        objects = cluster.list(RUNS, where, fields=",".join(fields))
        kept = [one for one in objects if not wanted or (one.get("status") or {}).get("phase") in wanted]
        print_list(sorted(kept, key=_created, reverse=True)[:limit], output)
        return
    columns, rows = _rows(cluster, where, ",".join(fields), wide=output is Format.WIDE)
    phases = [name for name, _ in columns].index("Phase")
    rows = [row for row in rows if not wanted or row["cells"][columns[phases][1]] in wanted][:limit]
    if output is Format.NAME:
        print_list([{"kind": "PipelineRun", "metadata": row["object"]["metadata"]} for row in rows], output)
    elif not rows:
        note("no runs" + (f" in namespace {where}" if where else ""))
    else:
        heads = [*(["Namespace"] if everywhere else []), *(name for name, _ in columns)]
        console().print(table(heads, (_cells(row, columns, everywhere) for row in rows)))


def _rows(cluster: Cluster, where: str | None, fields: str, *, wide: bool) -> tuple[list[tuple[str, int]], list[Any]]:
    """The API server's own columns, as (name, position), and its rows, the newest first."""
    columns: list[tuple[str, int]] = []
    rows: list[Any] = []
    for page in cluster.pages(RUNS, where, fields=fields, table=True):
        columns = columns or [
            (one["name"], index)
            for index, one in enumerate(page["columnDefinitions"])
            if wide or not one.get("priority")
        ]
        rows += page["rows"] or []
    return columns, sorted(rows, key=lambda row: _created(row["object"]), reverse=True)


def _created(obj: Any) -> tuple[str, str]:
    return obj["metadata"]["creationTimestamp"], obj["metadata"]["name"]


def _cells(row: Any, columns: list[tuple[str, int]], everywhere: bool) -> list[str | Text]:
    cells: list[str | Text] = [row["object"]["metadata"]["namespace"]] if everywhere else []
    for name, index in columns:
        text = str(row["cells"][index] if row["cells"][index] is not None else "")
        cells.append(phase_text(text) if name == "Phase" else text)
    return cells
