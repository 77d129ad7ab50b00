"""Show what a reader of the published table sees: each published day, or one day in more detail."""

import sys
from collections.abc import Sequence
from datetime import date

from flights import command, versions
from flights.errors import StepError
from flights.lake import TABLE, Lake
from flights.result import Result
from flights.summary import summarise


def show(lake: Lake, day: date | None) -> Result:
    """Return a summary of the published day, or a line for each published day when `day` is None.

    Raises:
        StepError: nothing was published, or not that day.
    """
    if day is None:
        return Result(text="\n".join(_overview(lake)))
    found = versions.current(lake, day)
    if found is None:
        raise StepError(f"{day} was never published; published days: {_names(lake)}")
    about, folder = found
    seen = summarise(folder / TABLE)
    lines = {
        "table": f"flights, day {day}",
        "version": f"{about.number} ({about.id})",
        "published": f"{about.published_at} by run {about.run}",
        "flights": f"{seen.flights}, of which {seen.cancelled} cancelled",
        "carriers": f"{seen.carriers}, to {seen.destinations} destinations",
        "average delay": f"{seen.average_delay:.1f} minutes at departure",
        "worst hour": f"{seen.worst_hour:02d}h, {seen.worst_delay:.1f} minutes over {seen.worst_departures} flights",
    }
    return Result(text="\n".join(f"{name:14} {value}" for name, value in lines.items()))


def _overview(lake: Lake) -> list[str]:
    lines = [f"{'day':12}{'flights':>8}{'version':>9}  published"]
    for day in versions.days(lake):
        if found := versions.current(lake, day):
            about = found[0]
            lines.append(f"{about.day:12}{about.rows:>8}{about.number:>9}  {about.published_at}")
    if len(lines) == 1:
        raise StepError("nothing was published yet")
    return lines


def _names(lake: Lake) -> str:
    return ", ".join(map(str, versions.days(lake))) or "none"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; see `--help`."""
    parser = command.parser("show", __doc__ or "")
    command.add_day(parser, required=False)
    args = parser.parse_args(argv)
    return command.finish(lambda lake: show(lake, args.day), args.lake)


if __name__ == "__main__":
    sys.exit(main())
