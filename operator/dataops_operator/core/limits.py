"""ResourceQuota and LimitRange of an execution namespace, such that a pod that says nothing fits in."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from .quantities import format_quantity, parse_quantity

_REQUEST: Final = {"cpu": "50m", "memory": "64Mi", "ephemeral-storage": "256Mi"}
"""What a container is given that asks for nothing."""
_LIMIT: Final = {"cpu": "1", "memory": "512Mi", "ephemeral-storage": "1Gi"}
"""What it may use at most, where the quota counts limits: without one, such a pod would be refused."""


def resource_quota(hard: Mapping[str, str | int]) -> dict[str, Any]:
    """Spec of the ResourceQuota."""
    return {"hard": {name: str(value) for name, value in hard.items()}}


def limit_range(hard: Mapping[str, str | int], *, always: bool) -> dict[str, Any] | None:
    """Spec of the LimitRange that gives containers what the quota wants said; None where none is needed.

    Args:
        hard: what the quota counts.
        always: have one that gives requests of cpu and memory even where no quota asks, so that the scheduler knows
            something of every pod.
    """
    requests: dict[str, str] = {}
    limits: dict[str, str] = {}
    for name in _REQUEST:
        asked = _least(hard, (name, f"requests.{name}"))
        bound = _least(hard, (f"limits.{name}",))
        if asked is None and bound is None and not (always and name != "ephemeral-storage"):
            continue
        request = _smaller(_REQUEST[name], asked, bound)
        requests[name] = request
        if bound is not None:
            limits[name] = _smaller(_LIMIT[name], bound)
    if not requests:
        return None
    item: dict[str, Any] = {"type": "Container", "defaultRequest": requests}
    if limits:
        item["default"] = limits
    return {"limits": [item]}


def _least(hard: Mapping[str, str | int], names: tuple[str, ...]) -> Decimal | None:
    return min((parse_quantity(hard[name]) for name in names if name in hard), default=None)


def _smaller(usual: str, *bounds: Decimal | None) -> str:
    """The usual quantity, or the smallest of the bounds where that is less."""
    least = min((one for one in bounds if one is not None), default=None)
    return usual if least is None or parse_quantity(usual) <= least else format_quantity(least)
