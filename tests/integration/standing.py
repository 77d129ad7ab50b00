"""Environments that stand, for cases that are about the runs in them."""

from __future__ import annotations

from typing import Any

from tests.harness.api import Object, condition
from tests.harness.kinds import ENVIRONMENTS, NAMESPACES
from tests.integration.support import Case

BEGIN = ("NamespaceReady", "AccessReady", "QuotaReady", "NetworkReady")
"""Parts without which no run begins; Vault and targets concern only who uses them."""


async def stands(case: Case, name: str = "prod", project: str = "", **spec: Any) -> Object:
    """Create an Environment, wait until it is Ready and holds the case's namespace.

    Args:
        name: of the Environment.
        project: a new namespace that the Environment is in; the case's own where empty.
        **spec: fields of its spec.
    """
    if project:
        await case.api.make_namespace(project)
        label = {"metadata": {"labels": {"dataops.dev/allow-project": project}}}
        await case.api.patch(NAMESPACES, None, case.namespace, label)
        spec["namespace"] = case.namespace
    made = await case.api.create(ENVIRONMENTS, project or case.namespace, {"metadata": {"name": name}, "spec": spec})
    return await ready(case, made)


async def ready(case: Case, environment: Object) -> Object:
    """Wait until an Environment holds the case's namespace, runs can begin in it, and all of it was looked into."""
    meta = environment["metadata"]

    def stands_now(found: Object) -> bool:
        parts = {
            part: condition(found, part).get("status", "Unknown") for part in (*BEGIN, "VaultReady", "TargetsReady")
        }
        known = "Unknown" not in parts.values() and all(parts[part] == "True" for part in BEGIN)
        return known and found["status"].get("namespace") == case.namespace

    return await case.api.wait_for(ENVIRONMENTS, meta["namespace"], meta["name"], stands_now, timeout=20)


async def edit(case: Case, environment: Object, **spec: Any) -> Object:
    """Change fields of an Environment's spec."""
    meta = environment["metadata"]
    return await case.api.patch(ENVIRONMENTS, meta["namespace"], meta["name"], {"spec": spec})
