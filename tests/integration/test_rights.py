"""Who may do what, asked of a real API server as `kubectl auth can-i` asks it."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from tests.harness.chart import ACCOUNT, eventually
from tests.integration.rights import OTHER, PROJECT, Site, a_plane, a_site, give

from chartcheck import NAMESPACE
from localcluster import binaries
from localcluster.controlplane import ControlPlane

pytestmark = pytest.mark.asyncio(loop_scope="module")

VERBS = ("get", "list", "watch", "create", "update", "patch", "delete", "deletecollection")
READ = "get list watch"
ALL = " ".join(VERBS)
OUR_KINDS = ("environments", "steptemplates", "pipelines", "pipelineruns", "promotions")
DELICATE = (
    "secrets",
    "serviceaccounts",
    "serviceaccounts/token",
    "configmaps",
    "pods",
    "pods/exec",
    "pods/log",
    "pods/attach",
    "pods/ephemeralcontainers",
    "jobs.batch",
    "controllerrevisions.apps",
    "persistentvolumeclaims",
    "resourcequotas",
    "limitranges",
    "networkpolicies.networking.k8s.io",
    "rolebindings.rbac.authorization.k8s.io",
    "roles.rbac.authorization.k8s.io",
    "clusterroles.rbac.authorization.k8s.io",
    "clusterrolebindings.rbac.authorization.k8s.io",
    "namespaces",
    "nodes",
    "customresourcedefinitions.apiextensions.k8s.io",
    "validatingadmissionpolicies.admissionregistration.k8s.io",
    "mutatingwebhookconfigurations.admissionregistration.k8s.io",
)
RESOURCES = (
    *(f"{kind}.dataops.dev" for kind in OUR_KINDS),
    *(f"{kind}/status.dataops.dev" for kind in OUR_KINDS),
    *(f"{kind}/finalizers.dataops.dev" for kind in OUR_KINDS),
    *DELICATE,
)

READS = {f"{kind}.dataops.dev": READ for kind in OUR_KINDS} | {
    f"{kind}/status.dataops.dev": "get" for kind in OUR_KINDS if kind != "promotions"
}
EDITS = READS | {f"{kind}.dataops.dev": ALL for kind in OUR_KINDS[1:]}
MAY: dict[str, dict[str, str]] = {
    "viewer": READS,
    "runner": READS | {"pipelineruns.dataops.dev": f"{READ} create update patch delete"},
    "promoter": READS | {"promotions.dataops.dev": f"{READ} create delete"},
    "editor": EDITS,
    "keeper": READS | {"environments.dataops.dev": f"{READ} create update patch delete"},
}
"""What a user may do in the project's namespace; everything else is denied, and everything in another namespace."""

MADE = f"{READ} create patch delete"
RECORDS = "get list create patch delete"
OPERATOR: dict[str, str] = {
    "environments.dataops.dev": f"{READ} patch delete",
    "steptemplates.dataops.dev": READ,
    "pipelines.dataops.dev": READ,
    "pipelineruns.dataops.dev": f"{READ} create patch delete",
    "environments/status.dataops.dev": "patch",
    "steptemplates/status.dataops.dev": "patch",
    "pipelines/status.dataops.dev": "patch",
    "pipelineruns/status.dataops.dev": "patch",
    "jobs.batch": f"{READ} create delete",
    "pods": "list watch patch delete",
    "controllerrevisions.apps": "get list create patch delete",
    "serviceaccounts": MADE,
    "persistentvolumeclaims": MADE,
    "configmaps": "get create",
    "resourcequotas": MADE,
    "limitranges": MADE,
    "networkpolicies.networking.k8s.io": MADE,
    "rolebindings.rbac.authorization.k8s.io": MADE,
    "namespaces": f"{READ} create patch delete",
}
"""What the operator may do in any namespace that is no execution namespace with Vault."""


@pytest.fixture(scope="module")
def plane() -> Iterator[ControlPlane]:
    with a_plane("rights") as made:
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(plane: ControlPlane) -> AsyncIterator[Site]:
    values = {"vault": {"servers": [{"name": "default", "address": "https://vault.example:8200"}]}}
    async with a_site(plane, values) as made:
        # Kubernetes' own roles take ours in by a controller, and its own authorizer hears of roles by a watch.
        await eventually(lambda: may(made, "kubernetes-viewer", "get", "environments.dataops.dev"), bool)
        await eventually(lambda: may(made, "kubernetes-admin", "create", "pipelines.dataops.dev"), bool)
        yield made


async def may(site: Site, user: str, verb: str, resource: str, namespace: str | None = PROJECT, name: str = "") -> bool:
    """Whether the API server would let somebody do something; `resource` is `plural[/subresource].group`."""
    plural, _, group = resource.partition(".")
    plural, _, subresource = plural.partition("/")
    asked = {"verb": verb, "group": group, "resource": plural, "subresource": subresource, "name": name}
    body = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": asked | ({"namespace": namespace} if namespace else {})},
    }
    async with site.as_user(user) as api:
        answer = await api.request("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", body)
    return bool(answer["status"]["allowed"])


async def allowed(site: Site, user: str, namespace: str | None = PROJECT) -> set[str]:
    """Everything of the table that somebody may do, as `verb resource`."""
    asked = [(verb, resource) for resource in RESOURCES for verb in VERBS]
    answers = await asyncio.gather(*(may(site, user, verb, resource, namespace) for verb, resource in asked))
    return {f"{verb} {resource}" for (verb, resource), yes in zip(asked, answers, strict=True) if yes}


def expected(table: dict[str, str]) -> set[str]:
    return {f"{verb} {resource}" for resource, verbs in table.items() for verb in verbs.split()}


@pytest.mark.parametrize("user", MAY)
async def test_a_user_may_do_what_the_role_says_in_its_namespace_and_nothing_else_anywhere(
    site: Site, user: str
) -> None:
    assert await allowed(site, user) == expected(MAY[user])
    assert await allowed(site, user, OTHER) == set()
    assert await allowed(site, user, None) == set()


async def test_somebody_without_a_role_may_do_nothing(site: Site) -> None:
    assert await allowed(site, "stranger") == set()


@pytest.mark.parametrize(
    ("user", "ours"), [("kubernetes-viewer", READS), ("kubernetes-editor", EDITS), ("kubernetes-admin", EDITS)]
)
async def test_kubernetes_own_roles_take_in_reading_and_editing_and_never_environments(
    site: Site, user: str, ours: dict[str, str]
) -> None:
    found = {one for one in await allowed(site, user) if one.endswith(".dataops.dev")}
    assert found == expected(ours)


async def test_the_operator_may_do_this_and_nothing_else(site: Site) -> None:
    assert await allowed(site, ACCOUNT) == expected(OPERATOR)
    at_home = await allowed(site, ACCOUNT, NAMESPACE)
    assert at_home == expected(OPERATOR | {"configmaps": RECORDS}), "records of what runs hold in Vault"


async def test_tokens_and_secrets_come_with_an_environment_and_are_the_runners_alone(site: Site) -> None:
    async def tokens(name: str, namespace: str = PROJECT) -> bool:
        return await may(site, ACCOUNT, "create", "serviceaccounts/token", namespace, name)

    assert not await tokens("dataops-runner")
    await give(site.api, PROJECT, ACCOUNT, "dataops-operator-runs")
    await eventually(lambda: tokens("dataops-runner"), bool)
    assert not await tokens("default")
    assert not await tokens("")
    assert not await tokens("dataops-runner", OTHER)
    found = await allowed(site, ACCOUNT) - expected(OPERATOR)
    assert found == {"create secrets", "delete secrets"}, "and no Secret is ever read"


async def test_the_operator_may_bind_the_charts_roles_for_namespaces_and_no_other(site: Site) -> None:
    roles = "clusterroles.rbac.authorization.k8s.io"

    async def bind(name: str) -> bool:
        return await may(site, ACCOUNT, "bind", roles, PROJECT, name)

    for name in ("dataops-view", "dataops-run", "dataops-promote", "dataops-edit", "dataops-operator-runs"):
        assert await bind(name), name
    for name in ("dataops-environments", "dataops-operator", "cluster-admin", "admin", "edit", "view", ""):
        assert not await bind(name), name
    for verb in ("escalate", "impersonate"):
        assert not await may(site, ACCOUNT, verb, roles, PROJECT)
    assert not await may(site, ACCOUNT, "impersonate", "users", None)


@pytest.mark.parametrize(
    ("user", "question", "answer"),
    [
        ("viewer", "create pipelineruns", "no"),
        ("runner", "create pipelineruns", "yes"),
        ("promoter", "create pipelineruns", "no"),
        ("editor", "update pipelines", "yes"),
        ("editor", "create environments", "no"),
        ("keeper", "create environments", "yes"),
        (ACCOUNT, "list secrets", "no"),
    ],
)
async def test_kubectl_auth_can_i_says_the_same(site: Site, user: str, question: str, answer: str) -> None:
    kubectl = str(binaries.ensure("kubernetes") / "kubectl")
    command = [kubectl, f"--kubeconfig={site.plane.kubeconfig}", "auth", "can-i", *question.split()]
    command += [f"--namespace={PROJECT}", f"--as={user}"]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == answer, done.stderr
