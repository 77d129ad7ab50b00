"""Conditions: the closed list of types and reasons, and how one is set (kstatus, KEP-1623).

kstatus reads `Reconciling` and `Stalled` as abnormal-true: they stand only while they are true, so that
`kubectl wait`, Flux and Argo CD need no configuration.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Annotated, Any, Final, Literal

from pydantic import StringConstraints

from .base import ApiModel, Timestamp

MESSAGE_LIMIT: Final = 1024


class Condition(ApiModel):
    """One aspect of an object's state, as `metav1.Condition` has it."""

    type: Annotated[str, StringConstraints(min_length=1, max_length=64)]
    """What the condition is about, CamelCase."""
    status: Literal["True", "False", "Unknown"]
    """Whether it holds."""
    reason: Annotated[str, StringConstraints(min_length=1, max_length=64)]
    """Why, as one CamelCase word out of a documented list."""
    message: Annotated[str, StringConstraints(max_length=1024)] = ""
    """What a person should know, and what to do."""
    last_transition_time: Timestamp
    """When the status last changed, RFC 3339."""
    observed_generation: int | None = None
    """The metadata.generation this was decided on."""


class Type(StrEnum):
    """Condition types in use."""

    ACCEPTED = "Accepted"
    READY = "Ready"
    SUCCEEDED = "Succeeded"
    RECONCILING = "Reconciling"
    STALLED = "Stalled"
    LAST_RUN_SUCCEEDED = "LastRunSucceeded"
    # parts of an environment
    NAMESPACE_READY = "NamespaceReady"
    ACCESS_READY = "AccessReady"
    QUOTA_READY = "QuotaReady"
    NETWORK_READY = "NetworkReady"
    VAULT_READY = "VaultReady"
    TARGETS_READY = "TargetsReady"


class Reason(StrEnum):
    """Why a condition or a step is as it is. The table in docs/reasons.md explains each."""

    # definitions
    VALID = "Valid"
    INVALID = "Invalid"
    TEMPLATE_NOT_FOUND = "TemplateNotFound"
    # runs
    PIPELINE_INVALID = "PipelineInvalid"
    PIPELINE_NOT_FOUND = "PipelineNotFound"
    REVISION_NOT_FOUND = "RevisionNotFound"
    RERUN_NOT_FOUND = "RerunNotFound"
    RERUN_ACTIVE = "RerunActive"
    RERUN_IMPOSSIBLE = "RerunImpossible"
    INVALID_PARAMETERS = "InvalidParameters"
    ACCEPTED = "Accepted"
    WAITING = "Waiting"
    OPERATOR_ERROR = "OperatorError"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    STEP_FAILED = "StepFailed"
    CONCURRENCY_LIMIT = "ConcurrencyLimit"
    # steps
    STARTED = "Started"
    BACKOFF = "Backoff"
    ERROR = "Error"
    OUT_OF_MEMORY = "OutOfMemory"
    DEADLINE_EXCEEDED = "DeadlineExceeded"
    DISRUPTED = "Disrupted"
    POD_LOST = "PodLost"
    JOB_DELETED = "JobDeleted"
    NAME_TAKEN = "NameTaken"
    INVALID_RESULT = "InvalidResult"
    MISSING_OUTPUT = "MissingOutput"
    RESULT_TOO_LARGE = "ResultTooLarge"
    INVALID_TEMPLATE = "InvalidTemplate"
    IMAGE_UNAVAILABLE = "ImageUnavailable"
    CONTAINER_CONFIG = "ContainerConfig"
    UNSCHEDULABLE = "Unschedulable"
    QUOTA_EXCEEDED = "QuotaExceeded"
    POD_REFUSED = "PodRefused"
    JOB_REFUSED = "JobRefused"
    CLAIM_REFUSED = "ClaimRefused"
    ITEMS_REFUSED = "ItemsRefused"
    RESULTS_UNAVAILABLE = "ResultsUnavailable"
    NOT_STARTED = "NotStarted"
    UPSTREAM_FAILED = "UpstreamFailed"
    UPSTREAM_SKIPPED = "UpstreamSkipped"
    NOT_ASKED_FOR = "NotAskedFor"
    CONDITION_NOT_MET = "ConditionNotMet"
    EXPRESSION_FAILED = "ExpressionFailed"
    FAN_OUT_INVALID = "FanOutInvalid"
    ITEMS_FAILED = "ItemsFailed"
    # steps without a pod
    APPROVAL = "Approval"
    APPROVED = "Approved"
    REJECTED = "Rejected"
    APPROVAL_FORBIDDEN = "ApprovalForbidden"
    APPROVAL_TIMED_OUT = "ApprovalTimedOut"
    TIME_NOT_REACHED = "TimeNotReached"
    OBJECT_NOT_READY = "ObjectNotReady"
    OBJECT_UNREADABLE = "ObjectUnreadable"
    KIND_NOT_ALLOWED = "KindNotAllowed"
    OBJECT_FAILED = "ObjectFailed"
    OBJECT_DELETED = "ObjectDeleted"
    RUN_WAITING = "RunWaiting"
    RUN_CANCELLED = "RunCancelled"
    RUN_DELETED = "RunDeleted"
    RUN_REFUSED = "RunRefused"
    NESTED_TOO_DEEP = "NestedTooDeep"
    PIPELINE_CYCLE = "PipelineCycle"
    # the end of a run before its time
    CANCELLED = "Cancelled"
    SUSPENDED = "Suspended"
    RUN_DEADLINE_EXCEEDED = "RunDeadlineExceeded"
    # runs and their environment
    FROZEN = "Frozen"
    RUN_QUOTA = "RunQuota"
    JOB_QUOTA = "JobQuota"
    ENVIRONMENT_NOT_READY = "EnvironmentNotReady"
    ENVIRONMENT_INVALID = "EnvironmentInvalid"
    ENVIRONMENT_DELETED = "EnvironmentDeleted"
    TARGET_NOT_FOUND = "TargetNotFound"
    IMAGE_NOT_ALLOWED = "ImageNotAllowed"
    CACHE_IMPOSSIBLE = "CacheImpossible"
    POD_NOT_ALLOWED = "PodNotAllowed"
    CLAIM_NOT_FOUND = "ClaimNotFound"
    CLAIM_NOT_ALLOWED = "ClaimNotAllowed"
    # secrets
    VAULT = "Vault"
    VAULT_UNAVAILABLE = "VaultUnavailable"
    VAULT_FORBIDDEN = "VaultForbidden"
    VAULT_LOGIN_FAILED = "VaultLoginFailed"
    VAULT_NOT_CONFIGURED = "VaultNotConfigured"
    SECRET_NOT_FOUND = "SecretNotFound"  # noqa: S105 - a reason
    SECRET_KEY_MISSING = "SecretKeyMissing"  # noqa: S105 - a reason
    SECRET_TOO_LARGE = "SecretTooLarge"  # noqa: S105 - a reason
    SECRET_INVALID = "SecretInvalid"  # noqa: S105 - a reason
    # environments
    PROVISIONED = "Provisioned"
    PROVISIONING = "Provisioning"
    NOT_USED = "NotUsed"
    NAMESPACE_TAKEN = "NamespaceTaken"
    NAMESPACE_NOT_ALLOWED = "NamespaceNotAllowed"
    NAMESPACE_TERMINATING = "NamespaceTerminating"
    PARENT_NOT_FOUND = "ParentNotFound"
    TARGET_SHARED = "TargetShared"
    TARGET_UNREACHABLE = "TargetUnreachable"
    QUOTA_TOO_SMALL = "QuotaTooSmall"
    FOREIGN_OBJECT = "ForeignObject"
    DELETING = "Deleting"
    EXPIRING = "Expiring"
    EXPIRED = "Expired"
    OBJECT_REFUSED = "ObjectRefused"
    RUNS_LEFT = "RunsLeft"
    TARGET_LEFT = "TargetLeft"
    LEASES_LEFT = "LeasesLeft"
    NAMESPACE_LEFT = "NamespaceLeft"


ASKING: Final = frozenset({Reason.APPROVAL, Reason.APPROVAL_FORBIDDEN})
"""Reasons of a step that waits for a person."""
UNARMED: Final = frozenset(
    {
        Reason.VAULT,
        Reason.VAULT_UNAVAILABLE,
        Reason.VAULT_FORBIDDEN,
        Reason.VAULT_LOGIN_FAILED,
        Reason.VAULT_NOT_CONFIGURED,
        Reason.SECRET_NOT_FOUND,
        Reason.SECRET_KEY_MISSING,
        Reason.SECRET_TOO_LARGE,
        Reason.SECRET_INVALID,
    }
)
"""Why the secrets of a step may not be at hand."""


ELLIPSIS: Final = "…"


def truncate(message: str, limit: int = MESSAGE_LIMIT) -> str:
    """The message, cut to the limit (characters) with an ellipsis."""
    return message if len(message) <= limit else message[: limit - 1] + ELLIPSIS


def set_condition(
    conditions: Iterable[Mapping[str, Any]],
    type_: Type,
    status: bool | None,
    reason: Reason,
    message: str,
    *,
    now: str,
    generation: int,
) -> list[dict[str, Any]]:
    """The conditions with one set; `lastTransitionTime` moves only when the status does.

    Args:
        conditions: what stands now; not changed.
        type_: which one to set.
        status: True, False, or None for Unknown.
        reason: out of the closed list.
        message: for people; cut at 1 KiB.
        now: RFC 3339 time.
        generation: the metadata.generation that was looked at.
    """
    word = {True: "True", False: "False", None: "Unknown"}[status]
    out = [dict(c) for c in conditions]
    old = next((c for c in out if c.get("type") == type_), None)
    since = old["lastTransitionTime"] if old is not None and old.get("status") == word else now
    fresh = {
        "type": str(type_),
        "status": word,
        "reason": str(reason),
        "message": truncate(message),
        "lastTransitionTime": since,
        "observedGeneration": generation,
    }
    if old is None:
        return [*out, fresh]
    out[out.index(old)] = fresh
    return out


def drop_condition(conditions: Iterable[Mapping[str, Any]], type_: Type) -> list[dict[str, Any]]:
    """The conditions without the named type."""
    return [dict(c) for c in conditions if c.get("type") != type_]


def find_condition(obj: Mapping[str, Any], type_: Type) -> Mapping[str, Any] | None:
    """The named condition of an object's status, or None."""
    conditions = (obj.get("status") or {}).get("conditions") or ()
    return next((c for c in conditions if c.get("type") == type_), None)


def terminal_condition(status: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The condition of a run's status that says how it has ended; None while it goes on."""
    found = find_condition({"status": status}, Type.SUCCEEDED)
    return found if found is not None and found.get("status") in ("True", "False") else None
