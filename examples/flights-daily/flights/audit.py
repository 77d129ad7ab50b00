"""Audit one day's candidate: nothing is published that does not add up to what the source had."""

import sys
from collections.abc import Sequence
from datetime import date

from flights import checks, command, control
from flights.database import connect
from flights.lake import TABLE, Lake, read_json, sha256, write_json
from flights.result import Check, Result


def audit(lake: Lake, day: date, landed_rows: int) -> Result:
    """Check the run's candidate and write the verdict beside it, bound to the candidate's content.

    Args:
        lake: where the candidate is.
        day: the day that the candidate should hold, and nothing else.
        landed_rows: rows that `land` said it wrote.

    Raises:
        StepError: this run has no candidate, or no control totals, for this day.
    """
    candidate = read_json(lake.candidate(day) / "candidate.json", made_by="conform")
    expected = control.from_document(read_json(lake.landed(day) / "control.json", made_by="land"))
    table = lake.candidate(day) / TABLE
    found: list[Check] = []
    with connect() as database:
        database.read_parquet(str(table)).create_view("candidate")
        found += checks.keys(database)
        found += checks.files(candidate["inputs"])
        found += checks.row_counts(database, landed_rows)
        found += checks.types(candidate["unreadable"])
        found += checks.ranges(database, day)
        found += checks.references(database)
        found += checks.control_totals(database, expected)
    failed = [check for check in found if check.outcome == "Fail"]
    write_json(
        lake.verdict(day),
        {"passed": not failed, "candidate": sha256(table), "checks": [check.document() for check in found]},
    )
    return Result(
        checks=found,
        text="\n".join([f"audit of {candidate['rows']} flights of {day}", *map(_line, found)]),
    )


def _line(check: Check) -> str:
    return f"  {check.outcome:4}  {check.name:24}  {check.value} (expected: {check.expected})"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; see `--help`."""
    parser = command.parser("audit", __doc__ or "")
    command.add_day(parser)
    parser.add_argument("--landed-rows", type=int, required=True, help="rows that land said it wrote")
    args = parser.parse_args(argv)
    return command.finish(lambda lake: audit(lake, args.day, args.landed_rows), args.lake)


if __name__ == "__main__":
    sys.exit(main())
