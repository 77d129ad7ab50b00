"""Runs with secrets of a real OpenBao and a real PostgreSQL, each of which meets a fault on its way.

A lane is a namespace with an Environment, a role in Vault and an operator behind two numbered proxies, one before the
API server and one before Vault. Its runs come one after another, so that a case costs one restart and not all of that.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Literal

import orjson
from tests.faults.case import Result
from tests.faults.scenarios import end_state
from tests.harness.api import Api, Object, condition
from tests.harness.canary import canary, leaks
from tests.harness.history import Cluster, Recorder, job_ended, run_ended
from tests.harness.holdings import VAULT_RUN, Holdings
from tests.harness.invariants import check_all, nothing_outlives
from tests.harness.kinds import (
    CONFIGMAPS,
    ENVIRONMENTS,
    JOBS,
    LEASES,
    NAMESPACES,
    PIPELINES,
    RUN,
    RUN_UID,
    RUNS,
    SECRETS,
    SERVICE_ACCOUNTS,
)
from tests.harness.openbao import OpenBao
from tests.harness.operator import OperatorProcess
from tests.harness.postgres import Postgres
from tests.harness.proxy import BESIDE, Call, Fault, Proxy
from tests.harness.vaultadmin import OPERATOR, token_of
from tests.harness.vaultproxy import VaultProxy

from localcluster.controlplane import ControlPlane

Side = Literal["api", "vault"]
MakeFault = Callable[[OperatorProcess], Fault]

SYSTEM = "faults-vault-system"
"""Namespace of the ServiceAccount as which all operators of these tests log in."""
TTL = int(os.environ.get("FAULTS_VAULT_TTL", "60"))
"""Seconds that a run's token lives: what bounds a login of which nobody knows. No restart may take longer."""
READY_WITHIN = 240.0
ENDS_WITHIN = 400.0
GONE_WITHIN = 100.0
"""Seconds after a run's end in which everything that is known of it is gone, restarts included; below the bound."""
SECRETS_READ = 2
NOT_OF_A_RUN = BESIDE | {"pipelines", "environments", "controllerrevisions"}

PIPELINE: Object = {
    "metadata": {"name": "p"},
    "spec": {
        "defaults": {"image": "example.test/step:1"},
        "fuse": "Never",
        "secrets": [
            {"name": "api", "vault": {"path": "secret/data/$(env.params.lane)"}},
            {"name": "login", "vault": {"path": "database/creds/$(env.params.lane)"}},
        ],
        "steps": [
            {"name": "a", "command": ["a"], "secrets": [{"name": "api"}, {"name": "login"}]},
            {"name": "b", "command": ["b"], "secrets": [{"name": "login"}], "needs": ["a"]},
        ],
    },
}


@dataclass(frozen=True)
class Strike:
    """One case: a fault at the k-th write to the API server, or request to Vault, of a run.

    Where it is `fresh`, the operator has been started for it, and has not logged in itself yet.
    """

    name: str
    side: Side
    k: int
    fault: MakeFault
    fresh: bool = False


@dataclass
class Outcome:
    """What came of a case, and what it asked of Vault."""

    result: Result
    requests: list[Call]
    logins: int
    reason: str
    """Why the run failed; empty where it succeeded."""

    def __str__(self) -> str:
        asked = "\n    ".join(map(str, self.requests))
        return f"{self.result}\n  asked of Vault ({self.logins} logins):\n    {asked}"


@dataclass
class Site:
    """What lanes share: control plane, Vault, database, and what is seen in Vault."""

    plane: ControlPlane
    api: Api
    bao: OpenBao
    postgres: Postgres
    folder: Path
    ends: dict[str, float] = field(default_factory=dict)
    lanes: dict[str, Lane] = field(default_factory=dict)
    values: list[str] = field(default_factory=list)
    holdings: Holdings = field(init=False)

    def under_way(self, role: str) -> str | None:
        """The run of a lane that was begun last."""
        lane = self.lanes.get(role)
        return lane.current if lane else None

    @asynccontextmanager
    async def lane(self, name: str, *, patience: str = "10s", delivery: str = "Secret") -> AsyncIterator[Lane]:
        """A lane that is ready for runs; at its end all invariants but I5, which is of all lanes together, hold.

        Args:
            name: of its namespace.
            patience: how long the operator waits for an answer of Vault.
            delivery: as the Environment has it.
        """
        async with AsyncExitStack() as stack:
            await self.api.make_namespace(name)
            lane = await self._make(stack, name, patience)
            self.lanes[name] = lane
            await lane.stand(delivery)
            yield lane
            found = check_all(lane.seen.history, await lane.seen.settled(within=20))
            assert not found, "\n".join([*map(str, found), lane.operator.tail()])

    async def _make(self, stack: AsyncExitStack, name: str, patience: str) -> Lane:
        seen = await stack.enter_async_context(Recorder(self.api, name))
        plane = self.plane
        cluster = await stack.enter_async_context(Proxy(plane.server, plane.token, plane.ca, beside=NOT_OF_A_RUN))
        vault = await stack.enter_async_context(VaultProxy(self.bao.address))
        servers = self.folder / f"{name}-servers.json"
        servers.write_bytes(orjson.dumps({"servers": [vault.server(self.bao.server(), timeout=patience)]}))
        words = ["--vault-servers", str(servers), "--vault-token", str(self.folder / "token"), "--log-level", "debug"]
        words += ["--agent-image", "example.test/dataops-operator:1"]
        operator = OperatorProcess(
            cluster.kubeconfig(self.folder / f"{name}.kubeconfig"),
            self.folder / f"{name}.log",
            lease_namespace=name,
            namespaces=[name],
            arguments=words,
            preloaded=True,
        )
        stack.callback(operator.kill)
        await operator.start(READY_WITHIN)
        return Lane(self, name, operator, cluster, vault, seen)

    async def ended(self) -> None:
        """Wait until Vault has nothing of any run; I5 and I6 hold, and PostgreSQL knows nobody any more."""
        held, deadline = await self.holdings.now(), time.monotonic() + max(TTL, GONE_WITHIN)
        while held and time.monotonic() < deadline:
            held = await self.holdings.now()
        found = [f"I5: run {one.run} still holds {one.id}" for one in held]
        found += map(str, nothing_outlives(self.holdings.all(), self.ends))
        found += [f"I5: PostgreSQL still has the login {name}" for name in self.postgres.roles() if name != "postgres"]
        operators = [lane.operator for lane in self.lanes.values()]
        found += map(str, await leaks(self.values, self.plane, operators=operators))
        assert not found, "\n".join(found)


class Lane:
    """One namespace with what is in it; see the module."""

    def __init__(
        self, site: Site, name: str, operator: OperatorProcess, cluster: Proxy, vault: VaultProxy, seen: Recorder
    ) -> None:
        self.site = site
        self.name = name
        self.operator = operator
        self.cluster = cluster
        self.vault = vault
        self.seen = seen
        self.current: str | None = None

    async def stand(self, delivery: str) -> None:
        """A role in Vault and in the database, the Environment and the Pipeline, all ready."""
        bao, api, pg = self.site.bao, self.site.api, self.site.postgres
        value = canary(self.name)
        self.site.values.append(value)
        await bao.policy(self.name, {f"secret/data/{self.name}": ["read"], f"database/creds/{self.name}": ["read"]})
        await bao.role(self.name, self.name, [self.name], ttl=f"{TTL}s")
        await bao.put(f"secret/data/{self.name}", {"token": value})
        await bao.database(
            host=pg.host, port=pg.port, database="postgres", username="postgres", password=pg.password, role=self.name
        )
        await api.create(PIPELINES, self.name, PIPELINE)
        vault, parameters = {"role": self.name, "delivery": delivery}, [{"name": "lane", "value": self.name}]
        place = {"metadata": {"name": "prod"}, "spec": {"vault": vault, "parameters": parameters}}
        await api.create(ENVIRONMENTS, self.name, place)
        for kind, name in ((PIPELINES, "p"), (ENVIRONMENTS, "prod")):
            await api.wait_for(kind, self.name, name, _ready, timeout=ENDS_WITHIN)

    async def _complete(self, name: str, within: float = 10) -> Cluster:
        """What a run left, once the Job controller has told of its Jobs' ends, which it does a second late."""
        deadline = time.monotonic() + within
        while True:
            left = _of_run(await Cluster.read(self.site.api, self.name), name)
            if all(map(job_ended, left.of(JOBS))) or time.monotonic() > deadline:
                return left
            await asyncio.sleep(0.2)

    async def run(self, strike: Strike | None = None, name: str = "") -> Outcome:
        """One run under a fault to its end and until nothing of its secrets is left."""
        if strike and strike.fresh:
            await self.restart()
        name = name or (strike.name if strike else self.name)
        fault = strike.fault(self.operator) if strike else Fault()
        self.cluster.begin(fault if strike and strike.side == "api" else None)
        self.vault.begin(fault if strike and strike.side == "vault" else None)
        before, self.current = self.site.bao.logins(self.name), name
        spec = {"pipeline": "p", "logicalDate": "2013-02-09T00:00:00Z"}
        await self.site.api.create(RUNS, self.name, {"metadata": {"name": name}, "spec": spec})
        restarts = await self._until(self._has_ended, ENDS_WITHIN)
        run = await self.site.api.get(RUNS, self.name, name)
        problems = []
        if run_ended(run):
            self.site.ends[name] = datetime.fromisoformat(run["status"]["finishedAt"]).timestamp()
            restarts += await self._until(self._leaves_nothing, GONE_WITHIN)
            problems = [f"I5: after {GONE_WITHIN:.0f} s there is left: {one}" for one in await self._left()]
        else:
            problems = [f"I2: it did not end; its status is {run.get('status')}"]
        end = end_state(await self._complete(name))
        log = self.operator.tail()
        result = Result(name, list(self.cluster.writes), restarts, fault.struck(), end, problems, log)
        outcome = condition(run, "Succeeded")
        reason = next((row["reason"] for row in run["status"].get("steps", []) if row["phase"] == "Failed"), "")
        return Outcome(
            result,
            list(self.vault.writes),
            self.site.bao.logins(self.name) - before,
            "" if outcome.get("status") == "True" else reason or str(outcome.get("reason")),
        )

    async def restart(self) -> None:
        """Kill the operator, and start it."""
        self.operator.kill()
        await self._start()

    # Inside.

    async def _start(self) -> None:
        for lease in await self.site.api.list(LEASES, self.name):
            await self.site.api.delete(LEASES, self.name, lease["metadata"]["name"])
        await self.operator.start(READY_WITHIN)

    async def _until(self, reached: Callable[[], object], within: float) -> int:
        """Keep the operator running until something is so, or time is up; how often it was started."""
        restarts, deadline = 0, time.monotonic() + within
        while not await reached() and time.monotonic() < deadline:  # type: ignore[misc]
            if not self.operator.alive:
                restarts += 1
                await self._start()
            await asyncio.sleep(0.1)
        return restarts

    async def _has_ended(self) -> bool:
        assert self.current
        return run_ended(await self.site.api.get(RUNS, self.name, self.current))

    async def _leaves_nothing(self) -> bool:
        return self.operator.alive and not await self._left()

    async def _left(self) -> list[str]:
        """What is left of the run's secrets, but for tokens of which nobody can know."""
        api, run = self.site.api, self.current
        assert run
        left = [f"Secret {one['metadata']['name']}" for one in await api.list(SECRETS, self.name, RUN_UID)]
        left += [f"record {one['metadata']['name']}" for one in await api.list(CONFIGMAPS, self.name, VAULT_RUN)]
        if left:
            return left
        return [str(one) for one in await self.site.holdings.now(run) if one.recorded or one.lease]


@asynccontextmanager
async def a_site(plane: ControlPlane, api: Api, folder: Path) -> AsyncIterator[Site]:
    """A Vault whose logins the control plane reviews, with a database behind it."""
    with Postgres() as postgres:
        async with OpenBao(folder / "bao") as bao:
            await bao.kubernetes_auth(plane, api)
            await bao.kv("secret", 2)
            if not await api.find(NAMESPACES, None, SYSTEM):
                await api.create(NAMESPACES, None, {"metadata": {"name": SYSTEM}})
                await api.create(SERVICE_ACCOUNTS, SYSTEM, {"metadata": {"name": OPERATOR}})
            await bao.operator(SYSTEM)
            (folder / "token").write_text(await token_of(api, SYSTEM, OPERATOR, seconds=3600))
            site = Site(plane, api, bao, postgres, folder)
            async with Holdings(bao, api, ["database/creds"], site.under_way) as site.holdings:
                yield site


async def in_lanes(lanes: Sequence[Lane], strikes: Sequence[Strike]) -> list[tuple[Strike, Outcome]]:
    """Carry out cases, as many side by side as there are lanes, in their order."""
    queue, outcomes = list(reversed(strikes)), []

    async def work(lane: Lane) -> None:
        while queue:
            strike = queue.pop()
            outcomes.append((strike, await lane.run(strike)))

    await asyncio.gather(*map(work, lanes))
    return outcomes


def was_armed(strike: Strike, outcome: Outcome) -> bool:
    """Whether secrets were at hand when it struck, and recorded as such: no second login is needed then."""
    if strike.side == "vault":
        return sum(call.method == "GET" for call in outcome.requests[: strike.k - 1]) == SECRETS_READ
    return any(call.plural == "jobs" for call in outcome.result.writes[: strike.k])


def _of_run(cluster: Cluster, name: str) -> Cluster:
    """What is there of one run."""

    def mine(obj: Object) -> bool:
        meta = obj["metadata"]
        return name in (meta["name"], (meta.get("labels") or {}).get(RUN))

    return Cluster({kind: [obj for obj in objects if mine(obj)] for kind, objects in cluster.objects.items()})


def _ready(definition: Object) -> bool:
    return condition(definition, "Ready").get("status") == "True"
