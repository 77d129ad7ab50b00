"""A directory on a claim. The claim is a Kubernetes object, so the operator makes and removes it, not these Jobs."""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path

from ..core.storagejob import Code
from .adapter import COUNT_SECONDS, Adapter, Prepared, StorageError


class Volume:
    """A mounted directory.

    Args:
        folder: where it is mounted.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def reachable(self) -> None:
        """Read the directory."""
        with self._told():
            next(os.scandir(self._folder), None)

    def write_probe(self) -> None:
        """Write a file of our own, and remove it."""
        probe = self._folder / f".dataops-probe-{secrets.token_hex(8)}"
        with self._told():
            try:
                probe.write_bytes(b"dataops")
            finally:
                probe.unlink(missing_ok=True)

    def can_write(self) -> bool | None:
        """Whether the mode and the mount allow it."""
        return os.access(self._folder, os.W_OK)

    def usage(self) -> tuple[int, bool]:
        """Bytes of all files, links not followed."""
        end = time.monotonic() + COUNT_SECONDS
        total = 0
        with self._told():
            for size in _sizes(self._folder):
                total += size
                if time.monotonic() > end:
                    return total, False
        return total, True

    def prepare(self, owner: str, source: Adapter | None) -> Prepared:  # noqa: ARG002 - as every kind has it
        """See that the claim is there."""
        self.reachable()
        return Prepared()

    def drop(self, owner: str) -> bool:  # noqa: ARG002 - as every kind has it
        """Nothing: the data goes with its claim."""
        return False

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise StorageError(Code.NOT_FOUND, f"nothing is mounted at {self._folder}") from None
        except PermissionError:
            raise StorageError(
                Code.FORBIDDEN,
                "the runner's user may not use the volume: it must honour fsGroup, or be writable by all",
            ) from None
        except OSError as error:
            raise StorageError(Code.FAILED, f"the volume fails: {os.strerror(error.errno or 0)}") from None


def _sizes(folder: Path) -> Iterator[int]:
    for path, _, files in os.walk(folder):
        for name in files:
            with contextlib.suppress(FileNotFoundError):  # removed by a run meanwhile
                yield os.lstat(os.path.join(path, name)).st_size
