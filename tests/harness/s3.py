"""A real S3 server of a test's own: versitygw over a folder, with accounts and bucket policies."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

import obstore
from obstore.store import S3Store
from tests.harness.ports import free_port

from localcluster import binaries

REGION = "us-east-1"
ROOT = ("root-of-tests", "root-secret-of-tests")
"""Access key and secret key of who may do everything."""


class S3Server:
    """One server on loopback; a context manager that starts it and leaves nothing behind.

    Args:
        accounts: secret keys by access key; what each may do is said by `allow`.
        listen: addresses beside loopback, such as the one that pods see the host by.
    """

    def __init__(self, accounts: Mapping[str, str] | None = None, *, listen: Sequence[str] = ()) -> None:
        self.host = "127.0.0.1"
        self.port = free_port()
        self.accounts = dict(accounts or {})
        self._addresses = [self.host, *listen]
        memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # thousands of small files are slow on disks
        self._folder = Path(tempfile.mkdtemp(prefix="dataops-s3-", dir=memory))
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            for name in ("data", "iam", "meta"):
                (self._folder / name).mkdir()
            users = {
                access: {"access": access, "secret": secret, "role": "user", "userID": 0, "groupID": 0, "projectID": 0}
                for access, secret in self.accounts.items()
            }
            (self._folder / "iam" / "users.json").write_text(json.dumps({"accessAccounts": users}))
            self.start()
        except BaseException:
            self.remove()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()

    @property
    def endpoint(self) -> str:
        """Its address."""
        return f"http://{self.host}:{self.port}"

    @property
    def log(self) -> str:
        """What the server wrote."""
        path = self._folder / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def start(self, within: float = 30) -> None:
        """Start it, or start it again, and wait until it answers."""
        command = [str(binaries.ensure("s3") / "versitygw")]
        for address in self._addresses:
            command += ["--port", f"{address}:{self.port}"]
        command += ["--iam-dir", str(self._folder / "iam"), "--health", "/healthz", "--region", REGION, "--quiet"]
        command += ["posix", "--sidecar", str(self._folder / "meta"), str(self._folder / "data")]
        environment = {"PATH": os.environ["PATH"], "ROOT_ACCESS_KEY": ROOT[0], "ROOT_SECRET_KEY": ROOT[1]}
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=subprocess.STDOUT, cwd=self._folder, env=environment
            )
        end = time.monotonic() + within
        while not self._healthy():
            if self._process.poll() is not None or time.monotonic() > end:
                raise AssertionError(f"versitygw does not start:\n{self.log[-2000:]}")
            time.sleep(0.05)

    def stop(self) -> None:
        """Stop it; its folder stays."""
        if self._process is None:
            return
        self._process.kill()  # asked to end, it waits for clients that keep their connections
        self._process.wait()
        self._process = None

    def remove(self) -> None:
        """Stop it and remove its folder."""
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def bucket(self, name: str) -> None:
        """Make a bucket."""
        self._call("PUT", f"/{name}")

    def allow(self, bucket: str, rights: Mapping[str, Sequence[tuple[str, str]]]) -> None:
        """Say who may do what with a bucket.

        Args:
            bucket: its name.
            rights: by access key, actions such as `s3:GetObject`, each with what it is about: `*` for all objects, or
                empty for the bucket itself.
        """
        statements = [
            {
                "Effect": "Allow",
                "Principal": {"AWS": [access]},
                "Action": [action],
                "Resource": [f"arn:aws:s3:::{bucket}/{about}" if about else f"arn:aws:s3:::{bucket}"],
            }
            for access, actions in rights.items()
            for action, about in actions
        ]
        policy = {"Version": "2012-10-17", "Statement": statements}
        self._call("PUT", f"/{bucket}", "policy=", json.dumps(policy).encode())

    def store(self, bucket: str, account: str = "") -> S3Store:
        """A client of a bucket; root's unless said otherwise."""
        access, secret = (account, self.accounts[account]) if account else ROOT
        return S3Store(
            bucket,
            endpoint=self.endpoint,
            region=REGION,
            access_key_id=access,
            secret_access_key=secret,
            client_options={"allow_http": True},
        )

    def put(self, bucket: str, objects: Mapping[str, bytes]) -> None:
        """Write objects as root."""
        store = self.store(bucket)
        for key, body in objects.items():
            obstore.put(store, key, body)

    def put_folder(self, bucket: str, key: str) -> None:
        """Write an empty object whose key ends in '/', which the client library cannot."""
        self._call("PUT", quote(f"/{bucket}/{key}", safe="/-_.~"))

    def objects(self, bucket: str, prefix: str = "") -> dict[str, int]:
        """Sizes in bytes of all objects under a prefix, by key."""
        return {one["path"]: one["size"] for one in obstore.list(self.store(bucket), prefix or None).collect()}

    def _healthy(self) -> bool:
        connection = http.client.HTTPConnection(self.host, self.port, timeout=2)
        try:
            connection.request("GET", "/healthz")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()

    def _call(self, method: str, path: str, query: str = "", body: bytes = b"") -> None:
        """A request of root's, signed (AWS Signature Version 4), for what the client library does not know."""
        now = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        host, digest = f"{self.host}:{self.port}", hashlib.sha256(body).hexdigest()
        headers = {"host": host, "x-amz-content-sha256": digest, "x-amz-date": now}
        lines = "".join(f"{name}:{value}\n" for name, value in headers.items())
        request = "\n".join([method, path, query, lines, ";".join(headers), digest])
        scope = f"{now[:8]}/{REGION}/s3/aws4_request"
        text = "\n".join(["AWS4-HMAC-SHA256", now, scope, hashlib.sha256(request.encode()).hexdigest()])
        key = f"AWS4{ROOT[1]}".encode()
        for part in scope.split("/"):
            key = hmac.digest(key, part.encode(), "sha256")
        signature = hmac.digest(key, text.encode(), "sha256").hex()
        credential = f"Credential={ROOT[0]}/{scope}, SignedHeaders={';'.join(headers)}, Signature={signature}"
        sent: dict[str, Any] = headers | {"authorization": f"AWS4-HMAC-SHA256 {credential}"}
        connection = http.client.HTTPConnection(self.host, self.port, timeout=10)
        try:
            connection.request(method, path + (f"?{query}" if query else ""), body, sent)
            answer = connection.getresponse()
            said = answer.read()
        finally:
            connection.close()
        assert answer.status < 300, f"{method} {path}: {answer.status} {said[:500]!r}"
