"""An operator that dies while runs are under way in an environment, and begins again from what the cluster holds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import orjson
import pytest
from tests.harness.kinds import JOBS, RUNS
from tests.harness.proxy import Answer, Call, Fault, Forward, Proxy
from tests.harness.script import Outcome, Play
from tests.integration.beside import side_by_side
from tests.integration.standing import edit, stands
from tests.integration.support import Case, command, spec, step, succeeded, until, waiting_for

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]
OPERATOR = False

CANARY = "canary-77ab12"
PARAMETERS = [{"name": "level", "value": "before"}, {"name": "token", "value": f"{CANARY}-e", "masked": True}]
TEXTS = ["$(params.level)", "$(env.params.token)", "$(params.token)", "$(params.own)"]
DECLARED = [{"name": "level"}, {"name": "token"}, {"name": "own", "masked": True}]
GIVEN = ["before", f"{CANARY}-e", f"{CANARY}-e", f"{CANARY}-r"]


class DeathAtStatus(Fault):
    """The operator dies before a run's first status reaches the API server."""

    def __init__(self, kill: Callable[[], None]) -> None:
        super().__init__()
        self._kill = kill

    async def write(self, call: Call, forward: Forward) -> Answer | None:
        if self.hits or (call.method, call.plural) != ("PATCH", "pipelineruns"):
            return await forward()
        self.hits.append(str(call))
        self._kill()
        return None


@side_by_side
async def test_a_restart_goes_on_with_the_values_that_the_run_began_with(case: Case) -> None:
    """Whatever was edited meanwhile: the environment's values, and the run's own, which the API server lets one do."""
    case.plays("a", Play(), end=1.5)
    operator = case.operator()
    await operator.start()
    environment = await stands(case, parameters=PARAMETERS)
    await case.ready(spec(step("a", command=TEXTS), step("b", "a", command=TEXTS), parameters=DECLARED))
    await case.run(parameters=[{"name": "own", "value": f"{CANARY}-r"}])
    await case.step_is("a", "Running")
    operator.kill()
    await edit(case, environment, parameters=[{"name": "level", "value": "after"}, {"name": "token", "value": "other"}])
    given = [{"name": "own", "value": "changed"}]
    await case.api.patch(RUNS, case.namespace, "r", {"spec": {"parameters": given}})
    await operator.start()
    run = await case.ended()
    assert succeeded(run)
    assert [command(job) for job in await case.jobs()] == [GIVEN, GIVEN]
    assert CANARY not in orjson.dumps(run["status"]).decode()
    assert CANARY not in operator.tail(10_000_000)
    operator.kill()


@side_by_side
async def test_a_run_whose_jobs_are_gone_begins_again_with_what_it_says_itself(case: Case) -> None:
    """Its Jobs may be deleted by anyone; the values are found again in the run and its environment."""
    case.broken.add("Jobs")
    case.plays("b", Play(), end=1.0)
    operator = case.operator()
    await operator.start()
    await stands(case, parameters=PARAMETERS)
    slow = step("b", "a", command=TEXTS, retry={"limit": 1, "on": ["Infrastructure"], "backoff": {"initial": "3s"}})
    await case.ready(spec(step("a", command=TEXTS), slow, parameters=DECLARED))
    await case.run(parameters=[{"name": "own", "value": f"{CANARY}-r"}])
    await case.step_is("b", "Running")
    operator.kill()
    for job in await case.jobs():
        await case.api.delete(JOBS, case.namespace, job["metadata"]["name"])
    await operator.start()
    assert succeeded(await case.ended())
    (job,) = await case.jobs()
    assert command(job) == GIVEN
    operator.kill()


@side_by_side
async def test_a_death_between_the_first_jobs_and_the_first_status_changes_nothing(case: Case) -> None:
    async with Proxy(case.plane.server, case.plane.token, case.plane.ca) as proxy:
        operator = case.operator(kubeconfig=proxy.kubeconfig(case.logs / "crash.kubeconfig"))
        await operator.start()
        environment = await stands(case, parameters=PARAMETERS)
        await case.ready(spec(step("a", command=TEXTS), step("b", "a", command=TEXTS), parameters=DECLARED))
        proxy.fault = DeathAtStatus(operator.kill)
        await case.run(parameters=[{"name": "own", "value": f"{CANARY}-r"}])

        async def dead() -> bool:
            return not operator.alive

        await until(dead)
        assert len(await case.jobs()) == 1
        assert "revision" not in (await case.api.get(RUNS, case.namespace, "r")).get("status", {})
        await edit(case, environment, parameters=[{"name": "level", "value": "after"}])
        await operator.start()
        run = await case.ended()
        operator.kill()
    assert succeeded(run)
    assert run["status"]["environment"] == f"{case.namespace}/prod"
    assert [command(job) for job in await case.jobs()] == [GIVEN, GIVEN]
    assert {one["name"]: one.get("masked") for one in run["status"]["parameters"]} == {
        "level": None,
        "token": True,
        "own": True,
    }


@side_by_side
async def test_a_restart_keeps_places_and_lets_no_more_in(case: Case) -> None:
    for name in ("r0", "r1"):
        case.plays("a", Play(outcome=Outcome.HANG), run=name)
    operator = case.operator()
    await operator.start()
    await stands(case, quota={"runs": 2})
    await case.ready(spec(step("a")))
    names = [f"r{number}" for number in range(4)]
    for name in names:
        await case.run(name)

    async def lined_up() -> bool:
        runs = [await case.api.get(RUNS, case.namespace, name) for name in names]
        return [waiting_for(run) for run in runs] == [[], [], ["RunQuota"], ["RunQuota"]]

    await until(lined_up)
    operator.kill()
    await operator.start()
    await asyncio.sleep(1)
    assert await lined_up()
    assert len(await case.api.list(JOBS, case.namespace)) == 2
    for name in names[:2]:
        await case.api.delete(RUNS, case.namespace, name)
    for name in names[2:]:
        assert succeeded(await case.ended(name))
    operator.kill()
