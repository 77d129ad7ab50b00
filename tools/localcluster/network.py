"""The node's network namespace: a link to the host and routes for the cluster's own ranges, nothing else."""

from __future__ import annotations

import subprocess
from pathlib import Path

from localcluster.errors import ClusterError
from localcluster.state import Cluster

_NAMESPACES = Path("/run/netns")


def namespace(cluster: Cluster) -> Path:
    """The file that names the node's network namespace."""
    return _NAMESPACES / f"dataops-{cluster.name}"


def enter(cluster: Cluster) -> list[str]:
    """The words before a command that shall run inside the node's network.

    Not ``ip netns exec``: that one mounts a /sys of its own, without the cgroups that containerd needs.
    """
    return ["nsenter", f"--net={namespace(cluster)}"]


def start(cluster: Cluster) -> None:
    """Make the namespace, link and routes; half-made ones are made anew, whole ones stay as they are."""
    if _whole(cluster):
        return
    stop(cluster)
    name, host, node = namespace(cluster).name, _host_link(cluster), f"dop{cluster.index}n"
    _ip("netns", "add", name)
    _ip("link", "add", host, "type", "veth", "peer", "name", node, "netns", name)
    _ip("address", "add", f"{cluster.host_address}/30", "dev", host)
    _ip("link", "set", host, "up")
    _ip("-n", name, "link", "set", "lo", "up")
    _ip("-n", name, "address", "add", f"{cluster.node_address}/30", "dev", node)
    _ip("-n", name, "link", "set", node, "up")
    # The node's own calls to services need a route before the service proxy rewrites them; all else fails at once.
    _ip("-n", name, "route", "add", cluster.service_range, "via", cluster.host_address)
    _ip("-n", name, "route", "add", "unreachable", "default")
    _run([*enter(cluster), "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"])
    # On the host: pods are behind the node (webhooks, port-forward); services never leave the machine.
    _ip("route", "replace", "blackhole", cluster.service_range)
    _ip("route", "replace", cluster.pod_range, "via", cluster.node_address, "dev", host)


def stop(cluster: Cluster) -> None:
    """Remove all of it; harmless where there is none."""
    _ip("route", "del", "blackhole", cluster.service_range, missing_ok=True)
    _ip("link", "del", _host_link(cluster), missing_ok=True)  # takes the host's routes along
    if namespace(cluster).exists():
        _ip("netns", "del", namespace(cluster).name)


def _host_link(cluster: Cluster) -> str:
    return f"dop{cluster.index}h"


def _whole(cluster: Cluster) -> bool:
    # The route is made last, so its presence says that all the rest was made.
    query = ["ip", "-4", "route", "show", cluster.pod_range, "dev", _host_link(cluster)]
    done = subprocess.run(query, capture_output=True, text=True, check=False)
    return namespace(cluster).exists() and cluster.node_address in done.stdout


def _ip(*words: str, missing_ok: bool = False) -> None:
    _run(["ip", *words], missing_ok)


def _run(command: list[str], missing_ok: bool = False) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0 and not missing_ok:
        raise ClusterError(f"`{' '.join(command)}` failed: {done.stderr.strip()}")
