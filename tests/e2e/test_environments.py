"""Environments on a real node: a branch of the example within seconds and gone whole, bounds, and who did what."""

from __future__ import annotations

import json
import time
from datetime import date

import pytest
from tests.e2e.flights import apply_example, branch_of, schema_of
from tests.e2e.objectstore import ENDPOINT, ObjectStore
from tests.e2e.platform import Platform
from tests.e2e.room import Room, begins, python, row, shell, until_gone
from tests.e2e.site import EXAMPLE, STORAGE_IMAGE, CommandError
from tests.harness.api import condition

READY_WITHIN = 30.0
"""Seconds for a branch environment on a machine with other things to do; the real figure is printed, under 10 alone."""
DAY = date(2013, 2, 9)
BRANCH = "faster-land"


def begin_branch(room: Room) -> None:
    apply_example(room)
    room.kubectl("create", "-f", str(EXAMPLE / "run.yaml"))


def inventory(room: Room, platform: Platform) -> dict[str, list[str]]:
    """All that the example's environments could leave: in the cluster, in PostgreSQL, in Vault."""
    cluster = room.site
    mine = [name for name in names(room, "namespaces") if room.namespace in name]
    kinds = "secrets,configmaps,serviceaccounts,roles,rolebindings,networkpolicies,resourcequotas,limitranges,pvc,jobs"
    volumes = cluster.read("pv")["items"]
    bindings = cluster.read("clusterrolebindings")["items"]
    return {
        "namespaces": mine,
        "objects": sorted(room.kubectl("get", kinds, "-o", "name").split()),
        "records": sorted(cluster.kubectl("get", "configmaps", "-n", "dataops-system", "-o", "name").split()),
        "volumes": [pv["metadata"]["name"] for pv in volumes if room.namespace in pv["spec"]["claimRef"]["namespace"]],
        "bindings": [one["metadata"]["name"] for one in bindings if room.namespace in json.dumps(one)],
        "schemas": [name for name in platform.schemas() if name.startswith(schema_of(room))],
        "leases": platform.leases("database/creds/flights-branch"),
        "tokens": platform.accessors(f"{room.namespace}-{BRANCH}"),
    }


def names(room: Room, kind: str) -> list[str]:
    return [one["metadata"]["name"] for one in room.site.read(kind)["items"]]


@begins(begin_branch)
def test_a_branch_of_the_example_is_there_within_seconds_and_leaves_nothing(
    room: Room, platform: Platform, capsys: pytest.CaptureFixture[str]
) -> None:
    room.succeeded("flights-daily-20130209")
    until_gone(lambda: platform.accessors(room.namespace))
    before = inventory(room, platform)
    production = platform.sql(f"select * from {schema_of(room)}.delays order by day, carrier, hour")

    began = time.monotonic()
    room.apply(branch_of(room))
    found = room.ready(BRANCH, within=READY_WITHIN)
    took = time.monotonic() - began
    assert found["status"]["namespace"] == f"{room.namespace}-{BRANCH}"

    branch = room.enter(f"{room.namespace}-{BRANCH}")
    branch.kubectl("create", "-f", str(EXAMPLE / "run.yaml"))
    run = branch.succeeded("flights-daily-20130209")
    assert run["status"]["environment"] == f"{room.namespace}/{BRANCH}"
    assert row(run, "load")["outputs"]["changed"] == 0, "as in production, which it read by a login that cannot write"
    own = f"{schema_of(room)}__{BRANCH.replace('-', '_')}"
    assert platform.sql(f"select sum(flights) from {own}.delays where day = '{DAY}'") == [["684"]]
    assert platform.sql(f"select * from {schema_of(room)}.delays order by day, carrier, hour") == production

    began = time.monotonic()
    room.kubectl("delete", "denv", BRANCH, "--timeout=120s", within=150)
    gone = time.monotonic() - began
    until_gone(lambda: differing(before, inventory(room, platform)), within=60)
    with capsys.disabled():
        print(f"\n  a branch environment: ready after {took:.1f} s, gone after {gone:.1f} s")


def differing(before: dict[str, list[str]], after: dict[str, list[str]]) -> dict[str, object]:
    return {key: {"before": before[key], "after": after[key]} for key in before if before[key] != after[key]}


WRITES = """
import os, pathlib
import obstore

home = pathlib.Path("/dataops/secrets/lake")
store = obstore.store.S3Store(
    os.environ["BUCKET"], prefix=os.environ["PREFIX"], endpoint=os.environ["ENDPOINT"], region="us-east-1",
    access_key_id=(home / "access_key").read_text(), secret_access_key=(home / "secret_key").read_text(),
    client_options={"allow_http": True},
)
obstore.put(store, "day.parquet", b"one day")
"""


def begin_prefixes(room: Room) -> None:
    store = ObjectStore(room.site)
    store.start()
    store.bucket("lake")
    Platform(room.site).admit(room.namespace, [room.namespace, f"{room.namespace}-*"], "secret/data/s3")
    login = {"vault": {"path": "secret/data/s3"}}
    lake = {"endpoint": ENDPOINT, "bucket": "lake", "prefix": "prod/", "credentials": login}
    egress = [{"to": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "s3"}}}]}]
    room.environment(vault={"role": room.namespace}, targets=[{"name": "lake", "s3": lake}], network={"egress": egress})
    names = ("BUCKET", "PREFIX", "ENDPOINT")
    env = [{"name": name, "value": f"$(targets.lake.{name.lower()})"} for name in names]
    room.define("write", [python("write", WRITES, image=STORAGE_IMAGE, env=env)])
    room.launch("write")


@begins(begin_prefixes)
def test_a_branch_writes_below_a_prefix_of_its_own_which_goes_with_it(room: Room) -> None:
    store = ObjectStore(room.site)
    room.succeeded("write")
    before = store.objects("lake")
    assert "prod/day.parquet" in before
    room.environment("side", **{"from": "prod"})
    side = room.enter(f"{room.namespace}-side")
    side.launch("write")
    side.succeeded("write")
    added = set(store.objects("lake")) - set(before)
    assert any(key.endswith("/day.parquet") and not key.startswith("prod/") for key in added), added
    room.kubectl("delete", "denv", "side", "--timeout=120s", within=150)
    assert store.objects("lake") == before


def begin_deleted(room: Room) -> None:
    room.environment("live", namespace=f"{room.namespace}-live")
    room.define("long", [shell("only", "sleep 600"), shell("never", "true", needs=["only"])])


@begins(begin_deleted)
def test_an_environment_deleted_with_a_run_under_way_takes_it_along(room: Room) -> None:
    namespace = f"{room.namespace}-live"
    live = room.enter(namespace)
    live.launch("long")
    live.until("long", lambda run: bool(run.get("status", {}).get("steps")) and row(run, "only")["phase"] == "Running")
    room.kubectl("delete", "denv", "live", "--timeout=120s", within=150)
    assert namespace not in names(room, "namespaces"), "the environment is there until all of it is gone"
    assert live.jobs("long") == [("only", 1)], "nothing began after the deletion"
    assert room.kubectl("get", "dpl", "-o", "name").split() == ["pipeline.dataops.dev/long"], "definitions stay"


def begin_policy(room: Room) -> None:
    room.environment(images={"allowedRegistries": ["ghcr.io/acme"]})
    room.define("foreign", [shell("fine", "true", image="ghcr.io/acme/tool:1"), shell("foreign", "true")])
    room.launch("foreign")


@begins(begin_policy)
def test_an_image_that_the_environment_does_not_allow_never_runs(room: Room) -> None:
    message = room.failed("foreign")
    outcome = condition(room.ended("foreign"), "Succeeded")
    assert outcome["reason"] == "ImageNotAllowed"
    for words in ("localhost/dataops-operator:dev", "spec.defaults.image", "ghcr.io/acme"):
        assert words in message, message
    assert room.jobs("foreign") == [], "not even the step before it began"


def begin_identity(room: Room) -> None:
    who = [{"kind": "User", "name": "alice@example.org"}]
    room.environment(access=[{"role": "Run", "subjects": who}])
    room.define("short", [shell("only", "true")])


def as_alice(room: Room, run: str, annotations: dict[str, str] | None = None) -> None:
    body = {
        "apiVersion": "dataops.dev/v1alpha1",
        "kind": "PipelineRun",
        "metadata": {"name": run, "annotations": annotations or {}},
        "spec": {"pipeline": "short"},
    }
    room.kubectl("create", "--as=alice@example.org", "-f", "-", given=json.dumps(body))


@begins(begin_identity)
def test_a_run_says_who_started_it_and_nobody_can_say_it_was_another(room: Room) -> None:
    as_alice(room, "hers")
    assert room.succeeded("hers")["status"]["requestedBy"] == "alice@example.org"
    as_alice(room, "forged", {"dataops.dev/created-by": "bob@example.org"})
    assert room.succeeded("forged")["status"]["requestedBy"] == "alice@example.org"
    with pytest.raises(CommandError, match="forbidden"):
        room.kubectl("delete", "dpl", "short", "--as=alice@example.org")
