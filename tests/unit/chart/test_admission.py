"""The API server's policies: which are made, for which server, and for which requests."""

from __future__ import annotations

import pytest
from tests.unit.chart.rendering import Render, Rendered, template

MUTATING = "MutatingAdmissionPolicy"
VALIDATING = "ValidatingAdmissionPolicy"

LEAN = {"dataops-operator-lean", "dataops-operator-lean-runs"}
IDENTITY = {f"dataops-operator-{one}" for one in ("identity", "approvals")}
ALL = IDENTITY | {f"dataops-operator-{one}" for one in ("guard", "nested", "children")}


def names(rendered: Rendered, kind: str) -> set[str]:
    return {o["metadata"]["name"] for o in rendered.all(kind)}


@pytest.mark.parametrize(
    ("server", "more", "version"),
    [
        ("1.34.0", (), None),
        ("1.35.2", (), None),
        ("1.34.0", ("admissionregistration.k8s.io/v1beta1/MutatingAdmissionPolicy",), "v1beta1"),
        ("1.36.0", (), "v1"),
        ("1.37.2", (), "v1"),
    ],
)
def test_the_mutating_policy_is_of_the_version_that_the_server_has(
    server: str, more: tuple[str, ...], version: str | None
) -> None:
    rendered = Rendered(
        template("{}", "dataops-operator", (f"--kube-version={server}", *(f"--api-versions={v}" for v in more)))
    )
    made = [*rendered.all(MUTATING), *rendered.all(f"{MUTATING}Binding")]
    assert {o["apiVersion"] for o in made} == ({f"admissionregistration.k8s.io/{version}"} if version else set())
    assert len(made) == (8 if version else 0)
    assert names(rendered, VALIDATING) == ALL


def test_every_policy_is_bound_and_denies(render: Render) -> None:
    rendered = render(ci="vault")
    for kind in (MUTATING, VALIDATING):
        assert {o["spec"]["policyName"] for o in rendered.all(f"{kind}Binding")} == names(rendered, kind) != set()
    assert {tuple(o["spec"]["validationActions"]) for o in rendered.all(f"{VALIDATING}Binding")} == {("Deny",)}
    for policy in [*rendered.all(MUTATING), *rendered.all(VALIDATING)]:
        ours = policy["metadata"]["name"] not in LEAN | {"dataops-operator-children"}
        assert policy["spec"]["failurePolicy"] == ("Fail" if ours else "Ignore")


def test_requests_on_kubernetes_own_kinds_are_looked_at_only_when_they_are_the_operators(render: Render) -> None:
    """A policy of ours that cannot be evaluated must never keep others from their Secrets, namespaces or Jobs."""
    rendered = render(ci="vault")
    for policy in [*rendered.all(MUTATING), *rendered.all(VALIDATING)]:
        rules = policy["spec"]["matchConstraints"]["resourceRules"]
        foreign = {group for rule in rules for group in rule["apiGroups"]} != {"dataops.dev"}
        if foreign and policy["spec"]["failurePolicy"] == "Fail":
            (condition,) = policy["spec"]["matchConditions"]
            assert condition["expression"] == (
                "request.userInfo.username == 'system:serviceaccount:dataops-system:dataops-operator'"
            )


def test_the_guard_knows_the_account_by_the_name_that_it_was_given(render: Render) -> None:
    rendered = render(serviceAccount={"name": "keeper"})
    guard = next(o for o in rendered.all(VALIDATING) if o["metadata"]["name"].endswith("-guard"))
    assert "'system:serviceaccount:dataops-system:keeper'" in guard["spec"]["matchConditions"][0]["expression"]


def test_the_guard_lets_the_operator_bind_what_rbac_lets_it_bind(render: Render) -> None:
    rendered = render(ci="vault")
    guard = next(o for o in rendered.all(VALIDATING) if o["metadata"]["name"].endswith("-guard"))
    said = "\n".join(v["expression"] for v in guard["spec"]["validations"])
    bind = [r for o in rendered.all("ClusterRole") for r in o["rules"] if r["verbs"] == ["bind"]]
    assert "[" + ", ".join(f"'{name}'" for name in bind[0]["resourceNames"]) + "]" in said


def test_a_release_for_some_namespaces_judges_nobody_elsewhere(render: Render) -> None:
    rendered = render(watch={"namespaces": ["a", "b"]})
    for binding in [*rendered.all(f"{MUTATING}Binding"), *rendered.all(f"{VALIDATING}Binding")]:
        if not binding["metadata"]["name"].endswith("-guard"):
            (wanted,) = binding["spec"]["matchResources"]["namespaceSelector"]["matchExpressions"]
            assert wanted == {"key": "kubernetes.io/metadata.name", "operator": "In", "values": ["a", "b"]}


@pytest.mark.parametrize(
    ("values", "validating", "mutating"),
    [
        ({"identity": False}, ALL - IDENTITY, LEAN),
        ({"guard": False}, IDENTITY, IDENTITY | LEAN),
        ({"lean": False}, ALL, IDENTITY),
        ({"mutating": "None"}, ALL, set()),
        ({"identity": False, "guard": False, "lean": False}, set(), set()),
    ],
)
def test_each_policy_can_be_left_out(
    render: Render, values: dict[str, object], validating: set[str], mutating: set[str]
) -> None:
    rendered = render(admission=values)
    assert names(rendered, VALIDATING) == validating
    assert names(rendered, MUTATING) == mutating
