"""What an environment makes: every object with its content, and how drift in it is mended by the smallest patch."""

from __future__ import annotations

from copy import deepcopy
from decimal import Decimal
from typing import Any

import pytest
from tests.unit.core.environments import (
    LAKE,
    PROJECT,
    SCRATCH,
    UID,
    VAULT,
    WAREHOUSE,
    Object,
    an_environment,
    in_effect,
    place,
)

from dataops_operator.api.conditions import Type
from dataops_operator.core.drift import mend, must_be_remade
from dataops_operator.core.lifetime import expires_at, warn_at
from dataops_operator.core.limits import limit_range
from dataops_operator.core.namespaces import may_be_made
from dataops_operator.core.network import Reach, peer_of, policies, unnamed_hosts
from dataops_operator.core.provision import Agents, Piece, is_made, namespace_body, pieces
from dataops_operator.core.quantities import format_quantity, parse_quantity
from dataops_operator.core.times import from_rfc3339

AGENTS = Agents("dataops-runner", "dataops", "dataops-system", "dataops-runs")
FULL: dict[str, Any] = {
    "namespace": "analytics-prod",
    "vault": VAULT,
    "targets": [WAREHOUSE, LAKE, SCRATCH],
    "quota": {"hard": {"requests.cpu": "4", "limits.memory": "8Gi"}},
    "podDefaults": {"imagePullSecrets": [{"name": "registry"}]},
    "network": {"egress": [{"to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}], "ports": [{"port": 443}]}]},
    "access": [
        {"role": "Run", "subjects": [{"kind": "Group", "name": "engineers"}]},
        {"role": "View", "subjects": [{"kind": "ServiceAccount", "name": "ci"}]},
        {"role": "Run", "subjects": [{"kind": "User", "name": "jane"}, {"kind": "Group", "name": "engineers"}]},
    ],
}


def made(spec: dict[str, Any], *, own: bool = False, made: bool = True, vault: Reach | None = None) -> list[Piece]:
    where = place(PROJECT if own else "analytics-prod", made=made and not own)
    return list(pieces(in_effect(an_environment(**spec)), where, AGENTS, vault))


def body(found: list[Piece], kind: str, name: str) -> Object:
    (one,) = (piece.body for piece in found if (piece.kind, piece.name) == (kind, name))
    return dict(one)


def test_a_whole_environment_is_these_objects_and_no_other() -> None:
    found = made(FULL, vault=Reach("openbao.vault", 8200))
    assert sorted((piece.part, piece.kind, piece.name) for piece in found) == sorted(
        [
            (Type.ACCESS_READY, "ServiceAccount", "dataops-runner"),
            (Type.ACCESS_READY, "RoleBinding", "dataops-access-run"),
            (Type.ACCESS_READY, "RoleBinding", "dataops-access-view"),
            (Type.ACCESS_READY, "RoleBinding", "dataops-operator-runs"),
            (Type.QUOTA_READY, "ResourceQuota", "dataops"),
            (Type.QUOTA_READY, "LimitRange", "dataops"),
            (Type.NETWORK_READY, "NetworkPolicy", "dataops-default-deny"),
            (Type.NETWORK_READY, "NetworkPolicy", "dataops-dns"),
            (Type.NETWORK_READY, "NetworkPolicy", "dataops-vault"),
            (Type.NETWORK_READY, "NetworkPolicy", "dataops-targets"),
            (Type.NETWORK_READY, "NetworkPolicy", "dataops-egress"),
            (Type.TARGETS_READY, "PersistentVolumeClaim", "target-scratch"),
        ]
    )
    for piece in found:
        meta = piece.body["metadata"]
        assert meta["namespace"] == "analytics-prod"
        assert meta["labels"] == {
            "app.kubernetes.io/managed-by": "dataops-operator",
            "dataops.dev/environment": "prod",
            "dataops.dev/project": PROJECT,
            "dataops.dev/environment-uid": UID,
        }
        assert "ownerReferences" not in meta, "an owner in another namespace would have the object collected"


def test_what_is_made_beside_the_environment_is_owned_by_it() -> None:
    for piece in made({key: value for key, value in FULL.items() if key != "namespace"}, own=True):
        (owner,) = piece.body["metadata"]["ownerReferences"]
        assert (owner["kind"], owner["uid"]) == ("Environment", UID)


def test_the_runner_has_no_token_and_the_pull_secrets() -> None:
    account = body(made(FULL), "ServiceAccount", "dataops-runner")
    assert account["automountServiceAccountToken"] is False
    assert account["imagePullSecrets"] == [{"name": "registry"}]


def test_access_binds_the_charts_roles_each_subject_once() -> None:
    run = body(made(FULL), "RoleBinding", "dataops-access-run")
    assert run["roleRef"] == {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "dataops-run"}
    assert [(one["kind"], one["name"]) for one in run["subjects"]] == [("Group", "engineers"), ("User", "jane")]
    view = body(made(FULL), "RoleBinding", "dataops-access-view")
    assert view["subjects"] == [{"kind": "ServiceAccount", "name": "ci", "namespace": PROJECT}]


def test_the_operator_is_bound_where_runs_have_secrets_and_nowhere_else() -> None:
    binding = body(made(FULL), "RoleBinding", "dataops-operator-runs")
    assert binding["roleRef"]["name"] == "dataops-runs"
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "dataops", "namespace": "dataops-system"}]
    assert "dataops-operator-runs" not in [piece.name for piece in made({"namespace": "analytics-prod"})]


def test_a_namespace_is_made_with_pod_security_and_a_mark_that_is_never_written_later() -> None:
    found = namespace_body(place("analytics-prod", made=True), "baseline")
    labels = found["metadata"]["labels"]
    levels = {key.partition("/")[2]: value for key, value in labels.items() if key.startswith("pod-security")}
    assert levels == {"enforce": "baseline", "warn": "restricted", "audit": "restricted"}
    assert is_made(found, UID)
    assert not is_made(found, "another")
    found["metadata"]["annotations"] = {}
    assert not is_made(found, UID), "the label alone is put on a namespace that was taken, too"


# Network.


def test_nothing_comes_in_and_only_what_is_named_gets_out() -> None:
    found = made(FULL, vault=Reach("10.1.2.3", 8200))
    deny = body(found, "NetworkPolicy", "dataops-default-deny")["spec"]
    assert deny == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    dns = body(found, "NetworkPolicy", "dataops-dns")["spec"]
    assert [port["port"] for port in dns["egress"][0]["ports"]] == [53, 53]
    vault = body(found, "NetworkPolicy", "dataops-vault")["spec"]["egress"]
    assert vault == [{"to": [{"ipBlock": {"cidr": "10.1.2.3/32"}}], "ports": [{"port": 8200, "protocol": "TCP"}]}]
    targets = body(found, "NetworkPolicy", "dataops-targets")["spec"]["egress"]
    assert targets == [
        {
            "to": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "data"}}}],
            "ports": [{"port": 5432, "protocol": "TCP"}],
        }
    ]
    declared = body(found, "NetworkPolicy", "dataops-egress")["spec"]["egress"]
    assert declared == [{"to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}], "ports": [{"port": 443, "protocol": "TCP"}]}]


@pytest.mark.parametrize(
    ("vault", "to"),
    [
        (
            Reach("openbao.vault", 8200),
            [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "vault"}}}],
        ),
        (
            Reach("vault.eu.example", 8200, ({"ipBlock": {"cidr": "10.9.0.0/16"}},)),
            [{"ipBlock": {"cidr": "10.9.0.0/16"}}],
        ),
        (Reach("vault.eu.example", 8200), None),
    ],
)
def test_the_way_to_vault_is_as_narrow_as_can_be_said(vault: Reach, to: list[Object] | None) -> None:
    (rule,) = body(made(FULL, vault=vault), "NetworkPolicy", "dataops-vault")["spec"]["egress"]
    assert (rule.get("to"), rule["ports"]) == (to, [{"port": 8200, "protocol": "TCP"}])


def test_policies_reach_only_the_pods_of_runs_where_others_share_the_namespace() -> None:
    for found in (made(FULL, made=False), made({"network": FULL["network"]}, own=True)):
        for piece in found:
            if piece.kind == "NetworkPolicy":
                selector = piece.body["spec"]["podSelector"]
                assert selector == {"matchLabels": {"app.kubernetes.io/managed-by": "dataops-operator"}}


@pytest.mark.parametrize(
    ("host", "peer"),
    [
        ("10.0.0.1", {"ipBlock": {"cidr": "10.0.0.1/32"}}),
        ("2001:db8::1", {"ipBlock": {"cidr": "2001:db8::1/128"}}),
        ("pg", {"podSelector": {}}),
        ("pg.data", {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "data"}}}),
        ("pg.data.svc", {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "data"}}}),
        (
            "pg.data.svc.cluster.local.",
            {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "data"}}},
        ),
        ("db.eu.example", None),
    ],
)
def test_a_host_is_an_address_or_a_services_namespace_or_cannot_be_named(host: str, peer: Object | None) -> None:
    assert peer_of(host) == peer


def test_hosts_that_no_policy_can_name_are_told_until_egress_is_declared() -> None:
    far = {"name": "far", "postgres": {"host": "db.eu.example", "database": "dwh"}}
    assert unnamed_hosts(in_effect(an_environment(targets=[far]))) == ["db.eu.example:5432"]
    declared = an_environment(targets=[far], network={"egress": [{"ports": [{"port": 5432}]}]})
    assert unnamed_hosts(in_effect(declared)) == []


# Limits.


@pytest.mark.parametrize(
    ("hard", "always", "requests", "limits"),
    [
        ({}, False, None, None),
        ({}, True, {"cpu": "50m", "memory": "64Mi"}, None),
        ({"pods": "5"}, False, None, None),
        ({"requests.cpu": "4"}, False, {"cpu": "50m"}, None),
        ({"requests.cpu": "20m"}, False, {"cpu": "20m"}, None),
        ({"limits.cpu": "200m"}, False, {"cpu": "50m"}, {"cpu": "200m"}),
        ({"limits.memory": "32Mi"}, False, {"memory": "33554432"}, {"memory": "33554432"}),
        ({"memory": "1Gi", "limits.memory": "2Gi"}, False, {"memory": "64Mi"}, {"memory": "512Mi"}),
    ],
)
def test_a_container_that_says_nothing_fits_the_quota(
    hard: Object, always: bool, requests: Object | None, limits: Object | None
) -> None:
    found = limit_range(hard, always=always)
    if requests is None:
        assert found is None
        return
    assert found is not None
    (item,) = found["limits"]
    assert (item["defaultRequest"], item.get("default")) == (requests, limits)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("500m", "0.5"),
        ("1Gi", str(1024**3)),
        (2, "2"),
        ("2e3", "2000"),
        ("1E", str(10**18)),
        (".5", "0.5"),
        ("3u", "0.000003"),
    ],
)
def test_quantities_mean_what_kubernetes_means(text: str | int, number: str) -> None:
    assert parse_quantity(text) == Decimal(number)


def test_a_quantity_is_written_so_that_kubernetes_reads_it() -> None:
    assert format_quantity(parse_quantity("1500m")) == "1500m"
    assert format_quantity(parse_quantity("1Gi")) == "1073741824"
    for wrong in ("", "many", "1 Gi", "-1", "1ki"):
        with pytest.raises(ValueError, match="not a quantity"):
            parse_quantity(wrong)


# Drift.


def live(wanted: Object) -> Object:
    """An object as the API server has it: with what it and others add."""
    there = deepcopy(wanted)
    meta = there["metadata"]
    meta |= {"uid": "u", "resourceVersion": "1", "creationTimestamp": "2026-01-01T00:00:00Z"}
    meta["labels"]["team"] = "data"
    meta["annotations"] = {"eks.example/role": "x"}
    if there["kind"] == "ResourceQuota":
        there |= {"status": {"hard": {}}}
        there["spec"]["hard"]["limits.memory"] = "8192Mi"
    if there["kind"] == "PersistentVolumeClaim":
        there["spec"] |= {"volumeMode": "Filesystem", "storageClassName": "standard", "volumeName": "pv-1"}
        there["status"] = {"phase": "Bound"}
    return there


@pytest.mark.parametrize("piece", made(FULL, vault=Reach("v.x", 1)), ids=lambda piece: f"{piece.kind}-{piece.name}")
def test_what_stands_as_wanted_is_not_written(piece: Piece) -> None:
    assert mend(piece.body, live(dict(piece.body))) == {}
    assert not must_be_remade(piece.body, live(dict(piece.body)))


def drifted(kind: str, name: str, change: dict[str, Any]) -> tuple[Object, Object]:
    wanted = body(made(FULL), kind, name)
    return wanted, merge(live(wanted), change)


def merge(there: Any, patch: Any) -> Any:
    """RFC 7396."""
    if not isinstance(patch, dict):
        return patch
    out = dict(there) if isinstance(there, dict) else {}
    for key, value in patch.items():
        if value is None:
            out.pop(key, None)
        else:
            out[key] = merge(out.get(key), value)
    return out


@pytest.mark.parametrize(
    ("kind", "name", "change"),
    [
        ("ServiceAccount", "dataops-runner", {"automountServiceAccountToken": True}),
        ("ServiceAccount", "dataops-runner", {"automountServiceAccountToken": None}),
        ("ServiceAccount", "dataops-runner", {"imagePullSecrets": [{"name": "registry"}, {"name": "theirs"}]}),
        ("RoleBinding", "dataops-access-view", {"subjects": [{"kind": "Group", "name": "system:authenticated"}]}),
        ("RoleBinding", "dataops-access-view", {"subjects": None}),
        ("ResourceQuota", "dataops", {"spec": {"hard": {"requests.cpu": "400"}}}),
        ("ResourceQuota", "dataops", {"spec": {"hard": {"pods": "1"}}}),
        ("ResourceQuota", "dataops", {"spec": {"scopes": ["BestEffort"]}}),
        ("LimitRange", "dataops", {"spec": {"limits": []}}),
        ("NetworkPolicy", "dataops-default-deny", {"spec": {"egress": [{}]}}),
        ("NetworkPolicy", "dataops-default-deny", {"spec": {"ingress": [{}]}}),
        ("NetworkPolicy", "dataops-default-deny", {"spec": {"podSelector": {"matchLabels": {"a": "b"}}}}),
        ("NetworkPolicy", "dataops-dns", {"spec": {"egress": [{"ports": [{"port": 53, "protocol": "UDP"}]}]}}),
        ("PersistentVolumeClaim", "target-scratch", {"spec": {"resources": {"requests": {"storage": "1Gi"}}}}),
        ("ServiceAccount", "dataops-runner", {"metadata": {"labels": {"dataops.dev/environment": "other"}}}),
    ],
)
def test_drift_is_mended_and_what_others_added_beside_it_stays(kind: str, name: str, change: Object) -> None:
    wanted, there = drifted(kind, name, change)
    patch = mend(wanted, there)
    assert patch
    mended = merge(there, patch)
    assert mend(wanted, mended) == {}
    assert mended["metadata"]["labels"]["team"] == "data"
    assert mended["metadata"]["annotations"] == {"eks.example/role": "x"}


def test_a_binding_to_another_role_is_made_again() -> None:
    wanted, there = drifted("RoleBinding", "dataops-access-view", {"roleRef": {"name": "cluster-admin"}})
    assert must_be_remade(wanted, there)


# Names and times.


@pytest.mark.parametrize(
    ("name", "patterns", "allowed"),
    [
        ("analytics-prod", ["{project}-*"], True),
        ("analytics-", ["{project}-*"], False),
        ("analytics", ["{project}-*"], False),
        ("analyticsx-prod", ["{project}-*"], False),
        ("x-analytics-prod", ["{project}-*"], False),
        ("team-analytics-dev", ["{project}-*", "team-{project}-*"], True),
        ("analytics.prod", ["analytics.prod"], True),
        ("analyticsxprod", ["analytics.prod"], False),
        ("kube-system", ["*"], False),
        ("default", ["*"], False),
        ("anything", ["*"], True),
        ("anything", [], False),
    ],
)
def test_only_namespaces_of_an_allowed_name_are_made(name: str, patterns: list[str], allowed: bool) -> None:
    assert may_be_made(name, "analytics", patterns) is allowed


@pytest.mark.parametrize(("ttl", "notice"), [("72h", 3600), ("5h", 1800), ("5m", 60), ("30s", 30), ("100m", 600)])
def test_the_end_is_told_a_tenth_of_the_life_before_it_within_bounds(ttl: str, notice: int) -> None:
    created = "2026-01-01T00:00:00Z"
    assert expires_at(created, ttl) - warn_at(created, ttl) == notice
    assert expires_at(created, "72h") == from_rfc3339("2026-01-04T00:00:00Z")


def test_pods_that_hand_in_results_and_no_others_are_let_out_to_the_endpoint() -> None:
    found = dict(policies(in_effect(an_environment()), None, every_pod=True, results=("dataops-system", 8443)))
    policy = found["dataops-results"]
    labels = {"app.kubernetes.io/managed-by": "dataops-operator", "dataops.dev/results": "endpoint"}
    assert policy["podSelector"] == {"matchLabels": labels}
    (rule,) = policy["egress"]
    assert rule["to"] == [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "dataops-system"}}}]
    assert [port["port"] for port in rule["ports"]] == [8443]
    assert "dataops-results" not in dict(policies(in_effect(an_environment()), None, every_pod=True))
