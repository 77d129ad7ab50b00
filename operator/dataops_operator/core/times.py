"""RFC 3339 times as the API has them, to and from seconds since the epoch."""

from __future__ import annotations

from datetime import UTC, datetime


def to_rfc3339(seconds: float) -> str:
    """Whole seconds since the epoch, as `2013-02-09T00:00:00Z`."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def from_rfc3339(text: str) -> float:
    """Seconds since the epoch; a time without an offset counts as UTC.

    Raises:
        ValueError: no such time, or one outside the years 1 to 9999.
    """
    try:
        moment = datetime.fromisoformat(text.upper())
        return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()
    except OverflowError as error:
        raise ValueError(str(error)) from None


def since(start: str | None, end: str | None) -> float | None:
    """Seconds between two times, None where one is missing."""
    return None if start is None or end is None else from_rfc3339(end) - from_rfc3339(start)


def parse_time(text: str) -> float:
    """Seconds since the epoch of a time that a person wrote; a day alone is its midnight in UTC.

    Raises:
        ValueError: it is no time; the message says how to write one.
    """
    try:
        return from_rfc3339(text.strip())
    except ValueError:
        cure = "write it as 2013-02-09T06:00:00Z, or a day as 2013-02-09"
        raise ValueError(f"{text[:100]!r} is no time; {cure}") from None
