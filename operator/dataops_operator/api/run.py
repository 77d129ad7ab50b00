"""PipelineRun: one execution of a pipeline's revision with given parameters."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Final, Literal

from pydantic import Field, StringConstraints

from .base import (
    LIST_ATOMIC,
    LIST_BY_NAME,
    LIST_BY_STEP,
    LIST_BY_TYPE,
    LIST_SET,
    AnyJson,
    ApiModel,
    Identifier,
    Name,
    Timestamp,
    rule,
    rules,
)
from .concurrency import Priority
from .conditions import Condition
from .stepkinds import Deciders, Subject


class Phase(StrEnum):
    """Where a run or a step stands. Succeeded, Failed, Skipped and Cancelled are final."""

    PENDING = "Pending"
    WAITING = "Waiting"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    SKIPPED = "Skipped"
    CANCELLED = "Cancelled"


# No `format: date-time`: the API server takes an offset of 25 hours for one, and then every later write of the object
# fails in the CEL rules, which cannot read it.
LogicalDate = Annotated[
    str,
    StringConstraints(
        pattern=r"^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])[Tt]([01][0-9]|2[0-3])(:[0-5][0-9]){2}(\.[0-9]{1,9})?"
        r"([Zz]|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$",
        max_length=64,
    ),
]
ObjectName = Annotated[str, StringConstraints(min_length=1, max_length=253)]
ItemError = Annotated[str, StringConstraints(max_length=300)]
ImageId = Annotated[str, StringConstraints(min_length=1, max_length=600)]
Json = Annotated[dict[str, Any], Field(json_schema_extra={"x-kubernetes-preserve-unknown-fields": True})]


class ParameterValue(ApiModel):
    """A value for one of the pipeline's parameters."""

    name: Identifier
    """Name of the parameter."""
    value: AnyJson = None
    """Value: any JSON; a string is read by the parameter's type."""


class Cancel(StrEnum):
    """How a run is ended before its time."""

    GRACEFUL = "Graceful"
    IMMEDIATE = "Immediate"


class Decision(StrEnum):
    """What a person says to an approval."""

    APPROVE = "Approve"
    REJECT = "Reject"


class StepDecision(ApiModel):
    """A person's decision on one approval."""

    step: Name
    """Name of the step that asks."""
    decision: Decision
    """Approve lets the run go on, Reject fails the step."""
    comment: Annotated[str, StringConstraints(max_length=512)] | None = None
    """Why; told by the step."""
    by: Subject | None = None
    """Who decided. Written by the API server's admission policy, which refuses every other name."""
    groups: Annotated[list[Subject], Field(max_length=32, json_schema_extra=LIST_SET)] | None = None
    """Which of the groups that are asked they are in; likewise."""


MUTABLE: Final = frozenset({"approvals", "cancel", "suspend"})
"""Fields of a run's spec that may change while it is under way."""


class RerunMode(StrEnum):
    """Which steps of the run before are run again."""

    FROM_FAILED = "FromFailed"
    STEPS = "Steps"
    ALL = "All"


class Rerun(ApiModel):
    """A run that is done again: with its revision, its time and its values, as far as the new one says nothing else."""

    model_config = ApiModel.model_config | {
        "json_schema_extra": rules(
            rule(
                "(has(self.mode) && self.mode == 'Steps') == has(self.steps)",
                "steps are named with mode Steps, and only then; give both, or neither",
                ".steps",
            ),
        )
    }

    of: ObjectName
    """Name of the run, which has ended, in the same namespace."""
    mode: RerunMode = RerunMode.FROM_FAILED
    """FromFailed: what has not succeeded, and what follows it. Steps: those named, and what follows them. All: every
    step."""
    steps: Annotated[list[Name], Field(min_length=1, max_length=256, json_schema_extra=LIST_SET)] | None = None
    """With mode Steps: the steps to run again."""


class PipelineRunSpec(ApiModel):
    """What to run. Fixed once written but for cancel, suspend and approvals: for anything else start another run."""

    model_config = ApiModel.model_config | {
        "json_schema_extra": rules(
            rule("self.pipeline == oldSelf.pipeline", "a run's pipeline cannot change; start another run", ".pipeline"),
            rule(
                "has(self.revision) == has(oldSelf.revision)"
                " && (!has(self.revision) || self.revision == oldSelf.revision)",
                "a run's revision cannot change; start another run",
                ".revision",
            ),
            rule(
                "has(self.logicalDate) == has(oldSelf.logicalDate)"
                " && (!has(self.logicalDate) || self.logicalDate == oldSelf.logicalDate)",
                "a run's logicalDate cannot change; start another run",
                ".logicalDate",
            ),
            rule(
                "has(self.rerun) == has(oldSelf.rerun) && (!has(self.rerun) || self.rerun == oldSelf.rerun)",
                "which run is done again cannot change; start another run",
                ".rerun",
            ),
            rule(
                "has(self.cache) == has(oldSelf.cache) && (!has(self.cache) || self.cache == oldSelf.cache)",
                "what a run does with cached outputs cannot change; start another run",
                ".cache",
            ),
            rule(
                "(has(self.parameters) ? self.parameters.map(p, p.name) : [])"
                " == (has(oldSelf.parameters) ? oldSelf.parameters.map(p, p.name) : [])",
                "a run's parameters cannot change; start another run",
                ".parameters",
            ),
            rule(
                "has(self.priority) == has(oldSelf.priority)"
                " && (!has(self.priority) || self.priority == oldSelf.priority)",
                "a run's priority cannot change; start another run",
                ".priority",
            ),
            rule(
                "!has(oldSelf.cancel)"
                " || (has(self.cancel) && (self.cancel == oldSelf.cancel || self.cancel == 'Immediate'))",
                "a cancelled run cannot go on; start another run (Graceful may become Immediate)",
                ".cancel",
            ),
        )
    }

    pipeline: Name
    """Name of the Pipeline: in the project namespace of the environment that the run's namespace belongs to, in the
    run's own namespace where it belongs to none."""
    revision: ObjectName | None = None
    """Revision to run; the pipeline's active one where unset."""
    parameters: Annotated[list[ParameterValue], Field(max_length=64, json_schema_extra=LIST_BY_NAME)] | None = None
    """Values for the pipeline's parameters."""
    logical_date: LogicalDate | None = None
    """The time this run stands for, RFC 3339; the run's creation where unset."""
    rerun: Rerun | None = None
    """A run to do again: finished work of it and its outputs are taken over. Parameters, revision and logicalDate that
    are not given are that run's."""
    cache: Literal["Use", "Refresh"] | None = None
    """Refresh runs also those steps whose outputs could be taken from an earlier run, for later runs to take; Use,
    which stands where unset, takes them."""
    priority: Priority | None = None
    """Which of several runs that wait for one place gets it: the higher first, then the older; Normal where unset."""
    cancel: Cancel | None = None
    """Ends the run. Graceful: its steps get SIGTERM and the time to end that their pods have, then `finally` runs.
    Immediate: its pods are killed, their logs go with them, and nothing more is run."""
    suspend: bool = False
    """While true nothing new of the run begins; what runs may end, and times go on."""
    approvals: Annotated[list[StepDecision], Field(max_length=64, json_schema_extra=LIST_BY_STEP)] | None = None
    """Decisions on the run's approvals, each while its step waits for it."""


class ResolvedParameter(ApiModel):
    """A parameter as the run uses it."""

    name: Identifier
    """Name of the parameter."""
    value: AnyJson = None
    """Value, of the parameter's type; not shown where the parameter is masked."""
    origin: Annotated[str, StringConstraints(max_length=32)] | None = None
    """Where the value comes from: Run, Environment or Pipeline; of a step template's also Template (its default) or
    Step (an output of another step)."""
    masked: bool | None = None
    """Whether the value is kept out of here."""


class StepParameter(ResolvedParameter):
    """A parameter of a step's template as the run uses it."""

    step: Name
    """Name of the step."""


class SecretVersion(ApiModel):
    """Which version of a secret the run read; never its value."""

    name: Name
    """Name of the secret, or of the target whose credentials it is."""
    version: int | None = None
    """Version of a KV version 2 secret."""
    leased: bool | None = None
    """Whether it is a credential that Vault made for this run and takes back at its end."""


class WaitingFor(ApiModel):
    """Something that must happen before the run goes on."""

    reason: Annotated[str, StringConstraints(max_length=64)]
    """What kind of thing, CamelCase."""
    message: Annotated[str, StringConstraints(max_length=1024)] | None = None
    """What exactly, and until when."""
    since: Timestamp | None = None
    """Since when, RFC 3339."""
    holder: ObjectName | None = None
    """Who holds what the run waits for; not told of a run far behind in a line."""
    position: int | None = None
    """The run's place among those that wait, from 1; beyond 10 rounded up to 30, 100, 300 and so on."""


class ItemsStatus(ApiModel):
    """Where the items of a fan-out stand."""

    total: int
    """How many there are."""
    active: int = 0
    """How many are being worked on."""
    succeeded: int = 0
    """How many succeeded."""
    failed: int = 0
    """How many failed for good."""
    states: Annotated[str, StringConstraints(max_length=32768)] | None = None
    """The state of each in their order, for the operator: P pending, R running, W between attempts, Q and V waiting, S
    succeeded, F and G failed, C cancelled, K not run; with the attempt's number, and how often in a row."""
    errors: Annotated[list[ItemError], Field(max_length=5, json_schema_extra=LIST_ATOMIC)] | None = None
    """Why the first that failed did, or by what the first that were ended were."""


class StepStatus(ApiModel):
    """Where one step of the run stands."""

    name: Name
    """Name of the step."""
    phase: Phase
    """Pending (not begun), Running (an attempt's Job exists), Waiting (between attempts, for a decision, a time or an
    object), or how it ended."""
    reason: Annotated[str, StringConstraints(max_length=64)] | None = None
    """Why, CamelCase."""
    message: Annotated[str, StringConstraints(max_length=1024)] | None = None
    """What a person should know."""
    attempt: int | None = None
    """Number of the last attempt, from 1."""
    started_at: Timestamp | None = None
    """When the attempt began: its Job's creation while it runs, its container's start once it ended."""
    finished_at: Timestamp | None = None
    """When the attempt ended."""
    retry_at: Timestamp | None = None
    """When the next attempt begins."""
    job: ObjectName | None = None
    """Job of the last attempt."""
    run: ObjectName | None = None
    """Run of another pipeline that the last attempt is."""
    object: Annotated[str, StringConstraints(max_length=320)] | None = None
    """Object that the last attempt is, as <kind>/<name>."""
    reused_from: Annotated[str, StringConstraints(max_length=253)] | None = None
    """Run in which the step succeeded, where this one has taken that over."""
    cache_key: Annotated[str, StringConstraints(max_length=64)] | None = None
    """Of a step with `cache` that has succeeded: what its outputs come from, as a hash; another run with the same may
    take them."""
    disruptions: int | None = None
    """Attempts that ended by Infrastructure, which do not count for the limit of the retry."""
    out_of_memory: int | None = None
    """Attempts that were killed for their memory."""
    items: ItemsStatus | None = None
    """Where the items of a fan-out stand."""
    approvers: Deciders | None = None
    """Who may decide, while an approval is waited for."""
    outputs: Json | None = None
    """Outputs that the step wrote; of a fan-out, lists in the order of its items."""
    result: ObjectName | None = None
    """ConfigMap with all of what the step handed in, where outputs leaves out the larger ones."""


class PipelineRunStatus(ApiModel):
    """What the operator found and did."""

    observed_generation: int = -1
    """The metadata.generation that this status speaks of."""
    conditions: Annotated[list[Condition], Field(max_length=16, json_schema_extra=LIST_BY_TYPE)] | None = None
    """Accepted, Succeeded, Reconciling, Stalled."""
    phase: Phase | None = None
    """Summary of the conditions, for people."""
    progress: Annotated[str, StringConstraints(max_length=32)] | None = None
    """Steps that succeeded, of all steps, such as 3/5."""
    revision: ObjectName | None = None
    """ControllerRevision that this run executes, from its start to its end."""
    logical_date: LogicalDate | None = None
    """The time this run stands for, RFC 3339."""
    environment: ObjectName | None = None
    """Environment that the run belongs to, as <namespace>/<name>."""
    environment_revision: ObjectName | None = None
    """ControllerRevision, in the environment's own namespace, of what the environment was when the run began."""
    requested_by: Annotated[str, StringConstraints(max_length=253)] | None = None
    """Who created the run, as the API server knows them."""
    parameters: Annotated[list[ResolvedParameter], Field(max_length=64, json_schema_extra=LIST_ATOMIC)] | None = None
    """Parameters as resolved at the start."""
    concurrency_key: Annotated[str, StringConstraints(max_length=253)] | None = None
    """The pipeline's concurrency.key as this run has it: with which other runs it counts together."""
    step_parameters: Annotated[list[StepParameter], Field(max_length=256, json_schema_extra=LIST_ATOMIC)] | None = None
    """Parameters of the templates that steps are made of, as far as they are known at the start."""
    waiting_for: Annotated[list[WaitingFor], Field(max_length=16, json_schema_extra=LIST_ATOMIC)] | None = None
    """What the run waits for, while it does."""
    secrets: Annotated[list[SecretVersion], Field(max_length=64, json_schema_extra=LIST_ATOMIC)] | None = None
    """Secrets that the run read, by version."""
    images: Annotated[list[ImageId], Field(max_length=64, json_schema_extra=LIST_SET)] | None = None
    """Images that the run's containers really ran, by digest."""
    started_at: Timestamp | None = None
    """When the run was accepted."""
    finished_at: Timestamp | None = None
    """When the run ended."""
    logs_deleted_at: Timestamp | None = None
    """When the run's Jobs and pods were deleted, and their logs with them, as the pipeline's history.logs has it."""
    outputs: Json | None = None
    """The pipeline's outputs, of a run that has succeeded."""
    steps: Annotated[list[StepStatus], Field(max_length=1000, json_schema_extra=LIST_ATOMIC)] | None = None
    """Where each step stands, in the pipeline's order."""


class PipelineRun(ApiModel):
    """One execution of a pipeline's revision with given parameters."""

    spec: PipelineRunSpec
    """What to run."""
    status: PipelineRunStatus | None = None
    """What the operator found and did."""


CRD: dict[str, Any] = {
    "kind": "PipelineRun",
    "plural": "pipelineruns",
    "singular": "pipelinerun",
    "shortNames": ["drun"],
    "model": PipelineRun,
    "rules": [
        rule(
            "self.metadata.name.size() <= 63 && self.metadata.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",
            "a run's name is a DNS label of at most 63 characters, since Jobs and pods are labelled with it",
        )
    ],
    "columns": [
        ("Pipeline", "string", ".spec.pipeline", 0, "Pipeline that runs"),
        ("Phase", "string", ".status.phase", 0, "Where the run stands"),
        ("Steps", "string", ".status.progress", 0, "Steps that succeeded, of all steps"),
        ("Reason", "string", '.status.conditions[?(@.type=="Succeeded")].reason', 0, "Why"),
        ("Age", "date", ".metadata.creationTimestamp", 0, "Age"),
        ("Revision", "string", ".status.revision", 1, "Revision that the run executes"),
        ("Environment", "string", ".status.environment", 1, "Environment that the run belongs to"),
        ("Requested By", "string", ".status.requestedBy", 1, "Who created the run"),
        ("Priority", "string", ".spec.priority", 1, "Which of those that wait comes first"),
        ("Logical Date", "string", ".status.logicalDate", 1, "The time this run stands for"),
        ("Message", "string", '.status.conditions[?(@.type=="Succeeded")].message', 1, "What to know"),
    ],
    "selectableFields": [".spec.pipeline", ".status.phase"],
}
