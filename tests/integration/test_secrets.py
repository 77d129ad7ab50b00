"""Secrets of runs on a real API server and a real OpenBao: what steps get, what refuses them, what is left: nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from tests.harness.api import Object, condition
from tests.harness.kinds import CONFIGMAPS, RUNS
from tests.harness.script import Outcome, Play, fail
from tests.integration.beside import side_by_side
from tests.integration.standing import stands
from tests.integration.support import failed_because, row, spec, step, succeeded, until, verdict
from tests.integration.vaulted import VaultCase, VaultWorld, a_vault_world

from localcluster.controlplane import ControlPlane

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]

HANG = Play(outcome=Outcome.HANG)
USES = [{"name": "api"}]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[VaultWorld]:
    async with a_vault_world(plane, tmp_path_factory.mktemp("secrets")) as it:
        yield it


def pod_spec(job: Object) -> Object:
    found: Object = job["spec"]["template"]["spec"]
    return found


async def hanging(case: VaultCase, name: str = "r") -> Object:
    """A run whose step `a` has its pod running."""
    case.plays("a", HANG, run=name)
    await case.run(name)
    return await case.step_is("a", "Running", name)


async def delete_run(case: VaultCase, name: str = "r") -> None:
    await case.api.delete(RUNS, case.namespace, name)


# What steps get.


@side_by_side
async def test_a_step_finds_its_secret_as_files_and_the_run_says_which_version(case: VaultCase) -> None:
    await case.environment()
    await case.simple()
    await hanging(case)
    assert await case.contents() == {"api.token": case.values[0], "api.url": "https://api.example"}
    (secret,) = await case.held()
    (job,) = await case.jobs("a")
    volume = next(one for one in pod_spec(job)["volumes"] if "secret" in one)["secret"]
    assert volume["secretName"] == secret["metadata"]["name"]
    assert [item["path"] for item in volume["items"]] == ["token", "url"]
    run = await case.until(RUNS, "r", lambda run: "secrets" in run["status"])
    assert run["status"]["secrets"] == [{"name": "api", "version": 1}]
    await delete_run(case)


@side_by_side
async def test_the_secret_is_immutable_the_runs_own_and_nobody_could_guess_its_name(case: VaultCase) -> None:
    await case.environment()
    await case.simple()
    run = await hanging(case)
    (secret,) = await case.held()
    meta = secret["metadata"]
    assert (secret["immutable"], secret["type"]) == (True, "Opaque")
    assert [(one["kind"], one["uid"]) for one in meta["ownerReferences"]] == [("PipelineRun", run["metadata"]["uid"])]
    assert meta["labels"]["dataops.dev/run"] == "r"
    assert len(meta["name"].rpartition("-")[2]) == 16
    await delete_run(case)


@side_by_side
async def test_a_run_that_succeeds_leaves_nothing(case: VaultCase) -> None:
    await case.environment()
    await case.simple(step("a", secrets=USES), step("b", "a", secrets=USES))
    await case.run()
    assert succeeded(await case.ended())
    assert case.logins() == 1
    await case.nothing_left()


@side_by_side
async def test_a_run_that_fails_leaves_nothing(case: VaultCase) -> None:
    case.plays("a", fail(3))
    await case.environment()
    await case.simple()
    await case.run()
    assert failed_because(await case.ended(), "a") == "Error"
    assert case.logins() == 1
    await case.nothing_left()


@side_by_side
async def test_a_run_deleted_in_the_middle_leaves_nothing(case: VaultCase) -> None:
    await case.environment()
    await case.simple(secrets=[case.source(), case.leased()])
    await hanging(case)
    assert len(await case.tokens()) == 1
    await delete_run(case)
    await case.nothing_left()


@side_by_side
async def test_two_secrets_and_two_steps_are_one_login(case: VaultCase) -> None:
    await case.environment()
    await case.put("other", password=case.value("password"))
    steps = [step("a", secrets=USES), step("b", secrets=[{"name": "other"}]), step("c", "a", "b", secrets=USES)]
    await case.simple(*steps, secrets=[case.source(), case.source("other")])
    case.plays("c", HANG)
    await case.run()
    run = await case.step_is("c", "Running")
    assert sorted(await case.contents()) == ["api.token", "api.url", "other.password"]
    assert [one["name"] for one in run["status"]["secrets"]] == ["api", "other"]
    await delete_run(case)
    assert case.logins() == 1


@side_by_side
async def test_nobody_logs_in_before_a_step_is_due_that_needs_it(case: VaultCase) -> None:
    await case.environment()
    case.plays("first", HANG)
    await case.simple(step("first"), step("a", "first", secrets=USES))
    await case.run()
    await case.step_is("first", "Running")
    await asyncio.sleep(1)
    assert (case.logins(), await case.held(), await case.records()) == (0, [], [])
    await delete_run(case)


@side_by_side
async def test_a_run_without_secrets_has_nothing_to_do_with_vault(case: VaultCase) -> None:
    await case.environment()
    await case.simple(step("b"), secrets=[case.source()])
    await case.run()
    assert succeeded(await case.ended())
    assert case.logins() == 0


@side_by_side
async def test_where_vault_checks_signatures_by_itself_a_run_logs_in_by_jwt_auth(case: VaultCase) -> None:
    await case.bao.jwt_role(case.namespace, case.namespace, [case.namespace])
    await case.environment(server="by-jwt")
    await case.simple()
    await hanging(case)
    assert await case.contents() == {"api.token": case.values[0], "api.url": "https://api.example"}
    (accessor,) = await case.tokens()
    assert (await case.bao.accessors())[accessor]["path"] == "auth/jwt/login"
    await delete_run(case)
    await case.nothing_left()


@side_by_side
async def test_while_a_person_is_waited_for_nothing_is_held_and_then_there_is_another_login(case: VaultCase) -> None:
    go = {"name": "go", "needs": ["a"], "approval": {}}
    await case.environment()
    await case.simple(
        step("a", secrets=USES), go, step("b", "go", secrets=USES), secrets=[case.source(), case.leased()]
    )
    await case.run()
    await case.until(RUNS, "r", lambda run: row(run, "go").get("reason") == "Approval")
    await case.nothing_left()
    decided = {"spec": {"approvals": [{"step": "go", "decision": "Approve"}]}}
    await case.api.patch(RUNS, case.namespace, "r", decided)
    run = await case.ended()
    assert succeeded(run)
    assert case.logins() == 2
    assert {one["name"] for one in run["status"]["secrets"]} >= {"api"}
    await case.nothing_left()


@side_by_side
async def test_a_run_that_is_suspended_holds_nothing_once_its_steps_have_ended(case: VaultCase) -> None:
    case.plays("a", Play(), run="r", end=2.0)
    await case.environment()
    await case.simple(step("a", secrets=USES), step("b", "a", secrets=USES))
    await case.run()
    await case.step_is("a", "Running")
    await case.api.patch(RUNS, case.namespace, "r", {"spec": {"suspend": True}})
    assert len(await case.tokens()) == 1, "the step that runs keeps what it has"
    await case.until(RUNS, "r", lambda run: row(run, "a").get("phase") == "Succeeded")
    await case.nothing_left()
    await case.api.patch(RUNS, case.namespace, "r", {"spec": {"suspend": False}})
    assert succeeded(await case.ended())
    assert case.logins() == 2
    await case.nothing_left()


@side_by_side
async def test_a_retry_uses_what_was_read(case: VaultCase) -> None:
    case.plays("a", fail(1), attempt=1)
    await case.environment()
    await case.simple(step("a", secrets=USES, retry={"limit": 1, "backoff": {"initial": "1s"}}))
    await case.run()
    assert succeeded(await case.ended())
    first, second = await case.jobs("a")
    assert _secret_of(first) == _secret_of(second)
    assert case.logins() == 1


def _secret_of(job: Object) -> str:
    return str(next(one for one in pod_spec(job)["volumes"] if "secret" in one)["secret"]["secretName"])


@side_by_side
async def test_variables_keys_and_files_made_of_several_keys(case: VaultCase) -> None:
    await case.environment()
    keys = [{"key": "token", "name": "the-token"}]
    files = [{"name": "line", "template": "$(url) $$(x) $(token)"}]
    uses = [{"name": "api", "env": [{"name": "TOKEN", "key": "the-token"}]}]
    await case.simple(step("a", secrets=uses), secrets=[case.source(keys=keys, files=files)])
    await hanging(case)
    token = case.values[0]
    assert await case.contents() == {"api.the-token": token, "api.line": f"https://api.example $(x) {token}"}
    (job,) = await case.jobs("a")
    env = {one["name"]: one for one in pod_spec(job)["containers"][0]["env"]}
    assert env["TOKEN"]["valueFrom"]["secretKeyRef"]["key"] == "api.the-token"
    await delete_run(case)


@side_by_side
async def test_a_pinned_version_is_the_one_that_is_read(case: VaultCase) -> None:
    await case.environment()
    await case.put("api", token="another", url="second")
    source = case.source()
    source["vault"]["version"] = 1
    await case.simple(secrets=[source])
    run = await hanging(case)
    assert (await case.contents())["api.url"] == "https://api.example"
    assert run["status"]["secrets"] == [{"name": "api", "version": 1}]
    await delete_run(case)


async def issues_certificates(case: VaultCase) -> None:
    """Have Vault lease certificates to the case."""
    may = {"allowed_domains": ["example.test"], "allow_subdomains": True, "generate_lease": True}
    await case.bao.request(
        "POST", f"pki/roles/{case.namespace}", {**may, "key_type": "ec", "key_bits": 256, "ttl": "1h"}
    )


@side_by_side
async def test_secrets_of_every_kind_come_with_one_login(case: VaultCase) -> None:
    await issues_certificates(case)
    await case.environment(rules={f"kv/{case.namespace}": ["read"], "transit/decrypt/orders": ["update"]})
    for url in ("first", "second"):
        await case.put("pinned", url=url)
    password, sealed = case.value("password"), case.value("sealed")
    await case.bao.put(f"kv/{case.namespace}", {"password": password})
    pinned = case.source("pinned")
    pinned["vault"]["version"] = 1
    secrets = [
        case.source(),
        pinned,
        {"name": "mail", "vault": {"path": f"kv/{case.namespace}"}},
        {**case.leased(), "keys": [{"key": "certificate", "name": "tls.crt"}]},
        {"name": "batch", "vault": {"transit": {"key": "orders", "ciphertext": "$(params.sealed)"}}},
    ]
    uses = [{"name": one["name"]} for one in secrets]
    await case.ready(spec(step("a", secrets=uses), secrets=secrets, parameters=[{"name": "sealed"}]))
    case.plays("a", HANG)
    await case.run(parameters=[{"name": "sealed", "value": await case.bao.encrypt(sealed.encode())}])
    run = await case.step_is("a", "Running")
    found = await case.contents()
    assert found.pop("cert.tls.crt").startswith("-----BEGIN CERTIFICATE-----\n")
    assert found == {
        "api.token": case.values[0],
        "api.url": "https://api.example",
        "pinned.url": "first",
        "mail.password": password,
        "batch.plaintext": sealed,
    }
    assert run["status"]["secrets"] == [
        {"name": "api", "version": 1},
        {"name": "pinned", "version": 1},
        {"name": "mail"},
        {"name": "cert", "leased": True},
        {"name": "batch"},
    ]
    await delete_run(case)
    await case.nothing_left()
    assert case.logins() == 1


@side_by_side
async def test_a_leased_credential_lives_as_long_as_its_run(case: VaultCase) -> None:
    await issues_certificates(case)
    await case.environment()
    await case.simple(step("a", secrets=[{"name": "cert"}]), secrets=[case.leased()])
    case.plays("a", Play(), end=4)
    await case.run()
    run = await case.step_is("a", "Running")
    assert len(await case.leases()) == 1
    assert run["status"]["secrets"] == [{"name": "cert", "leased": True}]
    (record,) = await case.records()
    assert [one["id"] for one in record["leases"]] == await case.leases()
    assert succeeded(await case.ended())
    await case.nothing_left()


@side_by_side
async def test_the_record_is_written_before_the_credential_is_used_and_names_no_value(case: VaultCase) -> None:
    await case.environment()
    await case.simple()
    run = await hanging(case)
    (record,) = await case.records()
    assert record["run"]["uid"] == run["metadata"]["uid"]
    assert record["state"] == "Armed"
    assert [one["id"] for one in record["accessors"]] == await case.tokens()
    (secret,) = await case.held()
    assert record["secrets"] == [secret["metadata"]["name"]]
    assert record["files"] == {"api": ["token", "url"]}
    await delete_run(case)


# What refuses them.


async def refused_with(case: VaultCase, reason: str, said: str, name: str = "a") -> None:
    """The run's step fails at once with a reason, nothing else begins, and nothing is left."""
    await case.run()
    run = await case.ended(within=20)
    message = row(run, name)["message"]
    assert failed_because(run, name) == reason, message
    assert said in message, message
    assert await case.jobs() == []


@side_by_side
async def test_a_path_that_is_not_there(case: VaultCase) -> None:
    await case.environment()
    await case.simple(secrets=[{"name": "api", "vault": {"path": f"secret/data/{case.namespace}/none"}}])
    await refused_with(case, "SecretNotFound", "secret api")


@side_by_side
async def test_a_path_that_the_role_may_not_read(case: VaultCase) -> None:
    await case.environment()
    await case.simple(secrets=[{"name": "api", "vault": {"path": "secret/data/somebody/else"}}])
    await refused_with(case, "VaultForbidden", "secret api")


@side_by_side
async def test_a_role_that_is_not_there(case: VaultCase) -> None:
    await stands(case, vault={"role": "no-such-role"})
    await case.simple()
    await refused_with(case, "VaultLoginFailed", "no-such-role")


@side_by_side
async def test_the_role_of_another_namespace(case: VaultCase) -> None:
    await case.bao.policy("theirs", {"secret/data/*": ["read"]})
    await case.bao.role("theirs", "another-namespace", ["theirs"])
    await stands(case, vault={"role": "theirs"})
    await case.simple()
    await refused_with(case, "VaultLoginFailed", "theirs")


@side_by_side
async def test_a_key_that_is_not_in_the_secret(case: VaultCase) -> None:
    await case.environment()
    await case.simple(secrets=[case.source(keys=[{"key": "tokn"}])])
    await refused_with(case, "SecretKeyMissing", "tokn")


@side_by_side
async def test_a_variable_that_is_not_in_the_secret(case: VaultCase) -> None:
    await case.environment()
    await case.simple(step("a", secrets=[{"name": "api", "env": [{"name": "X", "key": "none"}]}]))
    await refused_with(case, "SecretKeyMissing", "none")


@side_by_side
@pytest.mark.parametrize("mebibytes", [2, 6], ids=["2 MiB", "more than is read of any answer"])
async def test_a_secret_that_is_too_large(case: VaultCase, mebibytes: int) -> None:
    await case.environment()
    await case.put("huge", value="x" * (mebibytes * 2**20))
    await case.simple(step("a", secrets=[{"name": "huge"}]), secrets=[case.source("huge")])
    await refused_with(case, "SecretTooLarge", "bytes")


@side_by_side
async def test_secrets_that_are_too_large_together(case: VaultCase) -> None:
    await case.environment()
    for number in range(2):
        await case.put(f"big{number}", value="x" * 500_000)
    sources = [case.source(f"big{number}") for number in range(2)]
    uses = [{"name": f"big{number}"} for number in range(2)]
    await case.simple(step("a", secrets=uses), secrets=sources)
    await refused_with(case, "SecretTooLarge", "bytes")


@side_by_side
async def test_an_environment_without_vault(case: VaultCase) -> None:
    await stands(case)
    await case.simple()
    await case.run()
    run = await case.ended(within=20)
    assert "VaultNotConfigured" in str(run["status"])
    assert "spec.vault" in str(condition(run, "Succeeded")["message"])
    assert await case.jobs() == []


@side_by_side
async def test_a_server_that_nobody_defined(case: VaultCase) -> None:
    await stands(case, vault={"role": "x", "server": "nowhere"})
    await case.simple()
    await refused_with(case, "VaultNotConfigured", "nowhere")


@side_by_side
async def test_variables_where_pods_log_in_by_themselves(case: VaultCase) -> None:
    await case.environment(delivery="Pod")
    await case.simple(step("a", secrets=[{"name": "api", "env": [{"name": "X", "key": "token"}]}]))
    await case.run()
    run = await case.ended(within=20)
    assert verdict(run) == ("False", "SecretInvalid")
    assert "vault.delivery: Pod" in condition(run, "Succeeded")["message"]
    assert await case.jobs() == []


# Somebody else's.


@side_by_side
async def test_the_record_that_somebody_deletes_is_written_again(case: VaultCase) -> None:
    await case.environment()
    await case.simple()
    run = await hanging(case)
    name = f"vault-{run['metadata']['uid']}"
    await case.api.delete(CONFIGMAPS, case.records_in, name)

    async def again() -> bool:
        return len(await case.records()) == 1

    await until(again, within=45)
    await delete_run(case)


@side_by_side
async def test_the_login_of_a_target_comes_with_its_name(case: VaultCase) -> None:
    await case.role()
    await case.put("s3", access_key=case.value("access"), secret_key=case.value("secret"))
    login: dict[str, Any] = {"vault": {"path": f"secret/data/{case.namespace}/s3"}}
    lake = {"name": "lake", "s3": {"endpoint": "https://s3.example", "bucket": "lake", "credentials": login}}
    await stands(case, vault={"role": case.namespace}, targets=[lake])
    await case.ready(spec(step("a", command=["load", "$(targets.lake.url)"])))
    await hanging(case)
    assert sorted(await case.contents()) == ["lake.access_key", "lake.secret_key"]
    (job,) = await case.jobs("a")
    assert "/dataops/secrets/lake" in [one["mountPath"] for one in pod_spec(job)["containers"][0]["volumeMounts"]]
    await delete_run(case)
