"""Secrets on a real node, from a real Vault: they are there for a run, and gone with it."""

from __future__ import annotations

import json
import os
import time
from typing import Any

import pytest
from tests.e2e.flights import make_schema, schema_of
from tests.e2e.platform import Platform
from tests.e2e.room import Room, begins, python, row, shell, until_gone
from tests.e2e.site import FLIGHTS_IMAGE
from tests.harness.canary import canary

GONE_WITHIN = 30.0
"""Seconds from a run's end until PostgreSQL knows its login no more."""
LOADER = "database/creds/flights-loader"
RUNS = int(os.environ.get("E2E_VAULT_RUNS", "20"))
"""Runs with a login each; 200 where the machine and the patience allow it."""

USES_IT = """
import hashlib, json, pathlib, time
import psycopg

home = pathlib.Path("/dataops/secrets/login")
user, password = ((home / name).read_text() for name in ("username", "password"))
with psycopg.connect("postgresql://postgres.postgres:5432/flights", user=user, password=password) as connection:
    connection.execute("create table if not exists {schema}.used (at timestamptz)")
    connection.execute("insert into {schema}.used values (now())")
with open("/dataops/result", "w") as file:
    json.dump({{"outputs": {{"login": hashlib.md5(user.encode()).hexdigest()}}}}, file)
"""
DIGEST = [{"name": "login"}]


def environment(room: Room, *rules: str, **spec: Any) -> None:
    """An environment of the room's own namespace, whose runs may read these paths."""
    Platform(room.site).admit(room.namespace, [room.namespace], *rules)
    room.environment(vault={"role": room.namespace, **spec.pop("vault", {})}, **spec)


def login(name: str = "login") -> list[dict[str, Any]]:
    return [{"name": name, "vault": {"path": LOADER}}]


def begin_login(room: Room) -> None:
    environment(room, LOADER)
    make_schema(Platform(room.site), schema_of(room))
    use = python("use", USES_IT.format(schema=schema_of(room)), image=FLIGHTS_IMAGE, secrets=[{"name": "login"}])
    room.start(use | {"outputs": DIGEST}, shell("hold", "sleep 8", needs=["use"]), secrets=login())


@begins(begin_login)
def test_a_login_to_the_database_lives_as_long_as_its_run(
    room: Room, platform: Platform, capsys: pytest.CaptureFixture[str]
) -> None:
    running = room.until("x", lambda run: bool(run.get("status", {}).get("steps")) and "outputs" in row(run, "use"))
    digest = row(running, "use")["outputs"]["login"]
    assert platform.has_login(digest), "the run is under way"
    run = room.succeeded()
    took = platform.gone_after(digest, GONE_WITHIN)
    assert platform.sql(f"select count(*) from {schema_of(room)}.used") == [["1"]], "what it wrote stays"
    assert run["status"]["secrets"] == [{"name": "login", "leased": True}]
    until_gone(lambda: platform.accessors(room.namespace))
    until_gone(lambda: vault_secrets(room))
    with capsys.disabled():
        print(f"\n  a login to PostgreSQL: gone {took:.1f} s after its run's end was seen")


def vault_secrets(room: Room) -> list[str]:
    """Secrets of the namespace that hold what was read for runs."""
    items = room.site.read("secrets", "-n", room.namespace)["items"]
    return [one["metadata"]["name"] for one in items]


def begin_failed(room: Room) -> None:
    environment(room, LOADER)
    room.notes["logins"] = Platform(room.site).logins(room.namespace)
    use = python("use", USES_IT.format(schema="nowhere"), image=FLIGHTS_IMAGE, secrets=[{"name": "login"}])
    room.start(use, secrets=login())


@begins(begin_failed)
def test_a_run_that_fails_gives_its_login_back_too(room: Room, platform: Platform) -> None:
    room.failed()
    until_gone(lambda: platform.accessors(room.namespace), GONE_WITHIN)
    assert platform.logins(room.namespace) == room.notes["logins"] + 1, "one beside the environment's own trial"


CANARY = canary("pod")
LOOKS = """
import json, os, stat
path = "/dataops/secrets/api/token"
found = os.stat(path)
with open(path) as file:
    value = file.read()
print(json.dumps({"mode": oct(stat.S_IMODE(found.st_mode)), "owner": found.st_uid, "length": len(value),
    "right": value[:6] == "canary", "memory": any(line.split()[2] == "tmpfs" for line in open("/proc/mounts")
    if line.split()[1].startswith("/dataops/secrets"))}))
"""


def begin_restricted(room: Room) -> None:
    path = f"secret/data/{room.namespace}/*"
    Platform(room.site).put(f"{room.namespace}/api", token=CANARY)
    environment(room, path, restricted=True, vault={"delivery": "Pod"})
    source = {"name": "api", "vault": {"path": f"secret/data/{room.namespace}/api"}}
    room.start(python("look", LOOKS, secrets=[{"name": "api"}]), secrets=[source])


@begins(begin_restricted)
def test_where_secrets_must_not_reach_etcd_the_pod_reads_them_itself(room: Room, platform: Platform) -> None:
    run = room.succeeded()
    assert json.loads(room.log("look")) == {
        "mode": "0o400", "owner": 65532, "length": len(CANARY), "right": True, "memory": True,
    }  # fmt: skip
    assert run["status"]["secrets"] == [{"name": "api", "version": 1}]
    assert vault_secrets(room) == [], "none was made, and the rest of etcd is searched after every test"
    until_gone(lambda: platform.accessors(room.namespace), GONE_WITHIN)


SECRETS = {"missing": "api", "forbidden": "other"}


def begin_missing(room: Room) -> None:
    environment(room, f"secret/data/{room.namespace}/*")
    source = {"name": "api", "vault": {"path": f"secret/data/{room.namespace}/nothing"}}
    forbidden = {"name": "other", "vault": {"path": "secret/data/flights/signing"}}
    room.define("missing", [shell("only", "true", secrets=[{"name": "api"}])], secrets=[source])
    room.define("forbidden", [shell("only", "true", secrets=[{"name": "other"}])], secrets=[forbidden])
    room.launch("missing")
    room.launch("forbidden")


@begins(begin_missing)
def test_a_secret_that_is_not_there_or_not_allowed_is_said_and_nothing_starts(room: Room, platform: Platform) -> None:
    for pipeline, reason, words in (
        ("missing", "SecretNotFound", "no such secret, or its latest version was deleted"),
        ("forbidden", "VaultForbidden", "the role's policies must"),
    ):
        message = room.failed(pipeline)
        step = row(room.ended(pipeline), "only")
        assert step["reason"] == reason, step
        assert f"secret {SECRETS[pipeline]}:" in message, message
        assert words in message, message
        assert room.jobs(pipeline) == []
    until_gone(lambda: platform.accessors(room.namespace), GONE_WITHIN)


def test_many_runs_log_in_once_each_and_leave_no_lease(
    room: Room, platform: Platform, capsys: pytest.CaptureFixture[str]
) -> None:
    environment(room, LOADER)
    use = shell("one", "test -s /dataops/secrets/login/password", secrets=[{"name": "login"}])
    again = shell("two", "test -s /dataops/secrets/login/username", needs=["one"], secrets=[{"name": "login"}])
    room.define("many", [use, again], secrets=login())
    before = platform.logins(room.namespace)
    began = time.monotonic()
    for number in range(RUNS):
        room.launch("many", f"run-{number}")
    for number in range(RUNS):
        room.succeeded(f"run-{number}", within=60 + 5 * RUNS)
    took = time.monotonic() - began
    until_gone(lambda: platform.accessors(room.namespace))
    assert platform.logins(room.namespace) - before == RUNS, "one login a run"
    until_gone(lambda: vault_secrets(room))
    with capsys.disabled():
        print(f"\n  {RUNS} runs with a login each: {took:.0f} s, no token left")
