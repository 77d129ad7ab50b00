"""As much of a Kubernetes client as health checks and the cluster's own objects need."""

from __future__ import annotations

import http.client
import json
import ssl
import urllib.parse
from collections.abc import Iterator
from functools import cached_property
from typing import Any

from localcluster.certs import Authority

Object = dict[str, Any]


class ApiError(Exception):
    """The API server answered with an error; ``code`` is its HTTP status."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code


class Api:
    """HTTPS to one server with a client certificate; a connection a request."""

    def __init__(self, server: str, authority: Authority, leaf: str = "admin") -> None:
        self._where = urllib.parse.urlsplit(server)
        self._authority = authority
        self._leaf = leaf

    @cached_property
    def _context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self._authority.ca))
        cert, key = self._authority.cert(self._leaf), self._authority.key(self._leaf)
        context.load_cert_chain(cert, key)
        return context

    def request(self, method: str, path: str, body: Object | None = None, seconds: float = 5) -> Object:
        """One request; returns the answer as an object (or ``{"text": ...}`` where it is no JSON).

        Raises:
            ApiError: The answer is an error.
            OSError: No answer.
        """
        connection = self._connect(seconds)
        try:
            kind = "application/apply-patch+yaml" if method == "PATCH" else "application/json"
            payload = None if body is None else json.dumps(body).encode()
            connection.request(method, path, payload, {"Content-Type": kind, "Accept": "application/json, */*"})
            answer = connection.getresponse()
            text = answer.read().decode(errors="replace")
            if answer.status >= 400:
                raise ApiError(answer.status, text[:500])
            return json.loads(text) if text.startswith("{") else {"text": text}
        except http.client.HTTPException as error:
            raise ConnectionError(str(error)) from error
        finally:
            connection.close()

    def ok(self, path: str) -> bool:
        """Whether a GET of a health path is answered with success."""
        try:
            self.request("GET", path)
        except ApiError:
            return False
        return True

    def apply(self, path: str, thing: Object) -> Object:
        """Server-side apply of one object at its own path."""
        return self.request("PATCH", f"{path}?fieldManager=localcluster&force=true", thing)

    def watch(self, path: str, seconds: int) -> Iterator[Object]:
        """Events of a collection from now on, for at most ``seconds``; ends quietly at a cut."""
        connection = self._connect(seconds + 5)
        try:
            connection.request("GET", f"{path}?watch=true&timeoutSeconds={seconds}")
            answer = connection.getresponse()
            if answer.status >= 400:
                raise ApiError(answer.status, answer.read(500).decode(errors="replace"))
            for line in answer:
                yield json.loads(line)
        except http.client.HTTPException as error:
            raise ConnectionError(str(error)) from error
        finally:
            connection.close()

    def _connect(self, seconds: float) -> http.client.HTTPSConnection:
        host, port = self._where.hostname or "", self._where.port
        return http.client.HTTPSConnection(host, port, timeout=seconds, context=self._context)


def http_ok(url: str) -> bool:
    """Whether a plain HTTP GET is answered with success."""
    where = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=5)
    try:
        connection.request("GET", where.path)
        return connection.getresponse().status < 400
    except http.client.HTTPException:
        return False
    finally:
        connection.close()
