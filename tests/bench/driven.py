"""What a load does and costs, whoever brings its runs to their end: the operator, or a bare loop."""

from __future__ import annotations

import asyncio
import itertools
import os
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self

from tests.bench import audit
from tests.bench.runs import NAMES, OURS, RUN_NAME, Driver, Load, Work, drive
from tests.bench.stand import Stand
from tests.bench.vaulted import Vault, VaultCost
from tests.harness import process
from tests.harness.player import MODULE as PLAYER
from tests.harness.player import PodTimes
from tests.harness.script import Play, Rule, Script

SETTLE = 8.0
"""Seconds after the last run's end that still count: the Job controller tells of the last pods late, and a Pipeline is
told of its runs' ends some seconds after."""


@dataclass(frozen=True, kw_only=True)
class Driven:
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
    controller_cpu_ms: float
    """A run's, of who brought the runs to their end."""
    api_cpu_ms: float
    foreign_share: float
    """The part of the machine that others' processes took meanwhile; above 0.1 the times are not fair."""
    vault: VaultCost | None = None
    """Of a load with secrets."""
    fused: bool = False
    """Whether the steps of a run shared a pod."""
    alive: int = 0
    """The most runs that were alive at the same time, of a load whose runs should have been; 0 of any other."""

    def told(self) -> str:
        """The first figures, for who waits."""
        return (
            f"{self.runs_per_minute:,.0f} runs a minute, step delay p50 {self.delay_p50 * 1000:,.0f} ms, "
            f"{self.writes_mean:.1f} writes a run, {self.controller_cpu_ms:.1f} ms of CPU a run"
        )


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


async def driven(
    stand: Stand,
    load: Load,
    driver: Driver,
    agent: str,
    vault: Vault | None = None,
    work: Work = OURS,
    player: str = PLAYER,
) -> Driven:
    """Have a load's runs, their pods played, and see what they cost.

    Args:
        stand: with the pipeline.
        load: the load.
        driver: who brings the runs to their end, at work already.
        agent: how its user agent begins.
        vault: of a load with secrets.
        work: what the runs are.
        player: the module of the player of their pods.

    Raises:
        AssertionError: the runs did not end in time, or the driver died.
    """
    rules = [Rule(Play(end=load.hold), step=NAMES[0])] if load.hold else []
    with stand.player(Script(rules), player) as playing:
        pids = [driver.pid, playing.pid, os.getpid(), *stand.plane.pids.values()]
        pids += [vault.pid] if vault else []
        since, before, began = datetime.now(UTC), Usage.now(pids), time.monotonic()
        rate, seen = await drive(stand.api, driver, load, work)
        settled = asyncio.create_task(asyncio.sleep(SETTLE))
        vault_cost = await vault.cost() if vault else None
        await settled
        spent = Usage.now(pids).since(before)
        foreign = spent.foreign / (time.monotonic() - began) / (os.cpu_count() or 1)
    delays = step_delays(playing.times())
    p50, p95, p99 = (_quantile(delays, share) for share in (0.5, 0.95, 0.99))
    counted = audit.count(stand.audit_log, len(RUN_NAME.format(0)), since, agent)
    return Driven(
        load=load.name,
        tuned=stand.tuned,
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
        controller_cpu_ms=spent.of[driver.pid] / load.runs * 1000,
        api_cpu_ms=spent.of[stand.server] / load.runs * 1000,
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


def _quantile(values: Sequence[float], share: float) -> float:
    if len(values) < 2:
        return float("nan")
    return statistics.quantiles(values, n=100, method="inclusive")[round(share * 100) - 1]
