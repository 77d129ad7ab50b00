"""Pipeline: a versioned definition of steps, their order and their parameters."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from .base import (
    LIST_BY_NAME,
    LIST_BY_TYPE,
    AnyJson,
    ApiModel,
    Duration,
    Identifier,
    Image,
    Size,
    Text,
    Timestamp,
    rule,
    rules,
)
from .concurrency import Concurrency
from .conditions import Condition
from .history import History
from .parameter import Parameter
from .podtemplate import PodTemplate
from .secret import Secret
from .step import Fuse, Resources, Retry, Step


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
    pod_template: PodTemplate | None = None
    """What is said about the pods of steps, field by field."""


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


FinalSteps = Annotated[list[Step], Field(min_length=1, max_length=50, json_schema_extra=LIST_BY_NAME)]


class PipelineOutput(ApiModel):
    """A value that a run tells in its status once it has succeeded."""

    name: Identifier
    """Name."""
    value: AnyJson
    """Value, such as `$(steps.load.outputs.rows)`: templates in its strings are filled in, and one that is the whole
    string keeps its value's type. Left out where a step that it names was skipped."""
    description: Text | None = None
    """What the value means."""


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
    concurrency: Concurrency | None = None
    """How many of its runs may be under way at once in one environment; any number where unset."""
    fuse: Fuse = "Auto"
    """Auto, which stands where unset, lets steps that follow one another share a pod where nothing forbids it: that
    saves a third and more of the time and the API requests of short steps. Never gives each a pod of its own. A step
    may say otherwise."""
    secrets: Annotated[list[Secret], Field(max_length=32, json_schema_extra=LIST_BY_NAME)] | None = None
    """Secrets that steps may use; read as the run, in the environment's Vault role, and revoked at the run's end."""
    steps: Annotated[list[Step], Field(min_length=1, max_length=1000, json_schema_extra=LIST_BY_NAME)]
    """What is done. Steps without needs start at once, side by side."""
    outputs: Annotated[list[PipelineOutput], Field(max_length=32, json_schema_extra=LIST_BY_NAME)] | None = None
    """What a run tells in status.outputs, and to the step of another pipeline that it is run by."""
    history: History | None = None
    """How many finished runs and unused revisions stay, and for how long; where unset no run is ever deleted."""
    finally_: Annotated[FinalSteps | None, Field(alias="finally")] = None
    """Steps that run when all others have ended, however they did: on success, failure, cancel and timeout alike. They
    see the outcome as `$(run.outcome)`."""
    timeout: Duration | None = None
    """How long a run may take from its acceptance on, whatever its steps do; `finally` comes after. Without end where
    unset."""


class PipelineStatus(ApiModel):
    """What the operator found and did."""

    observed_generation: int = -1
    """The metadata.generation that this status speaks of."""
    conditions: Annotated[list[Condition], Field(max_length=16, json_schema_extra=LIST_BY_TYPE)] | None = None
    """Ready, Stalled, LastRunSucceeded; Reconciling while a step template is waited for."""
    active_revision: Annotated[str, StringConstraints(max_length=253)] | None = None
    """ControllerRevision that new runs use."""
    last_run: Annotated[str, StringConstraints(max_length=253)] | None = None
    """The run that ended last; it may be deleted by now."""
    last_run_at: Timestamp | None = None
    """When that run ended."""
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
