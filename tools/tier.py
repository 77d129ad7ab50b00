"""Run the tiers of tests: each prints what ran and how long, and one that cannot run fails.

    python3 tools/tier.py --all packages lint unit

Each tier is the make target of its name. It begins when those that it needs have ended, in the order given; light ones
run beside others, and of those that keep the machine busy there is one at a time. Its count
of tests is read from what it prints; a tier of tests in which no test passed, or one was skipped, has failed, however
it ended. What tiers print is shown one tier after another, the first as it comes.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

TESTED = ("unit", "integration", "faults-short", "e2e")
"""Tiers that are made of tests."""

_CLUSTER = ("programs", "packages")
NEEDS: Mapping[str, tuple[str, ...]] = {
    "lint": ("packages",),
    "types": ("packages",),
    "unit": _CLUSTER,  # it renders the chart by the cluster's own helm
    "chart": _CLUSTER,
    "integration": _CLUSTER,
    "faults-short": _CLUSTER,
    "bench-smoke": _CLUSTER,
    "e2e": (*_CLUSTER, "built-images"),
}
"""What must have ended well before a tier begins, where it is asked for at all. Without it a tier would make the same
itself: at the same time as another, or while a test's time runs."""
SIDE_BY_SIDE = 2
ALONE = frozenset({"unit", "integration", "faults-short"})
"""Tiers of which each keeps two cores busy by itself: two of them beside each other are late, and lose their leases.
e2e is none of them: mostly it waits for containers to start and to end; nor is bench-smoke, of which counts are
asserted and no times."""

_COUNT = re.compile(r"(\d+) (\w+)")
_SUMMARY = re.compile(r"((?:\d+ \w+(?:, )?)+) in [\d.]+s(?: \([\d:]+\))?")


@dataclass(frozen=True)
class Outcome:
    """How one tier went.

    Attributes:
        name: of the tier.
        good: whether it passed.
        counts: of tests, by the word for their outcome.
        seconds: from its beginning to its end.
        cpu: seconds of CPU time of its processes that ended before it.
        why: it failed; empty if it did not.
    """

    name: str
    good: bool
    counts: Mapping[str, int]
    seconds: float
    cpu: float = 0
    why: str = ""


class Screen:
    """Shows what tiers print that run at the same time: one after another, the first of them as it comes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: dict[str, list[str]] = {}
        """Lines by tier in the order of their beginning; the first is on the screen and holds none."""
        self._ended: set[str] = set()

    def begin(self, name: str) -> None:
        """A tier begins."""
        with self._lock:
            self._held[name] = []
            if self._first() == name:
                self._show(f"\n==> {name}\n")

    def line(self, name: str, text: str) -> None:
        """A tier prints a line."""
        with self._lock:
            if self._first() == name:
                self._show(text)
            else:
                self._held[name].append(text)

    def end(self, name: str, how: str) -> None:
        """A tier has ended, in a way that is told at once even where its lines must wait."""
        with self._lock:
            self._ended.add(name)
            if self._first() != name:
                self._show(f"    ({name} {how}: see below)\n")
            while self._held and self._first() in self._ended:
                del self._held[self._first()]
                if self._held:
                    following = self._first()
                    self._show(f"\n==> {following}\n" + "".join(self._held[following]))
                    self._held[following].clear()

    def _first(self) -> str:
        return next(iter(self._held))

    def _show(self, text: str) -> None:
        print(text, end="", flush=True)


def run(name: str, screen: Screen) -> Outcome:
    """Run one tier, passing on what it prints."""
    screen.begin(name)
    began = time.monotonic()
    counts: dict[str, int] = {}
    with subprocess.Popen(["make", "-s", name], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None  # noqa: S101 - asked for above
        for line in process.stdout:
            screen.line(name, line)
            counts = count(line) or counts
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    outcome = judge(name, process.returncode, counts, time.monotonic() - began, used.ru_utime + used.ru_stime)
    screen.end(name, f"{'passed' if outcome.good else 'FAILED'} after {outcome.seconds:.0f} s")
    return outcome


def count(line: str) -> dict[str, int]:
    """How many tests passed, failed and so on, where the line is the closing one of a test runner."""
    found = _SUMMARY.fullmatch(line.strip().strip("= "))
    return {word: int(number) for number, word in _COUNT.findall(found[1])} if found else {}


def judge(name: str, code: int, counts: Mapping[str, int], seconds: float, cpu: float = 0) -> Outcome:
    """Whether a tier that ended so has passed."""
    why = ""
    if code:
        why = f"exit code {code}"
    elif name in TESTED and not counts.get("passed"):
        why = "no test ran"
    elif counts.get("skipped"):
        why = f"{counts['skipped']} tests were skipped"
    return Outcome(name, not why, counts, seconds, cpu, why)


def run_all(
    tiers: Sequence[str], run_one: Callable[[str], Outcome], *, go_on: bool, side_by_side: int = SIDE_BY_SIDE
) -> list[Outcome]:
    """Run tiers, each once those that it needs have ended; one that needs one that failed has failed, too.

    Args:
        tiers: their names; of those that could begin, the first in this order does.
        run_one: runs the tier of a name.
        go_on: whether others begin after one has failed.
        side_by_side: how many run at a time.

    Returns:
        How they went, in the order of `tiers`; without those that did not begin because not `go_on`.
    """
    outcomes: dict[str, Outcome] = {}
    running: dict[Future[Outcome], str] = {}
    waiting = list(tiers)
    with ThreadPoolExecutor(side_by_side) as pool:
        while waiting or running:
            for name in list(waiting):
                needed = [need for need in NEEDS.get(name, ()) if need in tiers]
                if failed := [need for need in needed if need in outcomes and not outcomes[need].good]:
                    waiting.remove(name)
                    outcomes[name] = Outcome(name, False, {}, 0, why=f"not run, since {failed[0]} failed")
                elif name in ALONE and not ALONE.isdisjoint(running.values()):
                    continue
                elif len(running) < side_by_side and outcomes.keys() >= set(needed):
                    waiting.remove(name)
                    running[pool.submit(run_one, name)] = name
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                outcomes[running.pop(future)] = future.result()
            if not go_on and not all(one.good for one in outcomes.values()):
                waiting.clear()
    return [outcomes[name] for name in tiers if name in outcomes]


def table(outcomes: Sequence[Outcome], seconds: float) -> str:
    """How the tiers went, for people; the last line is the count of tests."""
    lines = ["tier           outcome   tests  seconds      cpu"]
    for one in outcomes:
        word, tests = "passed" if one.good else "FAILED", str(one.counts.get("passed", "")) or "-"
        lines.append(f"{one.name:<15}{word:<8}{tests:>7}{one.seconds:>9.0f}{one.cpu:>9.0f}  {one.why}".rstrip())
    good = sum(one.good for one in outcomes)
    passed = sum(one.counts.get("passed", 0) for one in outcomes)
    failed = sum(one.counts.get("failed", 0) + one.counts.get("error", 0) for one in outcomes)
    lines += ["", f"{good} of {len(outcomes)} tiers passed, {seconds:.0f} s in all"]
    lines.append(f"{passed} passed, {failed} failed")
    return "\n".join(lines)


def main() -> int:
    """Run the tiers that are named; exit code 1 if any failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tiers", nargs="+")
    parser.add_argument("--all", action="store_true", help="go on after a tier that failed")
    options = parser.parse_args()
    began, screen = time.monotonic(), Screen()
    outcomes = run_all(options.tiers, lambda name: run(name, screen), go_on=options.all)
    print(f"\n{table(outcomes, time.monotonic() - began)}")
    return 0 if all(one.good for one in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
