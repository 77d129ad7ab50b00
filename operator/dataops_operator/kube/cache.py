"""What we know of a kind's objects: the newest version seen of each, indexed, and never an older one again.

Objects come in from three sides (lists, watch events, the answers to our own writes) in any order. Kubernetes
promises since 1.35 that the resourceVersions of one kind compare as integers (KEP-5504), so the larger one
is the newer; etcd has always numbered them so. A UID that was removed is remembered for a while, so that a
late event or answer does not bring the object back.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from dataops_operator.kube.decode import Shape
from dataops_operator.kube.resources import Resource

Object = dict[str, Any]
Change = tuple[Object | None, Object | None]
"""What was held before and is held now; None for nothing."""

TOMBSTONE_AGE = 300.0
_OWNER = "owner"


class Store:
    """The objects of one kind. Those it gives out are shared: nobody may change them."""

    def __init__(
        self,
        resource: Resource,
        *,
        transform: Callable[[Object], Object] | None = None,
        wanted: Callable[[Object], bool] | None = None,
        shape: Shape | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Make an empty store.

        Args:
            resource: the kind it is for.
            transform: applied to each object on entry; it may change the object in place and must keep what
                identifies it (name, namespace, uid, resourceVersion, ownerReferences).
            shape: what lists and watches read of the objects, if not all; no less than `transform` keeps.
            wanted: whether a transformed object is held at all; what stops being wanted is let go of, for good.
            clock: monotonic seconds, for the age of what is remembered of removed objects.
        """
        self.resource = resource
        self.shape = shape
        self._transform = transform
        self._wanted = wanted
        self._clock = clock
        self._objects: dict[tuple[str, str], Object] = {}
        self._uids: dict[str, Object] = {}
        self._tombstones: dict[str, float] = {}  # oldest first
        self._index_functions: dict[str, Callable[[Object], Iterable[str]]] = {}
        self._indices: dict[str, dict[str, dict[str, Object]]] = {}
        self.index(_OWNER, _controller)

    def __len__(self) -> int:
        return len(self._objects)

    def __iter__(self) -> Iterator[Object]:
        return iter(list(self._objects.values()))

    def get(self, namespace: str, name: str) -> Object | None:
        """Return the object of that name."""
        return self._objects.get((namespace, name))

    def by_uid(self, uid: str) -> Object | None:
        """Return the object of that UID."""
        return self._uids.get(uid)

    def by_owner(self, owner_uid: str) -> list[Object]:
        """Return the objects whose controller (an ownerReference with `controller: true`) has that UID."""
        return self.by_index(_OWNER, owner_uid)

    def by_index(self, name: str, value: str) -> list[Object]:
        """Return the objects for which the index's function gave the value, in the order they came in."""
        return list(self._indices[name].get(value, {}).values())

    def index(self, name: str, function: Callable[[Object], Iterable[str]]) -> None:
        """Keep an index by the values that a pure function gives for an object."""
        self._index_functions[name] = function
        self._indices[name] = {}
        for item in self._objects.values():
            for value in function(item):
                self._indices[name].setdefault(value, {})[_uid(item)] = item

    def upsert(self, item: Object) -> bool:
        """Take in an object if it is newer than what is held; False if it is not, or was removed before."""
        return self.put(item) is not None

    def put(self, item: Object) -> Change | None:
        """Do as `upsert` and return what changed, or None."""
        metadata = item["metadata"]
        uid = metadata["uid"]
        key = (metadata.get("namespace", ""), metadata["name"])
        held = self._objects.get(key)
        if uid in self._tombstones or (held is not None and version_of(item) <= version_of(held)):
            return None
        if self._transform is not None:
            item = self._transform(item)
        if self._wanted is not None and not self._wanted(item):
            return None if held is None else (self.take(held), None)
        if held is not None and _uid(held) != uid:
            self._forget(held)  # the name was given anew, so the object that had it is gone
        self._objects[key] = item
        self._uids[uid] = item
        self._reindex(held, item)
        return held, item

    def foresee(self, item: Object) -> Change | None:
        """Hold an object as our next write will make it, in place of the same version; None if another one is held.

        The next version that comes in, that write's or somebody else's, takes its place.
        """
        held = self._objects.get(_key(item))
        if held is None or _uid(held) != _uid(item) or version_of(held) != version_of(item):
            return None
        self._objects[_key(item)] = self._uids[_uid(item)] = item
        self._reindex(held, item)
        return held, item

    def remove(self, item: Object) -> bool:
        """Take out the object of the item's UID, whose end is certain; False if it is not held."""
        return self.take(item) is not None

    def take(self, item: Object) -> Object | None:
        """Do as `remove` and return what was held, or None."""
        held = self._uids.get(_uid(item))
        if held is None:
            self._bury(_uid(item))
            return None
        del self._objects[_key(held)]
        self._forget(held)
        self._reindex(held, None)
        return held

    def merge(self, items: Iterable[Object], seen: set[str]) -> list[Change]:
        """Take in one page of a list, add its UIDs to `seen` and return what changed."""
        changes = []
        for item in items:
            seen.add(_uid(item))
            change = self.put(item)
            if change is not None:
                changes.append(change)
        return changes

    def prune(self, seen: set[str], resource_version: str, *, namespace: str | None = None) -> list[Change]:
        """Take out what a whole list of that version did not have and return it.

        An object whose own version is newer than the list's stays: it came to be after the list was made.
        """
        limit = int(resource_version)
        gone = [
            item
            for uid, item in self._uids.items()
            if uid not in seen
            and version_of(item) <= limit
            and (namespace is None or item["metadata"].get("namespace") == namespace)
        ]
        for item in gone:
            self.take(item)
        return [(item, None) for item in gone]

    def _forget(self, held: Object) -> None:
        del self._uids[_uid(held)]
        self._bury(_uid(held))

    def _bury(self, uid: str) -> None:
        now = self._clock()
        self._tombstones.pop(uid, None)
        self._tombstones[uid] = now
        while True:
            oldest = next(iter(self._tombstones))
            if now - self._tombstones[oldest] <= TOMBSTONE_AGE:
                return
            del self._tombstones[oldest]

    def _reindex(self, old: Object | None, new: Object | None) -> None:
        for name, function in self._index_functions.items():
            buckets = self._indices[name]
            before = set(function(old)) if old is not None else set()
            after = list(function(new)) if new is not None else []
            if old is not None:
                same = new is not None and _uid(old) == _uid(new)
                for value in before.difference(after) if same else before:
                    bucket = buckets[value]
                    del bucket[_uid(old)]
                    if not bucket:
                        del buckets[value]
            for value in after:
                assert new is not None  # noqa: S101 - for the type checker
                buckets.setdefault(value, {})[_uid(new)] = new


def version_of(item: Object) -> int:
    """Return an object's resourceVersion as the number that orders the versions of one kind."""
    return int(item["metadata"]["resourceVersion"])


def _uid(item: Object) -> str:
    uid: str = item["metadata"]["uid"]
    return uid


def _key(item: Object) -> tuple[str, str]:
    metadata = item["metadata"]
    return metadata.get("namespace", ""), metadata["name"]


def _controller(item: Object) -> Iterable[str]:
    return [
        reference["uid"] for reference in item["metadata"].get("ownerReferences", ()) if reference.get("controller")
    ]
