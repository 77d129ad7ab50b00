"""What the Job and the pod of an attempt show, as one observation.

The pod's own end is the first witness: phase Succeeded or Failed never changes, and the Job controller tells of it a
second later. The Job's condition is the second, for what no pod shows. Bad news is believed only when it was read
live, since a stale failure must not end an attempt that goes on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, Final

import orjson

from ..api.conditions import UNARMED, Reason, truncate
from ..api.step import FailureClass, Step
from .names import AGENT_CONTAINER, STAGE_LABEL
from .results import FILE, Place, ResultError, read, read_message
from .times import from_rfc3339

Object = Mapping[str, Any]


class State(Enum):
    """What an attempt is doing."""

    ACTIVE = auto()
    """Its pod waits or runs."""
    SUCCEEDED = auto()
    """Done, with a valid result."""
    FAILED = auto()
    """Ended badly."""
    UNPROVEN = auto()
    """Looks ended badly, but that was not read live: look again."""


@dataclass(frozen=True, slots=True)
class Observation:
    """What became of one attempt at one step.

    Attributes:
        state: see State.
        failure: class of the failure, where it failed.
        reason: why it failed, or why it has not started.
        message: for people.
        started: whether the container ever ran.
        started_at: when its container started, RFC 3339, where known.
        finished_at: when it ended, RFC 3339, where known.
        image: what really ran, by digest.
        exit_code: of the step's container, where it ended with one.
        arming_since: when its pod began to read its secrets, in seconds since the epoch, while it does.
        armed_at: when it had read them, likewise.
        outputs: where it succeeded.
    """

    state: State
    failure: FailureClass | None = None
    reason: str | None = None
    message: str = ""
    started: bool = False
    started_at: str | None = None
    finished_at: str | None = None
    image: str | None = None
    exit_code: int | None = None
    arming_since: float | None = None
    armed_at: float | None = None
    outputs: dict[str, Any] = field(default_factory=dict)


WAITING: Final[dict[str, Reason]] = {
    "ErrImagePull": Reason.IMAGE_UNAVAILABLE,
    "ImagePullBackOff": Reason.IMAGE_UNAVAILABLE,
    "ErrImageNeverPull": Reason.IMAGE_UNAVAILABLE,
    "InvalidImageName": Reason.IMAGE_UNAVAILABLE,
    "ImageInspectError": Reason.IMAGE_UNAVAILABLE,
    "RegistryUnavailable": Reason.IMAGE_UNAVAILABLE,
    "CreateContainerConfigError": Reason.CONTAINER_CONFIG,
    "CreateContainerError": Reason.CONTAINER_CONFIG,
    "RunContainerError": Reason.CONTAINER_CONFIG,
}
"""What keeps a container from beginning, by the kubelet's word for it; its other words are of what takes its course."""
_DISRUPTION_REASONS: Final = frozenset({"Evicted", "NodeLost", "NodeShutdown", "Terminated", "Shutdown", "Preempting"})
_NEVER: Final = "1970-01-01T00:00:00Z"
"""When a container started, as a kubelet tells it of one whose program there is not."""
_LOST: Final = frozenset({"Unknown", "ContainerStatusUnknown"})
"""How a container ended that was found to be gone when its node came back, with a code that no process gave: 255 from
containerd (internal/cri/server/restart.go), 137 from the kubelet (pkg/kubelet/kubelet_pods.go)."""


def observe(
    step: Step,
    job: Object | None,
    pods: Sequence[Object],
    *,
    proven: bool,
    then: Step | None = None,
    place: Place = FILE,
    whole: bool = False,
) -> Observation:
    """What became of an attempt.

    Args:
        step: what ran.
        job: its Job, or None when there is none (any more).
        pods: the pods whose controller is that Job, by uid.
        proven: whether job and pods were read live, not from a cache.
        then: the step that begins in the same pod when this one has ended well; None for the last of a pod.
        place: where the step told the result that is its container's message.
        whole: whether a pod that is out of time has failed whatever its container made of that, as an item of an
            Indexed Job has, by which its controller goes.
    """
    found = _from_pods(step, pods, then, place, whole=whole)
    if found is None:
        found = _from_job(step, job)
    if found.state is State.FAILED and not proven:
        return Observation(State.UNPROVEN)
    return found


def pod_ended(pod: Object) -> bool:
    """Whether a pod has ended, as it says."""
    return pod.get("status", {}).get("phase") in ("Succeeded", "Failed")


def deadline_of(pod: Object) -> float | None:
    """When a pod's kubelet ends it, in seconds since the epoch; None without end, or where no kubelet has it yet."""
    seconds, began = pod.get("spec", {}).get("activeDeadlineSeconds"), pod.get("status", {}).get("startTime")
    return from_rfc3339(began) + seconds if seconds and began else None


def has_begun(step: Step, pods: Sequence[Object]) -> bool:
    """Whether a step's container has run in any of these pods; one that the kubelet never found has no start."""
    states = [_container(step, pod).get("state", {}) for pod in pods]
    return any("running" in one or (one.get("terminated") or {}).get("startedAt") for one in states)


def waits_to_begin(step: Step, pods: Sequence[Object]) -> bool:
    """Whether nothing at all is told of a step's container but that it waits."""
    states = [_container(step, pod).get("state", {}) for pod in pods]
    return not any({"running", "terminated"} & one.keys() for one in states)


def kept_from_starting(step: Step, pod: Object) -> bool:
    """Whether a kubelet says that something keeps a step's container from beginning."""
    waiting = _container(step, pod).get("state", {}).get("waiting") or {}
    return waiting.get("reason") in WAITING


def out_of_time(pod: Object) -> bool:
    """Whether a pod has failed since its deadline was over."""
    return bool(pod.get("status", {}).get("reason") == "DeadlineExceeded")


def _from_pods(
    step: Step, pods: Sequence[Object], then: Step | None, place: Place, *, whole: bool
) -> Observation | None:
    """The observation from the newest pod that tells; None when none tells of an end or a start."""
    ended = [pod for pod in pods if pod_ended(pod)]
    for pod in ended:
        if pod["status"]["phase"] == "Succeeded":
            return _succeeded(step, pod, place, drained=_disrupted(pod) and then is None)
    active = [pod for pod in pods if pod not in ended]
    if not active and not ended:
        return None
    newest = active[-1] if active else ended[-1]
    state = _container(step, newest).get("state", {})
    well, late = (state.get("terminated") or {}).get("exitCode") == 0, out_of_time(newest)
    if then is not None and well:
        # What begins after it shows that it had ended by itself, whatever became of the pod then.
        drained = _disrupted(newest) or (late and _told(step, newest))
        return _succeeded(step, newest, place, drained=drained and not has_begun(then, [newest]))
    if late and well and not whole:
        return _succeeded(step, newest, place, drained=_told(step, newest))
    if late and "running" in state and not whole:  # how a container ended may be said a moment after the pod's end
        return _active(step, newest)
    return _active(step, newest) if active else _failed(step, newest)


def _told(step: Step, pod: Object) -> bool:
    """Whether a container of a pod that is out of time was told to end: it had not ended before."""
    finished, deadline = _times(step, pod)["finished_at"], deadline_of(pod)
    return finished is None or deadline is None or from_rfc3339(finished) >= deadline


def _container(step: Step, pod: Object) -> Mapping[str, Any]:
    status = pod.get("status", {})
    both = [*(status.get("containerStatuses") or ()), *(status.get("initContainerStatuses") or ())]
    return next((one for one in both if one.get("name") == step.name), {})


def _times(step: Step, pod: Object) -> dict[str, Any]:
    container = _container(step, pod)
    state = container.get("state", {})
    ended = state.get("terminated") or {}
    running = state.get("running") or {}
    started = ended.get("startedAt") or running.get("startedAt")
    if started in (None, _NEVER):  # of one behind others in its pod, the end of the one before is known
        status = pod.get("status", {})
        started = None if status.get("initContainerStatuses") else status.get("startTime")
    return {
        "started": bool(ended or running),
        "started_at": started,
        "finished_at": ended.get("finishedAt"),
        "image": container.get("imageID") or None,
        "exit_code": ended.get("exitCode"),
    }


def _succeeded(step: Step, pod: Object, place: Place, *, drained: bool) -> Observation:
    """A container that exited with 0; `drained`: perhaps because its pod was ended from outside."""
    ended = _container(step, pod).get("state", {}).get("terminated") or {}
    text = ended.get("message") or ""
    try:
        result = read(step, text, place)
        if drained and not text.strip():
            # A drained container that handles SIGTERM exits with 0 in mid-work (KEP-3329, "Current state review").
            raise ResultError(Reason.DISRUPTED, "")
    except ResultError as error:
        if drained:
            return _failed(step, pod)
        return Observation(State.FAILED, FailureClass.FAILURE, error.reason, str(error), **_times(step, pod))
    return Observation(State.SUCCEEDED, message=result.message, outputs=result.outputs, **_times(step, pod))


def _failed(step: Step, pod: Object) -> Observation:
    status = pod.get("status", {})
    ended = _container(step, pod).get("state", {}).get("terminated") or {}
    times = _times(step, pod)
    if _disrupted(pod):
        return Observation(State.FAILED, FailureClass.INFRASTRUCTURE, Reason.DISRUPTED, _disruption(pod), **times)
    if out_of_time(pod) and (_told(step, pod) or ended.get("exitCode") == 0):
        return _late(step, pod, times)
    if (unarmed := _unarmed(pod)) is not None:
        return unarmed
    if ended.get("reason") == "OOMKilled":
        message = "used more memory than its limit; raise resources.limits.memory"
        return Observation(State.FAILED, FailureClass.OUT_OF_MEMORY, Reason.OUT_OF_MEMORY, message, **times)
    if ended.get("reason") in _LOST:
        message = f"its node died or started anew while it ran ({ended['reason']})"
        return Observation(State.FAILED, FailureClass.INFRASTRUCTURE, Reason.DISRUPTED, message, **times)
    told = read_message(ended.get("message") or "")
    if not ended:
        why = truncate(": ".join(filter(None, (status.get("reason"), status.get("message")))), 400)
        return Observation(
            State.FAILED, FailureClass.INFRASTRUCTURE, Reason.DISRUPTED, why or "the pod failed without a word", **times
        )
    code = ended.get("exitCode")
    message = f"exit code {code}" + (f": {told}" if told else f"; see: {_log(step, pod)}")
    if ended.get("reason") in ("ContainerCannotRun", "StartError"):
        detail = truncate(str(ended.get("message") or ""), 400)
        message = f"the container could not start: {detail}"
        return Observation(State.FAILED, FailureClass.START, Reason.CONTAINER_CONFIG, message, **times)
    return Observation(State.FAILED, FailureClass.FAILURE, Reason.ERROR, message, **times)


def _late(step: Step, pod: Object, times: Mapping[str, Any]) -> Observation:
    """The failure of a step that had not ended when its pod was out of time."""
    if has_begun(step, [pod]):
        limit = pod.get("spec", {}).get("activeDeadlineSeconds")
        message = f"ran longer than its timeout of {limit}s; raise the step's timeout, or make it faster"
        return Observation(State.FAILED, FailureClass.DEADLINE, Reason.DEADLINE_EXCEEDED, message, **times)
    stuck, message = _active(step, pod), "its pod was out of time before its container had started"
    if stuck.reason is not None:
        return Observation(State.FAILED, FailureClass.START, stuck.reason, f"{message}: {stuck.message}", **times)
    if pod.get("status", {}).get("initContainerStatuses"):  # of those before it, whose time it was
        return Observation(State.FAILED, FailureClass.INFRASTRUCTURE, Reason.DISRUPTED, message, **times)
    return Observation(State.FAILED, FailureClass.START, Reason.NOT_STARTED, message, **times)


def _log(step: Step, pod: Object) -> str:
    """How to read what a container printed."""
    own = f" -c {step.name}" if pod.get("status", {}).get("initContainerStatuses") else ""
    return f"kubectl logs {pod['metadata']['name']}{own}"


def agent_of(pod: Object) -> Mapping[str, Any]:
    """The state of the init container that reads the pod's secrets; empty where there is none."""
    statuses = pod.get("status", {}).get("initContainerStatuses") or ()
    found: Object = next((one for one in statuses if one.get("name") == AGENT_CONTAINER), {})
    return found.get("state") or {}


def _unarmed(pod: Object) -> Observation | None:
    """The failure of a pod that did not get its secrets; None where it got them, or needs none."""
    ended = agent_of(pod).get("terminated") or {}
    if not ended.get("exitCode"):
        return None
    try:
        told = orjson.loads(ended.get("message") or "")
        reason, message = Reason(told["reason"]), truncate(str(told["message"]), 400)
    except (ValueError, TypeError, KeyError):
        reason = Reason.VAULT
    if reason in UNARMED and reason is not Reason.VAULT:
        return Observation(State.FAILED, None, reason, message, finished_at=ended.get("finishedAt"))
    name = pod["metadata"]["name"]
    message = f"reading secrets ended with exit code {ended['exitCode']}; see: kubectl logs {name} -c {AGENT_CONTAINER}"
    return Observation(
        State.FAILED, FailureClass.INFRASTRUCTURE, Reason.VAULT, message, finished_at=ended.get("finishedAt")
    )


def _disrupted(pod: Object) -> bool:
    """Whether the pod was ended from outside; one that is being deleted was, whatever code its process gave then."""
    return "deletionTimestamp" in pod["metadata"] or _with_a_reason(pod)


def _with_a_reason(pod: Object) -> bool:
    status = pod.get("status", {})
    return status.get("reason") in _DISRUPTION_REASONS or any(
        one.get("type") == "DisruptionTarget" and one.get("status") == "True" for one in status.get("conditions") or ()
    )


def merely_deleted(pod: Object) -> bool:
    """Whether a pod was ended from outside without a reason given, as a Job controller ends the pods of a Job."""
    return "deletionTimestamp" in pod["metadata"] and not _with_a_reason(pod)


def _disruption(pod: Object) -> str:
    status = pod.get("status", {})
    told: Object = next((one for one in status.get("conditions") or () if one.get("type") == "DisruptionTarget"), {})
    parts = (told.get("reason") or status.get("reason"), told.get("message") or status.get("message"))
    why = ": ".join(filter(None, parts))
    return f"the pod was disrupted: {truncate(why, 400)}" if why else "the pod was deleted; nothing says by whom"


def _active(step: Step, pod: Object) -> Observation:
    """A pod that has not ended: what keeps it from starting, if anything does."""
    waiting = _container(step, pod).get("state", {}).get("waiting") or {}
    times = _times(step, pod)
    times["finished_at"] = None
    reason = WAITING.get(waiting.get("reason") or "")
    if reason is not None:
        detail = truncate(waiting.get("message") or waiting["reason"], 400)
        return Observation(State.ACTIVE, reason=reason, message=detail, **times)
    for one in pod.get("status", {}).get("conditions") or ():
        if one.get("type") == "PodScheduled" and one.get("status") == "False":
            detail = truncate(one.get("message") or "", 400)
            return Observation(State.ACTIVE, reason=Reason.UNSCHEDULABLE, message=detail, **times)
    agent = agent_of(pod)
    if begun := (agent.get("running") or {}).get("startedAt"):
        message = f"reads its secrets; see: kubectl logs {pod['metadata']['name']} -c {AGENT_CONTAINER}"
        return Observation(
            State.ACTIVE, reason=Reason.VAULT, message=message, arming_since=from_rfc3339(begun), **times
        )
    if done := (agent.get("terminated") or {}).get("finishedAt"):
        return Observation(State.ACTIVE, armed_at=from_rfc3339(done), **times)
    return Observation(State.ACTIVE, **times)


def job_condition(job: Object) -> Mapping[str, Any] | None:
    """The Job's terminal condition, Complete or Failed, or None."""
    conditions = job.get("status", {}).get("conditions") or ()
    return next((c for c in conditions if c.get("type") in ("Complete", "Failed") and c.get("status") == "True"), None)


def job_end(condition: Mapping[str, Any]) -> str:
    """What a Job's terminal condition says, in its words."""
    return truncate(": ".join(filter(None, (condition.get("reason"), condition.get("message")))), 400)


def is_indexed_job(job: Object) -> bool:
    """Whether a Job, whole or as the cache keeps it, is an Indexed one: the end of a pod is not its end."""
    return "indexes" in job.get("status", {}) or job.get("spec", {}).get("completionMode") == "Indexed"


def is_shared_job(job: Object) -> bool:
    """Whether several steps share the Job's pod."""
    return shared_by(job) > 1


def shared_by(job: Object) -> int:
    """How many steps the Job runs, the first of which it is named after."""
    return int((job["metadata"].get("labels") or {}).get(STAGE_LABEL, 1))


def _from_job(step: Step, job: Object | None) -> Observation:
    """No pod tells: what the Job says."""
    if job is None:
        message = "the Job was deleted before its end was seen"
        return Observation(State.FAILED, FailureClass.INFRASTRUCTURE, Reason.JOB_DELETED, message)
    condition = job_condition(job)
    if condition is None:
        return Observation(State.ACTIVE)
    times: dict[str, Any] = {
        "started": True,
        "started_at": job["status"].get("startTime"),
        "finished_at": condition.get("lastTransitionTime"),
    }
    if condition["type"] == "Complete" and not step.outputs:
        return Observation(State.SUCCEEDED, **times)
    if condition["type"] == "Complete":
        message = "the Job is complete, but its pod and the outputs it declared are gone"
    else:
        message = f"the pod is gone; the Job says: {job_end(condition)}"
    return Observation(State.FAILED, FailureClass.INFRASTRUCTURE, Reason.POD_LOST, message, **times)
