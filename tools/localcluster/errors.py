"""The one error that a user of the cluster tool meets, and the one way that progress is told."""

from __future__ import annotations

import sys


class ClusterError(Exception):
    """Something the user can act on: says in a sentence what is wrong and what to do."""


def say(message: str) -> None:
    """Tell the user what happens, on stderr: stdout belongs to answers that other programs read."""
    print(message, file=sys.stderr, flush=True)
