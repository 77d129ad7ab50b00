"""Plays the kubelet where no node is: pods that the Job controller made run and end as a script says.

In a test's own loop: `async with Player(api, script): ...`. As a process of its own (the bench, so that its
CPU time is apart from everybody's): `PlayerProcess`, or `python -m tests.harness.player --server ...
--script FILE --out FILE`.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import orjson
from tests.harness import podstatus
from tests.harness.api import Api, ApiError, Object
from tests.harness.kinds import ATTEMPT, INDEX, INDEX_FAILURES, ITEM, PODS, RUN, RUN_UID, STEP
from tests.harness.script import Outcome, Play, Script
from tests.harness.stages import steps_of

ROOT = Path(__file__).resolve().parents[2]
REFUSED = (404, 409)
"""Answers to a status write that mean the pod is gone or another one by that name is there."""


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
        if type_ in ("ADDED", "LISTED") and phase == "Pending":
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
        elif type_ == "DELETED":
            self._stop(uid)
        elif pod["metadata"].get("deletionTimestamp") and uid in self._tasks and phase not in ("Succeeded", "Failed"):
            self._stop(uid)
            self._start(uid + "/killed", self._kill(pod))

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
        meta, times = pod["metadata"], self.times[pod["metadata"]["uid"]]
        every = [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]
        done: list[Object] = []
        for container in every:
            env = {one["name"]: one.get("value") for one in container.get("env", [])}
            step, attempt = container["name"], int(env.get("DATAOPS_ATTEMPT") or 1)
            play = self.script.play(meta["namespace"], meta["labels"].get(RUN, ""), step, attempt)
            begun = time.monotonic()
            await asyncio.sleep(0 if done else play.start)
            started = podstatus.now()
            if play.outcome is Outcome.NEVER_START:
                stuck = {"waiting": {"reason": play.reason, "message": play.message}}
                await self._write(pod, podstatus.sharing(pod, done, stuck, started))
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

    async def _kill(self, pod: Object) -> None:
        await self._write(pod, podstatus.killed(pod, podstatus.now()))

    async def _write(self, pod: Object, status: Object) -> bool:
        """Write a status; False if the pod is gone (its UID in the write keeps it off a successor)."""
        meta = pod["metadata"]
        body = {"metadata": {"uid": meta["uid"]}, "status": status}
        try:
            await self.api.patch(PODS, meta["namespace"], meta["name"], body, "status")
        except ApiError as error:
            if error.status in REFUSED:
                return False
            raise
        return True


class PlayerProcess:
    """The player as a process of its own; a context manager.

    Args:
        server, token, ca: as for `Api`.
        script: what each pod does.
        directory: where its files go (script, log, times).
    """

    def __init__(self, server: str, token: str, ca: str | Path, script: Script, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._script = directory / "script.json"
        self._script.write_bytes(script.to_json())
        self._out = directory / "times.json"
        self._ready = directory / "ready"
        self._ready.unlink(missing_ok=True)
        self._log = directory / "player.log"
        self._arguments = ["--server", server, "--ca", str(ca), "--script", str(self._script)]
        self._arguments += ["--out", str(self._out), "--ready", str(self._ready)]
        self._token = token
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.harness.player", *self._arguments],
                cwd=ROOT,
                env={**os.environ, "PLAYER_TOKEN": self._token},
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        deadline = time.monotonic() + 20
        while not self._ready.exists():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the player did not start: {self._log.read_text()[-2000:]}")
            time.sleep(0.05)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(20)

    @property
    def pid(self) -> int:
        """The process's id."""
        assert self._process, "not started"
        return self._process.pid

    def times(self) -> list[PodTimes]:
        """What it saw and did; to be called after the context has ended.

        Raises:
            RuntimeError: it failed on the way; the message carries its log.
        """
        if not self._process or self._process.returncode != 0:
            raise RuntimeError(f"the player failed: {self._log.read_text()[-2000:]}")
        return [PodTimes(**row) for row in orjson.loads(self._out.read_bytes())]


async def _main(arguments: argparse.Namespace) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    script = Script.from_json(arguments.script.read_bytes())
    token = os.environ.get("PLAYER_TOKEN")
    async with Api(arguments.server, token, arguments.ca, "player") as api, Player(api, script) as player:
        arguments.ready.touch()
        await stop.wait()
    arguments.out.write_bytes(orjson.dumps(list(player.times.values())))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--server", required=True)
    parser.add_argument("--ca", type=Path)
    for name in ("--script", "--out", "--ready"):
        parser.add_argument(name, type=Path, required=True)
    asyncio.run(_main(parser.parse_args()))
