"""Requests and answers: the connections, the typed errors, and what is tried again.

Reads are tried again on transient failures, and everything is tried again after a 429 with Retry-After, since
it was not carried out. A write whose answer was lost is not repeated: the caller works level-triggered and
looks at the cluster first.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Callable
from typing import Any

import aiohttp
import orjson
from yarl import URL

from dataops_operator.kube.config import Credentials
from dataops_operator.kube.decode import loads
from dataops_operator.kube.errors import ApiError, TooManyRequests, Unauthorized, Unavailable, error_from
from dataops_operator.kube.resources import Resource

Body = dict[str, Any]
Observe = Callable[[str, str, int, float], None]

JSON = "application/json"
RETRIES = 3
FIRST_BACKOFF = 0.1
LONGEST_WAIT = 10.0  # seconds; who is asked to wait longer than this is better served by the work queue


class Transport:
    """Sends requests of one identity to one API server over a bounded pool of connections."""

    def __init__(
        self,
        credentials: Credentials,
        *,
        observe: Observe | None,
        max_connections: int,
        timeout: float,
        user_agent: str,
    ) -> None:
        """Prepare; nothing is sent yet. The arguments are those of `KubeClient`."""
        self._credentials = credentials
        self._observe = observe
        self._max_connections = max_connections
        self._timeout = aiohttp.ClientTimeout(total=timeout)
        self._user_agent = user_agent
        self._ssl = credentials.ssl_context()
        self._server = credentials.server
        self._session: aiohttp.ClientSession | None = None
        self._closed = False

    async def close(self) -> None:
        """Close the connections; calls under way and later ones fail as Unavailable."""
        self._closed = True
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def open_stream(
        self, verb: str, resource: Resource, path: str, *, inactivity: float
    ) -> aiohttp.ClientResponse:
        """Send a GET whose answer is read as it comes; the caller closes it.

        Args:
            verb: for the observer.
            resource: likewise.
            path: with its query, percent-encoded.
            inactivity: seconds without a byte after which reading raises TimeoutError.
        """
        limits = aiohttp.ClientTimeout(total=None, connect=self._timeout.total, sock_read=inactivity)
        for relogin in (True, False):
            started = time.perf_counter()
            status = 0
            try:
                response = await self._http().get(
                    URL(self._server + path, encoded=True),
                    headers=self._credentials.headers(),
                    timeout=limits,
                    allow_redirects=False,
                )
                status = response.status
                if status == 200:
                    return response
                error = error_from(status, await response.read(), response.headers.get("Retry-After"))
            except (aiohttp.ClientError, TimeoutError, OSError) as broken:
                raise unavailable(broken) from broken
            finally:
                self._note(verb, resource, status, started)
            if not (relogin and isinstance(error, Unauthorized)):
                raise error
            self._credentials.refresh()
        raise AssertionError("unreachable")

    async def call(
        self,
        verb: str,
        resource: Resource,
        method: str,
        path: str,
        body: Any = None,
        content_type: str = JSON,
        decode: Callable[[bytes], Body] | None = None,
    ) -> Body:
        """Send one request, again where that is safe, and return the answer's body.

        Args:
            verb: for the observer.
            resource: likewise.
            method: of HTTP.
            path: with its query, percent-encoded.
            body: to be sent as JSON; None for none.
            content_type: of the body.
            decode: reads of the answer what is wanted; what it refuses by a ValueError is read in full.

        Raises:
            ApiError: or one of its subclasses, for any answer but 2xx and for none.
        """
        url = URL(self._server + path, encoded=True)  # paths are encoded already: yarl need not look again
        data = None if body is None else orjson.dumps(body)
        failures = 0
        refused = False
        while True:
            try:
                answer = await self._attempt(verb, resource, method, url, data, content_type)
                return _decoded(answer, decode)
            except Unauthorized:
                if refused:
                    raise
                refused = True
                self._credentials.refresh()
            except (TooManyRequests, Unavailable) as error:
                wait = _wait_before_retry(error, failures, safe=method == "GET")
                if wait is None:
                    raise
                failures += 1
                await asyncio.sleep(wait)

    async def _attempt(
        self, verb: str, resource: Resource, method: str, url: URL, data: bytes | None, content_type: str
    ) -> bytes:
        headers = self._credentials.headers()
        if data is not None:
            headers = headers | {"Content-Type": content_type}
        started = time.perf_counter()
        status = 0
        try:
            response = await self._http().request(
                method, url, data=data, headers=headers, timeout=self._timeout, allow_redirects=False
            )
            answer = await response.read()
            status = response.status
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise unavailable(error) from error
        finally:
            self._note(verb, resource, status, started)
        if not 200 <= status < 300:
            raise error_from(status, answer, response.headers.get("Retry-After"))
        return answer

    def _note(self, verb: str, resource: Resource, status: int, started: float) -> None:
        if self._observe is not None:
            self._observe(verb, resource.plural, status, time.perf_counter() - started)

    def _http(self) -> aiohttp.ClientSession:
        if self._closed:
            raise Unavailable(0, "Closed", "the client was closed")
        if self._session is None:  # made here, since it binds to the running event loop
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    limit=self._max_connections, ssl=self._ssl if self._ssl is not None else True
                ),
                headers={"User-Agent": self._user_agent, "Accept": JSON},
                # Compressing lists costs both sides more CPU than the cluster's network saves.
                skip_auto_headers=("Accept-Encoding",),
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
            )
        return self._session


def _decoded(answer: bytes, decode: Callable[[bytes], Body] | None) -> Body:
    if decode is not None:
        with contextlib.suppress(ValueError):
            return decode(answer)
    try:
        result: Body = loads(answer)
    except orjson.JSONDecodeError as error:
        raise unavailable(error) from error
    return result


def unavailable(error: BaseException) -> Unavailable:
    """Turn what aiohttp or the socket raised into our type: no answer, or none that can be read."""
    what = "Timeout" if isinstance(error, TimeoutError) else type(error).__name__
    return Unavailable(0, what, str(error) or "no answer from the API server in time")


def _wait_before_retry(error: ApiError, failures: int, *, safe: bool) -> float | None:
    """Seconds to wait before the call is tried again; None if it must not be."""
    if failures >= RETRIES or not (safe or (isinstance(error, TooManyRequests) and error.retry_after)):
        return None
    jitter = random.uniform(0.5, 1.5)  # noqa: S311 - spreads load, guards nothing
    backoff = FIRST_BACKOFF * 2.0**failures * jitter
    if error.retry_after is None:
        return backoff
    return error.retry_after + backoff if error.retry_after <= LONGEST_WAIT else None
