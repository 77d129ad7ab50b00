"""What a pod says that it got of Vault by itself: the termination message of its init container, which has no value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import orjson

from .credentials import Version
from .observe import Object, agent_of
from .records import Grant
from .times import from_rfc3339

_LIMIT: Final = 64
"""Leases and versions that are read of one message, which has at most 4 KiB."""


@dataclass(frozen=True, slots=True)
class PodLogin:
    """What one pod got."""

    accessor: Grant
    leases: tuple[Grant, ...] = ()
    versions: tuple[Version, ...] = ()


def login_of(pod: Object) -> PodLogin | None:
    """What a pod got, as its init container told at its end; None where it did not log in, or has not ended."""
    ended = agent_of(pod).get("terminated") or {}
    try:
        told = orjson.loads(ended.get("message") or "")
        accessor = told["accessor"]
    except (ValueError, TypeError, KeyError):
        return None
    if not isinstance(accessor, str) or not accessor:
        return None
    at, uid = from_rfc3339(ended["finishedAt"]), pod["metadata"]["uid"]
    leases = [one for one in _list(told.get("leases")) if isinstance(one.get("id"), str)]
    versions = [one for one in _list(told.get("versions")) if isinstance(one.get("name"), str)]
    return PodLogin(
        _grant(accessor, told, at, uid),
        tuple(_grant(one["id"], one, at, uid) for one in leases),
        tuple(_version(one) for one in versions),
    )


def _version(told: dict[str, Any]) -> Version:
    number = told.get("version")
    return Version(told["name"], number if isinstance(number, int) else None, told.get("leased") is True)


def _list(value: Any) -> list[dict[str, Any]]:
    return [one for one in value[:_LIMIT] if isinstance(one, dict)] if isinstance(value, list) else []


def _grant(name: str, told: dict[str, Any], at: float, pod: str) -> Grant:
    ttl = told.get("ttl")
    seconds = float(ttl) if isinstance(ttl, int | float) and not isinstance(ttl, bool) else 0.0
    return Grant(name, seconds, at + seconds, told.get("renewable") is not False, pod)
