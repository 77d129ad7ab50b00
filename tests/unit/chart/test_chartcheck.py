"""The conversion of the API server's OpenAPI to the schemas that kubeconform takes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from chartcheck import CheckError, Schema, file_name, run, strict, with_definitions, write_builtin


@pytest.mark.parametrize(
    ("group", "version", "kind", "expected"),
    [
        ("", "v1", "Pod", "pod-v1.json"),
        ("apps", "v1", "Deployment", "deployment-apps-v1.json"),
        ("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicy-networking-v1.json"),
        ("dataops.dev", "v1alpha1", "PipelineRun", "pipelinerun-dataops-v1alpha1.json"),
    ],
)
def test_a_kinds_file_is_called_as_kubeconform_looks_for_it(group: str, version: str, kind: str, expected: str) -> None:
    assert file_name(group, version, kind) == expected


def test_objects_that_list_their_fields_are_closed_and_open_ones_stay_open() -> None:
    text = {"type": "string"}
    assert strict({"properties": {"a": text}}) == {"properties": {"a": text}, "additionalProperties": False}
    labels = {"type": "object", "additionalProperties": text}
    assert strict(labels) == labels
    open_object = {"properties": {"a": text}, "x-kubernetes-preserve-unknown-fields": True}
    assert strict(open_object) == {"properties": {"a": text}}


def test_references_lead_into_the_same_file_and_fields_may_be_called_like_keywords() -> None:
    converted = strict({"properties": {"$ref": {"type": "string"}, "not": {"$ref": "#/components/schemas/a.B"}}})
    assert converted["properties"] == {"$ref": {"type": "string"}, "not": {"$ref": "#/definitions/a.B"}}


def test_a_file_has_every_definition_that_it_reaches_even_in_a_circle() -> None:
    known: dict[str, Schema] = {
        "a": {"properties": {"b": {"$ref": "#/definitions/b"}}},
        "b": {"items": {"$ref": "#/definitions/a"}},
        "c": {"type": "string"},
    }
    whole = with_definitions({"$ref": "#/definitions/a"}, known)
    assert set(whole["definitions"]) == {"a", "b"}


def test_kinds_are_written_and_options_of_requests_are_not(tmp_path: Path) -> None:
    meta = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
    pod = {"group": "", "version": "v1", "kind": "Pod"}
    options = [{"group": group, "version": "v1", "kind": "DeleteOptions"} for group in ("", "apps")]
    schemas = {
        meta: {"properties": {"name": {"type": "string"}}},
        "v1.Pod": {
            "properties": {"metadata": {"$ref": f"#/components/schemas/{meta}"}},
            "x-kubernetes-group-version-kind": [pod],
        },
        "v1.DeleteOptions": {"x-kubernetes-group-version-kind": options},
    }
    assert write_builtin([{"components": {"schemas": schemas}}], tmp_path) == 1
    written = json.loads((tmp_path / "pod-v1.json").read_text())
    assert set(written["definitions"]) == {"v1.Pod", meta}
    assert {path.name for path in tmp_path.iterdir()} == {"pod-v1.json", "metadata.json"}


def test_a_tools_own_words_reach_the_reader() -> None:
    with pytest.raises(CheckError, match=r"`sh -c .* failed:\nfirst\nsecond"):
        run(["sh", "-c", "echo first; echo second >&2; exit 3"])
