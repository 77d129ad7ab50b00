"""The process that a storage Job runs: what it reads, what it writes, how it ends, and what a kill leaves behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import obstore
import pytest
from tests.harness.operator import ROOT
from tests.harness.ports import free_port
from tests.harness.postgres import SUPERUSER, Postgres
from tests.harness.s3 import ROOT as S3_ROOT
from tests.harness.s3 import S3Server
from tests.integration.storage import UID, Object, Site, branch, environment, vault

from dataops_operator.core.storagejob import RESULT_LIMIT, Action, Report, read_result, task_json
from dataops_operator.core.targets import ResolvedTarget
from dataops_operator.storage.s3 import MARK


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with Postgres() as made:
        yield made


@pytest.fixture(scope="module")
def s3() -> Iterator[S3Server]:
    with S3Server() as made:
        made.bucket("lake")
        yield made


class Job:
    """The process with the folders of a Job's pod."""

    def __init__(self, folder: Path) -> None:
        self.site = Site(folder)
        self._folder = folder
        self._task = folder / "task"

    def start(self, action: Action, *targets: ResolvedTarget) -> subprocess.Popen[bytes]:
        self._task.write_text(task_json(UID, targets))
        self._result.write_text("")
        folders = ["--secrets", str(self.site.folders.secrets), "--targets", str(self.site.folders.targets)]
        command = [sys.executable, "-m", "dataops_operator.storage", action.value, "--task", str(self._task), *folders]
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "operator")}
        with (self._folder / "log").open("ab") as log:
            return subprocess.Popen([*command, "--result", str(self._result)], env=environment, stderr=log, stdout=log)

    def run(self, action: Action, *targets: ResolvedTarget) -> tuple[int, dict[str, Report]]:
        process = self.start(action, *targets)
        code = process.wait(timeout=120)
        return code, read_result(self._result.read_text())

    @property
    def result(self) -> str:
        return self._result.read_text()

    @property
    def log(self) -> str:
        return (self._folder / "log").read_text()

    @property
    def _result(self) -> Path:
        return self._folder / "result"


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job(tmp_path)


def warehouse(server: Postgres, job: Job, name: str = "warehouse", **more: object) -> Object:
    for login in (name, f"{name}-read"):
        job.site.login(login, username=SUPERUSER, password=server.password)
    place = {"host": server.host, "port": server.port, "database": "postgres", "schema": "marts"}
    logins = {"credentials": vault("loader"), "readCredentials": vault("reader")}
    return {"name": name, "postgres": place | logins | more}


def lake(server: S3Server, job: Job) -> Object:
    for login in ("lake", "lake-read"):
        job.site.login(login, access_key=S3_ROOT[0], secret_key=S3_ROOT[1])
    place = {"endpoint": server.endpoint, "bucket": "lake", "prefix": "prod/"}
    return {"name": "lake", "s3": place | {"credentials": vault("loader"), "readCredentials": vault("reader")}}


def until(reached: Callable[[], bool], within: float = 30) -> None:
    end = time.monotonic() + within
    while not reached():
        assert time.monotonic() < end, "did not come to it in time"
        time.sleep(0.02)


def test_several_targets_are_one_process_one_result_and_one_verdict(postgres: Postgres, s3: S3Server, job: Job) -> None:
    postgres.run("postgres", "CREATE SCHEMA IF NOT EXISTS marts")
    good = [*environment(warehouse(postgres, job)).targets.values(), *environment(lake(s3, job)).targets.values()]
    (job.site.folders.targets / "scratch").mkdir()
    good += environment({"name": "scratch", "volume": {"size": "1Gi"}}).targets.values()
    code, reports = job.run(Action.PROBE, *good)
    assert (code, {name: str(one.code) for name, one in reports.items()}) == (
        0,
        {"warehouse": "Ok", "lake": "Ok", "scratch": "Ok"},
    )
    away = environment(warehouse(postgres, job, "away", port=free_port())).targets.values()
    assert job.run(Action.PROBE, *good, *away)[0] == 75
    missing = environment(warehouse(postgres, job, "missing", schema="missing")).targets.values()
    code, reports = job.run(Action.PROBE, *good, *away, *missing)
    assert code == 1
    assert [str(one.code) for one in reports.values()] == ["Ok", "Ok", "Ok", "Unreachable", "NotFound"]
    for login in job.site.folders.secrets.iterdir():
        for file in login.iterdir():
            if file.name in ("password", "secret_key"):
                assert file.read_text() not in job.log + job.result


def test_a_result_of_many_targets_fits_into_a_termination_message(postgres: Postgres, job: Job) -> None:
    raw = [warehouse(postgres, job, f"target-{number}", schema=f"missing_{number}" * 3) for number in range(32)]
    targets = [one for target in raw for one in environment(target).targets.values()]
    code, reports = job.run(Action.PROBE, *targets)
    assert code == 1
    assert len(job.result.encode()) <= RESULT_LIMIT
    assert {str(one.code) for one in reports.values()} == {"NotFound"}
    assert len(reports) == 32


@pytest.mark.parametrize("text", ["", "{}", "[]", "no JSON", '{"environment": "x", "targets": [{"target": {}}]}'])
def test_a_task_that_cannot_be_read_ends_with_2(tmp_path: Path, text: str) -> None:
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "operator"), "DATAOPS_STORAGE": text}
    command = [sys.executable, "-m", "dataops_operator.storage", "drop", "--result", str(tmp_path / "result")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert "DATAOPS_STORAGE" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_copy_of_a_schema_that_is_killed_leaves_nothing_and_is_done_by_the_next(postgres: Postgres, job: Job) -> None:
    postgres.run(
        "postgres",
        "CREATE SCHEMA big",
        "CREATE TABLE big.rows AS SELECT n, repeat('x', 500) AS filler FROM generate_series(1, 200000) n",
    )
    own = branch(environment(warehouse(postgres, job, schema="big")), "Copy")
    process = job.start(Action.PREPARE, own)
    busy = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'dataops-storage' AND query LIKE 'COPY%'"
    until(lambda: postgres.rows("postgres", busy) != [(0,)])
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    until(lambda: postgres.rows("postgres", busy) == [(0,)])
    there = "SELECT count(*) FROM pg_namespace WHERE nspname = 'big__feature_x'"
    assert postgres.rows("postgres", there) == [(0,)]
    assert job.run(Action.PREPARE, own)[0] == 0
    assert postgres.rows("postgres", "SELECT count(*) FROM big__feature_x.rows") == [(200000,)]
    assert job.run(Action.DROP, own)[0] == 0
    assert postgres.rows("postgres", there) == [(0,)]


def test_a_copy_and_a_drop_of_a_prefix_that_are_killed_are_ended_by_the_next(s3: S3Server, job: Job) -> None:
    store = s3.store("lake")
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda number: obstore.put(store, f"prod/{number:04}", b"x" * 10), range(2000)))
    own = branch(environment(lake(s3, job)), "Copy")

    def count() -> int:
        return len(s3.objects("lake", "prod__feature-x/"))

    process = job.start(Action.PREPARE, own)
    until(lambda: count() > 100)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    had = count()
    assert had < 2001, "the copy had ended already"
    assert f"prod__feature-x/{MARK}" in s3.objects("lake", "prod__feature-x/")
    assert job.run(Action.PREPARE, own)[0] == 0
    assert count() == 2001

    process = job.start(Action.DROP, own)
    until(lambda: count() < 2001)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert job.run(Action.DROP, own)[0] == 0
    assert count() == 0
    assert len(s3.objects("lake", "prod/")) == 2000


def test_a_server_that_stops_in_mid_copy_is_told_as_worth_another_try(postgres: Postgres, job: Job) -> None:
    postgres.run("postgres", "DROP SCHEMA IF EXISTS big CASCADE", "CREATE SCHEMA big")
    postgres.run(
        "postgres", "CREATE TABLE big.rows AS SELECT n, repeat('x', 500) AS f FROM generate_series(1, 200000) n"
    )
    own = branch(environment(warehouse(postgres, job, schema="big")), "Copy")
    process = job.start(Action.PREPARE, own)
    busy = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'dataops-storage' AND query LIKE 'COPY%'"
    until(lambda: postgres.rows("postgres", busy) != [(0,)])
    postgres.stop(crash=True)
    assert process.wait(timeout=60) == 75, job.log
    postgres.start()
    assert job.run(Action.PREPARE, own)[0] == 0
