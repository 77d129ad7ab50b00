"""Names and labels of what a run makes: the same for the same thing, so that a repeated write meets itself."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import Final

from ..api.base import GROUP

MANAGED_BY_LABEL: Final = "app.kubernetes.io/managed-by"
MANAGER: Final = "dataops-operator"
RUN_LABEL: Final = f"{GROUP}/run"
RUN_UID_LABEL: Final = f"{GROUP}/run-uid"
STEP_LABEL: Final = f"{GROUP}/step"
ATTEMPT_LABEL: Final = f"{GROUP}/attempt"
ITEM_LABEL: Final = f"{GROUP}/item"
"""On the Jobs of a fan-out: the item's position in the list, from 0."""
ITEM_ANNOTATION: Final = f"{GROUP}/item"
"""On the pods of a fan-out: the item, as JSON."""
STAGE_LABEL: Final = f"{GROUP}/stage"
"""On a Job that runs several steps in one pod: how many."""
GOES_ON_LABEL: Final = f"{GROUP}/goes-on"
"""On such a Job and its pod, with the value `params`: the steps behind the first find their parameters by it. Taken
from the pod, it keeps those from beginning that have not."""
PARAMETERS_ANNOTATION: Final = f"{GROUP}/parameters"
SCRIPT_ANNOTATION: Final = f"{GROUP}/script"
REVISION_ANNOTATION: Final = f"{GROUP}/revision"
LOGICAL_DATE_ANNOTATION: Final = f"{GROUP}/logical-date"
ORIGINS_ANNOTATION: Final = f"{GROUP}/parameter-origins"

PROJECT_LABEL: Final = f"{GROUP}/project"
"""On a namespace that an Environment made or took: the namespace of the Environment."""
ENVIRONMENT_LABEL: Final = f"{GROUP}/environment"
"""On everything that an Environment made: its name."""
ENVIRONMENT_ANNOTATION: Final = f"{GROUP}/environment"
"""On a run's Jobs: the environment that it belongs to, as `<project>/<name>`."""
ENVIRONMENT_REVISION_ANNOTATION: Final = f"{GROUP}/environment-revision"
"""On a run's Jobs: the ControllerRevision that keeps what the environment was when the run began."""
ENVIRONMENT_UID_LABEL: Final = f"{GROUP}/environment-uid"
"""On everything that an Environment made: its uid, which alone says whose it is."""
ALLOW_PROJECT_LABEL: Final = f"{GROUP}/allow-project"
"""Set by an administrator on a namespace that exists: the project whose Environments may take it."""
ALLOW_RUNS_LABEL: Final = f"{GROUP}/allow-runs"
"""Set to "true" by its owner on a claim that exists: pipelines may name it as their workspace."""
KEEP_LABEL: Final = f"{GROUP}/keep"
"""Set to "true" by anyone on a finished run or a revision: no clean-up ever deletes it."""
PARENT_LABEL: Final = f"{GROUP}/parent-run"
"""On a run that a step of another made: that run's name; whose it is its owner reference says."""
SUSPENDED_ANNOTATION: Final = f"{GROUP}/suspended-with-parent"
"""On such a run that was suspended since the run that made it was: it is resumed with that one."""
CREATED_BY_ANNOTATION: Final = f"{GROUP}/created-by"
"""Written by the API server's admission policy: who created the object."""
CHANGED_BY_ANNOTATION: Final = f"{GROUP}/changed-by"
"""Written by the API server's admission policy: who wrote the spec last."""
VAULT_RUN_LABEL: Final = f"{GROUP}/vault-run"
"""On the record, in the operator's namespace, of what a run holds in Vault: the run's uid."""
TARGET_JOB_LABEL: Final = f"{GROUP}/target-job"
"""On Jobs and pods that touch an Environment's targets: what they do."""
TARGET_TASK_ANNOTATION: Final = f"{GROUP}/target-task"
"""On such Jobs: what stands for the task, so that a Job of another one is told from them."""
ENVIRONMENT_FINALIZER: Final = f"{GROUP}/environment"

AGENT_CONTAINER: Final = "dataops-secrets"
"""Init container that reads secrets for its pod, where the environment delivers in mode Pod."""
RESULTS_LABEL: Final = f"{GROUP}/results"
"""On pods that may hand in results: by it a NetworkPolicy lets them."""
RESULTS_CA_ANNOTATION: Final = f"{GROUP}/results-ca"
"""On the same: by which certificates they know where."""
AGENT_ANNOTATION: Final = f"{GROUP}/vault-agent"
"""On a pod: what that container reads."""

INDEX_LABEL: Final = "batch.kubernetes.io/job-completion-index"
"""Set on the pods of Indexed Jobs by the Job controller, as a label and as an annotation: the item's position."""
FAILURES_ANNOTATION: Final = "batch.kubernetes.io/job-index-failure-count"
"""Set on the same: how many attempts at the item have failed before."""
JOB_NAME_LABEL: Final = "batch.kubernetes.io/job-name"
"""Set on pods by the Job controller."""

SELECTOR: Final = f"{MANAGED_BY_LABEL}={MANAGER},{RUN_UID_LABEL}"
"""Label selector of the Jobs and pods of runs."""

_LIMIT: Final = 63


def _hashed(prefix: str, *parts: object) -> str:
    """The prefix, cut so that a hash of the parts fits behind it in a label value."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).hexdigest()[:8]
    return f"{prefix[: _LIMIT - 9].rstrip('-')}-{digest}"


@lru_cache(maxsize=16384)
def job_name(run: str, run_uid: str, step: str, attempt: int, item: int | None = None) -> str:
    """Name of the Job of one attempt at one step, or at one item of it; unique by the hash, readable by the rest."""
    which: tuple[object, ...] = (step, attempt) if item is None else (step, item, attempt)
    tail = f"-{step[:24].rstrip('-')}-" + "-".join(str(part) for part in which[1:])
    return _hashed(f"{run[: _LIMIT - 9 - len(tail)].rstrip('-')}{tail}", run_uid, *which)


def items_name(run: str, run_uid: str, step: str, part: int) -> str:
    """Name of the ConfigMap with a part of the items of an Indexed Job."""
    tail = f"-{step[:20].rstrip('-')}-items-{part}"
    return _hashed(f"{run[: _LIMIT - 9 - len(tail)].rstrip('-')}{tail}", run_uid, step, "items", part)


def result_name(job: str, step: str) -> str:
    """Name of the ConfigMap with what a step handed in, in the pod of one Job."""
    return _hashed(f"{job[: _LIMIT - 16]}-result", job, step, "result")


def workspace_claim_name(run: str, run_uid: str) -> str:
    """Name of the claim that a run makes for its workspace."""
    return _hashed(f"{run[:40].rstrip('-')}-workspace", run_uid, "workspace")


def credentials_name(holder: str, nonce: str) -> str:
    """Name of the Secret that a run's secrets lie in: by its nonce nobody can know it before."""
    return f"{holder[: _LIMIT - 1 - len(nonce)].rstrip('-')}-{nonce}"


def target_job_name(environment: str, uid: str, action: str, task: str, nonce: str) -> str:
    """Name of a Job that touches an Environment's targets; another one for each time that it is done."""
    return _hashed(f"{environment[:40].rstrip('-')}-{action}", uid, task, nonce)


def event_name(uid: str, reason: str, detail: str) -> str:
    """Name of an Event, so that telling it twice is one Event."""
    return _hashed(f"dataops-{reason.lower()}", uid, reason, detail)
