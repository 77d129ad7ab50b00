"""A schema of a PostgreSQL database."""

from __future__ import annotations

import contextlib
import logging
import re
import secrets
from collections.abc import Iterator, Sequence
from typing import Any, Final

import psycopg
from psycopg import errors, sql

from ..api.target import PostgresTarget
from ..core.storagejob import Code
from .adapter import AUTHORITY, CONNECT_SECONDS, QUERY_SECONDS, WORK_SECONDS, Adapter, Login, Prepared, StorageError
from .postgres_copy import copy_schema

_log = logging.getLogger(__name__)
_MARK: Final = "dataops: "
"""Before an environment's uid, in the comment of a schema that it made."""
_LOCK_SECONDS: Final = 10

# What a session that never began failed of. libpq gives no code for it, only text: its own is English here, since the
# image has no other language; the server's may be in any, so that what is not known is called a refused login.
_BEGUN: Final[Sequence[tuple[str, Code, str]]] = (
    (r"password authentication failed|role .* does not exist", Code.LOGIN_REFUSED, "the server refuses the login"),
    (r"no password supplied|no pg_hba\.conf entry", Code.LOGIN_REFUSED, "the server lets nobody in so"),
    (r"database .* does not exist", Code.NOT_FOUND, "there is no such database"),
    (r"permission denied for database", Code.FORBIDDEN, "the login may not connect to the database"),
    (r"too many|remaining connection slots|starting up|shutting down|recovery", Code.UNAVAILABLE, "the server is busy"),
    (r"SSL|certificate", Code.FAILED, "TLS fails: see postgres.sslMode and the server's certificate"),
    (r"translate host name|resolve|Name or service", Code.UNREACHABLE, "the host's name does not resolve"),
    (r"refused|timeout|timed out|No route|unreachable|closed the connection|reset", Code.UNREACHABLE, "no answer"),
)


class _RacedError(Exception):
    """Another process made the schema meanwhile."""


class Postgres:
    """One schema, seen with one login.

    Args:
        place: where it is.
        login: with `username` and `password`; None where the server asks for none.
    """

    def __init__(self, place: PostgresTarget, login: Login | None) -> None:
        self.place = place
        self._login = login

    @property
    def name(self) -> str:
        """For messages."""
        return f"schema {self.place.schema_!r} of database {self.place.database!r} at {self.place.host}"

    @contextlib.contextmanager
    def session(self, seconds: int) -> Iterator[psycopg.Cursor[Any]]:
        """A cursor; each statement takes so many seconds at most, 0 for no bound, and commits by itself."""
        with self.told(), self._connect() as connection, connection.cursor() as cursor:
            # What is called in statements must be PostgreSQL's own, whatever functions somebody made elsewhere.
            settings = {
                "search_path": "pg_catalog",
                "statement_timeout": str(seconds * 1000),
                "lock_timeout": str(_LOCK_SECONDS * 1000),
                "idle_in_transaction_session_timeout": "0",
            }
            for name, value in settings.items():
                cursor.execute("SELECT set_config(%s, %s, false)", (name, value))
            yield cursor

    def reachable(self) -> None:
        """See the schema, and read what tables it has."""
        with self.session(QUERY_SECONDS) as cursor:
            self._need(cursor)
            allowed = cursor.execute("SELECT has_schema_privilege(%s, 'USAGE')", (self.place.schema_,)).fetchone()
            if allowed != (True,):
                raise StorageError(
                    Code.FORBIDDEN,
                    f"the login may not use {self.name}: GRANT USAGE ON SCHEMA {self.place.schema_} to it",
                )

    def write_probe(self) -> None:
        """Make a table of our own and take it back; where no table may be made, one must take rows."""
        with self.session(QUERY_SECONDS) as cursor:
            self._need(cursor)
            if self._may_create(cursor):
                probe = sql.Identifier(self.place.schema_, f"dataops_probe_{secrets.token_hex(8)}")
                with cursor.connection.transaction(force_rollback=True):
                    cursor.execute(sql.SQL("CREATE TABLE {} (mark integer)").format(probe))
                    cursor.execute(sql.SQL("INSERT INTO {} VALUES (1)").format(probe))
            elif not self._may_fill(cursor):
                raise StorageError(
                    Code.FORBIDDEN,
                    f"the login may not write to {self.name}: GRANT it CREATE on the schema or INSERT on its tables, "
                    "or set access: ReadOnly",
                )

    def can_write(self) -> bool | None:
        """Whether the login may make a table, or change one."""
        with self.session(QUERY_SECONDS) as cursor:
            self._need(cursor)
            return self._may_create(cursor) or self._may_fill(cursor)

    def usage(self) -> tuple[int, bool]:
        """Bytes of all tables with their indexes."""
        query = (
            "SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint FROM pg_class c "
            "JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = %s AND c.relkind IN ('r', 'm')"
        )
        with self.session(QUERY_SECONDS) as cursor:
            row = cursor.execute(query, (self.place.schema_,)).fetchone()
            return (int(row[0]) if row else 0), True

    def prepare(self, owner: str, source: Adapter | None) -> Prepared:
        """Make the schema, its mark and its copy in one transaction: a process that is killed leaves nothing."""
        with self.session(WORK_SECONDS) as cursor:
            there, mark = self._mark(cursor)
            if there:
                self._must_be_ours(mark, owner)
                return Prepared()
            try:
                with cursor.connection.transaction():
                    self._make(cursor, owner)
                    done = self._fill(cursor, source)
            except _RacedError:
                self._must_be_ours(self._mark(cursor)[1], owner)
                return Prepared()
            return Prepared(" ".join(filter(None, (done.message, self._passing(cursor)))), done.left_out)

    def drop(self, owner: str) -> bool:
        """Remove the schema with all in it, unless that would take something from another schema with it."""
        with self.session(WORK_SECONDS) as cursor:
            cursor.connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            with cursor.connection.transaction():
                there, mark = self._mark(cursor)
                if not there:
                    return False
                self._must_be_ours(mark, owner)
                before = self._elsewhere(cursor)
                cursor.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(self.place.schema_)))
                if lost := sorted(before - self._elsewhere(cursor)):  # raising rolls it back
                    more = f" (and {len(lost) - 5} more)" if len(lost) > 5 else ""
                    raise StorageError(
                        Code.IN_USE,
                        f"{self.name} is used from elsewhere and stays: drop {', '.join(lost[:5])} first{more}",
                    )
            return True

    def _make(self, cursor: psycopg.Cursor[Any], owner: str) -> None:
        schema = sql.Identifier(self.place.schema_)
        try:
            cursor.execute(sql.SQL("CREATE SCHEMA {}").format(schema))
        except (errors.DuplicateSchema, errors.UniqueViolation):
            raise _RacedError from None
        cursor.execute(sql.SQL("COMMENT ON SCHEMA {} IS {}").format(schema, sql.Literal(f"{_MARK}{owner}")))

    def _fill(self, cursor: psycopg.Cursor[Any], source: Adapter | None) -> Prepared:
        if source is None:
            return Prepared()
        if not isinstance(source, Postgres):
            raise StorageError(Code.FAILED, f"{self.name} can only be copied from another schema")
        with source.session(0) as reader, self.told():
            source._need(reader)
            return copy_schema(reader, source.place.schema_, cursor, self.place.schema_)

    def _connect(self) -> psycopg.Connection[Any]:
        place = self.place
        options: dict[str, Any] = {
            "host": place.host,
            "port": place.port,
            "dbname": place.database,
            "sslmode": place.ssl_mode,
            "application_name": "dataops-storage",
            "connect_timeout": CONNECT_SECONDS,
            "gssencmode": "disable",
            # A server that is gone in mid-statement is noticed within seconds, not hours.
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "tcp_user_timeout": 30_000,
        }
        if self._login is None:
            raise StorageError(Code.LOGIN_MISSING, f"{self.name} has no login: give the target postgres.credentials")
        options["user"], options["password"] = self._login.need("username", "password")
        if authority := self._login.path(AUTHORITY):
            options["sslrootcert"] = str(authority)
        elif place.ssl_mode == "verify-full":
            options["sslrootcert"] = "system"
        try:
            return psycopg.connect(autocommit=True, prepare_threshold=None, **options)
        except psycopg.OperationalError as error:
            raise self._not_begun(error) from None

    def _not_begun(self, error: psycopg.OperationalError) -> StorageError:
        text = str(error)
        for pattern, code, words in _BEGUN:
            if re.search(pattern, text, re.IGNORECASE):
                return StorageError(code, f"{self.name}: {words}")
        return StorageError(Code.LOGIN_REFUSED, f"{self.name}: the server refuses the session")

    @contextlib.contextmanager
    def told(self) -> Iterator[None]:
        """Errors of statements in our words: the server's own may quote data."""
        try:
            yield
        except psycopg.Error as error:
            raise self._classed(error) from None

    def _classed(self, error: psycopg.Error) -> StorageError:
        state = error.sqlstate or ""
        if isinstance(error, errors.InsufficientPrivilege):
            table = error.diag.table_name
            what = f" table {table!r} of" if table else ""
            return StorageError(Code.FORBIDDEN, f"the login may not do this with{what} {self.name} (SQLSTATE {state})")
        if isinstance(error, errors.ReadOnlySqlTransaction):
            return StorageError(
                Code.FORBIDDEN, f"{self.name} takes no writes: it is a standby, or read-only by default"
            )
        if isinstance(error, errors.QueryCanceled | errors.LockNotAvailable):
            return StorageError(Code.UNAVAILABLE, f"{self.name} is locked or too slow (SQLSTATE {state})")
        if isinstance(error, psycopg.OperationalError) or state[:2] in ("08", "53", "57", "58", "40"):
            return StorageError(Code.UNAVAILABLE, f"{self.name} broke off (SQLSTATE {state or 'none'})")
        return StorageError(Code.FAILED, f"{self.name} fails: {type(error).__name__} (SQLSTATE {state or 'none'})")

    def _mark(self, cursor: psycopg.Cursor[Any]) -> tuple[bool, str]:
        query = "SELECT coalesce(obj_description(oid, 'pg_namespace'), '') FROM pg_namespace WHERE nspname = %s"
        row = cursor.execute(query, (self.place.schema_,)).fetchone()
        return row is not None, str(row[0]) if row else ""

    def _need(self, cursor: psycopg.Cursor[Any]) -> None:
        if not self._mark(cursor)[0]:
            raise StorageError(Code.NOT_FOUND, f"there is no {self.name}: make it, or name another in postgres.schema")

    def _must_be_ours(self, mark: str, owner: str) -> None:
        if mark != f"{_MARK}{owner}":
            whose = "another environment" if mark.startswith(_MARK) else "somebody else"
            raise StorageError(
                Code.NOT_OURS,
                f"{self.name} was made by {whose} and is left as it is: drop it by hand, or choose another name",
            )

    def _may_create(self, cursor: psycopg.Cursor[Any]) -> bool:
        row = cursor.execute("SELECT has_schema_privilege(%s, 'CREATE')", (self.place.schema_,)).fetchone()
        return row == (True,)

    def _may_fill(self, cursor: psycopg.Cursor[Any]) -> bool:
        query = (
            "SELECT EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
            "WHERE n.nspname = %s AND c.relkind IN ('r', 'p', 'v', 'f') "
            "AND has_schema_privilege(n.oid, 'USAGE') "
            "AND has_table_privilege(c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE'))"
        )
        return cursor.execute(query, (self.place.schema_,)).fetchone() == (True,)

    def _passing(self, cursor: psycopg.Cursor[Any]) -> str:
        query = "SELECT rolvaliduntil < 'infinity' FROM pg_roles WHERE rolname = current_user"
        if cursor.execute(query).fetchone() != (True,):
            return ""
        return (
            "The schema belongs to a login that expires; let Vault's role make logins that SET ROLE to one that stays, "
            "or the next login cannot write here, and this one cannot be removed."
        )

    def _elsewhere(self, cursor: psycopg.Cursor[Any]) -> set[str]:
        """All in the database that lies outside the schema and may hang on something in it."""
        query = (
            "WITH ours AS (SELECT oid FROM pg_namespace WHERE nspname = %(schema)s), "
            "relations AS (SELECT c.oid, format('%%s.%%s', n.nspname, c.relname) AS name FROM pg_class c "
            "JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname <> %(schema)s "
            "AND n.nspname NOT LIKE 'pg\\_%%' AND n.nspname <> 'information_schema') "
            "SELECT name FROM relations "
            "UNION SELECT format('column %%s.%%s', r.name, a.attname) FROM pg_attribute a "
            "JOIN relations r ON r.oid = a.attrelid WHERE a.attnum > 0 AND NOT a.attisdropped "
            "UNION SELECT format('the default of %%s, column %%s', r.name, d.adnum) FROM pg_attrdef d "
            "JOIN relations r ON r.oid = d.adrelid "
            "UNION SELECT format('constraint %%s of %%s', k.conname, r.name) FROM pg_constraint k "
            "JOIN relations r ON r.oid = k.conrelid "
            "UNION SELECT format('trigger %%s of %%s', t.tgname, r.name) FROM pg_trigger t "
            "JOIN relations r ON r.oid = t.tgrelid WHERE NOT t.tgisinternal "
            "UNION SELECT format('policy %%s of %%s', p.polname, r.name) FROM pg_policy p "
            "JOIN relations r ON r.oid = p.polrelid "
            "UNION SELECT format('function %%s.%%s', n.nspname, p.proname) FROM pg_proc p "
            "JOIN pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname <> %(schema)s "
            "AND n.nspname NOT LIKE 'pg\\_%%' AND n.nspname <> 'information_schema'"
        )
        cursor.execute(query, {"schema": self.place.schema_})
        return {str(row[0]) for row in cursor.fetchall()}
