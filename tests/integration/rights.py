"""A control plane with the chart's rights and policies in it, and its users."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

import orjson
from tests.harness.api import Api, Object
from tests.harness.chart import ACCOUNT, install_rights
from tests.harness.kinds import BINDINGS, NAMESPACES
from tests.harness.operator import ROOT
from tests.harness.process import whole_lines

from localcluster.controlplane import ControlPlane

PROJECT, OTHER = "analytics", "sales"
USERS = {
    "viewer": "dataops-view",
    "runner": "dataops-run",
    "promoter": "dataops-promote",
    "editor": "dataops-edit",
    "keeper": "dataops-environments",
    "kubernetes-viewer": "view",
    "kubernetes-editor": "edit",
    "kubernetes-admin": "admin",
}
"""People by the ClusterRole that they have in the project's namespace."""


@dataclass
class Site:
    """The control plane, the administrator's session, and what was installed."""

    plane: ControlPlane
    api: Api
    installed: list[Object] = field(default_factory=list)

    def as_user(self, user: str) -> Api:
        """A session of somebody else."""
        return Api(self.plane.server, self.plane.token, self.plane.ca, user=user)


@contextmanager
def a_plane(name: str) -> Iterator[ControlPlane]:
    """A control plane of the module's own: its policies concern every run in it."""
    with ControlPlane.start(f"{name}-{os.getpid()}", tuned_jobs=True) as made:
        yield made


@asynccontextmanager
async def a_site(
    plane: ControlPlane, values: Object | None = None, more: Mapping[str, Mapping[str, str]] | None = None
) -> AsyncIterator[Site]:
    """The CRDs, the chart's rights and policies, two project namespaces, and a user for each role.

    Args:
        plane: a fresh one.
        values: of the chart.
        more: further namespaces that are there, with their labels.
    """
    async with Api(plane.server, plane.token, plane.ca) as api:
        await api.install_crds(ROOT / "crds")
        for name, labels in {PROJECT: {}, OTHER: {}, **(more or {})}.items():
            await api.create(NAMESPACES, None, {"metadata": {"name": name, "labels": dict(labels)}})
        installed = await install_rights(api, values)
        for user, role in USERS.items():
            await give(api, PROJECT, user, role)
        yield Site(plane, api, installed)


async def give(api: Api, namespace: str, user: str, role: str) -> None:
    """Bind a ClusterRole in a namespace."""
    kind = "ServiceAccount" if user.startswith("system:serviceaccount:") else "User"
    subject = {"kind": kind, "name": user.rpartition(":")[2]}
    subject |= (
        {"namespace": user.split(":")[2]} if kind == "ServiceAccount" else {"apiGroup": "rbac.authorization.k8s.io"}
    )
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role}
    body = {"metadata": {"generateName": "given-"}, "roleRef": reference, "subjects": [subject]}
    await api.create(BINDINGS, namespace, body)


def audited(plane: ControlPlane) -> list[Object]:
    """What the operator asked of the API server, as the audit log has it."""
    assert plane.audit_log
    lines = whole_lines(plane.audit_log)
    entries = (orjson.loads(line) for line in lines if ACCOUNT.encode() in line)
    return [one for one in entries if one["user"]["username"] == ACCOUNT and "impersonatedUser" not in one]
