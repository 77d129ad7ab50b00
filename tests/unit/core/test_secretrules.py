"""What is wrong with a Pipeline's secrets before they are read; each case beside one that is right."""

from typing import Any

import pytest
from tests.builders import PipelineBuilder, a_pipeline

from dataops_operator.core.validate import parse

Object = dict[str, Any]
API: Object = {"name": "api", "vault": {"path": "secret/data/api"}, "keys": [{"key": "token"}]}


def secret(**fields: Any) -> PipelineBuilder:
    """A pipeline with one secret."""
    return a_pipeline().parameter("host").having(secrets=[{"name": "s", **fields}]).step("a")


def path(text: str) -> PipelineBuilder:
    return secret(vault={"path": text})


def data(value: str) -> PipelineBuilder:
    return secret(vault={"path": "pki/issue/web", "data": [{"name": "common_name", "value": value}]})


def sealed(value: str) -> PipelineBuilder:
    return secret(vault={"transit": {"key": "k", "ciphertext": value}})


def keys(*keys: Object, **fields: Any) -> PipelineBuilder:
    return secret(vault={"path": "secret/data/x"}, **({"keys": list(keys)} if keys else {}), **fields)


def using(*secrets: Object, **fields: Any) -> PipelineBuilder:
    """A step that uses secrets, of a pipeline with two."""
    other = {"name": "other", "vault": {"path": "secret/data/other"}}
    return a_pipeline().having(secrets=[API, other]).step("a", secrets=list(secrets), **fields)


def env(name: str, key: str = "token") -> Object:
    return {"name": "api", "env": [{"name": name, "key": key}]}


WRONG: dict[str, tuple[PipelineBuilder, str, str, PipelineBuilder]] = {
    "a name twice": (
        a_pipeline().having(secrets=[API, API]).step("a"),
        "spec.secrets[1].name",
        "the name 'api' is there already",
        a_pipeline().having(secrets=[API, {**API, "name": "api2"}]).step("a"),
    ),
    "neither path nor transit": (secret(vault={}), "spec.secrets[0].vault", "give exactly one", path("kv/x")),
    "both path and transit": (
        secret(vault={"path": "kv/x", "transit": {"key": "k", "ciphertext": "vault:v1:x"}}),
        "spec.secrets[0].vault",
        "give exactly one of path and transit",
        sealed("vault:v1:x"),
    ),
    "a version of what is written": (
        secret(vault={"path": "pki/issue/web", "version": 1, "data": [{"name": "a"}]}),
        "spec.secrets[0].vault.version",
        "version is for a path of a key-value engine",
        secret(vault={"path": "secret/data/x", "version": 1}),
    ),
    "data without a path": (
        secret(vault={"transit": {"key": "k", "ciphertext": "x"}, "data": [{"name": "a"}]}),
        "spec.secrets[0].vault.data",
        "give the path",
        secret(vault={"path": "pki/issue/web", "data": [{"name": "a"}]}),
    ),
    "a field twice": (
        secret(vault={"path": "pki/issue/web", "data": [{"name": "a"}, {"name": "a"}]}),
        "spec.secrets[0].vault.data[1].name",
        "the name 'a' is there already",
        secret(vault={"path": "pki/issue/web", "data": [{"name": "a"}, {"name": "b"}]}),
    ),
    "a path that escapes": (path("kv/../sys/seal"), "spec.secrets[0].vault.path", "without '..'", path("kv/sys/seal")),
    "a path of Vault's own": (
        path("sys/seal"),
        "spec.secrets[0].vault.path",
        "no secret is below sys/",
        path("kv/sys"),
    ),
    "a path that the run's parameters choose": (
        path("secret/data/$(params.host)"),
        "spec.secrets[0].vault.path",
        "$(params.host): only $(env.params.<name>) may stand in a path",
        path("secret/data/$(env.params.host)"),
    ),
    "a path with the environment's name": (
        path("secret/data/$(env.name)/x"),
        "spec.secrets[0].vault.path",
        "$(env.name): only $(env.params.<name>)",
        path("$(env.params.mount)/data/$(env.params.team)/x"),
    ),
    "a path with a shell's substitution": (
        path("secret/data/$(date)"),
        "spec.secrets[0].vault.path",
        "a '$' in it is no template",
        path("secret/data/date"),
    ),
    "a field with an output": (
        data("$(steps.a.outputs.host)"),
        "spec.secrets[0].vault.data[0].value",
        "$(steps.a.outputs.host): only params, env, run may stand here",
        data("$(params.host).$(env.name).$(env.params.domain).$(run.name)"),
    ),
    "a field with an unknown parameter": (
        data("$(params.hots)"),
        "spec.secrets[0].vault.data[0].value",
        "no parameter 'hots'; did you mean 'host'?",
        data("$(params.host)"),
    ),
    "a ciphertext with a target": (
        sealed("$(targets.lake.url)"),
        "spec.secrets[0].vault.transit.ciphertext",
        "only params, env, run may stand here",
        sealed("$(params.host)"),
    ),
    "a ciphertext with an unknown parameter": (
        sealed("$(params.sealed)"),
        "spec.secrets[0].vault.transit.ciphertext",
        "no parameter 'sealed'",
        sealed("$(params.host)"),
    ),
    "a key that is no file name": (
        keys({"key": "tls.crt/old"}),
        "spec.secrets[0].keys[0].key",
        "'tls.crt/old' is no file name; give the key another one with name",
        keys({"key": "tls.crt/old", "name": "tls.crt"}),
    ),
    "two keys of one name": (
        keys({"key": "a"}, {"key": "b", "name": "a"}),
        "spec.secrets[0].keys[1].name",
        "two files would be called 'a'",
        keys({"key": "a"}, {"key": "a", "name": "b"}),
    ),
    "a file with the name of a key": (
        keys({"key": "a"}, files=[{"name": "a", "template": "$(a)"}]),
        "spec.secrets[0].files[0].name",
        "two files would be called 'a'",
        keys({"key": "a"}, files=[{"name": "b", "template": "$(a)"}]),
    ),
    "a template that is never closed": (
        keys(files=[{"name": "b", "template": "$(a"}]),
        "spec.secrets[0].files[0].template",
        "a '$(' is never closed",
        keys(files=[{"name": "b", "template": "$$(a $(params) $(date)"}]),
    ),
    "a template without a key": (
        keys(files=[{"name": "b", "template": "$()"}]),
        "spec.secrets[0].files[0].template",
        "'$()' names no key",
        keys(files=[{"name": "b", "template": "$$()"}]),
    ),
    "a step with a secret that is not there": (
        using({"name": "apu"}),
        "spec.steps[0].secrets[0].name",
        "no secret 'apu' in spec.secrets; did you mean 'api'?",
        using({"name": "api"}),
    ),
    "a step with a secret twice": (
        using({"name": "api"}, env("TOKEN")),
        "spec.steps[0].secrets[1].name",
        "the name 'api' is there already",
        using({"name": "api"}, {"name": "other"}),
    ),
    "a variable of the step contract": (
        using(env("DATAOPS_TOKEN")),
        "spec.steps[0].secrets[0].env[0].name",
        "'DATAOPS_TOKEN' belongs to the step contract",
        using(env("TOKEN")),
    ),
    "a variable that the step has": (
        using(env("TOKEN"), env=[{"name": "TOKEN"}]),
        "spec.steps[0].secrets[0].env[0].name",
        "the step has a variable 'TOKEN' already, in its env",
        using(env("TOKEN"), env=[{"name": "token"}]),
    ),
    "a variable of two secrets": (
        using(env("TOKEN"), {"name": "other", "env": [{"name": "TOKEN", "key": "x"}]}),
        "spec.steps[0].secrets[1].env[0].name",
        "the step has a variable 'TOKEN' already, in its secret api",
        using(env("TOKEN"), {"name": "other", "env": [{"name": "OTHER", "key": "x"}]}),
    ),
    "a variable of a key that is not chosen": (
        using(env("TOKEN", "tokens")),
        "spec.steps[0].secrets[0].env[0].key",
        "secret 'api' has no file 'tokens'; did you mean 'token'?",
        using({"name": "other", "env": [{"name": "T", "key": "nobody-knows-yet"}]}),
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_has_a_path_and_a_cure(case: str) -> None:
    wrong, where, text, _ = WRONG[case]
    _, problems = parse(wrong.raw)
    assert [(one.path, text in one.message) for one in problems] == [(where, True)], problems


@pytest.mark.parametrize("case", WRONG)
def test_what_is_right_is_not_refused(case: str) -> None:
    assert parse(WRONG[case][3].raw)[1] == []
