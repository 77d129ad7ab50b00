"""The chart upgraded, removed and installed again: definitions and runs outlive it, and what was under way goes on."""

from __future__ import annotations

from tests.e2e.room import Room, row, shell, until_gone
from tests.e2e.site import RELEASE, SYSTEM
from tests.harness.api import Object

DISTURBS = 2
CRDS = (
    "environments.dataops.dev",
    "pipelineruns.dataops.dev",
    "pipelines.dataops.dev",
    "steptemplates.dataops.dev",
)


def definitions(room: Room) -> list[str]:
    """UIDs of the CRDs: another one would have taken all objects along."""
    return [room.site.read("crd", name)["metadata"]["uid"] for name in CRDS]


def under_way(run: Object) -> bool:
    """Whether the second step has begun."""
    return bool(run.get("status", {}).get("steps")) and row(run, "two")["phase"] == "Running"


def begin(room: Room) -> Object:
    """A run that has ended, and two in their middle, one of them with a pod for each step; the ended one."""
    room.define("short", [shell("one", "true")])
    room.launch("short", "done")
    long = [shell("one", "true"), shell("two", "sleep 12", needs=["one"]), shell("three", "true", needs=["two"])]
    room.define("long", long, fuse="Never")
    room.define("together", long)
    room.launch("long", "going")
    room.launch("together")
    done = room.succeeded("done")
    for run in ("going", "together"):
        room.until(run, under_way)
    return done


def assert_went_on(room: Room) -> Object:
    """Both ended well with what they had begun with; the one with a pod for each step."""
    run = room.succeeded("going")
    assert room.jobs("going") == [("one", 1), ("two", 1), ("three", 1)]
    together = room.succeeded("together")
    assert [one["attempt"] for one in together["status"]["steps"]] == [1, 1, 1]
    assert room.jobs("together") == [("one", 1)]
    return run


def test_an_upgrade_with_other_values_keeps_definitions_and_runs(room: Room) -> None:
    before, done = definitions(room), begin(room)
    room.site.install("--set", "log.level=info", "--set", "operator.pipelineWait=3s")
    deployment = room.site.read("deployment", RELEASE, "-n", SYSTEM)
    assert "--log-level=info" in deployment["spec"]["template"]["spec"]["containers"][0]["args"]
    assert definitions(room) == before
    assert_went_on(room)
    room.launch("nowhere", "early")
    assert "pipeline 'nowhere' did not exist within 3s" in room.failed("early")
    assert room.ended("done") == done, "nobody wrote to a run that had ended"


def test_without_the_operator_runs_wait_and_go_on_when_it_is_back(room: Room) -> None:
    before, done = definitions(room), begin(room)
    room.site.call("helm", "uninstall", RELEASE, "-n", SYSTEM, "--wait", within=180)
    until_gone(lambda: room.site.kubectl("get", "deployments,pods", "-n", SYSTEM, "-o", "name").split())
    assert definitions(room) == before
    assert room.site.read("drun", "going", "-n", room.namespace)["status"]["phase"] == "Running"
    room.site.install()
    run = assert_went_on(room)
    assert definitions(room) == before
    assert run["status"]["progress"] == "3/3"
    assert room.ended("done") == done, "nobody wrote to a run that had ended"


def test_make_demo_shows_a_published_day_on_a_cluster_that_has_another_release(room: Room) -> None:
    before, done = definitions(room), begin(room)
    said = room.site.call("make", "-s", "demo", "NAME=e2e", within=500)
    for words in (
        "Succeeded",
        "flights        684, of which 393 cancelled",
        "Mean departure delay in minutes on 2013-02-09",
        "made for this run, leased",
        "gone ",
        "leases left in Vault    0",
        "kubectl apply -f examples/flights-daily/branch.yaml",
    ):
        assert words in said, said
    assert said.count("Succeeded") >= 7, "six steps and the run"
    assert room.site.read("deployment", RELEASE, "-n", SYSTEM)["spec"]["replicas"] == 2, (
        "values of the release are kept"
    )
    bad = room.site.call("make", "-s", "bad-day", "NAME=e2e", within=300)
    assert "StepFailed: step audit: exit code 1" in bad
    assert "flights        684, of which 393 cancelled" in bad, "the readers keep what they had"
    assert definitions(room) == before
    assert_went_on(room)
    assert room.ended("done") == done, "nobody wrote to a run that had ended"
