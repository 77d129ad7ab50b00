"""A real PostgreSQL server of a test's own: Debian's programs, a folder and a port of its own, no system service."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import psycopg
from psycopg import sql
from tests.harness.ports import free_port

from localcluster import debian
from localcluster.errors import ClusterError, say

SUPERUSER = "postgres"
_USER = "postgres"
"""The user of the operating system: the server refuses to run as root."""
_CREATE_CLUSTER = Path("/etc/postgresql-common/createcluster.conf")


def programs() -> Path:
    """The folder with initdb and postgres, the newest version of them; the package is installed where it is missing."""
    if not _newest():
        # The package would make and start a server of the system's own, which nobody here asked for.
        debian.ensure(["postgresql-common"], "to run PostgreSQL in tests")
        if _CREATE_CLUSTER.is_file():
            kept = [line for line in _CREATE_CLUSTER.read_text().splitlines() if "create_main_cluster" not in line]
            _CREATE_CLUSTER.write_text("\n".join([*kept, "create_main_cluster = false", ""]))
            say(f"wrote create_main_cluster = false into {_CREATE_CLUSTER}")
        debian.ensure(["postgresql"], "to run PostgreSQL in tests")
    found = _newest()
    if not found:
        raise ClusterError("there is no /usr/lib/postgresql/<version>/bin: install Debian's package postgresql")
    return found[-1]


def _newest() -> list[Path]:
    found = Path("/usr/lib/postgresql").glob("*/bin")
    return sorted((one for one in found if (one / "initdb").is_file()), key=lambda one: int(one.parent.name))


class Postgres:
    """One server on loopback; a context manager that starts it and leaves nothing behind.

    Logins need a password (SCRAM). Nothing is flushed to disk: what a crash of the machine would lose is no matter.

    Args:
        listen: addresses beside loopback, such as the one that pods see the host by.
        settings: more of postgresql.conf, `name=value`.
    """

    def __init__(self, *, listen: Sequence[str] = (), settings: Sequence[str] = ()) -> None:
        self.host = "127.0.0.1"
        self.port = free_port()
        self.password = "superuser-of-tests"
        self._addresses = ",".join([self.host, *listen])
        self._settings = list(settings)
        self._folder = Path(tempfile.mkdtemp(prefix="dataops-postgres-"))
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            self._make()
            self.start()
        except BaseException:
            self.remove()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()

    @property
    def log(self) -> str:
        """What the server wrote."""
        path = self._folder / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    @property
    def url(self) -> str:
        """Address of the superuser, with the password."""
        return f"postgresql://{SUPERUSER}:{self.password}@{self.host}:{self.port}/postgres"

    def start(self, within: float = 30) -> None:
        """Start it, or start it again, and wait until it answers."""
        command = [str(programs() / "postgres"), "-D", str(self._data), "-p", str(self.port)]
        values = {
            "listen_addresses": self._addresses,
            "unix_socket_directories": "",
            "fsync": "off",
            "full_page_writes": "off",
            "max_connections": "100",
            "shared_buffers": "16MB",
            "log_timezone": "UTC",
            "timezone": "UTC",
        }
        for setting in [*(f"{name}={value}" for name, value in values.items()), *self._settings]:
            command += ["-c", setting]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=subprocess.STDOUT, cwd=self._folder, **self._identity()
            )
        end = time.monotonic() + within
        while True:
            try:
                self.connect().close()
            except psycopg.OperationalError:
                if self._process.poll() is not None or time.monotonic() > end:
                    raise AssertionError(f"PostgreSQL does not start:\n{self.log[-2000:]}") from None
                time.sleep(0.05)
            else:
                return

    def stop(self, *, crash: bool = False) -> None:
        """Stop it: sessions are ended in order, or (crash) as a power failure would end them."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGCONT)
        self._process.send_signal(signal.SIGQUIT if crash else signal.SIGINT)
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def remove(self) -> None:
        """Stop it and remove its folder."""
        self.stop(crash=True)
        shutil.rmtree(self._folder, ignore_errors=True)

    def connect(self, database: str = "postgres", user: str = "", password: str = "") -> psycopg.Connection[Any]:
        """A session, every statement a transaction of its own; the superuser's unless said otherwise."""
        return psycopg.connect(
            host=self.host,
            port=self.port,
            dbname=database,
            user=user or SUPERUSER,
            password=password or self.password,
            autocommit=True,
            connect_timeout=5,
        )

    @contextlib.contextmanager
    def session(self, database: str = "postgres", user: str = "", password: str = "") -> Iterator[psycopg.Cursor[Any]]:
        """A cursor of a session that is closed afterwards."""
        with self.connect(database, user, password) as connection, connection.cursor() as cursor:
            yield cursor

    def run(self, database: str, *statements: str | sql.SQL | sql.Composed) -> None:
        """Carry out statements as the superuser."""
        with self.session(database) as cursor:
            for statement in statements:
                cursor.execute(statement.encode() if isinstance(statement, str) else statement)

    def rows(self, database: str, query: str, *values: object) -> list[tuple[Any, ...]]:
        """What a query gives, asked by the superuser."""
        with self.session(database) as cursor:
            return cursor.execute(query.encode(), values or None).fetchall()

    def roles(self) -> set[str]:
        """Names of all that may log in."""
        return {str(row[0]) for row in self.rows("postgres", "SELECT rolname FROM pg_roles WHERE rolcanlogin")}

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    def _make(self) -> None:
        initdb = programs() / "initdb"
        secret = self._folder / "password"
        secret.write_text(self.password)
        if identity := self._identity():
            for path in (self._folder, secret):
                shutil.chown(path, identity["user"], identity["group"])
        command = [str(initdb), "-D", str(self._data), "-U", SUPERUSER, "--pwfile", str(secret), "--no-sync"]
        command += ["-A", "scram-sha-256", "-E", "UTF8", "--locale", "C"]
        done = subprocess.run(
            command, capture_output=True, text=True, cwd=self._folder, check=False, **self._identity()
        )
        if done.returncode != 0:
            raise AssertionError(f"initdb failed:\n{done.stderr[-2000:]}")

    def _identity(self) -> dict[str, Any]:
        return {"user": _USER, "group": _USER, "extra_groups": []} if os.geteuid() == 0 else {}
