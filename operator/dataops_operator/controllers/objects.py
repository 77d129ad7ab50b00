"""Objects that steps look at, or make: all as the run's own ServiceAccount, never with the operator's rights."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from ..api.conditions import Reason, truncate
from ..core.attempts import NOT_OURS
from ..core.objects import Allowed, AllowedKind, ObjectRef, Seen
from ..core.plan import Refusal
from ..kube.client import KubeClient
from ..kube.config import Credentials
from ..kube.errors import AlreadyExists, ApiError, Conflict, NotFound, Unauthorized, refuses
from ..kube.resources import PIPELINE_RUNS, Resource
from .children import Children
from .world import Object, World

logger = logging.getLogger(__name__)

_TOKEN_SECONDS: Final = 3600
_FRESH: Final = 2400.0
"""Seconds for which such a token is used."""
_CLIENTS: Final = 64
"""Namespaces whose runner's connections are kept."""
_AGE: Final = 5.0
"""Seconds for which what was read stands, however often its run is looked at meanwhile."""
_KEPT: Final = 64
"""Readings that are kept beyond that: objects may be large."""

_REFUSALS: Final = 1000
"""Refused deletions that are remembered; one that is not is asked for once more."""


class KindNotAllowedError(Exception):
    """No administrator lets steps touch a kind; the message is for people."""


class Objects:
    """Reads, makes and deletes objects for runs."""

    def __init__(self, world: World, credentials: Credentials, allowed: Allowed) -> None:
        """Read for one operator.

        Args:
            world: its client makes the tokens.
            credentials: where the API server is; nothing of the operator's identity is used.
            allowed: the kinds that may be read at all.
        """
        self._world = world
        self._credentials = credentials
        self._allowed = allowed
        self._children = Children(world)
        self._clients: dict[str, tuple[KubeClient, float]] = {}
        self._read: dict[tuple[str, ObjectRef], tuple[float, Seen]] = {}
        self._stays: dict[ObjectRef, str] = {}
        """Why the API server would not delete an object, the last time it was asked to."""

    async def close(self) -> None:
        """Close the connections."""
        for client, _ in self._clients.values():
            await client.close()
        self._clients.clear()

    async def read(self, namespace: str, wanted: Sequence[ObjectRef]) -> dict[ObjectRef, Seen]:
        """What is to be seen of some objects.

        Args:
            namespace: of the run; its runner reads.
            wanted: which objects.
        """
        found = await asyncio.gather(*(self._one(namespace, one) for one in dict.fromkeys(wanted)))
        return dict(zip(dict.fromkeys(wanted), found, strict=True))

    async def _one(self, namespace: str, about: ObjectRef) -> Seen:
        if about.own:
            with contextlib.suppress(NotFound):
                return Seen(await self._world.client.get(PIPELINE_RUNS, namespace, about.name))
            return Seen()
        now = time.monotonic()
        at, seen = self._read.get((namespace, about), (0.0, Seen()))
        if at and now < at + _AGE:
            return seen
        seen = replace(await self._look(namespace, about), stays=self._stays.get(about, ""))
        if len(self._read) >= _KEPT:
            self._read = {key: held for key, held in self._read.items() if now < held[0] + _AGE}
        self._read[namespace, about] = (now, seen)
        return seen

    async def _look(self, namespace: str, about: ObjectRef) -> Seen:
        try:
            kind = self._kind(about)
        except KindNotAllowedError as error:
            return Seen(problem=str(error), reason=Reason.KIND_NOT_ALLOWED, hopeless=True)
        try:
            return Seen(await (await self._as_runner(namespace)).get(resource_of(kind), about.namespace, about.name))
        except NotFound:
            return Seen()
        except Unauthorized:
            await self._forget(namespace)
            return Seen(problem=f"{about} cannot be read: the runner's token is not taken; it is made anew")
        except (ApiError, ValueError) as error:
            told = error.message if isinstance(error, ApiError) else str(error)
            return Seen(problem=truncate(f"{about} cannot be read: {told}", 400))

    # Making and deleting.

    async def make(self, run: Object, bodies: Sequence[Mapping[str, Any]]) -> dict[str, Refusal]:
        """Make objects for a run, or find those that an earlier try made.

        Returns:
            Why the API server would not take an object, by its name.

        Raises:
            ApiError: it could not be known whether one was taken.
        """
        refused: dict[str, Refusal] = {}
        for body in bodies:
            meta = body["metadata"]
            about = ObjectRef(body["apiVersion"], body["kind"], meta["namespace"], meta["name"])
            try:
                kind = self._kind(about, applies=True)
                made = await self._make_one(run, about, kind, body)
            except KindNotAllowedError as error:
                refused[about.name] = Refusal(str(error), True, Reason.KIND_NOT_ALLOWED)
            except Unauthorized:  # the account was made anew: so is its token, at the next try
                await self._forget(about.namespace)
                raise
            except ApiError as error:
                if not refuses(error):
                    raise
                hopeless = error.status in (400, 404, 413, 422)
                refused[about.name] = Refusal(error.message, hopeless, Reason.OBJECT_REFUSED)
            else:
                self._read[about.namespace, about] = (time.monotonic(), Seen(made))
        return refused

    async def _make_one(
        self, run: Object, about: ObjectRef, kind: AllowedKind, body: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        client = await self._as_runner(about.namespace)
        try:
            return await client.create(resource_of(kind), about.namespace, body)
        except AlreadyExists as error:
            there = await client.get(resource_of(kind), about.namespace, about.name)
            if is_owned(there, run["metadata"]["uid"]):
                return there
            error.message = f"{about} {NOT_OURS}; delete it, or start another run"
            raise

    async def remove(self, run: Object, abouts: Sequence[ObjectRef]) -> None:
        """Delete objects of a run, and none that is not; what may not be deleted stays, and goes with the run.

        Raises:
            ApiError: it could not be known whether one was, or the API server would hear it later.
        """
        for about in abouts:
            kind = self._allowed.get((about.api_version, about.kind))
            if kind is None:
                continue
            resource = resource_of(kind)
            self._stays.pop(about, None)
            try:
                client = await self._as_runner(about.namespace)
                there = await client.get(resource, about.namespace, about.name)
                if is_owned(there, run["metadata"]["uid"]):
                    await client.delete(resource, about.namespace, about.name, uid=there["metadata"]["uid"])
            except (NotFound, Conflict):
                pass
            except Unauthorized:
                await self._forget(about.namespace)
                raise
            except ApiError as error:
                if not refuses(error):
                    raise
                logger.warning("%s stays: %s", about, error.message)
                if len(self._stays) >= _REFUSALS:
                    self._stays.clear()
                self._stays[about] = truncate(error.message, 300)
            finally:
                self._read.pop((about.namespace, about), None)

    def _kind(self, about: ObjectRef, *, applies: bool = False) -> AllowedKind:
        """What an administrator lets steps do with a kind.

        Raises:
            KindNotAllowedError: not that.
        """
        kind = self._allowed.get((about.api_version, about.kind))
        if kind is not None and (kind.applies or not applies):
            return kind
        known = ", ".join(sorted({one.kind for one in self._allowed.values() if one.applies or not applies})) or "none"
        verb = "make" if applies else "look at"
        raise KindNotAllowedError(
            f"steps may not {verb} {about.kind} ({about.api_version}); the chart's stepObjects allows: {known}"
        )

    # The runner.

    async def _as_runner(self, namespace: str) -> KubeClient:
        """A client that is the runner of a namespace.

        Raises:
            ApiError: no token was to be had.
        """
        held = self._clients.get(namespace)
        if held is not None and time.monotonic() < held[1]:
            return held[0]
        await self._children.ensure_runner(namespace)
        made_at, runner = time.monotonic(), self._world.settings.runner
        token = await self._world.client.create_token(namespace, runner, "", _TOKEN_SECONDS)
        await self._forget(namespace)
        while len(self._clients) >= _CLIENTS:
            await self._forget(next(iter(self._clients)))
        count = self._world.metrics.count_request
        client = KubeClient(self._credentials.with_token(token), observe=count, max_connections=2, timeout=10.0)
        self._clients[namespace] = (client, made_at + _FRESH)
        return client

    async def _forget(self, namespace: str) -> None:
        held = self._clients.pop(namespace, None)
        if held is not None:
            await held[0].close()


def resource_of(kind: AllowedKind) -> Resource:
    """The paths of an allowed kind."""
    group, _, version = kind.api_version.rpartition("/")
    return Resource(group, version, kind.plural, kind.kind)


def is_owned(there: Object, uid: str) -> bool:
    """Whether an object is the run's."""
    return any(one.get("uid") == uid for one in there["metadata"].get("ownerReferences") or ())
