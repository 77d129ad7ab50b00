"""A thin client of the Kubernetes API: dicts in, dicts out, one method a verb.

`transport` says which calls are tried again, and how errors come back.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from types import TracebackType
from typing import Any
from urllib.parse import urlencode

import aiohttp
import orjson

from dataops_operator.kube.config import Credentials
from dataops_operator.kube.decode import Shape, loads
from dataops_operator.kube.errors import Gone, error_from
from dataops_operator.kube.lines import LineBuffer
from dataops_operator.kube.resources import SERVICE_ACCOUNTS, TOKENS, Resource
from dataops_operator.kube.transport import Body, Observe, Transport, unavailable

MERGE_PATCH = "application/merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"
PAGE = 500


class KubeClient:
    """Calls to one API server over a bounded pool of connections. Use it as `async with`, or `close` it."""

    def __init__(
        self,
        credentials: Credentials,
        *,
        observe: Observe | None = None,
        max_connections: int = 64,
        timeout: float = 30.0,
        user_agent: str = "dataops-operator",
    ) -> None:
        """Prepare a client; nothing is sent yet.

        Args:
            credentials: the server and who we are there.
            observe: told verb, plural of the kind, HTTP status (0 without an answer) and seconds of every
                attempt.
            max_connections: open at once, watches included; calls beyond wait, within their timeout.
            timeout: seconds for one attempt.
            user_agent: the part before a slash is also the field manager of what we write.

        Raises:
            ConfigError: for certificates that cannot be used.
        """
        self._transport = Transport(
            credentials,
            observe=observe,
            max_connections=max_connections,
            timeout=timeout,
            user_agent=user_agent,
        )

    async def __aenter__(self) -> KubeClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections; calls under way fail as Unavailable."""
        await self._transport.close()

    async def get(self, resource: Resource, namespace: str | None, name: str) -> Body:
        """Read one object.

        Raises:
            NotFound: if there is none. Every method raises ApiError or one of its subclasses.
        """
        return await self._transport.call("get", resource, "GET", resource.path(namespace, name))

    async def list(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        label_selector: str | None = None,
        field_selector: str | None = None,
        limit: int | None = None,
        resource_version: str | None = None,
        continue_token: str | None = None,
        shape: Shape | None = None,
    ) -> Body:
        """Read one page of a collection, as the API's List; its items have apiVersion and kind filled in.

        Args:
            resource: the kind.
            namespace: None for all namespaces.
            label_selector: such as ``a=b,c``.
            field_selector: such as ``spec.pipelineName=x``.
            limit: of items in the page; `metadata.continue` then leads on.
            resource_version: None reads the newest state; ``"0"`` takes any that the server has at hand.
            continue_token: of the page before.
            shape: what is read of the items, if not all.
        """
        path = resource.path(namespace) + _query(
            labelSelector=label_selector,
            fieldSelector=field_selector,
            limit=limit,
            resourceVersion=resource_version,
            **{"continue": continue_token},
        )
        page = await self._transport.call("list", resource, "GET", path, decode=shape.page if shape else None)
        for item in page["items"]:
            item.setdefault("apiVersion", resource.api_version)
            item.setdefault("kind", resource.kind)
        return page

    async def pages(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        label_selector: str | None = None,
        field_selector: str | None = None,
        limit: int = PAGE,
        shape: Shape | None = None,
    ) -> AsyncIterator[Body]:
        """Read a whole collection page by page, all of one and the same resourceVersion.

        Raises:
            Gone: if that version became too old on the way. What was yielded is then no complete list.
        """
        token: str | None = None
        while True:
            page = await self.list(
                resource,
                namespace,
                label_selector=label_selector,
                field_selector=field_selector,
                limit=limit,
                continue_token=token,
                shape=shape,
            )
            yield page
            token = page["metadata"].get("continue")
            if not token:
                return

    async def list_all(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        label_selector: str | None = None,
        field_selector: str | None = None,
    ) -> Body:
        """Read a whole collection as one List object of one resourceVersion, however many pages it takes."""
        whole: Body = {}
        try:
            async for page in self.pages(
                resource, namespace, label_selector=label_selector, field_selector=field_selector
            ):
                if whole:
                    whole["items"].extend(page["items"])
                else:
                    whole = page
        except Gone:
            # The version went out of date between two pages: one unpaged answer cannot.
            whole = await self.list(resource, namespace, label_selector=label_selector, field_selector=field_selector)
        for paging in ("continue", "remainingItemCount"):
            whole["metadata"].pop(paging, None)
        return whole

    async def create(self, resource: Resource, namespace: str | None, body: Mapping[str, Any]) -> Body:
        """Create an object and return it as the server keeps it.

        Raises:
            AlreadyExists: if the name is taken.
            Unavailable: it may or may not have been created.
        """
        return await self._transport.call("create", resource, "POST", resource.path(namespace), body)

    async def create_token(self, namespace: str, account: str, audience: str, seconds: int) -> str:
        """Have a token made for a ServiceAccount (TokenRequest).

        Args:
            namespace: of the ServiceAccount.
            account: its name.
            audience: whom the token is for; nobody else takes it. Empty for the API server itself.
            seconds: its life, at least 600.
        """
        spec = {"audiences": [audience] if audience else [], "expirationSeconds": seconds}
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
        path = SERVICE_ACCOUNTS.path(namespace, account, "token")
        made = await self._transport.call("create", TOKENS, "POST", path, body)
        return str(made["status"]["token"])

    async def patch(
        self,
        resource: Resource,
        namespace: str | None,
        name: str,
        body: Any,
        *,
        subresource: str | None = None,
        content_type: str = MERGE_PATCH,
    ) -> Body:
        """Change part of an object; a `metadata.resourceVersion` in a merge patch makes it conditional.

        Raises:
            Conflict: if the resourceVersion in the patch is not the current one.
        """
        path = resource.path(namespace, name, subresource)
        return await self._transport.call("patch", resource, "PATCH", path, body, content_type)

    async def replace(
        self,
        resource: Resource,
        namespace: str | None,
        name: str,
        body: Mapping[str, Any],
        *,
        subresource: str | None = None,
    ) -> Body:
        """Write a whole object over the one that is there, if it is still of the body's resourceVersion.

        Raises:
            Conflict: if it is not.
        """
        return await self._transport.call("update", resource, "PUT", resource.path(namespace, name, subresource), body)

    async def apply(
        self,
        resource: Resource,
        namespace: str | None,
        name: str,
        body: Mapping[str, Any],
        *,
        field_manager: str,
        force: bool = False,
        subresource: str | None = None,
    ) -> Body:
        """Create or change an object by server-side apply.

        Args:
            resource: the kind.
            namespace: of the object.
            name: of the object.
            body: every field that this manager wants, with apiVersion, kind and name; those it left out are
                given up.
            field_manager: in whose name.
            force: take fields over from other managers.
            subresource: such as ``status``.

        Raises:
            Conflict: if another manager owns one of the fields and force is not set.
        """
        path = resource.path(namespace, name, subresource)
        path += _query(fieldManager=field_manager, force="true" if force else None)
        return await self._transport.call("apply", resource, "PATCH", path, body, APPLY_PATCH)

    async def delete(
        self,
        resource: Resource,
        namespace: str | None,
        name: str,
        *,
        propagation: str = "Background",
        uid: str | None = None,
        version: str | None = None,
        grace: int | None = None,
    ) -> Body:
        """Delete an object; the answer is the object on its way out, or a Status.

        Args:
            resource: the kind.
            namespace: of the object.
            name: of the object.
            propagation: what becomes of what it owns: Background, Foreground or Orphan.
            uid: delete only the object of this UID, not a later one of the same name.
            version: delete the object only as it is at this resourceVersion, not as somebody has changed it since.
            grace: seconds that a pod may take to end.

        Raises:
            Conflict: if the object of that name has another UID or version.
            NotFound: if there is none.
        """
        options: Body = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": propagation}
        conditions = {"uid": uid, "resourceVersion": version}
        if any(conditions.values()):
            options["preconditions"] = {key: value for key, value in conditions.items() if value is not None}
        if grace is not None:
            options["gracePeriodSeconds"] = grace
        return await self._transport.call("delete", resource, "DELETE", resource.path(namespace, name), options)

    async def watch(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        label_selector: str | None = None,
        resource_version: str | None = None,
        timeout: float = 300.0,  # noqa: ASYNC109 - asked of the server, which ends the stream in order
        inactivity: float = 90.0,
        shape: Shape | None = None,
    ) -> AsyncGenerator[tuple[str, Body], None]:
        """Follow the changes after a version: ADDED, MODIFIED, DELETED and BOOKMARK, each with its object.

        Close it (`contextlib.aclosing`) when leaving it early, so that its connection does not stay.

        Args:
            resource: the kind.
            namespace: None for all namespaces.
            label_selector: the server leaves out objects that do not match; one that stops matching is
                DELETED.
            resource_version: of the list or event to go on from.
            timeout: seconds after which the server shall end the stream; the iteration then simply ends.
            inactivity: seconds without a byte after which the connection counts as dead. The server sends a
                bookmark about once a minute.
            shape: what is read of the objects, if not all.

        Raises:
            Gone: if the version is too old, at the start or later: list again.
            Unavailable: if the stream broke; go on from the last version seen.
        """
        path = resource.path(namespace) + _query(
            watch="true",
            allowWatchBookmarks="true",
            labelSelector=label_selector,
            resourceVersion=resource_version,
            timeoutSeconds=max(1, int(timeout)),
        )
        response = await self._transport.open_stream("watch", resource, path, inactivity=inactivity)
        buffer = LineBuffer()
        try:
            async for chunk in response.content.iter_any():
                for line in buffer.feed(chunk):
                    kind, item = _event(line, shape)
                    if kind == "ERROR":
                        raise error_from(int(item.get("code") or 0), item)
                    yield kind, item
        except (aiohttp.ClientError, TimeoutError, OSError, orjson.JSONDecodeError) as error:
            raise unavailable(error) from error
        finally:
            response.close()


def _event(line: bytes, shape: Shape | None) -> tuple[str, Body]:
    if shape is not None:
        with contextlib.suppress(ValueError):
            return shape.event(line)
    event = loads(line)
    return event["type"], event["object"]


def _query(**parameters: str | int | None) -> str:
    given = {name: value for name, value in parameters.items() if value is not None}
    return f"?{urlencode(given)}" if given else ""
