"""What runs with secrets do while Vault or the operator is not there, on a real API server and a real OpenBao.

Each case has an operator of its own, and all share a server that is sealed, frozen and opened again; one after another.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
import pytest_asyncio
from tests.harness import preload
from tests.harness.api import Api, Object
from tests.harness.canary import leaks, revision
from tests.harness.history import Recorder
from tests.harness.kinds import CONFIGMAPS, PODS, RUNS
from tests.harness.openbao import OpenBao
from tests.harness.player import Player
from tests.harness.podstatus import now
from tests.harness.script import Outcome, Play, Rule, Script
from tests.harness.vaultadmin import token_of
from tests.integration.support import Operator, failed_because, row, spec, step, succeeded, until
from tests.integration.vaulted import VaultCase, a_vault, flags

from localcluster.controlplane import ControlPlane

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]

HANG = Play(outcome=Outcome.HANG)
BY_HAND = Play(start=3600)
USES = [{"name": "api"}]


class Room:
    """The plane, the server and the player of pods."""

    def __init__(self, plane: ControlPlane, api: Api, bao: OpenBao, script: Script, logs: Path) -> None:
        self.plane = plane
        self.api = api
        self.bao = bao
        self.script = script
        self.logs = logs

    @asynccontextmanager
    async def case(self, name: str, renew_for: str = "1s", **vault: Any) -> AsyncIterator[tuple[VaultCase, Operator]]:
        """A case with an operator of its own that watches nothing else; at its end nothing is left or has leaked."""
        since = await revision(self.api)
        await self.api.make_namespace(name)
        async with Recorder(self.api, name) as seen:
            case = VaultCase(
                self.api,
                name,
                self.script,
                seen,
                self.plane,
                self.logs,
                bao=self.bao,
                records_in=name,
            )
            words = await flags(self.bao, case.logs, self.api, name, renewFor=renew_for)
            async with case.operator(*words, "--log-level", "debug") as operator:
                try:
                    await case.environment(**vault)
                    yield case, operator
                    await case.nothing_left()
                except (AssertionError, TimeoutError) as error:
                    error.add_note(f"the operator's log ends:\n{operator.tail(3000)}")
                    raise
                await case.check()
                found = await leaks(case.values, self.plane, operators=[operator], since=since)
                assert not found, "\n".join(map(str, found))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def room(plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Room]:
    logs = tmp_path_factory.mktemp("vault-trouble")
    script = Script()
    await asyncio.to_thread(preload.warm)
    async with (
        Api(plane.server, plane.token, plane.ca) as api,
        Player(api, script),
        a_vault(plane, logs / "bao") as bao,
    ):
        yield Room(plane, api, bao, script, logs)


async def waits_for_vault(case: VaultCase, name: str = "r") -> Object:
    """Wait until a run says that Vault is what it waits for."""
    return await case.waits("VaultUnavailable", name)


async def metric(operator: Operator, name: str) -> float:
    """A metric without labels."""
    text = await operator.get("/metrics") or ""
    (line,) = [line for line in text.splitlines() if line.startswith(name + " ")]
    return float(line.split()[1])


# Vault is not there.


async def test_sealed_before_the_start_the_run_waits_visibly_others_go_on_and_so_does_it_after(room: Room) -> None:
    async with room.case("sealed-before") as (case, _):
        await case.simple(step("a", secrets=USES), step("b"))
        await case.ready(spec(step("c")), name="plain")
        await room.bao.seal()
        try:
            await case.run()
            waiting = await waits_for_vault(case)
            assert "sealed" in row(waiting, "a")["message"]
            assert row(await case.step_is("b", "Succeeded"), "a")["phase"] == "Waiting"
            await case.run("other", "plain")
            assert succeeded(await case.ended("other", within=10))
            assert await case.held() == []
        finally:
            await room.bao.unseal()
        assert succeeded(await case.ended(within=60))
        assert case.logins() == 1


async def test_an_environment_that_does_not_wait_fails_the_run(room: Room) -> None:
    async with room.case("sealed-fail", onUnavailable="Fail") as (case, _):
        await case.simple()
        await room.bao.seal()
        try:
            await case.run()
            assert failed_because(await case.ended(within=20), "a") == "VaultUnavailable"
        finally:
            await room.bao.unseal()


async def test_waiting_ends_at_the_environments_limit(room: Room) -> None:
    async with room.case("sealed-limit", waitLimit="6s") as (case, _):
        await case.simple()
        await room.bao.seal()
        try:
            await case.run()
            await waits_for_vault(case)
            run = await case.ended(within=30)
            assert failed_because(run, "a") == "VaultUnavailable"
            assert "waitLimit" in row(run, "a")["message"]
        finally:
            await room.bao.unseal()


async def test_a_server_that_does_not_answer_holds_up_only_those_who_need_it(room: Room) -> None:
    async with room.case("frozen") as (case, operator):
        await case.simple()
        await case.ready(spec(step("c")), name="plain")
        with room.bao.frozen():
            await case.run()
            await case.waits("Vault")
            began = time.monotonic()
            await case.run("other", "plain")
            assert succeeded(await case.ended("other", within=10))
            assert time.monotonic() - began < 8
            assert await operator.get("/healthz") is not None
        assert succeeded(await case.ended(within=60))


async def test_sealed_at_the_end_the_run_has_ended_and_its_credential_is_taken_back_after(room: Room) -> None:
    async with room.case("sealed-at-the-end") as (case, operator):
        await case.simple(secrets=[case.source()])
        case.plays("a", Play(), end=3)
        await case.run()
        await case.step_is("a", "Running")
        await room.bao.seal()
        try:
            assert succeeded(await case.ended())

            async def told() -> bool:
                found = await case.records()
                return bool(found) and found[0]["state"] == "Revoking" and not await case.held()

            await until(told, within=20)
            assert await metric(operator, "dataops_vault_leases") == 1
        finally:
            await room.bao.unseal()
        await case.nothing_left(within=40)
        await until(lambda: _none_held(operator), within=5)
        assert await metric(operator, "dataops_vault_overdue_leases") == 0


async def _none_held(operator: Operator) -> bool:
    return await metric(operator, "dataops_vault_leases") == 0


async def test_a_run_that_lasts_longer_than_its_token_keeps_its_credential(room: Room) -> None:
    async with room.case("short-lived", ttl="6s") as (case, _):
        await case.simple()
        case.plays("a", Play(), end=16)
        await case.run()
        await case.step_is("a", "Running")
        (before,) = await case.tokens()
        await asyncio.sleep(12)
        assert await case.tokens() == [before]
        assert succeeded(await case.ended())
        assert case.logins() == 1


async def test_a_run_that_outlives_the_longest_life_of_its_token_gets_another_for_its_next_step(room: Room) -> None:
    async with room.case("longest-life") as (case, _):
        await case.role("6s", token_max_ttl="8s")
        await case.simple(step("a", secrets=USES), step("b", "a", secrets=USES))
        case.plays("a", Play(), end=12)
        await case.run()
        await case.step_is("a", "Running")
        (first,) = await case.tokens()
        run = await case.step_is("b", "Succeeded")
        assert first not in await case.tokens()
        assert row(run, "b")["attempt"] == 1
        assert succeeded(await case.ended())
        assert case.logins() == 2


# The operator is not there.


async def test_an_operator_that_starts_again_goes_on_renewing_and_takes_back(room: Room) -> None:
    async with room.case("operator-again", ttl="12s") as (case, operator):
        await case.simple()
        case.plays("a", Play(), end=30)
        await case.run()
        await case.step_is("a", "Running")
        operator.kill()
        await operator.start(preloaded=True)
        await asyncio.sleep(12)
        assert len(await case.tokens()) == 1
        assert succeeded(await case.ended())
        assert case.logins() == 1


async def test_what_was_renewed_is_not_taken_for_ended_by_the_next_operator(room: Room) -> None:
    """A record has the life that was given at first; steps under way go on with what they have."""
    async with room.case("renewed-before", "5m", ttl="12s") as (case, operator):
        await case.simple(step("a", secrets=USES), step("c", secrets=USES), step("b", "a", secrets=USES))
        case.plays("a", Play(), end=14)
        case.plays("c", Play(), end=30)
        await case.run()
        await case.step_is("c", "Running")
        (token,) = await case.tokens()
        await asyncio.sleep(10)
        operator.kill()
        await case.a_pod("a", "Succeeded")
        await operator.start(preloaded=True)
        await case.step_is("b", "Succeeded")
        assert await case.tokens() == [token]
        assert succeeded(await case.ended())
        assert case.logins() == 1


async def test_a_run_deleted_while_no_operator_looks_loses_its_credential_at_the_next_start(room: Room) -> None:
    async with room.case("deleted-unseen") as (case, operator):
        await case.simple()
        case.plays("a", HANG)
        await case.run()
        await case.step_is("a", "Running")
        operator.kill()
        await case.api.delete(RUNS, case.namespace, "r")
        await case.none_left(RUNS)
        assert len(await case.tokens()) == 1
        await operator.start()
        await case.nothing_left()


async def test_a_record_of_a_run_that_nobody_knows_is_swept(room: Room) -> None:
    async with room.case("unknown-run") as (case, operator):
        operator.kill()
        login = await _log_in(case)
        uid = "00000000-0000-4000-8000-000000000001"
        record = {
            "run": {"kind": "PipelineRun", "namespace": case.namespace, "name": "never-was", "uid": uid},
            "environment": f"{case.namespace}/prod",
            "server": "default",
            "state": "Login",
            "accessors": [{"id": login["accessor"], "ttl": 1200, "expires": time.time() + 1200}],
            "leases": [],
            "secrets": ["never-was-0123456789abcdef"],
            "files": {},
            "versions": [],
        }
        labels = {"dataops.dev/vault-run": uid, "app.kubernetes.io/managed-by": "dataops-operator"}
        body = {
            "metadata": {"name": f"vault-{uid}", "labels": labels},
            "data": {"record": orjson.dumps(record).decode()},
        }
        await case.api.create(CONFIGMAPS, case.namespace, body)
        assert len(await case.tokens()) == 1
        await operator.start()
        await case.nothing_left()


# Pods that log in by themselves.


async def _log_in(case: VaultCase) -> Object:
    """Log in as the runner, as the init container of a pod does."""
    jwt = await token_of(case.api, case.namespace)
    body = {"role": case.namespace, "jwt": jwt}
    found: Object = (await case.bao.request("POST", "auth/kubernetes/login", body, token=""))["auth"]
    return found


async def _agent_ended(case: VaultCase, pod: Object, told: Object, code: int = 0) -> None:
    """The kubelet tells that a pod's init container has ended."""
    terminated = {"exitCode": code, "reason": "x", "message": orjson.dumps(told).decode(), "finishedAt": now()}
    terminated["startedAt"] = terminated["finishedAt"]
    (init,) = pod["spec"]["initContainers"]
    (main,) = pod["spec"]["containers"]
    common = {"image": "x", "imageID": "", "ready": False, "restartCount": 0}
    state = {"running": {"startedAt": now()}} if code == 0 else {"waiting": {"reason": "PodInitializing"}}
    status = {
        "phase": "Running" if code == 0 else "Failed",
        "initContainerStatuses": [{"name": init["name"], "state": {"terminated": terminated}, **common}],
        "containerStatuses": [{"name": main["name"], "state": state, **common}],
    }
    await case.api.patch(PODS, case.namespace, pod["metadata"]["name"], {"status": status}, subresource="status")


async def _a_pod(case: VaultCase) -> Object:
    await until(lambda: _has_pod(case), within=20)
    (pod,) = await case.pods()
    return pod


async def _has_pod(case: VaultCase) -> bool:
    return bool(await case.pods())


async def _ends(case: VaultCase, pod: Object) -> None:
    (main,) = pod["spec"]["containers"]
    done = {"exitCode": 0, "reason": "Completed", "startedAt": now(), "finishedAt": now()}
    container = {"name": main["name"], "state": {"terminated": done}, "image": "x", "imageID": "", "ready": False}
    status = {"phase": "Succeeded", "containerStatuses": [{**container, "restartCount": 0}]}
    await case.api.patch(PODS, case.namespace, pod["metadata"]["name"], {"status": status}, subresource="status")


async def test_in_mode_pod_the_accessor_is_recorded_renewed_and_revoked_and_no_secret_is_made(room: Room) -> None:
    async with room.case("mode-pod", ttl="8s", delivery="Pod") as (case, _):
        await case.simple()
        case.script.rules.append(Rule(BY_HAND, "a", namespace=case.namespace))
        await case.run()
        pod = await _a_pod(case)
        assert case.logins() == 0
        login = await _log_in(case)
        told = {"accessor": login["accessor"], "ttl": 8, "renewable": True, "leases": []}
        await _agent_ended(case, pod, told | {"versions": [{"name": "api", "version": 1}]})

        async def recorded() -> bool:
            found = await case.records()
            return [one["id"] for record in found for one in record["accessors"]] == [login["accessor"]]

        await until(recorded, within=10)
        await asyncio.sleep(12)
        assert await case.tokens() == [login["accessor"]]
        assert await case.held() == []
        await _ends(case, pod)
        run = await case.ended()
        assert succeeded(run)
        assert run["status"]["secrets"] == [{"name": "api", "version": 1}]


async def test_in_mode_pod_what_hinders_the_agent_is_the_steps_reason(room: Room) -> None:
    async with room.case("mode-pod-refused", delivery="Pod") as (case, _):
        await case.simple()
        case.script.rules.append(Rule(BY_HAND, "a", namespace=case.namespace))
        await case.run()
        pod = await _a_pod(case)
        await _agent_ended(case, pod, {"reason": "VaultForbidden", "message": "secret api: not allowed"}, code=1)
        run = await case.ended()
        assert failed_because(run, "a") == "VaultForbidden"
        assert row(run, "a")["message"] == "secret api: not allowed"


async def test_in_mode_pod_a_login_that_ended_while_no_operator_looked_is_taken_back(room: Room) -> None:
    async with room.case("mode-pod-unseen", delivery="Pod") as (case, operator):
        await case.simple()
        case.script.rules.append(Rule(BY_HAND, "a", namespace=case.namespace))
        await case.run()
        pod = await _a_pod(case)
        operator.kill()
        login = await _log_in(case)
        await _agent_ended(case, pod, {"accessor": login["accessor"], "ttl": 1200, "renewable": True})
        await _ends(case, pod)
        await operator.start()
        assert succeeded(await case.ended())
        await case.nothing_left()
