"""Carries out a task: each target by its kind's adapter, several at once, each told apart from the others."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ..api.base import format_duration
from ..api.target import DuckdbTarget, PostgresTarget, S3Target, Target
from ..core.places import place_of
from ..core.storagejob import Action, Code, Item, Report, Task
from ..core.targets import READ
from .adapter import COUNT_SECONDS, Adapter, Login, StorageError
from .duckdb import Duckdb
from .postgres import Postgres
from .s3 import S3
from .volume import Volume

_log = logging.getLogger(__name__)
_AT_ONCE: Final = 4
_TOLD_LEFT_OUT: Final = 10


@dataclass(frozen=True)
class Folders:
    """Where a Job finds what it is given.

    Attributes:
        secrets: a folder for each login, a file for each key.
        targets: where volume targets are mounted, each under its name.
    """

    secrets: Path
    targets: Path

    def login(self, name: str, *, given: bool) -> Login | None:
        """The login under a name; None where the target has none."""
        return Login.read(self.secrets / name) if given else None


def carry_out(action: Action, task: Task, folders: Folders) -> list[Report]:
    """One report for each target, in the task's order; nothing that goes wrong with one keeps another from its turn."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(lambda item: _one(action, task.environment, item, folders), task.items))


def adapter(target: Target, login: Login | None, folders: Folders) -> Adapter:
    """The adapter of a target's kind."""
    place = place_of(target)
    if isinstance(place, PostgresTarget):
        return Postgres(place, login)
    if isinstance(place, S3Target):
        return S3(place, login)
    folder = folders.targets / target.name
    return Duckdb(folder, place.file) if isinstance(place, DuckdbTarget) else Volume(folder)


def _one(action: Action, owner: str, item: Item, folders: Folders) -> Report:
    name = item.target.name
    try:
        own = adapter(item.target, folders.login(name, given=item.login), folders)
        source = None
        if item.source is not None:
            read = folders.login(f"{name}{READ}", given=item.source_login)
            source = adapter(item.source, read, folders)
        report = _ACTIONS[action](owner, item, own, source)
    except StorageError as error:
        report = Report(name, error.code, error.message)
    except Exception as error:  # a defect of ours in one target; its text may quote anything
        _log.error("%s of %s failed with %s", action, name, type(error).__name__)
        report = Report(name, Code.FAILED, f"{action} failed with {type(error).__name__}: this is a defect of ours")
    _log.info("%s %s: %s %s", action, name, report.code, report.message)
    return report


def _probe(owner: str, item: Item, own: Adapter, source: Adapter | None) -> Report:  # noqa: ARG001 - as every action
    own.reachable()
    if item.target.access == "ReadWrite":
        own.write_probe()
    if source is not None and not item.copies:
        source.reachable()
        if item.source_login and source.can_write():
            raise StorageError(
                Code.READ_LOGIN_CAN_WRITE,
                f"readCredentials of the parent's {item.target.name!r} may write to the parent's data: "
                "give it a login with rights to read alone",
            )
    used, all_of_it = own.usage()
    message = "" if all_of_it else f"bytes are those counted in {format_duration(COUNT_SECONDS)}, there are more"
    return Report(item.target.name, Code.OK, message, used)


def _prepare(owner: str, item: Item, own: Adapter, source: Adapter | None) -> Report:
    if not item.made_by_us:
        own.reachable()
        return Report(item.target.name, Code.OK)
    done = own.prepare(owner, source if item.copies else None)
    left = list(done.left_out[:_TOLD_LEFT_OUT])
    if len(done.left_out) > len(left):
        left.append(f"{len(done.left_out) - len(left)} more")
    for one in done.left_out:
        _log.warning("left out of the copy of %s: %s", item.target.name, one)
    message = " ".join(filter(None, (done.message, f"Left out: {', '.join(left)}." if left else "")))
    return Report(item.target.name, Code.OK, message)


def _drop(owner: str, item: Item, own: Adapter, source: Adapter | None) -> Report:  # noqa: ARG001 - as every action
    if not item.made_by_us:
        raise StorageError(Code.NOT_OURS, f"{item.target.name!r} was there before the environment, and stays")
    return Report(item.target.name, Code.OK if own.drop(owner) else Code.GONE)


_ACTIONS: Final[dict[Action, Callable[[str, Item, Adapter, Adapter | None], Report]]] = {
    Action.PROBE: _probe,
    Action.PREPARE: _prepare,
    Action.DROP: _drop,
}
