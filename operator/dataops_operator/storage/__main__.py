"""`python -m dataops_operator.storage probe|prepare|drop`: what a storage Job runs; see core/storagejob.py."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from ..core.places import MOUNT
from ..core.storagejob import EXIT_USAGE, RESULT, SECRETS, TASK_VARIABLE, Action, exit_code, read_task, result_json
from .work import Folders, carry_out


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out the task; how the process ends says whether another try is worth it.

    Returns:
        0 where all is done, 1 where a person is needed, 2 where the task cannot be read, 75 where it may work later.
    """
    parser = argparse.ArgumentParser(prog="python -m dataops_operator.storage", description=__doc__)
    parser.add_argument("action", type=Action, choices=list(Action), help="what to do with each target")
    parser.add_argument("--task", type=Path, help=f"file with the task; the variable {TASK_VARIABLE} where unset")
    parser.add_argument("--secrets", type=Path, default=Path(SECRETS), help="folder with a folder for each login")
    parser.add_argument("--targets", type=Path, default=Path(MOUNT), help="folder where volume targets are mounted")
    parser.add_argument("--result", type=Path, default=Path(RESULT), help="file that the reports are written to")
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stderr)
    try:
        task = read_task(given.task.read_text() if given.task else os.environ.get(TASK_VARIABLE, ""))
    except (OSError, ValueError) as error:
        print(f"cannot read the task ({type(error).__name__}): set {TASK_VARIABLE} or --task", file=sys.stderr)
        return EXIT_USAGE
    reports = carry_out(given.action, task, Folders(given.secrets, given.targets))
    # In place: the file is the container's termination message, and a rename would leave the old one mounted.
    given.result.write_text(result_json(reports))
    return exit_code(reports)


if __name__ == "__main__":
    sys.exit(main())
