"""Whether a failed attempt is tried again, and when: by the class of its failure."""

from __future__ import annotations

import hashlib
from dataclasses import replace

from ..api.base import parse_duration
from ..api.step import Backoff, FailureClass, Resources, Retry
from .quantities import format_bytes, parse_quantity
from .rows import Row


def counted(row: Row, failure: FailureClass | None) -> Row:
    """The row with the failure of its attempt counted where a later attempt goes by that."""
    if failure is FailureClass.INFRASTRUCTURE:
        return replace(row, disruptions=row.disruptions + 1)
    if failure is FailureClass.OUT_OF_MEMORY:
        return replace(row, out_of_memory=row.out_of_memory + 1)
    return row


def tried_again(policy: Retry, row: Row, failure: FailureClass | None, exit_code: int | None) -> bool:
    """Whether a step whose attempt has failed gets another one.

    Args:
        policy: of the step.
        row: of the step, with this failure counted.
        failure: its class; None for what trying again cannot mend.
        exit_code: of the step's container, where it ended with one.
    """
    if failure not in policy.on:
        return False
    if failure is FailureClass.INFRASTRUCTURE:
        return row.disruptions <= policy.infrastructure
    codes = policy.exit_codes
    if failure is FailureClass.FAILURE and codes is not None and exit_code is not None:
        hopeless = exit_code in (codes.never or ()) or (codes.retry is not None and exit_code not in codes.retry)
        if hopeless:
            return False
    return row.attempt - row.disruptions <= policy.limit


def pause(backoff: Backoff, row: Row, failure: FailureClass | None, seed: str) -> float:
    """Seconds between the end of an attempt and the next one.

    Args:
        backoff: of the step.
        row: of the step, with the failure counted.
        failure: the class of the failure.
        seed: what the jitter is drawn from: the same gives the same.
    """
    before = row.disruptions if failure is FailureClass.INFRASTRUCTURE else row.attempt - row.disruptions
    wait = min(parse_duration(backoff.initial) * float(backoff.factor) ** (before - 1), parse_duration(backoff.max))
    drawn = int.from_bytes(hashlib.sha256(f"{seed}/{row.attempt}".encode()).digest()[:4], "big") / 2**32
    return wait * (1 + drawn * backoff.jitter / 100)


def with_more_memory(resources: Resources | None, policy: Retry, times: int) -> Resources | None:
    """The resources of an attempt after some that were killed for their memory.

    Args:
        resources: the step's.
        policy: of the step.
        times: how many attempts were.
    """
    raise_by = policy.memory
    if resources is None or raise_by is None or not times:
        return resources
    most = parse_quantity(raise_by.max)

    def raised(given: dict[str, int | str] | None) -> dict[str, int | str] | None:
        if not given or "memory" not in given:
            return given
        now = parse_quantity(given["memory"])
        return {**given, "memory": format_bytes(max(now, min(now * raise_by.factor**times, most)))}

    return Resources(requests=raised(resources.requests), limits=raised(resources.limits))
