"""Where a cluster's state lives, which names it may have and which index (ports, addresses) it owns."""

from __future__ import annotations

import contextlib
import fcntl
import ipaddress
import json
import os
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from localcluster.errors import ClusterError

PRODUCT = "dataops-operator"
MAX_INDEX = 200
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,30}[a-z0-9])?")
_FIRST_PORT = 21000  # below the kernel's ephemeral range, so that no outgoing connection sits on one
_PORTS_EACH = 10


def state_home() -> Path:
    """The folder of everything that must survive between two calls of the tool."""
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base) / PRODUCT


def cache_home() -> Path:
    """The folder of what can be made again: binaries, base images, build layers."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / PRODUCT


def boot_id() -> str:
    """The kernel's identity of this boot; process ids and namespaces of another boot mean nothing."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


@dataclass(frozen=True)
class Options:
    """What a cluster was asked to be; a later ``up`` with other options is refused, not guessed at."""

    mode: str  # "node", "control-plane" or "kind"
    tuned_jobs: bool = False
    audit: bool = False

    def __str__(self) -> str:
        """As a user reads it."""
        extras = [word for word, on in (("--tuned-jobs", self.tuned_jobs), ("--audit", self.audit)) if on]
        return " ".join([f"mode {self.mode}", *extras])


@dataclass(frozen=True)
class Cluster:
    """A cluster's recorded identity. Its folder holds keys, data, logs and process records."""

    name: str
    index: int
    boot: str
    options: Options

    @property
    def path(self) -> Path:
        """The cluster's own folder."""
        return cluster_path(self.name)

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""
        return self.path / "kubeconfig"

    @property
    def audit_log(self) -> Path:
        """The API server's audit log, one JSON object a line; exists only where audit was asked for."""
        return self.path / "audit.log"

    @property
    def node_name(self) -> str:
        """The name of the cluster's one node."""
        return f"{self.name}-node"

    @property
    def host_address(self) -> str:
        """The host's end of the link to the node."""
        return f"10.200.{self.index}.1"

    @property
    def node_address(self) -> str:
        """The node's end of the link; kubelet and cluster DNS answer there."""
        return f"10.200.{self.index}.2"

    @property
    def pod_range(self) -> str:
        """The addresses of this cluster's pods."""
        return f"10.201.{self.index}.0/24"

    @property
    def service_range(self) -> str:
        """The addresses of this cluster's services."""
        return f"10.96.{self.index}.0/24"

    @property
    def service_address(self) -> str:
        """The address of the service ``kubernetes``."""
        return f"10.96.{self.index}.1"

    def port(self, part: str) -> int:
        """The TCP port of a part of the control plane."""
        return _ports(self.index)[part]

    @property
    def server(self) -> str:
        """The API server's URL as the host reaches it."""
        return f"https://127.0.0.1:{self.port('kube-apiserver')}"

    def save(self) -> None:
        """Record the cluster; the write is atomic."""
        self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        scratch = self.path / "cluster.json.new"
        scratch.write_text(json.dumps(asdict(self), indent=2) + "\n")
        scratch.rename(self.path / "cluster.json")

    def forget(self) -> None:
        """Remove the cluster's folder and with it its index. Nothing may be mounted below it any more."""
        shutil.rmtree(self.path, ignore_errors=True)
        if self.path.exists():
            raise ClusterError(f"{self.path} cannot be removed: something still writes there; run down again")


def cluster_path(name: str) -> Path:
    """The folder of the cluster ``name``; raises ClusterError for a name that is none."""
    if not _NAME.fullmatch(name):
        raise ClusterError(
            f"'{name}' is no cluster name: use at most 32 small letters, digits and dashes, "
            "with a letter or digit at both ends"
        )
    return state_home() / "clusters" / name


def load(name: str) -> Cluster | None:
    """The recorded cluster, or None. A record that cannot be read counts as none."""
    try:
        raw = json.loads((cluster_path(name) / "cluster.json").read_text())
        return Cluster(raw["name"], raw["index"], raw["boot"], Options(**raw["options"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def load_all() -> list[Cluster]:
    """All recorded clusters, by name."""
    folder = state_home() / "clusters"
    names = sorted(p.parent.name for p in folder.glob("*/cluster.json"))
    return [cluster for name in names if (cluster := load(name))]


@contextlib.contextmanager
def locked(name: str) -> Iterator[None]:
    """Hold the cluster's lock: one process at a time starts, mends or stops it."""
    cluster_path(name)  # refuses what is no name
    with exclusive(name):
        yield


@contextlib.contextmanager
def exclusive(name: str) -> Iterator[None]:
    """Hold a lock of this machine's by name; one that begins with a dot is no cluster's."""
    folder = state_home() / "locks"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (folder / name).open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def allocate(name: str, options: Options) -> Cluster:
    """Record a new cluster under the lowest index whose ports and addresses are free on this machine."""
    with exclusive(".index"):
        taken = {cluster.index for cluster in load_all() if cluster.name != name}
        routes = _host_routes() if options.mode == "node" else []
        for index in range(MAX_INDEX):
            cluster = Cluster(name, index, boot_id(), options)
            if index not in taken and _ports_free(index) and not _overlaps(cluster, routes):
                cluster.save()
                return cluster
    raise ClusterError(f"all {MAX_INDEX} cluster indexes are in use: stop a cluster with `down --name NAME`")


def _ports(index: int) -> dict[str, int]:
    first = _FIRST_PORT + index * _PORTS_EACH
    parts = ["kube-apiserver", "etcd", "etcd-peer", "kube-controller-manager", "kube-scheduler"]
    return {part: first + offset for offset, part in enumerate(parts)}


def _ports_free(index: int) -> bool:
    for port in _ports(index).values():
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                return False
    return True


def _host_routes() -> list[ipaddress.IPv4Network]:
    done = subprocess.run(["ip", "-j", "-4", "route"], capture_output=True, text=True, check=False)
    found = [row["dst"] for row in json.loads(done.stdout or "[]") if row["dst"] != "default"]
    networks = [ipaddress.IPv4Network(dst, strict=False) for dst in found]
    # A wide route (a VPN's 10.0.0.0/8, say) loses against our narrower ones and does no harm.
    return [network for network in networks if network.prefixlen >= 16]


def _overlaps(cluster: Cluster, routes: list[ipaddress.IPv4Network]) -> bool:
    ours = [cluster.pod_range, cluster.service_range, f"{cluster.host_address}/30"]
    return any(ipaddress.IPv4Network(o, strict=False).overlaps(r) for o in ours for r in routes)
