"""Damage done on purpose to what was landed, so that one can watch the audit stop it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

from flights.errors import StepError
from flights.source import Rows

Fault = Literal["none", "lose-rows", "double-file", "null-key"]
FAULTS: tuple[Fault, ...] = get_args(Fault)


@dataclass(frozen=True)
class RawFile:
    """A file of raw flights: its name without suffix, and its rows."""

    name: str
    rows: Rows


def damage(files: Sequence[RawFile], fault: Fault, carrier: str) -> list[RawFile]:
    """Return the day's files, one a carrier, with `fault` done to the file of `carrier`.

    `lose-rows` drops every third row, at least one; `double-file` delivers the file a second time under
    another name; `null-key` blanks the flight number of the first row.

    Raises:
        StepError: the carrier has no file that day.
    """
    if fault == "none":
        return list(files)
    if carrier not in {file.name for file in files}:
        names = ", ".join(file.name for file in files)
        raise StepError(f"--fault-carrier {carrier} has no flights that day: choose one of {names}")
    damaged: list[RawFile] = []
    for file in files:
        damaged += _damage(file, fault) if file.name == carrier else [file]
    return damaged


def _damage(file: RawFile, fault: Fault) -> list[RawFile]:
    rows = file.rows
    if fault == "lose-rows":
        kept = [line for number, line in enumerate(rows.lines) if number % 3]
        return [RawFile(file.name, replace(rows, lines=kept))]
    if fault == "double-file":
        return [file, RawFile(f"{file.name}_again", rows)]
    column = rows.header.split(",").index("flight")
    values = rows.lines[0].split(",")
    values[column] = "NA"
    return [RawFile(file.name, replace(rows, lines=[",".join(values), *rows.lines[1:]]))]
