"""Every pipeline that the documentation shows is one that the reconciler finds nothing wrong with."""

import re
from typing import Any

import pytest
import yaml
from tests.harness.operator import ROOT

from dataops_operator.core.steptemplates import parse_pipeline

_FENCE = re.compile(r"^```yaml\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def shown() -> list[Any]:
    found = []
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        for block in _FENCE.findall(page.read_text(encoding="utf-8")):
            for body in yaml.safe_load_all(block):
                if isinstance(body, dict) and body.get("kind") == "Pipeline":
                    found.append(pytest.param(body["spec"], id=f"{page.name}: {body['metadata']['name']}"))
    return found


@pytest.mark.parametrize("spec", shown())
def test_nothing_is_wrong_with_what_is_shown(spec: dict[str, Any]) -> None:
    _, problems = parse_pipeline(spec)
    assert list(map(str, problems)) == []
