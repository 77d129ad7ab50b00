"""`dataops rerun`: do a run again, taking over what is done."""

from __future__ import annotations

from typing import Annotated

import typer

from ...api.base import API_VERSION
from ...api.run import RerunMode
from ..app import command
from ..cluster import RUNS, Object
from ..errors import CliError, Exit
from ..kubeconfig import connect
from ..lookahead import look_again
from ..options import Context, Kubeconfig, Namespace, Output, Refresh, RunName, Timeout, patience
from ..output import Format
from ..runview import has_ended
from .run import date_of, name_for, tell_started, values_of


@command(
    "rerun",
    "dataops rerun flights-daily-20130209 --watch",
    "dataops rerun flights-daily-20130209 --step conform -p threads=4",
    "dataops rerun flights-daily-20130209 --all",
)
def rerun(
    run: RunName,
    step: Annotated[
        list[str] | None, typer.Option("--step", metavar="NAME", help="Run this one again, too; repeatable.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Run every step again.")] = False,
    parameter: Annotated[
        list[str] | None,
        typer.Option("--param", "-p", metavar="NAME=VALUE", help="Another value of a parameter; repeatable."),
    ] = None,
    watch_it: Annotated[
        bool, typer.Option("--watch", "-w", help="Watch it to its end, and exit with 1 if it fails.")
    ] = False,
    logical_date: Annotated[
        str | None, typer.Option(help="Another time for the run to stand for; then every step is run again.")
    ] = None,
    revision: Annotated[str | None, typer.Option(help="Another revision; with --all.")] = None,
    refresh: Refresh = False,
    name: Annotated[str | None, typer.Option(help="Name of the new run; made of the pipeline's where unset.")] = None,
    timeout: Timeout = None,
    output: Output = Format.TEXT,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> Exit:
    """Do a run again from where it failed: finished steps and their outputs are taken over by a new run."""
    limit = patience(timeout, waits=watch_it)
    if step and everything:
        raise typer.BadParameter("--step names some steps, --all means every one; give one of the two")
    given = values_of(parameter or [])
    cluster = connect(kubeconfig, context, namespace)
    old = cluster.get(RUNS, cluster.namespace, run)
    if not has_ended(old):
        raise CliError(f"run {run} has not ended; wait for it, or: dataops cancel {run}")
    look_again(cluster, old, given, step or (), None if everything else revision)
    mode = RerunMode.ALL if everything else RerunMode.STEPS if step else RerunMode.FROM_FAILED
    again: Object = {"of": run, "mode": str(mode)}
    spec: Object = {"pipeline": old["spec"]["pipeline"], "rerun": again | ({"steps": step} if step else {})}
    spec |= {"revision": revision} if revision else {}
    spec |= {"logicalDate": date_of(logical_date)} if logical_date else {}
    spec |= {"parameters": [{"name": key, "value": value} for key, value in given.items()]} if given else {}
    spec |= {"cache": "Refresh"} if refresh else {}
    date = logical_date or old["spec"].get("logicalDate")
    body = {
        "apiVersion": API_VERSION,
        "kind": "PipelineRun",
        "metadata": {"name": name or name_for(old["spec"]["pipeline"], date)},
        "spec": spec,
    }
    made = cluster.create(RUNS, cluster.namespace, body)
    return tell_started(cluster, made, output, namespace, watch_it=watch_it, limit=limit)
