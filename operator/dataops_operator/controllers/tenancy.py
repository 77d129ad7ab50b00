"""Whose a namespace is: the Environment to which the runs in it belong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from ..api.conditions import Reason, Type, find_condition
from ..core.environment import Effective, effective
from ..core.problems import Problem, summarise
from .world import BY_CLAIM, BY_EXECUTION, Object, World

PARTS: Final = (Type.NAMESPACE_READY, Type.ACCESS_READY, Type.QUOTA_READY, Type.NETWORK_READY)
"""What must stand before anything begins in an environment. Vault and targets concern only who uses them."""
_TOLD_NO: Final = (Reason.NAMESPACE_TAKEN, Reason.NAMESPACE_NOT_ALLOWED)


@dataclass(frozen=True, slots=True)
class NotYet:
    """Runs cannot begin, or not yet, in the environment to which a namespace belongs.

    Attributes:
        environment: `<project>/<name>`.
        reason: why.
        message: the same for people.
        bounded: whether waiting ends in a refusal, as for a pipeline that is not there.
        final: whether there is nothing to wait for.
    """

    environment: str
    reason: Reason
    message: str
    bounded: bool = False
    final: bool = False


@dataclass(frozen=True, slots=True)
class Home:
    """The environment that a namespace belongs to, as it stands now.

    Attributes:
        object: the Environment.
        effective: its content.
    """

    object: Object
    effective: Effective


class Tenancy:
    """Finds the environment of a namespace, in what the caches hold."""

    def __init__(self, world: World) -> None:
        """Look at what the world holds."""
        self._world = world
        self._made: dict[str, tuple[tuple[Any, ...], tuple[Effective | None, list[Problem]]]] = {}

    def of(self, namespace: str) -> Home | NotYet | None:
        """The environment of an execution namespace; None where it belongs to none.

        An Environment holds a namespace only by its status, which the operator alone writes; by its spec alone, that of
        any project could lay its hands on any namespace. One that asks for it and has not been judged makes runs wait.
        """
        if (holder := self.holder(namespace)) is not None:
            return self._home(holder)
        claims = [one for one in self._world.environments.by_index(BY_CLAIM, namespace) if _may_come(one, namespace)]
        if not claims:
            return None
        first = min(claims, key=_age)
        told = find_condition(first, Type.NAMESPACE_READY) or {}
        text = f"environment {_key(first)} does not hold namespace {namespace} yet"
        message = f"{text}: {told['message']}" if told.get("message") else text
        return NotYet(_key(first), Reason.ENVIRONMENT_NOT_READY, message, bounded=True)

    def holder(self, namespace: str) -> Object | None:
        """The Environment that holds a namespace: of several that say so the oldest."""
        return min(self._world.environments.by_index(BY_EXECUTION, namespace), key=_age, default=None)

    def effective(self, environment: Object) -> tuple[Effective | None, list[Problem]]:
        """What holds in an Environment, or what is wrong with it; made anew when it or its parent changed."""
        meta, name = environment["metadata"], environment["spec"].get("from")
        parent = self._world.environments.get(meta["namespace"], name) if name else None
        version = tuple((one["metadata"]["uid"], one["metadata"]["generation"]) for one in (environment, parent) if one)
        known = self._made.get(meta["uid"])
        if known is None or known[0] != version:
            if len(self._made) > 2 * len(self._world.environments) + 64:
                self._made.clear()  # of those that are gone
            known = self._made[meta["uid"]] = version, effective(environment, parent)
        return known[1]

    def target_not_ready(self, home: Home, name: str) -> NotYet | None:
        """Why a run that names a target must wait; None where it need not.

        One whose last probe was good may be used, whatever became of others; so may all where all of them stand.
        """
        status, meta = home.object["status"], home.object["metadata"]
        probed: Object = next((one for one in status.get("targets") or () if one["name"] == name), {})
        told = find_condition(home.object, Type.TARGETS_READY) or {}
        current = told.get("status") == "True" and told.get("observedGeneration") == meta["generation"]
        if current or probed.get("reachable") == "True":
            return None
        why = probed.get("message") or told.get("message")
        text = f"target {name!r} of environment {home.effective.key} is not ready" + (f": {why}" if why else "")
        reason = Reason.TARGET_UNREACHABLE if probed.get("reachable") == "False" else Reason.ENVIRONMENT_NOT_READY
        return NotYet(home.effective.key, reason, text)

    def _home(self, environment: Object) -> Home | NotYet:
        key = _key(environment)
        if "deletionTimestamp" in environment["metadata"]:
            text = f"environment {key} is being deleted; start the run in another one"
            return NotYet(key, Reason.ENVIRONMENT_DELETED, text, final=True)
        content, problems = self.effective(environment)
        if content is None:
            text = f"environment {key} is not valid: {summarise(problems)}"
            return NotYet(key, Reason.ENVIRONMENT_INVALID, text)
        for part in PARTS:
            told = find_condition(environment, part)
            if told is None or told["status"] != "True":
                why = f": {told['message']}" if told and told.get("message") else ""
                return NotYet(key, Reason.ENVIRONMENT_NOT_READY, f"environment {key} is not ready ({part}){why}")
        told = find_condition(environment, Type.TARGETS_READY)
        if told is not None and told["reason"] == Reason.TARGET_SHARED:
            return NotYet(key, Reason.TARGET_SHARED, f"environment {key} is refused: {told['message']}")
        return Home(environment, content)


def _may_come(environment: Object, namespace: str) -> bool:
    """Whether an Environment may still come to hold a namespace that it asks for.

    One of another project that cannot stand keeps nobody waiting.
    """
    meta = environment["metadata"]
    told = find_condition(environment, Type.NAMESPACE_READY)
    if "deletionTimestamp" in meta or (told is not None and told["reason"] in _TOLD_NO):
        return False
    stalled = find_condition(environment, Type.STALLED)
    return meta["namespace"] == namespace or stalled is None or stalled["status"] != "True"


def _age(environment: Mapping[str, Any]) -> tuple[str, str]:
    meta = environment["metadata"]
    return meta["creationTimestamp"], meta["uid"]


def _key(environment: Object) -> str:
    meta = environment["metadata"]
    return f"{meta['namespace']}/{meta['name']}"
