"""Land one day: raw flights as the source has them, one file a carrier, with weather and reference tables."""

import sys
from collections.abc import Sequence
from datetime import date

from flights import command, control, source
from flights.faults import FAULTS, Fault, RawFile, damage
from flights.lake import Lake, building, write_json
from flights.result import Result
from flights.source import Rows


def land(lake: Lake, day: date, fault: Fault = "none", carrier: str = "UA") -> Result:
    """Write the day's raw files and the source's control totals into the run's own part of the lake.

    Args:
        lake: where to; a repeated attempt replaces what the run landed before.
        day: the day of scheduled departure.
        fault: damage to do to the raw files, after the control totals were taken.
        carrier: whose file gets the damage.

    Raises:
        StepError: no flights that day, or none of that carrier.
    """
    flights = source.flights(day)
    records = flights.records()
    expected = control.totals(records)
    files = damage(_by_carrier(flights, records), fault, carrier)
    with building(lake.landed(day)) as folder:
        write_json(folder / "control.json", control.to_document(expected))
        for table in source.REFERENCES:
            (folder / f"{table}.csv").write_text(source.reference(table), encoding="utf-8")
        (folder / "weather.csv").write_text(source.weather(day).text(), encoding="utf-8")
        raw = folder / "flights"
        raw.mkdir()
        for file in files:
            (raw / f"{file.name}.csv").write_text(file.rows.text(), encoding="utf-8")
    rows = sum(len(file.rows.lines) for file in files)
    injected = "" if fault == "none" else f", with the fault {fault} in the file of {carrier}"
    return Result(
        outputs={"rows": rows, "files": len(files)},
        metrics={"rows": rows, "sourceRows": len(records), "files": len(files)},
        text=f"landed {rows} of the source's {len(records)} flights of {day} in {len(files)} files{injected}",
    )


def _by_carrier(flights: Rows, records: Sequence[dict[str, str]]) -> list[RawFile]:
    lines: dict[str, list[str]] = {}
    for line, record in zip(flights.lines, records, strict=True):
        lines.setdefault(record["carrier"], []).append(line)
    return [RawFile(carrier, Rows(flights.header, lines[carrier])) for carrier in sorted(lines)]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; see `--help`."""
    parser = command.parser("land", __doc__ or "")
    command.add_day(parser)
    parser.add_argument("--fault", choices=FAULTS, default="none", help="damage to do, to see the audit stop it")
    parser.add_argument("--fault-carrier", default="UA", help="whose file is damaged (default: UA)")
    args = parser.parse_args(argv)
    return command.finish(lambda lake: land(lake, args.day, args.fault, args.fault_carrier), args.lake)


if __name__ == "__main__":
    sys.exit(main())
