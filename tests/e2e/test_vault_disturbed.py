"""The operator or Vault goes away while runs hold credentials: nothing is lost, nothing outlives its run."""

from __future__ import annotations

from typing import Any

from tests.e2e.flights import make_schema, schema_of
from tests.e2e.platform import Platform
from tests.e2e.replicas import Replicas
from tests.e2e.room import Room, row, shell, until_gone
from tests.e2e.site import FLIGHTS_IMAGE
from tests.e2e.test_vault import DIGEST, GONE_WITHIN, USES_IT, environment, login
from tests.harness.api import Object

DISTURBS = 1
OUTLIVES_AT_MOST = 120.0
"""Seconds that a lease may outlive its run when the operator was away."""


def begin(room: Room, hold: int) -> str:
    """A run that has used its login and holds it for so many seconds more; the digest of the login's name."""
    schema = schema_of(room)
    make_schema(Platform(room.site), schema)
    use = {
        "name": "use",
        "script": f"#!/usr/bin/env python3\n{USES_IT.format(schema=schema)}",
        "image": FLIGHTS_IMAGE,
        "secrets": [{"name": "login"}],
        "outputs": DIGEST,
    }
    again = {key: value for key, value in use.items() if key != "outputs"}
    steps: list[dict[str, Any]] = [
        use,
        shell("hold", f"sleep {hold}", needs=["use"]),
        again | {"name": "again", "needs": ["hold"]},
    ]
    room.start(*steps, secrets=login())
    return str(row(room.until("x", used), "use")["outputs"]["login"])


def used(run: Object) -> bool:
    return bool(run.get("status", {}).get("steps")) and "outputs" in row(run, "use")


def test_a_killed_operator_still_renews_and_takes_back_what_a_run_holds(
    room: Room, platform: Platform, replicas: Replicas
) -> None:
    environment(room, "database/creds/flights-loader")
    before = platform.logins(room.namespace)
    digest = begin(room, hold=10)
    replicas.keep_killing(replicas.leader())
    run = room.succeeded()
    assert row(run, "again")["phase"] == "Succeeded", "the login was still good after another operator took over"
    platform.gone_after(digest, OUTLIVES_AT_MOST)
    until_gone(lambda: platform.accessors(room.namespace), OUTLIVES_AT_MOST)
    assert platform.logins(room.namespace) == before + 1, "the next operator went on with the same login"


def test_a_run_whose_operator_died_with_it_leaves_no_login(room: Room, platform: Platform, replicas: Replicas) -> None:
    """The run is deleted while nobody is there to see it."""
    environment(room, "database/creds/flights-loader")
    digest = begin(room, hold=600)
    replicas.stop()
    try:
        room.kubectl("delete", "drun", "x")
        assert platform.has_login(digest)
    finally:
        replicas.scale(2)
    platform.gone_after(digest, OUTLIVES_AT_MOST)
    until_gone(lambda: platform.accessors(room.namespace), OUTLIVES_AT_MOST)


def test_a_seal_in_the_middle_keeps_runs_waiting_that_need_it_and_no_others(room: Room, platform: Platform) -> None:
    environment(room, "database/creds/flights-loader")
    digest = begin(room, hold=5)
    room.define("other", [shell("only", "true")])
    room.define("late", [shell("only", "true", secrets=[{"name": "login"}])], secrets=login())
    platform.seal()
    try:
        room.launch("late")
        room.launch("other")
        room.succeeded("other", within=60)
        late = room.until("late", lambda run: bool(run.get("status", {}).get("waitingFor")))
        (waiting,) = late["status"]["waitingFor"]
        assert waiting["reason"] in ("Vault", "VaultUnavailable")
        assert "sealed" in waiting["message"], waiting
        room.succeeded(), "its login was there already"
        assert platform.has_login(digest), "nobody can take it back from a sealed Vault"
    finally:
        platform.unseal()
    room.succeeded("late")
    platform.gone_after(digest, OUTLIVES_AT_MOST)
    until_gone(lambda: platform.accessors(room.namespace), GONE_WITHIN)
