"""The program `dataops`, also `kubectl dataops`."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import typer

from .app import app


def main() -> None:
    """Run the command line, and exit as it ends; what it is called decides as what.

    kubectl finds plugins by names that begin with `kubectl-`, and those that complete their words by
    `kubectl_complete-`.
    """
    called = Path(sys.argv[0]).name
    if called.startswith("kubectl_complete-"):
        _complete(sys.argv[1:])
    else:
        words = os.environ.get("COMP_WORDS", "").split()[1:] or sys.argv[1:]
        load(words)(prog_name="kubectl dataops" if called.startswith("kubectl-") else "dataops")


def load(words: Sequence[str] = ()) -> typer.Typer:
    """The app with the command that a line begins with, or with all of them where it begins with none.

    What lint and run need takes a second to load, which the others need not wait for.
    """
    match words[:1]:
        case ["list"]:
            from .commands import listing
        case ["watch"]:
            from .commands import watch
        case ["get"]:
            from .commands import get
        case ["logs"]:
            from .commands import logs
        case ["lint"]:
            from .commands import lint
        case _:
            from .commands import approvals, control, get, graph, lint, listing, logs, rerun, revisions, run, watch  # noqa: F401
    return app


def _complete(words: list[str]) -> None:
    """Tell kubectl what the last word may be: a line each, then that no names of files will do."""
    line = {"COMP_WORDS": shlex.join(["dataops", *words]), "COMP_CWORD": str(len(words))}
    os.environ.update({"_DATAOPS_COMPLETE": "complete_bash", **line})
    try:
        load(words)(prog_name="dataops")
    finally:
        print(":4")
