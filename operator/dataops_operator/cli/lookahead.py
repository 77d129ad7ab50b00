"""What the operator would refuse of a run, said before the run is there, as far as this person may read."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import typer
from pydantic import ValidationError

from ..api.conditions import Reason, Type, find_condition
from ..api.parameter import Parameter
from ..api.pipeline import PipelineSpec
from ..core.graph import placed, step_references
from ..core.parameters import RunContext, resolve
from ..core.problems import nearest
from ..core.steptemplates import parse_pipeline
from .cluster import ENVIRONMENTS, PIPELINES, REVISIONS, Cluster, Object
from .errors import CliError
from .projects import project_label, project_of, readable

_ANY_RUN = RunContext("run", "0", "2013-02-09T00:00:00Z")
_OF_ENVIRONMENTS = ("env", "targets")


def look_ahead(cluster: Cluster, pipeline: str, given: Mapping[str, str], revision: str | None) -> None:
    """Refuse a run that would be refused.

    Raises:
        CliError: there is no such pipeline or revision, or it cannot run, or not here.
        typer.BadParameter: a value does not fit its parameter.
    """
    told = project_label(cluster)
    project = told or cluster.namespace
    found = readable(lambda: _pipeline(cluster, project, pipeline))
    if found is None:
        return
    if revision is not None:
        if readable(lambda: cluster.find(REVISIONS, project, revision) or {}) == {}:
            text = f"pipeline {pipeline} has no revision {revision!r}; there are those of: dataops revisions {pipeline}"
            raise CliError(text, status=404)
        return  # what stands in another revision is the operator's to say
    ready = find_condition(found, Type.READY) or {}
    if ready.get("reason") == Reason.INVALID and ready.get("observedGeneration") == found["metadata"]["generation"]:
        raise CliError(f"pipeline {pipeline} cannot run: {ready.get('message')}")
    spec, problems = parse_pipeline(found["spec"])
    if spec is None or problems:
        return
    _values(spec.parameters or (), given)
    if told == "":
        _home(cluster, spec)


def look_again(
    cluster: Cluster, old: Object, given: Mapping[str, str], steps: Sequence[str], revision: str | None
) -> None:
    """Refuse a rerun that would be refused.

    Args:
        cluster: where the run is.
        old: the run.
        given: parameters, by name.
        steps: to be run again in any case.
        revision: to take over work of.

    Raises:
        typer.BadParameter: the pipeline has no such step or parameter, a value does not fit, or the work is that of
            another revision.
    """
    status: Object = old.get("status") or {}
    if revision is not None and status.get("revision") not in (None, revision):
        text = f"work of revision {status['revision']} is not that of another one; add --all, or leave it out"
        raise typer.BadParameter(text, param_hint="--revision")
    known = [one["name"] for one in status.get("steps") or ()]
    for name in steps:
        if known and name not in known:
            text = f"pipeline {old['spec']['pipeline']} has no step {name!r}{nearest(name, known)}"
            raise typer.BadParameter(text, param_hint="--step")
    kept = status.get("revision")
    if not given or not kept:
        return
    found = readable(lambda: cluster.find(REVISIONS, project_of(cluster), kept))
    if found is not None:
        try:
            declared = [Parameter.model_validate(one) for one in found["data"]["spec"].get("parameters") or ()]
        except ValidationError:
            return  # written by another release
        _values(declared, given)


def _pipeline(cluster: Cluster, project: str, name: str) -> Object:
    found = cluster.find(PIPELINES, project, name)
    if found is None:
        rows = [row for page in cluster.pages(PIPELINES, project, table=True) for row in page["rows"]]
        known = sorted(row["object"]["metadata"]["name"] for row in rows)
        names = f"; there are: {', '.join(known[:10])}" if known else ""
        raise CliError(f"there is no pipeline {name!r} in namespace {project}{names}", status=404)
    return found


def _values(declared: Collection[Parameter], given: Mapping[str, str]) -> None:
    values: dict[str, Any] = dict(given)
    _, problems = resolve(tuple(declared), values, _ANY_RUN)
    # Others concern what nobody gave, which the environment may, or which the run before has.
    wrong = [one.message for one in problems if one.path.startswith("spec.parameters[")]
    if wrong:
        raise typer.BadParameter("; ".join(wrong), param_hint="--param")


def _home(cluster: Cluster, spec: PipelineSpec) -> None:
    """Refuse a run outside of any environment whose steps use what an environment has."""
    roots = {reference.path[0] for _, step in placed(spec) for _, reference in step_references(step)}
    if not (spec.secrets or roots.intersection(_OF_ENVIRONMENTS)):
        return
    held = readable(lambda: cluster.list(ENVIRONMENTS, cluster.namespace)) or []
    places = sorted({one["status"]["namespace"] for one in held if (one.get("status") or {}).get("namespace")})
    if places and cluster.namespace not in places:
        text = f"namespace {cluster.namespace} belongs to no environment, and the pipeline uses what one has"
        raise CliError(f"{text}; its environments run in: {', '.join(places[:10])} (give one by -n)")
