"""ControllerRevisions: kept once written, read once needed, since their data never changes; deleted once unused.

Who takes a revision says so before it looks whether it is there; who deletes one looks whether it was taken lately, and
keeps takers waiting meanwhile. So a run never begins with what is about to go.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Generic, TypeVar

from ..core import environment as environments
from ..core.environment import Effective
from ..core.names import ENVIRONMENT_LABEL
from ..core.problems import Problem
from ..core.revision import PIPELINE_LABEL, Revision, controller_revision, make_revision, read_revision
from ..core.steptemplates import compile_pipeline
from ..kube.client import KubeClient
from ..kube.errors import AlreadyExists, ApiError, Conflict, NotFound, refuses
from ..kube.resources import CONTROLLER_REVISIONS

logger = logging.getLogger(__name__)

_KEPT: Final = 500
"""Revisions held in memory; one takes a few kilobytes."""

K = TypeVar("K")
V = TypeVar("V")

_TRUST: Final = 30.0
"""Seconds for which a revision counts as kept once it was seen; somebody may delete it."""

Compiled = tuple[Revision | None, list[Problem]]
Id = tuple[str, str, str]
"""Kind of what a ControllerRevision keeps, its namespace, its name."""


class Recent(Generic[K, V]):
    """The entries used last."""

    def __init__(self, limit: int) -> None:
        self._entries: OrderedDict[K, V] = OrderedDict()
        self._limit = limit

    def get(self, key: K) -> V | None:
        """What is kept for a key."""
        value = self._entries.get(key)
        if value is not None:
            self._entries.move_to_end(key)
        return value

    def put(self, key: K, value: V) -> V:
        """Keep a value, and give it back."""
        self._entries[key] = value
        self._entries.move_to_end(key)
        if len(self._entries) > self._limit:
            self._entries.popitem(last=False)
        return value

    def drop(self, key: K) -> None:
        """Keep nothing for a key any more."""
        self._entries.pop(key, None)


class Revisions:
    """The revisions of all pipelines, and of all environments.

    Attributes:
        grace: seconds after it was last taken in which a revision is not deleted.
        changed: told kind, namespace and name of what has another newest revision now.
    """

    def __init__(self, client: KubeClient, trust: float = _TRUST, grace: float = 300.0) -> None:
        """Begin with none known.

        Args:
            client: to read and write them.
            trust: seconds for which one that was seen counts as there.
            grace: seconds after it was last taken in which one is not deleted: a run may have it and not say so yet.
        """
        self._client = client
        self._trust = trust
        self.grace = grace
        self.changed: Callable[[str, str, str], None] = lambda *_: None
        self._taken: dict[Id, float] = {}
        self._going: dict[Id, asyncio.Event] = {}
        self._compiled: Recent[tuple[str, int, tuple[tuple[str, str, int], ...]], Compiled] = Recent(_KEPT)
        self._seen: Recent[Id, float] = Recent(_KEPT)
        self._latest: Recent[str, str] = Recent(_KEPT)
        self._loaded: Recent[tuple[str, str, str], Revision] = Recent(_KEPT)
        self._environments: Recent[tuple[str, str, str], Effective] = Recent(_KEPT)

    def compile(
        self, pipeline: Mapping[str, Any], templates: Mapping[str, Mapping[str, Any]] | None = None
    ) -> Compiled:
        """The revision that a Pipeline's present spec makes, or what is wrong with it.

        Args:
            pipeline: the object.
            templates: those StepTemplates that it uses and that there are, by name.
        """
        meta, held = pipeline["metadata"], templates or {}
        versions = sorted((name, one["metadata"]["uid"], one["metadata"]["generation"]) for name, one in held.items())
        key = (meta["uid"], meta["generation"], tuple(versions))
        found = self._compiled.get(key)
        if found is not None:
            return found
        made = compile_pipeline(pipeline["spec"], {name: one["spec"] for name, one in held.items()}, meta["name"])
        revision = None
        if made.spec is not None and not made.problems:
            revision = make_revision(meta["name"], made.spec, made.templates)
        return self._compiled.put(key, (revision, made.problems))

    async def ensure(self, pipeline: Mapping[str, Any], revision: Revision) -> None:
        """Keep a Pipeline's revision in the cluster, if it is not there yet."""
        meta = pipeline["metadata"]
        await self._keep(
            ("Pipeline", meta["namespace"], revision.name),
            meta["name"],
            lambda number: controller_revision(revision, meta["name"], meta["uid"], number),
        )
        self._loaded.put((meta["namespace"], meta["name"], revision.name), revision)

    async def activate(self, pipeline: Mapping[str, Any], revision: Revision) -> None:
        """Give a kept revision the highest number of its pipeline, as rolling back does everywhere.

        Raises:
            Conflict: somebody changed it meanwhile; the next try sees how it stands.
            NotFound: somebody deleted it meanwhile, likewise.
        """
        meta = pipeline["metadata"]
        await self._raise(("Pipeline", meta["namespace"], revision.name), meta["name"])

    async def ensure_environment(self, environment: Mapping[str, Any], content: Effective) -> None:
        """Keep an Environment's content in the cluster, if it is not there yet."""
        meta = environment["metadata"]
        key = "Environment", content.project, content.revision
        await self._keep(
            key, content.name, lambda number: environments.controller_revision(content, meta["uid"], number)
        )
        if self._latest.get(meta["uid"]) != content.revision:
            # What it was when its content was last kept is what has the highest number.
            await self._raise(key, content.name)
            self._latest.put(meta["uid"], content.revision)
        self._environments.put((content.project, content.name, content.revision), content)

    async def _keep(self, key: Id, owner: str, build: Callable[[int], dict[str, Any]]) -> None:
        """Have a ControllerRevision in the cluster.

        Args:
            key: which.
            owner: name of what it keeps.
            build: the object, by its number in that history.
        """
        await self._take(key)
        seen = self._seen.get(key)
        if seen is not None and time.monotonic() < seen + self._trust:
            return
        kind, namespace, name = key
        if not await self._is_there(namespace, name, _owners(build(0))):
            number = _highest(await self.history(kind, namespace, owner)) + 1
            with contextlib.suppress(AlreadyExists):  # the same content, written by another reconcile
                await self._client.create(CONTROLLER_REVISIONS, namespace, build(number))
            self.changed(kind, namespace, owner)
        self._seen.put(key, time.monotonic())

    async def _is_there(self, namespace: str, name: str, owners: set[str]) -> bool:
        """Whether there is a ControllerRevision of these owners; one of others of their name goes, as they have."""
        try:
            there = await self._client.get(CONTROLLER_REVISIONS, namespace, name)
        except NotFound:
            return False
        if _owners(there) == owners:
            return True
        with contextlib.suppress(NotFound, Conflict):
            await self._client.delete(CONTROLLER_REVISIONS, namespace, name, uid=there["metadata"]["uid"])
        return False

    async def _raise(self, key: Id, owner: str) -> None:
        """Give a revision the highest number of its history, if it has not got it."""
        kind, namespace, name = key
        there = await self.history(kind, namespace, owner)
        own = next((one for one in there if one["metadata"]["name"] == name), None)
        if own is None:
            return  # not there, or somebody took its label off: it is no part of the history
        others = _highest([one for one in there if one is not own])
        if int(own.get("revision", 0)) <= others:
            version = own["metadata"]["resourceVersion"]
            body = {"metadata": {"resourceVersion": version}, "revision": others + 1}
            await self._client.patch(CONTROLLER_REVISIONS, namespace, name, body)
            self.changed(kind, namespace, owner)

    async def history(self, kind: str, namespace: str, owner: str) -> list[dict[str, Any]]:
        """All ControllerRevisions of a Pipeline or an Environment."""
        label = PIPELINE_LABEL if kind == "Pipeline" else ENVIRONMENT_LABEL
        listed = await self._client.list_all(CONTROLLER_REVISIONS, namespace, label_selector=f"{label}={owner}")
        found: list[dict[str, Any]] = listed["items"]
        return found

    # Their end.

    async def _take(self, key: Id) -> None:
        """Say that a revision is used, once it is not being deleted."""
        while (going := self._going.get(key)) is not None:
            await going.wait()
        self._taken[key] = time.monotonic()

    async def delete(self, kind: str, owner: str, there: Mapping[str, Any]) -> bool:
        """Delete a revision as it was seen, unless it was taken lately; whether it is gone.

        Args:
            kind: of what it keeps.
            owner: name of what it keeps.
            there: the ControllerRevision.
        """
        meta = there["metadata"]
        namespace, name = meta["namespace"], meta["name"]
        key, now = (kind, namespace, name), time.monotonic()
        self._taken = {one: when for one, when in self._taken.items() if now < when + self.grace}
        if key in self._taken or key in self._going:
            return False
        going = self._going[key] = asyncio.Event()
        self._seen.drop(key)
        self._loaded.drop((namespace, owner, name))
        self._environments.drop((namespace, owner, name))
        try:
            await self._client.delete(
                CONTROLLER_REVISIONS, namespace, name, uid=meta["uid"], version=meta["resourceVersion"]
            )
        except NotFound:
            return True
        except Conflict:
            return False  # somebody changed it meanwhile, perhaps to keep it
        except ApiError as error:
            if not refuses(error):
                raise
            logger.warning(
                "Revision %s/%s is not needed, and its deletion is refused: %s", namespace, name, error.message
            )
            return False
        finally:
            del self._going[key]
            going.set()
        return True

    def known(self, namespace: str, pipeline: str, name: str) -> Revision | None:
        """A revision of a pipeline that was seen before; None where it was not, whether there is one or not."""
        return self._loaded.get((namespace, pipeline, name))

    async def load(self, namespace: str, pipeline: str, name: str) -> Revision | None:
        """A revision of a pipeline by its name; None where the pipeline has none of that name."""
        await self._take(("Pipeline", namespace, name))
        key = (namespace, pipeline, name)
        if (found := self._loaded.get(key)) is not None:
            return found
        try:
            kept = await self._client.get(CONTROLLER_REVISIONS, namespace, name)
        except NotFound:
            return None
        if (kept["metadata"].get("labels") or {}).get(PIPELINE_LABEL) != pipeline:
            return None
        return self._loaded.put(key, read_revision(name, kept["data"]))

    async def load_environment(self, project: str, name: str, revision: str) -> Effective | None:
        """An Environment's content by the name of its revision; None where it has none of that name."""
        await self._take(("Environment", project, revision))
        key = (project, name, revision)
        if (found := self._environments.get(key)) is not None:
            return found
        try:
            kept = await self._client.get(CONTROLLER_REVISIONS, project, revision)
        except NotFound:
            return None
        if (kept["metadata"].get("labels") or {}).get(ENVIRONMENT_LABEL) != name:
            return None
        return self._environments.put(key, environments.load(project, name, revision, kept["data"]))

    async def latest_environment(self, project: str, name: str, uid: str) -> Effective | None:
        """What an Environment was when its content was last kept; None where it never was."""
        own = [
            one
            for one in await self.history("Environment", project, name)
            if uid in {owner["uid"] for owner in one["metadata"].get("ownerReferences") or ()}
        ]
        last = max(own, key=lambda one: int(one.get("revision", 0)), default=None)
        return None if last is None else environments.load(project, name, last["metadata"]["name"], last["data"])


def _owners(kept: Mapping[str, Any]) -> set[str]:
    """The uids of what a ControllerRevision goes with."""
    return {str(one["uid"]) for one in kept["metadata"].get("ownerReferences") or ()}


def _highest(revisions: Iterable[Mapping[str, Any]]) -> int:
    return max((int(one.get("revision", 0)) for one in revisions), default=0)
