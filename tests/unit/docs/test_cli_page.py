"""What docs/cli.md shows is what the command line does."""

import re
from pathlib import Path

import typer
from tests.harness.operator import ROOT
from typer.testing import CliRunner

from dataops_operator.cli.errors import Exit
from dataops_operator.cli.main import load

APP = load()
PAGE = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")


def test_every_command_is_in_it_and_no_other() -> None:
    rows = re.findall(r"^\| \[(`.*?)\]\(#[\w-]+\) \|", PAGE, re.MULTILINE)
    shown = [name for row in rows for name in re.findall(r"`(\w+)`", row)]
    assert sorted(shown) == sorted(typer.main.get_command(APP).commands)  # type: ignore[attr-defined]
    sections = set(re.findall(r"^## (.*)$", PAGE, re.MULTILINE))
    anchors = {section.replace(",", "").replace(" ", "-").lower() for section in sections}
    assert set(re.findall(r"\]\(#([\w-]+)\)", PAGE)) <= anchors


def test_every_exit_code_is_in_it() -> None:
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", PAGE, re.MULTILINE)} == {int(code) for code in Exit}


def test_the_graph_is_that_of_the_example(tmp_path: Path) -> None:
    file = ROOT / "examples" / "flights-daily" / "pipeline.yaml"
    drawn = CliRunner().invoke(APP, ["graph", "--file", str(file)])
    assert f"$ dataops graph flights-daily\n{drawn.stdout}```" in PAGE


def test_what_lint_says_is_what_it_says_of_the_file(tmp_path: Path) -> None:
    (file,) = re.findall(r"^```yml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    (tmp_path / "pipeline.yaml").write_text(file)
    done = CliRunner().invoke(APP, ["lint", str(tmp_path / "pipeline.yaml")])
    assert done.exit_code == Exit.FAILED
    assert f"$ dataops lint pipeline.yaml\n{done.stdout.replace(f'{tmp_path}/', '')}{done.stderr}" in PAGE
