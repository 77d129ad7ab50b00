"""Rights: what the chart gives the operator, its test and its users."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from tests.unit.chart.rendering import Render, Rendered

SETS = ["default", "ha-namespaced", "minimal"]
READ = {"get", "list", "watch"}


def roles(rendered: Rendered) -> list[dict[str, Any]]:
    return [*rendered.all("ClusterRole"), *rendered.all("Role")]


def grants(role: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Every (group, resource, verb) that a role gives."""
    for rule in role["rules"]:
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                for verb in rule["verbs"]:
                    yield group, resource, verb


def operator_role(rendered: Rendered, kind: str) -> dict[str, Any]:
    return next(r for r in rendered.all(kind, "rbac") if not r["metadata"]["name"].endswith("-leader"))


@pytest.mark.parametrize("ci", SETS)
def test_no_role_has_a_wildcard(render: Render, ci: str) -> None:
    for role in roles(render(ci=ci)):
        for rule in role["rules"]:
            assert "*" not in [*rule["apiGroups"], *rule["resources"], *rule["verbs"]], role["metadata"]["name"]
            assert "nonResourceURLs" not in rule


@pytest.mark.parametrize("ci", SETS)
def test_no_role_reaches_secrets_or_lets_its_holder_become_somebody_else(render: Render, ci: str) -> None:
    for role in roles(render(ci=ci)):
        for group, resource, verb in grants(role):
            assert not resource.startswith("secrets")
            assert resource not in (
                "serviceaccounts/token",
                "pods/exec",
                "pods/attach",
                "pods/ephemeralcontainers",
            )
            assert group not in (
                "rbac.authorization.k8s.io",
                "admissionregistration.k8s.io",
                "authentication.k8s.io",
            )
            assert verb not in ("escalate", "bind", "impersonate")


def test_the_operator_has_these_rights_and_no_other(render: Render) -> None:
    expected = {
        ("dataops.dev", "environments"): READ,
        ("dataops.dev", "pipelines"): READ,
        ("dataops.dev", "pipelineruns"): READ,
        ("dataops.dev", "pipelines/status"): {"patch"},
        ("dataops.dev", "pipelineruns/status"): {"patch"},
        ("batch", "jobs"): READ | {"create", "delete"},
        ("", "pods"): READ,
        ("", "persistentvolumeclaims"): {"get", "create"},
        ("", "serviceaccounts"): {"get", "create"},
        ("apps", "controllerrevisions"): {"get", "list", "create"},
        ("", "events"): {"list", "create"},
    }
    found: dict[tuple[str, str], set[str]] = {}
    for group, resource, verb in grants(operator_role(render(), "ClusterRole")):
        found.setdefault((group, resource), set()).add(verb)
    assert found == expected


def test_watching_named_namespaces_makes_no_cluster_role_for_the_operator(render: Render) -> None:
    rendered = render(watch={"namespaces": ["analytics", "sales"]}, rbac={"userRoles": {"create": False}})
    assert rendered.all("ClusterRole") == []
    assert rendered.all("ClusterRoleBinding") == []
    account = rendered.one("ServiceAccount", "rbac")["metadata"]
    for namespace in ("analytics", "sales"):
        role, binding = (
            next(
                o
                for o in rendered.all(kind, "rbac")
                if o["metadata"]["namespace"] == namespace and not o["metadata"]["name"].endswith("-leader")
            )
            for kind in ("Role", "RoleBinding")
        )
        assert role["rules"] == operator_role(render(), "ClusterRole")["rules"]
        assert binding["roleRef"]["name"] == role["metadata"]["name"]
        assert binding["subjects"] == [
            {"kind": "ServiceAccount", "name": account["name"], "namespace": account["namespace"]}
        ]


def test_named_namespaces_reach_the_operator_as_one_argument(render: Render) -> None:
    args = render(watch={"namespaces": ["analytics", "sales"]}).one("Deployment")["spec"]["template"]["spec"][
        "containers"
    ][0]["args"]
    assert "--namespaces=analytics,sales" in args


def test_the_whole_cluster_is_watched_when_no_namespace_is_named(render: Render) -> None:
    args = render().one("Deployment")["spec"]["template"]["spec"]["containers"][0]["args"]
    assert not [a for a in args if a.startswith("--namespaces")]


def test_the_lease_is_bound_to_its_name_and_to_the_operators_own_namespace(render: Render) -> None:
    rendered = render()
    role = next(r for r in rendered.all("Role", "rbac"))
    args = rendered.one("Deployment")["spec"]["template"]["spec"]["containers"][0]["args"]
    named = [r for r in role["rules"] if r["verbs"] != ["create"]]
    assert role["metadata"]["namespace"] == "dataops-system"
    assert {verb for _, _, verb in grants(role)} == {"get", "create", "update"}
    assert [f"--lease-name={name}" for r in named for name in r["resourceNames"]] == [
        a for a in args if a.startswith("--lease-name=")
    ]
    assert "--lease-namespace=dataops-system" in args


def test_view_reads_run_also_starts_and_edit_also_writes_pipelines(render: Render) -> None:
    by_name = {r["metadata"]["name"]: r for r in render().all("ClusterRole", "user-roles")}
    verbs = {
        name: {(resource, verb) for _, resource, verb in grants(role) if "/" not in resource}
        for name, role in by_name.items()
    }
    kinds = ("pipelines", "pipelineruns")
    read = {(kind, verb) for kind in kinds for verb in READ}
    assert verbs["dataops-view"] == read
    assert verbs["dataops-run"] == read | {("pipelineruns", "create"), ("pipelineruns", "delete")}
    writing = {"create", "update", "patch", "delete", "deletecollection"}
    assert verbs["dataops-edit"] == read | {(kind, verb) for kind in kinds for verb in writing}
    for role in by_name.values():
        assert {group for group, _, _ in grants(role)} == {"dataops.dev"}
        status = {verb for _, resource, verb in grants(role) if resource.endswith("/status")}
        assert status <= READ, "only the operator writes a status"


def test_view_and_edit_reach_the_holders_of_kubernetes_own_roles_and_run_does_not(render: Render) -> None:
    prefix = "rbac.authorization.k8s.io/aggregate-to-"
    found = {
        role["metadata"]["name"]: {
            label.removeprefix(prefix) for label in role["metadata"]["labels"] if label.startswith(prefix)
        }
        for role in render().all("ClusterRole", "user-roles")
    }
    assert found == {"dataops-view": {"view"}, "dataops-run": set(), "dataops-edit": {"edit", "admin"}}


def test_no_roles_at_all_where_an_administrator_brings_them(render: Render) -> None:
    rendered = render(ci="minimal")
    assert roles(rendered) == rendered.all("Role", "test")
    assert rendered.all("ServiceAccount", "rbac") == []
    assert rendered.one("Deployment")["spec"]["template"]["spec"]["serviceAccountName"] == "dataops"


def test_the_account_gives_its_token_to_the_operators_pod_alone(render: Render) -> None:
    rendered = render()
    assert rendered.one("ServiceAccount", "rbac")["automountServiceAccountToken"] is False
    assert rendered.one("Deployment")["spec"]["template"]["spec"]["automountServiceAccountToken"] is True
