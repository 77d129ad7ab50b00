"""What a step's pod has of its secrets, in both modes of delivery."""

import json
from typing import Any

from tests.builders import PipelineBuilder, a_pipeline, a_run, an_environment

from dataops_operator.core.credentials import Agent, Armed
from dataops_operator.core.jobs import build_job

Object = dict[str, Any]

TARGET = {
    "name": "lake",
    "s3": {"endpoint": "https://s3.example", "bucket": "lake", "credentials": {"vault": {"path": "secret/data/s3"}}},
}
PLACE = an_environment(vault={"role": "prod", "waitLimit": "3m"}, targets=[TARGET])
FAIL = an_environment(vault={"role": "prod", "onUnavailable": "Fail"}, targets=[TARGET])
ARMED = Armed(secret="s-1", files={"api": ("token", "url"), "db": ("password",), "lake": ("access_key",)})
POD = Armed(agent=Agent("registry/operator:1", "vault", {"address": "https://vault:8200"}))


def pipeline(**step: Any) -> PipelineBuilder:
    secrets = [{"name": name, "vault": {"path": f"secret/data/{name}"}} for name in ("api", "db")]
    return a_pipeline().having(secrets=secrets).step("a", **step).step("b")


def pod_of(built: PipelineBuilder, armed: Armed | None, step: str = "a", place: Any = PLACE) -> Object:
    inputs = a_run().inputs(built, place)
    job = build_job(inputs, (inputs.revision.steps[step],), 1, {}, armed)
    template: Object = job["spec"]["template"]
    return template


def container(template: Object) -> Object:
    found: Object = template["spec"]["containers"][0]
    return found


def mounts(template: Object) -> dict[str, Object]:
    return {one["mountPath"]: one for one in container(template)["volumeMounts"]}


def volumes(template: Object) -> dict[str, Object]:
    return {one["name"]: one for one in template["spec"]["volumes"]}


def test_files_are_mounted_read_only_for_the_group_and_only_those_of_the_secrets_that_the_step_uses() -> None:
    template = pod_of(pipeline(secrets=[{"name": "api"}]), ARMED)
    mount = mounts(template)["/dataops/secrets/api"]
    assert mount["readOnly"] is True
    assert volumes(template)[mount["name"]]["secret"] == {
        "secretName": "s-1",
        "defaultMode": 0o440,
        "items": [{"key": "api.token", "path": "token"}, {"key": "api.url", "path": "url"}],
    }
    assert "/dataops/secrets/db" not in mounts(template)
    assert "db" not in json.dumps(template)


def test_variables_come_instead_of_files() -> None:
    template = pod_of(pipeline(secrets=[{"name": "api", "env": [{"name": "TOKEN", "key": "token"}]}]), ARMED)
    assert container(template)["env"][-1] == {
        "name": "TOKEN",
        "valueFrom": {"secretKeyRef": {"name": "s-1", "key": "api.token"}},
    }
    assert not [path for path in mounts(template) if path.startswith("/dataops/secrets")]


def test_the_login_of_a_target_comes_with_its_name_in_a_template() -> None:
    template = pod_of(pipeline(args=["$(targets.lake.url)"]), ARMED)
    assert volumes(template)[mounts(template)["/dataops/secrets/lake"]["name"]]["secret"]["secretName"] == "s-1"


def test_a_step_without_secrets_has_nothing_of_them() -> None:
    for armed in (ARMED, POD):
        assert pod_of(pipeline(secrets=[{"name": "api"}]), armed, "b") == pod_of(pipeline(), None, "b")


def test_in_mode_pod_the_init_container_alone_sees_the_token() -> None:
    template = pod_of(pipeline(secrets=[{"name": "api"}]), POD)
    held = volumes(template)
    source = held["dataops-secrets-token"]["projected"]["sources"]
    assert source == [{"serviceAccountToken": {"audience": "vault", "expirationSeconds": 600, "path": "token"}}]
    (agent,) = template["spec"]["initContainers"]
    assert (agent["name"], agent["image"]) == ("dataops-secrets", "registry/operator:1")
    assert agent["securityContext"] == container(template)["securityContext"]
    assert "dataops-secrets-token" in {one["name"] for one in agent["volumeMounts"]}
    assert "dataops-secrets-token" not in {one["name"] for one in container(template)["volumeMounts"]}


def test_in_mode_pod_values_lie_in_memory_and_a_step_sees_its_own() -> None:
    template = pod_of(pipeline(secrets=[{"name": "api"}]), POD)
    assert volumes(template)["dataops-secrets"]["emptyDir"] == {"medium": "Memory", "sizeLimit": "2Mi"}
    assert mounts(template)["/dataops/secrets/api"] == {
        "name": "dataops-secrets",
        "mountPath": "/dataops/secrets/api",
        "subPath": "api",
        "readOnly": True,
    }
    assert "/dataops/secrets" not in mounts(template)


def test_in_mode_pod_the_agent_is_told_what_its_own_step_uses() -> None:
    template = pod_of(pipeline(secrets=[{"name": "api"}], args=["$(targets.lake.url)"]), POD)
    told = json.loads(template["metadata"]["annotations"]["dataops.dev/vault-agent"])
    assert told["server"] == {"address": "https://vault:8200"}
    assert (told["role"], told["waitSeconds"], told["directory"]) == ("prod", 180.0, "/dataops/secrets")
    assert [(one["name"], one["vault"]["path"]) for one in told["secrets"]] == [
        ("api", "secret/data/api"),
        ("lake", "secret/data/s3"),
    ]


def test_in_mode_pod_the_time_that_the_agent_may_wait_is_no_part_of_its_steps() -> None:
    given = pipeline(secrets=[{"name": "api"}], timeout="1m", startTimeout="2m")
    assert pod_of(given, POD)["spec"]["activeDeadlineSeconds"] == 60 + 120 + 30 + 180
    assert pod_of(given, ARMED)["spec"]["activeDeadlineSeconds"] == 60 + 120 + 30


def test_in_mode_pod_an_environment_that_does_not_wait_tells_the_agent() -> None:
    template = pod_of(pipeline(secrets=[{"name": "api"}]), POD, place=FAIL)
    assert json.loads(template["metadata"]["annotations"]["dataops.dev/vault-agent"])["waitSeconds"] == 0
