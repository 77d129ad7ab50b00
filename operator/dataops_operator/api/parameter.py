"""Parameters: the typed inputs of pipelines, and what their values may be."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field, StringConstraints

from .base import LIST_ATOMIC, AnyJson, ApiModel, Identifier, IntOrString, Text, rule, rules


class ParameterType(StrEnum):
    """What a parameter's value may be."""

    STRING = "String"
    INTEGER = "Integer"
    NUMBER = "Number"
    BOOLEAN = "Boolean"
    DATE = "Date"
    ARRAY = "Array"
    OBJECT = "Object"


_BOUNDED = "(has(self.type) && self.type in ['Integer', 'Number'])"


class Parameter(ApiModel):
    """A typed input of a pipeline."""

    model_config = ApiModel.model_config | {
        "json_schema_extra": rules(
            rule(
                f"!has(self.minimum) || {_BOUNDED}",
                "minimum is for the types Integer and Number; remove it or change the type",
                ".minimum",
            ),
            rule(
                f"!has(self.maximum) || {_BOUNDED}",
                "maximum is for the types Integer and Number; remove it or change the type",
                ".maximum",
            ),
            rule(
                "!has(self.pattern) || !has(self.type) || self.type == 'String'",
                "pattern is for the type String; remove it or change the type",
                ".pattern",
            ),
        )
    }

    name: Identifier
    """Name in `$(params.<name>)`, and, in capitals, in the environment variable DATAOPS_PARAM_<NAME>."""
    type: ParameterType = ParameterType.STRING
    """Type of the value."""
    description: Text | None = None
    """What the parameter means, for the person who starts a run."""
    required: bool = False
    """Whether a run must give a value; a required parameter has no default."""
    default: AnyJson = None
    """Value when a run gives none: any JSON of the type; `$(run.logicalDate)`, `$(run.name)` may be used."""
    enum: Annotated[list[AnyJson], Field(min_length=1, max_length=64, json_schema_extra=LIST_ATOMIC)] | None = None
    """The only values allowed."""
    minimum: IntOrString | None = None
    """Least value of an Integer or Number; a fraction is written as a string, such as "0.5"."""
    maximum: IntOrString | None = None
    """Greatest value of an Integer or Number; a fraction is written as a string, such as "0.5"."""
    pattern: Annotated[str, StringConstraints(max_length=256)] | None = None
    """Regular expression (RE2 syntax, which cannot run away) that the whole of a String must match."""
    masked: bool = False
    """Whether the value is kept out of every status and event. A masked value is no secret: who may read the run or
    its pods sees it; credentials belong into Vault."""
