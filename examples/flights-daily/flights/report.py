"""Report one published day: mean departure delay in minutes by carrier and scheduled hour."""

import sys
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path

from flights import command, versions
from flights.database import connect
from flights.errors import StepError
from flights.lake import TABLE, Lake, write_text
from flights.result import Result
from flights.summary import summarise

# Groups: carrier and hour, carriers, hours, and all; what is summed over comes as null.
_DELAYS = """
select carrier, hour, count(*), avg(dep_delay)::double
from read_parquet($table) group by cube (carrier, hour)
"""

_Delays = Mapping[tuple[str | None, int | None], tuple[int, float | None]]


def report(lake: Lake, day: date, version: str | None = None) -> Result:
    """Write the day's delays as a table to the lake and to the log.

    Args:
        lake: where the published day is.
        day: which day.
        version: the id of the version to report on; by default the one that readers get.

    Raises:
        StepError: the day, or that version of it, was never published, or no flight left.
    """
    found = versions.find(lake, day, version) if version else versions.current(lake, day)
    if found is None:
        raise StepError(f"{f'version {version} of ' if version else ''}{day} was never published: run publish first")
    about, folder = found
    day_summary = summarise(folder / TABLE)
    delays = _delays(folder / TABLE)
    title = f"Mean departure delay in minutes on {day}, by carrier and scheduled hour (version {about.number})"
    text = "\n".join([title, "", *_table(delays)])
    write_text(lake.report(day), text + "\n")
    return Result(
        outputs={
            "flights": day_summary.flights,
            "averageDelay": round(day_summary.average_delay, 1),
            "worstHour": day_summary.worst_hour,
        },
        text=text,
    )


def _delays(table: Path) -> _Delays:
    with connect() as database:
        rows = database.execute(_DELAYS, {"table": str(table)}).fetchall()
    return {(carrier, hour): (count, delay) for carrier, hour, count, delay in rows}


def _table(delays: _Delays) -> list[str]:
    carriers = sorted({carrier for carrier, _ in delays if carrier is not None})
    hours = sorted({hour for _, hour in delays if hour is not None})
    lines = [_row("", [f"{hour:02d}h" for hour in hours], "all", "flights")]
    for carrier in [*carriers, None]:
        cells = [_cell(delays.get((carrier, hour))) for hour in hours]
        flights, _ = delays[carrier, None]
        lines.append(_row(carrier or "all", cells, _cell(delays[carrier, None]), str(flights)))
    return [*lines, "", ".  no flight    x  none of the flights left"]


def _row(name: str, cells: Sequence[str], total: str, flights: str) -> str:
    return f"{name:4}" + "".join(f"{cell:>5}" for cell in cells) + f"  |{total:>5}{flights:>9}"


def _cell(group: tuple[int, float | None] | None) -> str:
    if group is None:
        return "."
    return "x" if group[1] is None else str(round(group[1]))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; see `--help`."""
    parser = command.parser("report", __doc__ or "")
    command.add_day(parser)
    parser.add_argument("--version", help="id of a published version (default: the one that readers get)")
    args = parser.parse_args(argv)
    return command.finish(lambda lake: report(lake, args.day, args.version))


if __name__ == "__main__":
    sys.exit(main())
