"""The yardstick: a bare loop, which makes the Jobs that the operator would and writes where a run stands; nothing else.

No validation, no Events, no retries, no metrics, no cache: a Job is created when the pod before it has ended, with the
status that the run then has. So many runs a minute are what the API server, etcd, the Job controller and the player of
pods leave to whoever drives them, on the same machine in the same minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
from collections.abc import Callable
from pathlib import Path

import orjson
import uvloop
from tests.bench.driven import Driven, driven
from tests.bench.model import Model, created, record, renamed
from tests.bench.runs import Load, forget
from tests.bench.stand import NAMESPACE, Stand, calm, on_a_stand
from tests.harness.api import MERGE_PATCH, Api, Object
from tests.harness.history import pod_phase
from tests.harness.kinds import JOBS, PODS, RUN_UID, RUNS
from tests.harness.moduleprocess import ModuleProcess, parser, session
from tests.harness.stages import step_label

AGENT = "bare-loop"
MODEL = "run-model"
"""The run after which the others are made."""


def measure(load: Load, *, python: Path, directory: Path) -> Driven:
    """Measure a load with a bare loop on a control plane of its own, the Job controller tuned.

    Args:
        load: the load, without secrets.
        python: the interpreter of the operator, which makes the model.
        directory: for logs; what an earlier measurement left there goes.

    Raises:
        AssertionError: the runs did not end in time, or the loop died.
        RuntimeError: the loop failed.
    """
    return on_a_stand(lambda stand: _measure(stand, load), python=python, directory=directory)


async def _measure(stand: Stand, load: Load) -> Driven:
    model = await record(stand, MODEL, fused=load.fused)
    await forget(stand.api, model.name)
    with BareLoop(stand, model) as loop:
        await calm(stand.server)
        done = await driven(stand, load, loop, AGENT)
    loop.check()
    return done


class BareLoop(ModuleProcess):
    """The loop as a process of its own; a context manager."""

    def __init__(self, stand: Stand, model: Model) -> None:
        file, plane = stand.directory / "model.json", stand.plane
        file.write_bytes(model.to_json())
        super().__init__(
            "tests.bench.bare", plane.server, stand.token, plane.ca, stand.directory, ["--model", str(file)]
        )


class Loop:
    """Brings each run that is created to its end.

    Args:
        api: an open session.
        model: the run that is repeated.
    """

    def __init__(self, api: Api, model: Model) -> None:
        self._api = api
        self._model = model
        whole = {"apiVersion": JOBS.group_version, "kind": JOBS.name}
        self._jobs = [orjson.dumps(whole | created(job)) for job in model.jobs]
        self._begun = [orjson.dumps({"status": status}) for status in model.begun]
        self._ended = orjson.dumps({"status": model.ended})
        self._place = {step_label(job): number for number, job in enumerate(model.jobs)}
        self._names: dict[str, str] = {}
        """Of the runs, by uid."""
        self._over: set[str] = set()
        """The uids of the pods whose end was seen."""

    async def work(self, ready: Callable[[], None]) -> None:
        """Work until cancelled; `ready` is called when the watches have begun.

        Raises:
            ExceptionGroup: a request was refused, which nothing here is made for.
        """
        async with asyncio.TaskGroup() as group:
            runs, pods = asyncio.Event(), asyncio.Event()
            group.create_task(self._follow_runs(group, runs))
            group.create_task(self._follow_pods(group, pods))
            await runs.wait()
            await pods.wait()
            ready()

    async def _follow_runs(self, group: asyncio.TaskGroup, synced: asyncio.Event) -> None:
        async for type_, run in self._api.list_then_watch(RUNS, NAMESPACE):
            if type_ == "SYNCED":
                synced.set()
            elif (uid := run["metadata"]["uid"]) not in self._names:
                self._names[uid] = run["metadata"]["name"]
                group.create_task(self._begin(uid, 0))

    async def _follow_pods(self, group: asyncio.TaskGroup, synced: asyncio.Event) -> None:
        async for type_, pod in self._api.list_then_watch(PODS, NAMESPACE, RUN_UID):
            if type_ == "SYNCED":
                synced.set()
            elif pod_phase(pod) == "Succeeded" and pod["metadata"]["uid"] not in self._over:
                self._over.add(pod["metadata"]["uid"])
                group.create_task(self._go_on(pod))

    async def _go_on(self, pod: Object) -> None:
        uid, following = pod["metadata"]["labels"][RUN_UID], self._place[step_label(pod)] + 1
        if following < len(self._jobs):
            await self._begin(uid, following)
        else:
            await self._tell(uid, self._ended)

    async def _begin(self, uid: str, number: int) -> None:
        """Create a run's Job of that number, and say so in its status."""
        await self._api.raw("POST", JOBS.path(NAMESPACE), self._of(uid, self._jobs[number]))
        await self._tell(uid, self._begun[number])

    async def _tell(self, uid: str, status: bytes) -> None:
        path = RUNS.path(NAMESPACE, self._names[uid], "status")
        await self._api.raw("PATCH", path, self._of(uid, status), content_type=MERGE_PATCH)

    def _of(self, uid: str, body: bytes) -> bytes:
        return renamed(body, {self._model.name: self._names[uid], self._model.uid: uid})


async def _main(arguments: argparse.Namespace) -> None:
    model = Model.from_json(arguments.model.read_bytes())
    async with session(arguments, AGENT) as api:
        work = asyncio.create_task(Loop(api, model).work(arguments.ready.touch))
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, work.cancel)
        with contextlib.suppress(asyncio.CancelledError):
            await work


if __name__ == "__main__":
    words = parser(__doc__)
    words.add_argument("--model", type=Path, required=True)
    uvloop.run(_main(words.parse_args()))  # as the operator does
