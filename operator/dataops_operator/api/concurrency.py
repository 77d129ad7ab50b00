"""How many runs of a pipeline go on at once, and which of those that wait comes first."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field, StringConstraints

from .base import ApiModel, rule, rules


class Priority(StrEnum):
    """Which of several runs that wait for one place gets it: the higher first, then the older."""

    HIGH = "High"
    NORMAL = "Normal"
    LOW = "Low"


class Policy(StrEnum):
    """What becomes of a run for which there is no place."""

    WAIT = "Wait"
    REFUSE = "Refuse"


class Concurrency(ApiModel):
    """How many runs of the pipeline may be under way at once in one environment."""

    model_config = ApiModel.model_config | {
        "json_schema_extra": rules(
            rule(
                "!has(self.key) || self.key.matches('[$][(](params|env|run)[.]')",
                "a key is a template of params, env or run, such as $(params.day); without one, leave key out",
                ".key",
            )
        )
    }

    limit: Annotated[int, Field(ge=1, le=1000)]
    """Runs at once: of the pipeline in one environment, or, with key, of those that have the same key there."""
    key: Annotated[str, StringConstraints(min_length=1, max_length=256)] | None = None
    """Template of params, env or run, such as $(params.day): runs with different keys do not wait for each other."""
    policy: Policy = Policy.WAIT
    """What becomes of a run for which there is no place: it waits for one (Wait), or fails at once (Refuse)."""
