"""What docs/secrets.md shows is what is right: its examples, its policy, its reasons."""

import re
from pathlib import Path
from typing import Any

import yaml
from tests.harness.vaultadmin import OPERATOR_RULES

from dataops_operator.api.conditions import Reason
from dataops_operator.api.environment import EnvironmentSpec
from dataops_operator.core.validate import parse

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "secrets.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def objects(kind: str) -> list[dict[str, Any]]:
    found = [yaml.safe_load(one) for one in blocks("yaml")]
    return [one for one in found if one["kind"] == kind]


def test_its_pipelines_are_valid_and_show_every_kind() -> None:
    sources = []
    for pipeline in objects("Pipeline"):
        spec, problems = parse(pipeline["spec"])
        assert problems == []
        assert spec is not None
        used = {secret.name for step in spec.steps for secret in step.secrets or ()}
        assert used == {secret.name for secret in spec.secrets or ()}
        sources += [secret.vault for secret in spec.secrets or ()]
    paths = [one.path or "" for one in sources]
    assert any("/data/" in path for path in paths)
    assert any(path.startswith("kv/") for path in paths)
    assert any(path.startswith("database/") for path in paths)
    assert any(one.version for one in sources)
    assert any(one.data for one in sources)
    assert any(one.transit for one in sources)


def test_its_environment_is_valid() -> None:
    (environment,) = objects("Environment")
    spec = EnvironmentSpec.model_validate(environment["spec"])
    assert spec.vault is not None
    assert spec.vault.model_dump(mode="json", by_alias=True) == environment["spec"]["vault"]


def test_the_operators_policy_is_the_one_that_the_tests_work_with() -> None:
    (text,) = blocks("hcl")
    rules = re.findall(r'^path "(.*?)" *\{ capabilities = \["(.*?)"\] \}$', text, re.MULTILINE)
    assert {path: (capability,) for path, capability in rules} == dict(OPERATOR_RULES)


def test_its_reasons_are_all_that_there_are() -> None:
    shown = set(re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE))
    theirs = {str(one) for one in Reason if one.startswith(("Vault", "Secret"))}
    assert shown == theirs - {Reason.VAULT, "VaultReady"}
