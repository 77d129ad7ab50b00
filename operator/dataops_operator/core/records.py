"""The record of what a holder has in Vault: kept outside its namespace, so that it outlives it.

It is written before a credential is used, and says all that must be taken back: accessors (revoking one takes its
leases along), lease ids, names of Kubernetes Secrets. Never a token and never a value.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final

import orjson

from .credentials import RUN, Armed, Holder, Version
from .names import MANAGED_BY_LABEL, MANAGER, VAULT_RUN_LABEL

BOUND: Final = 120.0
"""Seconds by which a credential may outlive its holder; what does for longer is overdue."""
_SHORTEST: Final = 2.0
"""Seconds of life below which a renewal has met the longest that Vault gives: there is nothing more to renew."""
_KEY: Final = "record"
_PREFIX: Final = "vault-"
_FIRST_RETRY: Final = 1.0
_LONGEST_RETRY: Final = 30.0


class State(StrEnum):
    """What a record says of its holder's credentials."""

    LOGIN = "Login"
    """Something was taken from Vault, and is not to be used yet: what a crash leaves is taken back."""
    ARMED = "Armed"
    """They are at hand, and renewed."""
    REVOKING = "Revoking"
    """Their holder has ended, and not all could be taken back yet."""


@dataclass(frozen=True, slots=True)
class Grant:
    """A token or a lease: something of Vault's that ends, and may be renewed.

    Attributes:
        id: accessor of a token, or id of a lease.
        ttl: seconds that it lived when it was given.
        expires: when it ends without renewal, in seconds since the epoch.
        renewable: whether it can be renewed.
        pod: uid of the pod that got it by itself, after which it is taken back; None where the operator logged in.
    """

    id: str
    ttl: float
    expires: float
    renewable: bool = True
    pod: str | None = None

    @property
    def renew_at(self) -> float:
        """When it is to be renewed: at half of its life; never where it cannot be."""
        return self.expires - self.ttl / 2 if self.renewable and self.ttl > 0 else float("inf")

    def renewed(self, ttl: float, now: float) -> Grant:
        """The same with its new life."""
        return replace(self, ttl=ttl, expires=now + ttl, renewable=ttl >= _SHORTEST)


@dataclass(frozen=True, slots=True)
class Record:
    """What one holder has.

    Attributes:
        holder: who.
        namespace: where its Secrets are.
        environment: `<project>/<name>`.
        server: name of the Vault server.
        delivery: Secret or Pod, as the Environment has it.
        state: see State.
        accessors: tokens.
        leases: what Vault made, beside what goes with its token.
        secrets: names of Kubernetes Secrets that may exist; the last one is in use.
        files: what lies in that one, by the secret's name.
        versions: what was read.
        ended: when the holder's end was first seen, in seconds since the epoch, where something could not be taken
            back at once.
    """

    holder: Holder
    namespace: str
    environment: str
    server: str
    delivery: str = "Secret"
    state: State = State.LOGIN
    accessors: tuple[Grant, ...] = ()
    leases: tuple[Grant, ...] = ()
    secrets: tuple[str, ...] = ()
    files: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    versions: tuple[Version, ...] = ()
    ended: float | None = None

    @property
    def name(self) -> str:
        """Name of the ConfigMap that keeps it."""
        return record_name(self.holder.uid)

    @property
    def armed(self) -> Armed | None:
        """What steps may use, where they may."""
        if self.state is not State.ARMED or not self.secrets:
            return None
        return Armed(self.secrets[-1], self.files, self.versions)

    @property
    def renew_at(self) -> float:
        """When the next of its grants is to be renewed, in seconds since the epoch."""
        return min((one.renew_at for one in (*self.accessors, *self.leases)), default=float("inf"))

    def with_pod(self, accessor: Grant, leases: tuple[Grant, ...], versions: tuple[Version, ...]) -> Record:
        """The record with what a pod got by itself."""
        merged = {one.name: one for one in (*self.versions, *versions)}
        return replace(
            self,
            accessors=(*self.accessors, accessor),
            leases=(*self.leases, *leases),
            versions=tuple(merged.values()),
        )


def record_name(uid: str) -> str:
    """Name of the ConfigMap that keeps a holder's record."""
    return f"{_PREFIX}{uid}"


def retry_after(failures: int) -> float:
    """Seconds until something that failed is tried again; it is, for ever."""
    return min(_LONGEST_RETRY, _FIRST_RETRY * 2.0 ** min(failures, 8))


def to_config_map(record: Record) -> dict[str, Any]:
    """The ConfigMap that keeps a record."""
    holder = record.holder
    raw = {
        "run": {"kind": holder.kind, "namespace": holder.namespace, "name": holder.name, "uid": holder.uid},
        "namespace": record.namespace,
        "environment": record.environment,
        "server": record.server,
        "delivery": record.delivery,
        "state": str(record.state),
        "accessors": [_grant(one) for one in record.accessors],
        "leases": [_grant(one) for one in record.leases],
        "secrets": list(record.secrets),
        "files": {name: list(files) for name, files in record.files.items()},
        "versions": [one.to_status() for one in record.versions],
        "ended": record.ended,
    }
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": record.name,
            "labels": {MANAGED_BY_LABEL: MANAGER, VAULT_RUN_LABEL: holder.uid},
        },
        "data": {_KEY: orjson.dumps(raw).decode()},
    }


def from_config_map(body: Mapping[str, Any]) -> Record:
    """The record that a ConfigMap keeps.

    Raises:
        ValueError: it keeps none.
    """
    try:
        raw = orjson.loads(body["data"][_KEY])
        run = raw["run"]
        return Record(
            holder=Holder(run.get("kind", RUN), run["namespace"], run["name"], run["uid"]),
            namespace=raw.get("namespace", run["namespace"]),
            environment=raw["environment"],
            server=raw["server"],
            delivery=raw.get("delivery", "Secret"),
            state=State(raw["state"]),
            accessors=tuple(Grant(**one) for one in raw["accessors"]),
            leases=tuple(Grant(**one) for one in raw["leases"]),
            secrets=tuple(raw["secrets"]),
            files={name: tuple(files) for name, files in raw["files"].items()},
            versions=tuple(Version(**one) for one in raw["versions"]),
            ended=raw.get("ended"),
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"no record: {type(error).__name__}") from None


def _grant(one: Grant) -> dict[str, Any]:
    out: dict[str, Any] = {"id": one.id, "ttl": one.ttl, "expires": one.expires, "renewable": one.renewable}
    return out if one.pod is None else out | {"pod": one.pod}
