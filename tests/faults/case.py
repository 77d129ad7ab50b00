"""One case: a namespace, an operator behind a proxy with a fault, a run to its end, and what came of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.scenarios import Scenario, end_state
from tests.harness.api import Api, Object, condition
from tests.harness.history import Cluster, Recorder, run_ended
from tests.harness.invariants import Violation, check_all, unchanged
from tests.harness.kinds import ENVIRONMENTS, LEASES, PIPELINES, RUNS, Kind
from tests.harness.operator import OperatorProcess
from tests.harness.proxy import Call, Fault, Proxy

from localcluster.controlplane import ControlPlane

WITHIN = 60.0
"""Seconds that a Pipeline may take to be ready, and a run to end, faults and restarts included."""
SIDE_BY_SIDE = 4
"""Cases at once; twice as many of those that mostly wait, for a run's own time to be over."""

MakeFault = Callable[[OperatorProcess], Fault]


@dataclass
class Result:
    """What came of a case."""

    name: str
    writes: list[Call]
    restarts: int
    struck: list[str]
    end: Object
    problems: list[str] = field(default_factory=list)
    log: str = ""

    def __str__(self) -> str:
        writes = "\n    ".join(map(str, self.writes))
        problems = "\n  ".join(self.problems)
        struck = "; ".join(self.struck)
        return f"{self.name} ({struck}):\n  {problems}\n  writes:\n    {writes}\n  the operator's log ends:\n{self.log}"


class Bench:
    """Where cases run: the control plane, the session of the tests, a directory for logs."""

    def __init__(self, plane: ControlPlane, api: Api, directory: Path, side_by_side: int = SIDE_BY_SIDE) -> None:
        self.plane = plane
        self.api = api
        self.directory = directory
        self._gate = asyncio.Semaphore(side_by_side)

    @asynccontextmanager
    async def operator(
        self, namespace: str, make_fault: MakeFault | None = None, identity: str = "operator-0"
    ) -> AsyncIterator[tuple[OperatorProcess, Proxy]]:
        """An operator for one namespace, behind a proxy of its own."""
        async with Proxy(self.plane.server, self.plane.token, self.plane.ca) as proxy:
            operator = OperatorProcess(
                proxy.kubeconfig(self.directory / f"{namespace}-{identity}.kubeconfig"),
                self.directory / f"{namespace}-{identity}.log",
                lease_namespace=namespace,
                namespaces=[namespace],
                identity=identity,
                preloaded=True,
            )
            if make_fault:
                proxy.fault = make_fault(operator)
            async with operator:
                yield operator, proxy

    @asynccontextmanager
    async def place(self, namespace: str) -> AsyncIterator[Recorder]:
        """A new namespace in which everything is recorded."""
        await self.api.make_namespace(namespace)
        async with Recorder(self.api, namespace) as seen:
            yield seen

    async def run(self, name: str, scenario: Scenario, make_fault: MakeFault | None = None) -> Result:
        """Run a scenario under a fault to its end, and check everything.

        The operator is started again whenever it has ended, as a kubelet would do.
        """
        async with self._gate, self.place(name) as seen, self.operator(name, make_fault) as (operator, proxy):
            restarts = await self._play(operator, name, scenario)
            cluster = await seen.settled(within=20)
            found = check_all(seen.history, cluster)
            end = end_state(cluster) if cluster.of(RUNS) else {}
            return Result(
                name, proxy.writes, restarts, proxy.fault.struck(), end, list(map(str, found)), operator.tail()
            )

    async def rested(self, name: str, scenario: Scenario, seconds: float) -> list[Violation]:
        """Run a scenario, restart the operator, let it be for some seconds: what was written for nothing."""
        async with self.place(name) as seen, self.operator(name) as (operator, proxy):
            await self._play(operator, name, scenario)
            # The Pipeline is told of its runs' ends some seconds later, of many in one write.
            await self._keep_until(
                operator,
                PIPELINES,
                name,
                scenario.pipeline["metadata"]["name"],
                lambda pipeline: pipeline["status"].get("lastRun") == scenario.name,
            )
            before = await seen.settled(within=20)
            await operator.terminate()
            written = len(proxy.writes)
            await operator.start()
            await asyncio.sleep(seconds)
            after = await Cluster.read(self.api, name)
            calls = [Violation("I7", f"for nothing: {call}") for call in proxy.writes[written:]]
            return [*calls, *unchanged(before, after)]

    async def _play(self, operator: OperatorProcess, name: str, scenario: Scenario) -> int:
        """Create the Pipeline, and when it is ready the run; wait for its end. How often the operator was started."""
        restarts = 0
        for pipeline in (*scenario.others, scenario.pipeline):
            await self.api.create(PIPELINES, name, pipeline)
            restarts += await self._keep_until(operator, PIPELINES, name, pipeline["metadata"]["name"], _ready)
        if scenario.environment is not None:
            await self.api.create(ENVIRONMENTS, name, scenario.environment)
            place = scenario.environment["metadata"]["name"]
            restarts += await self._keep_until(operator, ENVIRONMENTS, name, place, _ready)
        await self.api.create(RUNS, name, scenario.run)
        return restarts + await self._keep_until(operator, RUNS, name, scenario.name, run_ended)

    async def _keep_until(
        self, operator: OperatorProcess, kind: Kind, namespace: str, name: str, reached: Callable[[Object], bool]
    ) -> int:
        """Keep the operator running until an object has reached a state, or time is up; how often it was started."""
        restarts, deadline = 0, time.monotonic() + WITHIN
        while not reached(await self.api.get(kind, namespace, name)) and time.monotonic() < deadline:
            if not operator.alive:
                restarts += 1
                await self._lease_over(namespace)
                await operator.start()
            await asyncio.sleep(0.1)
        return restarts

    async def _lease_over(self, namespace: str) -> None:
        """Let the dead operator's Lease be over now, which else takes 15 seconds a case."""
        for lease in await self.api.list(LEASES, namespace):
            await self.api.delete(LEASES, namespace, lease["metadata"]["name"])


def _ready(definition: Object) -> bool:
    return condition(definition, "Ready").get("status") == "True"


def judge(results: Sequence[Result], expected: Object) -> str:
    """The cases that broke something or ended otherwise than undisturbed ones do, as text; empty if none."""
    for result in results:
        if result.end != expected and not result.problems:
            result.problems.append(f"ended as {result.end}, undisturbed as {expected}")
    return "\n\n".join(str(result) for result in results if result.problems)


def untouched(results: Sequence[Result]) -> list[str]:
    """The cases in which the fault never struck: they prove nothing."""
    return [result.name for result in results if not result.struck]


def ended(results: Sequence[Result]) -> list[str]:
    """The cases in which the operator's process ended."""
    return [result.name for result in results if result.restarts]
