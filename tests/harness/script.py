"""What happens to played pods: a table of rules, readable in a test and as JSON across a process boundary."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Self

import orjson


class Outcome(StrEnum):
    """How a played pod fares."""

    SUCCEED = "Succeed"
    """Every container exits 0."""
    FAIL = "Fail"
    """The containers exit with `exit_code`; 137 with `reason` OOMKilled is a kill for memory."""
    EVICT = "Evict"
    """Evicted by the API while it ran: phase Failed, condition DisruptionTarget, exit code 143."""
    LOSE_NODE = "LoseNode"
    """Its node vanished: no container ever ended, the pod is failed by the pod collector and deleted."""
    NEVER_START = "NeverStart"
    """Its containers wait for ever, with `reason` (ImagePullBackOff, CreateContainerConfigError, ...)."""
    PENDING = "Pending"
    """Nobody schedules it: condition PodScheduled=False, reason Unschedulable."""
    HANG = "Hang"
    """It runs until somebody deletes it, or its deadline is over."""


@dataclass(frozen=True)
class Play:
    """What one pod does. Times in seconds from the pod's ADDED event."""

    outcome: Outcome = Outcome.SUCCEED
    start: float = 0.1
    end: float = 1.0
    exit_code: int = 1
    reason: str = ""
    message: str = ""
    """The termination message (for Fail and Succeed), or the waiting container's message."""
    delete: bool = False
    """Delete the pod as soon as it has ended, as an impatient pod collector would."""
    grace: float = 0.1
    """Seconds that a container takes to end when it is told to, since its pod's deadline is over."""
    tells: str | None = None
    """What it then writes as its termination message before it exits with 0; where None it dies of the signal."""
    untold: float = 0.0
    """Seconds between the word that such a pod has Failed and the one how its containers ended."""

    def scaled(self, start: float, end: float) -> Play:
        """The same play at other times."""
        return Play(**(asdict(self) | {"start": start, "end": end}))


def succeed(**outputs: Any) -> Play:
    """A pod that ends well with these outputs."""
    return Play(message=orjson.dumps({"outputs": outputs}).decode() if outputs else "")


def fail(exit_code: int = 1, message: str = "", reason: str = "Error") -> Play:
    """A pod whose container exits with an error."""
    return Play(outcome=Outcome.FAIL, exit_code=exit_code, message=message, reason=reason)


def never_start(reason: str = "ImagePullBackOff", message: str = "Back-off pulling image") -> Play:
    """A pod whose container waits for ever."""
    return Play(outcome=Outcome.NEVER_START, reason=reason, message=message)


@dataclass(frozen=True)
class Rule:
    """A play for the pods that match; empty fields and 0 match all."""

    play: Play
    step: str = ""
    attempt: int = 0
    namespace: str = ""
    run: str = ""
    items: tuple[int, ...] = ()
    """Positions of a fan-out's items."""

    def matches(self, namespace: str, run: str, step: str, attempt: int, item: int | None = None) -> bool:
        """Whether the rule is for that pod."""
        wanted = ((self.namespace, namespace), (self.run, run), (self.step, step))
        mine = not self.items or item in self.items
        return all(want in ("", got) for want, got in wanted) and self.attempt in (0, attempt) and mine


@dataclass
class Script:
    """Rules, the first match counts; `default` is for a pod that none matches."""

    rules: list[Rule] = field(default_factory=list)
    default: Play = field(default_factory=Play)

    def play(self, namespace: str, run: str, step: str, attempt: int, item: int | None = None) -> Play:
        """The play of a pod."""
        for rule in self.rules:
            if rule.matches(namespace, run, step, attempt, item):
                return rule.play
        return self.default

    def add(self, step: str, play: Play, *, attempt: int = 0, namespace: str = "", run: str = "") -> Self:
        """Add a rule and give back the script, for a chain of such calls."""
        self.rules.append(Rule(play, step, attempt, namespace, run))
        return self

    def paced(self, start: float, end: float) -> Script:
        """The same script with every pod started and ended at these times."""
        rules = [
            Rule(rule.play.scaled(start, end), rule.step, rule.attempt, rule.namespace, rule.run, rule.items)
            for rule in self.rules
        ]
        return Script(rules, self.default.scaled(start, end))

    def to_json(self) -> bytes:
        """The script as JSON."""
        return orjson.dumps(asdict(self))

    @classmethod
    def from_json(cls, raw: bytes) -> Self:
        """The script that `to_json` wrote."""
        data = orjson.loads(raw)
        rules = [Rule(**{**rule, "play": _play(rule["play"]), "items": tuple(rule["items"])}) for rule in data["rules"]]
        return cls(rules, _play(data["default"]))


def _play(data: dict[str, Any]) -> Play:
    return Play(**{**data, "outcome": Outcome(data["outcome"])})
