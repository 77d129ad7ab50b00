"""What each measurement stands on: a control plane of its own, kinds and policies as the chart makes them."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from tests.harness import process
from tests.harness.api import Api
from tests.harness.chart import install_policies, login
from tests.harness.operator import ROOT, OperatorProcess
from tests.harness.player import MODULE as PLAYER
from tests.harness.player import PlayerProcess
from tests.harness.script import Script

from localcluster.controlplane import ControlPlane

NAMESPACE = "bench"
CALM_WITHIN = 30.0
"""Seconds for which a process is waited for at the most."""
CALM = 0.1
"""The part of a processor that a process takes at the most that is calm."""

T = TypeVar("T")


@dataclass(frozen=True)
class Stand:
    """A control plane on which nothing has been done yet.

    Attributes:
        plane: it.
        tuned: whether the Job controller's stock limits are lifted.
        api: an open session.
        kubeconfig: of the account that drives: the operator's, whom the policies know, where the chart is there.
        token: of that account.
        audit_log: the API server's.
        python: the operator's interpreter.
        directory: for logs.
    """

    plane: ControlPlane
    tuned: bool
    api: Api
    kubeconfig: Path
    token: str
    audit_log: Path
    python: Path
    directory: Path

    @property
    def server(self) -> int:
        """The API server's process id."""
        return self.plane.pids["kube-apiserver"]

    def operator(self, arguments: Sequence[str] = ()) -> OperatorProcess:
        """An operator, not started yet; a second one is the same container started again."""
        log = self.directory / "operator.log"
        return OperatorProcess(self.kubeconfig, log, lease_namespace=NAMESPACE, python=self.python, arguments=arguments)

    def player(self, script: Script | None = None, module: str = PLAYER) -> PlayerProcess:
        """A player of pods, not started yet; that of a module."""
        plane = self.plane
        return PlayerProcess(plane.server, plane.token, plane.ca, script or Script(), self.directory, module)


def on_a_stand(
    measurement: Callable[[Stand], Awaitable[T]],
    *,
    python: Path,
    directory: Path,
    tuned: bool = True,
    chart: bool = True,
) -> T:
    """Measure on a control plane of its own.

    Args:
        measurement: what to do there.
        python: the operator's interpreter.
        directory: for logs; what an earlier measurement left there goes.
        tuned: whether the Job controller's stock limits are lifted.
        chart: whether the chart's kinds, policies and account are there; without, the administrator is the account.
    """
    fresh(directory)
    with ControlPlane.start(f"bench-{os.getpid()}", tuned_jobs=tuned) as plane:
        return asyncio.run(_on(plane, measurement, tuned, python, directory, chart=chart))


async def _on(
    plane: ControlPlane,
    measurement: Callable[[Stand], Awaitable[T]],
    tuned: bool,
    python: Path,
    directory: Path,
    *,
    chart: bool,
) -> T:
    assert plane.audit_log, "the control plane was started without an audit log"
    async with Api(plane.server, plane.token, plane.ca, "bench") as api:
        await api.make_namespace(NAMESPACE)
        kubeconfig, token = plane.kubeconfig, plane.token
        if chart:
            await api.install_crds(ROOT / "crds")
            await install_policies(plane, api, NAMESPACE)
            kubeconfig = directory / "operator.kubeconfig"
            token = await login(plane, api, kubeconfig, NAMESPACE)
        return await measurement(Stand(plane, tuned, api, kubeconfig, token, plane.audit_log, python, directory))


def fresh(directory: Path) -> None:
    """Have an empty directory: a Vault would take up there what it was when it was last measured."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)


async def calm(pid: int) -> None:
    """Wait until a process has digested what it was given, such as the API server its start and the new kinds."""
    looks = 2.0
    for _ in range(int(CALM_WITHIN / looks)):
        before = process.cpu_seconds(pid)
        await asyncio.sleep(looks)
        if process.cpu_seconds(pid) - before < CALM * looks:
            return
