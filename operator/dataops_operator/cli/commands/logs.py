"""`dataops logs`: what the steps of a run wrote, its secret values masked."""

from __future__ import annotations

from typing import Annotated

import typer

from .. import completion
from ..app import command
from ..cluster import RUNS
from ..containers import choose, sources
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
    if previous and (attempt or follow):
        raise typer.BadParameter("goes with neither --attempt nor --follow", param_hint="--previous")
    cluster = connect(kubeconfig, context, namespace)
    found = cluster.get(RUNS, cluster.namespace, run)
    reader = Reader(cluster, prefixed=step is None)
    if follow and not has_ended(found):
        reader.follow(found, step, attempt)
        return Exit.OK
    chosen = choose(sources(pods_of(cluster, found)), found, step, attempt, previous)
    if not chosen:
        raise CliError(f"run {run} has no logs: none of its steps has a pod")
    mask = reader.mask(found)
    for one in chosen:
        if one.begun or step is not None:
            reader.copy(one, mask)
    return Exit.OK
