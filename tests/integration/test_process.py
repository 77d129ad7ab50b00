"""The operator as a process: its probes, its end, its successor, what it writes and what it leaves alone."""

from __future__ import annotations

import asyncio
import os
import subprocess
import time
from pathlib import Path

import aiohttp
import orjson
import pytest
from tests.harness.history import Cluster
from tests.harness.interpreter import interpreter
from tests.harness.invariants import unchanged
from tests.harness.kinds import JOBS, LEASES, PIPELINES, PODS, REVISIONS, RUNS
from tests.harness.operator import ROOT
from tests.harness.proxy import Answer, Call, Fault, Forward, Proxy
from tests.harness.script import Outcome, Play, succeed
from tests.integration.beside import side_by_side
from tests.integration.support import (
    Case,
    Operator,
    audit_lines,
    phases,
    row,
    spec,
    step,
    succeeded,
    until,
    verdict,
    writes,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")
OPERATOR = False

COUNT = {"name": "rows", "type": "Integer"}
LEASE = "dataops-operator"
CHAIN = [step("a", outputs=[COUNT]), step("b", command=["b", "$(steps.a.outputs.rows)"]), step("c", "b")]
OF_RUNS = ("pipelineruns/", "jobs")


async def holder(case: Case) -> str:
    """Who holds the Lease: the identity that the operator was given, empty for nobody."""
    lease = await case.api.find(LEASES, case.namespace, LEASE)
    return str(((lease or {}).get("spec", {}).get("holderIdentity") or "").split("_")[0])


async def led_by(case: Case, who: str, within: float = 30) -> float:
    """Wait until somebody holds the Lease; how many seconds that took."""
    began = time.monotonic()
    async with asyncio.timeout(within):
        while True:
            if await holder(case) == who:
                return time.monotonic() - began
            await asyncio.sleep(0.05)


async def status(operator: Operator, path: str) -> int:
    """The status that the operator's HTTP endpoint answers with; 0 for no answer."""
    try:
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{operator.port}{path}") as answer,
        ):
            return answer.status
    except aiohttp.ClientError:
        return 0


class HoldLists(Fault):
    """No list is answered before it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.go = asyncio.Event()

    async def read(self, call: Call, forward: Forward) -> Answer | None:
        if call.is_list:
            self.hits.append(str(call))
            await self.go.wait()
        return await forward()


@side_by_side
async def test_it_is_alive_at_once_and_ready_when_the_caches_are_synced(case: Case) -> None:
    hold = HoldLists()
    async with Proxy(case.plane.server, case.plane.token, case.plane.ca, hold) as proxy:
        operator = case.operator(kubeconfig=proxy.kubeconfig(case.logs / "held.kubeconfig"))
        starting = asyncio.create_task(operator.start())

        async def held() -> bool:
            return await status(operator, "/healthz") == 200 and bool(hold.struck())

        await until(held)
        await asyncio.sleep(0.5)
        assert await status(operator, "/readyz") == 503
        assert await holder(case) == "", "it leads before it knows what there is"
        hold.go.set()
        await starting
        assert await status(operator, "/readyz") == await status(operator, "/healthz") == 200
        await led_by(case, "one")
        operator.kill()


@side_by_side
async def test_a_three_step_run_costs_few_writes_and_rest_costs_none(case: Case) -> None:
    case.plays("a", succeed(rows=1))
    async with case.operator("--resync", "2s") as operator:
        await case.ready(spec(*CHAIN))
        before = audit_lines(case.plane)
        await case.run()
        assert succeeded(await case.ended())
        await case.until(PIPELINES, "p", lambda found: found["status"].get("lastRun") == "r")
        written = writes(case.plane, case.namespace, before)
        of_the_run = [one for one in written if one.split()[1].startswith(OF_RUNS)]
        print(f"{len(of_the_run)} writes for a run of 3 steps, {2 * 3 + 3} allowed: {of_the_run}")
        assert len(of_the_run) <= 2 * 3 + 3, of_the_run
        assert all(not one.startswith("delete") for one in written), written
        others = [one for one in written if one not in of_the_run]
        assert len(others) <= 1, f"the pipeline is told of its last run, and no more: {others}"

        resting = await case.seen.settled()
        since = audit_lines(case.plane)
        await asyncio.sleep(6)
        assert writes(case.plane, case.namespace, since) == []
        await operator.terminate()
        await operator.start()
        await led_by(case, "one")
        await asyncio.sleep(3)
        assert writes(case.plane, case.namespace, since) == []
        assert unchanged(resting, await Cluster.read(case.api, case.namespace)) == []


@side_by_side
async def test_sigterm_finishes_the_writes_in_hand_and_hands_the_lease_over(case: Case) -> None:
    case.plays("", Play(), end=0.5)
    async with case.operator(identity="one") as one:
        await led_by(case, "one")
        async with case.operator(identity="two") as two:
            await case.ready(spec(*(step(f"s{number}") for number in range(5)), step("end", "s0")))
            for number in range(10):
                await case.run(f"r{number}")
            await case.until(JOBS, await a_job(case), lambda _: True)
            began = time.monotonic()
            assert await one.terminate() == 0
            ended = time.monotonic() - began
            await led_by(case, "two")
            handed = time.monotonic() - began
            print(f"ended in {ended:.2f} s, handed over in {handed:.2f} s")
            assert handed < 9, "by the hand-over, about 3 s: a Lease that was not handed over stands for 15 s"
            for number in range(10):
                assert succeeded(await case.ended(f"r{number}"))
            assert "Traceback" not in one.tail(100_000)
            assert await two.terminate() == 0
            assert await holder(case) == ""


async def a_job(case: Case) -> str:
    """Wait for a first Job; its name."""
    async with asyncio.timeout(20):
        while True:
            if found := await case.api.list(JOBS, case.namespace):
                return str(found[0]["metadata"]["name"])
            await asyncio.sleep(0.02)


@side_by_side
async def test_a_standby_takes_over_from_a_killed_leader_and_finishes_its_runs(case: Case) -> None:
    case.plays("a", succeed(rows=1), end=1)
    plane = case.plane
    async with (
        Proxy(plane.server, plane.token, plane.ca) as first,
        Proxy(plane.server, plane.token, plane.ca) as second,
        case.operator(identity="one", kubeconfig=first.kubeconfig(case.logs / "first.kubeconfig")) as one,
    ):
        await led_by(case, "one")
        async with case.operator(identity="two", kubeconfig=second.kubeconfig(case.logs / "second.kubeconfig")) as two:
            await case.ready(spec(*CHAIN))
            await case.run("before")
            assert succeeded(await case.ended("before"))
            assert second.writes == [], "both alive: only the leader writes"
            assert len(first.writes) > 5
            await case.run("through")
            await case.step_is("a", "Running", "through")
            one.kill()
            took = await led_by(case, "two", within=40)
            print(f"taken over after {took:.1f} s, the lease lasts 15 s")
            assert took > 8, "the lease was taken while it ran"
            assert succeeded(await case.ended("through"))
            assert len(await case.jobs(run="through")) == 3
            assert two.alive


@side_by_side
async def test_what_ended_while_no_operator_was_there_is_told_by_jobs_and_pods(case: Case) -> None:
    """A pod that is gone leaves its Job as the witness; outputs that went with it are made again."""
    case.plays("a", succeed(rows=4), end=1)
    case.plays("b", Play(), end=1)
    operator = case.operator()
    async with operator:
        retry = {"limit": 2, "backoff": {"initial": "1s"}}
        sum_ = step("c", "b", command=["c", "$(steps.a.outputs.rows)"])
        await case.ready(spec(step("a", outputs=[COUNT], retry=retry), step("b"), sum_))
        await case.run()
        await case.step_is("a", "Running")
        await case.step_is("b", "Running")
    for name in ("a", "b"):
        pod = await case.a_pod(name, "Succeeded")
        (job,) = await case.jobs(name)
        await case.until(JOBS, job["metadata"]["name"], lambda job: job["status"].get("succeeded") == 1)
        await case.api.delete(PODS, case.namespace, pod["metadata"]["name"], grace=0)
    await case.api.delete(LEASES, case.namespace, LEASE)
    async with operator:
        run = await case.ended()
        assert succeeded(run)
        assert (row(run, "a")["attempt"], row(run, "b")["attempt"]) == (2, 1)
        assert row(run, "a")["outputs"] == {"rows": 4}
        await case.check()


@side_by_side
async def test_only_the_named_namespaces_are_looked_after(case: Case) -> None:
    other = f"{case.namespace}-x"
    await case.api.make_namespace(other)
    body = {"metadata": {"name": "p"}, "spec": spec(step("a"))}
    await case.api.create(PIPELINES, other, body)
    await case.api.create(RUNS, other, {"metadata": {"name": "r"}, "spec": {"pipeline": "p"}})
    since = audit_lines(case.plane)
    async with case.operator():
        await case.ready(spec(step("a")))
        await case.run()
        assert succeeded(await case.ended())
        await asyncio.sleep(1)
        assert writes(case.plane, other, since) == []
        run = await case.api.get(RUNS, other, "r")
        assert run.get("status", {}).get("conditions") is None
    await case.api.delete(RUNS, other, "r")


@side_by_side
async def test_every_line_of_its_log_is_json(case: Case) -> None:
    case.plays("bad", Play(outcome=Outcome.FAIL))
    async with case.operator("--log-format", "json") as operator:
        await case.ready(spec(step("good"), step("bad")))
        await case.run()
        await case.ended()
        await operator.terminate()
        lines = [orjson.loads(line) for line in operator.log.read_bytes().splitlines()]
    assert lines
    assert all({"time", "level", "logger", "message"} <= line.keys() for line in lines)
    assert any(f"{case.namespace}/r: Failed" in line["message"] for line in lines)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--workers", "0"], "--workers: 0 would do no work"),
        (["--workers", "many"], "--workers: invalid int value: 'many'"),
        (["--listen", "8080x"], "--listen: '8080x' is not an address and a port"),
        (["--resync", "soon"], "--resync: 'soon' is not a duration"),
        (["--resync", "0s"], "--resync: lists without a pause"),
        (["--pipeline-wait", "-1"], "--pipeline-wait"),
        (["--nonsense"], "unrecognized arguments: --nonsense"),
        (["--kubeconfig", "/nonexistent"], "the kubeconfig /nonexistent cannot be read: No such file"),
        ([], "no Kubernetes API server is known"),
    ],
)
async def test_what_cannot_work_is_said_in_one_line_at_the_start(words: list[str], told: str, tmp_path: Path) -> None:
    code, lines = start_wrongly(["--lease-namespace", "x", *words], tmp_path)
    assert code not in (0, None)
    assert told in lines[-1]
    assert len([line for line in lines if not line.startswith("usage: ")]) == 1, lines


async def test_without_a_lease_namespace_it_says_what_is_missing(tmp_path: Path) -> None:
    code, lines = start_wrongly([], tmp_path)
    assert code == 2
    assert "--lease-namespace is needed where POD_NAMESPACE is not set" in lines[-1]


def start_wrongly(words: list[str], home: Path) -> tuple[int, list[str]]:
    """Exit code and lines of an operator that is to end at once."""
    operator = [str(interpreter()), "-m", "dataops_operator.main", *words]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "operator"), "HOME": str(home)}
    done = subprocess.run(operator, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout == ""
    return done.returncode, done.stderr.splitlines()


@side_by_side
async def test_a_revision_that_was_deleted_meanwhile_is_made_again_at_the_next_start(case: Case) -> None:
    case.plays("a", succeed(rows=1))
    async with case.operator() as operator:
        name = (await case.ready(spec(*CHAIN)))["status"]["activeRevision"]
        assert await operator.terminate() == 0
        await case.api.delete(REVISIONS, case.namespace, name)
        await operator.start()

        async def made_again() -> bool:
            return [one["metadata"]["name"] for one in await case.revisions()] == [name]

        await until(made_again)
        await case.run(revision=name)
        assert succeeded(await case.ended())


@side_by_side
async def test_a_run_whose_revision_is_gone_for_good_keeps_the_steps_that_ended_well(case: Case) -> None:
    case.plays("a", succeed(rows=1))
    case.plays("b", Play(), end=2)
    case.broken = {"I3", "I7"}  # the Pipeline that tells of its steps is gone; it fails, and not by a step
    async with case.operator() as operator:
        name = (await case.ready(spec(*CHAIN)))["status"]["activeRevision"]
        await case.run()
        await case.step_is("b", "Running")
        operator.kill()
        await case.api.delete(PIPELINES, case.namespace, "p")
        await case.api.delete(REVISIONS, case.namespace, name)
        await case.a_pod("b", "Succeeded")
        await operator.start()
        run = await case.ended()
    assert verdict(run) == ("False", "RevisionNotFound")
    assert phases(run) == {"a": "Succeeded", "b": "Succeeded", "c": "Skipped"}
    assert run["status"]["progress"] == "2/3"
