"""One turn of planning: the fixed input, and what the rules have asked for so far."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..api.base import parse_duration
from ..api.environment import Vault
from .inputs import Inputs
from .names import job_name
from .objects import ObjectRef
from .plan import Asked, Gather, View
from .rows import Row


class Turn:
    """What the rules of a turn go by, and where they note what is to be done."""

    def __init__(self, inputs: Inputs, view: View, now: float, asked: Asked) -> None:
        self.inputs = inputs
        self.view = view
        self.now = now
        self.asked = asked
        self.create: list[dict[str, Any]] = []
        self.carried: dict[str, str] = {}
        """Steps that begin behind the one that was just begun, with the Job that they share."""
        self.prove: list[str] = []
        self.explain: dict[str, str | None] = {}
        self.look: list[ObjectRef] = []
        self.gather: list[Gather] = []
        self.fetch: list[str] = []
        self.recall: list[str] = []
        self.taken = False
        """Whether a step's end was taken from an earlier run, or is what others say: that is written before anything
        goes by it."""
        self.items: list[dict[str, Any]] = []
        self.stop: list[str] = []
        self.start: list[dict[str, Any]] = []
        self.make: list[dict[str, Any]] = []
        self.remove: list[ObjectRef] = []
        self.steer: dict[str, dict[str, Any]] = {}
        self.outputs: Mapping[str, Mapping[str, Any]] = {}
        self.known: Mapping[str, Row] = {}
        self.suspended = False
        self.arm = False
        self.wakes: list[float] = []
        self.short = False

    def begin_nothing(self) -> None:
        """Forget what was noted to begin: the graph is walked again."""
        for noted in (self.create, self.start, self.make, self.items):
            noted.clear()
        self.arm = self.short = False

    @property
    def begins(self) -> bool:
        """Whether something is to begin outside of the run's status."""
        return bool(self.create or self.start or self.make)

    @property
    def looks(self) -> bool:
        """Whether something is to be looked at more closely before anything is done."""
        return bool(self.prove or self.explain or self.look or self.gather or self.fetch or self.recall)

    @property
    def vault(self) -> Vault | None:
        """How steps of the run's environment get secrets."""
        return self.inputs.environment.vault if self.inputs.environment is not None else None

    @property
    def deadline(self) -> float | None:
        """When the run has to have ended, `finally` aside, in seconds since the epoch; None without end."""
        limit = self.inputs.revision.spec.timeout
        if limit is None:
            return None
        return (self.now if self.asked.began is None else self.asked.began) + parse_duration(limit)

    def job_name(self, step: str, attempt: int, item: int | None = None) -> str:
        """The name of the Job of one attempt at a step, or at an item of it."""
        return job_name(self.inputs.identity.name, self.inputs.identity.uid, step, attempt, item)
