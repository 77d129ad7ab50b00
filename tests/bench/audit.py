"""What the operator wrote, or another client, counted in the API server's audit log."""

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
RECORD = "vault-"
"""How the names of records begin."""
OF_A_RUN = frozenset({"pipelineruns", "jobs", "pods", "secrets", "configmaps", "persistentvolumeclaims", "workflows"})


@dataclass(frozen=True)
class Counted:
    """A client's requests in a stretch of time.

    Attributes:
        per_run: writes (create, update, patch) by run, Events and Leases not among them.
        records: writes to records of what runs hold in Vault, which bear the runs' uids, by record.
        definitions: writes for Pipelines and revisions, which no run causes.
        events: Events written.
        leases: writes to Leases.
        deletes: deletes.
        refused: how often the API server answered which of those above with an error.
        idle: what else than Events and Leases was written or deleted.
    """

    per_run: Counter[str]
    records: Counter[str]
    definitions: int
    events: int
    leases: int
    deletes: int
    refused: Counter[str]
    idle: Counter[str]


def count(log: Path, run_name_length: int, since: datetime | None = None, agent: str = OPERATOR) -> Counted:
    """Count a client's requests.

    Args:
        log: the audit log; parts that were rotated away beside it are read too.
        run_name_length: all runs' names are this long and begin the names of what they make.
        since: only requests received from then on.
        agent: how the client's user agent begins.
    """
    per_run: Counter[str] = Counter()
    records: Counter[str] = Counter()
    other: Counter[str] = Counter()
    refused: Counter[str] = Counter()
    idle: Counter[str] = Counter()
    for entry in _entries(log, since, agent):
        resource, verb = entry["objectRef"]["resource"], entry["verb"]
        if resource in ("events", "leases"):
            other[resource] += 1
        elif verb in ("delete", "deletecollection"):
            other["deletes"] += 1
        elif resource == "configmaps" and entry["objectRef"]["name"].startswith(RECORD):
            records[entry["objectRef"]["name"]] += 1
        elif resource in OF_A_RUN:
            per_run[entry["objectRef"]["name"][:run_name_length]] += 1
        else:
            other["definitions"] += 1
        if resource not in ("events", "leases"):
            idle[f"{verb} {resource}"] += 1
        if (code := entry["responseStatus"]["code"]) >= 400:
            refused[f"{verb} {resource}: {code}"] += 1
    definitions, events, leases, deletes = (other[name] for name in ("definitions", "events", "leases", "deletes"))
    return Counted(per_run, records, definitions, events, leases, deletes, refused, idle)


def _entries(log: Path, since: datetime | None, agent: str) -> Iterator[dict[str, Any]]:
    for file in sorted(log.parent.glob(f"{log.stem}*{log.suffix}")):
        with file.open("rb") as stream:
            for line in stream:
                if b'"userAgent":"' + agent.encode() not in line:
                    continue
                entry = orjson.loads(line)
                received = datetime.fromisoformat(entry["requestReceivedTimestamp"])
                late = since is None or received >= since
                if late and entry["verb"] in WRITES | {"delete", "deletecollection"}:
                    yield entry
