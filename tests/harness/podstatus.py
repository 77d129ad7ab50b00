"""The pod statuses that a kubelet would write, as merge patches."""

from __future__ import annotations

from collections.abc import Sequence
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
