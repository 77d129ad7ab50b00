"""The example's step `load` against a real PostgreSQL: a day is replaced whole, and only by a newer version."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest
from flights import __main__ as commands
from flights import warehouse
from flights.lake import Lake
from flights.warehouse import Place
from tests.harness.postgres import Postgres

from dataops_operator.core.results import read_message

DAY = date(2013, 2, 9)


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with Postgres() as server:
        server.run(
            "postgres",
            "CREATE ROLE loader LOGIN PASSWORD 'load-it'",
            "CREATE ROLE reader LOGIN PASSWORD 'read-it'",
        )
        yield server


@pytest.fixture
def place(postgres: Postgres, request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """A schema of the test's own, and a login that may write it."""
    schema = f"s{abs(hash(request.node.name)) % 1_000_000}"
    postgres.run("postgres", f"CREATE SCHEMA {schema} AUTHORIZATION loader")
    address = f"postgresql://{postgres.host}:{postgres.port}/postgres?sslmode=disable"
    return Place(address, schema, login(tmp_path / "warehouse", "loader", "load-it"))


def login(folder: Path, user: str, password: str) -> Path:
    folder.mkdir()
    (folder / "username").write_text(user)
    (folder / "password").write_text(password)
    return folder


@pytest.fixture
def day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A lake with one published day; the result file."""
    (tmp_path / "lake").mkdir()
    monkeypatch.setenv("FLIGHTS_LAKE", str(tmp_path / "lake"))
    monkeypatch.setenv("DATAOPS_RUN_UID", "run-a")
    result = tmp_path / "result"
    result.touch()
    monkeypatch.setenv("DATAOPS_RESULT", str(result))
    publish()
    return result


def publish() -> None:
    for step, *arguments in (["land"], ["conform"], ["audit", "--landed-rows", "684"], ["publish"]):
        assert commands.main([step, "--day", str(DAY), *arguments]) == 0


def load(place: Place, *arguments: str) -> int:
    words = ["--warehouse", place.url, "--schema", place.schema, "--login", str(place.login), *arguments]
    return commands.main(["load", "--day", str(DAY), *words])


def outputs(result: Path) -> dict[str, int]:
    found: dict[str, int] = json.loads(result.read_text())["outputs"]
    return found


def table(postgres: Postgres, place: Place) -> list[tuple[object, ...]]:
    return postgres.rows("postgres", f"SELECT carrier, hour, flights, number FROM {place.schema}.delays ORDER BY 1, 2")


def test_a_day_is_loaded_and_loaded_again_without_a_difference(day: Path, place: Place, postgres: Postgres) -> None:
    assert load(place) == 0
    loaded = table(postgres, place)
    assert outputs(day) == {"rows": len(loaded), "changed": len(loaded)}
    assert sum(int(str(row[2])) for row in loaded) == 684, "every flight of the day is in one group"
    assert load(place) == 0
    assert outputs(day) == {"rows": len(loaded), "changed": 0}
    assert table(postgres, place) == loaded


def test_a_late_repetition_takes_nobody_back(
    day: Path, place: Place, postgres: Postgres, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    published = Lake(day.parent / "lake", "reader").published(DAY)
    (older,) = (path.name for path in (published / "versions").iterdir())
    monkeypatch.setenv("DATAOPS_RUN_UID", "run-b")
    publish()
    assert load(place) == 0
    assert {row[3] for row in table(postgres, place)} == {2}
    assert load(place, "--version", older) == 0
    assert {row[3] for row in table(postgres, place)} == {2}
    assert outputs(day)["rows"] == 0
    assert f"has version 2 of {DAY} already: version 1 is not loaded over it" in capsys.readouterr().out


def test_other_days_stay_and_a_failure_in_the_middle_leaves_the_old_day(place: Place, postgres: Postgres) -> None:
    other = date(2013, 2, 10)
    warehouse.load(place, other, "b", 1, [("UA", 5, 3, 1.5)])
    warehouse.load(place, DAY, "a", 1, [("AA", 5, 3, 1.5), ("AA", 6, 1, None)])
    with pytest.raises(Exception, match="duplicate key"):
        warehouse.load(place, DAY, "c", 2, [("AA", 5, 3, 1.5), ("AA", 5, 1, 2.0)])
    assert warehouse.read(place, DAY) == {("AA", 5, 3, 1.5), ("AA", 6, 1, None)}
    assert warehouse.read(place, other) == {("UA", 5, 3, 1.5)}


def test_a_branch_is_held_against_what_production_has(
    day: Path, place: Place, postgres: Postgres, tmp_path: Path
) -> None:
    """As the pipeline says it: the readers' schema by a login that may only read."""
    assert load(place) == 0
    branch = Place(place.url, f"{place.schema}__branch", place.login)
    postgres.run(
        "postgres",
        f"CREATE SCHEMA {branch.schema} AUTHORIZATION loader",
        f"GRANT USAGE ON SCHEMA {place.schema} TO reader",
        f"GRANT SELECT ON ALL TABLES IN SCHEMA {place.schema} TO reader",
        f"UPDATE {place.schema}.delays SET flights = flights + 1 WHERE carrier = 'HA'",
    )
    readers = login(tmp_path / "warehouse-read", "reader", "read-it")
    words = ["--readers", place.url, "--readers-schema", place.schema, "--readers-login", str(readers)]
    assert load(branch, *words) == 0
    assert outputs(day)["changed"] == 2, "the one row of HA, as it is there and as it is here"
    assert load(place, *words[:-1], str(tmp_path / "there-is-none")) == 0
    assert outputs(day)["changed"] == 2, "where nothing else is read, the same login serves"


def test_a_login_that_has_ended_is_said_without_its_name(day: Path, place: Place, postgres: Postgres) -> None:
    assert place.login is not None
    (place.login / "username").write_text("v-loader-gone")
    assert load(place) == 2
    message = read_message(day.read_text())
    assert "password authentication failed for user of this run" in message
    assert "v-loader-gone" not in message


def test_a_schema_that_may_not_be_written_is_said(day: Path, place: Place, postgres: Postgres, tmp_path: Path) -> None:
    stranger = Place(place.url, place.schema, login(tmp_path / "reader", "reader", "read-it"))
    assert load(stranger) == 2
    assert f"schema {place.schema}: permission denied for schema {place.schema}" in read_message(day.read_text())
