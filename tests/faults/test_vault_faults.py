"""The operator stays alive while Vault refuses, is sealed, is slow or loses an answer, at each request of a run.

What can be tried again is, and the run ends well; what cannot fails it with a reason. In no case is anything left.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from tests.faults.case import ended, judge, untouched
from tests.faults.vaultcase import Outcome, Strike, a_site, in_lanes, was_armed
from tests.harness.api import Api
from tests.harness.faults import LoseAnswer
from tests.harness.player import Player
from tests.harness.proxy import Fault
from tests.harness.script import Script
from tests.harness.vaultproxy import LateAnswer, Refuse

from localcluster.controlplane import ControlPlane

LANES = 8
PATIENCE = 3
"""Seconds that the operator waits for an answer here."""
FAULTS: dict[str, Callable[[int], Fault]] = {
    "too-many-requests": lambda k: Refuse(k, 429),
    "sealed-twice": lambda k: Refuse(k, 503, times=2),
    "failed": lambda k: Refuse(k, 500),
    "forbidden": lambda k: Refuse(k, 403),
    "late": lambda k: LateAnswer(k, PATIENCE + 1),
    "lost-answer": LoseAnswer,
}


@pytest.mark.timeout(1800)
async def test_whatever_vault_answers_the_run_ends_and_leaves_nothing(plane: ControlPlane, tmp_path: Path) -> None:
    async with (
        Api(plane.server, plane.token, plane.ca) as api,
        Player(api, Script().paced(0.05, 0.3)),
        a_site(plane, api, tmp_path) as site,
        AsyncExitStack() as stack,
    ):
        lanes = [
            await stack.enter_async_context(site.lane(f"vault-fault-{number}", patience=f"{PATIENCE}s"))
            for number in range(LANES)
        ]
        calm = await lanes[0].run()
        assert not calm.result.problems, str(calm)
        first, own = (call.number for call in calm.requests if call.path.endswith("/login"))
        assert (first, calm.logins) == (1, 1), str(calm)
        strikes = [_strike(fault, k) for k in range(1, len(calm.requests)) for fault in FAULTS]
        # The operator's own login is for many runs; here it comes again.
        strikes += [_strike(fault, own, fresh=True) for fault in FAULTS]
        outcomes = await in_lanes(lanes, strikes)
        await site.ended()
    for strike, outcome in outcomes:
        assert outcome.reason == _reason(strike, outcome), str(outcome)
        assert outcome.logins <= (1 if was_armed(strike, outcome) else 2), str(outcome)
    failures = judge([one.result for _, one in outcomes if not one.reason], calm.result.end)
    assert not failures, failures
    results = [outcome.result for _, outcome in outcomes]
    assert not ended(results), f"the operator ended by itself in {ended(results)}"
    assert not untouched(results), f"nothing failed in {untouched(results)}: these cases prove nothing"


def _strike(fault: str, k: int, *, fresh: bool = False) -> Strike:
    name = f"{fault}-{k}-fresh" if fresh else f"{fault}-{k}"
    return Strike(name, "vault", k, lambda _: FAULTS[fault](k), fresh)


def _reason(strike: Strike, outcome: Outcome) -> str:
    """Why the run fails: Vault does not allow its login or a read. All else is tried again."""
    if not strike.name.startswith("forbidden"):
        return ""
    if strike.k == 1:
        return "VaultLoginFailed"
    return "VaultForbidden" if ": GET " in str(outcome.result.struck) else ""
