"""Options that several commands share: which cluster, which namespace, which form."""

from __future__ import annotations

from typing import Annotated

import typer

from ..api.base import parse_duration
from . import completion
from .output import Format

_PANEL = "Cluster"

Kubeconfig = Annotated[
    str | None,
    typer.Option(help="Path of the kubeconfig; KUBECONFIG, else ~/.kube/config, where unset.", rich_help_panel=_PANEL),
]
Context = Annotated[
    str | None,
    typer.Option(
        help="Context of the kubeconfig; the current one where unset.",
        rich_help_panel=_PANEL,
        autocompletion=completion.contexts,
    ),
]
Namespace = Annotated[
    str | None,
    typer.Option("--namespace", "-n", help="Namespace; the context's where unset.", rich_help_panel=_PANEL),
]
Output = Annotated[
    Format,
    typer.Option("--output", "-o", help="Form of the result.", case_sensitive=False),
]
Refresh = Annotated[
    bool, typer.Option("--refresh", help="Run cached steps, too, for later runs to take their outputs.")
]
Timeout = Annotated[
    str | None,
    typer.Option(help="Give up waiting after so long, such as 30m, with exit code 4.", metavar="DURATION"),
]
RunName = Annotated[
    str, typer.Argument(metavar="RUN", help="Name of the run.", autocompletion=completion.runs, show_default=False)
]
PipelineName = Annotated[
    str,
    typer.Argument(
        metavar="PIPELINE", help="Name of the Pipeline.", autocompletion=completion.pipelines, show_default=False
    ),
]


def patience(timeout: str | None, *, waits: bool) -> float | None:
    """Seconds of `--timeout`, of a command that waits where it is asked to.

    Raises:
        typer.BadParameter: it is no duration, or nothing is waited for.
    """
    if timeout is not None and not waits:
        raise typer.BadParameter("it bounds how long --watch waits; add that", param_hint="--timeout")
    return seconds(timeout, "--timeout")


def seconds(text: str | None, option: str) -> float | None:
    """Seconds of an option's duration.

    Raises:
        typer.BadParameter: it is none.
    """
    if text is None:
        return None
    try:
        return parse_duration(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from None
