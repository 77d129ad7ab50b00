"""The example's package, as its image has it on the path, and one lake a test."""

import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
EXAMPLE = ROOT / "examples" / "flights-daily"
sys.path.insert(0, str(EXAMPLE))

from flights import source  # noqa: E402

# The source never changes, and unpacking it takes most of a test's time: once for each day is enough.
for name in ("flights", "weather", "reference"):
    setattr(source, name, cache(getattr(source, name)))


@pytest.fixture
def lake_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty lake, named to the steps by the environment as in a container."""
    root = tmp_path / "lake"
    root.mkdir()
    monkeypatch.setenv("FLIGHTS_LAKE", str(root))
    monkeypatch.setenv("DATAOPS_RUN_UID", "run-a")
    return root


@pytest.fixture
def result_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that a container has at /dataops/result."""
    path = tmp_path / "result"
    path.touch()
    monkeypatch.setenv("DATAOPS_RESULT", str(path))
    return path
