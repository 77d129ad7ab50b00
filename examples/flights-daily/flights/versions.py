"""The published table: a folder of versions a day, and one link a day that says which of them readers get.

A day's link is its own, so runs of different days never wait for each other and none can undo another's
switch. A reader opens `published/flights/day=*/current/flights.parquet` with any tool; one that wants
several files of one version resolves the link once.
"""

import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from hashlib import sha256 as digest
from pathlib import Path

from flights.errors import StepError
from flights.lake import TABLE, Lake, building, locked, sha256, sync, write_json

ABOUT = "version.json"


@dataclass(frozen=True)
class Version:
    """A published version of one day; `replaces` is the id of the one before, empty for the first."""

    id: str
    number: int
    day: str
    rows: int
    run: str
    sha256: str
    published_at: str
    replaces: str


def current(lake: Lake, day: date) -> tuple[Version, Path] | None:
    """Return what readers get for a day and its folder, or None when nothing was published."""
    link = lake.published(day) / "current"
    if not link.is_symlink():
        return None
    folder = link.resolve()
    return _about(folder), folder


def find(lake: Lake, day: date, version: str) -> tuple[Version, Path] | None:
    """Return one version of a day by its id, whether readers still get it or not."""
    folder = lake.published(day) / "versions" / version
    return (_about(folder), folder) if (folder / ABOUT).is_file() else None


def published(lake: Lake, day: date, version: str | None = None) -> tuple[Version, Path]:
    """Return a version of a day by its id, by default the one that readers get, and its folder.

    Raises:
        StepError: it was never published.
    """
    found = find(lake, day, version) if version else current(lake, day)
    if found is None:
        raise StepError(f"{f'version {version} of ' if version else ''}{day} was never published: run publish first")
    return found


def days(lake: Lake) -> list[date]:
    """Return the days that have a published version, in order."""
    links = (lake.root / "published" / "flights").glob("day=*/current")
    return sorted(date.fromisoformat(link.parent.name.removeprefix("day=")) for link in links)


def publish(lake: Lake, day: date, rows: int) -> Version:
    """Copy the run's candidate to a new version, whole and on disk, then switch readers over in one rename.

    Safe to repeat: the version's id follows from run and content, and what is published says itself which
    versions it has already replaced, so a late repetition never takes readers back to an older one.
    """
    table = lake.candidate(day) / TABLE
    content = sha256(table)
    version_id = digest(f"{lake.run} {content}".encode()).hexdigest()[:12]
    home = lake.published(day)
    with locked(home):
        before = current(lake, day)
        for past in _lineage(lake, day):
            if past.id == version_id:
                return past
        version = Version(
            id=version_id,
            number=before[0].number + 1 if before else 1,
            day=day.isoformat(),
            rows=rows,
            run=lake.run,
            sha256=content,
            published_at=datetime.now(UTC).isoformat(timespec="seconds"),
            replaces=before[0].id if before else "",
        )
        with building(home / "versions" / version_id) as folder:
            shutil.copyfile(table, folder / TABLE)
            write_json(folder / ABOUT, asdict(version))
        sync(home)
        sync(home.parent)
        _switch(home / "current", Path("versions") / version_id)
    return version


def _switch(link: Path, target: Path) -> None:
    beside = link.with_name(".current.next")
    beside.unlink(missing_ok=True)
    beside.symlink_to(target)
    beside.replace(link)
    sync(link.parent)


def _lineage(lake: Lake, day: date) -> Iterator[Version]:
    """Yield what readers get and everything that they got before, newest first."""
    found = current(lake, day)
    while found:
        yield found[0]
        found = find(lake, day, found[0].replaces) if found[0].replaces else None


def _about(folder: Path) -> Version:
    return Version(**json.loads((folder / ABOUT).read_bytes()))
