"""What waits without a pod while the operator is killed: times stay as they were, nothing is made twice or lost."""

from __future__ import annotations

import asyncio

import pytest
from tests.harness.kinds import RUNS
from tests.harness.script import Play
from tests.integration.beside import side_by_side
from tests.integration.support import Case, phases, row, spec, step, succeeded

from dataops_operator.core.times import since

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]
OPERATOR = False


@side_by_side
async def test_a_killed_operator_forgets_no_time_no_decision_and_no_other_run(case: Case) -> None:
    case.plays("load", Play(), end=4.0)
    operator = case.operator()
    await operator.start()
    try:
        await case.ready(spec(step("load")), "other")
        pause, ask = {"name": "pause", "wait": {"duration": "8s"}}, {"name": "ask", "approval": {}}
        call = {"name": "call", "pipeline": {"name": "other"}}
        await case.ready(spec(pause, ask, call, step("last", "pause", "ask", "call")))
        await case.run()
        run = await case.until(RUNS, "r", lambda run: row(run, "call").get("phase") == "Running")
        began, other = row(run, "pause")["startedAt"], row(run, "call")["run"]
        operator.kill()
        # Decided, and the other run's pod ended, while nobody looks.
        decision = {"step": "ask", "decision": "Approve", "comment": "meanwhile"}
        await case.api.patch(RUNS, case.namespace, "r", {"spec": {"approvals": [decision]}})
        await asyncio.sleep(4)
        await operator.start()
        run = await case.ended(within=60)
        assert succeeded(run)
        assert phases(run) == dict.fromkeys(("pause", "ask", "call", "last"), "Succeeded")
        assert row(run, "ask")["message"] == "approved by somebody: meanwhile"
        assert row(run, "pause")["startedAt"] == began
        assert 8 <= (since(began, row(run, "pause")["finishedAt"]) or 0) < 30
        assert [one["metadata"]["name"] for one in await case.api.list(RUNS, case.namespace)] == sorted(["r", other])
    finally:
        operator.kill()
