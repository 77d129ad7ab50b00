"""Candidates against a server that keeps one Lease and checks its resourceVersion, as the API server does."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from aiohttp import web
from tests.unit.kube.objects import status_of

from dataops_operator.kube.client import KubeClient
from dataops_operator.kube.config import Credentials
from dataops_operator.kube.leader import LeaderElector

# Wide bounds: a machine under load may stand still for a good part of a second.
FAST = {"lease_duration": 3.0, "renew_deadline": 2.0, "retry_period": 0.1}


class LeaseServer:
    def __init__(self) -> None:
        self.lease: dict[str, Any] | None = None
        self.url = ""
        self.version = 0
        self.away = False
        self.lose_next_answer = False
        self.writes: list[str] = []

    def write(self, lease: dict[str, Any]) -> None:
        self.version += 1
        metadata = lease["metadata"] | {"resourceVersion": str(self.version)}
        self.lease = lease | {"metadata": metadata}

    async def handle(self, request: web.Request) -> web.Response:
        body = await request.json() if request.can_read_body else None
        if self.away:
            return web.json_response(status_of(503, "ServiceUnavailable"), status=503)
        code, answer = self.answer(request.method, body)
        if body and self.lose_next_answer:
            self.lose_next_answer = False
            assert request.transport is not None
            request.transport.close()
        return web.json_response(answer, status=code)

    def answer(self, method: str, body: dict[str, Any] | None) -> tuple[int, dict[str, Any]]:
        if method == "POST":
            assert body is not None
            if self.lease is not None:
                return 409, status_of(409, "AlreadyExists")
            self.write(body)
        elif self.lease is None:
            return 404, status_of(404, "NotFound")
        elif method == "PUT":
            assert body is not None
            if body["metadata"]["resourceVersion"] != self.lease["metadata"]["resourceVersion"]:
                return 409, status_of(409, "Conflict")
            self.writes.append(body["spec"]["holderIdentity"])
            self.write(body)
        assert self.lease is not None
        return 200, self.lease

    @property
    def holder(self) -> str:
        return str(self.lease["spec"]["holderIdentity"]) if self.lease else ""


@pytest.fixture
async def server() -> AsyncIterator[LeaseServer]:
    made = LeaseServer()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", made.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield made
    await runner.cleanup()


class Candidate:
    def __init__(self, client: KubeClient, name: str, **more: Any) -> None:
        self.elector = LeaderElector(client, "ns", "lease", name, **(FAST | more))
        self.started = asyncio.Event()
        self.task = asyncio.create_task(self.elector.run(self.started.set))

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


Enter = Callable[..., Candidate]


@pytest.fixture
async def enter(server: LeaseServer) -> AsyncIterator[Enter]:
    """Enter a candidate into the election."""
    candidates: list[Candidate] = []
    async with KubeClient(Credentials(server.url)) as client:

        def add(name: str, **more: Any) -> Candidate:
            candidates.append(Candidate(client, name, **more))
            return candidates[-1]

        yield add
        for candidate in candidates:
            await candidate.stop()


async def soon(event: asyncio.Event, seconds: float = 3.0) -> float:
    started = asyncio.get_running_loop().time()
    await asyncio.wait_for(event.wait(), seconds)
    return asyncio.get_running_loop().time() - started


async def test_the_first_leads_and_renews_while_the_second_waits(server: LeaseServer, enter: Enter) -> None:
    first = enter("one", lease_duration=2.0, renew_deadline=1.8)
    await soon(first.started)
    second = enter("two")
    await asyncio.sleep(2.5)  # longer than the lease lasts without renewal
    assert first.elector.is_leader
    assert not second.elector.is_leader
    assert server.lease is not None
    spec = server.lease["spec"]
    assert (spec["holderIdentity"], spec["leaseTransitions"]) == ("one", 0)
    assert spec["renewTime"] > spec["acquireTime"]
    assert set(server.writes) == {"one"}


async def test_a_released_lease_is_taken_at_the_next_try(server: LeaseServer, enter: Enter) -> None:
    first = enter("one")
    await soon(first.started)
    second = enter("two")
    await asyncio.sleep(0.15)
    await first.stop()
    await first.elector.release()
    assert server.holder == ""
    assert await soon(second.started) < 1.5
    assert server.lease is not None
    assert server.lease["spec"]["leaseTransitions"] == 1


async def test_a_lease_that_another_took_meanwhile_is_not_released(server: LeaseServer, enter: Enter) -> None:
    leader = enter("one")
    await soon(leader.started)
    await leader.stop()
    assert server.lease is not None
    server.write(server.lease | {"spec": server.lease["spec"] | {"holderIdentity": "two"}})
    await leader.elector.release()
    assert server.holder == "two"


async def test_a_dead_leaders_lease_runs_out_on_the_standbys_own_clock(server: LeaseServer, enter: Enter) -> None:
    # The dead leader's clock was a century ahead: its times say nothing.
    server.write(
        {
            "metadata": {"name": "lease"},
            "spec": {"holderIdentity": "dead", "leaseDurationSeconds": 1, "renewTime": "2126-01-01T00:00:00.0Z"},
        }
    )
    waited = await soon(enter("two").started)
    assert 0.9 <= waited <= 2.5
    assert server.holder == "two"


async def test_a_leader_that_cannot_renew_gives_up_before_the_lease_runs_out(server: LeaseServer, enter: Enter) -> None:
    leader = enter("one", renew_deadline=0.6)
    await soon(leader.started)
    server.away = True
    waited = await soon(leader.elector.lost)
    assert 0.4 <= waited < FAST["lease_duration"]
    assert not leader.elector.is_leader
    await asyncio.wait_for(leader.task, 1)


async def test_a_short_outage_is_survived(server: LeaseServer, enter: Enter) -> None:
    leader = enter("one")
    await soon(leader.started)
    server.away = True
    await asyncio.sleep(0.3)
    server.away = False
    await asyncio.sleep(0.8)
    assert leader.elector.is_leader
    assert not leader.elector.lost.is_set()


async def test_a_renewal_whose_answer_was_lost_is_not_taken_for_another_holder(
    server: LeaseServer, enter: Enter
) -> None:
    leader = enter("one")
    await soon(leader.started)
    server.lose_next_answer = True
    await asyncio.sleep(0.8)
    assert not server.lose_next_answer
    assert leader.elector.is_leader
    await leader.stop()
    await leader.elector.release()
    assert server.holder == ""


async def test_a_lease_that_another_took_is_lost_at_once(server: LeaseServer, enter: Enter) -> None:
    leader = enter("one")
    await soon(leader.started)
    assert server.lease is not None
    server.write(server.lease | {"spec": server.lease["spec"] | {"holderIdentity": "thief"}})
    assert await soon(leader.elector.lost) < 1.5
    assert server.holder == "thief"


async def test_a_lease_that_was_deleted_is_made_again(server: LeaseServer, enter: Enter) -> None:
    leader = enter("one")
    await soon(leader.started)
    server.lease = None
    await asyncio.sleep(0.8)
    assert leader.elector.is_leader
    assert server.holder == "one"


async def test_a_process_that_stood_still_does_not_think_that_it_leads(server: LeaseServer, enter: Enter) -> None:
    now = [0.0]
    leader = enter("one", clock=lambda: now[0])
    await soon(leader.started)
    assert leader.elector.is_leader
    now[0] += 3.1
    assert not leader.elector.is_leader
    await soon(leader.elector.lost)


@pytest.mark.parametrize("times", [(10, 10, 2), (15, 2, 2), (15, 10, 0)])
def test_times_that_cannot_work_are_refused(times: tuple[float, float, float]) -> None:
    duration, deadline, period = times
    client = KubeClient(Credentials("http://127.0.0.1:1"))
    with pytest.raises(ValueError, match="lease duration > renew deadline"):
        LeaderElector(client, "ns", "l", "me", lease_duration=duration, renew_deadline=deadline, retry_period=period)


async def test_who_takes_a_lease_that_was_vacant_knows_that_nobody_led_since_it_looked(enter: Enter) -> None:
    first = enter("one")
    await first.stop()
    await first.elector.look_for_vacancy()
    assert not first.elector.was_vacant, "it does not lead yet"
    again = asyncio.create_task(first.elector.run(first.started.set))
    await soon(first.started)
    assert first.elector.was_vacant, "there was no lease"
    again.cancel()
    await asyncio.gather(again, return_exceptions=True)
    await first.elector.release()
    second = enter("two")
    await second.stop()
    await second.elector.look_for_vacancy()
    again = asyncio.create_task(second.elector.run(second.started.set))
    await soon(second.started)
    assert second.elector.was_vacant, "it was given up"
    again.cancel()
    await asyncio.gather(again, return_exceptions=True)


async def test_where_somebody_led_in_between_it_was_not_vacant(enter: Enter) -> None:
    late = enter("late")
    await late.stop()
    await late.elector.look_for_vacancy()
    other = enter("other")
    await soon(other.started)
    await other.stop()
    await other.elector.release()
    again = asyncio.create_task(late.elector.run(late.started.set))
    await soon(late.started)
    assert not late.elector.was_vacant
    again.cancel()
    await asyncio.gather(again, return_exceptions=True)


async def test_a_lease_that_somebody_holds_is_not_vacant_even_if_it_then_runs_out(enter: Enter) -> None:
    first = enter("one", lease_duration=0.5, renew_deadline=0.4)
    await soon(first.started)
    await first.stop()
    second = enter("two")
    await second.stop()
    await second.elector.look_for_vacancy()
    again = asyncio.create_task(second.elector.run(second.started.set))
    await soon(second.started, 8.0)
    assert not second.elector.was_vacant, "its holder may have written until it ran out"
    again.cancel()
    await asyncio.gather(again, return_exceptions=True)
