"""Keys of the work queue, and what a run is counted with: by name alone, nothing is looked up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

Object = Mapping[str, Any]


class Key(NamedTuple):
    """One object to reconcile."""

    kind: str
    namespace: str
    name: str


def environment_key(environment: Object) -> Key:
    """The key of an Environment."""
    return Key("Environment", environment["metadata"]["namespace"], environment["metadata"]["name"])


def run_key(run: Object) -> Key:
    """The key of a PipelineRun."""
    return Key("PipelineRun", run["metadata"]["namespace"], run["metadata"]["name"])


def pipeline_key(run: Object) -> Key:
    """The key of a run's Pipeline."""
    return Key("Pipeline", project_of(run), run["spec"]["pipeline"])


def project_of(run: Object) -> str:
    """The namespace in which a run's Pipeline is: that of its environment, else its own."""
    project: str = (run["status"].get("environment") or run["metadata"]["namespace"]).partition("/")[0]
    return project


def environment_label(run: Object) -> str:
    """What metrics call a run's environment: `<project>/<name>`, or the namespace of a run that belongs to none."""
    label: str = run["status"].get("environment") or run["metadata"]["namespace"]
    return label
