"""Environments that stand, for cases that are about the runs in them."""

from __future__ import annotations

from typing import Any

from tests.harness.api import Object
from tests.harness.kinds import ENVIRONMENTS, NAMESPACES
from tests.integration.support import Case

PARTS = ("NamespaceReady", "AccessReady", "QuotaReady", "NetworkReady", "VaultReady", "TargetsReady", "Ready")


async def stands(case: Case, name: str = "prod", project: str = "", **spec: Any) -> Object:
    """Create an Environment that holds the case's namespace, from there or from a project's namespace."""
    if project:
        await case.api.make_namespace(project)
        label = {"metadata": {"labels": {"dataops.dev/allow-project": project}}}
        await case.api.patch(NAMESPACES, None, case.namespace, label)
        spec["namespace"] = case.namespace
    made = await case.api.create(ENVIRONMENTS, project or case.namespace, {"metadata": {"name": name}, "spec": spec})
    return await ready(case, made)


async def ready(case: Case, environment: Object) -> Object:
    """Have every part of an Environment stand."""
    meta = environment["metadata"]
    now = {"lastTransitionTime": "2026-01-01T00:00:00Z", "observedGeneration": meta["generation"]}
    conditions = [{"type": part, "status": "True", "reason": "Provisioned", "message": "", **now} for part in PARTS]
    status = {"status": {"namespace": case.namespace, "conditions": conditions}}
    return await case.api.patch(ENVIRONMENTS, meta["namespace"], meta["name"], status, subresource="status")


async def edit(case: Case, environment: Object, **spec: Any) -> Object:
    """Change fields of an Environment's spec."""
    meta = environment["metadata"]
    return await case.api.patch(ENVIRONMENTS, meta["namespace"], meta["name"], {"spec": spec})
