"""What the operator wrote, counted in the API server's audit log."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson

OPERATOR = "dataops-operator"
"""How the operator's user agent begins."""
WRITES = frozenset({"create", "update", "patch"})
OF_A_RUN = frozenset({"pipelineruns", "jobs", "secrets", "configmaps", "persistentvolumeclaims"})


@dataclass(frozen=True)
class Counted:
    """The operator's requests in a stretch of time.

    Attributes:
        per_run: writes (create, update, patch) by run, Events and Leases not among them.
        definitions: writes for Pipelines and revisions, which no run causes.
        events: Events written.
        leases: writes to Leases.
        deletes: deletes.
        refused: writes that the API server answered with an error, among those above.
    """

    per_run: Counter[str]
    definitions: int
    events: int
    leases: int
    deletes: int
    refused: int

    @property
    def idle(self) -> int:
        """All writes and deletes but Events and Leases: 0 where nothing changed."""
        return self.per_run.total() + self.definitions + self.deletes


def count(log: Path, run_name_length: int, since: datetime | None = None) -> Counted:
    """Count the operator's requests.

    Args:
        log: the audit log; parts that were rotated away beside it are read too.
        run_name_length: all runs' names are this long and begin the names of what they make.
        since: only requests received from then on.
    """
    per_run: Counter[str] = Counter()
    other: Counter[str] = Counter()
    for entry in _entries(log, since):
        resource, verb = entry["objectRef"]["resource"], entry["verb"]
        if resource in ("events", "leases"):
            other[resource] += 1
        elif verb in ("delete", "deletecollection"):
            other["deletes"] += 1
        elif resource in OF_A_RUN:
            per_run[entry["objectRef"]["name"][:run_name_length]] += 1
        else:
            other["definitions"] += 1
        if entry["responseStatus"]["code"] >= 400:
            other["refused"] += 1
    named = ("definitions", "events", "leases", "deletes", "refused")
    return Counted(per_run, *(other[name] for name in named))


def _entries(log: Path, since: datetime | None) -> Iterator[dict[str, Any]]:
    for file in sorted(log.parent.glob(f"{log.stem}*{log.suffix}")):
        with file.open("rb") as stream:
            for line in stream:
                if b'"userAgent":"' + OPERATOR.encode() not in line:
                    continue
                entry = orjson.loads(line)
                received = datetime.fromisoformat(entry["requestReceivedTimestamp"])
                late = since is None or received >= since
                if late and entry["verb"] in WRITES | {"delete", "deletecollection"}:
                    yield entry
