"""Building blocks shared by every kind: the base model and the bounded field types.

Every string, list and map is bounded, so that the API server can estimate the cost of CEL rules
(10 million units a rule, 100 million a schema; Kubernetes documentation, "Resource constraints on CEL").
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel

GROUP: Final = "dataops.dev"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"
CATEGORY: Final = "dataops"

DNS_LABEL_PATTERN: Final = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
IDENTIFIER_PATTERN: Final = r"^[a-zA-Z][a-zA-Z0-9_]*$"
DURATION_PATTERN: Final = r"^([0-9]+(s|m|h|d))+$"
_DURATION_PART = re.compile(r"([0-9]+)([smhd])")
_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class ApiModel(BaseModel):
    """A part of a kind: camelCase on the wire, immutable here, blind to fields it does not know.

    Unknown fields are ignored, not refused, since objects written for a newer release must stay readable;
    the API server's own schema (and the offline lint) refuses them where they are written.
    """

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True, use_attribute_docstrings=True
    )


def rule(expression: str, message: str, field_path: str | None = None) -> dict[str, str]:
    """One CEL validation rule of a schema (`x-kubernetes-validations`)."""
    out = {"rule": expression, "message": message}
    return out if field_path is None else {**out, "fieldPath": field_path}


def rules(*items: dict[str, str]) -> dict[str, Any]:
    """Schema extension that carries CEL rules; for `json_schema_extra`."""
    return {"x-kubernetes-validations": list(items)}


LIST_SET: Final[dict[str, Any]] = {"x-kubernetes-list-type": "set"}
LIST_ATOMIC: Final[dict[str, Any]] = {"x-kubernetes-list-type": "atomic"}
LIST_BY_NAME: Final[dict[str, Any]] = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}
LIST_BY_STEP: Final[dict[str, Any]] = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["step"]}
LIST_BY_TYPE: Final[dict[str, Any]] = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]}

Name = Annotated[str, StringConstraints(pattern=DNS_LABEL_PATTERN, min_length=1, max_length=63)]
Identifier = Annotated[str, StringConstraints(pattern=IDENTIFIER_PATTERN, min_length=1, max_length=63)]
Duration = Annotated[str, StringConstraints(pattern=DURATION_PATTERN, min_length=2, max_length=32)]
Text = Annotated[str, StringConstraints(max_length=1024)]
Image = Annotated[str, StringConstraints(min_length=1, max_length=512)]
Argument = Annotated[str, StringConstraints(max_length=8192)]
Expression = Annotated[str, StringConstraints(min_length=1, max_length=1024)]
Size = Annotated[str, StringConstraints(pattern=r"^[0-9]+(\.[0-9]+)?(Ki|Mi|Gi|Ti|k|M|G|T)?$", max_length=32)]
Script = Annotated[str, StringConstraints(min_length=1, max_length=65536)]
Timestamp = Annotated[
    str,
    StringConstraints(max_length=64),
    Field(json_schema_extra={"format": "date-time"}),
]
NESTING: Final = 64
"""Levels that a value of any JSON may have. No schema can say it, and each JSON library ends somewhere else."""


def shallow(value: Any, limit: int = NESTING) -> Any:
    """The value itself.

    Args:
        value: any JSON.
        limit: how many lists and objects may stand in each other.

    Raises:
        ValueError: it is nested deeper.
    """
    level: list[Any] = [value]
    for _ in range(limit + 1):
        level = [
            inner
            for one in level
            if isinstance(one, dict | list)
            for inner in (one.values() if isinstance(one, dict) else one)
        ]
        if not level:
            return value
    raise ValueError(f"the value is nested deeper than {limit} levels; pass a location instead of the data")


AnyJson = Annotated[
    Any,
    AfterValidator(shallow),
    Field(json_schema_extra={"x-kubernetes-preserve-unknown-fields": True}),
]
IntOrString = Annotated[
    int | Annotated[str, StringConstraints(max_length=64)],
    Field(json_schema_extra={"x-kubernetes-int-or-string": True}),
]


def parse_duration(text: str) -> float:
    """Seconds in a duration such as `1h30m` or `2d`.

    Raises:
        ValueError: the text is not a sequence of whole numbers each followed by s, m, h or d.
    """
    if not re.fullmatch(DURATION_PATTERN, text):
        raise ValueError(f"{text!r} is not a duration; write whole numbers with s, m, h or d, such as 1h30m")
    return float(sum(int(number) * _UNIT_SECONDS[unit] for number, unit in _DURATION_PART.findall(text)))


def format_duration(seconds: float) -> str:
    """A duration for people: `45s`, `3m20s`, `2h5m`, `1d4h`; the two largest units."""
    left = round(max(seconds, 0))
    parts: list[str] = []
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts[:2]) or "0s"
