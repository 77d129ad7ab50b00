"""What a step may be besides a container: an approval, a wait, a run of another pipeline, or an object of any kind."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, StringConstraints

from .base import (
    LIST_BY_NAME,
    LIST_SET,
    AnyJson,
    ApiModel,
    Duration,
    Expression,
    Identifier,
    Name,
    Text,
    rule,
    rules,
    shallow,
)

Subject = Annotated[str, StringConstraints(min_length=1, max_length=253)]
Subjects = Annotated[list[Subject], Field(min_length=1, max_length=32, json_schema_extra=LIST_SET)]
Templated = Annotated[str, StringConstraints(min_length=1, max_length=512)]


class Deciders(ApiModel):
    """Who may decide: everyone who is one of the users, or in one of the groups."""

    users: Subjects | None = None
    """Names as the API server knows them, such as alice@example.com or system:serviceaccount:ci:releaser."""
    groups: Subjects | None = None
    """Groups as the API server knows them."""


class Approvers(Deciders):
    """Who may decide: everyone who is one of the users, or in one of the groups."""

    model_config = ApiModel.model_config | {
        "json_schema_extra": rules(
            rule(
                "has(self.users) || has(self.groups)",
                "nobody could decide; name users or groups, or remove approvers so that everyone may who may change"
                " the run",
            ),
        )
    }


class Approval(ApiModel):
    """A decision of a person, given by `dataops approve` or `dataops reject`, or in the run's spec.approvals."""

    message: Text | None = None
    """What is to be decided; templates such as `$(steps.check.outputs.rows)` are filled in."""
    approvers: Approvers | None = None
    """Who may decide; everyone who may change the run where unset."""
    timeout: Duration | None = None
    """How long to wait for the decision; until the run's own timeout where unset."""
    on_timeout: Literal["Reject", "Approve"] = "Reject"
    """What silence means once timeout is over."""


class ObjectCondition(ApiModel):
    """A condition on an object of the cluster, read with the rights of the run's own ServiceAccount."""

    api_version: Annotated[str, StringConstraints(min_length=1, max_length=253)]
    """Such as batch/v1; the chart's stepObjects lists which kinds may be read."""
    kind: Annotated[str, StringConstraints(min_length=1, max_length=63)]
    """Such as Job."""
    name: Templated
    """Name of the object, in the run's own namespace; templates are filled in."""
    when: Expression
    """Condition in CEL over `object`, and over what a step's `when` may name: `object.status.succeeded > 0`. What it
    names and is not there yet is waited for."""


class Wait(ApiModel):
    """Something to wait for, without a pod: exactly one of the three."""

    model_config = ApiModel.model_config | {
        "json_schema_extra": rules(
            rule(
                "(has(self.duration) ? 1 : 0) + (has(self.until) ? 1 : 0) + (has(self.condition) ? 1 : 0) == 1",
                "a wait is for a duration, until a time, or for a condition; give exactly one",
            ),
        )
    }

    duration: Duration | None = None
    """How long, from when the step is due."""
    until: Templated | None = None
    """Until when, RFC 3339 such as 2013-02-09T06:00:00Z; a day alone is its midnight in UTC. Templates are filled in;
    a time that is over is not waited for."""
    condition: ObjectCondition | None = None
    """Until an object is as it says, for as long as the step's timeout lets it."""


class CallParameter(ApiModel):
    """A value for a parameter of the pipeline that is run."""

    name: Identifier
    """Name of the parameter."""
    value: AnyJson = None
    """Value: any JSON. Templates in its strings are filled in; one that is the whole string keeps its value's type."""


class PipelineCall(ApiModel):
    """A run of another pipeline, in the same environment."""

    name: Name
    """Name of the Pipeline, in the same project namespace."""
    revision: Annotated[str, StringConstraints(min_length=1, max_length=253)] | None = None
    """Revision to run; the one that is active when the step begins where unset."""
    parameters: Annotated[list[CallParameter], Field(max_length=64, json_schema_extra=LIST_BY_NAME)] | None = None
    """Values for its parameters. None may be of a masked parameter, since the other run's spec shows them."""


class ObjectOutput(ApiModel):
    """A value that a step takes from its object for later steps."""

    name: Identifier
    """Name in `$(steps.<step>.outputs.<name>)`."""
    value: Expression
    """Expression in CEL over `object`, evaluated once the step has succeeded: `object.status.applicationState`."""


Manifest = Annotated[
    dict[str, Any],
    AfterValidator(shallow),
    Field(json_schema_extra={"x-kubernetes-preserve-unknown-fields": True}),
]


class ObjectStep(ApiModel):
    """An object of any kind that the chart's stepObjects lists, made with the rights of the run's ServiceAccount."""

    manifest: Manifest
    """The object, with apiVersion and kind; its name is made for it, its namespace is the run's, and the run owns it.
    Templates in its strings are filled in."""
    success_when: Expression
    """Condition in CEL over `object`, and over what a step's `when` may name: where it holds the step has succeeded."""
    failure_when: Expression | None = None
    """Likewise: where it holds the step has failed. It is asked first."""
    outputs: Annotated[list[ObjectOutput], Field(max_length=32, json_schema_extra=LIST_BY_NAME)] | None = None
    """Values for later steps."""
    deletion: Literal["Delete", "Keep"] = "Delete"
    """What becomes of the object at the run's end; kept, it goes with the run. A cancelled step's is always deleted."""
