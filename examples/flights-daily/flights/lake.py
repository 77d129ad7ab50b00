"""Where things lie in the lake, and how a file or folder gets there whole or not at all.

runs/<run>/<day>/landed/                raw files, control totals: one run's own, nobody else reads them
runs/<run>/<day>/candidate/             the table that wants to be published
runs/<run>/<day>/audit.json             the verdict on exactly that candidate
published/flights/day=<day>/versions/   every version of the day that was ever published
published/flights/day=<day>/current     link to the one that readers get
reports/<day>.txt                       the last report of the day
"""

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from flights.errors import StepError

TABLE = "flights.parquet"
"""Name of the table's file, in a candidate and in a published version."""


@dataclass(frozen=True)
class Lake:
    """A lake folder as one run sees it; `run` keys the run's private part, so a repeated step finds it."""

    root: Path
    run: str

    @classmethod
    def at(cls, root: Path | None) -> "Lake":
        """Return the lake in a folder, for the run of `DATAOPS_RUN_UID`.

        Raises:
            StepError: none is named, or it does not exist.
        """
        if root is None or not root.is_dir():
            raise StepError(
                f"the lake ({root or 'none is named'}) is not a folder: set FLIGHTS_LAKE to a folder, or give --lake"
            )
        return cls(root, os.environ.get("DATAOPS_RUN_UID", "laptop"))

    def landed(self, day: date) -> Path:
        """Return the folder of what `land` wrote in this run."""
        return self._private(day) / "landed"

    def candidate(self, day: date) -> Path:
        """Return the folder of what `conform` wrote in this run."""
        return self._private(day) / "candidate"

    def verdict(self, day: date) -> Path:
        """Return the file in which `audit` says what it found in this run."""
        return self._private(day) / "audit.json"

    def published(self, day: date) -> Path:
        """Return the folder of a day's published versions."""
        return self.root / "published" / "flights" / f"day={day}"

    def report(self, day: date) -> Path:
        """Return the file of a day's last report."""
        return self.root / "reports" / f"{day}.txt"

    def _private(self, day: date) -> Path:
        return self.root / "runs" / self.run / day.isoformat()


def sha256(path: Path) -> str:
    """Return the file's SHA-256 in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_json(path: Path, made_by: str) -> Any:
    """Return what a JSON file of the lake holds.

    Raises:
        StepError: it is not there; `made_by` names the step that should have written it.
    """
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        raise StepError(f"{path} is missing: run {made_by} first, in the same run and for the same day") from None


def write_json(path: Path, document: object) -> None:
    """Write a JSON file that is there whole or not at all, even over a power cut."""
    write_text(path, json.dumps(document, indent=1) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text file that is there whole or not at all, even over a power cut."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.write_text(text, encoding="utf-8")
    sync(beside)
    beside.replace(path)
    sync(path.parent)


def sync(path: Path) -> None:
    """Bring a file's content, or a folder's names, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def building(folder: Path) -> Iterator[Path]:
    """Yield an empty folder to fill, which takes the place of `folder` when the block ends well.

    The name beside is fixed, so the next attempt clears what a killed one left; two attempts of one step
    never run at once.
    """
    beside = folder.with_name(f".{folder.name}.building")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    yield beside
    for path in sorted(beside.rglob("*")):
        sync(path)
    sync(beside)
    shutil.rmtree(folder, ignore_errors=True)
    beside.rename(folder)
    sync(folder.parent)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder for one writer at a time; the lock dies with the process that holds it."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
