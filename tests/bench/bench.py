"""Measure the budgets: `python -m tests.bench.bench [--quick] [--write-readme]`.

Counts (writes a run, writes for nothing) are asserted, and the exit code is 1 where one is missed. Times and sizes are
reported: they are the machine's as much as the operator's.
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
from tests.bench import report
from tests.bench.load import Cost, Load, measure
from tests.harness.interpreter import interpreter
from tests.harness.operator import ROOT

FULL = (
    Load("100 at once", 100),
    Load("300 at once", 300, idle=60),
    Load("300 at once, fused", 300, fused=True),
    Load("240 a minute", 240, per_minute=240),
    Load("500 at once, a secret each", 500, secrets=True),
)
QUICK = (
    Load("30 at once", 30, idle=10),
    Load("30 at once, fused", 30, fused=True, idle=10),
    Load("240 a minute", 60, per_minute=240, idle=10),
    Load("30 at once, a secret each", 30, secrets=True, idle=10),
)
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
    loads = QUICK if given.quick else FULL
    python = interpreter()
    costs = []
    for tuned in worlds:
        for load in loads:
            # What secrets add is not told apart where the Job controller's own limit is what everything waits for.
            if tuned or not load.secrets:
                costs.append(_measure(load, tuned, python))
    _write(costs)
    text = report.table(costs)
    print(f"\n{text}\n")
    if given.write_readme:
        report.write_readme(ROOT / "README.md", text)
    broken = report.missed(costs)
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


def _write(costs: Sequence[Cost]) -> None:
    figures = {"measured": datetime.now(UTC).isoformat(timespec="seconds"), "costs": [asdict(cost) for cost in costs]}
    file = OUT / "figures.json"
    file.write_bytes(orjson.dumps(figures, option=orjson.OPT_INDENT_2))
    print(f"figures: {file.relative_to(ROOT)}")


if __name__ == "__main__":
    sys.exit(main())
