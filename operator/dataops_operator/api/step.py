"""Step: one part of a pipeline's work, and when it is tried again."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from .base import (
    LIST_ATOMIC,
    LIST_BY_NAME,
    LIST_SET,
    ApiModel,
    Argument,
    Duration,
    Identifier,
    Image,
    IntOrString,
    Name,
    Script,
    Text,
    rule,
    rules,
)
from .parameter import ParameterType
from .podtemplate import PodTemplate
from .secret import StepSecret
from .templateref import TemplateReference, TemplateValue

Quantity = Annotated[dict[Annotated[str, StringConstraints(max_length=63)], IntOrString], Field(max_length=16)]


class FailureClass(StrEnum):
    """Why an attempt failed, as a retry policy tells them apart."""

    INFRASTRUCTURE = "Infrastructure"
    FAILURE = "Failure"
    OUT_OF_MEMORY = "OutOfMemory"
    DEADLINE = "Deadline"
    START = "Start"


class Backoff(ApiModel):
    """Waiting time before another attempt: initial, times factor for each attempt after, at most max."""

    initial: Duration = "10s"
    """Wait before the second attempt."""
    factor: Annotated[int, Field(ge=1, le=10)] = 2
    """Each further wait is this many times the one before."""
    max: Duration = "10m"
    """Longest wait."""


class Retry(ApiModel):
    """When a failed attempt is tried again."""

    limit: Annotated[int, Field(ge=0, le=20)] = 0
    """How many more attempts after the first."""
    on: Annotated[list[FailureClass], Field(min_length=1, max_length=5, json_schema_extra=LIST_SET)] = Field(
        default_factory=lambda: [FailureClass.INFRASTRUCTURE, FailureClass.FAILURE]
    )
    """The classes of failure that are tried again."""
    backoff: Backoff = Backoff()
    """How long to wait between attempts."""


class Resources(ApiModel):
    """Compute resources of a step's container, as Kubernetes has them."""

    requests: Quantity | None = None
    """What the scheduler reserves, such as cpu: 500m and memory: 1Gi."""
    limits: Quantity | None = None
    """What the container may use at most."""


class EnvVar(ApiModel):
    """An environment variable of a step's container."""

    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", min_length=1, max_length=128)]
    """Name; names that begin with DATAOPS_ belong to the step contract."""
    value: Argument = ""
    """Value; templates such as `$(params.day)` are filled in."""


class Output(ApiModel):
    """A value that a step writes into its result for later steps."""

    name: Identifier
    """Name in `$(steps.<step>.outputs.<name>)`."""
    type: ParameterType = ParameterType.STRING
    """Type that the written value must have."""
    description: Text | None = None
    """What the value means."""


class Step(ApiModel):
    """One container run to its end, in its own pod."""

    model_config = ApiModel.model_config | {
        "json_schema_extra": rules(
            rule(
                "!has(self.script) || (!has(self.command) && !has(self.args))",
                "a step is either command and args, or script; remove one of the two",
                ".script",
            ),
            rule(
                "has(self.script) || has(self.command) || has(self.args) || has(self.image) || has(self.template)",
                "a step needs a command, args, a script, or an image whose own entrypoint it runs",
            ),
            rule(
                "!has(self.template) || !(has(self.script) || has(self.command) || has(self.args) || has(self.image)"
                " || has(self.outputs) || has(self.workspace))",
                "image, command, args, script, outputs and workspace are the template's own; remove them, or template",
                ".template",
            ),
            rule(
                "!has(self.with) || has(self.template)",
                "with gives values to a template's parameters; name the template, or remove it",
                ".with",
            ),
            rule(
                "!has(self.needs) || !(self.name in self.needs)",
                "a step cannot need itself; remove its own name from needs",
                ".needs",
            ),
        )
    }

    name: Name
    """Name, unique in the pipeline."""
    description: Text | None = None
    """What the step does."""
    template: TemplateReference | None = None
    """StepTemplate that says what is run. Beside it a step has only its place in the pipeline (needs and the like),
    `with`, env and secrets, and its own retry, timeout, startTimeout and resources where it says any."""
    with_: Annotated[list[TemplateValue], Field(max_length=64, json_schema_extra=LIST_BY_NAME)] | None = Field(
        default=None, alias="with"
    )
    """Values of the template's parameters; those that are left out have the template's default."""
    image: Image | None = None
    """Container image; spec.defaults.image where unset."""
    command: Annotated[list[Argument], Field(min_length=1, max_length=64, json_schema_extra=LIST_ATOMIC)] | None = None
    """Program and its first arguments, instead of the image's entrypoint; templates are filled in."""
    args: Annotated[list[Argument], Field(min_length=1, max_length=256, json_schema_extra=LIST_ATOMIC)] | None = None
    """Arguments; templates are filled in."""
    script: Script | None = None
    """Text of a script, run by its `#!` line or else by /bin/sh. Takes no templates: values reach it as environment
    variables, so that nothing is ever pasted into shell text."""
    env: Annotated[list[EnvVar], Field(max_length=128, json_schema_extra=LIST_BY_NAME)] | None = None
    """Environment variables, beside those of the step contract."""
    needs: Annotated[list[Name], Field(max_length=256, json_schema_extra=LIST_SET)] | None = None
    """Steps that must have succeeded before; a step whose outputs are used is needed without saying."""
    outputs: Annotated[list[Output], Field(max_length=32, json_schema_extra=LIST_BY_NAME)] | None = None
    """Values that the step must write into /dataops/result."""
    retry: Retry | None = None
    """When to try again; spec.defaults.retry where unset."""
    timeout: Duration | None = None
    """How long one attempt may run; spec.defaults.timeout where unset, without end where both are."""
    start_timeout: Duration | None = None
    """How long one attempt may wait for its container to start (image, node, quota); spec.defaults.startTimeout
    where unset."""
    resources: Resources | None = None
    """Compute resources; spec.defaults.resources where unset."""
    secrets: Annotated[list[StepSecret], Field(max_length=32, json_schema_extra=LIST_BY_NAME)] | None = None
    """Secrets of the pipeline that this step gets. Credentials of a target that the step names by
    `$(targets.<name>.url)` come without saying, as files under /dataops/secrets/<name>/."""
    workspace: Literal["Mount", "None"] | None = None
    """None keeps the pipeline's workspace out of this step."""
    pod_template: PodTemplate | None = None
    """What is said about the step's pod: an allow-list; field by field, spec.defaults.podTemplate where unset."""
