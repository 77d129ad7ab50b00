"""What the pages say that a finished run costs, held against what the bench measured."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


def measured() -> float:
    """Bytes for each finished run: the memory of an operator that starts among them is more than an idle one's."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    among = re.search(r"restart with ([\d,]+) finished runs, memory of the operator \|[^|]*\| ([\d.]+) MB", text)
    idle = re.search(r"memory of the operator, idle \|[^|]*\| ([\d.]+) MB", text)
    assert among is not None
    assert idle is not None
    return (float(among[2]) - float(idle[1])) * 2**20 / int(among[1].replace(",", ""))


@pytest.mark.parametrize("page", ["history.md", "operations.md"])
def test_a_finished_run_costs_what_the_page_says(page: str) -> None:
    said = re.search(r"about ([\d.]+) kB of", (ROOT / "docs" / page).read_text(encoding="utf-8"))
    assert said is not None
    assert float(said[1]) * 1000 == pytest.approx(measured(), rel=0.25)
