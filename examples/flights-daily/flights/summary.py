"""The few numbers that sum up a day, the same in the report and in what `show` prints."""

from dataclasses import dataclass
from pathlib import Path

from flights.database import connect
from flights.errors import StepError

_DAY = """
select count(*), count(*) filter (cancelled), count(distinct carrier), count(distinct dest), avg(dep_delay)::double
from read_parquet($table)
"""

# An hour with fewer departures than this says more about one flight than about the hour.
_DEPARTURES = 5

_WORST_HOUR = """
select hour, avg(dep_delay)::double as delay, count(dep_delay) as departures
from read_parquet($table) group by hour having departures > 0
order by departures >= $enough desc, delay desc, hour limit 1
"""


@dataclass(frozen=True)
class Summary:
    """A day in numbers; delays are means at departure, in minutes; hours are scheduled local ones."""

    flights: int
    cancelled: int
    carriers: int
    destinations: int
    average_delay: float
    worst_hour: int
    worst_delay: float
    worst_departures: int


def summarise(table: Path) -> Summary:
    """Return the summary of a published day.

    Raises:
        StepError: no flight left, so there is no delay to speak of.
    """
    with connect() as database:
        flights, cancelled, carriers, destinations, average = database.execute(_DAY, {"table": str(table)}).fetchall()[
            0
        ]
        worst = database.execute(_WORST_HOUR, {"table": str(table), "enough": _DEPARTURES}).fetchall()
    if not worst:
        raise StepError(f"none of the {flights} flights of {table} left, so there are no delays to report")
    return Summary(flights, cancelled, carriers, destinations, average, *worst[0])
