"""Where a namespace's pipelines are: in the project of the Environment that it belongs to."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from ..core.names import PROJECT_LABEL
from .cluster import NAMESPACES, Cluster
from .errors import CliError

Found = TypeVar("Found")


def readable(read: Callable[[], Found]) -> Found | None:
    """What is read; None where this person may not read it."""
    try:
        return read()
    except CliError as error:
        if error.status == 403:
            return None
        raise


def project_label(cluster: Cluster) -> str | None:
    """The project that a command's namespace says it belongs to; empty where it says none, None if nobody may look."""
    found = readable(lambda: cluster.find(NAMESPACES, None, cluster.namespace) or {})
    if found is None:
        return None
    return str(((found.get("metadata") or {}).get("labels") or {}).get(PROJECT_LABEL) or "")


def project_of(cluster: Cluster) -> str:
    """The namespace of the pipelines that run in a command's namespace; that one itself where no label says other.

    Who may not read namespaces is taken to be in the project's own.
    """
    return project_label(cluster) or cluster.namespace
