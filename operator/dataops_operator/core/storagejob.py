"""What the Jobs that touch an environment's targets are told, and what they tell: one vocabulary for both sides.

Such a Job runs `python -m dataops_operator.storage probe|prepare|drop` as the environment's runner. It finds its task
in the variable DATAOPS_STORAGE, logins under /dataops/secrets/<target>/ (and <target>-read/), volume targets mounted
under /dataops/targets/<target>, and writes one JSON object to /dataops/result, its termination message.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import orjson

from ..api.conditions import truncate
from ..api.target import Target
from .targets import READ, ResolvedTarget

TASK_VARIABLE: Final = "DATAOPS_STORAGE"
RESULT: Final = "/dataops/result"
SECRETS: Final = "/dataops/secrets"
RESULT_LIMIT: Final = 4096
"""Bytes of a termination message; more is cut off by the kubelet, which would break the JSON."""

EXIT_DONE: Final = 0
EXIT_FAILED: Final = 1
"""At least one target needs a person."""
EXIT_USAGE: Final = 2
"""The task itself cannot be read."""
EXIT_TEMPORARY: Final = 75
"""Nothing needs a person, but something is worth another try: EX_TEMPFAIL of sysexits.h."""


class Action(StrEnum):
    """What to do with each target."""

    PROBE = "probe"
    """Reach it, write and remove a mark where runs write, count its bytes."""
    PREPARE = "prepare"
    """Make the places that the environment owns, and copy where it begins as a copy."""
    DROP = "drop"
    """Remove the places that the environment owns, where they carry its mark."""


class Code(StrEnum):
    """How it went with one target."""

    OK = "Ok"
    GONE = "Gone"
    UNREACHABLE = "Unreachable"
    UNAVAILABLE = "Unavailable"
    LOGIN_REFUSED = "LoginRefused"
    LOGIN_MISSING = "LoginMissing"
    FORBIDDEN = "Forbidden"
    NOT_FOUND = "NotFound"
    NOT_OURS = "NotOurs"
    IN_USE = "InUse"
    READ_LOGIN_CAN_WRITE = "ReadLoginCanWrite"
    FAILED = "Failed"


TEMPORARY: Final = frozenset({Code.UNREACHABLE, Code.UNAVAILABLE})
"""Codes that may change by themselves."""
GOOD: Final = frozenset({Code.OK, Code.GONE})


@dataclass(frozen=True, slots=True)
class Item:
    """One target of a task.

    Attributes:
        target: the place, without credentials.
        login: whether a login lies under the target's name.
        source: the place to copy from, or to read through.
        source_login: whether a login for it lies under `<name>-read`.
        copies: whether to copy from the source.
        made_by_us: whether the environment makes and removes the place.
    """

    target: Target
    login: bool = False
    source: Target | None = None
    source_login: bool = False
    copies: bool = False
    made_by_us: bool = False


@dataclass(frozen=True, slots=True)
class Task:
    """What one Job does: for which environment, by its uid, and with which targets."""

    environment: str
    items: tuple[Item, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """How it went with one target.

    Attributes:
        name: of the target.
        code: in one word.
        message: in a sentence, with the cure; never a credential, never another system's own words.
        used_bytes: bytes in it, where they were counted.
    """

    name: str
    code: Code
    message: str = ""
    used_bytes: int | None = None

    @property
    def good(self) -> bool:
        """Whether nothing is left to do."""
        return self.code in GOOD


def task_json(environment: str, targets: Iterable[ResolvedTarget]) -> str:
    """The value of DATAOPS_STORAGE.

    Args:
        environment: uid of the Environment, which marks what is made.
        targets: those to touch; for `drop` and `prepare` those that are made_by_us.
    """
    items = []
    for one in targets:
        item: dict[str, Any] = {
            "target": _bare(one.spec),
            "login": one.credentials is not None,
            "copies": one.copies,
            "madeByUs": one.made_by_us,
        }
        if one.source is not None:
            item["source"] = _bare(one.source)
            item["sourceLogin"] = f"{one.name}{READ}" in one.job_logins
        items.append(item)
    return orjson.dumps({"environment": environment, "targets": items}).decode()


def read_task(text: str) -> Task:
    """What `task_json` wrote.

    Raises:
        ValueError: it is something else.
    """
    raw = orjson.loads(text)
    try:
        items = tuple(
            Item(
                target=Target.model_validate(one["target"]),
                login=bool(one["login"]),
                source=None if one.get("source") is None else Target.model_validate(one["source"]),
                source_login=bool(one.get("sourceLogin")),
                copies=bool(one["copies"]),
                made_by_us=bool(one["madeByUs"]),
            )
            for one in raw["targets"]
        )
        return Task(str(raw["environment"]), items)
    except (KeyError, TypeError) as error:
        raise ValueError(f"no task of the storage Jobs: {error}") from error


def result_json(reports: Iterable[Report]) -> str:
    """What a Job writes to its result: at most 4 KiB, by cutting the messages alike."""
    given = list(reports)
    limit = 1024
    while True:
        rows = [_row(report, limit) for report in given]
        text = orjson.dumps({"targets": rows})
        if len(text) <= RESULT_LIMIT or limit == 0:
            return text.decode()
        limit = limit * 3 // 4


def read_result(text: str) -> dict[str, Report]:
    """Reports by target, from a Job's termination message.

    Raises:
        ValueError: it is not what `result_json` wrote, such as nothing at all from a pod that was killed.
    """
    raw = orjson.loads(text)
    try:
        rows = [
            Report(
                name=str(one["name"]),
                code=Code(one["code"]),
                message=truncate(str(one.get("message", ""))),
                used_bytes=int(one["usedBytes"]) if one.get("usedBytes") is not None else None,
            )
            for one in raw["targets"]
        ]
    except (KeyError, TypeError) as error:
        raise ValueError(f"no result of a storage Job: {error}") from error
    return {row.name: row for row in rows}


def exit_code(reports: Iterable[Report]) -> int:
    """How the process ends, so that a Job's own state tells whether to try again."""
    bad = [report.code for report in reports if not report.good]
    if not bad:
        return EXIT_DONE
    return EXIT_TEMPORARY if TEMPORARY.issuperset(bad) else EXIT_FAILED


def _row(report: Report, limit: int) -> Mapping[str, Any]:
    row: dict[str, Any] = {"name": report.name, "code": report.code}
    if report.message and limit:
        row["message"] = truncate(report.message, limit)
    if report.used_bytes is not None:
        row["usedBytes"] = report.used_bytes
    return row


def _bare(target: Target) -> dict[str, Any]:
    """The target without where its credentials come from: a Job needs to know no path in Vault."""
    raw = target.model_dump(mode="json", by_alias=True, exclude_none=True)
    for kind in ("postgres", "s3"):
        for field in ("credentials", "readCredentials", "branchCredentials"):
            raw.get(kind, {}).pop(field, None)
    return raw
