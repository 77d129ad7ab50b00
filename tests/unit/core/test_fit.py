"""What keeps a run from its environment: reason, path, what there is, cure."""

import re
from typing import Any

import pytest
from tests.builders import PipelineBuilder, a_pipeline, a_run, an_environment

from dataops_operator.api.conditions import Reason
from dataops_operator.core.environment import Effective
from dataops_operator.core.fit import unfit

LAKE = {"name": "lake", "s3": {"endpoint": "https://s3.example", "bucket": "lake"}}
GUARDED = {
    "name": "dwh",
    "postgres": {"host": "pg", "database": "dwh", "credentials": {"vault": {"path": "database/creds/loader"}}},
}
PARAMETERS = [{"name": "bucket", "value": "b"}, {"name": "hosts", "value": {"eu": "h"}}, {"name": "unset"}]
SHA = "sha256:" + "a" * 64


def place(**spec: Any) -> Effective:
    return an_environment(parameters=PARAMETERS, targets=[LAKE], **spec)


def one(**step: Any) -> PipelineBuilder:
    return a_pipeline().step("first").step("a", **step)


def reading(path: str, name: str = "api", **step: Any) -> PipelineBuilder:
    uses = {"secrets": [{"name": name}]} | step
    return one(**uses).having(secrets=[{"name": name, "vault": {"path": path}}])


VAULT = {"role": "prod"}


CASES: dict[str, tuple[PipelineBuilder, Effective | None, Reason, str]] = {
    "a parameter that the environment has not": (
        one(args=["x", "$(env.params.bukket)"]),
        place(),
        Reason.INVALID_PARAMETERS,
        r"pipeline flights: spec.steps\[1\].args\[1\]: \$\(env.params.bukket\): environment team/prod has no parameter "
        r"'bukket'; did you mean 'bucket'\?; add it to the environment's spec.parameters",
    ),
    "one without a value": (
        one(args=["$(env.params.unset)"]),
        place(),
        Reason.INVALID_PARAMETERS,
        "has no parameter 'unset'; there are: bucket, hosts; add it",
    ),
    "a part of one that it has not": (
        one(env=[{"name": "H", "value": "$(env.params.hosts.us)"}]),
        place(),
        Reason.INVALID_PARAMETERS,
        r"steps\[1\].env\[0\].value: \$\(env.params.hosts.us\): the value has no .us.; mend it in environment",
    ),
    "a parameter where there is no environment": (
        one(args=["$(env.params.bucket)"]),
        None,
        Reason.INVALID_PARAMETERS,
        "namespace team belongs to no environment; create an Environment in it with spec.parameters",
    ),
    "a target that the environment has not": (
        one(args=["$(targets.warehouse.url)"]),
        place(),
        Reason.TARGET_NOT_FOUND,
        r"spec.steps\[1\].args\[0\]: \$\(targets.warehouse.url\): environment team/prod has no target 'warehouse'; "
        "there are: lake; add it to the environment's spec.targets",
    ),
    "an attribute of another kind": (
        one(args=["$(targets.lake.schema)"]),
        place(),
        Reason.TARGET_NOT_FOUND,
        "target 'lake' of environment team/prod is of kind s3 and has no 'schema'; there are: bucket, ",
    ),
    "a target where there is no environment": (
        one(args=["$(targets.lake.url)"]),
        None,
        Reason.TARGET_NOT_FOUND,
        "namespace team belongs to no environment; create an Environment in it with spec.targets",
    ),
    "a target in the image of all steps": (
        one(image=None).having(defaults={"image": "img:$(targets.warehouse.schema)"}),
        place(),
        Reason.TARGET_NOT_FOUND,
        "pipeline flights: spec.defaults.image: ",
    ),
    "secrets where there is no environment": (
        one(secrets=[{"name": "api"}]).having(secrets=[{"name": "api", "vault": {"path": "secret/data/api"}}]),
        None,
        Reason.VAULT_NOT_CONFIGURED,
        r"spec.steps\[1\].secrets: secrets need Vault: namespace team belongs to no environment; create an Environment "
        r"in it with spec.vault \(server and role\)",
    ),
    "secrets where the environment has no Vault": (
        one(secrets=[{"name": "api"}]).having(secrets=[{"name": "api", "vault": {"path": "secret/data/api"}}]),
        place(),
        Reason.VAULT_NOT_CONFIGURED,
        r"environment team/prod has none; add spec.vault \(server and role\) to it",
    ),
    "an image out of policy": (
        one(image="ghcr.io.evil/acme/step:1"),
        place(images={"allowedRegistries": ["ghcr.io/acme", "docker.io"]}),
        Reason.IMAGE_NOT_ALLOWED,
        r"pipeline flights: spec.steps\[1\].image: image 'ghcr.io.evil/acme/step:1' is in ghcr.io.evil/acme; allowed "
        "here: ghcr.io/acme, docker.io; use another image, or have spec.images of environment team/prod changed",
    ),
    "one that a parameter makes so": (
        one(image="ghcr.io/$(env.params.bucket)/step:1"),
        place(images={"allowedRegistries": ["ghcr.io/acme", "docker.io"]}),
        Reason.IMAGE_NOT_ALLOWED,
        "image 'ghcr.io/b/step:1' is in ghcr.io/b",
    ),
    "a secret whose path names what the environment has not": (
        reading("secret/data/$(env.params.team)/api"),
        place(vault=VAULT),
        Reason.SECRET_INVALID,
        r"pipeline flights: spec.secrets: secret api: \$\(env.params.team\): the value has no 'team'",
    ),
    "one whose path escapes once it is filled in": (
        reading("secret/data/$(env.params.up)/api"),
        an_environment(vault=VAULT, parameters=[{"name": "up", "value": "../.."}]),
        Reason.SECRET_INVALID,
        "pipeline flights: spec.secrets: ",
    ),
    "one that is called as a target's login": (
        reading("secret/data/api", "dwh", args=["$(targets.dwh.url)"]),
        an_environment(vault=VAULT, targets=[GUARDED]),
        Reason.SECRET_INVALID,
        r"spec.secrets\[0\].name: the login of target 'dwh' of environment team/prod is called so, too; rename it",
    ),
    "one as a variable where pods fetch secrets themselves": (
        reading("secret/data/api", secrets=[{"name": "api", "env": [{"name": "T", "key": "token"}]}]),
        place(vault={"role": "prod", "delivery": "Pod"}),
        Reason.SECRET_INVALID,
        r"spec.steps\[1\].secrets\[0\].env: environment team/prod keeps secrets out of variables",
    ),
    "one without a digest, for all steps": (
        a_pipeline().step("a", image=None).having(defaults={"image": "img:1"}),
        place(images={"requireDigest": True}),
        Reason.IMAGE_NOT_ALLOWED,
        "pipeline flights: spec.defaults.image: image 'img:1' is not named by digest; write img:1@sha256:",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_run_does_not_begin_where_it_does_not_fit(case: str) -> None:
    pipeline, environment, reason, words = CASES[case]
    found = unfit(a_run().inputs(pipeline, environment))
    assert [told for told, _ in found] == [reason]
    assert re.search(words, str(found[0][1])), found[0][1]


def test_all_that_is_wrong_is_told_at_once() -> None:
    pipeline = one(args=["$(targets.x.url)", "$(env.params.y)"], image="evil.example/x")
    found = unfit(a_run().inputs(pipeline, place(images={"allowedRegistries": ["docker.io"]})))
    assert {reason for reason, _ in found} == {
        Reason.TARGET_NOT_FOUND,
        Reason.INVALID_PARAMETERS,
        Reason.IMAGE_NOT_ALLOWED,
    }


def test_credentials_of_a_target_need_vault_too() -> None:
    pipeline = one(args=["$(targets.dwh.url)"])
    guarded = an_environment(targets=[GUARDED], vault={"role": "prod"})
    assert not unfit(a_run().inputs(pipeline, guarded))


@pytest.mark.parametrize(
    ("pipeline", "environment"),
    [
        (one(args=["$(env.name)"]), None),
        (one(args=["$(env.name)", "$(env.params.bucket)", "$(env.params.hosts.eu)", "$(targets.lake.url)"]), place()),
        (one(), place(images={"allowedRegistries": ["docker.io"]})),
        (
            one(image="ghcr.io/acme/x@" + SHA).having(),
            an_environment(images={"allowedRegistries": ["ghcr.io", "docker.io"]}),
        ),
        (
            a_pipeline().step("a", outputs=[{"name": "x"}]).step("b", image="$(steps.a.outputs.x)"),
            an_environment(images={"allowedRegistries": ["docker.io"]}),
        ),
        (one().having(secrets=[{"name": "api", "vault": {"path": "secret/data/api"}}]), None),
        (reading("secret/data/$(env.params.bucket)", args=["$(targets.lake.url)"]), place(vault=VAULT)),
    ],
    ids=[
        "a namespace stands for an environment",
        "everything there is",
        "an image of Docker Hub",
        "an image by digest",
        "an image that an earlier step names is looked at when its step begins",
        "secrets that no step uses",
        "secrets where there is Vault",
    ],
)
def test_a_run_fits(pipeline: PipelineBuilder, environment: Effective | None) -> None:
    assert unfit(a_run().inputs(pipeline, environment)) == []
