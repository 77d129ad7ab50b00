"""Targets on volumes: a folder, and a DuckDB file in one."""

from __future__ import annotations

import os
from pathlib import Path

import duckdb
import pytest

from dataops_operator.core.storagejob import Action, Code, Item, Task
from dataops_operator.storage.adapter import Login, StorageError
from dataops_operator.storage.duckdb import Duckdb
from dataops_operator.storage.volume import Volume
from dataops_operator.storage.work import Folders, carry_out


def code_of(error: pytest.ExceptionInfo[StorageError]) -> Code:
    return error.value.code


def test_a_folder_is_reached_written_to_and_counted_and_nothing_is_left(tmp_path: Path) -> None:
    (tmp_path / "deep" / "down").mkdir(parents=True)
    (tmp_path / "deep" / "down" / "file").write_bytes(b"12345")
    (tmp_path / "link").symlink_to("/etc/passwd")
    volume = Volume(tmp_path)
    volume.reachable()
    volume.write_probe()
    assert volume.can_write()
    size, whole = volume.usage()
    assert whole
    assert 5 <= size < 100  # the link's own bytes, not those of what it leads to
    assert sorted(path.name for path in tmp_path.iterdir()) == ["deep", "link"]


def test_what_is_not_mounted_is_told(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="nothing is mounted at") as error:
        Volume(tmp_path / "missing").reachable()
    assert code_of(error) is Code.NOT_FOUND


def test_a_folder_of_another_user_is_told_with_the_cure(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    child = os.fork()
    if child == 0:
        if os.geteuid() == 0:
            os.setuid(65532)  # the runner's user; the mode does not bind root
        try:
            Volume(tmp_path).write_probe()
        except StorageError as error:
            os._exit(3 if error.code is Code.FORBIDDEN and "fsGroup" in error.message else 4)
        os._exit(5)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3


def test_a_database_is_known_by_its_first_bytes(tmp_path: Path) -> None:
    database = Duckdb(tmp_path, "w.duckdb")
    database.reachable()  # the first run makes it
    assert database.usage() == (0, True)
    with duckdb.connect(str(tmp_path / "w.duckdb")) as connection:
        connection.execute("CREATE TABLE t AS SELECT 1 AS x")
    database.reachable()
    database.write_probe()
    assert database.usage()[0] >= 4096
    (tmp_path / "w.duckdb").write_bytes(b"SQLite format 3\x00")
    with pytest.raises(StorageError, match="no DuckDB database") as error:
        database.reachable()
    assert code_of(error) is Code.FAILED


def test_a_login_is_what_lies_in_its_folder_and_is_never_shown(tmp_path: Path) -> None:
    folder = tmp_path / "warehouse"
    folder.mkdir()
    (folder / "username").write_text("loader\n")
    (folder / "password").write_text("canary")
    login = Login.read(folder)
    assert login.need("username", "password") == ["loader", "canary"]
    assert "canary" not in repr(login)
    with pytest.raises(StorageError, match="the login 'warehouse' has no secret_key") as error:
        login.need("username", "secret_key")
    assert code_of(error) is Code.LOGIN_MISSING
    with pytest.raises(StorageError, match="has no username and no password"):
        Login.read(tmp_path / "not-there").need("username", "password")


def test_a_defect_in_one_target_is_told_without_its_text_and_keeps_no_other_from_its_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataops_operator.api.target import Target

    def broken(self: Duckdb) -> None:
        raise RuntimeError("canary")

    monkeypatch.setattr(Duckdb, "reachable", broken)
    items = [
        Item(Target.model_validate({"name": "a", "duckdb": {"size": "1Gi"}})),
        Item(Target.model_validate({"name": "b", "volume": {"size": "1Gi"}})),
    ]
    (tmp_path / "b").mkdir()
    reports = carry_out(Action.PROBE, Task("uid", tuple(items)), Folders(tmp_path, tmp_path))
    assert [(one.name, one.code) for one in reports] == [("a", Code.FAILED), ("b", Code.OK)]
    assert "canary" not in reports[0].message
