"""The server that tests talk to is a real one, of their own, and gone afterwards."""

import os

import psycopg
import pytest
from tests.harness.postgres import Postgres


def test_a_server_of_its_own_asks_for_passwords_survives_a_crash_and_is_gone_afterwards() -> None:
    with Postgres() as server:
        pid = server._process.pid if server._process else 0
        server.run("postgres", "CREATE ROLE alice LOGIN PASSWORD 'rabbit'", "CREATE DATABASE hole OWNER alice")
        with server.session("hole", "alice", "rabbit") as cursor:
            cursor.execute("CREATE TABLE cards (suit text)")
            cursor.execute("INSERT INTO cards VALUES ('hearts')")
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            server.connect("hole", "alice", "hare")
        server.stop(crash=True)
        server.start()
        assert server.rows("hole", "SELECT suit FROM cards WHERE suit = %s", "hearts") == [("hearts",)]
        assert server.roles() == {"postgres", "alice"}
    assert not os.path.exists(f"/proc/{pid}")
    with pytest.raises(psycopg.OperationalError):
        server.connect()
