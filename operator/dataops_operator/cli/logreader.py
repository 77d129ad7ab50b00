"""Logs of several containers copied to standard output, masked."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Final

from rich.text import Text

from ..core.names import RUN_UID_LABEL
from ..core.rows import FINAL
from .cluster import PODS, RUNS, Cluster, Object
from .containers import Source, Wanted, sources
from .errors import CliError
from .masks import Mask, of_run
from .output import console, note
from .runview import has_ended

LOOK: Final = 1.0
"""Seconds between two looks for containers that began."""
COLOURS: Final = ("cyan", "green", "magenta", "yellow", "blue", "bright_red")


def pods_of(cluster: Cluster, run: Object) -> list[Object]:
    """The pods of a run."""
    return cluster.list(PODS, run["metadata"]["namespace"], labels=f"{RUN_UID_LABEL}={run['metadata']['uid']}")


class Reader:
    """Copies logs to standard output, several at a time where they are followed."""

    def __init__(self, cluster: Cluster, *, prefixed: bool) -> None:
        """Read from a cluster.

        Args:
            cluster: where.
            prefixed: whether each line begins with its step's name.
        """
        self._cluster = cluster
        self._prefixed = prefixed
        self._colours: dict[str, str] = {}
        self._told: set[str] = set()
        self._lock = threading.Lock()
        self._screen = console()

    def mask(self, run: Object) -> Mask:
        """What must not show; what of it cannot be known is said once."""
        found = of_run(self._cluster, run)
        for gap in found.gaps:
            if gap not in self._told:
                self._told.add(gap)
                note(f"dataops: {gap}")
        return found

    def copy(self, source: Source, mask: Mask, *, follow: bool = False) -> None:
        """Print one container's log."""
        namespace = self._cluster.namespace
        for line in self._cluster.log(namespace, source.pod, source.step, follow=follow):
            self._write(source, mask.apply(line).rstrip("\n"))

    def _write(self, source: Source, line: str) -> None:
        name = source.label
        with self._lock:
            if self._prefixed and self._screen.is_terminal:
                colour = self._colours.setdefault(source.step, COLOURS[len(self._colours) % len(COLOURS)])
                self._screen.print(Text.assemble((f"{name} | ", colour), line))
            else:
                sys.stdout.write(f"{name} | {line}\n" if self._prefixed else f"{line}\n")
                sys.stdout.flush()

    def follow(self, run: Object, wanted: Wanted) -> None:
        """Print the logs of everything that begins, until the run, or the step, has ended."""
        copies: dict[Source, threading.Thread] = {}
        failures: list[CliError] = []
        while True:
            over = _over(run, wanted)
            names = {one["name"] for one in (run.get("status") or {}).get("steps") or ()}
            there = [one for one in sources(pods_of(self._cluster, run)) if one.step in names]
            begun = [one for one in there if one.begun and wanted.covers(one)]
            fresh = [one for one in sorted(begun, key=lambda one: one.attempt) if one not in copies]
            if fresh:
                mask = self.mask(run)
                copies |= {one: _start(partial(self.copy, one, mask, follow=True), failures) for one in fresh}
            if over and not fresh:
                break
            time.sleep(LOOK)
            run = self._cluster.get(RUNS, self._cluster.namespace, run["metadata"]["name"])
        for thread in copies.values():
            thread.join()
        if failures:
            raise failures[0]


def _start(work: Callable[[], None], failures: list[CliError]) -> threading.Thread:
    def guarded() -> None:
        try:
            work()
        except CliError as error:
            failures.append(error)

    thread = threading.Thread(target=guarded, daemon=True)
    thread.start()
    return thread


def _over(run: Object, wanted: Wanted) -> bool:
    """Whether nothing more will begin that is asked for."""
    if has_ended(run):
        return True
    rows: dict[str, Object] = {one["name"]: one for one in (run.get("status") or {}).get("steps") or ()}
    if wanted.step is None or not rows:
        return False
    if wanted.step not in rows:
        text = f"run {run['metadata']['name']} has no step {wanted.step!r}; it has: {', '.join(rows)}"
        raise CliError(text)
    row = rows[wanted.step]
    later = wanted.attempt is not None and (row.get("attempt") or 0) > wanted.attempt
    return later or row["phase"] in FINAL
