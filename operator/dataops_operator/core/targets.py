"""Targets: where an environment's data lives, resolved to addresses; and whether two are one place.

Nothing here talks to a target: that is done by Jobs under the environment's runner (`storage/`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from ..api.secret import Credentials

ATTRIBUTES: Final = frozenset(
    {
        "url",
        "readUrl",
        "path",
        "readPath",
        "host",
        "port",
        "database",
        "schema",
        "readSchema",
        "endpoint",
        "bucket",
        "prefix",
        "readPrefix",
        "region",
    }
)
"""What may stand behind `$(targets.<name>.`; which of them a target has depends on its kind."""

MOUNT: Final = "/dataops/targets"
"""Where volume targets are mounted, each under its name."""


@dataclass(frozen=True, slots=True)
class ResolvedTarget:
    """One target of one environment.

    Attributes:
        name: as pipelines call it.
        kind: postgres, s3, volume or duckdb.
        writable: whether runs write here.
        location: the place itself in canonical words, the same for the same place whoever writes it down;
            `overlaps` compares two.
        attributes: what templates may name, by the words of ATTRIBUTES; `url` and `readUrl` are always there and
            carry no credentials.
        credentials: login for `url`; None where none is needed.
        read_credentials: login for `readUrl` where that is another place, which cannot write.
        claim: PersistentVolumeClaim of the execution namespace to mount at /dataops/targets/<name>.
        made_by_us: whether the environment makes and removes the place (a branch's schema or prefix, a sized claim).
    """

    name: str
    kind: str
    writable: bool
    location: str
    attributes: Mapping[str, str]
    credentials: Credentials | None = None
    read_credentials: Credentials | None = None
    claim: str | None = None
    made_by_us: bool = False


@dataclass(frozen=True, slots=True)
class Targets:
    """All targets of one environment."""

    items: Sequence[ResolvedTarget] = field(default_factory=tuple)

    def get(self, name: str) -> ResolvedTarget | None:
        """The target of that name."""
        return next((one for one in self.items if one.name == name), None)
