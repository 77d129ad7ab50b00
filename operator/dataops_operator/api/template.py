"""StepTemplate: a step that pipelines use by name, with parameters of its own."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from .base import (
    LIST_ATOMIC,
    LIST_BY_NAME,
    LIST_BY_TYPE,
    ApiModel,
    Argument,
    Duration,
    Image,
    Script,
    Text,
    rule,
    rules,
)
from .conditions import Condition
from .parameter import Parameter
from .podtemplate import PodTemplate
from .secret import StepSecret
from .step import EnvVar, Output, Resources, Retry
from .templateref import TemplateVersion


class StepTemplateSpec(ApiModel):
    """What a step that uses the template is made of."""

    model_config = ApiModel.model_config | {
        "json_schema_extra": rules(
            rule(
                "!has(self.script) || (!has(self.command) && !has(self.args))",
                "a template is either command and args, or script; remove one of the two",
                ".script",
            ),
            rule(
                "has(self.script) || has(self.command) || has(self.args) || has(self.image)",
                "a template needs a command, args, a script, or an image whose own entrypoint it runs",
            ),
            rule(
                "!has(oldSelf.version) || self == oldSelf",
                "a template with a version cannot change; apply another one, with another version",
            ),
        )
    }

    description: Text | None = None
    """What the step does, and what it needs."""
    owner: Annotated[str, StringConstraints(max_length=253)] | None = None
    """Team or person to ask."""
    version: TemplateVersion | None = None
    """Version that this object is: it is then called `<name>-<version>`, and its spec cannot change. Pipelines say
    `template: {name: <name>, version: <version>}`."""
    parameters: Annotated[list[Parameter], Field(max_length=64, json_schema_extra=LIST_BY_NAME)] | None = None
    """Typed inputs; a pipeline's step gives their values in `with`."""
    image: Image | None = None
    """Container image; the pipeline's spec.defaults.image where unset."""
    command: Annotated[list[Argument], Field(min_length=1, max_length=64, json_schema_extra=LIST_ATOMIC)] | None = None
    """Program and its first arguments, instead of the image's entrypoint; `$(params.<name>)` is the template's own."""
    args: Annotated[list[Argument], Field(min_length=1, max_length=256, json_schema_extra=LIST_ATOMIC)] | None = None
    """Arguments; `$(params.<name>)` is the template's own."""
    script: Script | None = None
    """Text of a script, run by its `#!` line or else by /bin/sh. Takes no templates: the template's parameters reach it
    as environment variables DATAOPS_PARAM_<NAME>."""
    env: Annotated[list[EnvVar], Field(max_length=128, json_schema_extra=LIST_BY_NAME)] | None = None
    """Environment variables; a step may add others."""
    outputs: Annotated[list[Output], Field(max_length=32, json_schema_extra=LIST_BY_NAME)] | None = None
    """Values that the step must write into /dataops/result."""
    retry: Retry | None = None
    """When to try again, where the step does not say; the pipeline's spec.defaults.retry where both are unset."""
    timeout: Duration | None = None
    """How long one attempt may run, where the step does not say; the pipeline's default where both are unset."""
    start_timeout: Duration | None = None
    """How long one attempt may wait for its container to start, where the step does not say."""
    resources: Resources | None = None
    """Compute resources, where the step does not say; the pipeline's default where both are unset."""
    secrets: Annotated[list[StepSecret], Field(max_length=32, json_schema_extra=LIST_BY_NAME)] | None = None
    """Secrets that the step needs, by the names that the template uses; the pipeline has one of each name, or its step
    says which it gives: `secrets: [{name: <of the pipeline>, as: <of the template>}]`."""
    workspace: Literal["Mount", "None"] | None = None
    """None keeps the pipeline's workspace out of the step."""
    pod_template: PodTemplate | None = None
    """What is said about the step's pod, field by field, where the step does not say."""


class StepTemplateStatus(ApiModel):
    """What the operator found."""

    observed_generation: int = -1
    """The metadata.generation that this status speaks of."""
    conditions: Annotated[list[Condition], Field(max_length=16, json_schema_extra=LIST_BY_TYPE)] | None = None
    """Ready, Stalled."""
    pipelines: int | None = None
    """Number of Pipelines that use the template."""


class StepTemplate(ApiModel):
    """A step that pipelines use by name, with parameters of its own."""

    spec: StepTemplateSpec
    """What a step that uses it is made of."""
    status: StepTemplateStatus | None = None
    """What the operator found."""


CRD: dict[str, Any] = {
    "kind": "StepTemplate",
    "plural": "steptemplates",
    "singular": "steptemplate",
    "shortNames": ["dst"],
    "model": StepTemplate,
    "rules": [
        rule(
            "has(self.spec.version) ? self.metadata.name.endsWith('-' + self.spec.version)"
            " && self.metadata.name.size() - self.spec.version.size() - 1 <= 63"
            " && self.metadata.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?-[a-z0-9][-a-z0-9.]*$')"
            " : self.metadata.name.size() <= 63 && self.metadata.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",
            "a template is called <name>, or <name>-<version> where it has a version; <name> is a DNS label of at most"
            " 63 characters",
        )
    ],
    "columns": [
        ("Ready", "string", '.status.conditions[?(@.type=="Ready")].status', 0, "Whether pipelines can use it"),
        ("Version", "string", ".spec.version", 0, "Version that it is"),
        ("Pipelines", "integer", ".status.pipelines", 0, "Number of pipelines that use it"),
        ("Age", "date", ".metadata.creationTimestamp", 0, "Age"),
        ("Owner", "string", ".spec.owner", 0, "Team or person to ask"),
        ("Message", "string", '.status.conditions[?(@.type=="Ready")].message', 1, "What to know"),
    ],
    "selectableFields": [".spec.owner", ".spec.version"],
}
