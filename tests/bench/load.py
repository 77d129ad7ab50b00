"""One load: runs created at once or at a pace, watched to their end, with what they cost."""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
import statistics
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple, Self

from tests.bench import audit
from tests.bench.vaulted import SOURCE, USES, VaultCost, a_vault
from tests.harness import process
from tests.harness.api import Api, Object
from tests.harness.history import run_ended
from tests.harness.kinds import PIPELINES, RUNS
from tests.harness.operator import ROOT, OperatorProcess
from tests.harness.player import PlayerProcess, PodTimes
from tests.harness.script import Play, Rule, Script

from localcluster.controlplane import ControlPlane

NAMESPACE = "bench"
NAMES = ("a", "b", "c")
"""Of a run's steps, in their order."""
STEPS = len(NAMES)
PIPELINE = "chain"
RUN_NAME = "run-{:05d}"
SETTLE = 8.0
"""Seconds after the last run's end that still count: the Job controller tells of the last pods late, and a Pipeline is
told of its runs' ends some seconds after."""
CREATORS = 32


@dataclass(frozen=True)
class Load:
    """How many runs, and how fast."""

    name: str
    runs: int
    per_minute: int = 0
    """0 for all at once."""
    secrets: bool = False
    """Whether each run reads a secret of a real Vault, in an Environment."""
    fused: bool = False
    """Whether the steps of a run share a pod."""
    hold: float = 0
    """Seconds that a run's first step lasts, so that all runs are alive before the first of them ends; 0 for as long
    as any other step."""
    within: float = 900
    """Seconds after which the bench gives up."""
    idle: float = 10
    """Seconds to watch for writes after all has ended and the operator was restarted."""


@dataclass(frozen=True)
class Cost:
    """What a load did and cost; times in seconds unless said otherwise."""

    load: str
    tuned: bool
    runs: int
    failed: int
    runs_per_minute: float
    delay_p50: float
    delay_p95: float
    delay_p99: float
    writes_mean: float
    writes_max: int
    events_per_run: float
    leases: int
    refused: dict[str, int]
    definitions: int
    operator_cpu_ms: float
    api_cpu_ms: float
    rss_idle_mb: float
    rss_peak_mb: float
    restart_seconds: float
    idle_writes: dict[str, int]
    idle_seconds: float
    foreign_share: float
    """The part of the machine that others' processes took meanwhile; above 0.1 the times are not fair."""
    vault: VaultCost | None = None
    """Of a load with secrets."""
    fused: bool = False
    """Whether the steps of a run shared a pod."""
    alive: int = 0
    """The most runs that were alive at the same time, of a load whose runs should have been; 0 of any other."""


@dataclass(frozen=True)
class Usage:
    """CPU time in seconds, by process and of the whole machine."""

    of: dict[int, float]
    machine: float

    @classmethod
    def now(cls, pids: Sequence[int]) -> Self:
        """So far."""
        return cls({pid: process.cpu_seconds(pid) for pid in set(pids)}, process.machine_cpu_seconds())

    def since(self, before: Usage) -> Usage:
        """Between two readings."""
        spent = {pid: seconds - before.of[pid] for pid, seconds in self.of.items()}
        return Usage(spent, self.machine - before.machine)

    @property
    def foreign(self) -> float:
        """What other processes took."""
        return max(0.0, self.machine - sum(self.of.values()))


def measure(load: Load, *, tuned: bool, python: Path, directory: Path) -> Cost:
    """Measure one load on a control plane of its own.

    Args:
        load: the load.
        tuned: whether the Job controller's stock limits are lifted.
        python: the operator's interpreter.
        directory: for logs; what an earlier measurement left there goes.

    Raises:
        AssertionError: the runs did not end in time, or the operator died.
    """
    fresh(directory)
    with ControlPlane.start(f"bench-{os.getpid()}", tuned_jobs=tuned) as plane:
        rules = [Rule(Play(end=load.hold), step=NAMES[0])] if load.hold else []
        player = PlayerProcess(plane.server, plane.token, plane.ca, Script(rules), directory)
        return asyncio.run(_measure(plane, player, load, tuned, python, directory))


def fresh(directory: Path) -> None:
    """Have an empty directory: a Vault would take up there what it was when it was last measured."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)


async def _measure(
    plane: ControlPlane,
    player: PlayerProcess,
    load: Load,
    tuned: bool,
    python: Path,
    directory: Path,
) -> Cost:
    assert plane.audit_log, "the control plane was started without an audit log"
    server = plane.pids["kube-apiserver"]
    log = directory / "operator.log"
    async with AsyncExitStack() as stack:
        api = await stack.enter_async_context(Api(plane.server, plane.token, plane.ca, "bench"))
        await api.install_crds(ROOT / "crds")
        await api.make_namespace(NAMESPACE)
        vault = await stack.enter_async_context(a_vault(plane, api, NAMESPACE, directory)) if load.secrets else None
        words = vault.arguments if vault else []
        operator = OperatorProcess(plane.kubeconfig, log, lease_namespace=NAMESPACE, python=python, arguments=words)
        async with operator:
            await api.create(PIPELINES, NAMESPACE, pipeline(secrets=load.secrets, fused=load.fused))
            if vault:
                await vault.begin()
            await _calm(server)
            idle_rss = operator.rss_bytes()
            with player:
                pids = [operator.pid, server, player.pid, os.getpid(), *plane.pids.values()]
                pids += [vault.pid] if vault else []
                before, began = Usage.now(pids), time.monotonic()
                rate, seen = await _drive(api, operator, load)
                settled = asyncio.create_task(asyncio.sleep(SETTLE))
                vault_cost = await vault.cost() if vault else None
                await settled
                spent = Usage.now(pids).since(before)
                operator_cpu, server_cpu = spent.of[operator.pid], spent.of[server]
                foreign = spent.foreign / (time.monotonic() - began) / (os.cpu_count() or 1)
            peak = operator.peak_rss_bytes()
            counted = audit.count(plane.audit_log, len(RUN_NAME.format(0)))
            await operator.terminate()
            # What it might write while it starts counts as well: nothing has changed since its end.
            since, began = datetime.now(UTC), time.monotonic()
            await operator.start()
            restart = time.monotonic() - began
            await asyncio.sleep(load.idle)
            idle = audit.count(plane.audit_log, len(RUN_NAME.format(0)), since).idle
    delays = step_delays(player.times())
    p50, p95, p99 = (_quantile(delays, share) for share in (0.5, 0.95, 0.99))
    return Cost(
        load=load.name,
        tuned=tuned,
        runs=load.runs,
        failed=seen.failed,
        runs_per_minute=rate,
        delay_p50=p50,
        delay_p95=p95,
        delay_p99=p99,
        writes_mean=(counted.per_run.total() + counted.records.total()) / load.runs,
        writes_max=max(counted.per_run.values(), default=0) + max(counted.records.values(), default=0),
        events_per_run=counted.events / load.runs,
        leases=counted.leases,
        refused=dict(counted.refused),
        definitions=counted.definitions,
        operator_cpu_ms=operator_cpu / load.runs * 1000,
        api_cpu_ms=server_cpu / load.runs * 1000,
        rss_idle_mb=idle_rss / 2**20,
        rss_peak_mb=peak / 2**20,
        restart_seconds=restart,
        idle_writes=dict(idle),
        idle_seconds=load.idle,
        foreign_share=foreign,
        vault=vault_cost,
        fused=load.fused,
        alive=seen.alive if load.hold else 0,
    )


def step_delays(times: Sequence[PodTimes]) -> list[float]:
    """From the answer to the write that made a step's pod Succeeded to the ADDED event of the next step's pod."""
    by_run: dict[str, list[PodTimes]] = {}
    for pod in times:
        by_run.setdefault(pod.run_uid, []).append(pod)
    found = []
    for pods in by_run.values():
        chain = sorted(pods, key=lambda pod: pod.step)
        found += [after.added - one.ended for one, after in itertools.pairwise(chain)]
    return found


def pipeline(*, secrets: bool = False, fused: bool = False) -> Object:
    """Three one-container steps, one after the other; their names sort in that order."""
    steps: list[Object] = [{"name": name, "command": ["work"]} for name in NAMES]
    for step, need in zip(steps[1:], NAMES, strict=False):
        step["needs"] = [need]
    spec: Object = {"defaults": {"image": "example.test/step:1"}, "steps": steps}
    if fused:
        spec["fuse"] = "Auto"
    if secrets:
        spec["secrets"] = [SOURCE]
        for step in steps:
            step["secrets"] = USES
    return {"metadata": {"name": PIPELINE}, "spec": spec}


class _Watched(NamedTuple):
    """What became of the runs: when each ended, in order; how many failed; the most that were alive at once."""

    ends: list[float]
    failed: int
    alive: int


async def _drive(api: Api, operator: OperatorProcess, load: Load) -> tuple[float, _Watched]:
    """Create the runs and wait for the last one's end: runs a minute, and what became of them.

    At once: from the first creation to the last end. At a pace: between the first end and the last, since the time that
    the first run takes is no part of the rate.
    """
    synced = asyncio.Event()
    watcher = asyncio.create_task(_watch(api, load.runs, synced))
    await synced.wait()
    began = time.monotonic()
    gate = asyncio.Semaphore(CREATORS)
    try:
        async with asyncio.timeout(load.within):
            await asyncio.gather(*(_create(api, gate, load, n) for n in range(load.runs)))
            seen = await watcher
    except TimeoutError:
        raise AssertionError(f"{load.name}: not ended in {load.within} s\n{operator.tail()}") from None
    finally:
        watcher.cancel()
    assert operator.alive, f"the operator died:\n{operator.tail()}"
    if load.per_minute:
        return (load.runs - 1) / (seen.ends[-1] - seen.ends[0]) * 60, seen
    return load.runs / (seen.ends[-1] - began) * 60, seen


async def _create(api: Api, gate: asyncio.Semaphore, load: Load, number: int) -> None:
    if load.per_minute:
        await asyncio.sleep(number * 60 / load.per_minute)
    async with gate:
        run = {"metadata": {"name": RUN_NAME.format(number)}, "spec": {"pipeline": PIPELINE}}
        await api.create(RUNS, NAMESPACE, run)


async def _watch(api: Api, runs: int, synced: asyncio.Event) -> _Watched:
    """Follow the runs until so many have ended. One is alive from the Job of its first step on."""
    ends: dict[str, float] = {}
    alive: set[str] = set()
    failed = most = 0
    async for type_, run in api.list_then_watch(RUNS, NAMESPACE):
        if type_ == "SYNCED":
            synced.set()
            continue
        name, phase = run["metadata"]["name"], run.get("status", {}).get("phase")
        if run_ended(run) and name not in ends:
            ends[name] = time.monotonic()
            failed += phase != "Succeeded"
            alive.discard(name)
            if len(ends) == runs:
                break
        elif phase == "Running":
            alive.add(name)
            most = max(most, len(alive))
    return _Watched(list(ends.values()), failed, most)


async def _calm(server: int) -> None:
    """Wait until the API server has digested its own start and the new kinds, at most 30 seconds."""
    for _ in range(15):
        before = process.cpu_seconds(server)
        await asyncio.sleep(2)
        if process.cpu_seconds(server) - before < 0.2:
            return


def _quantile(values: Sequence[float], share: float) -> float:
    if len(values) < 2:
        return float("nan")
    return statistics.quantiles(values, n=100, method="inclusive")[round(share * 100) - 1]
