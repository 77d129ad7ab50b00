"""Names from the cluster while somebody types. Whatever goes wrong there, the answer is none."""

from __future__ import annotations

from collections.abc import Iterable

import typer

from .cluster import PIPELINES, RUNS, Cluster, Kind
from .errors import CliError
from .kubeconfig import connect
from .projects import project_of


def runs(ctx: typer.Context, incomplete: str) -> list[str]:
    """Names of runs."""
    return _names(ctx, RUNS, incomplete)


def pipelines(ctx: typer.Context, incomplete: str) -> list[str]:
    """Names of Pipelines."""
    return _names(ctx, PIPELINES, incomplete)


def steps(ctx: typer.Context, incomplete: str) -> list[str]:
    """Names of the steps of the run that stands before."""
    try:
        where = _where(ctx)
        run = where.get(RUNS, where.namespace, ctx.params["run"])
        return _beginning((one["name"] for one in (run.get("status") or {}).get("steps") or ()), incomplete)
    except (CliError, KeyError):
        return []


def contexts(incomplete: str) -> list[str]:
    """Names of the kubeconfig's contexts."""
    from kubernetes import config

    try:
        return _beginning((one["name"] for one in config.list_kube_config_contexts()[0]), incomplete)
    except (config.ConfigException, OSError):
        return []


def _names(ctx: typer.Context, kind: Kind, incomplete: str) -> list[str]:
    try:
        where = _where(ctx)
        pages = where.pages(kind, where.namespace, table=True)
        return _beginning((row["object"]["metadata"]["name"] for page in pages for row in page["rows"]), incomplete)
    except CliError:
        return []


def _where(ctx: typer.Context) -> Cluster:
    return connect(ctx.params.get("kubeconfig"), ctx.params.get("context"), ctx.params.get("namespace"))


def _beginning(names: Iterable[str], incomplete: str) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]


def revisions(ctx: typer.Context, incomplete: str) -> list[str]:
    """Names of the revisions of the pipeline that stands before."""
    from .history import history

    try:
        where = _where(ctx)
        found = history(where, project_of(where), ctx.params["pipeline"])
        return _beginning((one.name for one in found), incomplete)
    except (CliError, KeyError):
        return []
