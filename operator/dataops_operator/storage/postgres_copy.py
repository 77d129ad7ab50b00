"""A copy of a PostgreSQL schema: read with one login, written with another, each inside one transaction.

The structure is told by the server itself (`pg_get_expr`, `pg_get_constraintdef`, ...): with the search path set to the
schema that is copied, it names what is in it without the schema, so that the same words mean the copy's own things
where the search path is the copy's. Our own calls name pg_catalog, since a schema may have functions of any name. Rows
travel as binary COPY and are never seen here.

Copied: enumerated types, sequences with their values, tables (partitioned ones too) with defaults, identity, generated
columns, constraints and indexes, rows, views. Left out, and told: what belongs to no table (functions, other types),
materialised views, foreign tables, triggers, policies; and, untold, rights, owners and comments.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import psycopg
from psycopg import sql

from ..core.storagejob import Code
from .adapter import Prepared, StorageError

Cursor = psycopg.Cursor[Any]

_RELATIONS: Final = """
SELECT c.oid, c.relname, c.relkind::text, c.relpersistence = 'u',
       pg_catalog.pg_get_partkeydef(c.oid), pg_catalog.pg_get_expr(c.relpartbound, c.oid),
       (SELECT p.relname FROM pg_inherits i JOIN pg_class p ON p.oid = i.inhparent
        WHERE i.inhrelid = c.oid AND c.relispartition AND p.relnamespace = c.relnamespace),
       EXISTS (SELECT FROM pg_inherits i WHERE i.inhrelid = c.oid)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %s AND c.relkind IN ('r', 'p', 'v', 'm', 'f') ORDER BY c.relname"""

_COLUMNS: Final = """
SELECT a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity::text,
       a.attgenerated::text, pg_catalog.pg_get_expr(d.adbin, d.adrelid), k.collname, kn.nspname
FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
LEFT JOIN pg_collation k ON k.oid = a.attcollation AND a.attcollation <> t.typcollation
LEFT JOIN pg_namespace kn ON kn.oid = k.collnamespace
WHERE a.attrelid = %s AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum"""

_SEQUENCES: Final = """
SELECT c.oid, c.relname, pg_catalog.format_type(s.seqtypid, NULL), s.seqincrement, s.seqmin, s.seqmax, s.seqstart,
       s.seqcache, s.seqcycle, d.deptype::text, o.relname, a.attname, pg_catalog.has_sequence_privilege(c.oid, 'SELECT')
FROM pg_sequence s JOIN pg_class c ON c.oid = s.seqrelid JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.objsubid = 0
     AND d.refclassid = 'pg_class'::regclass AND d.refobjsubid > 0 AND d.deptype IN ('a', 'i')
LEFT JOIN pg_class o ON o.oid = d.refobjid
LEFT JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
WHERE n.nspname = %s ORDER BY c.relname"""

_ENUMS: Final = """
SELECT t.typname, pg_catalog.array_agg(e.enumlabel::text ORDER BY e.enumsortorder) FROM pg_type t
JOIN pg_namespace n ON n.oid = t.typnamespace JOIN pg_enum e ON e.enumtypid = t.oid
WHERE n.nspname = %s GROUP BY t.typname ORDER BY t.typname"""

_CONSTRAINTS: Final = """
SELECT c.relname, k.conname, pg_catalog.pg_get_constraintdef(k.oid) FROM pg_constraint k
JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %s AND k.contype IN ('p', 'u', 'x', 'c', 'f') AND k.conislocal AND k.conparentid = 0
      AND c.relkind IN ('r', 'p')
ORDER BY pg_catalog.array_position(ARRAY['p', 'u', 'x', 'c', 'f'], k.contype::text), c.relname, k.conname"""

_INDEXES: Final = """
SELECT i.relname, pg_catalog.pg_get_indexdef(i.oid, 0, true) FROM pg_index x
JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_class c ON c.oid = x.indrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %s AND c.relkind IN ('r', 'p') AND x.indisvalid
      AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = i.oid)
      AND NOT EXISTS (SELECT FROM pg_inherits h WHERE h.inhrelid = i.oid)
ORDER BY i.relname"""

_OTHERS: Final = """
SELECT pg_catalog.format('function %%s', p.proname) FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE n.nspname = %(schema)s
UNION SELECT pg_catalog.format('type %%s', t.typname) FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
LEFT JOIN pg_class c ON c.oid = t.typrelid
WHERE n.nspname = %(schema)s AND (t.typtype IN ('d', 'r') OR c.relkind = 'c')
UNION SELECT pg_catalog.format('trigger %%s of %%s', t.tgname, c.relname) FROM pg_trigger t
JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %(schema)s AND NOT t.tgisinternal
UNION SELECT pg_catalog.format('policy %%s of %%s', p.polname, c.relname) FROM pg_policy p
JOIN pg_class c ON c.oid = p.polrelid JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = %(schema)s
ORDER BY 1"""


@dataclass(frozen=True)
class _Relation:
    oid: int
    name: str
    kind: str
    unlogged: bool
    partition_key: str | None
    partition_bound: str | None
    parent: str | None
    inherits: bool


@dataclass(frozen=True)
class _Column:
    name: str
    type: str
    not_null: bool
    identity: str
    generated: str
    expression: str | None
    collation: str | None
    collation_schema: str | None


def copy_schema(reader: Cursor, source: str, writer: Cursor, target: str) -> Prepared:
    """Copy all of a schema into a new one.

    Args:
        reader: a session with a login that may read the source; it begins a transaction of its own here.
        source: name of the schema to read.
        writer: a session in a transaction, in which the target was made.
        target: name of the schema to fill.

    Raises:
        StorageError: a table cannot be read.
        psycopg.Error: anything else; the writer's transaction is to be rolled back.
    """
    reader.connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
    reader.connection.read_only = True
    with reader.connection.transaction():
        return _Copy(reader, source, writer, target).run()


class _Copy:
    def __init__(self, reader: Cursor, source: str, writer: Cursor, target: str) -> None:
        self._reader, self._source = reader, source
        self._writer, self._target = writer, target
        self._left: list[str] = []
        self._rows = 0

    def run(self) -> Prepared:
        self._set(self._reader, "search_path", _quoted(self._source))
        # With row security a copy would lack rows and nobody would know; without, the read is refused.
        self._set(self._reader, "row_security", "off")
        self._set(self._writer, "search_path", _quoted(self._target))
        self._set(self._writer, "statement_timeout", "0")
        relations = [_Relation(*row) for row in self._ask(_RELATIONS, self._source)]
        sequences = list(self._ask(_SEQUENCES, self._source))
        tables = list(_parents_first(one for one in relations if one.kind in "rp"))
        self._types()
        for row in sequences:
            if row[9] != "i":
                self._sequence(row)
        columns = {table.name: [_Column(*row) for row in self._ask(_COLUMNS, table.oid)] for table in tables}
        made = [table for table in tables if self._table(table, columns[table.name])]
        for table in made:
            if table.kind == "r":
                self._copy_rows(table.name, [one.name for one in columns[table.name] if not one.generated])
        names = {table.name for table in made}
        for row in sequences:
            self._value(row, names)
        for table, name, definition in list(self._ask(_CONSTRAINTS, self._source)):
            if table in names:
                self._try(
                    f"constraint {name} of {table}",
                    sql.SQL("ALTER TABLE {} ADD CONSTRAINT {} ").format(self._own(table), sql.Identifier(name)),
                    definition,
                )
        for name, definition in list(self._ask(_INDEXES, self._source)):
            # The index of a partitioned table is told with ONLY, which would leave its partitions without.
            self._try(f"index {name}", sql.SQL(""), definition.replace(" ON ONLY ", " ON ", 1))
        views = self._views([one for one in relations if one.kind == "v"])
        self._left += [f"materialised view {one.name}" for one in relations if one.kind == "m"]
        self._left += [f"foreign table {one.name}" for one in relations if one.kind == "f"]
        self._left += [str(row[0]) for row in self._named(_OTHERS)]
        self._set(self._writer, "search_path", "pg_catalog")
        counted = f"{len(made)} tables, {views} views and {self._rows} rows were copied from {self._source}."
        return Prepared(counted, tuple(self._left))

    def _types(self) -> None:
        for name, labels in list(self._ask(_ENUMS, self._source)):
            listed = sql.SQL(", ").join(map(sql.Literal, labels))
            self._writer.execute(sql.SQL("CREATE TYPE {} AS ENUM ({})").format(self._own(name), listed))

    def _sequence(self, row: tuple[Any, ...]) -> None:
        _, name, kind, increment, low, high, start, cache, cycle, *_ = row
        statement = sql.SQL(
            "CREATE SEQUENCE {} AS {} INCREMENT BY {} MINVALUE {} MAXVALUE {} START WITH {} CACHE {} {}"
        ).format(
            self._own(name),
            _told(kind),
            *(sql.Literal(number) for number in (increment, low, high, start, cache)),
            sql.SQL("CYCLE" if cycle else "NO CYCLE"),
        )
        self._writer.execute(statement)

    def _table(self, table: _Relation, columns: list[_Column]) -> bool:
        kind = sql.SQL("CREATE UNLOGGED TABLE {}" if table.unlogged else "CREATE TABLE {}").format(
            self._own(table.name)
        )
        if table.partition_bound is not None and table.parent is not None:
            head = sql.SQL("{} PARTITION OF {} {}").format(kind, self._own(table.parent), _told(table.partition_bound))
        else:
            listed = sql.SQL(", ").join(_column(one) for one in columns)
            head = sql.SQL("{} ({})").format(kind, listed)
        if table.partition_key is not None:
            head = sql.SQL("{} PARTITION BY {}").format(head, _told(table.partition_key))
        if not self._try(f"table {table.name}", head):
            return False
        if table.inherits and table.partition_bound is None:
            self._left.append(f"inheritance of {table.name}")
        if table.partition_bound is None:
            for one in columns:
                if one.expression is not None and not one.generated:
                    setting = sql.SQL("ALTER TABLE {} ALTER COLUMN {} SET DEFAULT ").format(
                        self._own(table.name), sql.Identifier(one.name)
                    )
                    self._try(f"default of {table.name}.{one.name}", setting, one.expression)
        return True

    def _copy_rows(self, table: str, columns: list[str]) -> None:
        listed = sql.SQL(", ").join(map(sql.Identifier, columns))
        there = sql.Identifier(self._source, table)
        give = sql.SQL("COPY (SELECT {} FROM ONLY {}) TO STDOUT (FORMAT BINARY)").format(listed, there)
        take = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT BINARY)").format(self._own(table), listed)
        if not columns:
            return
        try:
            with self._reader.copy(give) as outgoing, self._writer.copy(take) as incoming:
                for block in outgoing:
                    incoming.write(block)
        except psycopg.errors.InsufficientPrivilege:
            raise StorageError(
                Code.FORBIDDEN,
                f"the login that reads (readCredentials) lacks rights on {self._source}.{table}: GRANT it USAGE "
                "on the schema and SELECT on all tables in it; row security must hide no rows",
            ) from None
        self._rows += max(self._writer.rowcount, 0)

    def _value(self, row: tuple[Any, ...], tables: set[str]) -> None:
        """Set a sequence to where its model stands, or behind the last row where that may not be read."""
        _, name, *_, how, table, column, readable = row
        if how is not None and table not in tables:
            return
        own: sql.Composable = sql.Literal(f"{_quoted(self._target)}.{_quoted(name)}")
        if how == "i":
            own = sql.SQL("pg_catalog.pg_get_serial_sequence({}, {})").format(
                sql.Literal(f"{_quoted(self._target)}.{_quoted(table)}"), sql.Literal(column)
            )
        elif how == "a":
            self._writer.execute(
                sql.SQL("ALTER SEQUENCE {} OWNED BY {}").format(
                    self._own(name), sql.Identifier(self._target, table, column)
                )
            )
        if readable:
            place = sql.Identifier(self._source, name)
            found = self._reader.execute(sql.SQL("SELECT last_value, is_called FROM {}").format(place)).fetchone()
            value: sql.Composable = sql.SQL("{}, {}").format(*map(sql.Literal, found or (1, False)))
            self._writer.execute(sql.SQL("SELECT pg_catalog.setval({}, {})").format(own, value))
        elif how is not None:
            highest = sql.SQL(
                "SELECT pg_catalog.setval({}, m, true) FROM (SELECT pg_catalog.max({}) AS m FROM {}) x WHERE m > 0"
            )
            self._writer.execute(highest.format(own, sql.Identifier(column), self._own(table)))
        else:
            self._left.append(f"the value of sequence {name}")

    def _views(self, views: list[_Relation]) -> int:
        """Views may use each other: as long as one more can be made, the rest is tried again."""
        waiting = {
            one.name: str(next(iter(self._ask("SELECT pg_catalog.pg_get_viewdef(%s, true)", one.oid)))[0])
            for one in views
        }
        while True:
            made = [
                name
                for name, definition in waiting.items()
                if self._try(None, sql.SQL("CREATE VIEW {} AS ").format(self._own(name)), definition)
            ]
            for name in made:
                del waiting[name]
            if not made:
                self._left += [f"view {name}" for name in waiting]
                return len(views) - len(waiting)

    def _try(self, what: str | None, head: sql.Composable, told: str = "") -> bool:
        """Carry out a statement; one that fails changes nothing, and stands among what was left out."""
        try:
            with self._writer.connection.transaction():
                self._writer.execute(sql.SQL("{}{}").format(head, _told(told)))
        except (psycopg.ProgrammingError, psycopg.NotSupportedError, psycopg.DataError) as error:
            if what is not None:
                self._left.append(f"{what} (SQLSTATE {error.sqlstate})")
            return False
        return True

    def _own(self, name: str) -> sql.Identifier:
        return sql.Identifier(self._target, name)

    def _ask(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        return self._reader.execute(query.encode(), values).fetchall()

    def _named(self, query: str) -> list[tuple[Any, ...]]:
        return self._reader.execute(query.encode(), {"schema": self._source}).fetchall()

    @staticmethod
    def _set(cursor: Cursor, name: str, value: str) -> None:
        cursor.execute("SELECT pg_catalog.set_config(%s, %s, false)", (name, value))


def _column(one: _Column) -> sql.Composable:
    parts: list[sql.Composable] = [sql.Identifier(one.name), _told(one.type)]
    if one.collation is not None and one.collation_schema is not None:
        parts.append(sql.SQL("COLLATE {}").format(sql.Identifier(one.collation_schema, one.collation)))
    if one.generated and one.expression is not None:
        made = sql.SQL("STORED" if one.generated == "s" else "VIRTUAL")
        parts.append(sql.SQL("GENERATED ALWAYS AS ({}) {}").format(_told(one.expression), made))
    if one.identity:
        always = one.identity == "a"
        parts.append(sql.SQL("GENERATED ALWAYS AS IDENTITY" if always else "GENERATED BY DEFAULT AS IDENTITY"))
    if one.not_null:
        parts.append(sql.SQL("NOT NULL"))
    return sql.SQL(" ").join(parts)


def _told(text: str) -> sql.Composable:
    """What the server itself wrote out of its catalogue: statements' parts, which cannot be bound or quoted again."""
    return sql.SQL(text.replace("{", "{{").replace("}", "}}")).format()


def _quoted(name: str) -> str:
    """A name as PostgreSQL reads it in a setting or in text."""
    return '"' + name.replace('"', '""') + '"'


def _parents_first(tables: Iterable[_Relation]) -> Iterator[_Relation]:
    left = {table.name: table for table in tables}
    while left:
        ready = [table for table in left.values() if table.parent not in left]
        for table in ready or list(left.values()):
            yield left.pop(table.name)
