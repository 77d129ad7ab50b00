"""Where a namespace's pipelines are: in the project of the Environment that it belongs to."""

from __future__ import annotations

from ..core.names import PROJECT_LABEL
from .cluster import NAMESPACES, Cluster
from .errors import CliError


def project_of(cluster: Cluster) -> str:
    """The namespace of the pipelines that run in a command's namespace; that one itself where no label says other.

    Who may not read namespaces is taken to be in the project's own.
    """
    try:
        found = cluster.find(NAMESPACES, None, cluster.namespace) or {}
    except CliError as error:
        if error.status != 403:
            raise
        found = {}
    labels = (found.get("metadata") or {}).get("labels") or {}
    return str(labels.get(PROJECT_LABEL) or cluster.namespace)
