"""When a short-lived environment ends, and when that is told before."""

from __future__ import annotations

from typing import Final

from ..api.base import parse_duration
from .times import from_rfc3339

SHARE: Final = 0.1
"""Part of the time to live that is left at the warning."""
LEAST_NOTICE: Final = 60.0
LONGEST_NOTICE: Final = 3600.0
"""Seconds between the warning and the end, at least and at most."""


def expires_at(created: str, ttl: str) -> float:
    """When an environment deletes itself, seconds since the epoch.

    Args:
        created: its metadata.creationTimestamp.
        ttl: its spec.ttl.
    """
    return from_rfc3339(created) + parse_duration(ttl)


def warn_at(created: str, ttl: str) -> float:
    """When the end is told: a tenth of the time to live before it, a minute at least and an hour at most."""
    seconds = parse_duration(ttl)
    notice = min(max(seconds * SHARE, LEAST_NOTICE), LONGEST_NOTICE, seconds)
    return expires_at(created, ttl) - notice
