import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataops_operator.api.base import format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("45s", 45), ("1h30m", 5400), ("2d", 172800), ("1d1h1m1s", 90061), ("90m", 5400), ("0s", 0), ("1s1s", 2)],
)
def test_a_duration_is_read_as_seconds(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "5", "m", "1.5h", "-1s", "1h 30m", "1w", "1H", "5m\n"], ids=lambda text: repr(text)
)
def test_what_is_no_duration_is_refused_with_the_way_to_write_one(text: str) -> None:
    with pytest.raises(ValueError, match="such as 1h30m"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (0.4, "0s"),
        (-3, "0s"),
        (45, "45s"),
        (200, "3m20s"),
        (7500, "2h5m"),
        (7501, "2h5m"),
        (100800, "1d4h"),
        (86400, "1d"),
    ],
)
def test_a_duration_for_people_has_its_two_largest_units(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@given(st.integers(0, 3599))
def test_what_is_written_in_minutes_and_seconds_is_read_back(seconds: int) -> None:
    assert parse_duration(format_duration(seconds)) == seconds
