"""The table of security checks in docs/security.md against the tests that there are."""

from __future__ import annotations

import ast
import re
from functools import cache

from tests.harness.operator import ROOT

MAY_WAIT = {20, 21, 22, 23, 25, 26}
"""Of kinds and pages that do not exist yet."""


def table() -> dict[int, str]:
    """The third column by number."""
    text = (ROOT / "docs" / "security.md").read_text()
    return {int(row[1]): row[2] for row in re.finditer(r"^\| (\d+) \| [^|]+ \| (.+) \|$", text, re.MULTILINE)}


@cache
def named_in(path: str) -> frozenset[str]:
    tree = ast.parse((ROOT / path).read_text())
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def test_all_thirty_are_there_and_only_those_wait_that_may() -> None:
    rows = table()
    assert sorted(rows) == list(range(1, 31))
    assert {number for number, tests in rows.items() if tests.startswith("waits: ")} == MAY_WAIT


def test_every_test_that_is_named_exists() -> None:
    named = {number: re.findall(r"`(tests/\S+)::(\w+)`", row) for number, row in table().items()}
    missing = {
        f"{number}: {path}::{name}"
        for number, tests in named.items()
        for path, name in tests
        if not (ROOT / path).is_file() or name not in named_in(path)
    }
    assert missing == set()
    assert {number for number, tests in named.items() if not tests} == MAY_WAIT


def test_what_waits_has_nothing_to_check_yet() -> None:
    """A kind that takes Git URLs, archives or SQL, or a page, ends the waiting of its check."""
    kinds = {path.stem.partition("_")[2] for path in (ROOT / "crds").glob("*_*.yaml")}
    assert kinds == {"environments", "steptemplates", "pipelineruns", "pipelines"}
    schemas = "".join(path.read_text() for path in (ROOT / "crds").glob("*_*.yaml"))
    assert not re.search(r"^ +(git|webhook|notify|archive|sql):$", schemas, re.MULTILINE)
    assert not (ROOT / "operator" / "dataops_operator" / "web").exists()
