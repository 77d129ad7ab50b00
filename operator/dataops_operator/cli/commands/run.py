"""`dataops run`: start a run."""

from __future__ import annotations

import secrets
from typing import Annotated, Final

import typer

from ...api.base import API_VERSION
from ...api.concurrency import Priority
from ...api.run import PipelineRunSpec
from ...core.accept import logical_date as checked_date
from ..app import command
from ..cluster import RUNS, Cluster, Object
from ..errors import Exit
from ..kubeconfig import connect
from ..lookahead import look_ahead
from ..options import Context, Kubeconfig, Namespace, Output, PipelineName, Refresh, Timeout, patience
from ..output import Format, note, plain, print_object
from ..watching import watch

_LETTERS: Final = "bcdfghjklmnpqrstvwxz2456789"
"""What Kubernetes makes random names of: no vowels, so no words."""
_NAME_LIMIT: Final = 63


@command(
    "run",
    "dataops run flights-daily -p day=2013-02-09 --watch",
    'dataops run flights-daily -p \'carriers=["AA","DL"]\' --logical-date 2013-02-09T00:00:00Z -o name',
)
def run(
    pipeline: PipelineName,
    parameter: Annotated[
        list[str] | None,
        typer.Option("--param", "-p", metavar="NAME=VALUE", help="A parameter's value, read by its type; repeatable."),
    ] = None,
    watch_it: Annotated[
        bool, typer.Option("--watch", "-w", help="Watch it to its end, and exit with 1 if it fails.")
    ] = False,
    logical_date: Annotated[
        str | None, typer.Option(help="The time that the run stands for, such as 2013-02-09T00:00:00Z.")
    ] = None,
    revision: Annotated[str | None, typer.Option(help="Revision to run; the active one where unset.")] = None,
    priority: Annotated[
        Priority | None,
        typer.Option(help="Who comes first of those that wait for a place; Normal where unset.", case_sensitive=False),
    ] = None,
    refresh: Refresh = False,
    name: Annotated[str | None, typer.Option(help="Name of the run; made of the pipeline's where unset.")] = None,
    timeout: Timeout = None,
    output: Output = Format.TEXT,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> Exit:
    """Start a run of a pipeline, and watch it if you like."""
    limit = patience(timeout, waits=watch_it)
    given = values_of(parameter or [])
    spec: Object = {"pipeline": pipeline}
    spec |= {"revision": revision} if revision else {}
    spec |= {"logicalDate": date_of(logical_date)} if logical_date else {}
    spec |= {"priority": str(priority)} if priority else {}
    spec |= {"cache": "Refresh"} if refresh else {}
    spec |= {"parameters": [{"name": key, "value": value} for key, value in given.items()]} if given else {}
    body = {
        "apiVersion": API_VERSION,
        "kind": "PipelineRun",
        "metadata": {"name": name or name_for(pipeline, logical_date)},
        "spec": spec,
    }
    cluster = connect(kubeconfig, context, namespace)
    look_ahead(cluster, pipeline, given, revision)
    made = cluster.create(RUNS, cluster.namespace, body)
    return tell_started(cluster, made, output, namespace, watch_it=watch_it, limit=limit)


def tell_started(
    cluster: Cluster, made: Object, output: Format, namespace: str | None, *, watch_it: bool, limit: float | None
) -> Exit:
    """Say that a run was started, and watch it where that is asked for."""
    if output.for_scripts:
        print_object(made, output)
    elif watch_it:
        note(f"started {made['metadata']['name']} in namespace {cluster.namespace}")
    else:
        plain(
            f"{made['metadata']['name']} started; watch it: dataops watch {made['metadata']['name']}{_where(namespace)}"
        )
    return watch(cluster, made["metadata"]["name"], limit, aside=output.for_scripts).exit_code if watch_it else Exit.OK


def _where(namespace: str | None) -> str:
    return f" -n {namespace}" if namespace else ""


def values_of(texts: list[str]) -> dict[str, str]:
    """Parameters' values by name, from texts such as `day=2013-02-09`."""
    out: dict[str, str] = {}
    for text in texts:
        key, sign, value = text.partition("=")
        if not sign or not key:
            raise typer.BadParameter(f"{text!r} is not NAME=VALUE", param_hint="--param")
        if key in out:
            raise typer.BadParameter(f"{key!r} is given twice", param_hint="--param")
        out[key] = value
    return out


def date_of(text: str) -> str:
    """A logical date; a day alone is its midnight in UTC."""
    whole = f"{text}T00:00:00Z" if len(text) == 10 else text
    try:
        PipelineRunSpec.model_validate({"pipeline": "x", "logicalDate": whole})
        return checked_date(PipelineRunSpec(pipeline="x", logical_date=whole), whole)
    except ValueError:
        cure = "write it as 2013-02-09, or with time and offset as 2013-02-09T00:00:00Z"
        raise typer.BadParameter(f"{text!r} is no time; {cure}", param_hint="--logical-date") from None


def name_for(pipeline: str, date: str | None) -> str:
    """A name for a run: its pipeline, the day that it stands for, and something random."""
    tail = "".join(secrets.choice(_LETTERS) for _ in range(5))
    day = f"-{date[:10].replace('-', '')}" if date else ""
    return f"{pipeline[: _NAME_LIMIT - len(day) - 6].rstrip('-')}{day}-{tail}"
