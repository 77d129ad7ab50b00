import os
import re
import subprocess
import sys
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
