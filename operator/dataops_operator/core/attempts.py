"""Attempts beside their step's row: Jobs that nobody waits for any more, and what the refusal of one means."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from ..api.conditions import Reason, truncate
from ..api.run import Phase
from .observe import WAITING, Object, is_indexed_job, is_shared_job, job_condition
from .plan import View
from .rows import Row

NOT_OURS: Final = "exists and is not this run's"
"""What is told of an object whose name another's has."""

SEEN_TO_END: Final = frozenset(
    {
        Reason.ERROR,
        Reason.INVALID_RESULT,
        Reason.MISSING_OUTPUT,
        Reason.RESULT_TOO_LARGE,
        Reason.OUT_OF_MEMORY,
        Reason.DEADLINE_EXCEEDED,
        Reason.DISRUPTED,
        Reason.POD_LOST,
        Reason.JOB_DELETED,
    }
)
"""Reasons of attempts that failed by the end of their pod, and not by being given up."""
_WHILE_SHARED: Final = frozenset({Reason.INVALID_RESULT, Reason.MISSING_OUTPUT, Reason.RESULT_TOO_LARGE})
"""Those of them which a pod that several steps share may go on after."""

_POD_NAME = re.compile(r'pods "[^"]*"')


def overstayed(rows: Sequence[Row], view: View) -> tuple[str, ...]:
    """Jobs of attempts that were given up while their pods had not ended: they would start, or go on, for nobody.

    Where a row says that the attempt's end was seen, its Job is let be, even if the view shows no pod (any more).
    """
    needed = {row.job for row in rows if row.under_way}
    spared = {row.job for row in rows if row.phase is Phase.SUCCEEDED or row.reason in SEEN_TO_END}
    asked = {row.job for row in rows if row.reason == Reason.DEADLINE_EXCEEDED}
    ended = {row.job for row in rows if row.reason in SEEN_TO_END - _WHILE_SHARED} - asked
    return tuple(
        name
        for name, job in view.jobs.items()
        if name not in needed
        and (name not in spared or (name not in ended and _goes_on(job, view, asked=name in asked)))
        and job_condition(job) is None
        and "deletionTimestamp" not in job["metadata"]
        and (is_indexed_job(job) or not _a_pod(job, view, "Succeeded", "Failed"))
    )


def _goes_on(job: Object, view: View, *, asked: bool) -> bool:
    """Whether a pod that several steps share, or that was asked to end, is seen to go on."""
    return (asked or is_shared_job(job)) and bool(view.pods.get(job["metadata"]["uid"]))


def ended_well(view: View) -> frozenset[str]:
    """Jobs that are done, as they or their pods show."""
    return frozenset(
        name
        for name, job in view.jobs.items()
        if (job_condition(job) or {}).get("type") == "Complete"
        or (not is_indexed_job(job) and _a_pod(job, view, "Succeeded"))
    )


def _a_pod(job: Object, view: View, *phases: str) -> bool:
    """Whether a pod of the Job is in one of these phases."""
    return any(pod.get("status", {}).get("phase") in phases for pod in view.pods.get(job["metadata"]["uid"], ()))


def refusal(told: str, otherwise: Reason = Reason.POD_REFUSED) -> tuple[Reason, str]:
    """What the refusal of a Job or a pod means, without the pod's passing name."""
    text = _POD_NAME.sub("the pod", told)
    if NOT_OURS in told:
        return Reason.NAME_TAKEN, text
    return (Reason.QUOTA_EXCEEDED if "exceeded quota" in told else otherwise), text


def trouble(told: str) -> tuple[Reason, str]:
    """What a kubelet's event of a container means that it could not start (pkg/kubelet/images, kuberuntime)."""
    known = (reason for word, reason in WAITING.items() if word in told)
    image = told.startswith("Failed to pull image")
    reason = Reason.IMAGE_UNAVAILABLE if image else next(known, Reason.CONTAINER_CONFIG)
    return reason, truncate(told.removeprefix("Error: "), 400)
