"""History: how many of a pipeline's finished runs and unused revisions stay, and for how long."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field

from .base import ApiModel, Duration

REVISIONS: Final = 10
"""Unused revisions that stay where a Pipeline says nothing, as `revisionHistoryLimit` of a Deployment has it."""

Count = Annotated[int, Field(ge=0, le=100_000)]


class History(ApiModel):
    """How many finished runs and unused revisions stay, and for how long; what is unset here bounds nothing."""

    succeeded: Count | None = None
    """How many succeeded runs stay in each namespace where the pipeline runs, the last ones; all where unset."""
    failed: Count | None = None
    """How many failed runs stay, likewise."""
    cancelled: Count | None = None
    """How many cancelled runs stay, likewise; as many as failed ones where unset, each counted by itself."""
    ttl: Duration | None = None
    """How long a finished run stays after its end, such as 7d; without end where unset."""
    failed_ttl: Duration | None = None
    """How long a run that failed or was cancelled stays after its end; as ttl where unset."""
    logs: Duration | None = None
    """How long after a run's end its Jobs and pods stay, and so their logs; as long as the run where unset."""
    revisions: Annotated[int, Field(ge=0, le=1000)] | None = None
    """How many revisions stay that are neither active nor of a run that exists; 10 where unset."""
