"""Measure the budgets: `python -m tests.bench.bench [--quick] [--write-readme]`.

Counts (writes a run, writes for nothing, bytes of a status) are asserted, and the exit code is 1 where one is missed.
Times, CPU and memory are reported: they are the machine's as much as the operator's.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import orjson
from tests.bench import budgets, fanout, report, restart
from tests.bench.budgets import Figures
from tests.bench.fanout import FanOutCost
from tests.bench.load import Cost, Load, measure
from tests.bench.restart import RestartCost
from tests.harness.interpreter import interpreter
from tests.harness.operator import ROOT

FULL = (
    Load("100 at once", 100),
    Load("300 at once", 300, idle=30),
    Load("300 at once, fused", 300, fused=True),
    Load("240 a minute", 240, per_minute=240),
    Load("500 at once, a secret each", 500, secrets=True),
    Load("100 live at once", 100, hold=5, idle=5),
    Load("500 live at once", 500, hold=20, idle=5),
    Load("2,000 live at once", 2000, hold=60, idle=5),
)
QUICK = (
    Load("30 live at once", 30, hold=2),
    Load("30 at once, fused", 30, fused=True, idle=5),
    Load("240 a minute", 60, per_minute=240, idle=5),
    Load("30 at once, a secret each", 30, secrets=True, idle=5),
)
SIZES, QUICK_SIZES = (5000, 10_000), (50, 200)
"""Items of a fan-out, and finished runs that a restart finds."""
PARALLELISM = 500
"""Items at once; more of them do not end sooner."""
OUT = ROOT / "build" / "bench"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the table, write the figures; 1 if a promise that is a count was broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="30 runs and a minute's quarter, Job controller tuned")
    parser.add_argument("--write-readme", action="store_true", help="put the table into README.md")
    parser.add_argument("--only", choices=("stock", "tuned"), help="one of the two Job controllers")
    given = parser.parse_args(arguments)
    if given.write_readme and (given.quick or given.only):
        parser.error(
            "--write-readme: the README shows all loads with both Job controllers; leave --quick and --only out"
        )
    worlds = [given.only == "tuned"] if given.only else [True] if given.quick else [False, True]
    python = interpreter()
    costs = []
    for tuned in worlds:
        for load in QUICK if given.quick else FULL:
            # Where everything waits for the Job controller's own limit, what secrets add is not told apart, and 2,000
            # runs take half an hour.
            if tuned or not (load.secrets or load.hold):
                costs.append(_measure(load, tuned, python))
    figures = Figures(costs)
    if True in worlds:
        items, finished = QUICK_SIZES if given.quick else SIZES
        figures = Figures(costs, _fan_out(items, python), _restart(finished, python))
    _write(figures)
    text = report.table(figures)
    print(f"\n{text}\n")
    if given.write_readme:
        report.write_readme(ROOT / "README.md", text)
    broken = budgets.missed(figures)
    for said in broken:
        print(f"MISSED: {said}", file=sys.stderr)
    return 1 if broken else 0


def _measure(load: Load, tuned: bool, python: Path) -> Cost:
    world = "tuned" if tuned else "stock"
    print(f"{load.name}, Job controller {world}: {load.runs} runs ...", flush=True)
    began = time.monotonic()
    directory = OUT / f"{load.name.replace(',', '').replace(' ', '-')}-{world}"
    cost = measure(load, tuned=tuned, python=python, directory=directory)
    print(
        f"  {cost.runs_per_minute:,.0f} runs a minute, step delay p50 {cost.delay_p50 * 1000:,.0f} ms, "
        f"{cost.writes_mean:.1f} writes a run, {cost.operator_cpu_ms:.1f} ms of CPU a run "
        f"({time.monotonic() - began:.0f} s)",
        flush=True,
    )
    return cost


def _fan_out(items: int, python: Path) -> FanOutCost:
    print(f"a fan-out of {items:,}, Job controller tuned ...", flush=True)
    began = time.monotonic()
    cost = fanout.measure(items, PARALLELISM, python=python, directory=OUT / "fan-out")
    print(
        f"  {cost.seconds:.0f} s, {cost.writes} writes, {cost.cpu_seconds:.1f} s of CPU, "
        f"status {cost.status_bytes:,} bytes ({time.monotonic() - began:.0f} s)",
        flush=True,
    )
    return cost


def _restart(finished: int, python: Path) -> RestartCost:
    print(f"restart with {finished:,} finished runs ...", flush=True)
    began = time.monotonic()
    cost = restart.measure(finished, python=python, directory=OUT / "restart")
    print(
        f"  ready after {cost.ready_seconds:.1f} s, first Job after {cost.first_job_seconds:.1f} s, "
        f"{cost.rss_peak_mb:.0f} MB, {cost.writes} writes for nothing ({time.monotonic() - began:.0f} s)",
        flush=True,
    )
    return cost


def _write(figures: Figures) -> None:
    told = {"measured": datetime.now(UTC).isoformat(timespec="seconds"), **asdict(figures)}
    file = OUT / "figures.json"
    file.write_bytes(orjson.dumps(told, option=orjson.OPT_INDENT_2))
    print(f"figures: {file.relative_to(ROOT)}")


if __name__ == "__main__":
    sys.exit(main())
