"""What every kind of target can do, and how it fails."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from ..core.storagejob import Code

CONNECT_SECONDS: Final = 5
QUERY_SECONDS: Final = 15
"""Of one statement or request that should be quick."""
WORK_SECONDS: Final = 120
"""Of one statement or request that makes or removes something."""
AUTHORITY: Final = "ca.crt"
"""Key of a login that has the authority of the server's certificate, PEM, where that is no public one."""
COUNT_SECONDS: Final = 20
"""Of counting bytes: a bucket or a volume may hold millions of objects; then what was counted until then is told."""


class StorageError(Exception):
    """A target cannot be used. The message is ours: what is wrong, and what to do; never a credential's."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True)
class Login:
    """The files of one login."""

    values: Mapping[str, str] = field(repr=False)
    folder: Path

    @classmethod
    def read(cls, folder: Path) -> Login:
        """Those in a folder; none where there is no folder."""
        files = [path for path in folder.iterdir() if path.is_file()] if folder.is_dir() else []
        values = {path.name: path.read_text("utf-8", "replace").rstrip("\r\n") for path in files}
        return cls(values, folder)

    def path(self, key: str) -> Path | None:
        """The file of a key, where there is one."""
        return self.folder / key if self.values.get(key) else None

    def need(self, *keys: str) -> list[str]:
        """The values of some keys.

        Raises:
            StorageError: one is not there.
        """
        missing = [key for key in keys if not self.values.get(key)]
        if missing:
            raise StorageError(
                Code.LOGIN_MISSING,
                f"the login {self.folder.name!r} has no {' and no '.join(missing)}: the secret in Vault must have "
                f"{'this key' if len(missing) == 1 else 'these keys'}, or credentials.keys must rename its own to it",
            )
        return [self.values[key] for key in keys]


@dataclass(frozen=True)
class Prepared:
    """What was made.

    Attributes:
        message: in a sentence; empty where all was there.
        left_out: what of the parent was not copied, for a person.
    """

    message: str = ""
    left_out: tuple[str, ...] = ()


class Adapter(Protocol):
    """One target of one kind. Every call is bounded in time, and raises StorageError alone."""

    def reachable(self) -> None:
        """Read a little of it."""

    def write_probe(self) -> None:
        """Write a mark under a name of our own, and remove it."""

    def can_write(self) -> bool | None:
        """Whether the login may write, found out without writing; None where that cannot be known."""

    def usage(self) -> tuple[int, bool]:
        """Bytes in it, and whether all of it was counted."""

    def prepare(self, owner: str, source: Adapter | None) -> Prepared:
        """Make the place, marked as the owner's, and fill it from the source; what is done already is left.

        Args:
            owner: uid of the environment.
            source: what to copy, of the same kind; None where the place begins empty.
        """

    def drop(self, owner: str) -> bool:
        """Remove the place and all in it, where it carries the owner's mark; whether there was one."""
