"""The example in a test's own namespace: manifests as they are, but for names that all tests would share."""

from __future__ import annotations

import hashlib
from typing import Any

import yaml
from tests.e2e.platform import Platform
from tests.e2e.room import Room
from tests.e2e.site import EXAMPLE

SIGNING_KEY = "secret/data/flights/signing"


def schema_of(room: Room) -> str:
    """Name of the schema that takes the place of production's."""
    return f"prod_{hashlib.sha256(room.namespace.encode()).hexdigest()[:8]}"


def apply_example(room: Room) -> None:
    """Apply the example, and wait for its environment, whose runs live in the room's own namespace.

    The schema in the warehouse is the room's own, and so are the roles in Vault, since the platform's are bound to the
    namespaces of the demo.
    """
    platform = Platform(room.site)
    loader, reader, branch = (f"database/creds/flights-{one}" for one in ("loader", "reader", "branch"))
    platform.admit(room.namespace, [room.namespace], SIGNING_KEY, loader)
    platform.admit(f"{room.namespace}-branch", [f"{room.namespace}-*"], SIGNING_KEY, branch, reader)
    make_schema(platform, schema_of(room))
    objects = list(yaml.safe_load_all(room.kubectl("kustomize", str(EXAMPLE))))
    for one in objects:
        if one["kind"] == "Environment":
            _own(one["spec"], room)
    room.apply(*objects)
    room.ready()


def branch_of(room: Room) -> dict[str, Any]:
    """The example's branch environment, in the room's own role."""
    found: dict[str, Any] = yaml.safe_load((EXAMPLE / "branch.yaml").read_text())
    found["spec"]["vault"]["role"] = f"{room.namespace}-branch"
    return found


def make_schema(platform: Platform, schema: str) -> None:
    """A schema such as the platform's `prod`."""
    platform.sql(
        f"create schema if not exists {schema} authorization flights_loader;"
        f"grant usage on schema {schema} to flights_reader;"
        f"alter default privileges for role flights_loader in schema {schema} grant select on tables to flights_reader"
    )


def _own(spec: dict[str, Any], room: Room) -> None:
    del spec["namespace"]
    spec["vault"]["role"] = room.namespace
    for target in spec["targets"]:
        if "postgres" in target:
            target["postgres"]["schema"] = schema_of(room)
