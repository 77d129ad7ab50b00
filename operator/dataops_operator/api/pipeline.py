"""Pipeline: a versioned definition of steps, their order and their parameters."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from .base import (
    LIST_ATOMIC,
    LIST_BY_NAME,
    LIST_BY_TYPE,
    LIST_SET,
    AnyJson,
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
from .conditions import Condition
from .secret import Secret, StepSecret

Size = Annotated[str, StringConstraints(pattern=r"^[0-9]+(\.[0-9]+)?(Ki|Mi|Gi|Ti|k|M|G|T)?$", max_length=32)]
Quantity = Annotated[dict[Annotated[str, StringConstraints(max_length=63)], IntOrString], Field(max_length=16)]


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
                "has(self.script) || has(self.command) || has(self.args) || has(self.image)",
                "a step needs a command, args, a script, or an image whose own entrypoint it runs",
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


class Defaults(ApiModel):
    """What a step has that does not say otherwise."""

    image: Image | None = None
    """Container image."""
    retry: Retry | None = None
    """When to try again; never where unset."""
    timeout: Duration | None = None
    """How long one attempt may run; without end where unset."""
    start_timeout: Duration = "5m"
    """How long one attempt may wait for its container to start."""
    resources: Resources | None = None
    """Compute resources."""


class Workspace(ApiModel):
    """A volume mounted at /dataops/workspace in every step: a new claim a run, or one that exists."""

    model_config = ApiModel.model_config | {
        "json_schema_extra": rules(
            rule(
                "has(self.claim) != has(self.size)",
                "a workspace is either size (a new claim for each run) or claim (one that exists); give exactly one",
            ),
            rule(
                "!has(self.claim) || (!has(self.storageClass) && !has(self.accessMode))",
                "storageClass and accessMode belong to a new claim; remove them, or give size instead of claim",
                ".claim",
            ),
        )
    }

    claim: Annotated[str, StringConstraints(min_length=1, max_length=253)] | None = None
    """Name of an existing PersistentVolumeClaim in the run's namespace that carries the label
    dataops.dev/allow-runs: "true"."""
    size: Size | None = None
    """Size of the claim that each run makes and that goes with the run, such as 5Gi."""
    storage_class: Annotated[str, StringConstraints(min_length=1, max_length=253)] | None = None
    """Storage class of the new claim; the cluster's default where unset."""
    access_mode: Literal["ReadWriteOnce", "ReadWriteMany", "ReadWriteOncePod"] | None = None
    """Access mode of the new claim; ReadWriteOnce where unset."""


class PipelineSpec(ApiModel):
    """Desired definition of a pipeline."""

    description: Text | None = None
    """What the pipeline is for."""
    owner: Annotated[str, StringConstraints(max_length=253)] | None = None
    """Team or person to ask."""
    parameters: Annotated[list[Parameter], Field(max_length=64, json_schema_extra=LIST_BY_NAME)] | None = None
    """Typed inputs of a run."""
    defaults: Defaults | None = None
    """What a step has that does not say otherwise."""
    workspace: Workspace | None = None
    """Volume shared by the steps of a run."""
    secrets: Annotated[list[Secret], Field(max_length=32, json_schema_extra=LIST_BY_NAME)] | None = None
    """Secrets that steps may use; read as the run, in the environment's Vault role, and revoked at the run's end."""
    steps: Annotated[list[Step], Field(min_length=1, max_length=1000, json_schema_extra=LIST_BY_NAME)]
    """What is done. Steps without needs start at once, side by side."""


class PipelineStatus(ApiModel):
    """What the operator found and did."""

    observed_generation: int = -1
    """The metadata.generation that this status speaks of."""
    conditions: Annotated[list[Condition], Field(max_length=16, json_schema_extra=LIST_BY_TYPE)] | None = None
    """Ready, Stalled, LastRunSucceeded."""
    active_revision: Annotated[str, StringConstraints(max_length=253)] | None = None
    """ControllerRevision that new runs use."""
    last_run: Annotated[str, StringConstraints(max_length=253)] | None = None
    """The run that ended last."""
    steps: int | None = None
    """Number of steps."""


class Pipeline(ApiModel):
    """A versioned definition of steps, their order and their parameters."""

    spec: PipelineSpec
    """Desired definition."""
    status: PipelineStatus | None = None
    """What the operator found and did."""


CRD: dict[str, Any] = {
    "kind": "Pipeline",
    "plural": "pipelines",
    "singular": "pipeline",
    "shortNames": ["dpl"],
    "model": Pipeline,
    "rules": [
        rule(
            "self.metadata.name.size() <= 52 && self.metadata.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",
            "a pipeline's name is a DNS label of at most 52 characters, since revisions and labels are named after it",
        )
    ],
    "columns": [
        ("Ready", "string", '.status.conditions[?(@.type=="Ready")].status', 0, "Whether runs can start"),
        ("Revision", "string", ".status.activeRevision", 0, "Revision that new runs use"),
        ("Steps", "integer", ".status.steps", 0, "Number of steps"),
        ("Last Run", "string", '.status.conditions[?(@.type=="LastRunSucceeded")].reason', 0, "How the last run ended"),
        ("Age", "date", ".metadata.creationTimestamp", 0, "Age"),
        ("Owner", "string", ".spec.owner", 1, "Team or person to ask"),
        ("Message", "string", '.status.conditions[?(@.type=="Ready")].message', 1, "What to know"),
    ],
    "selectableFields": [".spec.owner"],
}
