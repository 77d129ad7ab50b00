"""`dataops approve` and `reject`: a decision that a run waits for."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from ...api.conditions import Reason
from ...api.run import Decision
from ..app import command
from ..cluster import RUNS, Cluster, Object
from ..errors import CliError
from ..kubeconfig import connect
from ..options import Context, Kubeconfig, Namespace, Output, RunName
from ..output import Format, tell
from ..runview import has_ended

_TRIES: Final = 5
_ASKS: Final = (Reason.APPROVAL, Reason.APPROVAL_FORBIDDEN)

StepName = Annotated[str, typer.Argument(metavar="STEP", help="Step that asks.", show_default=False)]
Comment = Annotated[str | None, typer.Option("--comment", "-m", help="Why; the step tells it.")]


@command(
    "approve",
    "dataops approve flights-daily-20130209 publish --comment 'the counts look right'",
    "dataops approve flights-daily-20130209 publish -o json | jq '.spec.approvals'",
)
def approve(
    run: RunName,
    step: StepName,
    comment: Comment = None,
    output: Output = Format.TEXT,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Let a run go on that waits for a decision."""
    decided = decide(connect(kubeconfig, context, namespace), run, step, Decision.APPROVE, comment)
    tell(decided, output, f"step {step} of {run} is approved")


@command("reject", "dataops reject flights-daily-20130209 publish --comment 'half of the rows are missing'")
def reject(
    run: RunName,
    step: StepName,
    comment: Comment = None,
    output: Output = Format.TEXT,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Fail the step of a run that waits for a decision."""
    decided = decide(connect(kubeconfig, context, namespace), run, step, Decision.REJECT, comment)
    tell(decided, output, f"step {step} of {run} is rejected")


def decide(cluster: Cluster, name: str, step: str, decision: Decision, comment: str | None) -> Object:
    """Write a decision into a run, and give that back.

    Raises:
        CliError: the step does not ask for one, or the API server refuses it.
    """
    user, groups = cluster.whoami()
    tries = 0
    while True:
        found = cluster.get(RUNS, cluster.namespace, name)
        asks = _asking(found, name, step)
        entry: Object = {"step": step, "decision": str(decision)}
        entry |= {"comment": comment} if comment else {}
        if user:
            asked = (asks.get("approvers") or {}).get("groups") or ()
            entry |= {"by": user, "groups": [one for one in groups if one in asked]}
        others = [one for one in found["spec"].get("approvals") or () if one.get("step") != step]
        meta = {key: found["metadata"][key] for key in ("uid", "resourceVersion")}
        body: Object = {"metadata": meta, "spec": {"approvals": [*others, entry]}}
        try:
            return cluster.patch(RUNS, cluster.namespace, name, body)
        except CliError as error:
            tries += 1
            if error.status != 409 or tries == _TRIES:
                raise  # else its status was written meanwhile


def _asking(run: Object, name: str, step: str) -> Object:
    """The row of a step that asks for a decision.

    Raises:
        CliError: it does not.
    """
    if has_ended(run):
        raise CliError(f"run {name} has ended: it is {run['status'].get('phase')}")
    asking: dict[str, Object] = {
        one["name"]: one for one in run.get("status", {}).get("steps") or () if one.get("reason") in _ASKS
    }
    if step not in asking:
        others = f"; these do: {', '.join(sorted(asking))}" if asking else ""
        raise CliError(f"step {step!r} of run {name} does not ask for a decision now{others}")
    return asking[step]
