"""Environments: hold the definition against the rules, have what it wants, say for each part whether it stands."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from ..api.base import parse_duration
from ..api.conditions import Reason, Type, find_condition
from ..core import status as statuses
from ..core.environment import Effective, execution_namespace
from ..core.environment_rules import reason_of
from ..core.environment_status import Facts, Part, invalid, provisioned
from ..core.lifetime import expires_at, warn_at
from ..core.names import CHANGED_BY_ANNOTATION, ENVIRONMENT_FINALIZER
from ..core.network import Reach, unnamed_hosts
from ..core.problems import Problem, summarise
from ..core.provision import PARTS, Agents, Piece, Place, pieces
from ..core.targets import ResolvedTarget, conflict
from ..core.times import from_rfc3339, to_rfc3339
from ..kube.errors import Conflict, NotFound
from ..kube.resources import ENVIRONMENTS
from .deletion import Deletion
from .events import News
from .holding import Holding, NotHeld
from .keys import Key, environment_key
from .probes import Probe, Verdict
from .provisioner import Provisioner, Trouble
from .telling import Telling
from .tenancy import Tenancy
from .world import LIVE_IN, Object, World

logger = logging.getLogger(__name__)

_AFTER_THE_MOMENT: Final = 0.05
_LATER: Final = 30.0
"""Seconds until something is looked at again that only a person can mend."""


@dataclass(frozen=True)
class Options:
    """How Environments are made here.

    Attributes:
        agents: who acts in execution namespaces.
        patterns: names of namespaces that may be made; see `core/namespaces`.
        patience: seconds that each stage of a deletion has.
        vault: where the servers are that pods themselves log in to, by their names.
    """

    agents: Agents
    patterns: tuple[str, ...] = ()
    patience: float = 300.0
    vault: Mapping[str, Reach] | None = None


class EnvironmentController:
    """Reconciles Environments."""

    def __init__(
        self,
        world: World,
        tenancy: Tenancy,
        provisioner: Provisioner,
        options: Options,
        *,
        vault: Probe,
        targets: Probe,
    ) -> None:
        """Work on what the world holds.

        Args:
            world: what the caches hold.
            tenancy: whose a namespace is.
            provisioner: has what environments make.
            options: how they are made here.
            vault: sees whether runs can log in, and takes back what they hold.
            targets: makes, checks and takes back targets.
        """
        self._world = world
        self._tenancy = tenancy
        self._provisioner = provisioner
        self._options = options
        self._probes = {Type.VAULT_READY: vault, Type.TARGETS_READY: targets}
        self._telling = Telling(world)
        self._holding = Holding(world, provisioner, options.patterns, options.agents.operator_namespace)
        self._deletion = Deletion(
            world,
            provisioner,
            self._holding,
            self._telling,
            targets=targets.release,
            leases=vault.release,
            patience=options.patience,
        )

    async def reconcile(self, key: Key) -> None:
        """Bring one Environment about, as far as it goes now."""
        environment: Object | None = self._world.environments.get(key.namespace, key.name)
        if environment is None:
            return
        meta, now = environment["metadata"], time.time()
        if "deletionTimestamp" in meta:
            if await self._deletion.go_on(environment, _place(environment)):
                self._telling.forget(meta["uid"])
                for probe in self._probes.values():
                    probe.forget(meta["uid"])
            return
        if await self._is_over(environment, now):
            return
        content, problems = self._tenancy.effective(environment)
        if content is None:
            await self._invalid(environment, problems, now)
            return
        if _needs_finalizer(content) and ENVIRONMENT_FINALIZER not in meta.get("finalizers", ()):
            finalized = await self._finalize(environment)
            if finalized is None:
                return
            environment = finalized
        await self._stand(environment, content)

    # Its life.

    async def _is_over(self, environment: Object, now: float) -> bool:
        """Tell the end of a short-lived environment before it comes, and delete it when it does."""
        ends = _end(environment)
        if ends is None:
            return False
        meta, key = environment["metadata"], environment_key(environment)
        if now >= ends:
            text = f"its time to live of {environment['spec']['ttl']} is over"
            logger.info("Environment %s/%s is deleted: %s", meta["namespace"], meta["name"], text)
            self._world.recorder.tell("Environment", environment, News(Reason.EXPIRED, text), now)
            with contextlib.suppress(NotFound, Conflict):  # somebody else was first
                await self._world.client.delete(ENVIRONMENTS, meta["namespace"], meta["name"], uid=meta["uid"])
            return True
        warns = warn_at(meta["creationTimestamp"], environment["spec"]["ttl"])
        if now >= warns:
            text = (
                f"deletes itself at {to_rfc3339(ends)}, with its runs and all that it made; raise spec.ttl to keep it"
            )
            news = News(Reason.EXPIRING, text, warning=True, detail=to_rfc3339(ends))
            self._world.recorder.tell("Environment", environment, news, now)
        self._world.queue.add_after(key, (ends if now >= warns else warns) - now + _AFTER_THE_MOMENT)
        return False

    async def _finalize(self, environment: Object) -> Object | None:
        """Put our finalizer on, before anything is made that no owner reference takes along."""
        meta = environment["metadata"]
        finalizers = [*meta.get("finalizers", ()), ENVIRONMENT_FINALIZER]
        body = {"metadata": {"finalizers": finalizers, "resourceVersion": meta["resourceVersion"]}}
        try:
            written = await self._world.client.patch(ENVIRONMENTS, meta["namespace"], meta["name"], body)
        except NotFound:
            return None
        except Conflict:
            await self._telling.reread(environment)
            return None
        self._world.environments.put(written)
        return self._world.environments.get(meta["namespace"], meta["name"])

    # What it is.

    async def _invalid(self, environment: Object, problems: list[Problem], now: float) -> None:
        """Say what is wrong with a spec; what stands of an earlier one stays."""
        reason, meta = reason_of(problems), environment["metadata"]
        patience = from_rfc3339(meta["creationTimestamp"]) + self._world.settings.pipeline_wait - now
        stalled = reason is not Reason.PARENT_NOT_FOUND or patience <= 0  # tools apply in any order
        if not stalled:
            self._world.queue.add_after(environment_key(environment), patience + _AFTER_THE_MOMENT)
        why = Part(False, reason, summarise(problems), stalled)
        facts = self._facts(environment, environment["status"].get("namespace"))
        await self._telling.write(environment, invalid(environment["status"], why, facts, meta["generation"], now), now)

    async def _stand(self, environment: Object, content: Effective) -> None:
        """Have everything that a valid environment wants, and say how that went."""
        meta, held = environment["metadata"], await self._holding.hold(environment, content)
        retries: list[float] = []
        rows: tuple[Mapping[str, Any], ...] = ()
        if isinstance(held, NotHeld):
            waits = Part(None, held.part.reason, "waits for the namespace")
            parts = {**dict.fromkeys(PARTS, waits), Type.NAMESPACE_READY: held.part}
            facts = self._facts(environment, environment["status"].get("namespace"))
            retries.append(held.retry)
        else:
            place = Place(content.project, content.name, meta["uid"], content.execution, held.made)
            parts, more = await self._provision(environment, content, place)
            retries += more
            for type_, probe in self._probes.items():
                shared = self._shared(environment, content) if type_ is Type.TARGETS_READY else None
                verdict = Verdict(shared, _LATER) if shared else await probe.part(environment, content, place)
                parts[type_] = _worst(parts.get(type_), verdict.part)
                rows = verdict.rows or rows
                retries += [] if verdict.retry is None else [verdict.retry]
            facts = self._facts(environment, content.execution, made=held.made, rows=rows)
        now = time.time()
        after = provisioned(environment["status"], parts, facts, meta["generation"], now)
        await self._telling.write(environment, after, now)
        if retries:
            self._world.queue.add_after(environment_key(environment), min(retries))

    async def _provision(
        self, environment: Object, content: Effective, place: Place
    ) -> tuple[dict[Type, Part], list[float]]:
        """The objects in the namespace, and the conditions of the parts that they make."""
        wanted = pieces(content, place, self._options.agents, self._vault_address(content))
        troubles = await self._provisioner.ensure(wanted, place)
        left = await self._provisioner.prune(wanted, place)
        for claim in left:
            text = (
                f"claim {claim} in {place.execution} is no target any more; it is kept, since data is in it: delete it"
            )
            news = News(Reason.TARGET_LEFT, text, warning=True, detail=claim)
            self._world.recorder.tell("Environment", environment, news, time.time())
        parts = {Type.NAMESPACE_READY: _namespace(place)}
        for type_ in (Type.ACCESS_READY, Type.QUOTA_READY, Type.NETWORK_READY, Type.TARGETS_READY):
            mine = [piece for piece in wanted if piece.part is type_]
            parts[type_] = _part(mine, troubles.get(type_, []))
        if parts[Type.NETWORK_READY].status and (hosts := unnamed_hosts(content)):
            text = f"no policy can name the hosts {', '.join(hosts)}; open the way to them in spec.network.egress"
            parts[Type.NETWORK_READY] = Part(True, Reason.PROVISIONED, text)
        return parts, [one.retry for some in troubles.values() for one in some]

    def _shared(self, environment: Object, content: Effective) -> Part | None:
        """Whether an older environment writes where this one would; a younger one that does is looked at again."""
        found: list[str] = []
        for other in self._world.environments:
            if other["metadata"]["uid"] == environment["metadata"]["uid"]:
                continue
            theirs, _ = self._tenancy.effective(other)
            for mine, its in _conflicts(content, theirs):
                if _age(other) < _age(environment):
                    found.append(
                        f"target {mine.name} is {mine.location}, where environment {_key(other)} writes as its target "
                        f"{its.name}; give it a place of its own, or make it access: ReadOnly"
                    )
                elif not _is_shared(other):
                    self._world.queue.add(environment_key(other))
        return Part(False, Reason.TARGET_SHARED, "; ".join(found[:3]), stalled=True) if found else None

    def _vault_address(self, content: Effective) -> Reach | None:
        """Where pods log in to Vault, if they do so themselves."""
        vault = content.vault
        if vault is None or vault.delivery != "Pod":
            return None
        return (self._options.vault or {}).get(vault.server)

    def _facts(
        self,
        environment: Object,
        namespace: str | None,
        *,
        made: bool | None = None,
        rows: tuple[Mapping[str, Any], ...] | None = None,
    ) -> Facts:
        runs = self._world.runs.by_index(LIVE_IN, namespace) if namespace else []
        active = sum(1 for run in runs if run["status"].get("revision") and not statuses.is_final(run["status"]))
        annotations = environment["metadata"].get("annotations") or {}
        status = environment["status"]
        return Facts(
            namespace,
            bool(status.get("createdNamespace")) if made is None else made,
            tuple(status.get("targets") or ()) if rows is None else rows,
            active,
            len(runs) - active,
            _end(environment),
            annotations.get(CHANGED_BY_ANNOTATION),
        )


def _conflicts(mine: Effective, theirs: Effective | None) -> Iterator[tuple[ResolvedTarget, ResolvedTarget]]:
    for one in mine.targets.values():
        for other in theirs.targets.values() if theirs is not None else ():
            if conflict(one, other):
                yield one, other


def _is_shared(environment: Object) -> bool:
    told = find_condition(environment, Type.TARGETS_READY)
    return told is not None and told["reason"] == Reason.TARGET_SHARED


def _age(environment: Object) -> tuple[str, str]:
    return environment["metadata"]["creationTimestamp"], environment["metadata"]["uid"]


def _key(environment: Object) -> str:
    return f"{environment['metadata']['namespace']}/{environment['metadata']['name']}"


def _place(environment: Object) -> Place:
    meta = environment["metadata"]
    made = bool(environment["status"].get("createdNamespace"))
    return Place(meta["namespace"], meta["name"], meta["uid"], execution_namespace(environment), made)


def _end(environment: Object) -> float | None:
    """When a short-lived environment ends; None where it does not, or where its words make no time."""
    ttl = environment["spec"].get("ttl")
    try:
        if not ttl or parse_duration(ttl) <= 0:
            return None
        return expires_at(environment["metadata"]["creationTimestamp"], ttl)
    except ValueError:
        return None


def _needs_finalizer(content: Effective) -> bool:
    """Whether the environment makes something that no owner reference takes along."""
    outside = any(one.made_by_us and one.claim is None for one in content.targets.values())
    return content.execution != content.project or outside


def _namespace(place: Place) -> Part:
    if place.execution == place.project:
        return Part(True, Reason.PROVISIONED, f"the project's own namespace {place.execution}")
    how = "made for this environment, and goes with it" if place.made else "was there and stays"
    return Part(True, Reason.PROVISIONED, f"namespace {place.execution} {how}")


def _part(wanted: list[Piece], troubles: list[Trouble]) -> Part:
    """What some objects come to."""
    bad = sorted((one for one in troubles if not one.harmless), key=lambda one: not one.stalled)
    if bad:
        text = "; ".join(one.message for one in bad[:3])
        return Part(False, bad[0].reason, text, bad[0].stalled)
    if not wanted:
        return Part(True, Reason.NOT_USED, "nothing is asked for")
    told = [one.message for one in troubles] or [", ".join(f"{piece.kind} {piece.name}" for piece in wanted)]
    return Part(True, Reason.PROVISIONED, "; ".join(told))


def _worst(one: Part | None, other: Part) -> Part:
    """Of two accounts of a part, the one that says more: what fails, then what is not known."""
    if one is None or one.reason is Reason.NOT_USED:
        return other
    order = {False: 0, None: 1, True: 2}
    return one if order[one.status] < order[other.status] else other
