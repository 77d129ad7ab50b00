"""Conform one day: types, a key, and what is known of carrier, plane, airports and weather."""

import sys
from collections.abc import Sequence
from datetime import date

import duckdb

from flights import command, source
from flights.database import connect
from flights.errors import StepError
from flights.lake import TABLE, Lake, building, sha256, write_json
from flights.result import Result

# Everything is read as text, of one dialect; types are given below, not guessed.
_DIALECT = """
create macro csv(files) as table
select * from read_csv(files, header = true, delim = ',', quote = '"', nullstr = 'NA', all_varchar = true)
"""

_READ = "create table raw as select * from csv($files)"

# A value that is no number becomes null here and is counted, so that the audit can say so: conforming
# passes bad rows on rather than hide them or break on the first.
_TYPE = """
create table typed as
select
  try_cast(columns(['year', 'month', 'day', 'dep_time', 'sched_dep_time', 'dep_delay', 'arr_time',
    'sched_arr_time', 'arr_delay', 'flight', 'air_time', 'distance', 'hour', 'minute']) as integer),
  carrier, tailnum, origin, dest,
  try_strptime(time_hour, '%Y-%m-%dT%H:%M:%SZ') as time_hour
from raw
"""

# Of a day, carrier, flight number and origin name one flight: true of all 365 days of the source (number
# and carrier alone are not: 24 times in the year one number leaves from two airports on one day).
_CONFORM = """
create table candidate as
select
  make_date(f.year, f.month, f.day) as day,
  f.carrier || '/' || f.flight || '/' || f.origin as flight_key,
  f.carrier, l.name as carrier_name, f.flight, f.origin, o.name as origin_name, f.dest, d.name as dest_name,
  f.hour, f.minute, f.time_hour as scheduled_hour_utc,
  f.sched_dep_time, f.dep_time, f.dep_delay, f.sched_arr_time, f.arr_time, f.arr_delay,
  f.dep_time is null as cancelled, f.air_time, f.distance,
  f.tailnum, try_cast(p.year as integer) as plane_year, p.manufacturer, p.model,
  try_cast(p.seats as integer) as seats,
  try_cast(w.temp as double) as temp_f, try_cast(w.wind_speed as double) as wind_mph,
  try_cast(w.precip as double) as precip_in, try_cast(w.visib as double) as visibility_mi
from typed f
left join csv($airlines) l on l.carrier = f.carrier
left join csv($airports) o on o.faa = f.origin
left join csv($airports) d on d.faa = f.dest
left join csv($planes) p on p.tailnum = f.tailnum
left join csv($weather) w on w.origin = f.origin
  and try_strptime(w.time_hour, '%Y-%m-%dT%H:%M:%SZ') = f.time_hour
order by f.hour, f.minute, f.carrier, f.flight, f.origin
"""


def conform(lake: Lake, day: date) -> Result:
    """Write the candidate table of the day from what this run landed, and a list of what went into it.

    Raises:
        StepError: nothing was landed in this run for this day.
    """
    landed = lake.landed(day)
    files = sorted((landed / "flights").glob("*.csv"))
    if not files:
        raise StepError(f"{landed} holds no flights: run land first, in the same run and for the same day")
    with connect() as database, building(lake.candidate(day)) as folder:
        database.execute(_DIALECT)
        database.execute(_READ, {"files": [str(file) for file in files]})
        database.execute(_TYPE)
        known = {table: str(landed / f"{table}.csv") for table in (*source.REFERENCES, "weather")}
        database.execute(_CONFORM, known)
        candidate = database.table("candidate")
        candidate.write_parquet(str(folder / TABLE), compression="zstd")
        rows = len(candidate)
        write_json(
            folder / "candidate.json",
            {
                "rows": rows,
                "sha256": sha256(folder / TABLE),
                "inputs": [{"file": file.name, "sha256": sha256(file)} for file in files],
                "unreadable": _unreadable(database),
            },
        )
    return Result(
        outputs={"rows": rows},
        metrics={"rows": rows, "files": len(files)},
        text=f"conformed {rows} flights of {day} from {len(files)} files",
    )


def _unreadable(database: duckdb.DuckDBPyConnection) -> dict[str, int]:
    """Count, by column, the values that were there and are not of the column's type."""
    before = _counts(database.sql("select count(columns(*)) from raw"))
    after = _counts(database.sql("select count(columns(*)) from typed"))
    return {column: before[column] - after[column] for column in before if before[column] > after[column]}


def _counts(relation: duckdb.DuckDBPyRelation) -> dict[str, int]:
    return dict(zip(relation.columns, relation.fetchall()[0], strict=True))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; see `--help`."""
    parser = command.parser("conform", __doc__ or "")
    command.add_day(parser)
    args = parser.parse_args(argv)
    return command.finish(lambda lake: conform(lake, args.day), args.lake)


if __name__ == "__main__":
    sys.exit(main())
