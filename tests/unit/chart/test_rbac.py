"""Rights: what the chart gives the operator, its test and its users."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from tests.unit.chart.rendering import RefusedError, Render, Rendered

from dataops_operator.arguments import parse_arguments

SETS = ["default", "ha-namespaced", "minimal", "vault"]
READ = {"get", "list", "watch"}
MADE = READ | {"create", "patch", "delete"}


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
def test_nobody_reads_secrets_runs_into_pods_or_becomes_somebody_else(render: Render, ci: str) -> None:
    for role in roles(render(ci=ci)):
        for group, resource, verb in grants(role):
            assert (resource, verb) not in {("secrets", verb) for verb in ("get", "list", "watch", "patch", "update")}
            assert not resource.startswith(("pods/exec", "pods/attach", "pods/ephemeral", "pods/log", "nodes"))
            assert group not in ("admissionregistration.k8s.io", "authentication.k8s.io", "certificates.k8s.io")
            assert verb not in ("escalate", "impersonate", "approve", "sign")


@pytest.mark.parametrize("ci", SETS)
def test_the_only_tokens_ever_made_are_those_of_the_runner(render: Render, ci: str) -> None:
    for role in roles(render(ci=ci)):
        for rule in role["rules"]:
            if "serviceaccounts/token" in rule["resources"]:
                assert rule["resources"] == ["serviceaccounts/token"]
                assert rule["resourceNames"] == ["dataops-runner"]
                assert rule["verbs"] == ["create"]


@pytest.mark.parametrize("ci", SETS)
def test_the_operator_hands_out_the_charts_own_roles_and_no_other(render: Render, ci: str) -> None:
    """Whoever may bind a role may give its rights to anyone: each is named, and none of them writes environments."""
    rendered = render(ci=ci)
    own = {role["metadata"]["name"] for role in rendered.all("ClusterRole")}
    for role in roles(rendered):
        for rule in role["rules"]:
            if "bind" in rule["verbs"]:
                assert rule["verbs"] == ["bind"]
                assert rule["resources"] == ["clusterroles"]
                named = set(rule["resourceNames"])
                assert named >= {"dataops-view", "dataops-run", "dataops-promote", "dataops-edit"}
                assert named <= own
                assert not named & {"dataops-environments", "dataops-operator"}


OPERATOR = {
    ("dataops.dev", "environments"): READ | {"patch", "delete"},
    ("dataops.dev", "steptemplates"): READ,
    ("dataops.dev", "pipelines"): READ,
    ("dataops.dev", "pipelineruns"): READ | {"create", "patch", "delete"},
    ("dataops.dev", "environments/status"): {"patch"},
    ("dataops.dev", "steptemplates/status"): {"patch"},
    ("dataops.dev", "pipelines/status"): {"patch"},
    ("dataops.dev", "pipelineruns/status"): {"patch"},
    ("batch", "jobs"): READ | {"create", "delete"},
    ("", "pods"): {"list", "watch", "patch", "delete"},
    ("", "configmaps"): {"get", "create"},
    ("", "persistentvolumeclaims"): MADE,
    ("", "serviceaccounts"): MADE,
    ("", "resourcequotas"): MADE,
    ("", "limitranges"): MADE,
    ("networking.k8s.io", "networkpolicies"): MADE,
    ("rbac.authorization.k8s.io", "rolebindings"): MADE,
    ("rbac.authorization.k8s.io", "clusterroles"): {"bind"},
    ("apps", "controllerrevisions"): {"get", "list", "create", "patch", "delete"},
    ("", "events"): {"list", "create"},
}
NAMESPACES = READ | {"patch", "create", "delete"}


def verbs(role: dict[str, Any]) -> dict[tuple[str, str], set[str]]:
    found: dict[tuple[str, str], set[str]] = {}
    for group, resource, verb in grants(role):
        found.setdefault((group, resource), set()).add(verb)
    return found


def test_the_operator_has_these_rights_and_no_other(render: Render) -> None:
    assert verbs(operator_role(render(), "ClusterRole")) == OPERATOR | {("", "namespaces"): NAMESPACES}


def test_where_no_namespace_may_be_made_the_operator_has_no_right_to(render: Render) -> None:
    role = operator_role(render(environments={"namespacePattern": ""}), "ClusterRole")
    assert verbs(role)["", "namespaces"] == NAMESPACES - {"create", "delete"}


def test_rights_to_tokens_and_secrets_are_bound_nowhere_by_the_chart(render: Render) -> None:
    """An Environment binds them in its execution namespace; without Vault there is nothing to bind."""
    rendered = render(ci="vault")
    runs = next(r for r in rendered.all("ClusterRole") if r["metadata"]["name"] == "dataops-operator-runs")
    assert verbs(runs) == {("", "serviceaccounts/token"): {"create"}, ("", "secrets"): {"create", "delete"}}
    bindings = [*rendered.all("ClusterRoleBinding"), *rendered.all("RoleBinding")]
    assert "dataops-operator-runs" not in {one["roleRef"]["name"] for one in bindings}
    assert "--runs-role=dataops-operator-runs" in arguments(rendered)
    assert not [r for r in render().all("ClusterRole") if r["metadata"]["name"].endswith("-runs")]
    assert not [one for one in arguments(render()) if one.startswith("--runs-role")]


OBJECTS = [
    {"apiVersion": "batch/v1", "kind": "Job", "resource": "jobs"},
    {"apiVersion": "ray.io/v1", "kind": "RayJob", "resource": "rayjobs", "access": "Apply"},
    {"apiVersion": "v1", "kind": "ConfigMap", "resource": "configmaps"},
]


def test_what_steps_may_do_with_objects_is_what_is_listed_and_bound_nowhere_by_the_chart(render: Render) -> None:
    rendered = render(stepObjects=OBJECTS)
    steps = next(r for r in rendered.all("ClusterRole") if r["metadata"]["name"] == "dataops-operator-steps")
    assert verbs(steps) == {
        ("batch", "jobs"): {"get"}, ("ray.io", "rayjobs"): {"get", "create", "delete"}, ("", "configmaps"): {"get"},
    }  # fmt: skip
    runs = next(r for r in rendered.all("ClusterRole") if r["metadata"]["name"] == "dataops-operator-runs")
    assert verbs(runs) == {("", "serviceaccounts/token"): {"create"}}, "without Vault there are no Secrets to make"
    bindings = [*rendered.all("ClusterRoleBinding"), *rendered.all("RoleBinding")]
    assert not {"dataops-operator-steps", "dataops-operator-runs"} & {one["roleRef"]["name"] for one in bindings}
    assert {"--steps-role=dataops-operator-steps", "--runs-role=dataops-operator-runs"} <= set(arguments(rendered))
    assert parse_arguments(["--lease-namespace=x", *arguments(rendered)]).step_objects.keys() == {
        (one["apiVersion"], one["kind"]) for one in OBJECTS
    }
    assert not [one for one in arguments(render()) if one.startswith("--step")]
    assert not [r for r in render().all("ClusterRole") if r["metadata"]["name"].endswith("-steps")]


def test_where_some_namespaces_are_watched_the_runner_has_its_rights_in_them(render: Render) -> None:
    rendered = render(stepObjects=OBJECTS, watch={"namespaces": ["team-a"]})
    role = next(r for r in rendered.all("Role") if r["metadata"]["name"] == "dataops-operator-steps")
    binding = next(r for r in rendered.all("RoleBinding") if r["metadata"]["name"] == "dataops-operator-steps")
    assert role["metadata"]["namespace"] == binding["metadata"]["namespace"] == "team-a"
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "dataops-runner", "namespace": "team-a"}]
    assert not [one for one in arguments(rendered) if one.startswith(("--steps-role", "--runs-role"))]


@pytest.mark.parametrize(
    ("api_version", "kind", "resource"),
    [
        ("v1", "Secret", "secrets"),
        ("v1", "ServiceAccount", "serviceaccounts"),
        ("rbac.authorization.k8s.io/v1", "Role", "roles"),
        ("dataops.dev/v1alpha1", "PipelineRun", "pipelineruns"),
        ("v1", "ServiceAccount", "serviceaccounts/token"),
        ("v1", "ConfigMap", "*"),
    ],
)
def test_some_kinds_can_never_be_listed(render: Render, api_version: str, kind: str, resource: str) -> None:
    with pytest.raises(RefusedError):
        render(stepObjects=[{"apiVersion": api_version, "kind": kind, "resource": resource}])


def test_records_of_what_runs_hold_stay_in_the_operators_own_namespace(render: Render) -> None:
    for role in roles(render(ci="vault")):
        held = verbs(role).get(("", "configmaps"), set())
        if held - {"get", "create"}:  # which the items of an Indexed Job need, in any namespace
            assert role["kind"] == "Role"
            assert role["metadata"]["namespace"] == "dataops-system"
    everywhere = {v for role in roles(render()) for g, r, v in grants(role) if (g, r) == ("", "configmaps")}
    assert everywhere == {"get", "create"}


def arguments(rendered: Rendered) -> list[str]:
    (container,) = rendered.one("Deployment")["spec"]["template"]["spec"]["containers"]
    return list(container["args"])


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
        assert verbs(role) == OPERATOR | {("", "namespaces"): {"get", "patch"}}
        assert [r["resourceNames"] for r in role["rules"] if r["resources"] == ["namespaces"]] == [[namespace]]
        assert binding["roleRef"]["name"] == role["metadata"]["name"]
        assert binding["subjects"] == [
            {"kind": "ServiceAccount", "name": account["name"], "namespace": account["namespace"]}
        ]


def test_named_namespaces_reach_the_operator_as_one_argument_and_no_other_is_made(render: Render) -> None:
    rendered = render(watch={"namespaces": ["analytics", "sales"]})
    assert {"--namespaces=analytics,sales", "--environment-namespaces="} <= set(arguments(rendered))


def test_the_whole_cluster_is_watched_when_no_namespace_is_named(render: Render) -> None:
    assert not [a for a in arguments(render()) if a.startswith("--namespaces")]
    assert "--environment-namespaces={project}-*" in arguments(render())


def test_with_named_namespaces_the_rights_for_secrets_are_given_in_each_of_them(render: Render) -> None:
    """Nobody could bind a ClusterRole there, and who named the namespaces has opted in for them."""
    rendered = render(ci="ha-namespaced", rbac={"userRoles": {"create": False}})
    assert rendered.all("ClusterRole") == []
    assert not [a for a in arguments(rendered) if a.startswith("--runs-role")]
    for namespace in ("analytics", "analytics-prod"):
        role = next(r for r in rendered.all("Role", "rbac") if r["metadata"]["namespace"] == namespace)
        assert verbs(role)["", "serviceaccounts/token"] == {"create"}
        assert verbs(role)["", "secrets"] == {"create", "delete"}


def test_the_lease_is_bound_to_its_name_and_to_the_operators_own_namespace(render: Render) -> None:
    rendered = render()
    role = next(r for r in rendered.all("Role", "rbac"))
    args = arguments(rendered)
    named = [r for r in role["rules"] if r["verbs"] != ["create"]]
    assert role["metadata"]["namespace"] == "dataops-system"
    assert {verb for _, _, verb in grants(role)} == {"get", "create", "update"}
    assert [f"--lease-name={name}" for r in named for name in r["resourceNames"]] == [
        a for a in args if a.startswith("--lease-name=")
    ]
    assert "--lease-namespace=dataops-system" in args


def test_each_role_adds_to_reading_what_its_name_says(render: Render) -> None:
    by_name = {r["metadata"]["name"]: r for r in render().all("ClusterRole", "user-roles")}
    found = {
        name: {(resource, verb) for _, resource, verb in grants(role) if "/" not in resource}
        for name, role in by_name.items()
    }
    kinds = ("environments", "steptemplates", "pipelines", "pipelineruns", "promotions")
    read = {(kind, verb) for kind in kinds for verb in READ}
    writing = {"create", "update", "patch", "delete", "deletecollection"}
    assert found == {
        "dataops-view": read,
        "dataops-run": read | {("pipelineruns", verb) for verb in writing - {"deletecollection"}},
        "dataops-promote": read | {("promotions", "create"), ("promotions", "delete")},
        "dataops-edit": read | {(kind, verb) for kind in kinds[1:] for verb in writing},
        "dataops-environments": read | {("environments", verb) for verb in writing - {"deletecollection"}},
    }
    for role in by_name.values():
        assert {group for group, _, _ in grants(role)} == {"dataops.dev"}
        status = {verb for _, resource, verb in grants(role) if resource.endswith("/status")}
        assert status <= READ, "only the operator writes a status"


def test_only_view_and_edit_reach_the_holders_of_kubernetes_own_roles(render: Render) -> None:
    prefix = "rbac.authorization.k8s.io/aggregate-to-"
    found = {
        role["metadata"]["name"]: {
            label.removeprefix(prefix) for label in role["metadata"]["labels"] if label.startswith(prefix)
        }
        for role in render().all("ClusterRole", "user-roles")
    }
    assert {name: labels for name, labels in found.items() if labels} == {
        "dataops-view": {"view"},
        "dataops-edit": {"edit", "admin"},
    }


def test_no_roles_at_all_where_an_administrator_brings_them(render: Render) -> None:
    rendered = render(ci="minimal")
    assert roles(rendered) == rendered.all("Role", "test")
    assert rendered.all("ServiceAccount", "rbac") == []
    assert rendered.one("Deployment")["spec"]["template"]["spec"]["serviceAccountName"] == "dataops"


def test_the_account_gives_its_token_to_the_operators_pod_alone(render: Render) -> None:
    rendered = render()
    assert rendered.one("ServiceAccount", "rbac")["automountServiceAccountToken"] is False
    assert rendered.one("Deployment")["spec"]["template"]["spec"]["automountServiceAccountToken"] is True
