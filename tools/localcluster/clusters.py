"""A cluster's life: up (mend or make), down, status; whatever it consists of."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from localcluster import binaries, controlplane, kind, node, objects, state
from localcluster.api import Api
from localcluster.certs import Authority
from localcluster.errors import ClusterError, say
from localcluster.processes import Part, Supervisor, probe
from localcluster.state import Cluster, Options


@dataclass(frozen=True)
class Health:
    """How a part is: its process, if it lives, and whether it answers."""

    part: str
    pid: int | None
    healthy: bool


def up(name: str, control_plane_only: bool = False, tuned_jobs: bool = False, audit: bool = False) -> Cluster:
    """Bring the cluster up; one that is up and healthy stays as it is, a broken one is mended or made anew.

    Raises:
        ClusterError: It cannot be; the message says what is missing or which part fails.
    """
    options = _options(control_plane_only, tuned_jobs, audit)
    with state.locked(name):
        _prepare(name, options)
        cluster = state.load(name)
        if cluster is not None and cluster.options != options:
            raise ClusterError(f"'{name}' is there as {cluster.options}, not as {options}: run `down --name {name}`")
        if cluster is not None and cluster.boot != state.boot_id():
            say(f"{name}: left from before the machine's last start, made anew")
            _remove(cluster)
            cluster = None
        if cluster is not None:
            if all(row.healthy for row in health(cluster)):
                say(f"{name} is up")
                return cluster
            try:
                return _start(cluster)
            except ClusterError as error:
                say(f"{name} cannot be mended and is made anew, since {error}")
                _remove(cluster)
        return _start(state.allocate(name, options))


def down(name: str) -> bool:
    """Stop the cluster and remove all it left on the machine; returns whether there was one."""
    with state.locked(name):
        cluster = state.load(name)
        if cluster is None:
            return False
        _remove(cluster)
        return True


def health(cluster: Cluster) -> list[Health]:
    """How each part is, asked all at once."""
    if cluster.options.mode == "kind":
        return [Health("kind", None, kind.exists(cluster))]
    if not (cluster.path / "pki" / "tokens.csv").exists():  # its start was cut off early
        return [Health("certificates", None, False)]
    supervisor = Supervisor(cluster.path)
    parts = controlplane.plan(cluster, binaries.folder("kubernetes"))
    if cluster.options.mode == "node":
        parts += node.plan(cluster)
        parts.append(Part("node", (), lambda: node.node_ready(cluster)))

    def look(part: Part) -> Health:
        pid = supervisor.pid(part.name)
        alive = pid is not None or not part.command
        return Health(part.name, pid, alive and probe(part.healthy))

    with ThreadPoolExecutor(len(parts)) as pool:
        return list(pool.map(look, parts))


def status(cluster: Cluster) -> dict[str, Any]:
    """All that a program may want to know of the cluster."""
    rows = health(cluster)
    logs = Supervisor(cluster.path)
    return {
        "name": cluster.name,
        "mode": cluster.options.mode,
        "healthy": all(row.healthy for row in rows),
        "server": cluster.server if cluster.options.mode != "kind" else None,
        "kubeconfig": str(cluster.kubeconfig),
        "audit_log": str(cluster.audit_log) if cluster.options.audit else None,
        "host_address": cluster.host_address if cluster.options.mode == "node" else None,
        "parts": [
            {"name": row.part, "pid": row.pid, "healthy": row.healthy, "log": str(logs.log(row.part))} for row in rows
        ],
    }


def _options(control_plane_only: bool, tuned_jobs: bool, audit: bool) -> Options:
    if control_plane_only:
        return Options("control-plane", tuned_jobs, audit)
    if not kind.docker_answers():
        return Options("node", tuned_jobs, audit)
    if tuned_jobs or audit:
        raise ClusterError("--tuned-jobs and --audit are not for kind, which a Docker engine here makes the choice")
    return Options("kind")


def _prepare(name: str, options: Options) -> None:
    """Get what the machine lacks, before anything is recorded or started."""
    if options.mode == "kind":
        binaries.ensure("clients")
        return
    if options.mode == "node":
        controlplane.require_root()
        node.require(name)
        binaries.ensure("runc")
    binaries.ensure("kubernetes")


def _start(cluster: Cluster) -> Cluster:
    began = time.monotonic()
    mode = cluster.options.mode
    if mode == "kind":
        kind.create(cluster)
    elif mode == "control-plane":
        started = controlplane.start(cluster)
    else:
        started = _start_node(cluster)
    what = "by kind" if mode == "kind" else f"({', '.join(started)})"
    say(f"{cluster.name} is up, {time.monotonic() - began:.1f} s {what}")
    return cluster


def _start_node(cluster: Cluster) -> list[str]:
    with ThreadPoolExecutor(1) as pool:
        runtime = pool.submit(node.start_runtime, cluster)
        started = controlplane.start(cluster)
        objects.apply(Api(cluster.server, Authority(cluster.path / "pki")))
        started += runtime.result()
    return started + node.start_services(cluster)


def _remove(cluster: Cluster) -> None:
    if cluster.options.mode == "kind":
        kind.delete(cluster)
    else:
        if cluster.options.mode == "node":
            controlplane.require_root()
            node.stop(cluster)
        controlplane.stop(cluster)
    cluster.forget()
