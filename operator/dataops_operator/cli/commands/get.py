"""`dataops get`: one run in detail."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

from rich.text import Text

from ..app import command
from ..cluster import RUNS
from ..kubeconfig import connect
from ..options import Context, Kubeconfig, Namespace, Output, RunName
from ..output import STYLES, Format, console, print_object, show, table
from ..runview import brief, view
from ..tree import tree

Rows = list[list[str | Text]]


@command("get", "dataops get flights-daily-20130209 -n analytics", "dataops get flights-daily-20130209 -o yaml")
def get(
    run: RunName,
    output: Output = Format.TEXT,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Show one run: its steps, parameters and where they come from, conditions, secrets' versions, images."""
    cluster = connect(kubeconfig, context, namespace)
    found = cluster.get(RUNS, cluster.namespace, run)
    if output.for_scripts:
        print_object(found, output)
        return
    screen = console()
    show(tree(view(found, time.time())))
    for title, heads, rows in _parts(found, wide=output is Format.WIDE):
        screen.print()
        screen.print(Text(title, "bold"))
        screen.print(table(heads, rows))


def _parts(run: Mapping[str, Any], *, wide: bool) -> Iterator[tuple[str, list[str], Rows]]:
    """The tables below the tree; what is empty is left out."""
    status = run.get("status") or {}
    yield "Run", ["what", "value"], _facts(run, status)
    if found := status.get("parameters"):
        yield "Parameters", ["name", "value", "origin"], [_parameter(one) for one in found]
    if found := status.get("outputs"):
        yield "Outputs", ["name", "value"], [[name, brief(value)] for name, value in found.items()]
    if found := status.get("waitingFor"):
        rows: Rows = [
            [
                one["reason"],
                one.get("since", ""),
                one.get("holder", ""),
                str(one.get("position", "")),
                one.get("message", ""),
            ]
            for one in found
        ]
        yield "Waits for", ["reason", "since", "holder", "place", "message"], rows
    if errors := [[one["name"], text] for one in status.get("steps") or () for text in _item_errors(one)]:
        yield "Items that failed", ["step", "message"], errors
    if found := status.get("conditions"):
        rows = [_condition(one) for one in found]
        yield "Conditions", ["type", "status", "reason", "since", "message"], rows
    if found := status.get("secrets"):
        rows = [[one["name"], str(one.get("version") or "-"), "yes" if one.get("leased") else "no"] for one in found]
        yield "Secrets", ["name", "version", "leased for this run"], rows
    if found := status.get("images"):
        yield "Images", ["digest"], [[one] for one in found]
    if wide and (found := status.get("steps")):
        rows = [[one["name"], _made(one), one.get("startedAt", ""), one.get("finishedAt", "")] for one in found]
        yield "Jobs", ["step", "job", "started", "finished"], rows


def _facts(run: Mapping[str, Any], status: Mapping[str, Any]) -> Rows:
    facts = {
        "namespace": run["metadata"]["namespace"],
        "pipeline": run["spec"]["pipeline"],
        "revision": status.get("revision") or run["spec"].get("revision"),
        "environment": status.get("environment"),
        "logical date": status.get("logicalDate"),
        "requested by": status.get("requestedBy"),
        "created": run["metadata"]["creationTimestamp"],
        "started": status.get("startedAt"),
        "finished": status.get("finishedAt"),
    }
    return [[name, str(value)] for name, value in facts.items() if value]


def _made(step: Mapping[str, Any]) -> str:
    """What the last attempt at a step is: a Job, a run, or an object of another kind."""
    return str(step.get("job") or step.get("run") or step.get("object") or "")


def _item_errors(step: Mapping[str, Any]) -> list[str]:
    return (step.get("items") or {}).get("errors") or []


def _parameter(one: Mapping[str, Any]) -> list[str | Text]:
    value = Text("(masked)", "dim") if one.get("masked") else Text(brief(one.get("value")))
    return [one["name"], value, one.get("origin", "")]


def _condition(one: Mapping[str, Any]) -> list[str | Text]:
    bad = (one["type"], one["status"]) in (("Succeeded", "False"), ("Accepted", "False"), ("Stalled", "True"))
    status = Text(one["status"], STYLES["Failed"] if bad else "")  # type: ignore[index]
    return [one["type"], status, one["reason"], one["lastTransitionTime"], one.get("message", "")]
