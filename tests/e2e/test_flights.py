"""The example on real data: what the README promises of a good day and of a bad one."""

from __future__ import annotations

import json

from tests.e2e.flights import apply_example, schema_of
from tests.e2e.platform import Platform
from tests.e2e.room import PATIENCE, Room, begins, row
from tests.e2e.site import EXAMPLE
from tests.harness.api import condition

STEPS = ["land", "conform", "audit", "publish", "load", "report"]
DAYS = ("2013-02-10", "2013-07-04", "2013-11-28")
STOPPED = {
    "flights-daily-20130210-bad": "control-totals/DL/",
    "double-file": "no-file-twice: found UA_again.csv has the content of UA.csv",
    "null-key": "keys-not-null: found UA 05h: 1 without flight",
}
"""Runs of damaged days, and what their audits say."""


def reader(room: Room, *arguments: str) -> str:
    """What the example's reader, a pod that may only read, prints."""
    pod = json.loads(room.kubectl("create", "--dry-run=client", "-o", "json", "-f", str(EXAMPLE / "reader.yaml")))
    pod["spec"]["containers"][0]["args"] = ["--lake=/dataops/targets/lake"]
    if arguments:
        pod["spec"]["containers"][0]["args"] += list(arguments)
    room.kubectl("create", "-f", "-", given=json.dumps(pod))
    ended = "--for=jsonpath={.status.phase}=Succeeded"
    room.kubectl("wait", "pod/flights-reader", ended, "--timeout=120s", within=150)
    said = room.kubectl("logs", "flights-reader")
    room.kubectl("delete", "pod", "flights-reader", "--now")
    return said


def begin_good_day(room: Room) -> None:
    apply_example(room)
    room.kubectl("create", "-f", str(EXAMPLE / "run.yaml"))


@begins(begin_good_day)
def test_the_example_lands_audits_publishes_and_reports_one_real_day(room: Room) -> None:
    name = "flights-daily-20130209"
    said = room.kubectl("wait", "--for=condition=Succeeded", f"drun/{name}", "--timeout=240s", within=PATIENCE + 10)
    assert said == f"pipelinerun.dataops.dev/{name} condition met\n"

    run = room.succeeded(name)
    assert [one["name"] for one in run["status"]["steps"]] == STEPS
    assert {one["phase"] for one in run["status"]["steps"]} == {"Succeeded"}
    assert row(run, "land")["outputs"] == {"rows": 684, "files": 13}
    assert row(run, "report")["outputs"]["flights"] == 684
    assert sorted(room.jobs(name)) == sorted((step, 1) for step in STEPS if step != "publish"), "audit's pod publishes"
    assert room.column(name) | {"AGE": ""} == {
        "NAME": name, "PIPELINE": "flights-daily", "PHASE": "Succeeded", "STEPS": "6/6", "REASON": "Succeeded",
        "AGE": "",
    }  # fmt: skip
    assert [reason for _, reason, _ in room.events(name, last="Succeeded")] == ["Started", "Succeeded"]

    table = reader(room, "--day", "2013-02-09")
    assert "684, of which 393 cancelled" in table
    assert "13, to 78 destinations" in table
    assert f"by run {run['metadata']['uid']}" in table
    report = room.log("report", name)
    assert "Mean departure delay in minutes on 2013-02-09" in report
    assert "\nsigned  hmac-sha256:" in report, "with the key that Vault keeps"
    platform = Platform(room.site)
    version = platform.version("flights/signing")
    assert platform.sql(f"select sum(flights) from {schema_of(room)}.delays where day = '2013-02-09'") == [["684"]]
    assert {one["name"]: one.get("version") or one.get("leased") for one in run["status"]["secrets"]} == {
        "signing": version, "warehouse": True,
    }  # fmt: skip

    heads, values = (line.split("  ") for line in room.kubectl("get", "dpl").splitlines())
    assert [head.strip() for head in heads if head] == ["NAME", "READY", "REVISION", "STEPS", "LAST RUN", "AGE"]
    assert values[0] == "flights-daily"


def begin_three_days(room: Room) -> None:
    apply_example(room)
    for day in DAYS:
        room.launch("flights-daily", f"day-{day}", {"day": day})


@begins(begin_three_days)
def test_days_side_by_side_are_published_and_a_bad_one_changes_nothing_for_readers(room: Room) -> None:
    for day in DAYS:
        room.succeeded(f"day-{day}")
    before = reader(room)
    published = {line.split()[0] for line in before.splitlines()[1:]}
    assert published == set(DAYS)

    room.kubectl("create", "-f", str(EXAMPLE / "run-bad-day.yaml"))
    for fault in ("double-file", "null-key"):
        room.launch("flights-daily", fault, {"day": "2013-02-10", "fault": fault})
    for name, told in STOPPED.items():
        message = room.failed(name)
        assert message.startswith("step audit: exit code 1: "), message
        assert told in message, message
        run = room.ended(name)
        assert {one["name"]: one["phase"] for one in run["status"]["steps"]} == {
            "land": "Succeeded", "conform": "Succeeded", "audit": "Failed", "publish": "Skipped",
            "load": "Skipped", "report": "Skipped",
        }  # fmt: skip
        assert condition(run, "Succeeded")["reason"] == "StepFailed"
    assert reader(room) == before, "a reader sees something of a day that was stopped"
