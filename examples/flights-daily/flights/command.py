"""What all the commands have in common: the `--day` argument, the lake, exit codes, the result."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path

from flights import result
from flights.errors import StepError
from flights.lake import Lake
from flights.result import Check, Result

EXIT_CHECKS_FAILED = 1
EXIT_STEP_ERROR = 2

SHOWN = 3
"""Failed checks that a message spells out."""


def parser(name: str, description: str) -> argparse.ArgumentParser:
    """Return an argument parser for the command `name`, which has the lake already."""
    made = argparse.ArgumentParser(prog=f"python3 -m flights.{name}", description=description)
    made.add_argument(
        "--lake",
        type=Path,
        default=os.environ.get("FLIGHTS_LAKE") or None,
        help="folder of the lake (default: the environment variable FLIGHTS_LAKE)",
    )
    return made


def add_day(arguments: argparse.ArgumentParser, required: bool = True) -> None:
    """Add `--day`, a date written as 2013-02-09."""
    arguments.add_argument("--day", type=date.fromisoformat, required=required, help="day as YYYY-MM-DD, of 2013")


def finish(step: Callable[[Lake], Result], lake: Path | None) -> int:
    """Run a step on the lake in that folder, print its text, write its result.

    Returns:
        0; 1 when a check failed; 2 when the step cannot do what it was asked. What is wrong comes last on
        standard error, where the end of a pod's log shows it.
    """
    try:
        outcome = step(Lake.at(lake))
    except StepError as error:
        outcome, code = Result(message=str(error)), EXIT_STEP_ERROR
    else:
        failed = outcome.failed()
        code = EXIT_CHECKS_FAILED if failed else 0
        if failed:
            outcome = replace(outcome, message=_why(failed, len(outcome.checks)))
    if outcome.text:
        print(outcome.text, flush=True)
    if outcome.for_pipeline():
        result.write(outcome)
    if outcome.message:
        print(f"error: {outcome.message}", file=sys.stderr)
    return code


def _why(failed: Sequence[Check], total: int) -> str:
    shown = [f"{check.name}: found {check.value}, expected {check.expected}" for check in failed[:SHOWN]]
    if len(failed) > SHOWN:
        shown.append(f"and {len(failed) - SHOWN} more, see the log")
    return f"{len(failed)} of {total} checks failed: " + "; ".join(shown)
