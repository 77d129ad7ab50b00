"""What a run asks of Vault: all that its steps use, once, and nothing else."""

from typing import Any

import pytest
from tests.builders import PipelineBuilder, a_pipeline, a_run, an_environment

from dataops_operator.api.conditions import Reason
from dataops_operator.core.credentials import Order, Version, order, wants
from dataops_operator.core.environment import Effective
from dataops_operator.core.inputs import Inputs
from dataops_operator.core.secrets import CredentialError

VAULT = {"server": "default", "role": "prod"}
LAKE = {
    "name": "lake",
    "s3": {
        "endpoint": "https://s3.example",
        "bucket": "lake",
        "credentials": {"vault": {"path": "secret/data/$(env.params.team)/s3"}},
    },
}


def environment(**more: Any) -> Effective:
    return an_environment(vault=VAULT, parameters=[{"name": "team", "value": "blue"}], targets=[LAKE], **more)


def inputs(pipeline: PipelineBuilder, place: Effective | None = None) -> Inputs:
    return a_run().inputs(pipeline, place or environment())


def secret(name: str, path: str = "secret/data/x", data: Any = None, **more: Any) -> dict[str, Any]:
    return {"name": name, "vault": {"path": path, **({"data": data} if data else {})}, **more}


def one_secret(path: str = "secret/data/x") -> PipelineBuilder:
    """A pipeline of which one step uses one secret."""
    return a_pipeline().having(secrets=[secret("api", path)]).step("a", secrets=[{"name": "api"}])


def asked(pipeline: PipelineBuilder) -> Order:
    return order(inputs(pipeline))


def test_a_step_wants_what_it_names_and_the_login_of_the_targets_in_its_templates() -> None:
    pipeline = (
        a_pipeline()
        .having(secrets=[secret("api"), secret("other")])
        .step("a", secrets=[{"name": "api"}], args=["$(targets.lake.url)"])
        .step("b")
    )
    given = inputs(pipeline)
    assert list(wants(given, given.revision.steps["a"])) == ["api", "lake"]
    assert wants(given, given.revision.steps["b"]) == {}


def test_one_order_has_what_any_step_uses_and_no_more() -> None:
    pipeline = (
        a_pipeline()
        .having(secrets=[secret("api"), secret("db", "database/creds/x"), secret("unused")])
        .step("a", secrets=[{"name": "api"}])
        .step("b", secrets=[{"name": "api"}, {"name": "db"}], needs=["a"])
    )
    assert list(asked(pipeline).requests) == ["api", "db"]


def test_templates_of_a_source_are_filled_in() -> None:
    pipeline = (
        a_pipeline()
        .parameter("host", default="h1")
        .having(
            secrets=[
                secret("cert", "pki/issue/web", [{"name": "cn", "value": "$(params.host)"}]),
                {"name": "open", "vault": {"transit": {"key": "k", "ciphertext": "vault:v1:$(params.host)"}}},
            ]
        )
        .step("a", secrets=[{"name": "cert"}, {"name": "open"}], args=["$(targets.lake.url)"])
    )
    found = asked(pipeline).requests
    assert found["cert"].vault.data is not None
    assert found["cert"].vault.data[0].value == "h1"
    assert found["open"].vault.transit is not None
    assert found["open"].vault.transit.ciphertext == "vault:v1:h1"
    assert found["lake"].vault.path == "secret/data/blue/s3"


def test_keys_and_files_stay_with_their_request() -> None:
    keys, files = [{"key": "k", "name": "n"}], [{"name": "pass", "template": "$(k)"}]
    pipeline = a_pipeline().having(secrets=[secret("api", keys=keys, files=files)]).step("a", secrets=[{"name": "api"}])
    found = asked(pipeline).requests["api"]
    assert [one.model_dump() for one in found.keys or ()] == keys
    assert [one.model_dump() for one in found.files or ()] == files


def test_variables_of_all_steps_must_be_there() -> None:
    def uses(*keys: str) -> list[dict[str, Any]]:
        return [{"name": "api", "env": [{"name": key.upper(), "key": key} for key in keys]}]

    pipeline = a_pipeline().having(secrets=[secret("api")])
    pipeline.step("a", secrets=uses("x", "y")).step("b", secrets=uses("y"))
    assert asked(pipeline).variables == {"api": ("x", "y")}


def test_the_secret_is_the_runs_and_goes_with_it() -> None:
    found = asked(one_secret())
    identity = a_run().identity()
    assert (found.owner, found.labels) == (identity.owner(), identity.labels())
    assert (found.holder.kind, found.holder.uid, found.environment) == ("PipelineRun", identity.uid, "team/prod")


BAD: dict[str, tuple[PipelineBuilder, Effective | None, Reason, str]] = {
    "no environment": (
        one_secret(),
        None,
        Reason.VAULT_NOT_CONFIGURED,
        "belongs to no Environment",
    ),
    "an environment without vault": (
        one_secret(),
        an_environment(),
        Reason.VAULT_NOT_CONFIGURED,
        "spec.vault",
    ),
    "a name that is not there": (
        one_secret("secret/data/$(env.params.no)"),
        environment(),
        Reason.SECRET_INVALID,
        "secret api: $(env.params.no)",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_asked_for_has_a_reason(case: str) -> None:
    pipeline, place, reason, said = BAD[case]
    with pytest.raises(CredentialError) as caught:
        order(a_run().inputs(pipeline, place))
    assert caught.value.reason is reason
    assert said in str(caught.value)


def test_a_status_has_versions_and_no_more() -> None:
    assert Version("api", 3).to_status() == {"name": "api", "version": 3}
    assert Version("db", leased=True).to_status() == {"name": "db", "leased": True}
