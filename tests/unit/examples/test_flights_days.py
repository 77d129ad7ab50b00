"""Thirty random days of real flights pass; a day that lost, doubled or blanked anything does not."""

import random
import zipfile
from datetime import date, timedelta
from pathlib import Path

import pytest
from flights import source
from flights.audit import audit
from flights.conform import conform
from flights.errors import StepError
from flights.faults import Fault
from flights.lake import Lake
from flights.land import land
from flights.publish import publish
from flights.report import report
from flights.result import LIMIT, Result
from flights.show import show
from flights.versions import days
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

YEAR = [date(2013, 1, 1) + timedelta(days=number) for number in range(365)]
SAMPLE = sorted(random.Random(2013).sample(YEAR, 30))
FAULTS: list[Fault] = ["lose-rows", "double-file", "null-key"]


def carriers(day: date) -> list[str]:
    return sorted({record["carrier"] for record in source.flights(day).records()})


def audited(lake: Lake, day: date, fault: Fault = "none", carrier: str = "UA") -> Result:
    rows = land(lake, day, fault, carrier).outputs["rows"]
    conform(lake, day)
    return audit(lake, day, int(rows))


def assert_nothing_published(lake: Lake, day: date) -> None:
    with pytest.raises(StepError, match="nothing published"):
        publish(lake, day)
    assert days(lake) == []


@pytest.mark.parametrize("day", SAMPLE, ids=str)
def test_a_real_day_goes_all_the_way(day: date, tmp_path: Path) -> None:
    lake = Lake(tmp_path, "run-a")
    verdict = audited(lake, day)
    assert verdict.failed() == []
    version = publish(lake, day).outputs["version"]
    reported = report(lake, day, str(version))
    assert reported.outputs["flights"] == len(source.flights(day).lines)
    assert all(carrier in reported.text for carrier in carriers(day))
    assert str(version) in show(lake, day).text


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("carrier", carriers(SAMPLE[0]))
def test_a_fault_in_the_file_of_any_carrier_is_named_and_stops_the_day(
    carrier: str, fault: Fault, tmp_path: Path
) -> None:
    lake = Lake(tmp_path, "run-a")
    failed = audited(lake, SAMPLE[0], fault, carrier).failed()
    assert any(carrier in f"{check.name} {check.value}" for check in failed)
    assert_nothing_published(lake, SAMPLE[0])


@pytest.mark.parametrize("day", SAMPLE[1:9], ids=str)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_on_any_day_stops_it(day: date, fault: Fault, tmp_path: Path) -> None:
    lake = Lake(tmp_path, "run-a")
    carrier = random.Random(day.toordinal()).choice(carriers(day))
    assert audited(lake, day, fault, carrier).failed()
    assert_nothing_published(lake, day)


@settings(max_examples=15, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_lines_lost_between_land_and_conform_stop_the_day(data: st.DataObject, tmp_path: Path) -> None:
    """Not the example's own faults but any subset of lines of any file, as a broken disk would lose them."""
    day = data.draw(st.sampled_from(SAMPLE[:3]))
    lake = Lake(tmp_path, "run-a")
    rows = land(lake, day).outputs["rows"]
    files = sorted((lake.landed(day) / "flights").glob("*.csv"))
    file = data.draw(st.sampled_from(files))
    header, *lines = file.read_text().splitlines()
    lost = data.draw(st.sets(st.integers(0, len(lines) - 1), min_size=1, max_size=3))
    kept = [line for number, line in enumerate(lines) if number not in lost]
    file.write_text("\n".join([header, *kept]) + "\n")
    conform(lake, day)
    names = {check.name for check in audit(lake, day, int(rows)).failed()}
    assert "rows-as-landed" in names
    assert {f"control-totals/{file.stem}/{int(lines[number].split(',')[16]):02d}h" for number in lost} <= names
    assert_nothing_published(lake, day)


def test_the_check_of_a_lost_group_says_what_was_found_and_what_was_expected(tmp_path: Path) -> None:
    lake = Lake(tmp_path, "run-a")
    failed = audited(lake, date(2013, 2, 9), "lose-rows", "HA").failed()
    assert [check.name for check in failed] == ["control-totals/HA/09h"]
    assert str(failed[0].value).startswith("rows=0 departed=0 distance=0")
    assert str(failed[0].expected).startswith("rows=1 departed=1 distance=4983")


def test_a_value_of_the_wrong_type_fails_the_audit(tmp_path: Path) -> None:
    lake, day = Lake(tmp_path, "run-a"), date(2013, 2, 9)
    rows = land(lake, day).outputs["rows"]
    file = lake.landed(day) / "flights" / "HA.csv"
    file.write_text(file.read_text().replace(",4983,", ",far,"))
    conform(lake, day)
    failed = {check.name: check.value for check in audit(lake, day, int(rows)).failed()}
    assert failed["types"] == "1 of distance"
    assert failed["ranges"] == "1 of distance"


def test_the_key_is_unique_on_every_day_of_the_year() -> None:
    """What conform's key rests on, over all 336,776 flights."""
    seen: dict[tuple[str, ...], int] = {}
    for line in (_everything()).splitlines()[1:]:
        values = line.split(",")
        key = (values[1], values[2], values[9], values[10], values[12])
        seen[key] = seen.get(key, 0) + 1
    assert len(seen) == 336_776
    assert max(seen.values()) == 1


def _everything() -> str:
    with zipfile.ZipFile(source._folder() / "flights.csv.zip") as archive:
        return archive.read("flights.csv").decode()


def test_a_day_without_data_is_refused_with_the_days_there_are(tmp_path: Path) -> None:
    with pytest.raises(StepError, match="no flights on 2014-01-01: choose a day from 2013-01-01 to 2013-12-31"):
        land(Lake(tmp_path, "run-a"), date(2014, 1, 1))


def test_a_fault_for_a_carrier_that_does_not_fly_that_day_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StepError, match="OO has no flights that day: choose one of 9E, AA"):
        land(Lake(tmp_path, "run-a"), date(2013, 2, 9), "lose-rows", "OO")


def test_the_worst_imaginable_day_still_fits_the_result(tmp_path: Path) -> None:
    """Every carrier's every row is lost: more failed checks than 4,096 bytes hold; the count stays whole."""
    lake, day = Lake(tmp_path, "run-a"), max(SAMPLE, key=lambda day: len(source.flights(day).lines))
    rows = land(lake, day).outputs["rows"]
    for file in (lake.landed(day) / "flights").glob("*.csv"):
        file.write_text(file.read_text().splitlines()[0] + "\n")
    conform(lake, day)
    verdict = audit(lake, day, int(rows))
    assert len(verdict.failed()) > 150
    encoded = verdict.encode()
    assert len(encoded) <= LIMIT
    assert f'"checksFail":{len(verdict.failed())}'.encode() in encoded
    assert b'"checksLeftOut":' in encoded
