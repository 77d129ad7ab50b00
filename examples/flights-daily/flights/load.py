"""Load one published day into the warehouse: its delays by carrier and scheduled hour, in one transaction."""

import sys
from collections.abc import Sequence
from datetime import date
from pathlib import Path

from flights import command, versions, warehouse
from flights.delays import delays
from flights.lake import TABLE, Lake
from flights.result import Result
from flights.warehouse import Place


def load(lake: Lake, day: date, place: Place, readers: Place, version: str | None = None) -> Result:
    """Replace the day in the table `delays`, and count the rows that are other than what readers have.

    Args:
        lake: where the published day is.
        day: which day.
        place: where to.
        readers: where readers look: the same place, or for a branch that of the environment it branched off.
        version: the id of the version to load; by default the one that readers of the lake get.

    Raises:
        StepError: the day, or that version of it, was never published, or the warehouse does not take it.
    """
    about, folder = versions.published(lake, day, version)
    rows = [
        (carrier, hour, group.flights, group.delay)
        for (carrier, hour), group in delays(folder / TABLE).items()
        if carrier is not None and hour is not None
    ]
    changed = len(warehouse.read(readers, day) ^ set(rows))
    newer = warehouse.load(place, day, about.id, about.number, rows)
    table = f"{place.schema}.delays"
    if newer is not None:
        text = f"{table} has version {newer} of {day} already: version {about.number} is not loaded over it"
    else:
        text = f"loaded {len(rows)} rows of {day} into {table}; {changed} differ from {readers.schema}.delays before"
    return Result(
        outputs={"rows": len(rows) if newer is None else 0, "changed": changed},
        datasets=[{"name": table, "partition": day.isoformat(), "version": about.id}],
        text=text,
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; see `--help`."""
    parser = command.parser("load", __doc__ or "")
    command.add_day(parser)
    parser.add_argument("--version", help="id of a published version (default: the one that readers get)")
    parser.add_argument("--warehouse", required=True, help="address of the database, as libpq has it")
    parser.add_argument("--schema", required=True, help="schema of the table")
    parser.add_argument("--login", type=Path, help="folder with the files username and password")
    parser.add_argument("--readers", help="address of the database that readers use (default: the same)")
    parser.add_argument("--readers-schema", help="schema that readers use (default: the same)")
    parser.add_argument(
        "--readers-login", type=Path, help="folder with a login for it (default, or if absent: --login)"
    )
    args = parser.parse_args(argv)
    place = Place(args.warehouse, args.schema, args.login)
    login = args.readers_login if args.readers_login and args.readers_login.is_dir() else args.login
    readers = Place(args.readers or args.warehouse, args.readers_schema or args.schema, login)
    return command.finish(lambda lake: load(lake, args.day, place, readers, args.version), args.lake)


if __name__ == "__main__":
    sys.exit(main())
