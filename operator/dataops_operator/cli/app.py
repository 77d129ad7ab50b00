"""The app that commands put themselves on, and how an example is shown in their help."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import typer
from rich.text import Text

from .errors import CliError, Exit
from .output import errors

HELP = "Data pipelines on Kubernetes: check them, run them, watch them, read what they said."

app = typer.Typer(
    name="dataops",
    help=HELP,
    epilog="Exit codes: 0 done, 1 the run failed or lint found problems, 2 usage, 3 not found or refused, "
    "4 timeout, 5 no answer from a cluster.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def _group() -> None:
    """Keep commands apart by their names, however few are loaded."""


Run = Callable[..., Exit | None]


def command(name: str, *examples: str) -> Callable[[Run], Run]:
    """Put a function on the app as a command; the exit code is what it gives back, or that of its CliError.

    Args:
        name: of the command.
        examples: command lines that its help ends with.
    """
    epilog = "\n\n".join(["[bold]Examples[/bold]" if len(examples) > 1 else "[bold]Example[/bold]", *examples])

    def put(run: Run) -> Run:
        @functools.wraps(run)
        def wrapped(*args: Any, **options: Any) -> None:
            raise typer.Exit(_ended(run, *args, **options))

        app.command(name, epilog=epilog)(wrapped)
        return run

    return put


def _ended(run: Run, /, *args: Any, **options: Any) -> int:
    try:
        return run(*args, **options) or Exit.OK
    except CliError as error:
        errors().print(Text(f"dataops: {error}"))
        return error.code
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
