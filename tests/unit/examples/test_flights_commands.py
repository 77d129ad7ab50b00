"""The steps as a pipeline runs them: arguments in, exit code, messages and the result file out."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from flights import __main__ as commands
from flights.result import LIMIT, Check, Result
from hypothesis import given, settings
from hypothesis import strategies as st

from dataops_operator.api.pipeline import Pipeline
from dataops_operator.api.run import PipelineRun
from dataops_operator.core.results import read, read_message
from dataops_operator.core.validate import problems_of

from .conftest import EXAMPLE

DAY = ["--day", "2013-02-09"]


def pipeline() -> Pipeline:
    return Pipeline.model_validate(yaml.safe_load((EXAMPLE / "pipeline.yaml").read_text()))


def run(step: str, *arguments: str) -> int:
    return commands.main([step, *DAY, *arguments])


def test_the_operator_accepts_the_manifests() -> None:
    assert list(problems_of(pipeline().spec)) == []
    for name in ("run.yaml", "run-bad-day.yaml"):
        PipelineRun.model_validate(yaml.safe_load((EXAMPLE / name).read_text()))


def test_each_step_writes_the_outputs_that_the_pipeline_declares(lake_root: Path, result_file: Path) -> None:
    """The operator's own reader judges the file, so a missing or mistyped output shows here."""
    version = ""
    for step in pipeline().spec.steps:
        arguments = {"audit": ["--landed-rows", "684"], "report": ["--version", version]}.get(step.name, [])
        assert run(step.name, *arguments) == 0
        outputs = read(step, result_file.read_text()).outputs
        assert len(outputs) == len(step.outputs or ())
        version = str(outputs.get("version", version))
    assert (lake_root / "reports" / "2013-02-09.txt").is_file()


def test_a_stopped_day_says_which_check_failed_where_and_by_how_much(
    lake_root: Path, result_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("land", "--fault", "lose-rows", "--fault-carrier", "HA") == 0
    assert run("conform") == 0
    assert run("audit", "--landed-rows", "683") == 1
    message = read_message(result_file.read_text())
    assert message.startswith("1 of 12 checks failed: control-totals/HA/09h: found rows=0 ")
    assert "expected rows=1 " in message
    assert message in capsys.readouterr().err
    assert run("publish") == 2
    assert "nothing published" in read_message(result_file.read_text())
    assert not (lake_root / "published").exists()


def test_an_order_that_skips_a_step_says_which_one_to_run(lake_root: Path, result_file: Path) -> None:
    assert run("conform") == 2
    assert "run land first" in read_message(result_file.read_text())
    assert run("report") == 2
    assert "run publish first" in read_message(result_file.read_text())


def test_a_missing_lake_says_what_to_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FLIGHTS_LAKE", str(tmp_path / "nowhere"))
    assert run("land") == 2
    assert "set FLIGHTS_LAKE to a folder" in capsys.readouterr().err


def test_the_result_is_written_in_place(lake_root: Path, result_file: Path) -> None:
    """The kubelet reads the file it made: another file of the same name would be lost."""
    before = result_file.stat().st_ino
    assert run("land") == 0
    assert result_file.stat().st_ino == before
    assert json.loads(result_file.read_text())["outputs"] == {"rows": 684, "files": 13}


def test_a_step_runs_where_only_tmp_and_the_lake_can_be_written(lake_root: Path, tmp_path: Path) -> None:
    """No home, no result file: as a module of its own, the way the pipeline's command says it."""
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(EXAMPLE),
        "FLIGHTS_LAKE": str(lake_root),
        "HOME": "/nonexistent",
    }
    for step in ("land", "conform"):
        done = subprocess.run(
            [sys.executable, "-m", f"flights.{step}", *DAY],
            env=environment,
            cwd="/",
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        assert "note: no result written" in done.stderr


@settings(max_examples=200, deadline=None)
@given(
    names=st.lists(st.text(max_size=60), max_size=300),
    text=st.text(max_size=2000),
    message=st.text(max_size=5000),
)
def test_a_result_is_json_within_the_limit_whatever_the_checks_say(names: list[str], text: str, message: str) -> None:
    checks = [Check(name, "Fail" if number % 3 else "Pass", text, text) for number, name in enumerate(names)]
    encoded = Result(outputs={"rows": 1}, checks=checks, message=message).encode()
    assert len(encoded) <= LIMIT
    document = json.loads(encoded)
    kept = document.get("checks", [])
    assert len(kept) + document.get("metrics", {}).get("checksLeftOut", 0) == len(checks)
    assert document["outputs"] == {"rows": 1}
