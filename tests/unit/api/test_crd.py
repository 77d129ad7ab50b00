from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import yaml
from pydantic import Field, StringConstraints

from dataops_operator.api.base import LIST_ATOMIC, AnyJson, ApiModel, Duration, IntOrString, Name
from dataops_operator.api.crd import KINDS, crd, file_name, render, structural

ROOT = Path(__file__).parents[3]
Schema = dict[str, Any]
BY_KIND = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind["kind"])


def schema_of(model: type[ApiModel]) -> Schema:
    raw = model.model_json_schema(by_alias=True)
    return structural(raw, raw.get("$defs", {}))


def openapi(kind: dict[str, Any]) -> Schema:
    schema: Schema = crd(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return schema


def nodes(schema: Schema, path: str = "") -> Iterator[tuple[str, Schema]]:
    """Every schema within a schema, with its path."""
    yield path, schema
    for name, child in schema.get("properties", {}).items():
        yield from nodes(child, f"{path}.{name}")
    if "items" in schema:
        yield from nodes(schema["items"], f"{path}[]")
    if isinstance(schema.get("additionalProperties"), dict):
        yield from nodes(schema["additionalProperties"], f"{path}.*")


Key = Annotated[str, StringConstraints(max_length=63)]


class Inner(ApiModel):
    """Something inside."""

    text: Name
    """What it says."""


class Good(ApiModel):
    """All shapes that the API uses."""

    inner: Inner | None = None
    """Described in place, not by its class."""
    choice: Literal["A", "B"] = "A"
    """One of two."""
    only: Literal["A"] = "A"
    """One of one."""
    bound: IntOrString | None = None
    """A number or text."""
    free: AnyJson = None
    """Anything."""
    words: Annotated[list[Duration], Field(max_length=3, json_schema_extra=LIST_ATOMIC)] | None = None
    """Some
    durations."""
    limits: Annotated[dict[Key, IntOrString], Field(max_length=4)] | None = None
    """A map."""


def test_every_shape_of_the_api_becomes_structural() -> None:
    properties = schema_of(Good)["properties"]
    assert properties["inner"]["description"] == "Described in place, not by its class."
    assert properties["inner"]["required"] == ["text"]
    assert properties["choice"] == {"description": "One of two.", "type": "string", "enum": ["A", "B"]}
    assert properties["only"] == {"description": "One of one.", "type": "string", "enum": ["A"]}
    assert properties["bound"] == {"description": "A number or text.", "x-kubernetes-int-or-string": True}
    assert properties["free"] == {"description": "Anything.", "x-kubernetes-preserve-unknown-fields": True}
    assert properties["words"]["description"] == "Some durations."
    assert (properties["words"]["maxItems"], properties["words"]["x-kubernetes-list-type"]) == (3, "atomic")
    assert properties["limits"]["additionalProperties"] == {"x-kubernetes-int-or-string": True}
    assert properties["limits"]["maxProperties"] == 4


class Union(ApiModel):
    field: Annotated[int, Field(ge=0)] | Name


class UnboundedList(ApiModel):
    field: Annotated[list[Name], Field(json_schema_extra=LIST_ATOMIC)]


class UntypedList(ApiModel):
    field: Annotated[list[Name], Field(max_length=3)]


class UnboundedText(ApiModel):
    field: str


class UnboundedMap(ApiModel):
    field: dict[Key, Name]


class PatternedKeys(ApiModel):
    field: Annotated[dict[Name, Name], Field(max_length=4)]


class NoType(ApiModel):
    field: Any = None


class Deep(ApiModel):
    outer: Annotated[list[UnboundedText], Field(max_length=3, json_schema_extra=LIST_ATOMIC)]


@pytest.mark.parametrize(
    ("model", "message"),
    [
        pytest.param(Union, r"^\.field: a structural schema has no unions", id="a union"),
        pytest.param(UnboundedList, r"^\.field: a list needs a bound and a list type", id="a list without bound"),
        pytest.param(UntypedList, r"^\.field: a list needs a bound and a list type", id="a list without a list type"),
        pytest.param(UnboundedText, r"^\.field: a string needs a bound", id="a string without bound"),
        pytest.param(UnboundedMap, r"^\.field: a map needs a bound", id="a map without bound"),
        pytest.param(
            PatternedKeys, r"^\.field: .* a map's keys cannot have a pattern", id="a map whose keys have a pattern"
        ),
        pytest.param(NoType, r"^\.field: no type", id="a field without a type"),
        pytest.param(Deep, r"^\.outer\[\]\.field: a string needs a bound", id="a fault further down, with its path"),
    ],
)
def test_what_a_structural_schema_cannot_say_is_refused(model: type[ApiModel], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        schema_of(model)


@BY_KIND
def test_every_field_is_described(kind: dict[str, Any]) -> None:
    properties = openapi(kind)["properties"]
    bare = [
        f".{top}{path}"
        for top in ("spec", "status")
        for path, node in nodes(properties[top])
        if not node.get("description") and not path.endswith(("[]", ".*"))
    ]
    assert not bare, "fields without a docstring"


@BY_KIND
def test_every_list_says_how_it_is_merged_and_every_size_is_bounded(kind: dict[str, Any]) -> None:
    for path, node in nodes(openapi(kind)):
        if path.startswith((".apiVersion", ".kind", ".metadata")):
            continue
        if node.get("type") == "array":
            assert node["x-kubernetes-list-type"] in ("atomic", "set", "map"), path
            assert "maxItems" in node, path
            if node["x-kubernetes-list-type"] == "map":
                keys = node["x-kubernetes-list-map-keys"]
                assert set(keys) <= set(node["items"]["required"]), path
        if node.get("type") == "string":
            assert "maxLength" in node or "enum" in node, path
        assert node.get("type") != "number", f"{path}: no floats in an API"


@BY_KIND
def test_nothing_stands_in_the_schema_that_the_api_server_refuses_or_drops(kind: dict[str, Any]) -> None:
    for path, node in nodes(openapi(kind)):
        assert not {"$ref", "$defs", "anyOf", "oneOf", "allOf", "title", "const", "nullable"} & node.keys(), path
        assert node.get("additionalProperties") is not False, path
        assert node.get("type") != "null", path
        assert "null" not in node.get("enum", ()), path
        assert None not in node.get("enum", ()), path


@BY_KIND
def test_a_fresh_object_does_not_look_current(kind: dict[str, Any]) -> None:
    assert openapi(kind)["properties"]["status"]["default"] == {"observedGeneration": -1}
    assert crd(kind)["spec"]["versions"][0]["subresources"] == {"status": {}}


@BY_KIND
def test_every_rule_has_a_message_that_says_what_to_do(kind: dict[str, Any]) -> None:
    rules = [rule for _, node in nodes(openapi(kind)) for rule in node.get("x-kubernetes-validations", ())]
    assert rules
    assert all(rule.get("message") for rule in rules)


@BY_KIND
def test_names_are_as_the_api_promises(kind: dict[str, Any]) -> None:
    names = crd(kind)["spec"]["names"]
    assert names["categories"] == ["dataops"]
    short = {"Environment": "denv", "StepTemplate": "dst", "Pipeline": "dpl", "PipelineRun": "drun"}
    assert names["shortNames"] == [short[kind["kind"]]]
    usual = [
        column for column in crd(kind)["spec"]["versions"][0]["additionalPrinterColumns"] if "priority" not in column
    ]
    assert len(usual) == 5, "the five things a person looks for"


@BY_KIND
@pytest.mark.parametrize("folder", ["crds", "helm/dataops-operator/files/crds"])
def test_the_committed_crds_are_those_of_the_models(kind: dict[str, Any], folder: str) -> None:
    file = ROOT / folder / file_name(kind)
    same = file.exists() and file.read_text(encoding="utf-8") == render(kind)
    assert same, f"{file.relative_to(ROOT)} is not what the models say; run: make crds"


@BY_KIND
def test_a_crd_is_small_enough_for_plain_apply(kind: dict[str, Any]) -> None:
    assert len(render(kind).encode()) < 256 * 1024
    assert yaml.safe_load(render(kind)) == crd(kind), "the text says the same as the object"


def test_no_crd_is_left_over() -> None:
    for folder in ("crds", "helm/dataops-operator/files/crds"):
        there = {file.name for file in (ROOT / folder).glob("dataops.dev_*.yaml")}
        assert there == {file_name(kind) for kind in KINDS}, (
            f"{folder} holds other CRDs than the models; run: make crds"
        )
    listed = yaml.safe_load((ROOT / "crds/kustomization.yaml").read_text(encoding="utf-8"))["resources"]
    assert set(listed) == {file_name(kind) for kind in KINDS}


def test_a_bound_of_a_string_reaches_the_schema_through_an_optional_field() -> None:
    class Optional(ApiModel):
        field: Annotated[str, StringConstraints(max_length=5)] | None = None
        """A field."""

    assert schema_of(Optional)["properties"]["field"] == {"description": "A field.", "type": "string", "maxLength": 5}
