"""Objects of the cluster that a run's steps look at: which one, and what was read of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..api.conditions import Reason


@dataclass(frozen=True, slots=True)
class ObjectRef:
    """Which object."""

    api_version: str
    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        """As people call it: `Job team/load`."""
        return f"{self.kind} {self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class Seen:
    """What was read of an object.

    Attributes:
        content: the object; None where there is none, or it could not be read.
        problem: why it could not be read; empty where it could, or there is none.
        reason: of the problem.
        hopeless: whether no later try can end otherwise.
    """

    content: Mapping[str, Any] | None = None
    problem: str = ""
    reason: Reason = Reason.OBJECT_UNREADABLE
    hopeless: bool = False
