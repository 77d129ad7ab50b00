"""Step: one part of a pipeline's work, and when it is tried again."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from .base import (
    LIST_ATOMIC,
    LIST_BY_NAME,
    LIST_BY_STEP,
    LIST_SET,
    AnyJson,
    ApiModel,
    Argument,
    Duration,
    Expression,
    Identifier,
    Image,
    IntOrString,
    Name,
    Script,
    Size,
    Text,
    rule,
    rules,
)
from .parameter import ParameterType
from .podtemplate import PodTemplate
from .secret import StepSecret
from .stepkinds import Approval, ObjectStep, PipelineCall, Wait
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
    """Waiting time before another attempt: initial, times factor for each attempt after, at most max, plus jitter."""

    initial: Duration = "10s"
    """Wait before the second attempt."""
    factor: Annotated[int, Field(ge=1, le=10)] = 2
    """Each further wait is this many times the one before."""
    max: Duration = "10m"
    """Longest wait."""
    jitter: Annotated[int, Field(ge=0, le=100)] = 0
    """Each wait is longer by a share of itself between nothing and so many percent, so that steps which failed
    together do not come back together."""


ExitCode = Annotated[int, Field(ge=1, le=255)]


class ExitCodes(ApiModel):
    """Which exit codes of the class Failure are worth another attempt."""

    model_config = ApiModel.model_config | {
        "json_schema_extra": rules(
            rule(
                "!has(self.retry) || !has(self.never) || !self.retry.exists(code, code in self.never)",
                "an exit code is either worth another attempt or never; remove it from one of the two",
                ".never",
            ),
        )
    }

    retry: Annotated[list[ExitCode], Field(min_length=1, max_length=32, json_schema_extra=LIST_SET)] | None = None
    """The only codes that are tried again; any where unset."""
    never: Annotated[list[ExitCode], Field(min_length=1, max_length=32, json_schema_extra=LIST_SET)] | None = None
    """Codes that are never tried again; none of them may be in retry."""


class MoreMemory(ApiModel):
    """More memory for the attempt after one that was killed for its memory."""

    factor: Annotated[int, Field(ge=2, le=10)] = 2
    """The step's memory, limit and request, is this many times that of the attempt before."""
    max: Size
    """It never becomes more than this, such as 16Gi."""


class Retry(ApiModel):
    """When a failed attempt is tried again."""

    model_config = ApiModel.model_config | {
        "json_schema_extra": rules(
            rule(
                "!has(self.exitCodes) || !has(self.on) || 'Failure' in self.on",
                "exit codes are of the class Failure, which is not tried again; add Failure to on, or remove them",
                ".exitCodes",
            ),
            rule(
                "!has(self.exitCodes) || (has(self.limit) && self.limit > 0)",
                "no attempt follows a Failure where limit is 0; raise it, or remove the exit codes",
                ".exitCodes",
            ),
        )
    }

    limit: Annotated[int, Field(ge=0, le=20)] = 0
    """How many more attempts after the first; those that Infrastructure ended do not count."""
    infrastructure: Annotated[int, Field(ge=0, le=20)] = 3
    """How many more attempts after ones that Infrastructure ended (eviction, preemption, drain, a lost node)."""
    on: Annotated[list[FailureClass], Field(min_length=1, max_length=5, json_schema_extra=LIST_SET)] = Field(
        default_factory=lambda: [FailureClass.INFRASTRUCTURE, FailureClass.FAILURE]
    )
    """The classes of failure that are tried again."""
    exit_codes: ExitCodes | None = None
    """Which exit codes are worth another attempt; all where unset."""
    memory: MoreMemory | None = None
    """Raises the memory of the attempt after OutOfMemory, which `on` has to name."""
    backoff: Backoff = Backoff()
    """How long to wait between attempts."""


class Cache(ApiModel):
    """Has the step left out where an earlier run of the namespace did the same: its outputs are taken from there."""

    max_age: Duration
    """How long after the step has ended its outputs may be taken."""
    inputs: Annotated[list[Argument], Field(min_length=1, max_length=32, json_schema_extra=LIST_ATOMIC)] | None = None
    """What the outputs depend on besides the image's digest, command, args, script, env and all parameters: such as the
    version of what the step reads, `$(steps.land.outputs.version)`."""
    salt: Annotated[str, StringConstraints(max_length=253)] | None = None
    """Any text; another one forgets what was taken before."""


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


class On(StrEnum):
    """How a step has to have ended for another to follow it."""

    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    SKIPPED = "Skipped"
    COMPLETED = "Completed"


class After(ApiModel):
    """A step that has to have ended, and how."""

    step: Name
    """Name of the step."""
    on: On
    """How it has to have ended: Succeeded; Failed, which answers its failure, so that the run goes on; Skipped; or
    Completed, in whatever way."""


Fuse = Literal["Auto", "Never"]
"""Whether a step may share a pod with its neighbours."""


class Range(ApiModel):
    """Whole numbers, both ends among them; templates such as `$(params.parts)` may be used."""

    from_: Annotated[IntOrString, Field(alias="from")] = 0
    """The first."""
    to: IntOrString
    """The last that may be."""
    step: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    """From each to the next."""


class FanOutMode(StrEnum):
    """How the items of a fan-out are run."""

    JOBS = "Jobs"
    INDEXED = "Indexed"


# That it is over items or over a range is the reconciler's to say: CEL sees no field that may be any JSON.
class ForEach(ApiModel):
    """Runs a step once for each of some items, each in a pod of its own."""

    model_config = ApiModel.model_config | {
        "json_schema_extra": rules(
            rule(
                "!has(self.as) || !(self.as in ['params', 'env', 'steps', 'run', 'datasets', 'targets'])",
                "the name of an item cannot be that of something else which templates name; choose another",
                ".as",
            ),
        )
    }

    items: AnyJson = None
    """A list of any JSON, or a template that is one: `$(params.carriers)`, `$(steps.list.outputs.files)`."""
    range: Range | None = None
    """Whole numbers instead of items."""
    mode: FanOutMode = FanOutMode.JOBS
    """Jobs gives each of up to 500 items a Job of its own, in whose fields `$(item)` may stand. Indexed runs up to
    10,000 by one Indexed Job: each pod reads its item from /dataops/item, and Kubernetes tries failed ones again."""
    as_: Annotated[Identifier, Field(alias="as")] = "item"
    """What an item is called in the step's templates: `$(item)`, or `$(item.path)` for a part of it."""
    parallelism: Annotated[int, Field(ge=1, le=500)] | None = None
    """How many items are worked on at once; where unset all, as far as the environment has room, or with mode Indexed
    500."""
    fail_fast: bool = True
    """Whether no further item is begun once more have failed than may; with mode Indexed, what runs then is ended."""
    tolerate: Annotated[IntOrString, Field(json_schema_extra={"x-kubernetes-int-or-string": True})] | None = None
    """How many items may fail without the step failing: a number, or a share such as 10%; none where unset."""


class Step(ApiModel):
    """One container run to its end, in its own pod; or an approval, a wait, a run of another pipeline, an object."""

    model_config = ApiModel.model_config | {
        "json_schema_extra": rules(
            rule(
                "!has(self.script) || (!has(self.command) && !has(self.args))",
                "a step is either command and args, or script; remove one of the two",
                ".script",
            ),
            rule(
                "has(self.script) || has(self.command) || has(self.args) || has(self.image) || has(self.template)"
                " || has(self.approval) || has(self.wait) || has(self.pipeline) || has(self.resource)",
                "a step needs a command, args, a script, or an image whose own entrypoint it runs",
            ),
            rule(
                "(has(self.approval) ? 1 : 0) + (has(self.wait) ? 1 : 0) + (has(self.pipeline) ? 1 : 0)"
                " + (has(self.resource) ? 1 : 0) <= 1",
                "a step is one of approval, wait, pipeline and resource; remove the others",
            ),
            rule(
                "!(has(self.approval) || has(self.wait) || has(self.pipeline) || has(self.resource))"
                " || !(has(self.script) || has(self.command) || has(self.args) || has(self.image)"
                " || has(self.template) || has(self.env) || has(self.resources) || has(self.secrets)"
                " || has(self.workspace) || has(self.podTemplate) || has(self.forEach)"
                " || has(self.results) || has(self.cache))",
                "a step that is an approval, a wait, a pipeline or a resource has no container and no forEach; remove"
                " what belongs to it",
            ),
            rule(
                "!(has(self.approval) || has(self.wait))"
                " || !(has(self.outputs) || has(self.retry) || has(self.startTimeout))",
                "an approval or a wait has no outputs, retry and startTimeout; remove them",
            ),
            rule(
                "!has(self.resource) || !has(self.outputs)",
                "the outputs of a resource are taken from its object; write resource.outputs",
                ".outputs",
            ),
            rule(
                "!has(self.approval) || !has(self.timeout)",
                "an approval has its own timeout; write approval.timeout",
                ".timeout",
            ),
            rule(
                "!has(self.template) || !(has(self.script) || has(self.command) || has(self.args) || has(self.image)"
                " || has(self.outputs) || has(self.workspace))",
                "image, command, args, script, outputs and workspace are the template's own; remove them, or template",
                ".template",
            ),
            rule(
                "!has(self.cache) || !has(self.forEach)",
                "a fan-out is not cached; remove cache, or forEach",
                ".cache",
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
            rule(
                "!has(self.after) || !self.after.exists(a, a.step == self.name)",
                "a step cannot follow itself; remove its own name from after",
                ".after",
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
    after: Annotated[list[After], Field(max_length=64, json_schema_extra=LIST_BY_STEP)] | None = None
    """Steps that must have ended before, and how: what follows a failure, or a step that was skipped."""
    approval: Approval | None = None
    """A person decides whether the run goes on; no container is run."""
    wait: Wait | None = None
    """Waits for a time, or for an object to be as it should; no container is run."""
    pipeline: PipelineCall | None = None
    """Runs another pipeline, and ends as that run does; the step's `outputs` are those of that run which are used."""
    resource: ObjectStep | None = None
    """Makes an object of any kind that the chart allows, and waits for what becomes of it."""
    when: Expression | None = None
    """Condition in CEL, such as `params.full || steps.check.outputs.rows > 0`; where it does not hold once the step is
    due, the step is skipped."""
    for_each: ForEach | None = None
    """Runs the step once for each of some items; its outputs are lists then, in the order of the items."""
    outputs: Annotated[list[Output], Field(max_length=32, json_schema_extra=LIST_BY_NAME)] | None = None
    """Values that the step must write into /dataops/result."""
    results: Literal["Message", "Endpoint"] | None = None
    """Endpoint gives the step a way to hand in a result of up to 1 MB, by a POST to DATAOPS_RESULTS_URL; Message, which
    stands where unset, leaves it the 4 KiB of /dataops/result."""
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
    fuse: Fuse | None = None
    """Whether the step may share a pod with those before and behind it in a chain; spec.fuse where unset."""
    cache: Cache | None = None
    """Whether the step is left out where it was done before; it never is where unset."""
