"""Publishing is one atomic switch: no reader sees half, no crash and no other run undoes or loses a day."""

import json
import multiprocessing
import os
import threading
import time
from collections.abc import Callable
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import pytest
from flights import versions
from flights.audit import audit
from flights.conform import conform
from flights.errors import StepError
from flights.lake import TABLE, Lake, sha256
from flights.land import land
from flights.publish import publish
from flights.report import report
from flights.show import show
from flights.versions import current, days

DAY, OTHER = date(2013, 2, 9), date(2013, 2, 10)
FLIGHTS = {DAY: 684, OTHER: 829}


def prepare(root: Path, run: str, day: date = DAY) -> Lake:
    """Bring a run to the point where only publish is left."""
    lake = Lake(root, run)
    rows = land(lake, day).outputs["rows"]
    conform(lake, day)
    assert not audit(lake, day, int(rows)).failed()
    return lake


def in_a_process_of_its_own(work: Callable[[], object]) -> multiprocessing.process.BaseProcess:
    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    return process


def ended(process: multiprocessing.process.BaseProcess) -> int | None:
    process.join(60)
    return process.exitcode


def read_as_any_tool(root: Path) -> dict[str, int]:
    """Count rows by day with nothing but the path that the README gives to readers."""
    query = "select day::varchar, count(*) from read_parquet($files) group by all"
    files = str(root / "published/flights/day=*/current/flights.parquet")
    with duckdb.connect() as database:
        return dict(database.execute(query, {"files": files}).fetchall())


def test_a_published_day_is_readable_by_its_path_alone(tmp_path: Path) -> None:
    publish(prepare(tmp_path, "run-a"), DAY)
    assert read_as_any_tool(tmp_path) == {"2013-02-09": FLIGHTS[DAY]}


def test_publishing_a_day_again_replaces_that_day_only_and_keeps_the_old_version(tmp_path: Path) -> None:
    first = publish(prepare(tmp_path, "run-a"), DAY).outputs["version"]
    publish(prepare(tmp_path, "run-a", OTHER), OTHER)
    other = current(Lake(tmp_path, "reader"), OTHER)
    lake = prepare(tmp_path, "run-b")
    second = publish(lake, DAY).outputs["version"]
    now = current(lake, DAY)
    assert now is not None
    assert (now[0].id, now[0].number, now[0].replaces) == (second, 2, first)
    assert versions.find(lake, DAY, str(first)) is not None
    assert current(lake, OTHER) == other
    assert read_as_any_tool(tmp_path) == {"2013-02-09": FLIGHTS[DAY], "2013-02-10": FLIGHTS[OTHER]}


def test_a_late_repetition_of_an_older_publish_does_not_take_readers_back(tmp_path: Path) -> None:
    older, newer = prepare(tmp_path, "run-a"), prepare(tmp_path, "run-b")
    first = publish(older, DAY)
    second = publish(newer, DAY)
    assert publish(older, DAY).outputs == first.outputs
    now = current(older, DAY)
    assert now is not None
    assert now[0].id == second.outputs["version"]


@pytest.mark.parametrize("reached", ["version half written", "version written, readers not switched"])
def test_a_publisher_killed_before_its_switch_leaves_the_old_version(
    reached: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(prepare(tmp_path, "run-a"), DAY)
    before = current(Lake(tmp_path, "reader"), DAY)
    lake = prepare(tmp_path, "run-b")

    def killed(*_: object) -> None:
        os._exit(137)

    with monkeypatch.context() as patch:
        patch.setattr(versions, "write_json" if "half" in reached else "_switch", killed)
        assert ended(in_a_process_of_its_own(lambda: publish(lake, DAY))) == 137
    assert current(lake, DAY) == before
    assert read_as_any_tool(tmp_path) == {"2013-02-09": FLIGHTS[DAY]}

    again = publish(lake, DAY)
    now = current(lake, DAY)
    assert now is not None
    assert (now[0].id, now[0].number) == (again.outputs["version"], 2)
    home = lake.published(DAY)
    assert not [path for path in home.rglob(".*") if path.name != ".lock"]


def test_readers_see_a_whole_version_at_every_moment_of_many_publishes(tmp_path: Path) -> None:
    lakes = [prepare(tmp_path, "run-0")]
    publish(lakes[0], DAY)
    for number in range(1, 15):
        lake = Lake(tmp_path, f"run-{number}")
        lake.verdict(DAY).parent.parent.mkdir(parents=True)
        lake.verdict(DAY).parent.symlink_to(lakes[0].verdict(DAY).parent)
        lakes.append(lake)
    seen: list[int] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            found = current(lakes[0], DAY)
            assert found is not None
            assert found[0].sha256 == sha256(found[1] / TABLE)
            seen.append(found[0].number)

    errors: list[BaseException] = []

    def reader() -> None:
        try:
            read()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=reader)
    thread.start()
    for number, lake in enumerate(lakes[1:], start=2):
        publish(lake, DAY)
        while number not in seen and thread.is_alive():
            time.sleep(0.001)
    done.set()
    thread.join()
    assert errors == []
    assert seen == sorted(seen)
    assert set(seen) >= set(range(2, 16))


def test_readers_have_a_whole_version_after_every_single_change_to_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gap of a switch in two moves is too short for the reader above to meet; here none can hide."""
    publish(prepare(tmp_path, "run-a"), DAY)
    lake = prepare(tmp_path, "run-b")
    seen: list[int] = []

    def watched(change: Callable[..., object]) -> Callable[..., object]:
        def change_and_look(*arguments: Any, **named: Any) -> object:
            done = change(*arguments, **named)
            found = current(lake, DAY)
            assert found is not None
            assert found[0].sha256 == sha256(found[1] / TABLE)
            seen.append(found[0].number)
            return done

        return change_and_look

    with monkeypatch.context() as patch:
        for name in ("mkdir", "rename", "replace", "rmdir", "symlink", "unlink"):
            patch.setattr(os, name, watched(getattr(os, name)))
        publish(lake, DAY)
    assert seen == sorted(seen)
    assert set(seen) == {1, 2}


def test_two_runs_that_publish_different_days_at_once_both_end_up_published(tmp_path: Path) -> None:
    lakes = {DAY: prepare(tmp_path, "run-a", DAY), OTHER: prepare(tmp_path, "run-b", OTHER)}
    processes = [in_a_process_of_its_own(partial(publish, lake, day)) for day, lake in lakes.items()]
    assert [ended(process) for process in processes] == [0, 0]
    assert days(Lake(tmp_path, "reader")) == [DAY, OTHER]
    overview = show(Lake(tmp_path, "reader"), None).text
    assert "2013-02-09" in overview
    assert "2013-02-10" in overview


def test_runs_that_publish_the_same_day_at_once_each_get_a_version_and_none_is_lost(tmp_path: Path) -> None:
    lakes = [prepare(tmp_path, f"run-{number}") for number in range(4)]
    processes = [in_a_process_of_its_own(partial(publish, lake, DAY)) for lake in lakes]
    assert [ended(process) for process in processes] == [0, 0, 0, 0]
    now = current(lakes[0], DAY)
    assert now is not None
    assert now[0].number == 4
    assert {about.run for about in versions._lineage(lakes[0], DAY)} == {lake.run for lake in lakes}


def test_a_candidate_without_a_verdict_is_not_published(tmp_path: Path) -> None:
    lake = prepare(tmp_path, "run-a")
    lake.verdict(DAY).unlink()
    with pytest.raises(StepError, match="run audit first"):
        publish(lake, DAY)
    assert days(lake) == []


def test_a_candidate_that_changed_after_its_audit_is_not_published(tmp_path: Path) -> None:
    lake = prepare(tmp_path, "run-a")
    land(lake, DAY, "lose-rows", "UA")
    conform(lake, DAY)
    with pytest.raises(StepError, match="changed after its audit"):
        publish(lake, DAY)
    assert days(lake) == []


def test_every_step_may_be_repeated(tmp_path: Path) -> None:
    lake = Lake(tmp_path, "run-a")

    def steps() -> list[object]:
        landed = land(lake, DAY)
        conformed = conform(lake, DAY)
        content = (lake.candidate(DAY) / "candidate.json").read_bytes()
        checked = audit(lake, DAY, int(landed.outputs["rows"]))
        published = publish(lake, DAY)
        return [landed, conformed, content, checked, published, report(lake, DAY), current(lake, DAY)]

    once = steps()
    files = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*"))
    assert steps() == once
    assert sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*")) == files


def test_what_a_killed_attempt_left_half_done_is_not_taken_for_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = Lake(tmp_path, "run-a")

    def killed(*_: object) -> None:
        os._exit(137)

    with monkeypatch.context() as patch:
        patch.setattr("flights.source.weather", killed)
        assert ended(in_a_process_of_its_own(lambda: land(lake, DAY))) == 137
    with pytest.raises(StepError, match="run land first"):
        conform(lake, DAY)
    land(lake, DAY)
    assert conform(lake, DAY).outputs == {"rows": FLIGHTS[DAY]}
    assert json.loads((lake.landed(DAY) / "control.json").read_text())
