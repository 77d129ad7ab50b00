"""CustomResourceDefinitions from the models: structural v1 schemas, written to `crds/` and to the chart.

`python -m dataops_operator.api.crd DIRECTORY...` writes one file a kind into each directory. The API server's rules
for structural schemas are those of the Kubernetes documentation ("Specifying a structural schema"): no references,
no nulls, a type everywhere except where free JSON or int-or-string is declared.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Final

import yaml

from . import environment, pipeline, run, template
from .base import CATEGORY, GROUP, VERSION, ApiModel

KINDS: Final = (environment.CRD, template.CRD, pipeline.CRD, run.CRD)

_KEEP: Final = (
    "type",
    "format",
    "enum",
    "pattern",
    "minLength",
    "maxLength",
    "minimum",
    "maximum",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
    "required",
    "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-validations",
)


def structural(schema: dict[str, Any], definitions: dict[str, Any], path: str = "") -> dict[str, Any]:
    """A pydantic JSON schema as a Kubernetes structural schema.

    Args:
        schema: the schema, or a part of it.
        definitions: its `$defs`.
        path: where the part stands, for errors.

    Raises:
        ValueError: the models say something that a structural schema cannot (a union, an unbounded list).
    """
    node = _inline(schema, definitions, path)
    out: dict[str, Any] = {}
    if description := node.get("description"):
        out["description"] = " ".join(description.split())
    if node.get("x-kubernetes-int-or-string"):
        return {**out, "x-kubernetes-int-or-string": True}
    out |= {key: node[key] for key in _KEEP if key in node}
    if "const" in node:
        out |= {"type": "string", "enum": [node["const"]]}
    if "properties" in node:
        out["properties"] = {
            name: structural(child, definitions, f"{path}.{name}") for name, child in node["properties"].items()
        }
    elif isinstance(node.get("additionalProperties"), dict):
        out["additionalProperties"] = structural(node["additionalProperties"], definitions, f"{path}.*")
    if "items" in node:
        out["items"] = structural(node["items"], definitions, f"{path}[]")
    _check(out, path)
    return out


def _inline(schema: dict[str, Any], definitions: dict[str, Any], path: str) -> dict[str, Any]:
    """The schema without references and without the null arm of an optional field."""
    node = dict(schema)
    arms = [arm for arm in node.get("anyOf", ()) if arm.get("type") != "null"]
    if arms and not node.get("x-kubernetes-int-or-string"):
        if len(arms) != 1:
            raise ValueError(f"{path}: a structural schema has no unions; use optional fields and a rule")
        del node["anyOf"]
        node = {**_inline(arms[0], definitions, path), **{k: v for k, v in node.items() if k != "title"}}
    if "$ref" in node:
        target = definitions[node.pop("$ref").removeprefix("#/$defs/")]
        node = {**_inline(target, definitions, path), **node}
    return node


def _check(node: dict[str, Any], path: str) -> None:
    kind = node.get("type")
    if kind is None and not node.get("x-kubernetes-preserve-unknown-fields"):
        raise ValueError(f"{path}: no type")
    if kind == "array" and ("maxItems" not in node or "x-kubernetes-list-type" not in node):
        raise ValueError(f"{path}: a list needs a bound and a list type")
    if kind == "string" and not ("maxLength" in node or "enum" in node):
        raise ValueError(f"{path}: a string needs a bound")
    if "additionalProperties" in node and "maxProperties" not in node:
        raise ValueError(f"{path}: a map needs a bound")
    contents = ("properties", "additionalProperties", "x-kubernetes-preserve-unknown-fields")
    if kind == "object" and not any(word in node for word in contents):
        raise ValueError(f"{path}: the API server would drop everything in it; a map's keys cannot have a pattern")


def crd(kind: dict[str, Any]) -> dict[str, Any]:
    """The CustomResourceDefinition of one kind, as an object ready to apply."""
    model: type[ApiModel] = kind["model"]
    raw = model.model_json_schema(by_alias=True)
    schema = structural(raw, raw.get("$defs", {}))
    schema["x-kubernetes-validations"] = kind["rules"]
    # A fresh object must not look current to kstatus before the operator has seen it.
    schema["properties"]["status"]["default"] = {"observedGeneration": -1}
    schema["properties"] = {
        "apiVersion": {"type": "string"},
        "kind": {"type": "string"},
        "metadata": {"type": "object"},
        **schema["properties"],
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"{kind['plural']}.{GROUP}",
            "labels": {"app.kubernetes.io/name": "dataops-operator"},
        },
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": kind["kind"],
                "listKind": f"{kind['kind']}List",
                "plural": kind["plural"],
                "singular": kind["singular"],
                "shortNames": kind["shortNames"],
                "categories": [CATEGORY],
            },
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": schema},
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": [_column(*column) for column in kind["columns"]],
                    "selectableFields": [{"jsonPath": path} for path in kind["selectableFields"]],
                }
            ],
        },
    }


def _column(name: str, type_: str, path: str, priority: int, description: str) -> dict[str, Any]:
    out: dict[str, Any] = {"name": name, "type": type_, "jsonPath": path, "description": description}
    return {**out, "priority": priority} if priority else out


def file_name(kind: dict[str, Any]) -> str:
    """Name of the file that holds a kind's CRD."""
    return f"{GROUP}_{kind['plural']}.yaml"


def render(kind: dict[str, Any]) -> str:
    """A kind's CRD as YAML text."""
    body = yaml.safe_dump(crd(kind), sort_keys=False, width=110, allow_unicode=True)
    return f"# Generated from the models by `make crds`; do not edit.\n{body}"


def main() -> None:
    """Write every CRD into each directory named on the command line."""
    for directory in sys.argv[1:]:
        for kind in KINDS:
            (Path(directory) / file_name(kind)).write_text(render(kind), encoding="utf-8")


if __name__ == "__main__":
    main()
