"""What the chart gives a cluster beside its Deployment: accounts, rights, policies, put into a real API server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import yaml
from tests.harness.api import Api, ApiError, Object
from tests.harness.kinds import BINDINGS, NAMESPACES, SERVICE_ACCOUNTS, Kind

from chartcheck import CHART, NAMESPACE, helm
from localcluster import binaries

FULLNAME = "dataops-operator"
ACCOUNT = f"system:serviceaccount:{NAMESPACE}:{FULLNAME}"
"""What the API server calls the operator."""

RBAC, ADMISSION = "rbac.authorization.k8s.io/v1", "admissionregistration.k8s.io/v1"
ROLES = Kind("Role", RBAC, "roles")
CLUSTER_ROLES = Kind("ClusterRole", RBAC, "clusterroles", namespaced=False)
MUTATING = Kind("MutatingAdmissionPolicy", ADMISSION, "mutatingadmissionpolicies", namespaced=False)
VALIDATING = Kind("ValidatingAdmissionPolicy", ADMISSION, "validatingadmissionpolicies", namespaced=False)
MUTATING_BINDINGS = Kind(f"{MUTATING.name}Binding", ADMISSION, "mutatingadmissionpolicybindings", namespaced=False)

INSTALLED: Sequence[Kind] = (
    SERVICE_ACCOUNTS,
    ROLES,
    BINDINGS,
    CLUSTER_ROLES,
    Kind("ClusterRoleBinding", RBAC, "clusterrolebindings", namespaced=False),
    MUTATING,
    MUTATING_BINDINGS,
    VALIDATING,
    Kind(f"{VALIDATING.name}Binding", ADMISSION, "validatingadmissionpolicybindings", namespaced=False),
)
"""Kinds that decide about rights; the rest of the chart is a Deployment and what belongs to it."""


async def render(values: Object) -> list[Object]:
    """Every object of the chart with these values, as for the API server of the tests.

    Raises:
        AssertionError: Helm refused it.
    """
    command = [str(helm()), "template", FULLNAME, str(CHART), f"--namespace={NAMESPACE}", "--values=-", "--no-hooks"]
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
