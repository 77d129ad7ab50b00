"""The runs of a load: what they are, created at once or at a pace, and watched to their end."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from tests.bench.stand import NAMESPACE
from tests.bench.vaulted import SOURCE, USES
from tests.harness.api import Api, Object
from tests.harness.history import run_ended
from tests.harness.kinds import PIPELINES, RUNS

NAMES = ("a", "b", "c")
"""Of a run's steps, in their order."""
STEPS = len(NAMES)
PIPELINE = "chain"
RUN_NAME = "run-{:05d}"
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
    yardstick: bool = False
    """Whether a bare loop is measured after the operator, where the Job controller is tuned."""


class Driver(Protocol):
    """The process that brings the runs to their end."""

    @property
    def pid(self) -> int:
        """Its id."""

    @property
    def alive(self) -> bool:
        """Whether it runs."""

    def tail(self) -> str:
        """The end of its log."""


class Watched(NamedTuple):
    """What became of the runs: when each ended, in order; how many failed; the most alive at once."""

    ends: list[float]
    failed: int
    alive: int


def pipeline(*, secrets: bool = False, fused: bool = False) -> Object:
    """Three one-container steps, one after the other; their names sort in that order."""
    steps: list[Object] = [{"name": name, "command": ["work"]} for name in NAMES]
    for step, need in zip(steps[1:], NAMES, strict=False):
        step["needs"] = [need]
    fuse = "Auto" if fused else "Never"
    spec: Object = {"defaults": {"image": "example.test/step:1"}, "fuse": fuse, "steps": steps}
    if secrets:
        spec["secrets"] = [SOURCE]
        for step in steps:
            step["secrets"] = USES
    return {"metadata": {"name": PIPELINE}, "spec": spec}


async def define(api: Api, *, secrets: bool = False, fused: bool = False) -> None:
    """Create the pipeline."""
    await api.create(PIPELINES, NAMESPACE, pipeline(secrets=secrets, fused=fused))


async def create(api: Api, name: str) -> Object:
    """Create one run."""
    return await api.create(RUNS, NAMESPACE, {"metadata": {"name": name}, "spec": {"pipeline": PIPELINE}})


async def drive(api: Api, driver: Driver, load: Load) -> tuple[float, Watched]:
    """Create the runs and wait for the last one's end: runs a minute, and what became of them.

    At once: from the first creation to the last end. At a pace: between the first end and the last, since the time that
    the first run takes is no part of the rate.

    Raises:
        AssertionError: they did not end in time, or the driver died.
    """
    synced = asyncio.Event()
    watcher = asyncio.create_task(_watch(api, load.runs, synced))
    await synced.wait()
    began = time.monotonic()
    gate = asyncio.Semaphore(CREATORS)
    try:
        async with asyncio.timeout(load.within):
            await asyncio.gather(*(_create(api, gate, load, n) for n in range(load.runs)))
            while not watcher.done() and driver.alive:
                await asyncio.wait({watcher}, timeout=1)
            assert driver.alive, f"who should end the runs has died:\n{driver.tail()}"
            seen = await watcher
    except TimeoutError:
        raise AssertionError(f"{load.name}: not ended in {load.within} s\n{driver.tail()}") from None
    finally:
        watcher.cancel()
    if load.per_minute:
        return (load.runs - 1) / (seen.ends[-1] - seen.ends[0]) * 60, seen
    return load.runs / (seen.ends[-1] - began) * 60, seen


async def _create(api: Api, gate: asyncio.Semaphore, load: Load, number: int) -> None:
    if load.per_minute:
        await asyncio.sleep(number * 60 / load.per_minute)
    async with gate:
        await create(api, RUN_NAME.format(number))


async def _watch(api: Api, runs: int, synced: asyncio.Event) -> Watched:
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
    return Watched(list(ends.values()), failed, most)
