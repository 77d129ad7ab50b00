"""Measure the budgets: `python -m tests.bench.bench [--quick] [--write-readme]`.

Counts (writes a run, writes for nothing, bytes of a status) are asserted, and the exit code is 1 where one is missed.
Times, CPU and memory are reported: they are the machine's as much as the operator's.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from typing import Protocol, TypeVar

import orjson
from tests.bench import argo, bare, budgets, fanout, load, report, restart
from tests.bench.argo import ArgoCost
from tests.bench.budgets import Figures
from tests.bench.driven import Driven
from tests.bench.load import Cost
from tests.bench.runs import Load
from tests.harness.interpreter import interpreter
from tests.harness.operator import ROOT

FULL = (
    Load("100 at once", 100),
    Load("300 at once", 300, idle=30, yardstick=True),
    Load("300 at once, fused", 300, fused=True, yardstick=True),
    Load("240 a minute", 240, per_minute=240),
    Load("500 at once, a secret each", 500, secrets=True),
    Load("100 live at once", 100, hold=5, idle=5),
    Load("500 live at once", 500, hold=20, idle=5),
    Load("2,000 live at once", 2000, hold=60, idle=5),
)
QUICK = (
    Load("30 live at once", 30, hold=2),
    Load("30 at once, fused", 30, fused=True, idle=5, yardstick=True),
    Load("240 a minute", 60, per_minute=240, idle=5),
    Load("30 at once, a secret each", 30, secrets=True, idle=5),
)
RIVALS = {
    "100 at once": (argo.DEFAULT, argo.TUNED),
    "300 at once": (argo.TUNED, argo.MINIMAL),
    "240 a minute": (argo.TUNED,),
}
"""With which settings the rival is measured at which of the loads above, in the same minutes."""
SIZES, QUICK_SIZES = (5000, 10_000, 5000), (50, 200, 50)
"""Items of a fan-out, finished runs that a restart finds, and finished runs whose Jobs and pods it finds as well."""
PARALLELISM = 500
"""Items at once; more of them do not end sooner."""
OUT = ROOT / "build" / "bench"


class Told(Protocol):
    """What was measured."""

    def told(self) -> str:
        """The first figures, for who waits."""


C = TypeVar("C", bound=Told)


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
    figures = _measure(FULL, SIZES, worlds, RIVALS) if not given.quick else _measure(QUICK, QUICK_SIZES, worlds, {})
    _write(figures)
    text = report.table(figures)
    print(f"\n{text}\n")
    if given.write_readme:
        report.write_readme(ROOT / "README.md", text)
    broken = budgets.missed(figures)
    for said in broken:
        print(f"MISSED: {said}", file=sys.stderr)
    return 1 if broken else 0


def _measure(
    loads: Sequence[Load],
    sizes: tuple[int, int, int],
    worlds: Sequence[bool],
    rivals: Mapping[str, Sequence[argo.Settings]],
) -> Figures:
    python = interpreter()
    costs: list[Cost] = []
    bares: list[Driven] = []
    others: list[ArgoCost] = []
    for tuned in worlds:
        world = "tuned" if tuned else "stock"
        for one in loads:
            # Where everything waits for the Job controller's own limit, what secrets add is not told apart, and 2,000
            # runs take half an hour.
            if not tuned and (one.secrets or one.hold):
                continue
            what = f"{one.name}, Job controller {world}: {one.runs} runs"
            operator = partial(load.measure, one, tuned=tuned, python=python)
            costs.append(_measured(what, f"{one.name} {world}", operator))
            if tuned and one.yardstick:
                loop = partial(bare.measure, one, python=python)
                bares.append(_measured(f"{what}, by a bare loop", f"{one.name} bare", loop))
            for settings in rivals.get(one.name, ()) if tuned else ():
                rival = partial(argo.measure, one, settings, python=python)
                name = f"{argo.NAME}, {settings.name}"
                others.append(_measured(f"{one.name}, {name}: {one.runs} runs", f"{one.name} {name}", rival))
    if True not in worlds:
        return Figures(costs)
    items, finished, kept = sizes
    many = partial(fanout.measure, items, PARALLELISM, python=python)
    without = partial(restart.measure, finished, kept=False, python=python)
    with_pods = partial(restart.measure, kept, kept=True, python=python)
    return Figures(
        costs,
        _measured(f"a fan-out of {items:,}, Job controller tuned", "fan-out", many),
        [
            _measured(f"restart with {finished:,} finished runs", "restart", without),
            _measured(f"restart with {kept:,} finished runs and their pods", "restart-pods", with_pods),
        ],
        bares,
        others,
    )


def _measured(what: str, folder: str, measure: Callable[..., C]) -> C:
    """Measure, and say so: what it is, what was seen, how long it took."""
    print(f"{what} ...", flush=True)
    began = time.monotonic()
    cost = measure(directory=OUT / folder.replace(",", "").replace(" ", "-"))
    print(f"  {cost.told()} ({time.monotonic() - began:.0f} s)", flush=True)
    return cost


def _write(figures: Figures) -> None:
    told = {"measured": datetime.now(UTC).isoformat(timespec="seconds"), **asdict(figures)}
    file = OUT / "figures.json"
    file.write_bytes(orjson.dumps(told, option=orjson.OPT_INDENT_2))
    print(f"figures: {file.relative_to(ROOT)}")


if __name__ == "__main__":
    sys.exit(main())
