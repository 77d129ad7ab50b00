"""What the chart gives a cluster beside its Deployment: accounts, rights, policies, put into a real API server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import orjson
import yaml
from tests.harness.api import Api, ApiError, Object
from tests.harness.kinds import BINDINGS, JOBS, NAMESPACES, RUN_UID, SERVICE_ACCOUNTS, Kind
from tests.harness.vaultadmin import token_of

from chartcheck import CHART, NAMESPACE, helm
from localcluster import binaries
from localcluster.controlplane import ControlPlane

FULLNAME = "dataops-operator"
ACCOUNT = f"system:serviceaccount:{NAMESPACE}:{FULLNAME}"
"""What the API server calls the operator."""

RBAC, ADMISSION = "rbac.authorization.k8s.io/v1", "admissionregistration.k8s.io/v1"
ROLES = Kind("Role", RBAC, "roles")
CLUSTER_ROLES = Kind("ClusterRole", RBAC, "clusterroles", namespaced=False)
CLUSTER_BINDINGS = Kind("ClusterRoleBinding", RBAC, "clusterrolebindings", namespaced=False)
MUTATING = Kind("MutatingAdmissionPolicy", ADMISSION, "mutatingadmissionpolicies", namespaced=False)
VALIDATING = Kind("ValidatingAdmissionPolicy", ADMISSION, "validatingadmissionpolicies", namespaced=False)
MUTATING_BINDINGS = Kind(f"{MUTATING.name}Binding", ADMISSION, "mutatingadmissionpolicybindings", namespaced=False)

POLICIES: Sequence[Kind] = (
    MUTATING,
    MUTATING_BINDINGS,
    VALIDATING,
    Kind(f"{VALIDATING.name}Binding", ADMISSION, "validatingadmissionpolicybindings", namespaced=False),
)
INSTALLED: Sequence[Kind] = (SERVICE_ACCOUNTS, ROLES, BINDINGS, CLUSTER_ROLES, CLUSTER_BINDINGS, *POLICIES)
"""Kinds that decide about rights; the rest of the chart is a Deployment and what belongs to it."""


async def render(values: Object, namespace: str = NAMESPACE) -> list[Object]:
    """Every object of the chart with these values, as for the API server of the tests.

    Args:
        values: of the chart.
        namespace: of the release.

    Raises:
        AssertionError: Helm refused it.
    """
    command = [str(helm()), "template", FULLNAME, str(CHART), f"--namespace={namespace}", "--values=-", "--no-hooks"]
    command.append(f"--kube-version={binaries.KUBERNETES_VERSION}")
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, stderr=pipe)
    out, said = await process.communicate(yaml.safe_dump(values).encode())
    assert process.returncode == 0, said.decode()
    return [one for one in yaml.safe_load_all(out) if one]


async def install_rights(api: Api, values: Object | None = None) -> list[Object]:
    """Make the chart's namespace, its account, roles and policies; returns them once the policies are in force."""
    made = [one for one in await render(values or {}) if one["kind"] in {kind.name for kind in INSTALLED}]
    if await api.find(NAMESPACES, None, NAMESPACE) is None:
        await api.create(NAMESPACES, None, {"metadata": {"name": NAMESPACE}})
    for body in made:
        kind = next(one for one in INSTALLED if one.name == body["kind"])
        await api.create(kind, body["metadata"].get("namespace"), body)
    return made


async def install_policies(plane: ControlPlane, api: Api, namespace: str) -> None:
    """Have the chart's policies in force, and the operator's account in a namespace that is there, with every right.

    For who asks what they cost, not what they allow.
    """
    for body in await render({}, namespace):
        for kind in POLICIES:
            if kind.name == body["kind"]:
                await api.create(kind, None, body)
    await api.create(SERVICE_ACCOUNTS, namespace, {"metadata": {"name": FULLNAME}})
    role = {"apiGroup": RBAC.partition("/")[0], "kind": "ClusterRole", "name": "cluster-admin"}
    subject = {"kind": "ServiceAccount", "name": FULLNAME, "namespace": namespace}
    await api.create(CLUSTER_BINDINGS, None, {"metadata": {"name": FULLNAME}, "roleRef": role, "subjects": [subject]})
    await eventually(lambda: _a_job(plane, namespace), _untracked)


async def _a_job(plane: ControlPlane, namespace: str) -> Object:
    """A Job of a run, as the API server would make it for the operator."""
    labels = {RUN_UID: "none", "app.kubernetes.io/managed-by": FULLNAME}
    pod = {"restartPolicy": "Never", "containers": [{"name": "a", "image": "example.test/step:1"}]}
    job: Object = {"apiVersion": JOBS.group_version, "kind": JOBS.name, "spec": {"template": {"spec": pod}}}
    job["metadata"] = {"name": "none", "labels": labels}
    user = f"system:serviceaccount:{namespace}:{FULLNAME}"
    async with Api(plane.server, plane.token, plane.ca, user=user) as operator:
        return await operator.request("POST", JOBS.path(namespace), job, {"dryRun": "All"})


def _untracked(answer: Any) -> bool:
    return isinstance(answer, dict) and "managedFields" not in answer["metadata"]


async def login(plane: ControlPlane, api: Api, path: Path, namespace: str = NAMESPACE) -> str:
    """Write a kubeconfig with a token of the chart's ServiceAccount, as its pod has one; the token.

    Args:
        plane: the control plane.
        api: an administrator's session.
        path: of the kubeconfig.
        namespace: of the release.
    """
    token = await token_of(api, namespace, FULLNAME, audience=None, seconds=7200)
    server = {"server": plane.server, "certificate-authority": str(plane.ca)}
    whole = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "own",
        "clusters": [{"name": "own", "cluster": server}],
        "users": [{"name": "own", "user": {"token": token}}],
        "contexts": [{"name": "own", "context": {"cluster": "own", "user": "own"}}],
    }
    await asyncio.to_thread(path.write_bytes, orjson.dumps(whole))
    return token


async def eventually(attempt: Callable[[], Awaitable[Any]], true: Callable[[Any], bool], within: float = 30) -> Any:
    """Do something again and again until what comes of it is as it should be; a refusal counts as an answer.

    A policy is in force on an API server some hundred milliseconds after it was written.

    Raises:
        AssertionError: it never was; the message has the last answer.
    """
    deadline = time.monotonic() + within
    while True:
        try:
            answer = await attempt()
        except ApiError as error:
            answer = error
        if true(answer):
            return answer
        assert time.monotonic() < deadline, f"still {answer!r}"
        await asyncio.sleep(0.1)
