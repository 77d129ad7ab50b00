"""A pipeline's revisions: which there are, which is active, which runs use them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..core.problems import nearest
from ..core.revision import PIPELINE_LABEL
from .cluster import ENVIRONMENTS, PIPELINES, REVISIONS, RUNS, Cluster, Object
from .errors import CliError, Exit


@dataclass(frozen=True, slots=True)
class Kept:
    """One revision.

    Attributes:
        name: of its ControllerRevision.
        number: position in the pipeline's history, from 1.
        created: when it was first written, RFC 3339.
        active: whether new runs use it.
        spec: its content.
        runs: how many runs use it, of those that may be seen.
    """

    name: str
    number: int
    created: str
    active: bool
    spec: Mapping[str, Any]
    runs: int = 0


def history(cluster: Cluster, project: str, pipeline: str) -> list[Kept]:
    """A pipeline's revisions, the newest first.

    Raises:
        CliError: there is no such pipeline, or it may not be read.
    """
    found = cluster.get(PIPELINES, project, pipeline)
    active = (found.get("status") or {}).get("activeRevision")
    listed = cluster.list(REVISIONS, project, labels=f"{PIPELINE_LABEL}={pipeline}")
    kept = [_kept(one, active) for one in listed]
    return sorted(kept, key=lambda one: -one.number)


def _kept(obj: Object, active: str | None) -> Kept:
    meta = obj["metadata"]
    return Kept(
        meta["name"], int(obj["revision"]), meta["creationTimestamp"], meta["name"] == active, obj["data"]["spec"]
    )


def uses(cluster: Cluster, project: str, pipeline: str) -> tuple[dict[str, int], list[str]]:
    """How many runs use each revision, and the namespaces that could not be looked into.

    Runs live in the project and in the namespaces of its environments.
    """
    counts: dict[str, int] = {}
    unseen: list[str] = []
    for namespace in _namespaces(cluster, project):
        try:
            pages = list(cluster.pages(RUNS, namespace, fields=f"spec.pipeline={pipeline}", table=True))
        except CliError as error:
            if error.status != 403:
                raise
            unseen.append(namespace)
            continue
        for page in pages:
            column = [one["name"] for one in page["columnDefinitions"]].index("Revision")
            for row in page["rows"] or ():
                counts[row["cells"][column]] = counts.get(row["cells"][column], 0) + 1
    return counts, unseen


def _namespaces(cluster: Cluster, project: str) -> list[str]:
    try:
        environments = cluster.list(ENVIRONMENTS, project)
    except CliError as error:
        if error.status != 403:
            raise
        environments = []
    held = ((one.get("status") or {}).get("namespace") for one in environments)
    return list(dict.fromkeys([project, *filter(None, held)]))


def pick(kept: Sequence[Kept], word: str) -> Kept:
    """The revision that somebody means: by its name, the end of its name, or its number.

    Raises:
        CliError: there is none, or more than one.
    """
    found = [one for one in kept if word in (one.name, str(one.number))]
    found = found or [one for one in kept if len(word) >= 3 and one.name.endswith(word)]
    found = found or [one for one in kept if one.name.rpartition("-")[2].startswith(word) and len(word) >= 3]
    if len(found) == 1:
        return found[0]
    if found:
        raise CliError(f"{word!r} may be any of {', '.join(one.name for one in found)}; write more of it", Exit.USAGE)
    raise CliError(f"there is no revision {word!r}{nearest(word, [one.name for one in kept])}")
