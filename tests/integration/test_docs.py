"""Every object that the documentation shows is one that the API server takes."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.harness.api import Api
from tests.harness.kinds import NAMESPACES, Kind
from tests.harness.operator import ROOT

from localcluster.controlplane import ControlPlane

_FENCE = re.compile(r"^```yaml\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def shown() -> list[Any]:
    """The objects of our own kinds in yaml blocks, by page and name."""
    found = []
    for page in sorted((ROOT / "docs").rglob("*.md")):
        for block in _FENCE.findall(page.read_text(encoding="utf-8")):
            for body in yaml.safe_load_all(block):
                if isinstance(body, dict) and str(body.get("apiVersion", "")).startswith("dataops.dev/"):
                    name = f"{Path(page).name}: {body['kind']} {body['metadata'].get('name')}"
                    found.append(pytest.param(body, id=name))
    return found


@pytest.mark.parametrize("body", shown())
async def test_what_the_documentation_shows_is_taken(plane: ControlPlane, body: dict[str, Any]) -> None:
    kind = Kind(body["kind"], body["apiVersion"], f"{body['kind'].lower()}s")
    async with Api(plane.server, plane.token, plane.ca) as api:
        namespace = body["metadata"].get("namespace", "default")
        if not await api.find(NAMESPACES, None, namespace):
            await api.create(NAMESPACES, None, {"metadata": {"name": namespace}})
        made = await api.request("POST", kind.path(namespace), body, {"dryRun": "All", "fieldValidation": "Strict"})
        assert made["metadata"]["uid"]
