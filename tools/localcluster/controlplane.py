"""etcd, API server, controller manager (and scheduler) as processes of this machine.

Alone they are a whole API for tests and benches, with no root and no network of their own::

    with ControlPlane.start("bench", tuned_jobs=True) as cp:
        print(cp.server, cp.kubeconfig)
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from localcluster import binaries, debian, state
from localcluster.api import Api, http_ok
from localcluster.certs import Authority, Leaf
from localcluster.errors import ClusterError
from localcluster.processes import Part, Supervisor, end_strays
from localcluster.state import Cluster, Options

ISSUER = "https://kubernetes.default.svc.cluster.local"

# What a stock controller manager does not allow itself; see the bench's two worlds.
TUNED_JOBS = ("--kube-api-qps=500", "--kube-api-burst=500", "--concurrent-job-syncs=32")

# Order of stopping: the API server before etcd, without which it lingers.
PARTS = ("kube-scheduler", "kube-controller-manager", "kube-apiserver", "etcd")

_AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [{"level": "Metadata"}],
}


class ControlPlane:
    """A running control plane and what a client needs to talk to it.

    Attributes:
        name: The cluster's name.
        server: The API server's URL.
        kubeconfig: Path of the administrator's kubeconfig.
        ca: Path of the authority's certificate.
        client_cert: Path of the administrator's client certificate.
        client_key: Path of its key.
        token: The administrator's static bearer token, for clients and proxies that cannot use certificates.
        etcd: URL of etcd's client port, without any protection.
        audit_log: Path of the audit log, or None where none was asked for.
    """

    def __init__(self, cluster: Cluster) -> None:
        authority = Authority(cluster.path / "pki")
        self.name = cluster.name
        self.server = cluster.server
        self.kubeconfig = cluster.kubeconfig
        self.ca = authority.ca
        self.client_cert = authority.cert("admin")
        self.client_key = authority.key("admin")
        self.token = authority.token()
        self.etcd = f"http://127.0.0.1:{cluster.port('etcd')}"
        self.audit_log = cluster.audit_log if cluster.options.audit else None
        self._cluster = cluster

    @classmethod
    def start(cls, name: str, tuned_jobs: bool = False, audit: bool = True) -> ControlPlane:
        """Start a fresh control plane; one of that name left by a crashed earlier start is removed first.

        Args:
            name: The cluster's name; two that run at the same time need two names.
            tuned_jobs: Lift the Job controller's stock limits.
            audit: Write an audit log (metadata of every request, one JSON object a line).

        Raises:
            ClusterError: A program cannot be built or a part does not become healthy.
        """
        with state.locked(name):
            if (left := state.load(name)) is not None:
                if left.options.mode != "control-plane":
                    raise ClusterError(f"'{name}' is a cluster with a node: choose another name for a control plane")
                remove(left)
            cluster = state.allocate(name, Options("control-plane", tuned_jobs, audit))
            try:
                start(cluster)
            except BaseException:
                stop(cluster)  # the folder stays for its logs
                raise
            return cls(cluster)

    @property
    def pids(self) -> dict[str, int]:
        """The process ids by part: ``etcd``, ``kube-apiserver``, ``kube-controller-manager``."""
        return Supervisor(self._cluster.path).pids()

    @contextmanager
    def without(self, name: str) -> Iterator[None]:
        """Have a part, by the name that it has in `pids`, end; it is started again afterwards, and healthy."""
        Supervisor(self._cluster.path).stop(name)
        try:
            yield
        finally:
            start(self._cluster)

    def stop(self) -> None:
        """End the processes and remove everything they wrote. Safe to call twice."""
        with state.locked(self.name):
            remove(self._cluster)

    def __enter__(self) -> ControlPlane:
        """Give the control plane itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it, whatever happened."""
        self.stop()


def start(cluster: Cluster) -> list[str]:
    """Start what does not run or is not healthy; returns the names of the parts started."""
    supervisor = Supervisor(cluster.path)
    parts = plan(cluster, binaries.ensure("kubernetes"))
    make_certificates(cluster)
    started = []
    for part in parts[:2]:  # each needs the one before
        started += [part.name] if supervisor.start(part) else []
        supervisor.wait(part)
    started += [part.name for part in parts[2:] if supervisor.start(part)]
    for part in parts[2:]:
        supervisor.wait(part)
    return started


def stop(cluster: Cluster) -> None:
    """End the control plane's processes; the folder stays."""
    supervisor = Supervisor(cluster.path)
    for name in PARTS:
        supervisor.stop(name)
    end_strays(cluster.path, PARTS)


def remove(cluster: Cluster) -> None:
    """End a cluster that is a control plane alone and remove its folder."""
    stop(cluster)
    cluster.forget()


def make_certificates(cluster: Cluster) -> Authority:
    """Make the keys of all parts and write their kubeconfigs."""
    if shutil.which("openssl") is None:
        debian.ensure(["openssl"], "to make certificates")
    authority = Authority(cluster.path / "pki")
    addresses = ["127.0.0.1", cluster.host_address, cluster.service_address]
    hosts = ["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"]
    hosts.append("kubernetes.default.svc.cluster.local")
    users = {
        "admin": "/O=system:masters/CN=admin",
        # All rights, so that no account a controller must be made: at 20 requests a second that took 5 s.
        "controller-manager": "/O=system:masters/CN=system:kube-controller-manager",
        "scheduler": "/CN=system:kube-scheduler",
        "node": f"/O=system:nodes/CN=system:node:{cluster.node_name}",
        "proxy": "/CN=system:kube-proxy",
        "dns": "/CN=system:coredns",
        "volumes": "/CN=localcluster:volumes",
    }
    if cluster.options.mode != "node":
        users = {name: users[name] for name in ("admin", "controller-manager")}
    server = Leaf("server", "/CN=kube-apiserver", [f"IP:{ip}" for ip in addresses] + [f"DNS:{h}" for h in hosts])
    leaves = [server, *(Leaf(name, subject) for name, subject in users.items())]
    if cluster.options.mode == "node":
        names = [f"IP:{cluster.node_address}", f"DNS:{cluster.node_name}"]
        leaves.append(Leaf("kubelet", f"/CN={cluster.node_name}", names))
    authority.make(leaves)
    authority.kubeconfig(cluster.kubeconfig, cluster.server, "admin", cluster.name)
    inside = f"https://{cluster.host_address}:{cluster.port('kube-apiserver')}"
    for user in users.keys() - {"admin"}:
        where = cluster.server if user in ("controller-manager", "scheduler", "volumes") else inside
        authority.kubeconfig(authority.folder / f"{user}.kubeconfig", where, user, cluster.name)
    return authority


def plan(cluster: Cluster, programs: Path) -> list[Part]:
    """The parts in the order of their start."""
    authority = Authority(cluster.path / "pki")
    parts = [_etcd(cluster, programs), _api_server(cluster, programs, authority)]
    parts.append(_controller_manager(cluster, programs, authority))
    if cluster.options.mode == "node":
        parts.append(_scheduler(cluster, programs, authority))
    return parts


def _etcd(cluster: Cluster, programs: Path) -> Part:
    client = f"http://127.0.0.1:{cluster.port('etcd')}"
    peer = f"http://127.0.0.1:{cluster.port('etcd-peer')}"
    command = [
        f"{programs}/etcd",
        f"--name={cluster.name}",
        f"--data-dir={cluster.path / 'etcd'}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster={cluster.name}={peer}",
        "--unsafe-no-fsync",  # a throw-away cluster survives a crash of the process, not of the machine
        f"--quota-backend-bytes={8 * 1024**3}",
        "--log-level=warn",
    ]
    return Part("etcd", command, lambda: http_ok(f"{client}/health"))


def _api_server(cluster: Cluster, programs: Path, authority: Authority) -> Part:
    node = cluster.options.mode == "node"
    command = [
        f"{programs}/kube-apiserver",
        f"--etcd-servers=http://127.0.0.1:{cluster.port('etcd')}",
        f"--secure-port={cluster.port('kube-apiserver')}",
        f"--bind-address={'0.0.0.0' if node else '127.0.0.1'}",  # noqa: S104 (the node comes in over its link)
        f"--advertise-address={cluster.host_address}",
        f"--service-cluster-ip-range={cluster.service_range}",
        f"--tls-cert-file={authority.cert('server')}",
        f"--tls-private-key-file={authority.key('server')}",
        f"--client-ca-file={authority.ca}",
        f"--token-auth-file={authority.tokens}",
        "--anonymous-auth=false",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--allow-privileged=true",
        f"--service-account-issuer={ISSUER}",
        f"--service-account-key-file={authority.key('service-accounts')}",
        f"--service-account-signing-key-file={authority.key('service-accounts')}",
        f"--kubelet-client-certificate={authority.cert('admin')}",
        f"--kubelet-client-key={authority.key('admin')}",
        f"--kubelet-certificate-authority={authority.ca}",
        "--kubelet-preferred-address-types=InternalIP",
        "--enable-aggregator-routing=true",  # webhooks reach endpoints without a service proxy on the host
    ]
    if not node:
        command.append("--endpoint-reconciler-type=none")  # nobody routes to the service there
    if cluster.options.audit:
        policy = cluster.path / "audit-policy.json"
        policy.write_text(json.dumps(_AUDIT_POLICY))
        command += [f"--audit-policy-file={policy}", f"--audit-log-path={cluster.audit_log}"]
    api = Api(cluster.server, authority)
    return Part("kube-apiserver", command, lambda: api.ok("/readyz"))


def _controller_manager(cluster: Cluster, programs: Path, authority: Authority) -> Part:
    port = cluster.port("kube-controller-manager")
    command = [
        f"{programs}/kube-controller-manager",
        *_component(authority, "controller-manager", port),
        f"--root-ca-file={authority.ca}",
        f"--service-account-private-key-file={authority.key('service-accounts')}",
        f"--cluster-signing-cert-file={authority.ca}",
        f"--cluster-signing-key-file={authority.key('ca')}",
    ]
    if cluster.options.mode == "node":
        command.append("--node-monitor-period=1s")  # or a ready node keeps its first taint for up to 5 s
    if cluster.options.tuned_jobs:
        command += TUNED_JOBS
    own, server = Api(f"https://127.0.0.1:{port}", authority), Api(cluster.server, authority)

    def healthy() -> bool:
        # Its health path answers before its controllers work; the account that every pod needs comes from one.
        return own.ok("/healthz") and server.ok("/api/v1/namespaces/default/serviceaccounts/default")

    return Part("kube-controller-manager", command, healthy)


def _scheduler(cluster: Cluster, programs: Path, authority: Authority) -> Part:
    port = cluster.port("kube-scheduler")
    command = [f"{programs}/kube-scheduler", *_component(authority, "scheduler", port)]
    api = Api(f"https://127.0.0.1:{port}", authority)
    return Part("kube-scheduler", command, lambda: api.ok("/healthz"))


def _component(authority: Authority, user: str, port: int) -> list[str]:
    kubeconfig = authority.folder / f"{user}.kubeconfig"
    return [
        f"--kubeconfig={kubeconfig}",
        f"--authentication-kubeconfig={kubeconfig}",
        f"--authorization-kubeconfig={kubeconfig}",
        "--bind-address=127.0.0.1",
        f"--secure-port={port}",
        f"--tls-cert-file={authority.cert('server')}",
        f"--tls-private-key-file={authority.key('server')}",
        "--leader-elect=false",
    ]


def require_root() -> None:
    """Refuse in one sentence what only root can do."""
    if os.geteuid() != 0:
        raise ClusterError(
            "a node needs root (network namespace, mounts, cgroups): run it with sudo, or take "
            "--control-plane-only, or run Docker, and kind is used instead"
        )
