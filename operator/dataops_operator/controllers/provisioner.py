"""The objects that Environments make: watched by their label, made where they are missing, mended, removed.

Whose an object is stands in its label with the environment's uid, and nowhere else. What does not carry it is never
changed and never deleted: an object is made by a create, which cannot touch another, and mended by a patch that holds
only for the version that was read, label included.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ..api.conditions import Reason, Type
from ..core.drift import mend, must_be_remade
from ..core.names import ENVIRONMENT_LABEL, ENVIRONMENT_UID_LABEL, PROJECT_LABEL
from ..core.provision import Piece, Place
from ..kube.cache import Store
from ..kube.client import KubeClient
from ..kube.errors import AlreadyExists, ApiError, Conflict, Forbidden, NotFound
from ..kube.resources import (
    LIMIT_RANGES,
    NAMESPACES,
    NETWORK_POLICIES,
    PERSISTENT_VOLUME_CLAIMS,
    RESOURCE_QUOTAS,
    ROLE_BINDINGS,
    SERVICE_ACCOUNTS,
    Resource,
)
from ..kube.watch import Informer
from .keys import Key
from .world import Object

logger = logging.getLogger(__name__)

MADE: Final[Mapping[str, Resource]] = {
    one.kind: one
    for one in (
        SERVICE_ACCOUNTS,
        ROLE_BINDINGS,
        RESOURCE_QUOTAS,
        LIMIT_RANGES,
        NETWORK_POLICIES,
        PERSISTENT_VOLUME_CLAIMS,
    )
}
"""What an environment makes inside its execution namespace, by kind."""

BY_ENVIRONMENT: Final = "environment"
_KEPT: Final = ("PersistentVolumeClaim",)
"""Kinds of which nothing is removed because a spec no longer names it: that would be its data."""
_USED_AS_IT_IS: Final = ("ServiceAccount",)
"""Kinds of which one that somebody else made serves as well."""
_SOON: Final = 0.5
_LATER: Final = 30.0
_HOPELESS: Final = 300.0
"""Seconds until something is looked at again that ends by itself, that a person may have mended elsewhere, or that the
API server will not take until the spec changes."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why an object is not as it should be.

    Attributes:
        reason: for the condition.
        message: for people.
        stalled: whether a person must act.
        retry: seconds until it is looked at again.
        harmless: whether the environment does with it as it is.
    """

    reason: Reason
    message: str
    stalled: bool = False
    retry: float = _LATER
    harmless: bool = False


def uid_of(obj: Object) -> str:
    """The uid of the environment whose an object is; empty where it is nobody's."""
    return str((obj["metadata"].get("labels") or {}).get(ENVIRONMENT_UID_LABEL, ""))


class Provisioner:
    """Has what environments make, and keeps it as it should be."""

    def __init__(self, client: KubeClient, look_again: Callable[[Key], None]) -> None:
        """Begin with nothing known.

        Args:
            client: to read and write with.
            look_again: told the Environment of an object that changed under somebody else's hand.
        """
        self._client = client
        self._look_again = look_again
        self.namespaces = self._store(NAMESPACES)
        self._stores = {kind: self._store(resource) for kind, resource in MADE.items()}

    def _store(self, resource: Resource) -> Store:
        store = Store(resource, transform=_content)
        store.index(BY_ENVIRONMENT, lambda item: filter(None, (uid_of(item),)))
        return store

    def informers(self, namespaces: Sequence[str], resync: float) -> list[Informer]:
        """Watches on everything that carries the label of an environment.

        Args:
            namespaces: to watch; empty for the whole cluster. The namespaces themselves are watched only there, since
                a right to see some of them alone cannot be given.
            resync: seconds between lists beside the watches.
        """
        stores = [*self._stores.values(), *([] if namespaces else [self.namespaces])]
        return [
            Informer(
                self._client,
                store.resource,
                store,
                self._changed,
                namespace=namespace,
                label_selector=ENVIRONMENT_UID_LABEL,
                resync=resync,
            )
            for namespace in namespaces or (None,)
            for store in stores
        ]

    def _changed(self, before: Object | None, after: Object | None) -> None:
        """Have the environment looked at whose object changed; our own writes are in the store before their news."""
        for one in (before, after):
            labels = (one or {"metadata": {}})["metadata"].get("labels") or {}
            if PROJECT_LABEL in labels and ENVIRONMENT_LABEL in labels:
                self._look_again(Key("Environment", labels[PROJECT_LABEL], labels[ENVIRONMENT_LABEL]))
                return

    # To have.

    async def ensure(self, pieces: Iterable[Piece], place: Place) -> dict[Type, list[Trouble]]:
        """Have every object as it should be; what stands in the way, by the part that it belongs to.

        Raises:
            ApiError: it cannot be known how some stand; the next try finds out.
        """
        wanted = list(pieces)
        outcomes = await asyncio.gather(*(self._ensure(piece, place) for piece in wanted))
        troubles: dict[Type, list[Trouble]] = {}
        for piece, outcome in zip(wanted, outcomes, strict=True):
            if outcome is not None:
                troubles.setdefault(piece.part, []).append(outcome)
        return troubles

    async def _ensure(self, piece: Piece, place: Place) -> Trouble | None:
        held = self._stores[piece.kind].get(place.execution, piece.name)
        if held is not None and _stands(piece, held, place):
            return None
        try:
            return await self._mend(piece, place)
        except (AlreadyExists, Conflict):
            text = f"{_named(piece, place)} was written by somebody else at the same moment; looking again"
            return Trouble(Reason.PROVISIONING, text, retry=_SOON)
        except ApiError as error:
            if not 400 <= error.status < 500 or error.status in (401, 408, 429):
                raise
            return _refused(piece, place, error)

    async def _mend(self, piece: Piece, place: Place) -> Trouble | None:
        """Read one object live, and make or mend it."""
        resource, store = MADE[piece.kind], self._stores[piece.kind]
        try:
            live = await self._client.get(resource, place.execution, piece.name)
        except NotFound:
            store.put(await self._client.create(resource, place.execution, piece.body))
            return None
        if uid_of(live) != place.uid:
            return _foreign(piece, place)
        if "deletionTimestamp" in live["metadata"]:
            text = f"{_named(piece, place)} is being deleted, and is made again once it is gone"
            return Trouble(Reason.PROVISIONING, text, retry=_SOON)
        if must_be_remade(piece.body, live):
            await self._client.delete(resource, place.execution, piece.name, uid=live["metadata"]["uid"])
            store.put(await self._client.create(resource, place.execution, piece.body))
            return None
        patch = mend(piece.body, live)
        if patch:
            patch["metadata"] = {**patch.get("metadata", {}), "resourceVersion": live["metadata"]["resourceVersion"]}
            live = await self._client.patch(resource, place.execution, piece.name, patch)
            logger.info("Mended %s of environment %s/%s", _named(piece, place), place.project, place.name)
        store.put(live)
        return None

    # To have no longer.

    async def prune(self, pieces: Iterable[Piece], place: Place) -> list[str]:
        """Delete what the environment made and no longer wants; names of claims that it leaves, since data is in them.

        Raises:
            ApiError: something could not be deleted now.
        """
        wanted = {(piece.kind, piece.name) for piece in pieces}
        left: list[str] = []
        for kind, store in self._stores.items():
            for held in store.by_index(BY_ENVIRONMENT, place.uid):
                meta = held["metadata"]
                if (kind, meta["name"]) in wanted or meta["namespace"] != place.execution:
                    continue
                if kind in _KEPT:
                    left.append(meta["name"])
                elif "deletionTimestamp" not in meta:
                    await self._delete(store, held)
        return sorted(left)

    async def remove(self, place: Place) -> list[str]:
        """Delete everything that the environment made inside its namespace; what is still there, as `kind/name`.

        Raises:
            ApiError: it could not be read, or not be deleted.
        """
        left: list[str] = []
        for kind, store in self._stores.items():
            selector = f"{ENVIRONMENT_UID_LABEL}={place.uid}"
            found = await self._client.list_all(store.resource, place.execution, label_selector=selector)
            for item in found["items"]:
                left.append(f"{kind}/{item['metadata']['name']}")
                if "deletionTimestamp" not in item["metadata"]:
                    await self._delete(store, item)
        return left

    async def _delete(self, store: Store, item: Object) -> None:
        meta = item["metadata"]
        with contextlib.suppress(NotFound, Conflict):  # gone, or another one by now
            await self._client.delete(store.resource, meta["namespace"], meta["name"], uid=meta["uid"])


def _content(item: dict[str, Any]) -> dict[str, Any]:
    """An object without what is not compared: its status changes with every pod that counts against a quota."""
    item.pop("status", None)
    item["metadata"].pop("managedFields", None)
    return item


def _stands(piece: Piece, held: Object, place: Place) -> bool:
    return (
        uid_of(held) == place.uid
        and "deletionTimestamp" not in held["metadata"]
        and not must_be_remade(piece.body, held)
        and not mend(piece.body, held)
    )


def _named(piece: Piece, place: Place) -> str:
    return f"{piece.kind} {piece.name} in namespace {place.execution}"


def _foreign(piece: Piece, place: Place) -> Trouble:
    named = _named(piece, place)
    if piece.kind in _USED_AS_IT_IS:
        return Trouble(Reason.PROVISIONED, f"{named} was there and is used as it is", harmless=True)
    text = f"{named} was not made by this environment and is left as it is; delete or rename it"
    return Trouble(Reason.FOREIGN_OBJECT, text, stalled=True)


def _refused(piece: Piece, place: Place, error: ApiError) -> Trouble:
    if isinstance(error, Forbidden) and "NamespaceTerminating" in error.causes:
        text = f"namespace {place.execution} is being deleted; it is made again once it is gone"
        return Trouble(Reason.NAMESPACE_TERMINATING, text, retry=_SOON)
    if isinstance(error, NotFound):
        return Trouble(Reason.NAMESPACE_TERMINATING, f"namespace {place.execution} is gone", retry=_SOON)
    text = f"the API server refuses {_named(piece, place)}: {error.message}"
    if isinstance(error, Forbidden):
        return Trouble(Reason.OBJECT_REFUSED, text)
    return Trouble(Reason.OBJECT_REFUSED, text, stalled=True, retry=_HOPELESS)
