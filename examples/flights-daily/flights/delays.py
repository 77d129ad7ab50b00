"""Mean departure delay by carrier and scheduled hour: what the report shows and what the warehouse gets."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from flights.database import connect

# Groups: carrier and hour, carriers, hours, and all; what is summed over comes as null.
_DELAYS = """
select carrier, hour, count(*), avg(dep_delay)::double
from read_parquet($table) group by cube (carrier, hour)
"""


class Group(NamedTuple):
    """Flights of a group, and their mean delay at departure in minutes; None where none of them left."""

    flights: int
    delay: float | None


Delays = Mapping[tuple[str | None, int | None], Group]
"""By carrier and hour; None stands for all of them."""


def delays(table: Path) -> Delays:
    """Return the delays of a published day."""
    with connect() as database:
        rows = database.execute(_DELAYS, {"table": str(table)}).fetchall()
    return {(carrier, hour): Group(flights, delay) for carrier, hour, flights, delay in rows}
