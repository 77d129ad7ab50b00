"""The rival on the same stand: the workflow controller of Argo Workflows, built from its Go module, pods played.

The same three one-container steps in sequence, counted by the same definitions, in the same minutes as the operator. In
its favour: its executor's own requests (a WorkflowTaskResult, three writes a step) are not played, its metrics are off,
and nothing of the operator's chart is there.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tests.bench.driven import Driven, driven
from tests.bench.runs import NAMES, Load, Work, rehearse
from tests.bench.stand import NAMESPACE, Stand, calm, on_a_stand
from tests.harness import process
from tests.harness.api import Object
from tests.harness.kinds import CONFIGMAPS, Kind
from tests.harness.player import Player, PodTimes, serve
from tests.harness.process import Logged

from localcluster import binaries

NAME: Final = "Argo Workflows v4.0.5"
WORKFLOWS: Final = Kind("Workflow", "argoproj.io/v1alpha1", "workflows")
WORKFLOW: Final = "workflows.argoproj.io/workflow"
NODE: Final = "workflows.argoproj.io/node-name"
AGENT: Final = "workflow-controller"
CONFIGURATION: Final = "workflow-controller-configmap"
ENDED: Final = frozenset({"Succeeded", "Failed", "Error"})


@dataclass(frozen=True, kw_only=True)
class ArgoCost(Driven):
    """What a load did and cost the rival; `writes_mean` and events are its controller's."""

    settings: str
    rss_idle_mb: float
    rss_peak_mb: float


@dataclass(frozen=True)
class Settings:
    """How the rival is set up.

    Attributes:
        name: what the table calls that.
        flags: of its command line.
        requeue: `DEFAULT_REQUEUE_TIME`: how long it holds an event back; None for its default, 10 s.
        crds: which of the CRDs that it ships: `full`, its default, or `minimal`.
    """

    name: str
    flags: tuple[str, ...] = ()
    requeue: str | None = None
    crds: str = "full"


_TUNED: Final = ("--qps=500", "--burst=500", "--workflow-workers=128")
DEFAULT: Final = Settings("default")
TUNED: Final = Settings("tuned", _TUNED, "1s")
MINIMAL: Final = Settings("tuned, minimal CRDs", _TUNED, "1s", "minimal")


def workflow() -> Object:
    """Three one-container steps, one after the other; their names sort in that order."""
    container = {"name": "work", "container": {"image": "example.test/step:1", "command": ["work"]}}
    steps = [[{"name": name, "template": "work"}] for name in NAMES]
    return {"entrypoint": "chain", "templates": [{"name": "chain", "steps": steps}, container]}


WORK: Final = Work(WORKFLOWS, workflow(), lambda one: one.get("status", {}).get("phase") in ENDED)


def measure(load: Load, settings: Settings, *, python: Path, directory: Path) -> ArgoCost:
    """Measure a load with the rival on a control plane of its own, without anything of ours.

    Args:
        load: the load, without secrets.
        settings: of the rival.
        python: the operator's interpreter, which is not needed.
        directory: for logs; what an earlier measurement left there goes.

    Raises:
        AssertionError: the runs did not end in time, or the controller died.
    """
    return on_a_stand(lambda stand: _measure(stand, load, settings), python=python, directory=directory, chart=False)


async def _measure(stand: Stand, load: Load, settings: Settings) -> ArgoCost:
    programs = await asyncio.to_thread(binaries.ensure, "argo")
    await stand.api.install_crds(programs / "crds" / settings.crds)
    config = {"metricsConfig": "{enabled: false}", "telemetryConfig": "{enabled: false}"}
    await stand.api.create(CONFIGMAPS, NAMESPACE, {"metadata": {"name": CONFIGURATION}, "data": config})
    with Controller(stand, programs / AGENT, settings) as controller:
        await rehearse(stand, WORK, __name__)
        await calm(stand.server)
        idle = process.rss_bytes(controller.pid)
        done = await driven(stand, load, controller, AGENT, work=WORK, player=__name__)
        peak = process.peak_rss_bytes(controller.pid)
    return ArgoCost(**vars(done), settings=settings.name, rss_idle_mb=idle / 2**20, rss_peak_mb=peak / 2**20)


class Controller(Logged):
    """The controller as a process; a context manager."""

    def __init__(self, stand: Stand, program: Path, settings: Settings) -> None:
        super().__init__(stand.directory / "controller.log")
        self._command = [str(program), "--kubeconfig", str(stand.kubeconfig), "--namespace", NAMESPACE]
        self._command += ["--namespaced", "--executor-image", "example.test/executor:1", "--loglevel", "error"]
        self._command += settings.flags
        self._environment = {**os.environ, "LEADER_ELECTION_DISABLE": "true"}
        if settings.requeue:
            self._environment["DEFAULT_REQUEUE_TIME"] = settings.requeue

    def __enter__(self) -> Self:
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                self._command, env=self._environment, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()


@dataclass
class ArgoPlayer(Player):
    """Plays the kubelet for the pods of workflows."""

    selector: str = WORKFLOW

    def _begin(self, uid: str, pod: Object) -> None:
        meta = pod["metadata"]
        node = meta["annotations"][NODE]  # such as run-00001[0].a
        self.times[uid] = PodTimes(meta["labels"][WORKFLOW], node, 1, time.monotonic())
        step = node.rpartition(".")[2]
        self._start(uid, self._play(pod, self.script.play(meta["namespace"], "", step, 1, None)))


if __name__ == "__main__":
    serve(__doc__, ArgoPlayer)
