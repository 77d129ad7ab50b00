"""What holds in an environment, what a branch has from the one it branched off, and what is refused with its cure."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.core.environments import (
    LAKE,
    LOGIN,
    SCRATCH,
    VAULT,
    WAREHOUSE,
    Object,
    an_environment,
    in_effect,
    told,
)

from dataops_operator.api.conditions import Reason
from dataops_operator.core.environment import effective, execution_namespace
from dataops_operator.core.environment_rules import reason_of


@pytest.mark.parametrize(
    ("spec", "namespace"),
    [
        ({}, "analytics"),
        ({"namespace": "analytics-prod"}, "analytics-prod"),
        ({"from_": "staging"}, "analytics-prod"),
        ({"from_": "staging", "namespace": "analytics-x"}, "analytics-x"),
    ],
)
def test_the_execution_namespace_is_the_projects_own_unless_said_or_a_branch(
    spec: dict[str, Any], namespace: str
) -> None:
    assert execution_namespace(an_environment(**spec)) == namespace


RUN = "$(run.name)"


def with_login(field: str, **vault: Any) -> dict[str, Any]:
    """A target with a login of its own."""
    return {**WAREHOUSE, "postgres": {**WAREHOUSE["postgres"], field: {"vault": vault}}}


WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({"parameters": [{"name": "a"}, {"name": "a"}]}, "spec.parameters[1].name", "names are unique"),
    ({"targets": [LAKE, {**LAKE}]}, "spec.targets[1]", "two targets called 'lake'"),
    ({"targets": [{"name": "x"}]}, "spec.targets[0]", "exactly one of postgres, s3, volume and duckdb"),
    ({"targets": [{"name": "x", "volume": {}}]}, "spec.targets[0].volume", "exactly one of size"),
    ({"targets": [{"name": "x", "volume": {"size": "0Gi"}}]}, "spec.targets[0].volume.size", "holds nothing"),
    (
        {"targets": [{"name": "x", "duckdb": {"claim": "c", "storageClass": "fast"}}]},
        "spec.targets[0].duckdb.claim",
        "give size",
    ),
    ({"ttl": "0s"}, "spec.ttl", "would delete the environment at once"),
    ({"ttl": "0h0m"}, "spec.ttl", "would delete the environment at once"),
    ({"ttl": "9999d"}, "spec.ttl", "longer than 366d"),
    ({"branch": "b"}, "spec.branch", "needs spec.from"),
    ({"dataMode": "Copy"}, "spec.dataMode", "needs spec.from"),
    ({"restricted": True, "vault": VAULT}, "spec.vault", "set vault.delivery to Pod"),
    ({"targets": [{**WAREHOUSE, "postgres": {**WAREHOUSE["postgres"], "credentials": LOGIN}}]}, "spec.vault", "role"),
    (
        {"vault": VAULT, "targets": [with_login("credentials", path="secret/data/$(params.x)")]},
        "spec.targets[0].postgres.credentials.vault.path",
        "only $(env.params.<name>) may stand in a path",
    ),
    (
        {"vault": VAULT, "targets": [with_login("readCredentials", path="sys/seal")]},
        "spec.targets[0].postgres.readCredentials.vault.path",
        "name a secrets engine's path",
    ),
    (
        {"vault": VAULT, "targets": [with_login("branchCredentials", path="a/b", data=[{"name": "c", "value": RUN}])]},
        "spec.targets[0].postgres.branchCredentials.vault.data[0].value",
        "$(run.name): only env may stand here",
    ),
    ({"quota": {"hard": {"requests.cpu": "many"}}}, "spec.quota.hard[requests.cpu]", "not a quantity"),
    ({"quota": {"hard": {"pods": "0"}}}, "spec.quota.hard[pods]", "at least 1"),
    ({"quota": {"hard": {"count/jobs.batch": 0}}}, "spec.quota.hard[count/jobs.batch]", "at least 1"),
    ({"quota": {"hard": {"requests.cpu": "1m"}}}, "spec.quota.hard[requests.cpu]", "give at least 10m"),
    ({"quota": {"hard": {"limits.memory": "1Mi"}}}, "spec.quota.hard[limits.memory]", "give at least 16Mi"),
    (
        {
            "quota": {"hard": {"requests.memory": "1Gi"}},
            "podDefaults": {"resources": {"requests": {"memory": "2Gi"}}},
        },
        "spec.quota.hard[requests.memory]",
        "spec.podDefaults.resources gives each step 2Gi",
    ),
    (
        {"quota": {"hard": {"cpu": "1"}}, "podDefaults": {"resources": {"limits": {"cpu": 2}}}},
        "spec.quota.hard[cpu]",
        "gives each step 2 cpu",
    ),
    (
        {"quota": {"hard": {"requests.storage": "4Gi"}}, "targets": [SCRATCH]},
        "spec.quota.hard[requests.storage]",
        "scratch 5Gi",
    ),
    (
        {"quota": {"hard": {"persistentvolumeclaims": 0}}, "targets": [SCRATCH]},
        "spec.quota.hard[persistentvolumeclaims]",
        "give 1",
    ),
    (
        {"network": {"egress": [{"to": [{"ipBlock": {"cidr": "10.0.0.0/33"}}]}]}},
        "spec.network.egress[0].to[0].ipBlock.cidr",
        "10.0.0.0/8",
    ),
    (
        {"network": {"egress": [{"to": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["11.0.0.0/16"]}}]}]}},
        "spec.network.egress[0].to[0].ipBlock.except[0]",
        "inside 10.0.0.0/8",
    ),
    (
        {"network": {"egress": [{"to": [{}]}]}},
        "spec.network.egress[0].to[0]",
        "either ipBlock, or namespaceSelector and podSelector",
    ),
    (
        {"network": {"egress": [{"to": [{"podSelector": {"matchLabels": {"app": "a b"}}}]}]}},
        "spec.network.egress[0].to[0].podSelector.matchLabels.app",
        "not the value of a label",
    ),
    (
        {"podDefaults": {"nodeSelector": {"/disk": "ssd"}}},
        "spec.podDefaults.nodeSelector",
        "not the key of a label",
    ),
    ({"podDefaults": {"tolerations": [{"effect": "NoSchedule"}]}}, "spec.podDefaults.tolerations[0].key", "Exists"),
    (
        {"access": [{"role": "View", "subjects": [{"kind": "User", "name": "jane", "namespace": "x"}]}]},
        "spec.access[0].subjects[0].namespace",
        "a User has no namespace",
    ),
]


@pytest.mark.parametrize(("spec", "path", "cure"), WRONG)
def test_what_is_wrong_is_told_with_its_place_and_its_cure(spec: dict[str, Any], path: str, cure: str) -> None:
    found = told(an_environment(**spec))
    assert list(found) == [path]
    assert cure in found[path]


@pytest.mark.parametrize(
    "spec",
    [
        {},
        {"quota": {"hard": {"requests.cpu": "10m", "limits.memory": "16Mi", "pods": 1, "secrets": 0}}},
        {"quota": {"hard": {"requests.storage": "5Gi", "persistentvolumeclaims": 1}}, "targets": [SCRATCH]},
        {"quota": {"hard": {"cpu": 2}}, "podDefaults": {"resources": {"limits": {"cpu": "2"}}}},
        {"ttl": "1m", "network": {"egress": [{"ports": [{"port": 443}]}]}},
        {"network": {"egress": [{"to": [{"ipBlock": {"cidr": "2001:db8::/32", "except": ["2001:db8:1::/48"]}}]}]}},
        {"restricted": True, "vault": {**VAULT, "delivery": "Pod"}},
    ],
)
def test_what_is_at_the_edge_is_taken(spec: dict[str, Any]) -> None:
    assert told(an_environment(**spec)) == {}


def test_a_quota_below_one_pod_has_a_reason_of_its_own() -> None:
    _, problems = effective(an_environment(quota={"hard": {"pods": 0}}), None)
    assert reason_of(problems) is Reason.QUOTA_TOO_SMALL
    _, problems = effective(an_environment(ttl="0s"), None)
    assert reason_of(problems) is Reason.INVALID


# Branches.

PARENT = an_environment(
    "prod",
    parameters=[{"name": "threads", "value": "8"}, {"name": "key", "value": "k", "masked": True}],
    vault=VAULT,
    images={"allowedRegistries": ["ghcr.io/acme", "docker.io"], "requireDigest": True},
    quota={"runs": 20, "jobs": 100, "hard": {"requests.cpu": "32"}},
    podDefaults={"nodeSelector": {"disk": "ssd"}, "resources": {"requests": {"cpu": "1"}}},
    access=[{"role": "View", "subjects": [{"kind": "Group", "name": "analysts"}]}],
    freeze=True,
)


def test_a_branch_is_filled_up_from_its_parent() -> None:
    own = an_environment(
        "feature-x",
        from_="prod",
        branch="x",
        parameters=[{"name": "threads", "value": "2"}, {"name": "key", "value": "mine"}],
        quota={"runs": 2},
        podDefaults={"nodeSelector": {"disk": "hdd"}},
    )
    found = in_effect(own, PARENT)
    assert found.execution == "analytics-feature-x"
    parameters = found.parameters
    assert (parameters["threads"].value, parameters["key"].value) == ("2", "mine")
    assert parameters["key"].masked, "what the parent hides stays hidden"
    spec = found.spec
    assert spec.vault is not None
    assert spec.vault.role == "analytics"
    assert spec.quota is not None
    assert (spec.quota.runs, spec.quota.jobs, spec.quota.hard) == (2, 100, {"requests.cpu": "32"})
    assert spec.pod_defaults is not None
    assert spec.pod_defaults.node_selector == {"disk": "hdd"}
    assert spec.pod_defaults.resources is not None
    assert spec.images is not None
    assert spec.images.require_digest
    assert [one.role for one in spec.access or ()] == ["View"]
    assert not spec.freeze, "that prod is frozen does not stop work on a branch"


@pytest.mark.parametrize(
    ("registries", "path"),
    [
        (["ghcr.io/acme/flights"], None),
        (["library"], None),
        (["ghcr.io/acme-evil"], "spec.images.allowedRegistries[0]"),
        (["ghcr.io/acme", "ghcr.io"], "spec.images.allowedRegistries[1]"),
    ],
)
def test_a_branch_may_tighten_the_image_policy_and_never_loosen_it(registries: list[str], path: str | None) -> None:
    own = an_environment("x", from_="prod", images={"allowedRegistries": registries, "requireDigest": False})
    if path is not None:
        assert list(told(own, PARENT)) == [path]
        return
    images = in_effect(own, PARENT).spec.images
    assert images is not None
    assert (images.allowed_registries, images.require_digest) == (registries, True)


@pytest.mark.parametrize(
    ("own", "parent", "path"),
    [
        ({"taints": ["gpu"]}, {"taints": ["gpu", "spot"]}, None),
        (None, {"taints": ["gpu"]}, None),
        ({"taints": ["spot", "gpu"]}, {"taints": ["spot"]}, "spec.podPolicy.taints[1]"),
        ({"priorityClasses": ["batch"]}, {"taints": ["spot"]}, "spec.podPolicy.priorityClasses[0]"),
        ({"labels": ["team"]}, None, "spec.podPolicy.labels[0]"),
    ],
)
def test_a_branch_may_tighten_the_pod_policy_and_never_loosen_it(
    own: Object | None, parent: Object | None, path: str | None
) -> None:
    branch = an_environment("x", from_="prod", **({"podPolicy": own} if own is not None else {}))
    prod = an_environment("prod", **({"podPolicy": parent} if parent is not None else {}))
    if path is not None:
        assert list(told(branch, prod)) == [path]
        return
    policy = in_effect(branch, prod).spec.pod_policy
    assert policy is not None
    assert policy.model_dump(by_alias=True, exclude_none=True) == (own or parent)


@pytest.mark.parametrize(
    ("policy", "path"),
    [
        ({"labels": ["team", "dataops.dev/run-uid"]}, "spec.podPolicy.labels[1]"),
        ({"annotations": ["seccomp.security.alpha.kubernetes.io/pod"]}, "spec.podPolicy.annotations[0]"),
        ({"priorityClasses": ["system-node-critical"]}, "spec.podPolicy.priorityClasses[0]"),
    ],
)
def test_what_is_the_clusters_own_no_environment_can_list(policy: Object, path: str) -> None:
    assert list(told(an_environment(podPolicy=policy))) == [path]


def test_a_branch_of_a_restricted_environment_is_restricted() -> None:
    parent = an_environment("prod", restricted=True, vault={**VAULT, "delivery": "Pod"})
    assert in_effect(an_environment("x", from_="prod"), parent).spec.restricted
    found = told(an_environment("x", from_="prod", vault={"role": "other"}), parent)
    assert list(found) == ["spec.vault.delivery"]
    assert list(told(an_environment("x", from_="prod", podSecurity="baseline"), parent)) == ["spec.podSecurity"]


@pytest.mark.parametrize(
    ("own", "parent", "message"),
    [
        pytest.param({"from_": "prod"}, None, "no environment 'prod' in this namespace; create it", id="unknown"),
        pytest.param({"from_": "x"}, None, "cannot branch off itself", id="itself"),
        pytest.param(
            {"from_": "prod"}, an_environment("prod", from_="main"), "branch off 'main' instead", id="of a branch"
        ),
        pytest.param({"from_": "prod"}, an_environment("prod", ttl="0s"), "is not valid: spec.ttl", id="invalid"),
    ],
)
def test_what_cannot_be_branched_off_is_told(own: dict[str, Any], parent: dict[str, Any] | None, message: str) -> None:
    found = told(an_environment("x", **own), parent)
    assert list(found) == ["spec.from"]
    assert message in found["spec.from"]


def test_two_that_branch_off_each_other_are_both_refused() -> None:
    one, other = an_environment("a", from_="b"), an_environment("b", from_="a")
    assert list(told(one, other)) == list(told(other, one)) == ["spec.from"]


def test_a_name_too_long_for_a_namespace_is_told() -> None:
    own = an_environment("x" * 40, from_="prod")
    own["metadata"]["namespace"] = "p" * 40
    assert "has 81 characters" in told(own, an_environment("prod"))["spec.namespace"]
    assert told(own | {"spec": {**own["spec"], "namespace": "short"}}, an_environment("prod")) == {}


def test_the_content_of_a_run_is_the_same_whatever_bounds_the_environment() -> None:
    one = in_effect(an_environment(parameters=[{"name": "a", "value": 1}]))
    bounded = an_environment(parameters=[{"name": "a", "value": 1}], freeze=True, quota={"runs": 1}, ttl="3d")
    assert in_effect(bounded).revision == one.revision
    assert in_effect(an_environment(parameters=[{"name": "a", "value": 2}])).revision != one.revision
