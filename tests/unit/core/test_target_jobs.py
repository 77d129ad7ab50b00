"""Jobs that touch targets: what they may, what they are given, and what is made of what they tell."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from tests.harness.podsecurity import breaches
from tests.unit.core.environments import SCRATCH, VAULT, Object, an_environment, in_effect, place

from dataops_operator.core.credentials import Agent, Armed
from dataops_operator.core.environment import Effective
from dataops_operator.core.storagejob import Action, Code, Report, read_task, result_json
from dataops_operator.core.targetjobs import build, checking, dropping, order, outcome, report_of

LOGIN: Object = {"vault": {"path": "database/creds/$(env.params.team)"}}
PARENT = an_environment(
    "prod",
    vault=VAULT,
    parameters=[{"name": "team", "value": "loader"}],
    targets=[
        {
            "name": "warehouse",
            "postgres": {"host": "pg.data", "database": "dwh", "schema": "marts", "credentials": LOGIN},
        },
        SCRATCH,
    ],
    podDefaults={"nodeSelector": {"disk": "ssd"}, "imagePullSecrets": [{"name": "registry"}]},
)
PROD = in_effect(PARENT)
BRANCH = in_effect(an_environment("x", from_="prod"), PARENT)
ARMED = Armed("s-1", {"warehouse": ("username", "password")})
BY_POD = Armed(agent=Agent("example.test/agent:1", "vault", {"address": "https://vault.example"}))


def job(content: Effective, armed: Armed | None = ARMED, *, drop: bool = False) -> Object:
    where = place("analytics-x", made=True)
    work = (dropping if drop else checking)(content, where.uid)
    wanted = order(content, where, work)
    return build(content, where, work, wanted, armed, image="example.test/storage:1", runner="runner", nonce="n")


def containers(body: Object) -> list[Object]:
    pod = body["spec"]["template"]["spec"]
    return [*pod.get("initContainers", []), *pod["containers"]]


@pytest.mark.parametrize("armed", [ARMED, BY_POD], ids=["Secret", "Pod"])
@pytest.mark.parametrize(("content", "drop"), [(PROD, False), (BRANCH, False), (BRANCH, True)])
def test_every_pod_is_restricted_and_has_no_token_of_the_api(content: Effective, drop: bool, armed: Armed) -> None:
    body = job(content, armed, drop=drop)
    spec = body["spec"]["template"]["spec"]
    assert list(breaches(spec)) == []
    assert (spec["serviceAccountName"], spec["automountServiceAccountToken"]) == ("runner", False)
    assert (spec["nodeSelector"], spec["imagePullSecrets"]) == ({"disk": "ssd"}, [{"name": "registry"}])
    assert body["spec"]["backoffLimit"] == 0
    assert 0 < spec["activeDeadlineSeconds"] < body["spec"]["activeDeadlineSeconds"]


@pytest.mark.parametrize(
    ("content", "drop", "names"),
    [(PROD, False, ["probe"]), (BRANCH, False, ["prepare", "probe"]), (BRANCH, True, ["drop"])],
)
def test_places_are_made_before_they_are_looked_into(content: Effective, drop: bool, names: list[str]) -> None:
    body = job(content, drop=drop)
    assert [one["name"] for one in containers(body)] == names
    tasks = {}
    for one in containers(body):
        (text,) = (env["value"] for env in one["env"] if env["name"] == "DATAOPS_STORAGE")
        tasks[one["name"]] = [item.target.name for item in read_task(text.replace("$$", "$")).items]
    assert tasks.get("probe", ["warehouse", "scratch"]) == ["warehouse", "scratch"]
    assert tasks.get("prepare", ["warehouse"]) == tasks.get("drop", ["warehouse"]) == ["warehouse"]


def test_logins_lie_where_the_storage_jobs_look_and_no_path_of_vault_is_told() -> None:
    body = job(PROD)
    (probe,) = containers(body)
    mounts = {one["mountPath"]: one for one in probe["volumeMounts"]}
    assert mounts["/dataops/secrets/warehouse"]["readOnly"]
    assert "/dataops/targets/scratch" in mounts
    volumes = {one["name"]: one for one in body["spec"]["template"]["spec"]["volumes"]}
    secret = volumes[mounts["/dataops/secrets/warehouse"]["name"]]["secret"]
    assert (secret["secretName"], secret["defaultMode"]) == ("s-1", 0o440)
    assert secret["items"][0] == {"key": "warehouse.username", "path": "username"}
    assert "database/creds" not in orjson.dumps(body).decode()


def test_in_mode_pod_the_pod_itself_logs_in() -> None:
    body = job(BRANCH, BY_POD)
    assert [one["name"] for one in containers(body)] == ["dataops-secrets", "prepare", "probe"]
    (told,) = body["spec"]["template"]["metadata"]["annotations"].values()
    (asked,) = orjson.loads(told)["secrets"]
    assert (asked["name"], asked["vault"]["path"]) == ("warehouse", "database/creds/loader"), "filled in"
    assert body["spec"]["template"]["metadata"]["labels"]["dataops.dev/run-uid"] == place().uid
    assert "dataops.dev/run-uid" not in body["metadata"]["labels"], "no run's Job"


def test_an_order_is_for_the_environment_in_its_execution_namespace() -> None:
    where = place("analytics-x", made=True)
    wanted = order(PROD, where, checking(PROD, where.uid))
    assert wanted is not None
    assert (wanted.holder.kind, wanted.holder.uid, wanted.namespace) == ("Environment", where.uid, "analytics-x")
    assert wanted.owner is None, "an owner in another namespace would have the Secret collected"
    plain = in_effect(an_environment(targets=[SCRATCH]))
    assert order(plain, where, checking(plain, where.uid)) is None


def test_another_task_is_told_from_one_that_is_the_same() -> None:
    same = in_effect(an_environment(**{**PARENT["spec"], "quota": {"runs": 1}}))
    other = in_effect(an_environment(**{**PARENT["spec"], "vault": {"role": "other"}}))
    uid = place().uid
    assert checking(PROD, uid).task == checking(same, uid).task != checking(other, uid).task


def test_a_claim_for_one_pod_alone_is_not_looked_into() -> None:
    volume = {"name": "own", "volume": {"size": "1Gi", "accessMode": "ReadWriteOncePod"}}
    content = in_effect(an_environment(targets=[SCRATCH, volume]))
    work = checking(content, place().uid)
    assert (work.action, [one.name for one in work.targets]) == (Action.PROBE, ["scratch"])


# What came of it.

GOOD = result_json([Report("a", Code.OK, used_bytes=7), Report("b", Code.OK)])
BAD = result_json([Report("a", Code.LOGIN_REFUSED, "refused")])


def ended(phase: str, *, init: Any = None, main: Any = None, **status: Any) -> Object:
    def told(name: str, end: Any) -> Object:
        return {"name": name, "state": {"terminated": {"exitCode": end[0], "reason": "Error", "message": end[1]}}}

    body: Object = {"phase": phase, **status}
    if init is not None:
        body["initContainerStatuses"] = [told(*init)]
    body["containerStatuses"] = [told("probe", main)] if main is not None else [{"name": "probe", "state": {}}]
    return {"status": body}


@pytest.mark.parametrize(
    ("pod", "a", "b"),
    [
        (ended("Succeeded", main=(0, GOOD)), (Code.OK, ""), (Code.OK, "")),
        (ended("Failed", main=(1, BAD)), (Code.LOGIN_REFUSED, "refused"), (Code.FAILED, "told nothing")),
        (ended("Failed", main=(137, "")), (Code.FAILED, "exit code 137"), (Code.FAILED, "exit code 137")),
        (ended("Failed", main=(2, "{}")), (Code.FAILED, "exit code 2"), (Code.FAILED, "exit code 2")),
        (
            ended("Failed", init=("prepare", (1, BAD))),
            (Code.LOGIN_REFUSED, "refused"),
            (Code.FAILED, "not looked into"),
        ),
        (ended("Succeeded", init=("prepare", (0, GOOD)), main=(0, GOOD)), (Code.OK, ""), (Code.OK, "")),
        (
            ended("Failed", init=("prepare", (0, GOOD)), main=(1, BAD)),
            (Code.LOGIN_REFUSED, "refused"),
            (Code.FAILED, "not looked into"),
        ),
        (
            ended("Failed", init=("dataops-secrets", (1, '{"reason": "VaultForbidden"}'))),
            (Code.FAILED, "credentials from Vault"),
            (Code.FAILED, "credentials from Vault"),
        ),
        (
            ended("Failed", reason="DeadlineExceeded", message="Pod was active longer"),
            (Code.FAILED, "Pod was active longer"),
            (Code.FAILED, "Pod was active longer"),
        ),
    ],
)
def test_what_a_pod_told_is_made_of_each_target(pod: Object, a: tuple[Code, str], b: tuple[Code, str]) -> None:
    result = outcome(pod)
    assert result is not None
    for name, (code, message) in (("a", a), ("b", b)):
        found = report_of(name, result)
        assert found.code == code
        assert message in found.message


@pytest.mark.parametrize("phase", ["Pending", "Running", "Unknown"])
def test_a_pod_that_goes_on_has_come_to_nothing_yet(phase: str) -> None:
    assert outcome({"status": {"phase": phase}}) is None
