"""How a step uses a StepTemplate: which one, and with which values."""

from __future__ import annotations

from typing import Annotated

from pydantic import StringConstraints

from .base import AnyJson, ApiModel, Identifier, Name

TemplateVersion = Annotated[
    str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", min_length=1, max_length=32)
]
"""Part of an object's name behind a hyphen."""


class TemplateReference(ApiModel):
    """A StepTemplate of the pipeline's namespace."""

    name: Name
    """Name of the StepTemplate."""
    version: TemplateVersion | None = None
    """Version, whose StepTemplate is called `<name>-<version>` and cannot change; unset, `<name>` as it stands."""

    @property
    def object_name(self) -> str:
        """The metadata.name of the StepTemplate."""
        return self.name if self.version is None else f"{self.name}-{self.version}"


class TemplateValue(ApiModel):
    """A value for one of a template's parameters."""

    name: Identifier
    """Name of the template's parameter."""
    value: AnyJson = None
    """Value: any JSON, in whose strings the pipeline's templates are filled in; a string is read by the parameter's
    type."""
