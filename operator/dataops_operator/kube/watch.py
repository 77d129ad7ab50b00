"""List and watch: keeps a Store equal to what the cluster holds, and says what changed.

A watch alone is not enough. It can lose its place (410, then the gap must be found by a list and its
difference, deletions included) and it can go silent without an error (then the missing bookmarks tell). A
list from time to time, beside the running watch, mends whatever else went wrong; the Store's ordering
makes the two safe together.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable
from contextlib import aclosing

from dataops_operator.kube.cache import Change, Object, Store
from dataops_operator.kube.client import PAGE, KubeClient
from dataops_operator.kube.errors import ApiError, Gone, Unavailable
from dataops_operator.kube.resources import Resource

logger = logging.getLogger(__name__)

OnChange = Callable[[Object | None, Object | None], None]

FIRST_BACKOFF = 0.1
LONGEST_BACKOFF = 30.0
WATCH_TIMEOUT = 300.0
"""Seconds, give or take a fifth, after which the server ends a watch, so that its load can spread anew."""


async def reconcile_store(
    client: KubeClient,
    resource: Resource,
    store: Store,
    on_change: OnChange,
    *,
    namespace: str | None = None,
    label_selector: str | None = None,
) -> str:
    """List a kind, make the store equal to it and report the difference; safe beside a running watch.

    Args:
        client: to list with.
        resource: the kind.
        store: of that kind; objects of other namespaces than the one given are left alone.
        on_change: told each difference as (held before, held now), either of them None.
        namespace: None for all namespaces.
        label_selector: of all objects that the store may hold.

    Returns:
        The list's resourceVersion, from which a watch goes on.

    Raises:
        ApiError: if the list could not be read to its end; what was read of it is then in the store and
            reported, and nothing was removed.
    """
    for limit in (PAGE, 0):
        seen: set[str] = set()
        version = ""
        try:
            async for page in client.pages(
                resource, namespace, label_selector=label_selector, limit=limit, shape=store.shape
            ):
                version = version or page["metadata"]["resourceVersion"]
                # Page by page, so that a large list is never in memory as a whole beside the store.
                _report(store.merge(page["items"], seen), on_change)
            break
        except Gone:
            if not limit:
                raise
            # The pages' common version went out of date: one unpaged answer cannot.
    _report(store.prune(seen, version, namespace=namespace), on_change)
    return version


class Informer:
    """Follows one kind for as long as its `run` does.

    Attributes:
        synced: set once the first list is in the store.
        last_activity: monotonic time of the last sign of life (list, event or bookmark) from the server.
    """

    def __init__(
        self,
        client: KubeClient,
        resource: Resource,
        store: Store,
        on_change: OnChange,
        *,
        namespace: str | None = None,
        label_selector: str | None = None,
        resync: float = 600.0,
        inactivity: float = 90.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare; `run` does the work.

        Args:
            client: to list and watch with.
            resource: the kind.
            store: kept up to date; may be shared by informers of one kind for several namespaces.
            on_change: told (held before, held now) after each change of the store. Must be quick. What it
                raises is logged and dropped, so that one object cannot stop the others.
            namespace: None for all namespaces.
            label_selector: the server sends only what matches.
            resync: seconds between lists beside the watch, give or take a tenth.
            inactivity: seconds without a byte after which a watch counts as dead.
            clock: monotonic seconds.
        """
        self._client = client
        self._resource = resource
        self._store = store
        self._on_change = on_change
        self._namespace = namespace
        self._label_selector = label_selector
        self._resync = resync
        self._inactivity = inactivity
        self._clock = clock
        self._version: str | None = None
        self._failures = 0
        self.synced = asyncio.Event()
        self.last_activity = clock()

    async def run(self) -> None:
        """Follow the kind until cancelled; no failure of the server's ends it."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow(), name=f"watch-{self._resource.plural}")
            group.create_task(self._list_now_and_then(), name=f"resync-{self._resource.plural}")

    async def _follow(self) -> None:
        while True:
            wait = 0.0
            try:
                if self._version is None:
                    self._version = await self._list()
                    self.synced.set()
                await self._watch()
            except Gone as error:
                logger.info("Watch of %s lost its place, listing again: %s", self._resource.plural, error)
                self._version = None
            except ApiError as error:
                logger.warning("Watch of %s is interrupted: %s", self._resource.plural, error)
                wait = error.retry_after or 0.0
            except Exception:
                # Not the server's doing, yet giving up would leave the operator blind.
                logger.exception("Watch of %s failed, listing again", self._resource.plural)
                self._version = None
            else:
                continue
            self._failures += 1
            backoff = min(LONGEST_BACKOFF, FIRST_BACKOFF * 2.0 ** min(self._failures - 1, 16))
            await asyncio.sleep(max(wait, backoff * random.uniform(0.5, 1.0)))  # noqa: S311 - spreads load

    async def _list_now_and_then(self) -> None:
        await self.synced.wait()
        while True:
            await asyncio.sleep(self._resync * random.uniform(0.9, 1.1))  # noqa: S311
            try:
                await self._list()
            except ApiError as error:
                logger.warning("List of %s failed, the next is due in time: %s", self._resource.plural, error)
            except Exception:
                logger.exception("List of %s failed, the next is due in time", self._resource.plural)

    async def _list(self) -> str:
        version = await reconcile_store(
            self._client,
            self._resource,
            self._store,
            self._on_change,
            namespace=self._namespace,
            label_selector=self._label_selector,
        )
        self.last_activity = self._clock()
        return version

    async def _watch(self) -> None:
        """Follow one stream to its orderly end, keeping `_version` at the last event."""
        started = self._clock()
        alive = False
        stream = self._client.watch(
            self._resource,
            self._namespace,
            label_selector=self._label_selector,
            resource_version=self._version,
            timeout=WATCH_TIMEOUT * random.uniform(0.8, 1.2),  # noqa: S311
            inactivity=self._inactivity,
            shape=self._store.shape,
        )
        async with aclosing(stream):
            async for kind, item in stream:
                alive = True
                self._failures = 0
                self.last_activity = self._clock()
                self._take(kind, item)
                self._version = item["metadata"]["resourceVersion"]
        if not alive and self._clock() - started < 1.0:
            raise Unavailable(0, "ShortWatch", "the stream ended at once")  # do not open it in a tight loop
        self._failures = 0

    def _take(self, kind: str, item: Object) -> None:
        if kind in ("ADDED", "MODIFIED"):
            change = self._store.put(item)
            if change is not None:
                _report([change], self._on_change)
        elif kind == "DELETED":
            held = self._store.take(item)
            if held is not None:
                _report([(held, None)], self._on_change)


def _report(changes: list[Change], on_change: OnChange) -> None:
    for old, new in changes:
        try:
            on_change(old, new)
        except Exception:
            metadata = (new or old or {}).get("metadata", {})
            logger.exception(
                "A change of %s/%s could not be passed on", metadata.get("namespace"), metadata.get("name")
            )
