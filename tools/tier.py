"""Run the tiers of tests one after another: each prints what ran and how long, and one that cannot run fails.

    python3 tools/tier.py --all lint unit e2e

Each tier is the make target of its name. Its count of tests is read from what it prints; a tier of tests in which no
test passed, or one was skipped, has failed, however it ended.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import time
from dataclasses import dataclass

TESTED = ("unit", "integration", "faults", "e2e")
"""Tiers that are made of tests."""

_COUNT = re.compile(r"(\d+) (\w+)")
_SUMMARY = re.compile(r"((?:\d+ \w+(?:, )?)+) in [\d.]+s(?: \([\d:]+\))?")


@dataclass(frozen=True)
class Outcome:
    """How one tier went."""

    name: str
    good: bool
    counts: dict[str, int]
    seconds: float
    why: str = ""


def run(name: str) -> Outcome:
    """Run one tier, passing on what it prints."""
    print(f"\n==> {name}", flush=True)
    began = time.monotonic()
    counts: dict[str, int] = {}
    with subprocess.Popen(["make", "-s", name], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None  # noqa: S101 - asked for above
        for line in process.stdout:
            print(line, end="", flush=True)
            counts = count(line) or counts
    return judge(name, process.returncode, counts, time.monotonic() - began)


def count(line: str) -> dict[str, int]:
    """How many tests passed, failed and so on, where the line is the closing one of a test runner."""
    found = _SUMMARY.fullmatch(line.strip().strip("= "))
    return {word: int(number) for number, word in _COUNT.findall(found[1])} if found else {}


def judge(name: str, code: int, counts: dict[str, int], seconds: float) -> Outcome:
    """Whether a tier that ended so has passed."""
    why = ""
    if code:
        why = f"exit code {code}"
    elif name in TESTED and not counts.get("passed"):
        why = "no test ran"
    elif counts.get("skipped"):
        why = f"{counts['skipped']} tests were skipped"
    return Outcome(name, not why, counts, seconds, why)


def main() -> int:
    """Run the tiers that are named; exit code 1 if any failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tiers", nargs="+")
    parser.add_argument("--all", action="store_true", help="go on after a tier that failed")
    options = parser.parse_args()
    outcomes: list[Outcome] = []
    for name in options.tiers:
        outcomes.append(run(name))
        if not outcomes[-1].good and not options.all:
            break
    print("\ntier           outcome   tests  seconds")
    for one in outcomes:
        word, tests = "passed" if one.good else "FAILED", str(one.counts.get("passed", "")) or "-"
        print(f"{one.name:<15}{word:<8}{tests:>7}{one.seconds:>9.0f}  {one.why}")
    bad = sum(not one.good for one in outcomes)
    passed = sum(one.counts.get("passed", 0) for one in outcomes)
    failed = sum(one.counts.get("failed", 0) + one.counts.get("error", 0) for one in outcomes)
    print(f"\n{len(outcomes) - bad} of {len(outcomes)} tiers passed, {sum(o.seconds for o in outcomes):.0f} s in all")
    print(f"{passed} passed, {failed} failed")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
