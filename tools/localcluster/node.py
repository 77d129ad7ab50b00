"""The cluster's one node: containerd, kubelet, service proxy and name server in a network of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from localcluster import binaries, cgroups, debian, dns, network, oci, volumes
from localcluster.api import Api, ApiError, http_ok
from localcluster.certs import Authority
from localcluster.errors import ClusterError
from localcluster.images import import_archive
from localcluster.processes import Part, Supervisor, end_strays
from localcluster.state import Cluster, cluster_path

PACKAGES = ("conntrack", "containernetworking-plugins", "iproute2", "nftables", "openssl", "util-linux")
PARTS = ("volumes", "coredns", "kube-proxy", "kubelet", "containerd")
_PROGRAMS = {"containerd", "containerd-shim-runc-v2", "coredns", "kube-proxy", "kubelet", volumes.__name__}
_PAUSE = "localhost/dataops-pause:1"
_CNI_PROGRAMS = "/usr/lib/cni"
_NFT_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
_LONGEST_SOCKET = 107  # bytes in sockaddr_un, unix(7)
_DNS_ZONES = "cluster.local in-addr.arpa"


def require(name: str) -> None:
    """Refuse early what would fail later in an obscure way, and install what is missing."""
    longest = cluster_path(name) / "kubelet" / "device-plugins" / "kubelet.sock"
    if len(str(longest)) > _LONGEST_SOCKET:
        raise ClusterError(
            f"{cluster_path(name)} is too long a path for sockets: "
            "take a shorter name or set XDG_STATE_HOME to a shorter path"
        )
    debian.ensure(PACKAGES, "to run a node")


def start_runtime(cluster: Cluster) -> list[str]:
    """Start network, cgroup and containerd; needs no API server. Returns the names of the parts started."""
    network.start(cluster)
    cgroups.make(cluster)
    supervisor = Supervisor(cluster.path)
    part = _containerd(cluster)
    started = supervisor.start(part)
    supervisor.wait(part)
    imported = cluster.path / "pause.tar"
    if not imported.exists():
        archive = cluster.path / "pause.new"
        oci.write(archive, _PAUSE, [binaries.ensure("runc") / "pause"], ["/pause"])
        import_archive(cluster, archive, _PAUSE)
        archive.rename(imported)
    return [part.name] if started else []


def start_services(cluster: Cluster) -> list[str]:
    """Start what talks to the API server and wait until pods can run; returns the names of the parts started."""
    supervisor = Supervisor(cluster.path)
    parts = services(cluster)
    started = [part.name for part in parts if supervisor.start(part)]
    for part in parts:
        supervisor.wait(part)
    ready = Part("kubelet", (), lambda: node_ready(cluster))
    supervisor.wait(ready)
    return started


def plan(cluster: Cluster) -> list[Part]:
    """All parts of the node."""
    return [_containerd(cluster), *services(cluster)]


def services(cluster: Cluster) -> list[Part]:
    """The parts that talk to the API server."""
    authority = Authority(cluster.path / "pki")
    return [_kubelet(cluster, authority), _proxy(cluster, authority), _dns(cluster, authority), _volumes(cluster)]


def node_ready(cluster: Cluster) -> bool:
    """Whether the API server calls the node ready and free of the taint that keeps pods off."""
    api = Api(cluster.server, Authority(cluster.path / "pki"))
    try:
        node = api.request("GET", f"/api/v1/nodes/{cluster.node_name}")
    except ApiError:
        return False
    ready = {row["type"]: row["status"] for row in node.get("status", {}).get("conditions", [])}.get("Ready")
    taints = [row["key"] for row in node["spec"].get("taints", [])]
    return ready == "True" and "node.kubernetes.io/not-ready" not in taints


def stop(cluster: Cluster) -> None:
    """End all of the node's processes and containers, undo its mounts and its network; the folder stays."""
    supervisor = Supervisor(cluster.path)
    for name in PARTS:
        supervisor.stop(name)
    end_strays(cluster.path, _PROGRAMS)
    cgroups.remove(cluster)
    _remove_traces(cluster)
    _unmount(cluster.path)
    network.stop(cluster)


def _containerd(cluster: Cluster) -> Part:
    programs, runc = binaries.folder("kubernetes"), binaries.folder("runc") / "runc"
    home = cluster.path
    config = home / "containerd.toml"
    _write(
        config,
        f"""\
version = 3
root = "{home}/containerd"
state = "{home}/containerd-run"
[grpc]
address = "{home}/containerd.sock"
[ttrpc]
address = "{home}/containerd.ttrpc"
[plugins."io.containerd.cri.v1.images"]
snapshotter = "overlayfs"
[plugins."io.containerd.cri.v1.images".pinned_images]
sandbox = "{_PAUSE}"
[plugins."io.containerd.cri.v1.runtime"]
restrict_oom_score_adj = true  # a root without CAP_SYS_RESOURCE cannot lower its own score
netns_mounts_under_state_dir = true
[plugins."io.containerd.cri.v1.runtime".cni]
bin_dirs = ["{_CNI_PROGRAMS}"]
conf_dir = "{home}/cni"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
BinaryName = "{runc}"
SystemdCgroup = false
""",
    )
    # A link a pod instead of a bridge: every packet passes the node's routing, so services work between
    # neighbours without bridge filters in the host's kernel. No masquerade: nothing leaves anyway.
    ranges = [[{"subnet": cluster.pod_range}]]
    ipam = {
        "type": "host-local",
        "dataDir": f"{home}/cni-addresses",
        "ranges": ranges,
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    plugins: list[dict[str, Any]] = [{"type": "ptp", "ipMasq": False, "ipam": ipam}, {"type": "portmap"}]
    plugins[1]["capabilities"] = {"portMappings": True}
    network_list = {"cniVersion": "1.0.0", "name": "pods", "plugins": plugins}
    _write(home / "cni" / "10-pods.conflist", json.dumps(network_list))
    command = [*network.enter(cluster), f"{programs}/containerd", "--config", str(config), "--log-level", "warn"]
    ctr = [f"{programs}/ctr", "--address", f"{home}/containerd.sock", "--timeout", "2s", "version"]

    def healthy() -> bool:
        if not (home / "containerd.sock").exists():
            return False
        return subprocess.run(ctr, capture_output=True, check=False).returncode == 0

    # containerd finds its shim, and CNI plugins their nft, on the PATH.
    return Part("containerd", command, healthy, {"PATH": f"{programs}:{_NFT_PATH}"})


def _kubelet(cluster: Cluster, authority: Authority) -> Part:
    home, address = cluster.path, cluster.node_address
    resolver = home / "resolv.conf"
    _write(resolver, f"nameserver {address}\n")
    config = {
        "kind": "KubeletConfiguration",
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "address": address,
        "healthzBindAddress": address,
        "authentication": {"anonymous": {"enabled": False}, "x509": {"clientCAFile": str(authority.ca)}},
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(authority.cert("kubelet")),
        "tlsPrivateKeyFile": str(authority.key("kubelet")),
        "clusterDomain": "cluster.local",
        "clusterDNS": [address],
        "resolvConf": str(resolver),
        "containerRuntimeEndpoint": f"unix://{home}/containerd.sock",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": cgroups.root(cluster),
        "failCgroupV1": False,
        "failSwapOn": False,
        "enforceNodeAllocatable": ["none"],
        "podLogsDir": f"{home}/pod-logs",
        "maxPods": 200,
        # A developer's full disk must not empty the cluster.
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "0%", "imagefs.available": "0%"},
        "imageGCHighThresholdPercent": 100,
    }
    _write(home / "kubelet.json", json.dumps(config))
    command = [
        *network.enter(cluster),
        f"{binaries.folder('kubernetes')}/kubelet",
        f"--config={home}/kubelet.json",
        f"--kubeconfig={authority.folder}/node.kubeconfig",
        f"--root-dir={home}/kubelet",
        f"--cert-dir={home}/kubelet/pki",
        f"--hostname-override={cluster.node_name}",
        f"--node-ip={address}",
    ]
    url = f"http://{address}:10248/healthz"
    # It ends by itself where containerd answers and has not looked through all of its containers yet.
    return Part("kubelet", command, lambda: http_ok(url), {"PATH": _NFT_PATH}, again=30)


def _proxy(cluster: Cluster, authority: Authority) -> Part:
    config = {
        "kind": "KubeProxyConfiguration",
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "mode": "nftables",
        "bindAddress": cluster.node_address,
        "healthzBindAddress": f"{cluster.node_address}:10256",
        "metricsBindAddress": "127.0.0.1:10249",
        "hostnameOverride": cluster.node_name,
        "clusterCIDR": cluster.pod_range,
        "clientConnection": {"kubeconfig": f"{authority.folder}/proxy.kubeconfig"},
        "conntrack": {"maxPerCore": 0, "min": 0},  # the kernel's table is the host's, not ours to size
    }
    path = cluster.path / "kube-proxy.json"
    _write(path, json.dumps(config))
    program = f"{binaries.folder('kubernetes')}/kube-proxy"
    command = [*network.enter(cluster), program, f"--config={path}"]
    url = f"http://{cluster.node_address}:10256/healthz"
    return Part("kube-proxy", command, lambda: http_ok(url), {"PATH": _NFT_PATH})


def _dns(cluster: Cluster, authority: Authority) -> Part:
    address = cluster.node_address
    corefile = cluster.path / "Corefile"
    _write(
        corefile,
        f"""\
{_DNS_ZONES} {{
    bind {address}
    errors
    kubernetes {_DNS_ZONES} {{
        kubeconfig {authority.folder}/dns.kubeconfig
        pods insecure
        ttl 5
    }}
}}
. {{
    bind {address}
    # Nothing outside is reached from here: say so at once instead of letting resolvers time out.
    template ANY ANY {{
        rcode NXDOMAIN
    }}
}}
""",
    )
    program = f"{binaries.folder('kubernetes')}/coredns"
    command = [*network.enter(cluster), program, "-conf", str(corefile)]

    def healthy() -> bool:
        return dns.resolve(address, "kubernetes.default.svc.cluster.local") == cluster.service_address

    return Part("coredns", command, healthy)


def _volumes(cluster: Cluster) -> Part:
    ready = cluster.path / "volumes.ready"
    command = [sys.executable, "-m", volumes.__name__, f"--server={cluster.server}", f"--pki={cluster.path / 'pki'}"]
    command += [f"--folder={cluster.path / 'volumes'}", f"--node={cluster.node_name}", f"--ready={ready}"]

    def healthy() -> bool:
        return time.time() - ready.stat().st_mtime < 60

    return Part("volumes", command, healthy, {"PYTHONPATH": str(Path(__file__).resolve().parent.parent)})


def _write(path: Path, text: str) -> None:
    # Unchanged, it is left alone: kube-proxy ends itself when its configuration is written.
    if path.is_file() and path.read_text() == text:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def _remove_traces(cluster: Cluster) -> None:
    """Remove what containerd and kubelet keep outside the cluster's folder: shim sockets, links to logs."""
    run = cluster.path / "containerd-run"
    for bootstrap in run.glob("io.containerd.runtime.v2.task/*/*/bootstrap.json"):
        address = json.loads(bootstrap.read_text()).get("address", "").removeprefix("unix://")
        Path(address).unlink(missing_ok=True)
    for link in Path("/var/log/containers").glob("*.log"):
        if link.is_symlink() and os.readlink(link).startswith(f"{cluster.path}/"):
            link.unlink()


def _unmount(folder: Path) -> None:
    """Unmount all below the folder, the latest first."""

    def below() -> list[str]:
        rows = (line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines())
        points = [row[4].encode().decode("unicode_escape") for row in rows]
        return [point for point in reversed(points) if point.startswith(f"{folder.resolve()}/")]

    for point in below():
        subprocess.run(["umount", point], capture_output=True, check=False)
    for point in below():  # busy: detached, the kernel frees it when its last user ends
        subprocess.run(["umount", "--lazy", point], capture_output=True, check=False)
    if left := below():
        raise ClusterError(f"{left[0]} cannot be unmounted; see `fuser -m {left[0]}`, then run down again")
