"""One namespace a case, one operator and one player a module; how Pipelines are written and runs are read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pytest
from tests.harness.api import Api, ApiError, Object, condition
from tests.harness.history import Recorder, owner_uid, run_ended
from tests.harness.invariants import check_all
from tests.harness.kinds import EVENTS, JOBS, PIPELINES, PODS, REVISIONS, RUN_UID, RUNS, Kind
from tests.harness.operator import OperatorProcess
from tests.harness.player import Player
from tests.harness.process import whole_lines
from tests.harness.script import Play, Rule, Script
from tests.harness.storagepods import LABEL as STORAGE_PODS

from localcluster.controlplane import ControlPlane

START, END = 0.05, 0.2
"""Seconds from a pod's creation to its start and end, where a case does not say otherwise."""
RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}
BY_THE_API_SERVER = ("dataops.dev/created-by", "dataops.dev/changed-by")
"""Annotations that the chart's policies write, where they are installed."""
PIPELINE_WAIT = 8
"""Seconds that the operators of these tests let a run wait for its Pipeline; by default two minutes."""


FUSE = ContextVar("fuse", default="Never")
"""Whether steps share pods in pipelines that do not say it: most cases are about a step in its own pod. Those that hold
in both modes are marked `in_both_modes`."""


class Operator(OperatorProcess):
    """The operator with more arguments."""

    def __init__(
        self,
        plane: ControlPlane,
        log: Path,
        *arguments: str,
        lease_namespace: str,
        namespaces: Sequence[str] = (),
        identity: str = "operator-0",
        kubeconfig: Path | None = None,
    ) -> None:
        super().__init__(
            kubeconfig or plane.kubeconfig,
            log,
            lease_namespace=lease_namespace,
            namespaces=namespaces,
            identity=identity,
            arguments=arguments,
        )


async def until(true: Callable[[], Awaitable[bool]], within: float = 30) -> None:
    """Ask again and again until the answer is yes.

    Raises:
        TimeoutError: it was not within so many seconds.
    """
    async with asyncio.timeout(within):
        while True:
            if await true():
                return
            await asyncio.sleep(0.05)


@dataclass
class Case:
    """One case: its namespace, what its pods do, and short ways to say what it is about."""

    api: Api
    namespace: str
    script: Script
    seen: Recorder
    plane: ControlPlane
    logs: Path
    broken: set[str] = field(default_factory=set)
    """What the case itself breaks, which is not checked at its end: an invariant (`I3`), or that `Jobs` stay."""
    own: dict[str, Any] = field(default_factory=dict)
    """Annotations that the case put on its own objects."""

    def plays(
        self, step: str, play: Play, *, attempt: int = 0, run: str = "", end: float = END, items: tuple[int, ...] = ()
    ) -> None:
        """Say what a step's pods do; the first word on a pod counts."""
        self.script.rules.append(Rule(play.scaled(START, end), step, attempt, self.namespace, run, items))

    def operator(self, *arguments: str, identity: str = "one", kubeconfig: Path | None = None) -> Operator:
        """An operator of the case's own, for its namespace alone; not started yet."""
        return Operator(
            self.plane,
            self.logs / f"{self.namespace}-{identity}.log",
            *("--pipeline-wait", f"{PIPELINE_WAIT}s", *arguments),
            lease_namespace=self.namespace,
            namespaces=[self.namespace],
            identity=identity,
            kubeconfig=kubeconfig,
        )

    async def apply(self, spec: Object, name: str = "p") -> Object:
        """Create a Pipeline, or give the one that is there this spec."""
        there = await self.api.find(PIPELINES, self.namespace, name)
        if there is None:
            return await self.api.create(PIPELINES, self.namespace, {"metadata": {"name": name}, "spec": spec})
        path, edit = PIPELINES.path(self.namespace, name), [{"op": "replace", "path": "/spec", "value": spec}]
        return await self.api.request("PATCH", path, edit, content_type="application/json-patch+json")

    async def ready(self, spec: Object, name: str = "p", within: float = 30) -> Object:
        """Apply a Pipeline, and wait until it is Ready as it now stands."""
        applied = await self.apply(spec, name)
        generation = applied["metadata"]["generation"]
        return await self.until(
            PIPELINES,
            name,
            lambda found: (
                found.get("status", {}).get("observedGeneration") == generation
                and condition(found, "Ready").get("status") == "True"
            ),
            within,
        )

    async def run(self, name: str = "r", pipeline: str = "p", **spec: Any) -> Object:
        """Create a run."""
        body = {"metadata": {"name": name}, "spec": {"pipeline": pipeline, **spec}}
        return await self.api.create(RUNS, self.namespace, body)

    async def until(self, kind: Kind, name: str, reached: Callable[[Object], bool], within: float = 30) -> Object:
        """Wait until an object has come to a state."""
        return await self.api.wait_for(kind, self.namespace, name, reached, timeout=within)

    async def ended(self, name: str = "r", within: float = 40) -> Object:
        """Wait for a run's end."""
        return await self.until(RUNS, name, run_ended, within)

    async def waits(self, reason: str, name: str = "r", within: float = 20) -> Object:
        """Wait until a run says that it waits, and for what."""
        return await self.until(RUNS, name, lambda run: reason in waiting_for(run), within)

    async def step_is(self, step: str, phase: str, name: str = "r", attempt: int = 1) -> Object:
        """Wait until a step of a run is in a phase of an attempt."""
        return await self.until(
            RUNS, name, lambda run: (row(run, step).get("phase"), row(run, step).get("attempt")) == (phase, attempt)
        )

    async def jobs(self, step: str = "", run: str = "r") -> list[Object]:
        """The Jobs of a run, or of one of its steps, by attempt."""
        selector = f"dataops.dev/run={run}" + (f",dataops.dev/step={step}" if step else "")
        found = await self.api.list(JOBS, self.namespace, selector)
        return sorted(found, key=lambda job: int(job["metadata"]["labels"]["dataops.dev/attempt"]))

    async def pods(self, job: Object | None = None) -> list[Object]:
        """The pods of the namespace, or of one Job."""
        found = await self.api.list(PODS, self.namespace)
        return [pod for pod in found if job is None or owner_uid(pod) == job["metadata"]["uid"]]

    async def a_pod(self, step: str, phase: str, attempt: int = 1) -> Object:
        """Wait for a step's pod in a phase; Running is also one of several steps, Pending until its last, that runs."""
        async with asyncio.timeout(30):
            while True:
                selector = f"dataops.dev/step={step},dataops.dev/attempt={attempt}"
                for pod in await self.api.list(PODS, self.namespace, selector):
                    earlier = pod["status"].get("initContainerStatuses") or ()
                    runs = phase == "Running" and any("running" in one["state"] for one in earlier)
                    if runs or pod["status"].get("phase") == phase:
                        return pod
                await asyncio.sleep(0.05)

    async def none_left(self, kind: Kind, within: float = 60) -> None:
        """Wait until the namespace has no object of a kind."""

        async def gone() -> bool:
            return not await self.api.list(kind, self.namespace)

        await until(gone, within)

    async def revisions(self) -> list[Object]:
        """The revisions in the namespace, in their order."""
        return sorted(await self.api.list(REVISIONS, self.namespace), key=lambda one: int(one["revision"]))

    async def event(self, about: str, reason: str, within: float = 15) -> Object:
        """Wait for an Event about an object."""
        fields = f"involvedObject.name={about},reason={reason}"
        async with asyncio.timeout(within):
            while True:
                if found := await self.api.list(EVENTS, self.namespace, fields=fields):
                    return found[0]
                await asyncio.sleep(0.1)

    async def check(self) -> None:
        """Hold the invariants against what happened, and see that nobody wrote on the user's objects."""
        cluster = await self.seen.settled(within=30)
        found = [one for one in check_all(self.seen.history, cluster) if one.invariant not in self.broken]
        assert not found, "\n".join(map(str, found))
        jobs = {job["metadata"]["name"] for job in cluster.of(JOBS)}
        for run in cluster.of(RUNS):
            rows = run["status"].get("steps", [])
            done = [one["job"] for one in rows if one["phase"] == "Succeeded" and "job" in one]  # a fan-out has many
            assert "Jobs" in self.broken or jobs.issuperset(done), (
                "Jobs of steps that succeeded are gone, and their logs with them"
            )
        for kind in (PIPELINES, RUNS):
            for obj in cluster.of(kind):
                annotations = obj["metadata"].get("annotations", {})
                written = {key: value for key, value in annotations.items() if key not in BY_THE_API_SERVER}
                own = {key: value for key, value in self.own.items() if key not in BY_THE_API_SERVER}
                assert written == own, obj["metadata"]
                assert "finalizers" not in obj["metadata"], obj["metadata"]


class World:
    """What the cases of a module share: the control plane, an operator, a player of all pods."""

    def __init__(self, plane: ControlPlane, api: Api, operator: Operator | None, script: Script, logs: Path) -> None:
        self.plane = plane
        self.api = api
        self.operator = operator
        self.script = script
        self.logs = logs

    @asynccontextmanager
    async def case(self, name: str) -> AsyncIterator[Case]:
        """A fresh namespace that takes restricted pods alone; when the case is done, the invariants are checked."""
        await self.api.make_namespace(name, RESTRICTED)
        async with Recorder(self.api, name) as seen:
            case = Case(self.api, name, self.script, seen, self.plane, self.logs)
            try:
                yield case
            except (AssertionError, TimeoutError) as error:
                if self.operator is not None:
                    error.add_note(f"the operator's log ends:\n{self.operator.tail(3000)}")
                raise
            await case.check()


@asynccontextmanager
async def a_world(
    plane: ControlPlane, logs: Path, *arguments: str, operator: bool = True, lease_namespace: str = ""
) -> AsyncIterator[World]:
    """A session, a player, and, where asked for, an operator that watches the whole cluster."""
    script = Script(default=Play(start=START, end=END))
    # Pods that touch targets are carried out, not played: see tests.harness.storagepods.
    played = f"{RUN_UID},!{STORAGE_PODS}"
    async with Api(plane.server, plane.token, plane.ca) as api, Player(api, script, selector=played):
        if not operator:
            yield World(plane, api, None, script, logs)
            return
        lease = lease_namespace or f"lease-{logs.name.replace('_', '-')}"
        if not lease_namespace:
            await api.make_namespace(lease)
        words = ("--pipeline-wait", f"{PIPELINE_WAIT}s", *arguments)
        async with Operator(plane, logs / "operator.log", *words, lease_namespace=lease) as process:
            yield World(plane, api, process, script, logs)
            assert process.alive, f"the operator ended by itself:\n{process.tail()}"
            await process.terminate()


# Pipelines and what is read of runs.


def step(name: str, *needs: str, **more: Any) -> Object:
    """A step that does something in no image that exists."""
    command = {} if {"script", "command"} & more.keys() else {"command": ["do", name]}
    return {"name": name, **command, **({"needs": list(needs)} if needs else {}), **more}


def spec(*steps: Object, **more: Any) -> Object:
    """A Pipeline's spec; whether its steps share pods is said in any case."""
    defaults = {"image": "example.test/step:1", **more.pop("defaults", {})}
    return {"defaults": defaults, "fuse": FUSE.get(), "steps": list(steps), **more}


def row(run: Object, name: str) -> Object:
    """Where a step of a run stands; empty where the run does not say."""
    rows = run.get("status", {}).get("steps", [])
    return next((one for one in rows if one["name"] == name), {})


def phases(run: Object) -> dict[str, str]:
    """The phase of each step."""
    return {one["name"]: one["phase"] for one in run["status"].get("steps", [])}


def waiting_for(run: Object) -> list[str]:
    """The reasons for which a run waits."""
    return [one["reason"] for one in run.get("status", {}).get("waitingFor", [])]


def verdict(run: Object) -> tuple[str, str]:
    """Status and reason of a run's Succeeded condition."""
    found = condition(run, "Succeeded")
    return found.get("status", ""), found.get("reason", "")


def said(run: Object) -> str:
    """The message of a run's Succeeded condition."""
    return str(condition(run, "Succeeded").get("message", ""))


def failed_because(run: Object, name: str) -> str:
    """The reason of a step that failed, of a run that failed for it and says so as kstatus has it."""
    assert verdict(run) == ("False", "StepFailed"), run["status"]
    assert condition(run, "Stalled").get("status") == "True", run["status"]
    assert condition(run, "Reconciling") == {}, run["status"]
    assert run["status"]["phase"] == "Failed"
    assert row(run, name)["phase"] == "Failed", run["status"]
    return str(row(run, name)["reason"])


def succeeded(run: Object) -> bool:
    """Whether a run ended well, with a look at the message where it did not."""
    assert verdict(run) == ("True", "Succeeded"), said(run)
    return True


def command(job: Object) -> list[str]:
    """The command of a Job's main container."""
    return list(job["spec"]["template"]["spec"]["containers"][0]["command"])


async def refused(call: Awaitable[Any]) -> str:
    """What the API server says against a request that it must refuse."""
    with pytest.raises(ApiError) as caught:
        await call
    assert caught.value.status in (403, 422), caught.value
    return str(caught.value)


# The audit log.


def requests(plane: ControlPlane, namespace: str, since: int = 0) -> list[Object]:
    """What operators asked of a namespace, as the audit log has it.

    Args:
        since: how many lines of the audit log to pass over; `audit_lines` counts them.
    """
    assert plane.audit_log
    lines = whole_lines(plane.audit_log)[since:]
    entries = (orjson.loads(line) for line in lines if b'"userAgent":"dataops-operator' in line)
    return [entry for entry in entries if (entry.get("objectRef") or {}).get("namespace") == namespace]


def writes(plane: ControlPlane, namespace: str, since: int = 0) -> list[str]:
    """What operators wrote in a namespace, as `verb resource/name code`, Events and Leases left out; see `requests`."""
    found = []
    for entry in requests(plane, namespace, since):
        about = entry["objectRef"]
        if entry["verb"] in ("create", "update", "patch", "delete") and about["resource"] not in ("events", "leases"):
            parts = [about["resource"], about.get("name", ""), about.get("subresource", "")]
            found.append(f"{entry['verb']} {'/'.join(filter(None, parts))} {entry['responseStatus']['code']}")
    return found


def audit_lines(plane: ControlPlane) -> int:
    """How many lines the audit log has."""
    assert plane.audit_log
    return len(whole_lines(plane.audit_log))
