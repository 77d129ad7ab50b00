"""The operator dies at every write and at every request to Vault between a login and its revocation.

After its restart the run ends as if nothing had happened, and nothing that Vault gave outlives it: neither what was
recorded, nor (beyond the ttl of its role) a login whose answer nobody lived to write down.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from tests.faults.case import judge, untouched
from tests.faults.vaultcase import Side, Strike, a_site, in_lanes, was_armed
from tests.harness.api import Api
from tests.harness.armedplayer import ArmedPlayer
from tests.harness.faults import CrashAt, When
from tests.harness.player import Player
from tests.harness.proxy import Call
from tests.harness.script import Script

from localcluster.controlplane import ControlPlane

LANES = 5
PATHS = ("secret/data/{role}", "database/creds/{role}")


@pytest.mark.timeout(1800)
async def test_death_at_any_write_or_request_to_vault_leaves_nothing(plane: ControlPlane, tmp_path: Path) -> None:
    async with (
        Api(plane.server, plane.token, plane.ca) as api,
        Player(api, Script().paced(0.05, 0.15)),
        a_site(plane, api, tmp_path) as site,
        AsyncExitStack() as stack,
    ):
        lanes = [await stack.enter_async_context(site.lane(f"vault-crash-{number}")) for number in range(LANES)]
        # Each case has an operator that has not logged in itself yet; so has this one.
        await lanes[0].restart()
        calm = await lanes[0].run()
        assert not calm.result.problems, str(calm)
        assert (calm.logins, calm.result.restarts, calm.reason) == (1, 0, ""), str(calm)
        strikes = [_crash("vault", k, when) for k in _numbers(calm.requests) for when in ("before", "after")]
        strikes += [_crash("api", k, when) for k in _numbers(calm.result.writes) for when in ("before", "after")]
        # A login that is lost first: it has ended by itself when the last case has.
        recorded = next(call.number for call in calm.result.writes if call.plural == "configmaps")
        strikes.sort(key=lambda strike: strike.name not in ("secret-vault-after-1", f"secret-api-before-{recorded}"))
        outcomes = await in_lanes(lanes, strikes)
        await site.ended()
    for strike, outcome in outcomes:
        allowed = 1 if was_armed(strike, outcome) else 1 + outcome.result.restarts
        assert 1 <= outcome.logins <= allowed, f"{outcome.logins} logins, {allowed} allowed: {outcome}"
    results = [outcome.result for _, outcome in outcomes]
    failures = judge(results, calm.result.end)
    assert not failures, failures
    # Two ends that come together may be told in one write instead of two: the last numbers are then not reached.
    assert len(untouched(results)) <= 4, f"nobody died in {untouched(results)}: these cases prove nothing"


@pytest.mark.timeout(1800)
async def test_death_at_any_write_leaves_nothing_of_what_pods_got_by_themselves(
    plane: ControlPlane, tmp_path: Path
) -> None:
    """In delivery mode Pod each pod logs in, and only its termination message says so."""
    async with (
        Api(plane.server, plane.token, plane.ca) as api,
        a_site(plane, api, tmp_path) as site,
        ArmedPlayer(api, Script().paced(0.05, 0.3), bao=site.bao, paths=PATHS),
        AsyncExitStack() as stack,
    ):
        names = (f"vault-pods-{number}" for number in range(LANES))
        lanes = [await stack.enter_async_context(site.lane(name, delivery="Pod")) for name in names]
        await lanes[0].restart()
        calm = await lanes[0].run()
        assert not calm.result.problems, str(calm)
        assert (calm.logins, calm.result.restarts, calm.reason) == (2, 0, ""), str(calm)
        strikes = [_crash("vault", k, when, "pods") for k in _numbers(calm.requests) for when in ("before", "after")]
        strikes += [
            _crash("api", k, when, "pods") for k in _numbers(calm.result.writes) for when in ("before", "after")
        ]
        outcomes = await in_lanes(lanes, strikes)
        await site.ended()
    assert {outcome.logins for _, outcome in outcomes} == {2}, "one for each pod"
    results = [outcome.result for _, outcome in outcomes]
    failures = judge(results, calm.result.end)
    assert not failures, failures
    assert len(untouched(results)) <= 4, f"nobody died in {untouched(results)}: these cases prove nothing"


def _numbers(calls: Sequence[Call]) -> range:
    return range(1, len(calls) + 1)


def _crash(side: Side, k: int, when: When, mode: str = "secret") -> Strike:
    return Strike(f"{mode}-{side}-{when}-{k}", side, k, lambda operator: CrashAt(k, when, operator.kill))
