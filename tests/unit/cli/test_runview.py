"""What a watched run shows: a tree, and lines."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console
from tests.builders import EPOCH, at

from dataops_operator.cli.errors import Exit
from dataops_operator.cli.runview import transitions, view
from dataops_operator.cli.tree import tree

Object = dict[str, Any]


def step(name: str, phase: str, **more: Any) -> Object:
    return {"name": name, "phase": phase, **more}


def ran(name: str, begun: float, ended: float, phase: str = "Succeeded", **more: Any) -> Object:
    return step(name, phase, attempt=1, startedAt=at(begun), finishedAt=at(ended), **more)


def run(phase: str, *steps: Object, reason: str = "", message: str = "", **status: Any) -> Object:
    succeeded = {"Succeeded": "True", "Failed": "False"}.get(phase, "Unknown")
    condition = {"type": "Succeeded", "status": succeeded, "reason": reason or phase, "message": message}
    return {
        "metadata": {"name": "r", "namespace": "shop", "creationTimestamp": at(0)},
        "spec": {"pipeline": "orders"},
        "status": {"phase": phase, "conditions": [condition], "startedAt": at(1), "steps": list(steps), **status},
    }


def drawn(obj: Object, now: float = 60, **more: Any) -> list[str]:
    screen = Console(file=io.StringIO(), width=100, record=True)
    screen.print(tree(view(obj, EPOCH + now), **more))
    return [line.rstrip() for line in screen.export_text().splitlines()]


def lines(before: Object | None, after: Object, now: float = 60) -> list[str]:
    old = view(before, EPOCH + now - 1) if before is not None else None
    return list(transitions(old, view(after, EPOCH + now), EPOCH + now))


LAND = ran("land", 2, 14, outputs={"rows": 684, "parts": ["a", "b"]})
RETRIED = {"attempt": 2, "startedAt": at(40), "job": "j"}


def test_the_tree_of_a_run_under_way() -> None:
    waiting = step("audit", "Waiting", reason="Backoff", message="exit code 1", attempt=1, startedAt=at(15))
    obj = run(
        "Running", LAND, step("conform", "Running", **RETRIED), waiting, step("publish", "Pending"), progress="1/4"
    )
    assert drawn(obj) == [
        "r  Running  1/4  59s  orders",
        '├─ ✓ land     Succeeded  12s             rows=684, parts=["a","b"]',
        "├─ ● conform  Running    20s  attempt 2",
        "├─ ◔ audit    Waiting    45s             Backoff: exit code 1",
        "╰─ · publish  Pending",
    ]


def test_a_fan_out_tells_how_many_of_its_items_are_done() -> None:
    items = {"total": 40, "active": 3, "succeeded": 12, "failed": 1}
    obj = run("Running", step("conform", "Running", attempt=1, startedAt=at(40), items=items))
    assert drawn(obj)[1] == "╰─ ● conform  Running  20s  12/40 items, 3 active, 1 failed"
    assert lines(None, obj)[0] == f"{at(40)}  step conform  Running  12/40 items, 3 active, 1 failed"


def test_the_tree_of_a_failed_run_says_why() -> None:
    failed = ran("audit", 15, 16, "Failed", reason="Error", message="exit code 1: 16 of 27 checks failed")
    skipped = step("publish", "Skipped", reason="UpstreamFailed", message="step audit failed")
    obj = run("Failed", failed, skipped, reason="StepFailed", message="step audit: exit code 1", finishedAt=at(17))
    assert drawn(obj, plain=True) == [
        "r  Failed  16s  orders",
        "|- x audit    Failed   1s    Error: exit code 1: 16 of 27 checks failed",
        "`- - publish  Skipped        UpstreamFailed: step audit failed",
        "Failed in 16s: StepFailed: step audit: exit code 1",
    ]


def test_a_run_that_waits_says_for_what() -> None:
    waits = {"reason": "RunQuota", "message": "2 runs are under way", "holder": "r0", "position": 3}
    assert drawn(run("Waiting", waitingFor=[waits])) == [
        "r  Waiting  59s  orders",
        "waits: RunQuota: 2 runs are under way (place 3, held by r0)",
    ]


def test_a_run_that_nobody_has_seen_yet_is_pending() -> None:
    obj = run("x")
    obj["status"] = {"observedGeneration": -1}
    assert drawn(obj) == ["r  Pending  1m  orders"]


def test_of_more_steps_than_lines_those_are_shown_on_which_something_happens() -> None:
    many = [ran(f"done-{number}", 1, 2) for number in range(500)]
    many += [step("bad", "Failed"), step("now", "Running")]
    many += [step(f"later-{number}", "Pending") for number in range(498)]
    shown = drawn(run("Running", *many), height=16)
    assert len(shown) <= 16
    assert any("bad" in line for line in shown)
    assert any("now" in line for line in shown)
    assert "done-499" in "".join(shown)
    assert shown[-1] == "╰─ and 991 more steps: 493 Succeeded, 498 Pending"


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        pytest.param(
            None,
            run("Running", LAND, step("b", "Running", startedAt=at(15), attempt=1, job="j"), step("c", "Pending")),
            [
                f'{at(14)}  step land  Succeeded  12s  rows=684, parts=["a","b"]',
                f"{at(15)}  step b  Running",
                f"{at(60)}  run r  Running",
            ],
            id="all that has happened, at the first look",
        ),
        pytest.param(
            run("Running", step("land", "Running")),
            run("Running", step("land", "Waiting", reason="Error", message="exit code 1", attempt=1, retryAt=at(70))),
            [f"{at(60)}  step land  Waiting  Error: exit code 1"],
            id="a retry",
        ),
        pytest.param(
            run("Running", step("land", "Running", attempt=1)),
            run("Running", step("land", "Running", attempt=2, startedAt=at(59))),
            [f"{at(59)}  step land  Running  attempt 2"],
            id="another attempt",
        ),
        pytest.param(
            run("Running", step("land", "Running", attempt=1)),
            run("Running", step("land", "Running", attempt=1), message="another word"),
            [],
            id="nothing where only words changed",
        ),
        pytest.param(
            run("Running", LAND),
            run("Succeeded", LAND, message="1 of 1 steps succeeded", finishedAt=at(31)),
            [f"{at(60)}  run r  Succeeded in 30s: 1 of 1 steps succeeded"],
            id="the end",
        ),
        pytest.param(
            None,
            run("Waiting", reason="Frozen", waitingFor=[{"reason": "Frozen", "message": "shop/prod is frozen"}]),
            [f"{at(60)}  run r  Waiting: Frozen: shop/prod is frozen"],
            id="a run that waits",
        ),
        pytest.param(
            None,
            run("Failed", reason="PipelineNotFound", message="no pipeline 'orders'", finishedAt=at(3)),
            [f"{at(60)}  run r  Failed in 2s: PipelineNotFound: no pipeline 'orders'"],
            id="a run that was refused",
        ),
    ],
)  # fmt: skip
def test_a_line_for_each_transition(before: Object | None, after: Object, expected: list[str]) -> None:
    assert lines(before, after) == expected


@pytest.mark.parametrize(
    ("phase", "code"), [("Succeeded", Exit.OK), ("Failed", Exit.FAILED), ("Cancelled", Exit.FAILED)]
)
def test_the_exit_code_tells_the_outcome(phase: str, code: Exit) -> None:
    assert view(run(phase), EPOCH).exit_code is code
