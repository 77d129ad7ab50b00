import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import tier

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("name", "code", "counts", "why"),
    [
        ("unit", 0, {"passed": 9}, ""),
        ("lint", 0, {}, ""),
        ("unit", 1, {"passed": 9, "failed": 1}, "exit code 1"),
        ("unit", 0, {}, "no test ran"),
        ("e2e", 0, {"skipped": 3}, "no test ran"),
        ("e2e", 0, {"passed": 5, "skipped": 3}, "3 tests were skipped"),
    ],
)
def test_a_tier_passes_only_when_all_of_it_ran_and_passed(
    name: str, code: int, counts: dict[str, int], why: str
) -> None:
    outcome = tier.judge(name, code, counts, 1.0)
    assert outcome.why == why
    assert outcome.good is (why == "")


@pytest.mark.parametrize(
    ("line", "counts"),
    [
        ("220 passed in 23.46s", {"passed": 220}),
        ("==== 2 failed, 117 passed, 1 skipped in 18.35s ====", {"failed": 2, "passed": 117, "skipped": 1}),
        ("1 passed, 1 warning in 0.10s", {"passed": 1, "warning": 1}),
        ("126 passed in 93.12s (0:01:33)", {"passed": 126}),
        ("no tests ran in 0.01s", {}),
        ("3 passed the audit in May", {}),
    ],
)
def test_counts_are_those_of_the_closing_line(line: str, counts: dict[str, int]) -> None:
    assert tier.count(line) == counts


def test_a_worker_that_dies_fails_its_tier_and_the_rest_still_counts(tmp_path: Path) -> None:
    (tmp_path / "test_some.py").write_text(
        """
import os

def test_that_takes_its_worker_along() -> None:
    os._exit(3)

def test_one() -> None: ...

def test_two() -> None: ...
"""
    )
    run = [sys.executable, "-m", "pytest", "-q", "-c", os.devnull, "--numprocesses", "2", str(tmp_path)]
    done = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True, check=False)
    counts = next(filter(None, map(tier.count, reversed(done.stdout.splitlines()))))
    assert counts == {"failed": 1, "passed": 2}
    assert not tier.judge("unit", done.returncode, counts, 1.0).good


def test_make_alone_lists_every_target_with_a_line() -> None:
    shown = subprocess.run(["make", "-s"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    listed = {line.split()[1] for line in shown.splitlines() if line.startswith("  make ")}
    assert {"demo", "test", "down", "cluster", "kubeconfig", "env", "e2e", "bench", "crds"} <= listed
    assert all(len(line.split()) > 3 for line in shown.splitlines() if line.startswith("  make "))


def test_the_readme_names_only_targets_that_exist() -> None:
    shown = subprocess.run(["make", "-s"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    listed = {line.split()[1] for line in shown.splitlines() if line.startswith("  make ")}
    text = (ROOT / "README.md").read_text() + (ROOT / "CONTRIBUTING.md").read_text()
    named = set(re.findall(r"make (?:-s )?([a-z-]+)`", text)) | set(re.findall(r"(?m)^make ([a-z-]+)", text))
    assert named
    assert named <= listed


class Tiers:
    """Tiers that are played, and when each of them began and ended."""

    def __init__(self, *bad: str) -> None:
        self.bad = bad
        self.said: list[str] = []

    def run(self, name: str) -> tier.Outcome:
        self.said.append(f"{name} begins")
        time.sleep(0.02)
        self.said.append(f"{name} ends")
        return tier.judge(name, int(name in self.bad), {"passed": 1}, 0.02)


def test_a_tier_begins_when_all_that_it_needs_has_ended() -> None:
    played = Tiers()
    names = ["e2e", "unit", "built-images", "packages", "lint", "programs"]
    outcomes = tier.run_all(names, played.run, go_on=True)
    assert [one.name for one in outcomes] == names
    assert all(one.good for one in outcomes)
    for name in names:
        for need in tier.NEEDS.get(name, ()):
            assert played.said.index(f"{need} ends") < played.said.index(f"{name} begins")


def test_two_tiers_run_side_by_side_and_never_three() -> None:
    both = threading.Barrier(2)
    running: list[str] = []

    def run(name: str) -> tier.Outcome:
        running.append(name)
        assert len(running) <= 2
        both.wait(10)  # each waits for another: one alone never ends
        running.remove(name)
        return tier.judge(name, 0, {"passed": 1}, 0)

    assert len(tier.run_all(["lint", "chart", "types", "built-images"], run, go_on=True)) == 4


def test_of_the_tiers_that_keep_the_machine_busy_there_is_one_at_a_time() -> None:
    running: list[str] = []

    def run(name: str) -> tier.Outcome:
        running.append(name)
        assert len(tier.ALONE.intersection(running)) <= 1, running
        time.sleep(0.02)
        running.remove(name)
        return tier.judge(name, 0, {"passed": 1}, 0)

    names = ["integration", "e2e", "chart", "unit", "faults-short", "bench-smoke"]
    assert [one.name for one in tier.run_all(names, run, go_on=True)] == names


@pytest.mark.parametrize("need", ["programs", "packages", "built-images"])
def test_a_tier_whose_need_has_failed_has_failed_and_says_why(need: str) -> None:
    played = Tiers(need)
    outcomes = {one.name: one for one in tier.run_all([need, "e2e", "other"], played.run, go_on=True)}
    assert outcomes["e2e"].why == f"not run, since {need} failed"
    assert not outcomes["e2e"].good
    assert outcomes["other"].good
    assert "e2e begins" not in played.said


def test_after_a_failure_no_other_begins_unless_all_are_asked_for() -> None:
    names = ["lint", "types", "unit", "chart"]
    stopped = tier.run_all(names, Tiers("lint").run, go_on=False, side_by_side=1)
    assert [(one.name, one.good) for one in stopped] == [("lint", False)]
    whole = tier.run_all(names, Tiers("lint").run, go_on=True, side_by_side=1)
    assert [one.name for one in whole if one.good] == ["types", "unit", "chart"]


def test_what_two_tiers_print_is_shown_one_after_the_other(capsys: pytest.CaptureFixture[str]) -> None:
    screen = tier.Screen()
    screen.begin("a")
    screen.begin("b")
    screen.line("b", "b1\n")
    screen.line("a", "a1\n")
    assert capsys.readouterr().out == "\n==> a\na1\n", "the first is shown as it comes"
    screen.end("b", "passed")
    screen.begin("c")
    screen.line("c", "c1\n")
    screen.line("a", "a2\n")
    screen.end("a", "passed")
    screen.line("c", "c2\n")
    screen.end("c", "passed")
    shown = capsys.readouterr().out
    assert shown == "    (b passed: see below)\na2\n\n==> b\nb1\n\n==> c\nc1\nc2\n"


def test_the_last_line_counts_the_tests_of_all_tiers() -> None:
    outcomes = [
        tier.judge("unit", 1, {"passed": 7, "failed": 1, "error": 1}, 2.0, 3.0),
        tier.judge("lint", 0, {}, 1.0),
        tier.judge("e2e", 0, {"passed": 3}, 9.0),
    ]
    lines = tier.table(outcomes, 10.4).splitlines()
    assert lines[-1] == "10 passed, 2 failed"
    assert lines[-2] == "2 of 3 tiers passed, 10 s in all"
    assert lines[1].split() == ["unit", "FAILED", "7", "2", "3", "exit", "code", "1"]


def test_a_tier_is_the_make_target_of_its_name(capsys: pytest.CaptureFixture[str]) -> None:
    outcome = tier.run("help", tier.Screen())
    assert outcome.good
    assert capsys.readouterr().out.startswith("\n==> help\n\nSee it work\n")
    assert tier.run("no-such-target", tier.Screen()).why == "exit code 2"


def test_every_tier_that_make_test_names_is_a_target() -> None:
    makefile = (ROOT / "Makefile").read_text()
    named = re.findall(r"\$\(TIER\) --all (.+)", makefile)[0].split()
    assert set(tier.NEEDS) | set(tier.TESTED) <= set(named)
    for needs in tier.NEEDS.values():
        assert set(needs) <= set(named)
    dry = subprocess.run(["make", "-n", *named], cwd=ROOT, capture_output=True, text=True, check=False)
    assert dry.returncode == 0, dry.stderr
