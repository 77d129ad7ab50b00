"""The command line as a process against a real API server: what it starts, shows, and exits with."""

from __future__ import annotations

import asyncio
import json
import os
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.harness.api import condition
from tests.harness.faults import DropWatches, ExpireWatch
from tests.harness.kinds import ENVIRONMENTS, PIPELINES, RUNS
from tests.harness.operator import ROOT
from tests.harness.proxy import Proxy
from tests.harness.script import Outcome, Play, fail, succeed
from tests.integration.beside import side_by_side
from tests.integration.support import Case, spec, step

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(600)]

DAY = {"name": "day", "type": "Date"}
ROWS = [{"name": "rows", "type": "Integer"}]
FLIGHTS = spec(step("land", outputs=ROWS), step("audit", "land"), step("publish", "audit"), parameters=[DAY])
HANG = Play(outcome=Outcome.HANG)


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()


async def start(case: Case, *words: str, kubeconfig: Path | None = None) -> asyncio.subprocess.Process:
    """Begin a command in the case's namespace, as out of the checkout."""
    return await asyncio.create_subprocess_exec(
        ROOT / "tools" / "bin" / "dataops",
        *words,
        "--namespace",
        case.namespace,
        env={**os.environ, "KUBECONFIG": str(kubeconfig or case.plane.kubeconfig)},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def dataops(case: Case, *words: str, kubeconfig: Path | None = None, text: str = "") -> Done:
    """Run a command to its end."""
    process = await start(case, *words, kubeconfig=kubeconfig)
    out, err = await process.communicate(text.encode())
    assert b"Traceback" not in err, err.decode()
    return Done(process.returncode or 0, out.decode(), err.decode())


def started(done: Done) -> str:
    """The name of the run that `run` says it has started."""
    return done.err.split()[1]


@side_by_side
async def test_a_run_that_is_watched_to_success_ends_with_0_and_a_line_for_each_transition(case: Case) -> None:
    await case.ready(FLIGHTS, "flights")
    case.plays("land", succeed(rows=684))
    words = ["-p", "day=2013-02-09", "--logical-date", "2013-02-09", "--priority", "high"]
    done = await dataops(case, "run", "flights", *words, "--watch")
    assert done.code == 0, done
    name = started(done)
    assert name.startswith("flights-20130209-")
    steps = [line.split()[2:4] for line in done.lines if line.split()[1] == "step"]
    assert [one for one in steps if one[1] == "Succeeded"] == [
        [step, "Succeeded"] for step in ("land", "audit", "publish")
    ]
    assert "rows=684" in next(line for line in done.lines if "step land  Succeeded" in line)
    assert done.lines[-1].endswith(": 3 of 3 steps succeeded")
    run = await case.api.get(RUNS, case.namespace, name)
    assert (run["spec"]["logicalDate"], run["spec"]["priority"]) == ("2013-02-09T00:00:00Z", "High")
    assert run["status"]["parameters"] == [{"name": "day", "value": "2013-02-09", "origin": "Run"}]


@side_by_side
async def test_a_run_that_fails_ends_with_1_and_says_why(case: Case) -> None:
    await case.ready(FLIGHTS, "flights")
    case.plays("land", succeed(rows=1))
    case.plays("audit", fail(3))
    done = await dataops(case, "run", "flights", "-p", "day=2013-02-09", "--name", "bad", "-w")
    assert done.code == 1, done
    assert "StepFailed: step audit: exit code 3" in done.lines[-1]
    again = await dataops(case, "watch", "bad")
    assert (again.code, again.lines[-1].partition("  ")[2]) == (1, done.lines[-1].partition("  ")[2])
    shown = await dataops(case, "get", "bad")
    assert shown.code == 0
    assert "✗ audit" in shown.out
    assert "day    2013-02-09   Run" in shown.out
    graph = await dataops(case, "graph", "--run", "bad")
    assert [line.split()[:3] for line in graph.lines] == [
        ["✓", "land", "Succeeded"], ["✗", "audit", "Failed"], ["○", "publish", "Skipped"],
    ]  # fmt: skip


@side_by_side
async def test_runs_are_listed_newest_first_and_filtered(case: Case) -> None:
    await case.ready(FLIGHTS, "flights")
    case.plays("land", succeed(rows=1))
    case.plays("audit", fail(1), run="second")
    await case.run("first", "flights", parameters=[{"name": "day", "value": "2013-02-09"}])
    await case.ended("first")
    await asyncio.sleep(1.1)  # creation times are whole seconds
    await case.run("second", "flights", parameters=[{"name": "day", "value": "2013-02-10"}])
    await case.ended("second")
    listed = await dataops(case, "list")
    assert listed.lines[0].split() == ["NAME", "PIPELINE", "PHASE", "STEPS", "REASON", "AGE"]
    assert [line.split()[:5] for line in listed.lines[1:]] == [
        ["second", "flights", "Failed", "1/3", "StepFailed"],
        ["first", "flights", "Succeeded", "3/3", "Succeeded"],
    ]
    assert (await dataops(case, "list", "-o", "name")).lines == [
        "pipelinerun.dataops.dev/second", "pipelinerun.dataops.dev/first",
    ]  # fmt: skip
    failed = await dataops(case, "list", "flights", "--phase", "failed", "-o", "json")
    assert [one["metadata"]["name"] for one in json.loads(failed.out)["items"]] == ["second"]
    both = await dataops(case, "list", "--phase", "Failed", "--phase", "Succeeded", "-o", "name", "--limit", "1")
    assert both.lines == ["pipelinerun.dataops.dev/second"]
    none = await dataops(case, "list", "other")
    assert (none.code, none.out, none.err) == (0, "", f"no runs in namespace {case.namespace}\n")
    wide = await dataops(case, "list", "-o", "wide")
    assert "REVISION" in wide.lines[0]
    assert "step audit: exit code 1" in wide.lines[1]
    one = await dataops(case, "get", "first", "-o", "json")
    assert json.loads(one.out)["status"]["phase"] == "Succeeded"


@side_by_side
async def test_what_cannot_be_is_refused_in_one_sentence(case: Case) -> None:
    await case.ready(FLIGHTS, "flights")
    await case.run("r", "nothing")
    for words, code, told in (
        (["run", "fligths"], 3, f"there is no pipeline 'fligths' in namespace {case.namespace}; there are: flights"),
        (["run", "flights", "-p", "dya=2013-02-09"], 2, "no parameter 'dya'; the pipeline has: day"),
        (["run", "flights", "-p", "day=someday"], 2, "is not a date"),
        (["run", "flights", "--name", "r"], 3, "already exists"),
        (["run", "flights", "--name", "No_Name"], 3, "the API server refuses it"),
        (["get", "nobody"], 3, f"there is no run nobody in namespace {case.namespace}"),
        (["logs", "r"], 3, "run r has no logs"),
        (["graph", "--run", "r"], 3, "run r has no graph"),
    ):
        done = await dataops(case, *words)
        assert done.code == code, (words, done)
        assert told in " ".join(done.err.replace("│", " ").split()), (words, done)
        assert done.out == "", words


@side_by_side
async def test_what_is_for_scripts_stands_alone_on_standard_output(case: Case) -> None:
    await case.ready(FLIGHTS, "flights")
    case.plays("land", succeed(rows=684))
    done = await dataops(case, "run", "flights", "-p", "day=2013-02-09", "--watch", "-o", "json")
    assert (done.code, json.loads(done.out)["kind"]) == (0, "PipelineRun"), done
    assert "3 of 3 steps succeeded" in done.err


@side_by_side
async def test_a_watch_ends_when_the_time_is_over_or_the_run_is_gone(case: Case) -> None:
    await case.ready(FLIGHTS, "flights")
    case.plays("", HANG)
    late = await dataops(case, "run", "flights", "-p", "day=2013-02-09", "--name", "long", "--watch", "--timeout", "3s")
    assert late.code == 4
    assert f"it goes on: dataops watch long -n {case.namespace}" in late.err
    watching = await start(case, "watch", "long")
    assert watching.stdout is not None
    assert b"step land  Running" in await watching.stdout.readline()
    await case.api.delete(RUNS, case.namespace, "long")
    _, err = await watching.communicate()
    assert (watching.returncode, err.decode()) == (3, f"dataops: run long in namespace {case.namespace} was deleted\n")


@side_by_side
async def test_a_watch_survives_what_becomes_of_watches(case: Case) -> None:
    await case.ready(FLIGHTS, "flights")
    case.plays("land", succeed(rows=1), end=3)
    case.plays("audit", Play(), end=3)
    plane = case.plane
    for fault in (DropWatches(1), ExpireWatch("pipelineruns", 2)):
        name = type(fault).__name__.lower()
        async with Proxy(plane.server, plane.token, plane.ca, fault) as proxy:
            file = proxy.kubeconfig(case.logs / f"{case.namespace}-{name}")
            words = ["run", "flights", "-p", "day=2013-02-09", "--name", name, "--watch"]
            done = await dataops(case, *words, kubeconfig=file)
        assert done.code == 0, done
        assert fault.struck(), "nothing went wrong, so nothing is proven"
        assert "step publish  Succeeded" in done.out


@side_by_side
async def test_the_history_of_a_pipeline(case: Case) -> None:
    await case.ready(FLIGHTS, "flights")
    await case.run("r", "flights", parameters=[{"name": "day", "value": "2013-02-09"}])
    case.plays("land", succeed(rows=1))
    await case.ended("r")
    changed = spec(
        step("land", outputs=ROWS, timeout="5m"), step("audit", "land"), step("load", "audit"), parameters=[DAY]
    )
    await case.ready(changed, "flights")
    table = await dataops(case, "revisions", "flights")
    assert table.lines[0].split() == ["NUMBER", "REVISION", "ACTIVE", "AGE", "STEPS", "RUNS"]
    assert [[line.split()[0], "active" in line, line.split()[-1]] for line in table.lines[1:]] == [
        ["2", True, "0"], ["1", False, "1"],
    ]  # fmt: skip
    shown = await dataops(case, "diff", "flights")
    assert shown.lines[1:] == [
        "~ step land", "  + timeout: 5m", "+ step load", '    command: ["do","load"]', '    needs: ["audit"]',
        "- step publish", '    command: ["do","publish"]', '    needs: ["audit"]',
    ]  # fmt: skip
    back = json.loads((await dataops(case, "diff", "flights", "2", "1", "-o", "json")).out)
    assert {(one["part"], one["change"]) for one in back["changes"]} == {
        ("step land", "removed"), ("step load", "removed"), ("step publish", "added"),
    }  # fmt: skip
    pipeline = {
        "apiVersion": "dataops.dev/v1alpha1",
        "kind": "Pipeline",
        "metadata": {"name": "flights"},
        "spec": FLIGHTS,
    }
    local = await dataops(case, "diff", "flights", "--file", "-", text=json.dumps(pipeline))
    assert local.lines[0].endswith("(file)")
    assert "+ step publish" in local.lines
    older = json.loads((await dataops(case, "revisions", "flights", "-o", "json")).out)[1]["name"]
    rerun = await dataops(case, "run", "flights", "-p", "day=2013-02-09", "--revision", older, "-w")
    assert rerun.code == 0, rerun
    assert "step publish  Succeeded" in rerun.out


@side_by_side
async def test_a_run_is_suspended_resumed_and_cancelled(case: Case) -> None:
    await case.ready(FLIGHTS, "flights")
    case.plays("land", succeed(rows=1), end=4)
    case.plays("audit", HANG)
    await case.run("r", "flights", parameters=[{"name": "day", "value": "2013-02-09"}])
    suspended = await dataops(case, "suspend", "r")
    assert (suspended.code, suspended.out) == (0, "r is suspended; go on with: dataops resume r\n")
    await case.waits("Suspended")
    assert (await dataops(case, "resume", "r")).out == "r goes on\n"
    written = json.loads((await dataops(case, "suspend", "r", "-o", "json")).out)
    assert (written["kind"], written["spec"]["suspend"]) == ("PipelineRun", True)
    assert "  suspend: false" in (await dataops(case, "resume", "r", "-o", "yaml")).lines
    await case.step_is("audit", "Running")
    cancelled = await dataops(case, "cancel", "r", "--watch")
    assert cancelled.code == 0, cancelled
    assert cancelled.lines[0] == "r is being cancelled"
    assert "run r  Cancelled" in cancelled.lines[-1]
    assert (await case.api.get(RUNS, case.namespace, "r"))["spec"]["cancel"] == "Graceful"
    again = await dataops(case, "cancel", "r", "--now", "-o", "name")
    assert (again.code, again.err) == (3, "dataops: run r has ended: it is Cancelled\n")


@side_by_side
async def test_a_run_is_done_again_from_what_failed(case: Case) -> None:
    await case.ready(FLIGHTS, "flights")
    case.plays("land", HANG, run="hangs")
    case.plays("land", succeed(rows=1))
    case.plays("audit", fail(3), run="r")
    for name in ("hangs", "r"):
        await case.run(name, "flights", parameters=[{"name": "day", "value": "2013-02-09"}])
    early = await dataops(case, "rerun", "hangs")
    assert (early.code, "has not ended" in early.err) == (3, True), early
    hangs = await dataops(case, "cancel", "hangs", "--now", "-o", "name")
    assert hangs.out == "pipelinerun.dataops.dev/hangs\n"
    await case.ended("hangs")
    await case.ended("r")
    both = await dataops(case, "rerun", "r", "--all", "--step", "audit")
    assert both.code == 2, both
    for words, told in (
        (("--step", "adit"), "no step 'adit'; did you mean 'audit'"),
        (("-p", "dya=2013-02-09"), "'dya'"),
        (("-p", "day=monday"), '"monday" is not a date'),
        (("--revision", "flights-0"), "is not that of another one; add --all, or leave it out"),
    ):
        wrong = await dataops(case, "rerun", "r", *words)
        assert (wrong.code, told in " ".join(wrong.err.replace("│", " ").split())) == (2, True), wrong
    assert len(await case.api.list(RUNS, case.namespace)) == 2, "nothing was created"
    again = await dataops(case, "rerun", "r", "--name", "r2", "--refresh", "--watch")
    assert again.code == 0, again
    assert "taken over from run r" in (await dataops(case, "get", "r2")).out
    asked = (await case.api.get(RUNS, case.namespace, "r2"))["spec"]
    assert (asked["rerun"], asked["cache"]) == ({"of": "r", "mode": "FromFailed"}, "Refresh")


@side_by_side
async def test_what_would_be_refused_is_not_created(case: Case) -> None:
    await case.ready(FLIGHTS, "flights")
    old = await dataops(case, "run", "flights", "-p", "day=2013-02-09", "--revision", "flights-0")
    assert (old.code, "no revision 'flights-0'" in old.err) == (3, True), old
    await case.apply(spec(step("a", "b"), step("b", "a")), "circle")
    await case.until(PIPELINES, "circle", lambda found: condition(found, "Ready").get("reason") == "Invalid")
    circle = await dataops(case, "run", "circle")
    assert (circle.code, "pipeline circle cannot run: spec.steps" in circle.err) == (3, True), circle
    await case.ready(spec(step("a", args=["$(targets.lake.path)"])), "placed")
    prod = {"metadata": {"name": "prod"}, "spec": {"namespace": f"{case.namespace[:50]}-prod"}}
    await case.api.create(ENVIRONMENTS, case.namespace, prod)
    await case.until(ENVIRONMENTS, "prod", lambda found: "namespace" in found.get("status", {}))
    here = await dataops(case, "run", "placed")
    assert (here.code, f"run in: {case.namespace[:50]}-prod" in here.err) == (3, True), here
    assert not await case.api.list(RUNS, case.namespace)
    await case.api.delete(ENVIRONMENTS, case.namespace, "prod")
    await case.none_left(ENVIRONMENTS)


@side_by_side
async def test_names_are_completed_from_the_cluster(case: Case) -> None:
    await case.ready(FLIGHTS, "flights")
    await case.run("r-one", "flights", parameters=[{"name": "day", "value": "2013-02-09"}])
    for line, expected in (
        (f"dataops run -n {case.namespace} fl", ["flights"]),
        (f"dataops watch -n {case.namespace} r-", ["r-one"]),
    ):
        assert await completed(case, line) == expected, line


async def completed(case: Case, line: str) -> list[str]:
    """What bash is offered behind a line."""
    more = {"_DATAOPS_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(line.split()) - 1)}
    process = await asyncio.create_subprocess_exec(
        ROOT / "tools" / "bin" / "dataops",
        env={**os.environ, "KUBECONFIG": str(case.plane.kubeconfig), **more},
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate()
    return out.decode().split()
