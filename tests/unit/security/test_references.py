"""What a user's object can point at (security checks 3, 6, 9): nothing in another namespace, no server of its choice.

The schemas are the committed CRDs, walked whole: a field that is added later has to pass here, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from pydantic import ValidationError
from tests.harness.operator import ROOT

from dataops_operator.api.environment import EnvironmentSpec
from dataops_operator.api.pipeline import PipelineSpec
from dataops_operator.api.run import PipelineRunSpec
from dataops_operator.core.validate import parse

KINDS = ("pipelines", "steptemplates", "pipelineruns", "environments")
FORBIDDEN = frozenset(
    """serviceAccount serviceAccountName automountServiceAccountToken hostPath hostNetwork hostPID hostIPC hostUsers
    hostPort nodeName privileged securityContext capabilities runAsUser runAsGroup fsGroup volumes volumeMounts
    volumeDevices envFrom valueFrom secretKeyRef secretRef secretName configMap configMapRef configMapName podTemplate
    podSpecPatch runtimeClassName priorityClassName schedulerName lifecycle initContainers sidecars token password
    tokenSecret caBundle insecure insecureSkipTLSVerify""".split()  # noqa: SIM905
)
"""Fields of a pod, or of a connection, that no kind of ours has at any depth but where they are listed below."""
LISTED = frozenset(
    """podTemplate podTemplate.volumes podTemplate.volumes[].configMap podTemplate.volumeMounts
    podTemplate.priorityClassName""".split()  # noqa: SIM905
)
"""What podTemplate has of them: an allow-list itself, whose claims and classes have to be offered."""
POD_TEMPLATE = frozenset(
    "labels annotations nodeSelector tolerations affinity priorityClassName volumes volumeMounts".split()  # noqa: SIM905
)


def schema(kind: str) -> Any:
    crd = yaml.safe_load((ROOT / "crds" / f"dataops.dev_{kind}.yaml").read_text())
    return crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]


def fields(part: Any, path: str = "spec") -> Iterator[tuple[str, Any]]:
    """The path and the schema of every field, lists written as `[]`."""
    for name, below in part.get("properties", {}).items():
        yield f"{path}.{name}", below
        yield from fields(below, f"{path}.{name}")
    if "items" in part:
        yield from fields(part["items"], f"{path}[]")


def named(kind: str, name: str) -> set[str]:
    return {path for path, _ in fields(schema(kind)) if path.rpartition(".")[2] == name}


@pytest.mark.parametrize("kind", KINDS)
def test_no_kind_has_a_field_of_a_pod_that_could_lead_out_of_it(kind: str) -> None:
    found = {path for path, _ in fields(schema(kind)) if path.rpartition(".")[2] in FORBIDDEN}
    places = ("spec.", "spec.steps[].", "spec.finally[].", "spec.defaults.")
    assert {path for path in found if not any(path == place + one for place in places for one in LISTED)} == set()
    assert not found or kind in ("pipelines", "steptemplates")


def test_a_pod_template_has_these_fields_and_its_volumes_these_kinds() -> None:
    parts = [
        below
        for kind in ("pipelines", "steptemplates")
        for path, below in fields(schema(kind))
        if path.endswith(".podTemplate")
    ]
    assert len(parts) == 4, "of a step, of one of finally, of the defaults, of a step template"
    for part in parts:
        assert set(part["properties"]) == POD_TEMPLATE
        volume, mount = (part["properties"][name]["items"]["properties"] for name in ("volumes", "volumeMounts"))
        assert set(volume) == {"name", "emptyDir", "configMap", "claim"}
        assert set(mount) == {"name", "mountPath", "subPath", "readOnly"}
        assert set(volume["claim"]["properties"]) == {"name", "readOnly"}
        assert not [path for path, _ in fields(part["properties"]["affinity"]) if "amespace" in path]


def test_only_an_environment_names_a_namespace_and_only_those_of_its_own_and_of_people() -> None:
    for kind in ("pipelines", "steptemplates", "pipelineruns"):
        assert [path for path, _ in fields(schema(kind)) if "amespace" in path] == []
    assert {path for path, _ in fields(schema("environments")) if path.endswith("amespace")} == {
        "spec.namespace",  # made by a pattern of the administrator, or taken by a label of its owner
        "spec.access[].subjects[].namespace",  # whose ServiceAccount is given a role, in the environment's namespace
    }


def test_no_kind_says_where_vault_is_or_as_whom_to_log_in() -> None:
    """The administrator says where; the Environment says by which role; both of which no pipeline can."""
    assert named("pipelines", "address") == named("pipelines", "role") == named("pipelines", "server") == set()
    vault = dict(fields(schema("environments")))["spec.vault"]["properties"]
    assert set(vault) == {"server", "role", "delivery", "onUnavailable", "waitLimit"}
    sources = [below for path, below in fields(schema("pipelines")) if path.endswith(".vault")]
    assert sources
    for source in sources:
        assert set(source["properties"]) == {"path", "version", "data", "transit"}


NAMES = (
    "../other",
    "other/good",
    "good/../../secrets/x",
    "%2e%2e%2fother",
    "ｇｏｏｄ",
    "good\u200b",
    "good\n",
    "Good",
    "a" * 254,
    "",
    "-good",
    "good?x=y",
    "good#x",
)


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_a_name_and_no_way_to_somewhere_else(name: str) -> None:
    step = {"name": "a", "image": "b"}
    for model, body in (
        (PipelineRunSpec, {"pipeline": name}),
        (EnvironmentSpec, {"namespace": name}),
        (EnvironmentSpec, {"from": name}),
        (EnvironmentSpec, {"vault": {"role": "r", "server": name}}),
        (EnvironmentSpec, {"podDefaults": {"imagePullSecrets": [{"name": name}]}}),
        (PipelineSpec, {"steps": [step | {"name": name}]}),
        (PipelineSpec, {"steps": [step], "secrets": [{"name": name, "vault": {"path": "secret/data/x"}}]}),
    ):
        with pytest.raises(ValidationError):
            model.model_validate(body)


PATHS = (
    "https://evil.example/v1/secret",
    "secret/../sys/health",
    "secret//x",
    "/secret/x",
    "secret/x?version=1",
    "secret/x#y",
    "secret/%2e%2e/sys",
    "secret\\x",
    "secret/x\n",
    "s",
)


@pytest.mark.parametrize("path", PATHS)
def test_a_path_in_vault_is_one_and_no_address(path: str) -> None:
    step = {"name": "a", "image": "b"}
    body = {"steps": [step], "secrets": [{"name": "s", "vault": {"path": path}}]}
    _, problems = parse(body)
    assert problems, path
