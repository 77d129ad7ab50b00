"""A DuckDB database: one file on a claim. Its format is known by its first bytes; DuckDB itself is not needed."""

from __future__ import annotations

from pathlib import Path

from ..core.storagejob import Code
from .adapter import StorageError
from .volume import Volume

_MAGIC = b"DUCK"
_MAGIC_AT = 8  # behind a checksum; DuckDB's storage format, "Magic Bytes"


class Duckdb(Volume):
    """A file in a mounted directory; one that is not there yet is made by the first run.

    Args:
        folder: where the claim is mounted.
        file: name of the file.
    """

    def __init__(self, folder: Path, file: str) -> None:
        super().__init__(folder)
        self._file = folder / file

    def reachable(self) -> None:
        """Read the directory, and the head of the file where there is one."""
        super().reachable()
        with self._told():
            if not self._file.exists():
                return
            with self._file.open("rb") as opened:
                head = opened.read(_MAGIC_AT + len(_MAGIC))
        if head and head[_MAGIC_AT:] != _MAGIC:
            raise StorageError(
                Code.FAILED, f"{self._file.name} is no DuckDB database: remove it, or name another in duckdb.file"
            )

    def usage(self) -> tuple[int, bool]:
        """Bytes of the file and of its write-ahead log."""
        with self._told():
            parts = (self._file, self._file.with_name(f"{self._file.name}.wal"))
            return sum(part.stat().st_size for part in parts if part.exists()), True
