"""The runs of a load: what they are, created at once or at a pace, and watched to their end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

from tests.bench.stand import NAMESPACE, Stand
from tests.bench.vaulted import SOURCE, USES
from tests.harness.api import Api, Object
from tests.harness.history import run_ended
from tests.harness.kinds import JOBS, PIPELINES, PODS, RUNS, Kind
from tests.harness.player import MODULE as PLAYER

NAMES = ("a", "b", "c")
"""Of a run's steps, in their order."""
STEPS = len(NAMES)
PIPELINE = "chain"
RUN_NAME = "run-{:05d}"
CREATORS = 32
REHEARSAL = "rehearsal"
REHEARSED_WITHIN = 60.0
"""Seconds."""


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


@dataclass(frozen=True)
class Work:
    """What a load's runs are to the API server.

    Attributes:
        kind: their kind.
        spec: of each.
        ended: whether one has ended; its `status.phase` is then `Succeeded`, or it failed.
    """

    kind: Kind
    spec: Object
    ended: Callable[[Object], bool]


OURS: Final = Work(RUNS, {"pipeline": PIPELINE}, run_ended)


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


async def create(api: Api, name: str, work: Work = OURS) -> Object:
    """Create one run."""
    return await api.create(work.kind, NAMESPACE, {"metadata": {"name": name}, "spec": work.spec})


async def rehearse(stand: Stand, work: Work = OURS, player: str = PLAYER) -> None:
    """Have one run before those that count, and nothing left of it.

    An API server reads the schemas of the kinds when a policy first asks for them, a second of its time; where anybody
    works it has done so long since.

    Args:
        stand: where who brings runs to their end is at work, and the pipeline is there.
        work: what runs are.
        player: the module of the player of their pods.

    Raises:
        AssertionError: the run did not end in time.
    """
    with stand.player(module=player):
        await create(stand.api, REHEARSAL, work)
        await stand.api.wait_for(work.kind, NAMESPACE, REHEARSAL, work.ended, REHEARSED_WITHIN)
    await forget(stand.api, REHEARSAL, work.kind)


async def forget(api: Api, name: str, kind: Kind = RUNS) -> None:
    """Delete the only run that there is with its Jobs and pods, and wait until they are gone.

    One by one: the garbage collector learns of a new kind, such as the run's, up to 30 s late.
    """
    for owned in (JOBS, PODS):
        for one in await api.list(owned, NAMESPACE):
            await api.delete(owned, NAMESPACE, one["metadata"]["name"])
    await api.delete(kind, NAMESPACE, name)
    async with asyncio.timeout(REHEARSED_WITHIN):
        for gone in (kind, JOBS, PODS):
            while await api.list(gone, NAMESPACE):  # noqa: ASYNC110 - no event tells of the last one
                await asyncio.sleep(0.2)


async def drive(api: Api, driver: Driver, load: Load, work: Work = OURS) -> tuple[float, Watched]:
    """Create the runs and wait for the last one's end: runs a minute, and what became of them.

    At once: from the first creation to the last end. At a pace: between the first end and the last, since the time that
    the first run takes is no part of the rate.

    Raises:
        AssertionError: they did not end in time, or the driver died.
    """
    synced = asyncio.Event()
    watcher = asyncio.create_task(_watch(api, load.runs, synced, work))
    await synced.wait()
    began = time.monotonic()
    gate = asyncio.Semaphore(CREATORS)
    try:
        async with asyncio.timeout(load.within):
            await asyncio.gather(*(_create(api, gate, load, n, work) for n in range(load.runs)))
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


async def _create(api: Api, gate: asyncio.Semaphore, load: Load, number: int, work: Work) -> None:
    if load.per_minute:
        await asyncio.sleep(number * 60 / load.per_minute)
    async with gate:
        await create(api, RUN_NAME.format(number), work)


async def _watch(api: Api, runs: int, synced: asyncio.Event, work: Work) -> Watched:
    """Follow the runs until so many have ended. One is alive from the Job of its first step on."""
    ends: dict[str, float] = {}
    alive: set[str] = set()
    failed = most = 0
    async for type_, run in api.list_then_watch(work.kind, NAMESPACE):
        if type_ == "SYNCED":
            synced.set()
            continue
        name, phase = run["metadata"]["name"], run.get("status", {}).get("phase")
        if work.ended(run) and name not in ends:
            ends[name] = time.monotonic()
            failed += phase != "Succeeded"
            alive.discard(name)
            if len(ends) == runs:
                break
        elif phase == "Running":
            alive.add(name)
            most = max(most, len(alive))
    return Watched(list(ends.values()), failed, most)
