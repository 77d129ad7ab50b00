"""`dataops cancel`, `suspend` and `resume`: what may still be said to a run under way."""

from __future__ import annotations

from typing import Annotated

import typer

from ...api.run import Cancel
from ..app import command
from ..cluster import RUNS, Cluster, Object
from ..errors import CliError, Exit
from ..kubeconfig import connect
from ..options import Context, Kubeconfig, Namespace, Output, RunName, Timeout, patience
from ..output import Format, tell
from ..runview import has_ended
from ..watching import watch


@command(
    "cancel",
    "dataops cancel flights-daily-20130209",
    "dataops cancel flights-daily-20130209 --now --watch",
)
def cancel(
    run: RunName,
    now: Annotated[
        bool, typer.Option("--now", help="Kill its pods and run nothing more, `finally` steps neither.")
    ] = False,
    watch_it: Annotated[bool, typer.Option("--watch", "-w", help="Watch it to its end.")] = False,
    timeout: Timeout = None,
    output: Output = Format.TEXT,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> Exit:
    """End a run before its time: its steps get SIGTERM and time to end, then its `finally` steps run."""
    limit = patience(timeout, waits=watch_it)
    cluster = connect(kubeconfig, context, namespace)
    changed = _change(cluster, run, {"cancel": str(Cancel.IMMEDIATE if now else Cancel.GRACEFUL)})
    tell(changed, output, f"{run} is being cancelled{', at once' if now else ''}")
    if watch_it:
        watch(cluster, run, limit, aside=output.for_scripts)
    return Exit.OK


@command("suspend", "dataops suspend flights-daily-20130209")
def suspend(
    run: RunName,
    output: Output = Format.TEXT,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Begin nothing new of a run until it is resumed; what runs may end."""
    changed = _change(connect(kubeconfig, context, namespace), run, {"suspend": True})
    tell(changed, output, f"{run} is suspended; go on with: dataops resume {run}")


@command("resume", "dataops resume flights-daily-20130209")
def resume(
    run: RunName,
    output: Output = Format.TEXT,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Let a suspended run go on."""
    changed = _change(connect(kubeconfig, context, namespace), run, {"suspend": False})
    tell(changed, output, f"{run} goes on")


def _change(cluster: Cluster, name: str, spec: Object) -> Object:
    """Change a run that is under way, and give it back as it is then.

    It is read first: the API server takes the change of a run that has ended, too, where nobody would know that it does
    nothing. By its uid the change cannot meet another run of the name.

    Raises:
        CliError: there is no such run, or it has ended.
    """
    found = cluster.get(RUNS, cluster.namespace, name)
    if has_ended(found):
        raise CliError(f"run {name} has ended: it is {found['status'].get('phase')}")
    body: Object = {"metadata": {"uid": found["metadata"]["uid"]}, "spec": spec}
    return cluster.patch(RUNS, cluster.namespace, name, body)
