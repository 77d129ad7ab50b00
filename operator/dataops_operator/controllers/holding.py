"""Which namespace an Environment holds: its project's own, one that it made, or one that was given to its project."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ..api.conditions import Reason, Type, find_condition
from ..core.environment import Effective
from ..core.environment_status import Part
from ..core.names import ALLOW_PROJECT_LABEL, ENVIRONMENT_LABEL, ENVIRONMENT_UID_LABEL, PROJECT_LABEL
from ..core.namespaces import described, may_be_made
from ..core.provision import Place, is_made, namespace_body, pod_security_labels
from ..kube.errors import AlreadyExists, Conflict, Forbidden, Invalid, NotFound
from ..kube.resources import NAMESPACES
from .provisioner import Provisioner, uid_of
from .world import BY_CLAIM, BY_EXECUTION, Object, World

logger = logging.getLogger(__name__)

_SOON: Final = 0.5
_LATER: Final = 30.0


@dataclass(frozen=True, slots=True)
class Held:
    """The environment holds its namespace.

    Attributes:
        made: whether it made it.
    """

    made: bool


@dataclass(frozen=True, slots=True)
class NotHeld:
    """The environment holds no namespace, or not yet.

    Attributes:
        part: what its condition says.
        retry: seconds until it is looked at again.
    """

    part: Part
    retry: float


class Holding:
    """Makes, takes and gives back execution namespaces."""

    def __init__(self, world: World, provisioner: Provisioner, patterns: Sequence[str], reserved: str) -> None:
        """Decide for one operator.

        Args:
            world: what the caches hold.
            provisioner: has the store of namespaces.
            patterns: names of namespaces that may be made; see `core/namespaces`.
            reserved: the operator's own namespace, which no environment gets.
        """
        self._world = world
        self._provisioner = provisioner
        self._patterns = tuple(patterns)
        self._reserved = reserved

    async def hold(self, environment: Object, content: Effective) -> Held | NotHeld:
        """Have the execution namespace, if the environment may.

        Raises:
            ApiError: it cannot be known how it stands; the next try finds out.
        """
        winner = self._winner(environment, content.execution)
        if winner is not None:
            meta = winner["metadata"]
            text = (
                f"spec.namespace: {content.execution} is the namespace of environment {meta['namespace']}/"
                f"{meta['name']}, and one namespace belongs to one environment; name another in a new environment"
            )
            return NotHeld(Part(False, Reason.NAMESPACE_TAKEN, text, stalled=True), _LATER)
        if content.execution == content.project:
            return Held(made=False)
        watched = self._world.settings.namespaces
        if watched and content.execution not in watched:
            text = f"the operator watches only {', '.join(watched)}; have its administrator add {content.execution}"
            return _refused(text)
        try:
            return await self._have(environment, content)
        except (AlreadyExists, Conflict):
            return NotHeld(Part(None, Reason.PROVISIONING, f"namespace {content.execution} just changed"), _SOON)
        except (Forbidden, Invalid) as error:
            if "NamespaceTerminating" in error.causes:
                return _terminating(content.execution)
            return _refused(f"the API server refuses namespace {content.execution}: {error.message}", stalled=False)

    def _winner(self, environment: Object, namespace: str) -> Object | None:
        """Another environment to which the namespace belongs before this one.

        Who holds it keeps it; then comes the project whose own namespace it is; then the older.
        """

        def rank(one: Object) -> tuple[bool, bool, str, str]:
            meta = one["metadata"]
            holds = one["status"].get("namespace") == namespace
            return not holds, meta["namespace"] != namespace, meta["creationTimestamp"], meta["uid"]

        store, uid = self._world.environments, environment["metadata"]["uid"]
        others = {
            one["metadata"]["uid"]: one
            for index in (BY_EXECUTION, BY_CLAIM)
            for one in store.by_index(index, namespace)
            if one["metadata"]["uid"] != uid and _may_have(one, namespace)
        }
        first = min(others.values(), key=rank, default=None)
        return first if first is not None and rank(first) < rank(environment) else None

    async def _have(self, environment: Object, content: Effective) -> Held | NotHeld:
        """Make the namespace, take it, or see that it is ours."""
        place = Place(content.project, content.name, environment["metadata"]["uid"], content.execution, made=True)
        there = await self._read(content.execution)
        if there is None:
            return await self._make(place, content.spec.pod_security)
        if "deletionTimestamp" in there["metadata"]:
            return _terminating(content.execution)
        if is_made(there, place.uid):
            await self._label(there, place.labels() | pod_security_labels(content.spec.pod_security))
            return Held(made=True)
        labels = there["metadata"].get("labels") or {}
        if labels.get(ALLOW_PROJECT_LABEL) != content.project:
            text = (
                f"spec.namespace: {content.execution} exists and is not given to project {content.project}; name "
                f"another, or have its owner label it {ALLOW_PROJECT_LABEL}={content.project}"
            )
            return _refused(text)
        other = self._world.environments.by_uid(uid_of(there)) if uid_of(there) != place.uid else None
        if other is not None:
            meta = other["metadata"]
            text = f"namespace {content.execution} still belongs to environment {meta['namespace']}/{meta['name']}"
            return NotHeld(Part(False, Reason.NAMESPACE_TAKEN, text), _LATER)
        await self._label(there, place.holder_labels())
        return Held(made=False)

    async def _read(self, name: str) -> Object | None:
        """The namespace: as the cache has it where that is ours, else live."""
        held = self._provisioner.namespaces.get("", name)
        if held is not None:
            return held
        try:
            return await self._world.client.get(NAMESPACES, None, name)
        except NotFound:
            return None

    async def _make(self, place: Place, level: str) -> Held | NotHeld:
        name = place.execution
        if name == self._reserved or not may_be_made(name, place.project, self._patterns):
            allowed = described(self._patterns, place.project) or "none"
            text = (
                f"spec.namespace: {name} does not exist, and of the names that may be made for project {place.project} "
                f"({allowed}) it is none; choose such a name, or have an administrator create the namespace with the "
                f"label {ALLOW_PROJECT_LABEL}={place.project}"
            )
            return _refused(text)
        made = await self._world.client.create(NAMESPACES, None, namespace_body(place, level))
        self._provisioner.namespaces.put(made)
        logger.info("Made namespace %s for environment %s/%s", name, place.project, place.name)
        return Held(made=True)

    async def _label(self, there: Object, wanted: Mapping[str, str]) -> None:
        """Have labels on a namespace, on the version that was read and no other."""
        meta = there["metadata"]
        labels = meta.get("labels") or {}
        missing = {key: value for key, value in wanted.items() if labels.get(key) != value}
        if missing:
            body: dict[str, Any] = {"metadata": {"labels": missing, "resourceVersion": meta["resourceVersion"]}}
            written = await self._world.client.patch(NAMESPACES, None, meta["name"], body)
            self._provisioner.namespaces.put(written)

    # The way back.

    async def delete(self, place: Place) -> bool:
        """Delete the namespace that the environment made, and only that one; whether it is gone.

        Raises:
            ApiError: it could not be read, or not be deleted.
        """
        try:
            there = await self._world.client.get(NAMESPACES, None, place.execution)
        except NotFound:
            return True
        if not is_made(there, place.uid):
            return True
        if "deletionTimestamp" not in there["metadata"]:
            await self._world.client.delete(NAMESPACES, None, place.execution, uid=there["metadata"]["uid"])
        return False

    async def give_back(self, place: Place) -> None:
        """Take the environment's labels off a namespace that it took.

        Raises:
            ApiError: it could not be read or written.
        """
        try:
            there = await self._world.client.get(NAMESPACES, None, place.execution)
        except NotFound:
            return
        if uid_of(there) != place.uid or is_made(there, place.uid):
            return
        gone = dict.fromkeys((ENVIRONMENT_LABEL, PROJECT_LABEL, ENVIRONMENT_UID_LABEL))
        body = {"metadata": {"labels": gone, "resourceVersion": there["metadata"]["resourceVersion"]}}
        await self._world.client.patch(NAMESPACES, None, place.execution, body)

    async def is_made(self, place: Place) -> bool:
        """Whether the namespace is there and was made by the environment."""
        try:
            return is_made(await self._world.client.get(NAMESPACES, None, place.execution), place.uid)
        except (NotFound, Forbidden):
            return False


def _may_have(environment: Object, namespace: str) -> bool:
    """Whether an environment can come to hold a namespace: it holds it, or nobody has told it no."""
    if environment["status"].get("namespace") == namespace:
        return True
    if "deletionTimestamp" in environment["metadata"]:
        return False
    told = find_condition(environment, Type.NAMESPACE_READY)
    if told is None:
        return find_condition(environment, Type.STALLED) is None
    return bool(told["status"] != "False" or told["reason"] == Reason.NAMESPACE_TERMINATING)


def _refused(text: str, *, stalled: bool = True) -> NotHeld:
    return NotHeld(Part(False, Reason.NAMESPACE_NOT_ALLOWED, text, stalled=stalled), _LATER)


def _terminating(name: str) -> NotHeld:
    text = f"namespace {name} is being deleted; it is made again once it is gone"
    return NotHeld(Part(False, Reason.NAMESPACE_TERMINATING, text), _SOON)
