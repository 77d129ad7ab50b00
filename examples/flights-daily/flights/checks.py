"""What the audit looks at, one function a concern; each returns what it found, good or bad."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import Any

import duckdb

from flights import control
from flights.control import Group, Totals
from flights.result import Check

_KEYS = ("carrier", "flight", "origin", "scheduled_hour_utc")

_TOTALS = """
select carrier, hour, count(*), count(dep_time), sum(distance), sum(dep_delay), sum(arr_delay), sum(air_time)
from candidate group by all
"""

_NULL_KEYS = """
select name, coalesce(carrier, '?'), hour, count(*)
from (
  select carrier, hour, unnest($names) as name, unnest([carrier is null, flight is null, origin is null,
    scheduled_hour_utc is null]) as missing
  from candidate
)
where missing group by all order by all
"""

_REPEATED_KEYS = """
select carrier, min(hour), count(*), min(flight_key)
from (select carrier, hour, flight_key, count(*) over (partition by flight_key) as times
      from candidate where flight_key is not null)
where times > 1 group by carrier order by carrier
"""

# The bounds are wide: the year's worst delay is 1,301 minutes, its longest flight 4,983 miles.
_OUT_OF_RANGE = """
select
  count(*) filter (not coalesce(hour between 0 and 23 and minute between 0 and 59, false)) as "schedule",
  count(*) filter (not coalesce(distance between 1 and 6000, false)) as distance,
  count(*) filter (dep_delay not between -180 and 2880 or arr_delay not between -180 and 2880) as delay,
  count(*) filter (air_time not between 1 and 1440) as "time in the air",
  count(*) filter (dep_time not between 1 and 2400 or arr_time not between 1 and 2400) as "clock time"
from candidate
"""

_UNKNOWN = """
select
  string_agg(distinct carrier, ', ' order by carrier) filter (carrier_name is null),
  string_agg(distinct origin, ', ' order by origin) filter (origin_name is null),
  coalesce(avg((dest_name is not null)::integer), 0),
  coalesce(avg((temp_f is not null)::integer), 0)
from candidate
"""


def control_totals(database: duckdb.DuckDBPyConnection, expected: Mapping[Group, Totals]) -> Iterator[Check]:
    """Compare the candidate with the source's totals: one check if all are equal, else one a wrong group."""
    found: dict[Group, Totals] = {
        (carrier or "?", -1 if hour is None else hour): dict(
            zip(control.MEASURES, (value or 0 for value in values), strict=True)
        )
        for carrier, hour, *values in database.sql(_TOTALS).fetchall()
    }
    empty = dict.fromkeys(control.MEASURES, 0)
    wrong = 0
    for carrier, hour in sorted(expected.keys() | found.keys()):
        want, have = expected.get((carrier, hour), empty), found.get((carrier, hour), empty)
        if want == have:
            continue
        wrong += 1
        differing = [measure for measure in control.MEASURES if want[measure] != have[measure]]
        yield Check(
            f"control-totals/{carrier}/{_hour(hour)}",
            "Fail",
            _measures(have, differing),
            _measures(want, differing),
        )
    if not wrong:
        yield Check("control-totals", "Pass", f"{len(found)} groups equal", f"{len(expected)} groups equal")


def row_counts(database: duckdb.DuckDBPyConnection, landed: int) -> Iterator[Check]:
    """Compare the candidate's rows with what `land` says it wrote: a join that repeats or drops shows here."""
    rows = _one(database.sql("select count(*) from candidate"))[0]
    yield Check("rows-as-landed", "Pass" if rows == landed else "Fail", rows, landed)


def files(inputs: Sequence[Mapping[str, str]]) -> Iterator[Check]:
    """Look for a file of raw flights that was delivered twice, whatever its name."""
    first: dict[str, str] = {}
    repeated = []
    for entry in inputs:
        original = first.setdefault(entry["sha256"], entry["file"])
        if original != entry["file"]:
            repeated.append(f"{entry['file']} has the content of {original}")
    yield _none("no-file-twice", repeated)


def keys(database: duckdb.DuckDBPyConnection) -> Iterator[Check]:
    """Look for flights whose key is missing in part, or is that of another flight."""
    missing = database.execute(_NULL_KEYS, {"names": list(_KEYS)}).fetchall()
    yield _none(
        "keys-not-null",
        [f"{carrier} {_hour(hour)}: {count} without {name}" for name, carrier, hour, count in missing],
    )
    repeated = database.sql(_REPEATED_KEYS).fetchall()
    yield _none(
        "keys-unique",
        [f"{carrier} from {_hour(hour)}: {count} rows, say {key}" for carrier, hour, count, key in repeated],
    )


def types(unreadable: Mapping[str, int]) -> Iterator[Check]:
    """Look for values that conforming could not read as their column's type."""
    yield _none("types", [f"{count} of {column}" for column, count in unreadable.items()])


def ranges(database: duckdb.DuckDBPyConnection, day: date) -> Iterator[Check]:
    """Look for values that no flight can have, and for flights of another day."""
    relation = database.sql(_OUT_OF_RANGE)
    counts = zip(relation.columns, _one(relation), strict=True)
    yield _none("ranges", [f"{count} of {name}" for name, count in counts if count])
    others = database.execute(
        "select coalesce(day::varchar, 'no day'), count(*) from candidate where day is distinct from $day "
        "group by all order by all",
        {"day": day},
    ).fetchall()
    yield _none("one-day", [f"{count} of {other}" for other, count in others])


def references(database: duckdb.DuckDBPyConnection) -> Iterator[Check]:
    """Look up carriers and airports; what the source itself lacks is only a warning."""
    carriers, origins, destinations, weather = _one(database.sql(_UNKNOWN))
    yield _none("carriers-known", [carriers] if carriers else [])
    yield _none("origins-known", [origins] if origins else [])
    yield _share("destinations-known", destinations, least=90)
    yield _share("weather-known", weather, least=80)


def _none(name: str, found: Sequence[str]) -> Check:
    return Check(name, "Fail" if found else "Pass", "; ".join(found) or "none", "none")


def _share(name: str, share: float, least: int) -> Check:
    percent = round(100 * share, 1)
    return Check(name, "Pass" if percent >= least else "Warn", f"{percent}%", f"at least {least}%")


def _measures(totals: Totals, names: Sequence[str]) -> str:
    return " ".join(f"{name}={totals[name]}" for name in names)


def _hour(hour: int | None) -> str:
    return "no hour" if hour is None or hour < 0 else f"{hour:02d}h"


def _one(relation: duckdb.DuckDBPyRelation) -> tuple[Any, ...]:
    return relation.fetchall()[0]
