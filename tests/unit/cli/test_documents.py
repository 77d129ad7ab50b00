"""YAML read as kubectl reads it."""

from __future__ import annotations

import pytest

from dataops_operator.cli import documents
from dataops_operator.cli.documents import Position

# As `kubectl patch --local --type=merge -p {} -o json` (v1.37) turns each scalar into JSON.
SCALARS = {
    "y": True, "N": False, "yes": True, "on": True, "Off": False, "TRUE": True, "tRUE": "tRUE",
    "2013-02-09": "2013-02-09", "2013-02-09T00:00:00Z": "2013-02-09T00:00:00Z", "1:30": "1:30",
    "010": 8, "0o10": 8, "08": 8, "0_8": 8, "0x1F": 31, "-0x1F": -31, "0X1F": 31, "0x": "0x",
    "0b11": 3, "0B11": 3, "-0b11": -3, "0b12": "0b12", "1_000": 1000, "1__0": 10, "_1": "_1", "1_": 1,
    "1e3": 1000, "1E3": 1000, "1.5e3": 1500, ".5": 0.5, "+.5": 0.5, "5.": 5, "0.": 0, "e5": "e5", "1e": "1e",
    "+7": 7, "-7": -7, "-0": 0, "~": None, "Null": None, "1.2.3": "1.2.3", "=": "=",
    '"on"': "on", "'1'": "1", "!!str on": "on", "!!str 1": "1",
}  # fmt: skip


@pytest.mark.parametrize(("text", "value"), SCALARS.items())
def test_a_scalar_is_what_kubectl_makes_of_it(text: str, value: object) -> None:
    (document,) = documents.read(f"a: {text}")
    assert document.value == {"a": value}
    assert type(document.value["a"]) is type(value)
    assert document.mistakes == []


def test_merge_keys_and_aliases_are_taken_in() -> None:
    (document,) = documents.read("base: &b {x: 1, y1: 2}\nmore: {<<: *b, x: 3}\nmany: {<<: [{z: 1}, *b]}\nsame: *b")
    assert document.value["more"] == {"x": 3, "y1": 2}
    assert document.value["many"] == {"z": 1, "x": 1, "y1": 2}
    assert document.value["same"] == document.value["base"]


TEXT = """\
metadata:
  labels: {example.com/team: a, example.com: b}
spec:
  hard:
    requests.cpu: "1"
  steps:
  - name: land
    image: i
  - name: audit
    retry:
      limit: 1
"""


@pytest.mark.parametrize(
    ("path", "line", "column"),
    [
        ("spec", 3, 1),
        ("spec.steps[1]", 9, 5),
        ("spec.steps[1].retry.limit", 11, 7),
        ("spec.steps[1].retry.on", 10, 5),
        ("spec.steps[1].image", 9, 5),
        ("spec.steps[land].image", 8, 5),
        ("spec.steps[7].image", 6, 3),
        ("spec.hard[requests.cpu]", 5, 5),
        ("spec.hard.requests.cpu", 5, 5),
        ("metadata.labels.example.com/team", 2, 12),
        ("elsewhere", 1, 1),
        ("", 1, 1),
    ],
)
def test_a_path_leads_to_its_line_or_to_that_of_what_is_around_it(path: str, line: int, column: int) -> None:
    (document,) = documents.read(TEXT)
    assert document.position(path) == Position(line, column)


def test_documents_before_one_that_is_broken_are_read() -> None:
    first, second = documents.read("a: 1\n---\nb: [")
    assert first.value == {"a": 1}
    assert second.value is None
    assert second.mistakes[0].position.line == 3


@pytest.mark.parametrize("text", ["", "---", "# nothing", "---\n---\n"])
def test_empty_documents_are_nothing(text: str) -> None:
    assert [one.value for one in documents.read(text) if one.value is not None] == []
    assert [one for document in documents.read(text) for one in document.mistakes] == []
