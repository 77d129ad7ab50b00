"""How the pods of a Job are ended before their time: so that their logs stay, where there can be any.

A pod that is deleted takes its log along. One whose `spec.activeDeadlineSeconds` are over gets SIGTERM and its grace
period just the same, and then stays, Failed, with its log, with what its containers told and with its Job, which fails,
too (core API, "activeDeadlineSeconds": it may be set or lowered on a pod that runs). So a pod in which something has
begun is given a deadline that is now: from then on it says itself that it was asked to end, and since when. What has
not begun has no log and may have no kubelet that listens, and the Job controller would make the pods of an Indexed Job
anew: these go with their Job.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from .observe import Object, deadline_of, is_indexed_job, pod_ended
from .times import from_rfc3339

GRACE: Final = 60.0
"""Seconds that pods may take to end, after which nobody waits for that: twice what a pod has for it
(`terminationGracePeriodSeconds`, 30 s), since its node may be lost."""
_LEAST: Final = 1
"""The least that `activeDeadlineSeconds` may be."""


@dataclass(frozen=True, slots=True)
class Orders:
    """What makes the pods of a Job end; nothing where they have ended, or were asked to.

    Attributes:
        deadlines: pods, each with the `activeDeadlineSeconds` that are over now.
        delete: whether the Job has to go, and its pods with it.
    """

    deadlines: tuple[tuple[Object, int], ...] = ()
    delete: bool = False


def orders(job: Object, pods: Sequence[Object], now: float) -> Orders:
    """What makes the pods of a Job end.

    Args:
        job: the Job.
        pods: its pods.
        now: seconds since the epoch.
    """
    alive = [pod for pod in pods if not pod_ended(pod)]
    if given_until(job, pods, now) is not None or (pods and not alive and not is_indexed_job(job)):
        return Orders()
    if is_indexed_job(job) or not alive or not all(map(_has_begun, alive)):
        return Orders(delete=True)
    asked = [pod for pod in alive if _asked(pod, now) is None]
    return Orders(tuple((pod, max(_LEAST, int(now - from_rfc3339(pod["status"]["startTime"])))) for pod in asked))


def given_until(job: Object, pods: Sequence[Object], now: float) -> float | None:
    """Until when the pods of a Job have time to end, in seconds since the epoch; None where they were not asked to.

    Args:
        job: the Job.
        pods: its pods.
        now: seconds since the epoch.
    """
    leaving = job["metadata"].get("deletionTimestamp")
    if leaving is not None:
        return from_rfc3339(leaving) + GRACE
    if is_indexed_job(job):
        return None
    ends = [_asked(pod, now) for pod in pods if not pod_ended(pod)] or [_asked(pod, now) for pod in pods]
    asked = [end for end in ends if end is not None]
    return max(asked) + GRACE if asked and len(asked) == len(ends) else None


def _asked(pod: Object, now: float) -> float | None:
    """Since when a pod is beyond its deadline; None where it is not. The least that there is comes to the same."""
    end = deadline_of(pod)
    if end is None:
        return None
    over = end <= now or pod["spec"]["activeDeadlineSeconds"] <= _LEAST or pod_ended(pod)
    return min(end, now) if over else None


def _has_begun(pod: Object) -> bool:
    """Whether any container of a pod has run, on a node whose kubelet ends it when it is told to."""
    status = pod["status"]
    states = [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]
    told = any({"running", "terminated"} & one.get("state", {}).keys() for one in states)
    return told and "startTime" in status and "deletionTimestamp" not in pod["metadata"]
