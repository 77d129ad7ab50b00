"""The pod statuses that a kubelet would write, as merge patches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from tests.harness.api import Object
from tests.harness.script import Outcome, Play

EXIT_SIGTERM = 143


def now() -> str:
    """The time as the API writes it, in whole seconds."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def running(pod: Object, at: str) -> Object:
    """Every container runs; init containers are done."""
    containers = [_container(c, {"running": {"startedAt": at}}, started=True) for c in pod["spec"]["containers"]]
    inits = _inits(pod, at)
    ready = [_true(kind, at) for kind in ("PodScheduled", "Initialized", "ContainersReady", "Ready")]
    return _status("Running", ready, containers, inits) | {"startTime": at}


def ended(pod: Object, play: Play, started: str, at: str) -> Object:
    """Every container has ended as the play says, an EVICT with the condition of a disruption."""
    conditions = [_true("PodScheduled", started), _true("Initialized", started)]
    message, reason = play.message, play.reason
    if play.outcome is Outcome.SUCCEED:
        phase, code, reason = "Succeeded", 0, "Completed"
    elif play.outcome is Outcome.EVICT:
        phase, code, reason = "Failed", EXIT_SIGTERM, "Error"
        conditions.append(_true("DisruptionTarget", at) | {"reason": "EvictionByEvictionAPI"})
    else:
        phase, code = "Failed", play.exit_code
    state = {
        "terminated": {
            "exitCode": code,
            "reason": reason,
            "message": message,
            "startedAt": started,
            "finishedAt": at,
        }
    }
    containers = [_container(c, state, started=False) for c in pod["spec"]["containers"]]
    return _status(phase, conditions, containers, _inits(pod, started))


def killed(pod: Object, at: str) -> Object:
    """The kubelet ended the containers of a pod that is being deleted."""
    play = Play(outcome=Outcome.FAIL, exit_code=EXIT_SIGTERM, reason="Error")
    started = pod.get("status", {}).get("startTime") or at
    return ended(pod, play, started, at)


def out_of_time(pod: Object, plays: Mapping[str, Play], at: str, *, told: bool = True) -> Object:
    """The kubelet has ended a pod whose deadline was over.

    As recorded of a kubelet of Kubernetes 1.37: a container that ran has ended by the signal, or with 0 where it makes
    that of it, and the pod has Failed all the same; one behind it goes on waiting.

    Args:
        pod: as it was.
        plays: what its containers do, by name.
        at: when.
        told: whether it is said already how the container ended, which may come a moment later.
    """
    before = pod["status"]
    states: dict[str, list[Object]] = {"initContainerStatuses": [], "containerStatuses": []}
    for key, found in states.items():
        for one in before.get(key, []):
            state = _at_the_end(one, plays, at) if told else one["state"]
            found.append({**one, "ready": False, "started": False, "state": state})
    begun = all(one["state"].get("terminated", {}).get("exitCode") == 0 for one in states["initContainerStatuses"])
    conditions = [
        _false("PodReadyToStartContainers", "PodSandboxNotReady", at),
        _true("Initialized", at) if begun else _false("Initialized", "ContainersNotInitialized", at),
        *(_false(kind, "PodFailed", at) for kind in ("Ready", "ContainersReady")),
        _true("PodScheduled", at),
    ]
    message = "Pod was active on the node longer than the specified deadline"
    return _status("Failed", conditions, states["containerStatuses"], states["initContainerStatuses"]) | {
        "reason": "DeadlineExceeded",
        "message": message,
    }


def _at_the_end(container: Object, plays: Mapping[str, Play], at: str) -> Object:
    """The state of a container once its kubelet has ended its pod."""
    state: Object = container["state"]
    if state.get("waiting", {}).get("reason", "PodInitializing") != "PodInitializing":
        text = "The container could not be located when the pod was terminated"
        return {"terminated": {"exitCode": 137, "reason": "ContainerStatusUnknown", "message": text}}
    if "running" not in state:
        return state
    play = plays[container["name"]]
    if play.tells is None:
        told = Play(outcome=Outcome.FAIL, exit_code=EXIT_SIGTERM, reason="Error")
    else:
        told = replace(play, outcome=Outcome.SUCCEED, message=play.tells)
    return terminated(told, state["running"]["startedAt"], at)


def ending(pod: Object, at: str) -> Object:
    """The kubelet ends the containers of a pod whose deadline is over: its phase stays, it is not ready any more."""
    told = [_false(kind, "PodFailed", at) for kind in ("Ready", "ContainersReady")]
    kept = [one for one in pod["status"].get("conditions", []) if one["type"] not in ("Ready", "ContainersReady")]
    return {"conditions": [*kept, *told]}


def node_lost(at: str) -> Object:
    """What the pod collector writes when a pod's node is gone; its containers are left as they were."""
    disruption = _true("DisruptionTarget", at) | {
        "reason": "DeletionByPodGC",
        "message": "PodGC: node no longer exists",
    }
    return {"phase": "Failed", "conditions": [disruption]}


def sharing(pod: Object, done: Sequence[Object], state: Object, at: str, *, phase: str = "Pending") -> Object:
    """What a pod shows that several steps share.

    Args:
        pod: the pod.
        done: the states of the containers that have ended, in order.
        state: that of the one behind them.
        at: when it became so.
        phase: of the pod; Pending while init containers run.
    """
    every = [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]
    states = [*done, state, *[{"waiting": {"reason": "PodInitializing"}}] * len(every)][: len(every)]
    told = [_container(one, shown, started="running" in shown) for one, shown in zip(every, states, strict=True)]
    last = len(done) == len(every) - 1
    conditions = [_true("PodScheduled", at), *([_true("Initialized", at)] if last else [])]
    shown = "Running" if last and phase == "Pending" and "running" in state else phase
    return _status(shown, conditions, told[-1:], told[:-1]) | {
        "startTime": pod.get("status", {}).get("startTime") or at
    }


def terminated(play: Play, started: str, at: str) -> Object:
    """The state of a container that ended as the play says."""
    good = play.outcome is Outcome.SUCCEED
    code = 0 if good else EXIT_SIGTERM if play.outcome is Outcome.EVICT else play.exit_code
    reason = "Completed" if good else play.reason or "Error"
    told = {"exitCode": code, "reason": reason, "message": play.message, "startedAt": started, "finishedAt": at}
    return {"terminated": told}


def waiting(pod: Object, play: Play, at: str) -> Object:
    """The containers cannot start."""
    state = {"waiting": {"reason": play.reason, "message": play.message}}
    containers = [_container(c, state, started=False) for c in pod["spec"]["containers"]]
    return _status("Pending", [_true("PodScheduled", at)], containers, _inits(pod, at)) | {"startTime": at}


def unschedulable(at: str) -> Object:
    """No node takes the pod."""
    condition = {
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": "0/1 nodes are available: 1 Insufficient cpu.",
        "lastTransitionTime": at,
    }
    return {"phase": "Pending", "conditions": [condition]}


def _status(phase: str, conditions: list[Object], containers: list[Object], inits: list[Object]) -> Object:
    status: Object = {"phase": phase, "conditions": conditions, "containerStatuses": containers}
    if inits:
        status["initContainerStatuses"] = inits
    return status


def _container(container: Object, state: Object, *, started: bool) -> Object:
    return {
        "name": container["name"],
        "image": container["image"],
        "imageID": "",
        "ready": started,
        "started": started,
        "restartCount": 0,
        "state": state,
    }


def _inits(pod: Object, at: str) -> list[Object]:
    state = {"terminated": {"exitCode": 0, "reason": "Completed", "startedAt": at, "finishedAt": at}}
    return [_container(c, state, started=False) for c in pod["spec"].get("initContainers", [])]


def _true(type_: str, at: str) -> Object:
    return {"type": type_, "status": "True", "lastTransitionTime": at}


def _false(type_: str, reason: str, at: str) -> Object:
    return {"type": type_, "status": "False", "reason": reason, "lastTransitionTime": at}
