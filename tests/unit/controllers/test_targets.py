"""When an Environment's targets are looked at."""

from __future__ import annotations

import time
from typing import Any, cast

import pytest
from tests.unit.core.environments import SCRATCH, an_environment, in_effect, place

from dataops_operator.api.conditions import Reason
from dataops_operator.controllers.targetjobs import Hindered, Running
from dataops_operator.controllers.targets import EVERY, Targets
from dataops_operator.core.environment_status import Part
from dataops_operator.core.storagejob import Code, Report
from dataops_operator.core.targetjobs import Outcome, Work


class Jobs:
    """Jobs that end well as soon as they have their credentials."""

    def __init__(self) -> None:
        self.armed = True
        self.given_up = 0

    async def start(self, _content: object, _place: object, work: Work, _known: object) -> Running | Hindered:
        if self.armed:
            return Running(work, "look", "u", time.time())
        return Hindered(Part(None, Reason.VAULT, "gets its credentials from Vault"), work.task)

    async def result(self, running: Running, _place: object) -> Outcome:
        return Outcome({one.name: Report(one.name, Code.OK) for one in running.work.targets})

    async def clear(self, *_: object, **__: object) -> None:
        """Nothing is left of them."""

    def give_up(self, _place: object) -> None:
        self.given_up += 1


async def test_targets_that_are_again_as_they_were_looked_at_are_looked_at_in_time() -> None:
    nobody, jobs = cast(Any, None), Jobs()
    targets = Targets(nobody, nobody, cast(Any, jobs))
    before, after = (
        (one, in_effect(one))
        for one in (an_environment(targets=[SCRATCH]), an_environment(targets=[SCRATCH | {"name": "other"}]))
    )
    for _ in range(2):
        looked = await targets.part(*before, place())
    assert looked.part.status
    assert looked.retry == pytest.approx(EVERY, abs=5)
    jobs.armed = False
    assert (await targets.part(*after, place())).retry is None, "it hears of the credentials"
    again = await targets.part(*before, place())
    assert (again.part.status, jobs.given_up) == (True, 1)
    assert again.retry == pytest.approx(EVERY, abs=5)
