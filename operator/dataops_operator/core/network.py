"""NetworkPolicies of an execution namespace: nothing in, and out only to DNS, Vault, the targets and what is declared.

A NetworkPolicy names addresses and pods, never host names (Kubernetes documentation, "What you can't do with network
policies"). A Service's name leads to its namespace; of any other host name nothing can be said, and the environment
says so in its condition.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, Final
from urllib.parse import urlsplit

from ..api.environment import Egress, Peer, Selector
from .environment import Effective
from .names import MANAGED_BY_LABEL, MANAGER, RESULTS_LABEL

Address = tuple[str, int]
"""Host and TCP port."""


@dataclass(frozen=True, slots=True)
class Reach:
    """Where a Vault server is.

    Attributes:
        host: name or address.
        port: TCP port.
        peers: where it is found, as NetworkPolicy peers, in its administrator's own words; empty where not said.
    """

    host: str
    port: int
    peers: tuple[Mapping[str, Any], ...] = ()


NAMESPACE_NAME: Final = "kubernetes.io/metadata.name"
"""Set on every namespace by the API server: its name."""

_DNS: Final = {
    "to": [{"namespaceSelector": {"matchLabels": {NAMESPACE_NAME: "kube-system"}}}],
    "ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}],
}
_SCHEME_PORTS: Final = {"http": 80, "https": 443, "postgresql": 5432, "postgres": 5432}
_SERVICE_LABELS: Final = 2
"""Labels of a Service's short name: <service>.<namespace>."""


def policies(
    environment: Effective, vault: Reach | None, *, every_pod: bool, results: tuple[str, int] | None = None
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and spec of each NetworkPolicy.

    Args:
        environment: what holds.
        vault: where pods themselves log in to Vault; None where none do.
        every_pod: whether they are for all pods of the namespace; else for those of runs alone, since others share it.
        results: namespace and port at which pods that ask for it hand in results; None where nobody takes them.
    """
    selector: dict[str, Any] = {} if every_pod else {"matchLabels": {MANAGED_BY_LABEL: MANAGER}}
    yield "dataops-default-deny", {"podSelector": selector, "policyTypes": ["Ingress", "Egress"]}

    def allow(rules: list[dict[str, Any]]) -> dict[str, Any]:
        return {"podSelector": selector, "policyTypes": ["Egress"], "egress": rules}

    yield "dataops-dns", allow([_DNS])
    if vault is not None:
        yield "dataops-vault", allow([_to_vault(vault)])
    if results is not None:
        namespace, port = results
        peer = {"namespaceSelector": {"matchLabels": {NAMESPACE_NAME: namespace}}}
        way = {"to": [peer], "ports": [{"port": port, "protocol": "TCP"}]}
        asking = {"matchLabels": {MANAGED_BY_LABEL: MANAGER, RESULTS_LABEL: "endpoint"}}
        yield "dataops-results", {"podSelector": asking, "policyTypes": ["Egress"], "egress": [way]}
    rules = [rule for address in target_addresses(environment) if (rule := _to(address)) is not None]
    if rules:
        yield "dataops-targets", allow(rules)
    declared = (environment.spec.network.egress if environment.spec.network else None) or ()
    if declared:
        yield "dataops-egress", allow([_egress(one) for one in declared])


def target_addresses(environment: Effective) -> list[Address]:
    """Where the environment's targets are, each address once, in order."""
    found: dict[Address, None] = {}
    for name in sorted(environment.targets):
        attributes = environment.targets[name].attributes
        if "host" in attributes:
            found[attributes["host"], int(attributes.get("port", _SCHEME_PORTS["postgresql"]))] = None
        for url in (attributes.get("endpoint"), attributes.get("readUrl")):
            parts = urlsplit(url or "")
            if parts.scheme in _SCHEME_PORTS and parts.hostname:
                found[parts.hostname, parts.port or _SCHEME_PORTS[parts.scheme]] = None
    return sorted(found)


def unnamed_hosts(environment: Effective) -> list[str]:
    """Hosts that the environment's pods need and that no NetworkPolicy can name, where no egress is declared."""
    if environment.spec.network is not None and environment.spec.network.egress:
        return []
    return [f"{host}:{port}" for host, port in target_addresses(environment) if peer_of(host) is None]


def peer_of(host: str) -> dict[str, Any] | None:
    """The peer that stands for a host: an address, or the namespace of a Service by the Service's name."""
    try:
        address = ip_address(host)
    except ValueError:
        pass
    else:
        return {"ipBlock": {"cidr": f"{address}/{address.max_prefixlen}"}}
    labels = host.rstrip(".").split(".")
    if len(labels) == 1:
        return {"podSelector": {}}
    if len(labels) == _SERVICE_LABELS or labels[_SERVICE_LABELS] == "svc":
        return {"namespaceSelector": {"matchLabels": {NAMESPACE_NAME: labels[1]}}}
    return None


def _to(address: Address) -> dict[str, Any] | None:
    peer = peer_of(address[0])
    return None if peer is None else {"to": [peer], "ports": [{"port": address[1], "protocol": "TCP"}]}


def _to_vault(vault: Reach) -> dict[str, Any]:
    """The way to a server; of one that no policy can name the port is open, until its administrator says its peers."""
    peer = peer_of(vault.host)
    peers = [dict(one) for one in vault.peers] or ([peer] if peer is not None else [])
    return ({"to": peers} if peers else {}) | {"ports": [{"port": vault.port, "protocol": "TCP"}]}


def _egress(egress: Egress) -> dict[str, Any]:
    out: dict[str, Any] = {}
    if egress.to:
        out["to"] = [_peer(one) for one in egress.to]
    if egress.ports:
        out["ports"] = [{"port": one.port, "protocol": str(one.protocol)} for one in egress.ports]
    return out


def _peer(peer: Peer) -> dict[str, Any]:
    if peer.ip_block is not None:
        block: dict[str, Any] = {"cidr": peer.ip_block.cidr}
        if peer.ip_block.except_:
            block["except"] = list(peer.ip_block.except_)
        return {"ipBlock": block}
    out: dict[str, Any] = {}
    if peer.namespace_selector is not None:
        out["namespaceSelector"] = _selector(peer.namespace_selector)
    if peer.pod_selector is not None:
        out["podSelector"] = _selector(peer.pod_selector)
    return out


def _selector(selector: Selector) -> dict[str, Any]:
    return {"matchLabels": dict(selector.match_labels)} if selector.match_labels else {}
