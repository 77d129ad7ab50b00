"""`dataops watch`: a run to its end."""

from __future__ import annotations

from ..app import command
from ..errors import Exit
from ..kubeconfig import connect
from ..options import Context, Kubeconfig, Namespace, RunName, Timeout, seconds
from ..watching import watch as follow_run


@command(
    "watch",
    "dataops watch flights-daily-20130209 -n analytics",
    "dataops watch flights-daily-20130209 --timeout 30m | tee run.log",
)
def watch(
    run: RunName,
    timeout: Timeout = None,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> Exit:
    """Show a run until it has ended, and exit with 1 if it failed.

    A tree that lives on a terminal; a line for each transition anywhere else.
    """
    limit = seconds(timeout, "--timeout")
    return follow_run(connect(kubeconfig, context, namespace), run, limit).exit_code
