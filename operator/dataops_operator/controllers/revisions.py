"""ControllerRevisions: kept once written, read once needed, since their data never changes."""

from __future__ import annotations

import contextlib
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, Final, Generic, TypeVar

from ..api.pipeline import PipelineSpec
from ..core import environment as environments
from ..core.environment import Effective
from ..core.names import ENVIRONMENT_LABEL
from ..core.parameters import Problem
from ..core.revision import PIPELINE_LABEL, Revision, controller_revision, load_revision, make_revision
from ..core.validate import parse
from ..kube.client import KubeClient
from ..kube.errors import AlreadyExists, NotFound
from ..kube.resources import CONTROLLER_REVISIONS

_KEPT: Final = 500
"""Revisions held in memory; one takes a few kilobytes."""

K = TypeVar("K")
V = TypeVar("V")

_TRUST: Final = 30.0
"""Seconds for which a revision counts as kept once it was seen; somebody may delete it."""

Compiled = tuple[Revision | None, list[Problem]]


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


class Revisions:
    """The revisions of all pipelines, and of all environments."""

    def __init__(self, client: KubeClient, trust: float = _TRUST) -> None:
        """Begin with none known.

        Args:
            client: to read and write them.
            trust: seconds for which one that was seen counts as there.
        """
        self._client = client
        self._trust = trust
        self._compiled: Recent[tuple[str, int], Compiled] = Recent(_KEPT)
        self._seen: Recent[tuple[str, str, str], float] = Recent(_KEPT)
        self._loaded: Recent[tuple[str, str, str], Revision] = Recent(_KEPT)
        self._environments: Recent[tuple[str, str, str], Effective] = Recent(_KEPT)

    def compile(self, pipeline: Mapping[str, Any]) -> Compiled:
        """The revision that a Pipeline's present spec makes, or what is wrong with it."""
        meta = pipeline["metadata"]
        key = (meta["uid"], meta["generation"])
        found = self._compiled.get(key)
        if found is not None:
            return found
        spec, problems = parse(pipeline["spec"])
        revision = make_revision(meta["name"], spec) if spec is not None and not problems else None
        return self._compiled.put(key, (revision, problems))

    async def ensure(self, pipeline: Mapping[str, Any], revision: Revision) -> None:
        """Keep a Pipeline's revision in the cluster, if it is not there yet."""
        meta = pipeline["metadata"]
        await self._keep(
            ("Pipeline", meta["namespace"], revision.name),
            f"{PIPELINE_LABEL}={meta['name']}",
            lambda number: controller_revision(revision, meta["name"], meta["uid"], number),
        )
        self._loaded.put((meta["namespace"], meta["name"], revision.name), revision)

    async def ensure_environment(self, environment: Mapping[str, Any], content: Effective) -> None:
        """Keep an Environment's content in the cluster, if it is not there yet."""
        meta = environment["metadata"]
        await self._keep(
            ("Environment", content.project, content.revision),
            f"{ENVIRONMENT_LABEL}={content.name}",
            lambda number: environments.controller_revision(content, meta["uid"], number),
        )
        self._environments.put((content.project, content.name, content.revision), content)

    async def _keep(self, key: tuple[str, str, str], selector: str, build: Callable[[int], dict[str, Any]]) -> None:
        """Have a ControllerRevision in the cluster.

        Args:
            key: kind of what it keeps, namespace and name.
            selector: of the others of the same history.
            build: the object, by its number in that history.
        """
        seen = self._seen.get(key)
        if seen is not None and time.monotonic() < seen + self._trust:
            return
        _, namespace, name = key
        try:
            await self._client.get(CONTROLLER_REVISIONS, namespace, name)
        except NotFound:
            listed = await self._client.list_all(CONTROLLER_REVISIONS, namespace, label_selector=selector)
            number = max((one.get("revision", 0) for one in listed["items"]), default=0) + 1
            with contextlib.suppress(AlreadyExists):  # the same content, written by another reconcile
                await self._client.create(CONTROLLER_REVISIONS, namespace, build(number))
        self._seen.put(key, time.monotonic())

    def known(self, namespace: str, pipeline: str, name: str) -> Revision | None:
        """A revision of a pipeline that was seen before; None where it was not, whether there is one or not."""
        return self._loaded.get((namespace, pipeline, name))

    async def load(self, namespace: str, pipeline: str, name: str) -> Revision | None:
        """A revision of a pipeline by its name; None where the pipeline has none of that name."""
        key = (namespace, pipeline, name)
        if (found := self._loaded.get(key)) is not None:
            return found
        try:
            kept = await self._client.get(CONTROLLER_REVISIONS, namespace, name)
        except NotFound:
            return None
        if (kept["metadata"].get("labels") or {}).get(PIPELINE_LABEL) != pipeline:
            return None
        spec = PipelineSpec.model_validate(kept["data"]["spec"])
        return self._loaded.put(key, load_revision(name, spec))

    async def load_environment(self, project: str, name: str, revision: str) -> Effective | None:
        """An Environment's content by the name of its revision; None where it has none of that name."""
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
        selector = f"{ENVIRONMENT_LABEL}={name}"
        listed = await self._client.list_all(CONTROLLER_REVISIONS, project, label_selector=selector)
        own = [
            one
            for one in listed["items"]
            if uid in {owner["uid"] for owner in one["metadata"].get("ownerReferences") or ()}
        ]
        last = max(own, key=lambda one: int(one.get("revision", 0)), default=None)
        return None if last is None else environments.load(project, name, last["metadata"]["name"], last["data"])
