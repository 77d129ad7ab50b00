"""A small asynchronous client of a Kubernetes API server, for tests.

It is not the operator's own client, on purpose: a fault in that one must not blind the tests that would
show it.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
import orjson
from multidict import CIMultiDict
from tests.harness.kinds import CRDS, NAMESPACES, SERVICE_ACCOUNTS, Kind

Object = dict[str, Any]
WatchEvent = tuple[str, Object]
"""An event's type (ADDED, MODIFIED, DELETED, BOOKMARK) and its object."""

MERGE_PATCH = "application/merge-patch+json"
RUNNER = "dataops-runner"
NOT_YET_SERVED = (404, 429, 503)


class ApiError(Exception):
    """An answer of the API server that is not a success."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(f"{status} {reason}: {message}")
        self.status = status
        self.reason = reason


class Api:
    """One session with an API server; an asynchronous context manager.

    Args:
        server: its address, `https://127.0.0.1:6443`, or `http://...` of a proxy.
        token: a bearer token, or None for none.
        ca: the file with the server's CA certificate, for https.
        user_agent: what the audit log shows.
        user: who to be, by impersonation, where the token's owner may do that.
        groups: in which groups to be then.
    """

    def __init__(
        self,
        server: str,
        token: str | None = None,
        ca: str | Path | None = None,
        user_agent: str = "dataops-tests",
        user: str | None = None,
        groups: Sequence[str] = (),
    ) -> None:
        self.server = server.rstrip("/")
        self._headers = CIMultiDict({"User-Agent": user_agent, "Accept": "application/json"})
        if token:
            self._headers["Authorization"] = f"Bearer {token}"
        if user:
            self._headers["Impersonate-User"] = user
        for group in groups:
            self._headers.add("Impersonate-Group", group)
        self._tls = ssl.create_default_context(cafile=str(ca)) if ca else None
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(limit=0, ssl=self._tls if self._tls else True)
        self._session = aiohttp.ClientSession(connector=connector, headers=self._headers)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session:
            await self._session.close()

    async def request(
        self,
        method: str,
        path: str,
        body: object = None,
        query: Mapping[str, str] | None = None,
        content_type: str = "application/json",
    ) -> Object:
        """Send one request, with an object or its JSON, and give back the answer's object.

        Raises:
            ApiError: the answer's status is 400 or more.
        """
        raw = await self.raw(method, path, body, query, content_type)
        return orjson.loads(raw) if raw else {}

    async def raw(
        self,
        method: str,
        path: str,
        body: object = None,
        query: Mapping[str, str] | None = None,
        content_type: str = "application/json",
    ) -> bytes:
        """Send one request, as `request` does, for an answer that is no object: a log, metrics.

        Raises:
            ApiError: the answer's status is 400 or more.
        """
        assert self._session, "use `async with Api(...)`"
        data = body if isinstance(body, bytes | None) else orjson.dumps(body)
        headers = {"Content-Type": content_type} if data is not None else None
        timeout = aiohttp.ClientTimeout(total=60)
        for patience in range(50, -1, -1):
            async with self._session.request(
                method, self.server + path, data=data, params=query, headers=headers, timeout=timeout
            ) as answer:
                raw = await answer.read()
                if answer.status < 400:
                    return raw
                # Admission policies learn of a new kind some seconds after it is served.
                if answer.status != 503 or b"There can be a delay" not in raw or not patience:
                    raise _error(answer.status, raw)
            await asyncio.sleep(0.2)
        raise AssertionError("the last answer was given back or raised")

    async def get(self, kind: Kind, namespace: str | None, name: str) -> Object:
        """Read one object."""
        return await self.request("GET", kind.path(namespace, name))

    async def find(self, kind: Kind, namespace: str | None, name: str) -> Object | None:
        """Read one object, None if there is none."""
        try:
            return await self.get(kind, namespace, name)
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    async def list(
        self, kind: Kind, namespace: str | None = None, selector: str = "", fields: str = ""
    ) -> list[Object]:
        """The objects of a kind, of one namespace or of all (None)."""
        return (await self._collection(kind, namespace, selector, fields))["items"]  # type: ignore[no-any-return]

    async def create(self, kind: Kind, namespace: str | None, body: Object) -> Object:
        """Create an object; `apiVersion` and `kind` may be left out of the body."""
        whole = {"apiVersion": kind.group_version, "kind": kind.name, **body}
        return await self.request("POST", kind.path(namespace), whole)

    async def patch(
        self, kind: Kind, namespace: str | None, name: str, body: Object, subresource: str | None = None
    ) -> Object:
        """Change an object, or its subresource (`status`), by a merge patch."""
        path = kind.path(namespace, name, subresource)
        return await self.request("PATCH", path, body, content_type=MERGE_PATCH)

    async def delete(
        self,
        kind: Kind,
        namespace: str | None,
        name: str,
        propagation: str = "Background",
        grace: int | None = None,
    ) -> None:
        """Delete an object; fine if there is none."""
        options: Object = {"propagationPolicy": propagation}
        if grace is not None:
            options["gracePeriodSeconds"] = grace
        try:
            await self.request("DELETE", kind.path(namespace, name), options)
        except ApiError as error:
            if error.status != 404:
                raise

    async def list_then_watch(
        self, kind: Kind, namespace: str | None = None, selector: str = "", fields: str = ""
    ) -> AsyncIterator[WatchEvent]:
        """Every object as it is (type LISTED), then `("SYNCED", {})`, then each change, with no gap.

        A watch that the server ends is taken up where it stood.

        Raises:
            ApiError: 410 when the server no longer has the events since then: the history would have a hole.
        """
        found = await self._collection(kind, namespace, selector, fields)
        for item in found["items"]:
            yield "LISTED", {"apiVersion": kind.group_version, "kind": kind.name, **item}
        version = found["metadata"]["resourceVersion"]
        yield "SYNCED", {}
        while True:
            async for type_, obj in self._watch(kind, namespace, selector, fields, version):
                version = obj["metadata"]["resourceVersion"]
                if type_ != "BOOKMARK":
                    yield type_, obj

    async def _watch(
        self, kind: Kind, namespace: str | None, selector: str, fields: str, version: str
    ) -> AsyncIterator[WatchEvent]:
        assert self._session, "use `async with Api(...)`"
        query = _selectors(selector, fields) | {
            "watch": "true",
            "resourceVersion": version,
            "allowWatchBookmarks": "true",
        }
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=10)
        async with self._session.get(self.server + kind.path(namespace), params=query, timeout=timeout) as answer:
            if answer.status >= 400:
                raise _error(answer.status, await answer.read())
            async for line in lines(answer.content):
                event = orjson.loads(line)
                if event["type"] == "ERROR":
                    raise _error(int(event["object"].get("code", 500)), orjson.dumps(event["object"]))
                yield event["type"], event["object"]

    async def wait_for(
        self,
        kind: Kind,
        namespace: str | None,
        name: str,
        condition: Callable[[Object], bool],
        timeout: float = 30,  # noqa: ASYNC109 - a limit with its own message, which says what was seen last
    ) -> Object:
        """Wait until an object meets a condition, and give it back as it was then.

        Raises:
            AssertionError: it did not within `timeout` seconds; the message carries its last status.
        """
        last: Object = {}
        try:
            async with asyncio.timeout(timeout):
                async for type_, obj in self.list_then_watch(kind, namespace, fields=f"metadata.name={name}"):
                    if type_ in ("SYNCED", "DELETED"):
                        continue
                    last = obj
                    if condition(obj):
                        return obj
        except TimeoutError:
            status = orjson.dumps(last.get("status"), option=orjson.OPT_INDENT_2).decode()
            message = f"{kind.name} {namespace}/{name} did not come to the awaited state in {timeout} s; "
            raise AssertionError(message + (f"its status: {status}" if last else "it does not exist")) from None
        raise AssertionError("the watch ended")

    async def make_namespace(self, name: str, labels: Mapping[str, str] | None = None) -> None:
        """Create a namespace with the ServiceAccount that steps run as."""
        await self.create(NAMESPACES, None, {"metadata": {"name": name, "labels": dict(labels or {})}})
        await self.create(SERVICE_ACCOUNTS, name, {"metadata": {"name": RUNNER}})

    async def install_crds(self, directory: Path) -> None:
        """Create the CRDs of a directory of YAML files and wait until they are served."""
        import yaml

        made = []
        for file in sorted(directory.glob("*.yaml")):  # noqa: ASYNC240 - small local files
            for body in yaml.safe_load_all(file.read_text(encoding="utf-8")):
                if body and body.get("kind") == CRDS.name:
                    await self.create(CRDS, None, body)
                    made.append(body)
        for body in made:
            await self.wait_for(CRDS, None, body["metadata"]["name"], _established)
            version = body["spec"]["versions"][0]["name"]
            kind = Kind(
                body["spec"]["names"]["kind"],
                f"{body['spec']['group']}/{version}",
                body["spec"]["names"]["plural"],
            )
            await self._until_served(kind)

    async def _until_served(self, kind: Kind) -> None:
        deadline = time.monotonic() + 20
        while True:
            try:
                await self.list(kind)
                return
            except ApiError as error:
                if error.status not in NOT_YET_SERVED or time.monotonic() > deadline:
                    raise
            await asyncio.sleep(0.1)

    async def _collection(self, kind: Kind, namespace: str | None, selector: str, fields: str) -> Object:
        return await self.request("GET", kind.path(namespace), query=_selectors(selector, fields))


async def lines(stream: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """The lines of a watch's body, of any length (a StreamReader's own `readline` has a limit)."""
    rest = b""
    async for chunk in stream.iter_any():
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            if line:
                yield line


def condition(obj: Object, type_: str) -> Object:
    """The condition of that type in an object's status, an empty one if it has none."""
    for item in obj.get("status", {}).get("conditions") or ():
        if item["type"] == type_:
            return item  # type: ignore[no-any-return]
    return {}


def _established(crd: Object) -> bool:
    return condition(crd, "Established").get("status") == "True"


def _selectors(selector: str, fields: str) -> dict[str, str]:
    query = {}
    if selector:
        query["labelSelector"] = selector
    if fields:
        query["fieldSelector"] = fields
    return query


def _error(status: int, raw: bytes) -> ApiError:
    try:
        body = orjson.loads(raw)
        return ApiError(status, body.get("reason", ""), body.get("message", ""))
    except (orjson.JSONDecodeError, AttributeError):
        return ApiError(status, "", raw[:200].decode(errors="replace"))
