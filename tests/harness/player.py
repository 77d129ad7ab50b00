"""Plays the kubelet where no node is: pods that the Job controller made run and end as a script says.

In a test's own loop: `async with Player(api, script): ...`. As a process of its own (the bench, so that its
CPU time is apart from everybody's): `PlayerProcess`, or `python -m tests.harness.player --server ...
--script FILE --out FILE`.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import time
from collections.abc import Coroutine
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import orjson
import uvloop
from tests.harness import podstatus
from tests.harness.api import Api, ApiError, Object
from tests.harness.kinds import ATTEMPT, GOES_ON, INDEX, INDEX_FAILURES, ITEM, PODS, RUN, RUN_UID, STEP
from tests.harness.moduleprocess import ModuleProcess, parser, session
from tests.harness.script import Outcome, Play, Script
from tests.harness.stages import steps_of

REFUSED = (404, 409)
"""Answers to a status write that mean the pod is gone or another one by that name is there."""
ENDED = ("Succeeded", "Failed")
MODULE = "tests.harness.player"
"""Whose `serve` a `PlayerProcess` runs."""
HELD_BACK = {"waiting": {"reason": "CreateContainerConfigError", "message": "missing value for DATAOPS_GOES_ON"}}
"""What a kubelet says of a container whose pod has lost the label by which it finds its parameters."""


@dataclass
class PodTimes:
    """When one pod was seen, ran and ended, on the player's monotonic clock, seconds."""

    run_uid: str
    step: str
    attempt: int
    added: float
    running: float = 0.0
    ended: float = 0.0
    """When the API server answered the write that made the pod Succeeded or Failed; 0 if it never did."""


@dataclass
class Player:
    """Watches pods and writes their status.

    Args:
        api: an open session.
        script: what each pod does.
        namespace: whose pods; None for all.
        selector: which pods, by label.
    """

    api: Api
    script: Script
    namespace: str | None = None
    selector: str = RUN_UID
    times: dict[str, PodTimes] = field(default_factory=dict)
    """By pod UID, in the order in which the pods were seen."""
    _tasks: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    _limits: dict[str, int] = field(default_factory=dict)
    _held: set[str] = field(default_factory=set)
    """Pods that several steps share and that begin none that they have not."""
    """By pod UID, the deadline that it was seen with."""
    _writing: dict[str, asyncio.Lock] = field(default_factory=dict)
    """By pod UID, held while its status is written."""
    _watch: asyncio.Task[None] | None = None
    _synced: asyncio.Event = field(default_factory=asyncio.Event)
    _failure: BaseException | None = None

    async def __aenter__(self) -> Self:
        self._watch = asyncio.create_task(self._follow())
        await self._synced.wait()
        self._check()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        tasks = [task for task in (self._watch, *self._tasks.values()) if task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if error is None:
            self._check()

    def _check(self) -> None:
        if self._failure:
            raise RuntimeError("the player of pods failed, so the test proves nothing") from self._failure

    async def _follow(self) -> None:
        try:
            async for type_, pod in self.api.list_then_watch(PODS, self.namespace, self.selector):
                if type_ == "SYNCED":
                    self._synced.set()
                else:
                    self._see(type_, pod)
        except Exception as error:
            self._failure = error
            self._synced.set()
            raise

    def _see(self, type_: str, pod: Object) -> None:
        uid = pod["metadata"]["uid"]
        phase = pod.get("status", {}).get("phase")
        if type_ == "LISTED" and "startTime" in pod.get("status", {}):
            return  # another player's, of a case that was given up
        if type_ in ("ADDED", "LISTED") and phase == "Pending":
            self._begin(uid, pod)
        elif type_ == "DELETED":
            self._stop(uid)
            self._stop(f"{uid}/deadline")
        elif pod["metadata"].get("deletionTimestamp") and uid in self._tasks and phase not in ENDED:
            self._stop(uid)
            self._stop(f"{uid}/deadline")
            self._start(uid + "/killed", self._kill(pod))
        elif phase not in ENDED and uid in self.times:
            if GOES_ON not in pod["metadata"].get("labels", {}):
                self._held.add(uid)
            self._limit(pod)

    def _begin(self, uid: str, pod: Object) -> None:
        """Play a pod that has come."""
        labels = pod["metadata"].get("labels", {})
        step, attempt = labels.get(STEP, ""), int(labels.get(ATTEMPT, "1"))
        item = labels.get(INDEX, labels.get(ITEM))
        if INDEX in labels:  # the Job controller counts the attempts at an item of an Indexed Job
            attempt = 1 + int(pod["metadata"].get("annotations", {}).get(INDEX_FAILURES, "0"))
        self.times[uid] = PodTimes(labels.get(RUN_UID, ""), step, attempt, time.monotonic())
        if len(steps_of(pod)) > 1:
            self._start(uid, self._play_stage(pod))
            return
        number = None if item is None else int(item)
        play = self.script.play(pod["metadata"]["namespace"], labels.get(RUN, ""), step, attempt, number)
        self._start(uid, self._play(pod, play))

    def _limit(self, pod: Object) -> None:
        """See to it that a pod ends when its deadline is over, which may be set and lowered while it runs."""
        uid, seconds = pod["metadata"]["uid"], pod["spec"].get("activeDeadlineSeconds")
        if seconds is None or "startTime" not in pod["status"] or self._limits.get(uid) == seconds:
            return
        self._limits[uid] = seconds
        deadline = datetime.fromisoformat(pod["status"]["startTime"]).timestamp() + seconds
        self._stop(f"{uid}/deadline")
        self._start(f"{uid}/deadline", self._expire(pod, deadline))

    def _start(self, key: str, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks[key] = task
        task.add_done_callback(lambda done: self._done(key, done))

    def _stop(self, uid: str) -> None:
        task = self._tasks.pop(uid, None)
        if task:
            task.cancel()

    def _done(self, key: str, task: asyncio.Task[None]) -> None:
        if self._tasks.get(key) is task:
            del self._tasks[key]
        if not task.cancelled() and task.exception():
            self._failure = task.exception()

    async def _play(self, pod: Object, play: Play) -> None:
        times = self.times[pod["metadata"]["uid"]]
        await asyncio.sleep(play.start)
        started = podstatus.now()
        if play.outcome is Outcome.NEVER_START:
            await self._write(pod, podstatus.waiting(pod, play, started))
            await asyncio.Event().wait()
        if play.outcome is Outcome.PENDING:
            await self._write(pod, podstatus.unschedulable(started))
            await asyncio.Event().wait()
        if not await self._write(pod, podstatus.running(pod, started)):
            return
        times.running = time.monotonic()
        if play.outcome is Outcome.HANG:
            await asyncio.Event().wait()
        await asyncio.sleep(times.added + play.end - times.running)
        at = podstatus.now()
        lost = play.outcome is Outcome.LOSE_NODE
        status = podstatus.node_lost(at) if lost else podstatus.ended(pod, play, started, at)
        if await self._write(pod, status):
            times.ended = time.monotonic()
        if play.delete or lost:
            meta = pod["metadata"]
            await self.api.delete(PODS, meta["namespace"], meta["name"], grace=0)

    async def _play_stage(self, pod: Object) -> None:
        """Play a pod that several steps share: one container after the other, each as its own play says."""
        times = self.times[pod["metadata"]["uid"]]
        done: list[Object] = []
        for container in _containers(pod):
            play = self._play_of(pod, container)
            begun = time.monotonic()
            if done and pod["metadata"]["uid"] in self._held:
                await self._write(pod, podstatus.sharing(pod, done, HELD_BACK, podstatus.now()))
                await asyncio.Event().wait()
            await asyncio.sleep(0 if done else play.start)
            started = podstatus.now()
            if play.outcome is Outcome.NEVER_START:
                stuck = {"waiting": {"reason": play.reason, "message": play.message}}
                await self._write(pod, podstatus.sharing(pod, done, stuck, started))
                await asyncio.Event().wait()
            if play.outcome is Outcome.PENDING and not done:
                await self._write(pod, podstatus.unschedulable(started))
                await asyncio.Event().wait()
            if not await self._write(pod, podstatus.sharing(pod, done, {"running": {"startedAt": started}}, started)):
                return
            times.running = times.running or time.monotonic()
            if play.outcome is Outcome.HANG:
                await asyncio.Event().wait()
            await asyncio.sleep(begun + play.end - time.monotonic())
            ended = podstatus.terminated(play, started, podstatus.now())
            if play.outcome is not Outcome.SUCCEED:
                await self._write(pod, podstatus.sharing(pod, done, ended, started, phase="Failed"))
                return
            done.append(ended)
        last = podstatus.sharing(pod, done[:-1], done[-1], podstatus.now(), phase="Succeeded")
        if await self._write(pod, last):
            times.ended = time.monotonic()

    async def _expire(self, pod: Object, deadline: float) -> None:
        """End a pod when its deadline is over: what runs in it is told to end, and has its time for it."""
        meta = pod["metadata"]
        await asyncio.sleep(deadline - time.time())
        async with self._lock(meta["uid"]):
            self._stop(meta["uid"])
        found = await self.api.find(PODS, meta["namespace"], meta["name"])
        if found is None or found["metadata"]["uid"] != meta["uid"] or found["status"]["phase"] in ENDED:
            return
        plays = {one["name"]: self._play_of(found, one) for one in _containers(found)}
        status = found["status"]
        states = [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]
        at_work = [plays[one["name"]] for one in states if "running" in one["state"]]
        await self._write(found, podstatus.ending(found, podstatus.now()))
        await asyncio.sleep(max((play.grace for play in at_work), default=0))
        at = podstatus.now()
        if untold := max((play.untold for play in at_work), default=0):
            await self._write(found, podstatus.out_of_time(found, plays, at, told=False))
            await asyncio.sleep(untold)
        if await self._write(found, podstatus.out_of_time(found, plays, at)):
            self.times[meta["uid"]].ended = time.monotonic()

    def _play_of(self, pod: Object, container: Object) -> Play:
        """What a container of a pod does, which several steps may share."""
        labels = pod["metadata"].get("labels", {})
        env = {one["name"]: one.get("value") for one in container.get("env", [])}
        item, attempt = labels.get(INDEX, labels.get(ITEM)), int(env.get("DATAOPS_ATTEMPT") or 1)
        number = None if item is None else int(item)
        return self.script.play(pod["metadata"]["namespace"], labels.get(RUN, ""), container["name"], attempt, number)

    def _lock(self, uid: str) -> asyncio.Lock:
        return self._writing.setdefault(uid, asyncio.Lock())

    async def _kill(self, pod: Object) -> None:
        await self._write(pod, podstatus.killed(pod, podstatus.now()))

    async def _write(self, pod: Object, status: Object) -> bool:
        """Write a status; False if the pod is gone (its UID in the write keeps it off a successor)."""
        meta = pod["metadata"]
        body = {"metadata": {"uid": meta["uid"]}, "status": status}
        try:
            async with self._lock(meta["uid"]):
                await self.api.patch(PODS, meta["namespace"], meta["name"], body, "status")
        except ApiError as error:
            if error.status in REFUSED:
                return False
            raise
        return True


def _containers(pod: Object) -> list[Object]:
    """A pod's containers in the order in which they run."""
    return [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]


class PlayerProcess(ModuleProcess):
    """The player as a process of its own; a context manager.

    Args:
        server, token, ca: as for `Api`.
        script: what each pod does.
        directory: where its files go (script, log, times).
        module: whose `serve` it is.
    """

    def __init__(
        self,
        server: str,
        token: str,
        ca: str | Path,
        script: Script,
        directory: Path,
        module: str = MODULE,
    ) -> None:
        self._out = directory / "times.json"
        told = directory / "script.json"
        super().__init__(module, server, token, ca, directory, ["--script", str(told), "--out", str(self._out)])
        told.write_bytes(script.to_json())

    def times(self) -> list[PodTimes]:
        """What it saw and did; to be called after the context has ended.

        Raises:
            RuntimeError: it failed on the way; the message carries its log.
        """
        self.check()
        return [PodTimes(**row) for row in orjson.loads(self._out.read_bytes())]


def serve(description: str | None, player: type[Player]) -> None:
    """What a `PlayerProcess` runs: a player, until SIGTERM."""
    words = parser(description)
    for name in ("--script", "--out"):
        words.add_argument(name, type=Path, required=True)
    uvloop.run(_serve(words.parse_args(), player))


async def _serve(arguments: argparse.Namespace, kind: type[Player]) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    script = Script.from_json(arguments.script.read_bytes())
    async with session(arguments, "player") as api, kind(api, script) as player:
        arguments.ready.touch()
        await stop.wait()
    arguments.out.write_bytes(orjson.dumps(list(player.times.values())))


if __name__ == "__main__":
    serve(__doc__, Player)
