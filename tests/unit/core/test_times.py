import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataops_operator.core.times import from_rfc3339, since, to_rfc3339


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01T01:00:00+01:00", 0),
        ("1970-01-01T00:00:01.500000Z", 1.5),
        ("1970-01-01T00:00:10", 10),
    ],
    ids=["UTC", "another offset", "a MicroTime", "without an offset it is UTC"],
)
def test_a_time_is_read(text: str, seconds: float) -> None:
    assert from_rfc3339(text) == seconds


@given(st.integers(0, 4_000_000_000))
def test_a_time_written_is_read_back(seconds: int) -> None:
    assert from_rfc3339(to_rfc3339(seconds)) == seconds
    assert to_rfc3339(seconds + 0.999) == to_rfc3339(seconds)


def test_the_time_between_is_known_only_where_both_are() -> None:
    assert since("1970-01-01T00:00:01Z", "1970-01-01T00:01:00Z") == 59
    assert since(None, "1970-01-01T00:01:00Z") is None
    assert since("1970-01-01T00:01:00Z", None) is None
