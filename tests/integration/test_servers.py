"""The servers that tests of storage talk to are real ones, of their own, and gone afterwards."""

import os

import obstore
import psycopg
import pytest
from tests.harness.postgres import Postgres
from tests.harness.s3 import S3Server


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


def test_an_s3_server_of_its_own_knows_accounts_and_rights_and_is_gone_afterwards() -> None:
    with S3Server({"loader": "loader-secret", "reader": "reader-secret"}) as server:
        server.bucket("lake")
        reads = [("s3:GetObject", "*"), ("s3:ListBucket", "")]
        server.allow("lake", {"reader": reads, "loader": [*reads, ("s3:PutObject", "*")]})
        obstore.put(server.store("lake", "loader"), "a/b", b"12345")
        assert bytes(obstore.get(server.store("lake", "reader"), "a/b").bytes()) == b"12345"
        with pytest.raises(obstore.exceptions.PermissionDeniedError):
            obstore.put(server.store("lake", "reader"), "a/c", b"1")
        server.stop()
        server.start()
        assert server.objects("lake") == {"a/b": 5}
        folder = server._folder
    assert not folder.exists()
