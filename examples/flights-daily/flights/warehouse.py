"""The warehouse: the table `delays` in a schema of a PostgreSQL database.

A day is replaced as a whole, in one transaction: who reads sees the old day or the new one.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from flights.errors import StepError

PATIENCE = 10
"""Seconds until a server that does not answer is given up."""

_TABLE = sql.SQL("""
create table if not exists {} (
    day date, carrier text, hour smallint,
    flights integer not null, mean_delay double precision,
    version text not null, number integer not null,
    primary key (day, carrier, hour)
)
""")

Row = tuple[str, int, int, float | None]
"""Carrier, scheduled hour, flights, mean delay at departure in minutes (None where none of them left)."""


@dataclass(frozen=True)
class Place:
    """A schema of a database, and where the login for it lies.

    Attributes:
        url: address as libpq has it, without credentials.
        schema: the schema.
        login: folder with the files `username` and `password`; None leaves that to libpq (PGUSER, PGPASSWORD).
    """

    url: str
    schema: str
    login: Path | None = None

    @contextmanager
    def open(self) -> Iterator[psycopg.Connection[Any]]:
        """Yield one transaction, committed when the block ends well.

        Raises:
            StepError: there is no login, or the database refuses it, what it is asked, or does not answer.
        """
        address = self.url if self.login is None else make_conninfo(self.url, **_credentials(self.login))
        try:
            with psycopg.connect(address, connect_timeout=PATIENCE) as connection:
                yield connection
        except psycopg.Error as error:
            raise StepError(f"the warehouse {self.url}, schema {self.schema}: {_said(error)}") from None


def _credentials(folder: Path) -> dict[str, str]:
    try:
        user, password = ((folder / name).read_text().strip() for name in ("username", "password"))
    except OSError as error:
        raise StepError(
            f"no login for the warehouse in {folder} ({error.strerror}): has the environment's target credentials?"
        ) from None
    return {"user": user, "password": password}


def read(place: Place, day: date) -> set[Row]:
    """Return the rows of a day; none where there is no table yet.

    Raises:
        StepError: as `Place.open`.
    """
    table = sql.Identifier(place.schema, "delays")
    with place.open() as connection:
        if connection.execute("select to_regclass(%s)", [table.as_string(connection)]).fetchone() == (None,):
            return set()
        columns = sql.SQL("select carrier, hour, flights, mean_delay from {} where day = %s").format(table)
        return set(connection.execute(columns, [day]).fetchall())


def load(place: Place, day: date, version: str, number: int, rows: Sequence[Row]) -> int | None:
    """Replace a day, unless a newer version of it is there: a late repetition never takes readers back.

    Args:
        place: where to.
        day: the day.
        version: id of the published version that the rows are of.
        number: its number among the versions of that day.
        rows: all of the day.

    Returns:
        The number of the newer version that is there, and stays; None when the day was replaced.

    Raises:
        StepError: as `Place.open`.
    """
    table = sql.Identifier(place.schema, "delays")
    with place.open() as connection:
        # Two runs that both find no table would both make it; the lock goes with the transaction.
        connection.execute("select pg_advisory_xact_lock(hashtext(%s))", [f"{place.schema}.delays"])
        connection.execute(_TABLE.format(table))
        newest = sql.SQL("select max(number) from {} where day = %s").format(table)
        (there,) = connection.execute(newest, [day]).fetchone() or (None,)
        if there is not None and there > number:
            return int(there)
        connection.execute(sql.SQL("delete from {} where day = %s").format(table), [day])
        insert = sql.SQL("insert into {} values (%s, %s, %s, %s, %s, %s, %s)").format(table)
        with connection.cursor() as cursor:
            cursor.executemany(insert, [(day, *row, version, number) for row in rows])
    return None


def _said(error: psycopg.Error) -> str:
    """The first line of what the server or libpq said, without the login's name: the rest repeats the statement."""
    line = str(error).strip().partition("\n")[0]
    return re.sub(r'(user|role) "[^"]*"', r"\1 of this run", line)
