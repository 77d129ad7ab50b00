"""A large clean-up beside runs under way, through restarts; and what keeps a run from being deleted."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta

import pytest
from tests.harness.finished import finish, outcome
from tests.harness.kinds import PIPELINES, RUNS
from tests.harness.script import Play
from tests.integration.beside import side_by_side
from tests.integration.support import Case, audit_lines, row, spec, step, succeeded, until, writes

from dataops_operator.controllers.events import Recorder
from dataops_operator.controllers.history import HistoryController
from dataops_operator.controllers.keys import Key
from dataops_operator.controllers.revisions import Revisions
from dataops_operator.controllers.world import Settings
from dataops_operator.controllers.world import World as Caches
from dataops_operator.kube.client import KubeClient
from dataops_operator.kube.config import load_credentials
from dataops_operator.kube.queue import WorkQueue
from dataops_operator.kube.watch import reconcile_store
from dataops_operator.metrics.registry import Metrics

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]
OPERATOR = False

MANY = 300
CHAIN = (step("a"), step("b", "a"), step("c", "b"))


async def finished(case: Case, name: str, ago: float) -> None:
    """A run that ended so many seconds ago, as an operator would have left it."""
    ended = (datetime.now(UTC) - timedelta(seconds=ago)).strftime("%Y-%m-%dT%H:%M:%SZ")
    await finish(case.api, case.namespace, [name], "p", outcome(ended))


async def names(case: Case) -> list[str]:
    return sorted(run["metadata"]["name"] for run in await case.api.list(RUNS, case.namespace))


@side_by_side
async def test_three_hundred_finished_runs_go_beside_runs_that_do_not_notice(case: Case) -> None:
    case.plays("hang", Play(), end=120)
    await case.apply(spec(*CHAIN))
    await case.apply(spec(step("hang"), history={"succeeded": 0, "failed": 0, "ttl": "0s"}), "slow")
    for begin in range(0, MANY, 50):
        await asyncio.gather(*(finished(case, f"old-{n:03d}", 4000 - n) for n in range(begin, begin + 50)))
    operator = case.operator()
    await operator.start()
    await case.run("live", "slow")
    await case.step_is("hang", "Running", "live")
    alone = await timed(case, "alone")
    since = audit_lines(case.plane)

    await case.ready(spec(*CHAIN, history={"succeeded": 5, "ttl": "30d"}))

    async def begun() -> bool:
        return len(await names(case)) < MANY - 5

    await until(begun)
    beside = min([await timed(case, f"beside-{n}") for n in range(2)])
    halfway = len(await names(case))
    assert 20 < halfway < MANY - 5, "the clean-up and the runs were not at the same time"
    assert beside < 1.5 * alone + 1, f"a run took {beside:.1f} s beside the clean-up, and {alone:.1f} s alone"

    operator.kill()
    await asyncio.sleep(1)
    between = len(await names(case))
    assert between > 10
    await operator.start()
    rest = ["alone", "beside-0", "beside-1", "live", f"old-{MANY - 2}", f"old-{MANY - 1}"]

    async def all_gone() -> bool:
        return await names(case) == rest

    await until(all_gone, within=90)
    await asyncio.sleep(7)
    assert await names(case) == rest
    asked = [one for one in writes(case.plane, case.namespace, since) if one.startswith("delete pipelineruns/")]
    assert len(asked) - len(set(asked)) <= 1, "no run is deleted twice, save one whose answer was lost in the restart"
    assert row(await case.api.get(RUNS, case.namespace, "live"), "hang")["phase"] == "Running"
    operator.kill()
    await case.api.delete(RUNS, case.namespace, "live")


async def timed(case: Case, name: str) -> float:
    """Seconds that a run of three steps takes from its creation to its end."""
    began = time.monotonic()
    await case.run(name)
    assert succeeded(await case.ended(name))
    return time.monotonic() - began


class Hands:
    """The clean-up of one process in this one, so that what it knows can be older than what there is."""

    def __init__(self, case: Case, client: KubeClient) -> None:
        self.case = case
        self.held: set[str] = set()
        self.caches = Caches(client, Settings(), Metrics(), Recorder(client), WorkQueue())
        self.controller = HistoryController(self.caches, Revisions(client), lambda uid: uid in self.held)

    async def look(self) -> None:
        """See what there is."""
        for store in (self.caches.pipelines, self.caches.runs):
            await reconcile_store(
                self.caches.client, store.resource, store, lambda *_: None, namespace=self.case.namespace
            )

    async def clean_up(self) -> list[str]:
        """Clean up once; the names of the runs that are left."""
        await self.controller.reconcile(Key("Pipeline", self.case.namespace, "p"))
        return await names(self.case)

    def uid(self, name: str) -> str:
        """Of a run."""
        run = self.caches.runs.get(self.case.namespace, name)
        assert run is not None
        return str(run["metadata"]["uid"])


@side_by_side
async def test_a_run_that_holds_something_in_vault_stays_until_that_is_taken_back(case: Case) -> None:
    await case.apply(spec(*CHAIN, history={"succeeded": 0}))
    await asyncio.gather(finished(case, "holds", 60), finished(case, "free", 30))
    async with KubeClient(load_credentials(str(case.plane.kubeconfig))) as client:
        hands = Hands(case, client)
        await hands.look()
        hands.held.add(hands.uid("holds"))
        assert await hands.clean_up() == ["holds"]
        hands.held.clear()
        assert await hands.clean_up() == []
        told = hands.caches.metrics.registry.get_sample_value(
            "dataops_runs_deleted_total",
            {"pipeline": "p", "environment": case.namespace, "phase": "Succeeded", "reason": "Count"},
        )
        assert told == 2


@side_by_side
async def test_a_label_that_the_clean_up_has_not_heard_of_keeps_a_run_nevertheless(case: Case) -> None:
    """It deletes what it decided on, at the version that it saw."""
    await case.apply(spec(*CHAIN, history={"ttl": "1s"}))
    await asyncio.gather(finished(case, "a", 60), finished(case, "b", 30))
    async with KubeClient(load_credentials(str(case.plane.kubeconfig))) as client:
        hands = Hands(case, client)
        await hands.look()
        await case.api.patch(RUNS, case.namespace, "a", {"metadata": {"labels": {"dataops.dev/keep": "true"}}})
        assert await hands.clean_up() == ["a"]
        assert await hands.clean_up() == ["a"]


@side_by_side
async def test_a_run_of_the_same_name_that_came_meanwhile_is_another_one(case: Case) -> None:
    await case.apply(spec(*CHAIN, history={"succeeded": 0}))
    await finished(case, "r", 60)
    async with KubeClient(load_credentials(str(case.plane.kubeconfig))) as client:
        hands = Hands(case, client)
        await hands.look()
        before = hands.uid("r")
        await case.api.delete(RUNS, case.namespace, "r")
        await case.run("r")
        assert await hands.clean_up() == ["r"]
        assert (await case.api.get(RUNS, case.namespace, "r"))["metadata"]["uid"] != before
    await case.api.delete(RUNS, case.namespace, "r")


@side_by_side
async def test_a_pipeline_that_is_gone_leaves_its_runs(case: Case) -> None:
    await case.apply(spec(*CHAIN, history={"succeeded": 0}))
    await finished(case, "r", 60)
    await case.api.delete(PIPELINES, case.namespace, "p")
    async with KubeClient(load_credentials(str(case.plane.kubeconfig))) as client:
        hands = Hands(case, client)
        await hands.look()
        assert await hands.clean_up() == ["r"]
