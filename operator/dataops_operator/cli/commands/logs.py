"""`dataops logs`: what the steps of a run wrote, its secret values masked."""

from __future__ import annotations

from typing import Annotated

import typer

from .. import completion
from ..app import command
from ..cluster import RUNS
from ..containers import Wanted, choose, sources
from ..errors import CliError, Exit
from ..kubeconfig import connect
from ..logreader import Reader, pods_of
from ..options import Context, Kubeconfig, Namespace, RunName
from ..runview import has_ended


@command(
    "logs",
    "dataops logs flights-daily-20130209 audit",
    "dataops logs flights-daily-20130209 --follow",
    "dataops logs flights-daily-20130209 land --previous",
    "dataops logs flights-daily-20130209 conform --item 3",
)
def logs(
    run: RunName,
    step: Annotated[
        str | None,
        typer.Argument(
            metavar="STEP",
            help="One step; all of them where unset.",
            autocompletion=completion.steps,
            show_default=False,
        ),
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on until the run, or the step, has ended.")
    ] = False,
    item: Annotated[
        int | None, typer.Option(min=0, help="One item of the step's fan-out, from 0; all where unset.")
    ] = None,
    attempt: Annotated[int | None, typer.Option(min=1, help="Number of the attempt; the last where unset.")] = None,
    previous: Annotated[bool, typer.Option("--previous", "-p", help="The attempt before the last.")] = False,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> Exit:
    """Print the logs of a run's steps.

    Values of the run's Secret and of masked parameters show as ***, as far as you may read them; what cannot be masked
    is said on standard error.
    """
    if item is not None and step is None:
        raise typer.BadParameter("is of one step; name it", param_hint="--item")
    if previous and (attempt or follow):
        raise typer.BadParameter("goes with neither --attempt nor --follow", param_hint="--previous")
    cluster = connect(kubeconfig, context, namespace)
    found = cluster.get(RUNS, cluster.namespace, run)
    wanted = Wanted(step, item, attempt, previous)
    rows = (found.get("status") or {}).get("steps") or ()
    fanned = item is None and any(one["name"] == step and one.get("items") for one in rows)
    reader = Reader(cluster, prefixed=step is None or fanned)
    if follow and not has_ended(found):
        reader.follow(found, wanted)
        return Exit.OK
    chosen = choose(sources(pods_of(cluster, found)), found, wanted)
    if not chosen:
        raise CliError(f"run {run} has no logs: none of its steps has a pod")
    mask = reader.mask(found)
    for one in chosen:
        if one.begun or step is not None:
            reader.copy(one, mask)
    return Exit.OK
