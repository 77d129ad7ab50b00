"""Watching a run to its end: a live tree on a terminal, a line for each transition elsewhere."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import Final

from rich.console import Console
from rich.live import Live

from .cluster import RUNS, Cluster, Object
from .errors import CliError, Exit
from .following import follow
from .output import console, errors, note, plain
from .runview import RunView, transitions, view
from .tree import tree

TICK: Final = 0.25
"""Seconds between two drawings: times go on while nothing happens."""

_News = Object | CliError


def watch(cluster: Cluster, name: str, timeout: float | None = None, *, aside: bool = False) -> RunView:
    """Show a run until it has ended.

    Args:
        cluster: where, and in which namespace.
        name: of the run.
        timeout: seconds.
        aside: whether standard output has a result for scripts, so that this goes to standard error.

    Returns:
        The run at its end.

    Raises:
        CliError: there is no such run, it was deleted, or the time is over.
    """
    screen = errors() if aside else console()
    deadline = None if timeout is None else time.monotonic() + timeout
    news = _states(cluster, name, deadline)
    return (
        _drawn(screen, news)
        if screen.is_terminal and not screen.is_dumb_terminal
        else _told(news, note if aside else plain)
    )


def _told(news: Iterator[Object | None], say: Callable[[str], None]) -> RunView:
    last: RunView | None = None
    for run in news:
        if run is not None:
            now = time.time()
            fresh = view(run, now)
            for line in transitions(last, fresh, now):
                say(line)
            last = fresh
            if last.final:
                return last
    raise AssertionError("the news of a run end by an error or with the run")


def _drawn(screen: Console, news: Iterator[Object | None]) -> RunView:
    ascii_only = not (screen.encoding or "").lower().startswith("utf")
    with Live(console=screen, auto_refresh=False, transient=True) as live:
        known: Object | None = None
        for run in news:
            known = run or known
            if known is None:
                continue
            now = view(known, time.time())
            if now.final:
                break
            live.update(tree(now, height=screen.height, plain=ascii_only), refresh=True)
    screen.print(tree(now, plain=ascii_only))
    return now


def _states(cluster: Cluster, name: str, deadline: float | None) -> Iterator[Object | None]:
    """Each state of a run as it comes; None when nothing has happened for a tick."""
    news: queue.SimpleQueue[_News] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(cluster, name, news.put), daemon=True).start()
    while True:
        if deadline is not None and time.monotonic() > deadline:
            text = f"run {name} has not ended in time; it goes on: dataops watch {name} -n {cluster.namespace}"
            raise CliError(text, Exit.TIMEOUT)
        try:
            found = news.get(timeout=TICK)
        except queue.Empty:
            yield None
            continue
        if isinstance(found, CliError):
            raise found
        yield found


def _listen(cluster: Cluster, name: str, tell: Callable[[_News], None]) -> None:
    try:
        for run in follow(cluster, RUNS, cluster.namespace, name):
            tell(run)
    except CliError as error:
        tell(error)
