"""Schemas of a real PostgreSQL: reached, probed, made, copied, dropped, and every way in which that fails."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from tests.harness.ports import free_port
from tests.harness.postgres import Postgres as Server
from tests.integration.storage import OTHER_UID, UID, Object, Site, branch, code, environment, vault

from dataops_operator.api.target import PostgresTarget
from dataops_operator.core.storagejob import Action, Code
from dataops_operator.core.targets import ResolvedTarget
from dataops_operator.storage.adapter import Login, StorageError
from dataops_operator.storage.postgres import Postgres

PASSWORD = "canary-$(x)-'\"-password"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server() as made:
        made.run(
            "postgres",
            *(
                f"CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD.replace(chr(39), chr(39) * 2)}'"
                for role in ("loader", "reader", "brancher", "nobody")
            ),
        )
        yield made


@pytest.fixture
def database(server: Server, request: pytest.FixtureRequest) -> Iterator[str]:
    """A database of the case's own, with a schema `marts` as a team has it."""
    name = f"d{abs(hash(request.node.name)) % 10**8}"
    server.run("postgres", f"CREATE DATABASE {name}")
    server.run(
        name,
        "GRANT CREATE ON DATABASE " + name + " TO brancher",
        "CREATE SCHEMA marts AUTHORIZATION loader",
        "GRANT USAGE ON SCHEMA marts TO reader",
    )
    with server.session(name, "loader", PASSWORD) as cursor:
        cursor.execute("SET search_path = marts")
        cursor.execute(STRUCTURE)
        cursor.execute("GRANT SELECT ON ALL TABLES IN SCHEMA marts TO reader")
        cursor.execute("GRANT SELECT ON ALL SEQUENCES IN SCHEMA marts TO reader")
    yield name
    server.run("postgres", f"DROP DATABASE {name} WITH (FORCE)")


STRUCTURE = """
CREATE TYPE mood AS ENUM ('calm', 'it''s {late}');
CREATE SEQUENCE tickets START WITH 40 INCREMENT BY 2;
CREATE TABLE carriers (code char(2) PRIMARY KEY, "Full {name}" text COLLATE "C" NOT NULL, feeling mood DEFAULT 'calm');
CREATE TABLE flights (
    id serial PRIMARY KEY,
    seen bigint GENERATED ALWAYS AS IDENTITY,
    carrier char(2) REFERENCES carriers,
    ticket integer DEFAULT nextval('tickets'),
    minutes integer CHECK (minutes > -100),
    hours numeric GENERATED ALWAYS AS (minutes / 60.0) STORED,
    payload jsonb DEFAULT '{"a": [1, 2]}'
);
CREATE INDEX flights_by_payload ON flights USING gin (payload) WHERE minutes > 0;
CREATE TABLE days (day date NOT NULL, rows integer) PARTITION BY RANGE (day);
CREATE TABLE days_2013 PARTITION OF days FOR VALUES FROM ('2013-01-01') TO ('2014-01-01');
CREATE TABLE days_rest PARTITION OF days DEFAULT;
CREATE INDEX days_by_rows ON days (rows);
CREATE VIEW late AS SELECT f.id, c."Full {name}" FROM flights f JOIN carriers c ON c.code = f.carrier WHERE minutes > 0;
CREATE VIEW later AS SELECT * FROM late WHERE id > 1;
CREATE MATERIALIZED VIEW counted AS SELECT count(*) FROM flights;
CREATE FUNCTION twice(integer) RETURNS integer LANGUAGE sql AS 'SELECT 2 * $1';
INSERT INTO carriers VALUES ('AA', 'American', 'it''s {late}'), ('DL', 'Delta', NULL);
INSERT INTO flights (carrier, minutes) SELECT (ARRAY['AA', 'DL'])[1 + n % 2], n - 50 FROM generate_series(1, 500) n;
INSERT INTO days SELECT DATE '2012-12-25' + n, n FROM generate_series(0, 20) n;
"""


@pytest.fixture
def site(tmp_path: Path) -> Site:
    made = Site(tmp_path)
    made.login("warehouse", username="loader", password=PASSWORD)
    made.login("warehouse-read", username="reader", password=PASSWORD)
    return made


def target(server: Server, database: str, **more: object) -> Object:
    place = {"host": server.host, "port": server.port, "database": database, "schema": "marts"}
    logins = {
        "credentials": vault("loader"),
        "readCredentials": vault("reader"),
        "branchCredentials": vault("brancher"),
    }
    return {"name": "warehouse", "postgres": place | logins | more}


def of_branch(server: Server, database: str, site: Site, mode: str) -> ResolvedTarget:
    """A branch's target; from here on its login is the one for branches."""
    site.login("warehouse", username="brancher")
    return branch(environment(target(server, database)), mode)


# Reaching and probing.


def test_a_schema_is_reached_written_to_and_counted_and_nothing_is_left(
    server: Server, database: str, site: Site
) -> None:
    before = server.rows(database, "SELECT oid, relname FROM pg_class ORDER BY oid")
    report = site.run(Action.PROBE, *environment(target(server, database)).targets.values())["warehouse"]
    assert report.code is Code.OK, report
    assert report.used_bytes
    assert report.used_bytes > 100_000
    assert server.rows(database, "SELECT oid, relname FROM pg_class ORDER BY oid") == before


@pytest.mark.parametrize(
    ("change", "login", "expected", "says"),
    [
        ({}, {"password": "wrong"}, Code.LOGIN_REFUSED, "refuses the login"),
        ({}, {"username": "stranger"}, Code.LOGIN_REFUSED, "refuses the login"),
        ({}, {"username": ""}, Code.LOGIN_MISSING, "has no username"),
        ({"database": "missing"}, {}, Code.NOT_FOUND, "no such database"),
        ({"schema": "missing"}, {}, Code.NOT_FOUND, "there is no schema 'missing'"),
        ({}, {"username": "nobody"}, Code.FORBIDDEN, "GRANT USAGE ON SCHEMA marts"),
        ({}, {"username": "reader"}, Code.FORBIDDEN, "access: ReadOnly"),
        ({"sslMode": "require"}, {}, Code.FAILED, "TLS fails"),
        ({"host": "does-not.exist.invalid"}, {}, Code.UNREACHABLE, "does not resolve"),
        ({"port": 1}, {}, Code.UNREACHABLE, "no answer"),
        # Names that would be statements are refused by the schema of the API; if one comes, it is a name.
        ({"schema": "marts; DROP SCHEMA marts"}, {}, Code.NOT_FOUND, "there is no schema"),
    ],
)
def test_what_is_wrong_is_told_in_our_words_with_the_cure(
    server: Server, database: str, site: Site, change: Object, login: dict[str, str], expected: Code, says: str
) -> None:
    site.login("warehouse", **login)
    raw = target(server, database)
    names = {"schema": "schema_", "sslMode": "ssl_mode"}
    whole = environment(raw).targets["warehouse"]
    assert whole.spec.postgres is not None
    changed = whole.spec.postgres.model_copy(update={names.get(key, key): value for key, value in change.items()})
    began = time.monotonic()
    login_files = Login.read(site.folders.secrets / "warehouse")
    with pytest.raises(StorageError) as caught:
        probed(Postgres(changed, login_files))
    assert caught.value.code is expected, caught.value
    assert says in str(caught.value)
    assert PASSWORD not in str(caught.value)
    assert time.monotonic() - began < 15
    assert server.rows(database, "SELECT count(*) FROM marts.flights") == [(500,)]


def probed(adapter: Postgres) -> None:
    adapter.reachable()
    adapter.write_probe()


def test_a_host_that_takes_the_connection_and_says_nothing_is_given_up_in_seconds(
    server: Server, database: str, site: Site
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        raw = target(server, database, port=silent.getsockname()[1])
        began = time.monotonic()
        report = site.run(Action.PROBE, *environment(raw).targets.values())["warehouse"]
    assert report.code is Code.UNREACHABLE, report
    assert time.monotonic() - began < 12


def test_a_read_only_target_is_probed_without_a_write(server: Server, database: str, site: Site) -> None:
    site.login("warehouse", username="reader")
    raw = target(server, database) | {"access": "ReadOnly"}
    assert code(site.run(Action.PROBE, *environment(raw).targets.values()), "warehouse") == "Ok"


def test_no_message_repeats_what_a_server_said(server: Server, database: str, site: Site) -> None:
    """An event trigger says the canary in every error; none of it comes back."""
    server.run(
        database,
        "CREATE FUNCTION public.shout() RETURNS event_trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'canary-value' USING DETAIL = 'canary-detail', HINT = 'canary-hint'; END $$",
        "CREATE EVENT TRIGGER shout ON ddl_command_start EXECUTE FUNCTION public.shout()",
    )
    report = site.run(Action.PROBE, *environment(target(server, database)).targets.values())["warehouse"]
    assert report.code is Code.FAILED
    assert "canary" not in report.message
    assert "SQLSTATE P0001" in report.message


# Making and dropping.


def schemas(server: Server, database: str) -> set[str]:
    return {row[0] for row in server.rows(database, "SELECT nspname FROM pg_namespace WHERE nspname NOT LIKE 'pg_%'")}


def test_an_empty_schema_is_made_once_carries_the_mark_and_goes_whole(
    server: Server, database: str, site: Site
) -> None:
    own = of_branch(server, database, site, "Empty")
    before = schemas(server, database)
    for _ in range(2):
        assert code(site.run(Action.PREPARE, own), "warehouse") == "Ok"
    assert schemas(server, database) - before == {"marts__feature_x"}
    assert server.rows(database, "SELECT obj_description(%s::regnamespace, 'pg_namespace')", "marts__feature_x") == [
        (f"dataops: {UID}",)
    ]
    assert code(site.run(Action.PROBE, own), "warehouse") == "Ok"
    with server.session(database, "brancher", PASSWORD) as cursor:
        cursor.execute("CREATE TABLE marts__feature_x.t AS SELECT 1")
    assert [code(site.run(Action.DROP, own), "warehouse") for _ in range(2)] == ["Ok", "Gone"]
    assert schemas(server, database) == before


@pytest.mark.parametrize("mark", [None, "somebody's", f"dataops: {OTHER_UID}", f"dataops: {UID} "])
def test_a_schema_without_our_mark_is_neither_taken_nor_dropped(
    server: Server, database: str, site: Site, mark: str | None
) -> None:
    own = of_branch(server, database, site, "Empty")
    with server.session(database, "brancher", PASSWORD) as cursor:
        cursor.execute("CREATE SCHEMA marts__feature_x")
        cursor.execute("CREATE TABLE marts__feature_x.precious (x integer)")
        if mark:
            cursor.execute(f"COMMENT ON SCHEMA marts__feature_x IS '{mark.replace(chr(39), chr(39) * 2)}'")
    for action in (Action.PREPARE, Action.DROP):
        report = site.run(action, own)["warehouse"]
        assert report.code is Code.NOT_OURS, report
        assert "left as it is" in report.message
    assert server.rows(database, "SELECT count(*) FROM marts__feature_x.precious") == [(0,)]


def test_a_wrong_task_cannot_drop_a_place_that_was_there_before(server: Server, database: str, site: Site) -> None:
    reports = site.run(Action.DROP, *environment(target(server, database)).targets.values())
    assert code(reports, "warehouse") == "NotOurs"
    assert "marts" in schemas(server, database)


def test_a_schema_that_others_use_stays_and_says_who(server: Server, database: str, site: Site) -> None:
    own = of_branch(server, database, site, "Empty")
    site.run(Action.PREPARE, own)
    with server.session(database, "brancher", PASSWORD) as cursor:
        cursor.execute("CREATE TABLE marts__feature_x.t (id integer PRIMARY KEY)")
    server.run(
        database,
        "CREATE VIEW public.looks AS SELECT * FROM marts__feature_x.t",
        "CREATE TABLE public.refers (id integer CONSTRAINT to_branch REFERENCES marts__feature_x.t)",
    )
    report = site.run(Action.DROP, own)["warehouse"]
    assert report.code is Code.IN_USE, report
    assert "public.looks" in report.message
    assert "constraint to_branch of public.refers" in report.message
    assert "marts__feature_x" in schemas(server, database)
    server.run(database, "DROP VIEW public.looks", "DROP TABLE public.refers")
    assert code(site.run(Action.DROP, own), "warehouse") == "Ok"


def test_a_login_without_the_right_to_make_schemas_says_so(server: Server, database: str, site: Site) -> None:
    own = of_branch(server, database, site, "Empty")
    site.login("warehouse", username="loader")
    report = site.run(Action.PREPARE, own)["warehouse"]
    assert report.code is Code.FORBIDDEN, report
    assert "42501" in report.message
    assert "marts__feature_x" not in schemas(server, database)


def test_a_login_that_expires_and_owns_the_schema_is_warned_of(server: Server, database: str, site: Site) -> None:
    own = of_branch(server, database, site, "Empty")
    server.run("postgres", "ALTER ROLE brancher VALID UNTIL '2100-01-01'")
    try:
        assert "SET ROLE" in site.run(Action.PREPARE, own)["warehouse"].message
    finally:
        server.run("postgres", "ALTER ROLE brancher VALID UNTIL 'infinity'")


def test_two_processes_that_make_one_schema_at_once_make_one(server: Server, database: str, site: Site) -> None:
    own = of_branch(server, database, site, "Copy")
    found: list[str] = []
    threads = [
        threading.Thread(target=lambda: found.append(code(site.run(Action.PREPARE, own), "warehouse")))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == ["Ok"] * 4
    assert server.rows(database, "SELECT count(*) FROM marts__feature_x.flights") == [(500,)]


# Copying.


def test_a_copy_has_structure_and_rows_and_is_tied_to_nothing_of_its_model(
    server: Server, database: str, site: Site
) -> None:
    own = of_branch(server, database, site, "Copy")
    report = site.run(Action.PREPARE, own)["warehouse"]
    assert report.code is Code.OK, report
    assert "5 tables, 2 views and 523 rows" in report.message, report
    assert "Left out: materialised view counted, function twice." in report.message

    for table in ("carriers", "flights", "days", "late", "later"):
        ours, theirs = (
            server.rows(database, f"SELECT to_jsonb(t) FROM {schema}.{table} t ORDER BY 1")
            for schema in ("marts__feature_x", "marts")
        )
        assert ours == theirs, table
    # The whole catalogue agrees, save for the schema's name.
    for query in (
        "SELECT table_name, column_name, data_type, is_nullable, column_default, is_identity, identity_generation, "
        "generation_expression, collation_name FROM information_schema.columns WHERE table_schema = %s "
        "AND table_name <> 'counted' ORDER BY 1, 2",
        "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint "
        "WHERE connamespace = %s::regnamespace ORDER BY 1, 2",
        "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = %s ORDER BY 1, 2",
        "SELECT viewname, definition FROM pg_views WHERE schemaname = %s ORDER BY 1",
        "SELECT sequencename, data_type::text, start_value, increment_by, last_value FROM pg_sequences "
        "WHERE schemaname = %s ORDER BY 1",
        "SELECT inhparent::regclass::text, inhrelid::regclass::text FROM pg_inherits JOIN pg_class c ON oid = inhrelid "
        "WHERE c.relnamespace = %s::regnamespace ORDER BY 1, 2",
    ):
        ours, theirs = (
            [
                tuple(str(part).replace("marts__feature_x", "marts") for part in row)
                for row in server.rows(database, query, schema)
            ]
            for schema in ("marts__feature_x", "marts")
        )
        assert ours == theirs

    # New rows take numbers of the copy's own sequences, and leave the parent's alone.
    before = server.rows(
        database, "SELECT last_value FROM pg_sequences WHERE schemaname = 'marts' ORDER BY sequencename"
    )
    with server.session(database, "brancher", PASSWORD) as cursor:
        made = cursor.execute(
            "INSERT INTO marts__feature_x.flights (carrier, minutes) VALUES ('AA', 1) RETURNING id, seen, ticket"
        ).fetchone()
        assert made == (501, 501, 1040)
        with pytest.raises(psycopg.errors.ForeignKeyViolation):
            cursor.execute("INSERT INTO marts__feature_x.flights (carrier) VALUES ('ZZ')")
    after = server.rows(
        database, "SELECT last_value FROM pg_sequences WHERE schemaname = 'marts' ORDER BY sequencename"
    )
    assert after == before

    assert code(site.run(Action.PREPARE, own), "warehouse") == "Ok"
    assert server.rows(database, "SELECT count(*) FROM marts__feature_x.flights") == [(501,)]
    assert code(site.run(Action.DROP, own), "warehouse") == "Ok"
    assert server.rows(database, "SELECT count(*) FROM marts.flights") == [(500,)]


def test_functions_of_the_parents_schema_are_never_called(server: Server, database: str, site: Site) -> None:
    """Whoever may write in the parent's schema must not run code as the login that reads."""
    own = of_branch(server, database, site, "Copy")
    body = "LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'called'; END $$"
    with server.session(database, "loader", PASSWORD) as cursor:
        for name in ("format(text, name)", "pg_get_viewdef(oid, boolean)", "max(integer)"):
            cursor.execute(f"CREATE FUNCTION marts.{name} RETURNS text {body}".encode())
    report = site.run(Action.PREPARE, own)["warehouse"]
    assert report.code is Code.OK, report
    assert "function format, function max" in report.message


def test_a_copy_that_may_not_read_a_table_makes_nothing_and_says_which(
    server: Server, database: str, site: Site
) -> None:
    own = of_branch(server, database, site, "Copy")
    server.run(database, "REVOKE SELECT ON marts.flights FROM reader")
    report = site.run(Action.PREPARE, own)["warehouse"]
    assert report.code is Code.FORBIDDEN, report
    assert "marts.flights" in report.message
    assert "marts__feature_x" not in schemas(server, database)
    server.run(database, "GRANT SELECT ON marts.flights TO reader")
    assert code(site.run(Action.PREPARE, own), "warehouse") == "Ok"


def test_rows_that_row_security_hides_are_no_copy(server: Server, database: str, site: Site) -> None:
    own = of_branch(server, database, site, "Copy")
    server.run(
        database,
        "ALTER TABLE marts.carriers ENABLE ROW LEVEL SECURITY",
        "CREATE POLICY a_few ON marts.carriers USING (code = 'AA')",
    )
    assert code(site.run(Action.PREPARE, own), "warehouse") == "Forbidden"
    assert "marts__feature_x" not in schemas(server, database)


def test_a_sequence_that_may_not_be_read_goes_on_behind_the_last_row(server: Server, database: str, site: Site) -> None:
    own = of_branch(server, database, site, "Copy")
    server.run(database, "REVOKE SELECT ON ALL SEQUENCES IN SCHEMA marts FROM reader")
    report = site.run(Action.PREPARE, own)["warehouse"]
    assert "the value of sequence tickets" in report.message
    with server.session(database, "brancher", PASSWORD) as cursor:
        made = cursor.execute("INSERT INTO marts__feature_x.flights DEFAULT VALUES RETURNING id, seen").fetchone()
    assert made == (501, 501)


# Reading through.


def test_a_branch_reads_its_parent_with_a_login_that_cannot_write(server: Server, database: str, site: Site) -> None:
    own = of_branch(server, database, site, "ReadThrough")
    assert code(site.run(Action.PREPARE, own), "warehouse") == "Ok"
    assert code(site.run(Action.PROBE, own), "warehouse") == "Ok"
    assert server.rows(database, "SELECT count(*) FROM pg_tables WHERE schemaname = 'marts__feature_x'") == [(0,)]
    with psycopg.connect(own.attributes["readUrl"], user="reader", password=PASSWORD) as connection:
        assert connection.execute("SELECT count(*) FROM flights").fetchone() == (500,)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("DELETE FROM flights")
    with psycopg.connect(own.attributes["url"], user="brancher", password=PASSWORD) as connection:
        connection.execute("CREATE TABLE made (x integer)")
    assert server.rows(database, "SELECT schemaname FROM pg_tables WHERE tablename = 'made'") == [("marts__feature_x",)]
    site.login("warehouse-read", username="loader")
    assert code(site.run(Action.PROBE, own), "warehouse") == "ReadLoginCanWrite"


def test_a_port_that_nobody_listens_on_is_told_as_unreachable(server: Server, database: str, site: Site) -> None:
    own = environment(target(server, database, port=free_port()))
    assert code(site.run(Action.PROBE, *own.targets.values()), "warehouse") == "Unreachable"


def test_the_api_refuses_names_that_are_no_names() -> None:
    for name in ('marts"', "marts; DROP TABLE x", "a.b", "A", "", "x" * 64, "ä"):
        with pytest.raises(ValueError, match="schema"):
            PostgresTarget.model_validate({"host": "pg", "database": "d", "schema": name})
