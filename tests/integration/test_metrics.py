"""What /metrics says after real runs, how promtool likes it, and that its size does not follow the number of runs."""

from __future__ import annotations

import asyncio
import re
import subprocess

import pytest
from tests.harness.finished import finish, outcome
from tests.harness.kinds import RUNS
from tests.harness.script import fail
from tests.integration.beside import side_by_side
from tests.integration.support import (
    Case,
    Operator,
    spec,
    step,
    succeeded,
    until,
)

from localcluster import binaries

pytestmark = pytest.mark.asyncio(loop_scope="module")
OPERATOR = False

RECONCILES_AN_ATTEMPT = 12
"""At most, its share of its run's beginning and end among them."""
ENDED = "2026-01-01T00:00:00Z"


async def scrape(operator: Operator) -> str:
    """What a Prometheus server gets."""
    text = await operator.get("/metrics")
    assert text is not None
    return text


def value(text: str, name: str, **labels: str) -> float:
    """The sum of a metric's samples that have these labels.

    Raises:
        AssertionError: there is no such sample.
    """
    wanted = {f'{key}="{one}"' for key, one in labels.items()}
    found = [
        float(match[2])
        for match in re.finditer(rf"^{name}(?:{{(.*)}})? (\S+)$", text, re.MULTILINE)
        if wanted <= set((match[1] or "").split(","))
    ]
    assert found, f"no {name} with {labels} in:\n{text}"
    return sum(found)


@side_by_side
async def test_runs_are_counted_and_measured_and_promtool_accepts_it(case: Case) -> None:
    retry = {"limit": 1, "backoff": {"initial": "3s"}}
    case.plays("a", fail(1), run="again-and-again", attempt=1)
    case.plays("a", fail(1), run="lost-for-good")
    async with case.operator() as operator:
        await case.ready(spec(step("a", retry=retry), step("b", "a")))
        for name in ("one-in-a-million", "again-and-again", "lost-for-good"):
            await case.run(name)
        assert succeeded(await case.ended("one-in-a-million"))
        assert succeeded(await case.ended("again-and-again"))
        await case.ended("lost-for-good")
        text = await scrape(operator)
        ours = {"pipeline": "p", "environment": case.namespace}
        assert value(text, "dataops_runs", **ours, phase="Succeeded") == 2
        assert value(text, "dataops_runs", **ours, phase="Failed") == 1
        assert value(text, "dataops_run_duration_seconds_count", **ours, phase="Succeeded") == 2
        assert value(text, "dataops_run_duration_seconds_sum", **ours, phase="Failed") >= 3
        assert value(text, "dataops_step_duration_seconds_count", **ours, phase="Succeeded") == 4
        assert value(text, "dataops_step_duration_seconds_count", **ours, phase="Failed") == 1
        assert value(text, "dataops_step_retries_total", **ours, reason="Error") == 2
        assert value(text, "dataops_queue_wait_seconds_count", **ours) == 3
        reconciles = value(text, "dataops_reconcile_total", kind="PipelineRun")
        print(f"{reconciles:.0f} reconciles for 7 attempts of 3 runs")
        assert reconciles <= 7 * RECONCILES_AN_ATTEMPT, "I10"
        assert value(text, "dataops_transition_seconds_count") >= 2
        assert value(text, "dataops_reconcile_total", kind="PipelineRun", result="success") > 0
        assert value(text, "dataops_reconcile_seconds_count", kind="Pipeline") > 0
        assert value(text, "dataops_reconcile_queue_seconds_count") > 0
        assert value(text, "dataops_reconcile_queue_depth") == 0
        assert value(text, "dataops_api_requests_total", verb="create", resource="jobs", code="201") == 7
        assert value(text, "dataops_leader") == 1
        for run in await case.api.list(RUNS, case.namespace):
            assert run["metadata"]["name"] not in text
            assert run["metadata"]["uid"] not in text
        promtool = binaries.ensure("checks") / "promtool"
        checked = await asyncio.to_thread(
            subprocess.run, [str(promtool), "check", "metrics"], input=text, text=True, capture_output=True, check=False
        )
        assert checked.returncode == 0, checked.stderr + checked.stdout
        assert checked.stderr == "", "promtool has something to say"


@side_by_side
async def test_two_thousand_finished_runs_take_no_more_room_than_twenty(case: Case) -> None:
    operator, sizes = case.operator(), []
    for first, last in ((0, 20), (20, 2000)):
        names = (f"finished-{number}" for number in range(first, last))
        await finish(case.api, case.namespace, names, "gone", outcome(ENDED))
        async with operator:

            async def counted(expected: int = last) -> bool:
                text = await scrape(operator)
                leads = value(text, "dataops_leader") == 1
                return leads and 'pipeline="gone"' in text and value(text, "dataops_runs", pipeline="gone") == expected

            await until(counted)
            text = await scrape(operator)
            assert value(text, "dataops_runs", pipeline="gone", phase="Succeeded") == last
            sizes.append(len(text.splitlines()))
            assert await operator.terminate() == 0
    few, many = sizes
    print(f"{few} lines with 20 runs, {many} with 2,000")
    # The one difference: a list of 2,000 or a watch may be told by one more series of requests.
    assert abs(many - few) <= 3
