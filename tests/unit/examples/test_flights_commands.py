"""The steps as a pipeline runs them: arguments in, exit code, messages and the result file out."""

import hmac
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

from dataops_operator.api.environment import Environment
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
    for name in ("environment.yaml", "branch.yaml"):
        Environment.model_validate(yaml.safe_load((EXAMPLE / name).read_text()))


def test_each_step_writes_the_outputs_that_the_pipeline_declares(lake_root: Path, result_file: Path) -> None:
    """The operator's own reader judges the file, so a missing or mistyped output shows here."""
    version = ""
    for step in pipeline().spec.steps:
        if step.name == "load":  # needs a database: tests/integration/test_flights_warehouse.py
            continue
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
    assert run("load", *WAREHOUSE) == 2
    assert "run publish first" in read_message(result_file.read_text())


def published(lake_root: Path) -> None:
    for step, *arguments in (["land"], ["conform"], ["audit", "--landed-rows", "684"], ["publish"]):
        assert run(step, *arguments) == 0
    assert (lake_root / "published").is_dir()


def test_a_signed_report_is_what_the_key_says_and_nothing_else(
    lake_root: Path, result_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    published(lake_root)
    key = tmp_path / "key"
    key.write_text("b64+key=\n")
    assert run("report", "--signing-key", str(key)) == 0
    text, _, line = (lake_root / "reports" / "2013-02-09.txt").read_text().rstrip("\n").rpartition("\n\nsigned  ")
    assert text.startswith("Mean departure delay in minutes on 2013-02-09")
    assert line == "hmac-sha256:" + hmac.new(b"b64+key=", text.encode(), "sha256").hexdigest()
    assert line in capsys.readouterr().out
    assert "b64" not in text + line + result_file.read_text()


@pytest.mark.parametrize(("content", "said"), [(None, "No such file"), ("\n", "is empty")])
def test_a_report_whose_key_is_not_there_says_so(
    content: str | None, said: str, lake_root: Path, result_file: Path, tmp_path: Path
) -> None:
    published(lake_root)
    key = tmp_path / "key"
    if content is not None:
        key.write_text(content)
    assert run("report", "--signing-key", str(key)) == 2
    message = read_message(result_file.read_text())
    assert f"the signing key {key}" in message
    assert said in message
    assert not (lake_root / "reports").exists(), "no report goes out unsigned"


WAREHOUSE = ["--warehouse", "postgresql://127.0.0.1:1/flights", "--schema", "prod"]


def test_a_load_without_a_login_says_where_it_looked(lake_root: Path, result_file: Path, tmp_path: Path) -> None:
    published(lake_root)
    assert run("load", *WAREHOUSE, "--login", str(tmp_path / "warehouse")) == 2
    message = read_message(result_file.read_text())
    assert message.startswith(f"no login for the warehouse in {tmp_path / 'warehouse'} (No such file")


def test_a_load_into_a_database_that_is_away_says_so_and_keeps_the_login_to_itself(
    lake_root: Path, result_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    published(lake_root)
    (tmp_path / "username").write_text("v-loader-1234")
    (tmp_path / "password").write_text("hush-5678")
    assert run("load", *WAREHOUSE, "--login", str(tmp_path)) == 2
    message = read_message(result_file.read_text())
    assert message.startswith("the warehouse postgresql://127.0.0.1:1/flights, schema prod: ")
    assert "refused" in message
    said = capsys.readouterr()
    for secret in ("v-loader-1234", "hush-5678"):
        assert secret not in said.out + said.err + result_file.read_text()


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
