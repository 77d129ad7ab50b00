"""Report one published day: mean departure delay in minutes by carrier and scheduled hour."""

import sys
from collections.abc import Sequence
from datetime import date
from pathlib import Path

from flights import command, signing, versions
from flights.delays import Delays, Group, delays
from flights.lake import TABLE, Lake, write_text
from flights.result import Result
from flights.summary import summarise


def report(lake: Lake, day: date, version: str | None = None, key: Path | None = None) -> Result:
    """Write the day's delays as a table to the lake and to the log.

    Args:
        lake: where the published day is.
        day: which day.
        version: the id of the version to report on; by default the one that readers get.
        key: file with the key to sign the report with; unsigned without.

    Raises:
        StepError: the day, or that version of it, was never published, no flight left, or the key is not there.
    """
    about, folder = versions.published(lake, day, version)
    day_summary = summarise(folder / TABLE)
    title = f"Mean departure delay in minutes on {day}, by carrier and scheduled hour (version {about.number})"
    text = "\n".join([title, "", *_table(delays(folder / TABLE))])
    if key is not None:
        text += f"\n\nsigned  {signing.sign(text, key)}"
    write_text(lake.report(day), text + "\n")
    return Result(
        outputs={
            "flights": day_summary.flights,
            "averageDelay": round(day_summary.average_delay, 1),
            "worstHour": day_summary.worst_hour,
        },
        text=text,
    )


def _table(delays: Delays) -> list[str]:
    carriers = sorted({carrier for carrier, _ in delays if carrier is not None})
    hours = sorted({hour for _, hour in delays if hour is not None})
    lines = [_row("", [f"{hour:02d}h" for hour in hours], "all", "flights")]
    for carrier in [*carriers, None]:
        cells = [_cell(delays.get((carrier, hour))) for hour in hours]
        whole = delays[carrier, None]
        lines.append(_row(carrier or "all", cells, _cell(whole), str(whole.flights)))
    return [*lines, "", ".  no flight    x  none of the flights left"]


def _row(name: str, cells: Sequence[str], total: str, flights: str) -> str:
    return f"{name:4}" + "".join(f"{cell:>5}" for cell in cells) + f"  |{total:>5}{flights:>9}"


def _cell(group: Group | None) -> str:
    if group is None:
        return "."
    return "x" if group.delay is None else str(round(group.delay))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; see `--help`."""
    parser = command.parser("report", __doc__ or "")
    command.add_day(parser)
    parser.add_argument("--version", help="id of a published version (default: the one that readers get)")
    parser.add_argument("--signing-key", type=Path, help="file with the key to sign the report with")
    args = parser.parse_args(argv)
    return command.finish(lambda lake: report(lake, args.day, args.version, args.signing_key), args.lake)


if __name__ == "__main__":
    sys.exit(main())
