"""Pods that several steps share: which these are, how each has ended, and what its row may say."""

from __future__ import annotations

from typing import Any

import orjson
from tests.harness.api import Object, condition
from tests.harness.history import attempt_key, owner_uid, pod_phase
from tests.harness.kinds import STEP

ENDED = ("Succeeded", "Failed")
AGENT_CONTAINER = "dataops-secrets"
"""Init container that reads a pod's secrets: no step."""


def outputs(row: Object) -> dict[str, Any]:
    """A status row's outputs by name, whether they are written as a list of names and values or as a map."""
    written = row.get("outputs") or {}
    if isinstance(written, dict):
        return written
    return {item["name"]: item.get("value") for item in written}


def steps_of_job(job: Object) -> list[str]:
    """The steps that a Job runs, in order."""
    template = job.get("spec", {}).get("template", {})
    return steps_of({"metadata": job["metadata"], "spec": template.get("spec", {})})


def steps_of(pod: Object) -> list[str]:
    """The steps that run in a pod, in order: those of a stage have a container each."""
    inits = pod.get("spec", {}).get("initContainers", [])
    before = [one["name"] for one in inits if one["name"] != AGENT_CONTAINER]
    return [*before, *(one["name"] for one in pod["spec"]["containers"])] if before else [step_label(pod)]


def step_label(obj: Object) -> str:
    """The step that a Job or a pod is labelled with."""
    found: str = obj["metadata"].get("labels", {}).get(STEP, "")
    return found


def succeeded_steps(pod: Object) -> list[str]:
    """The steps of a pod that have ended well.

    One that is told to end, since its pod's deadline is over, has where it tells its result before it exits with 0.
    """
    if pod_phase(pod) == "Succeeded":
        return steps_of(pod)
    names, told = steps_of(pod), pod.get("status", {}).get("reason") == "DeadlineExceeded"
    if len(names) == 1 and not told:
        return []
    ended = [name for name in names if _terminated(pod, name).get("exitCode") == 0]
    return [name for name in ended if len(names) > 1 or _terminated(pod, name).get("message")]


def began(pod: Object, container: str) -> bool:
    """Whether a container runs, or has run."""
    return bool({"running", "terminated"} & _state(pod, container).keys())


def _terminated(pod: Object, container: str) -> Object:
    """How a container has ended; empty where it has not."""
    return _state(pod, container).get("terminated") or {}


def _state(pod: Object, container: str) -> Object:
    status = pod.get("status", {})
    both = [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]
    found: Object = next((one["state"] for one in both if one["name"] == container), {})
    return found


def shared_row(row: Object, jobs: dict[str, Object], pods: list[Object]) -> list[str]:
    """What the row of a step says wrongly that shares its pod with others."""
    phase, name, found = row.get("phase"), row["name"], []
    own = [attempt_key(job)[3] for job in jobs.values() if step_label(job) == name]
    if row.get("attempt", 0) < max(own, default=0):
        found.append(f"says attempt {row.get('attempt')}, the last Job is attempt {max(own)}")
    mine = {uid: job for uid, job in jobs.items() if job["metadata"]["name"] == row.get("job")}
    if phase in ("Running", "Succeeded") and not mine:
        found.append(f"is {phase} and names none of its Jobs")
    theirs = [pod for pod in pods if owner_uid(pod) in mine]
    complete = any(condition(job, "Complete").get("status") == "True" for job in mine.values())
    good = [pod for pod in theirs if name in succeeded_steps(pod)]
    if phase == "Succeeded" and not good and not complete:
        found.append("is Succeeded, and no container of its name exited with 0")
    if (
        phase in ("Pending", "Waiting", "Running")
        and mine
        and theirs
        and {pod_phase(pod) for pod in theirs} <= set(ENDED)
    ):
        found.append(f"is {phase}, its pods have ended")
    if phase == "Succeeded":
        told = [
            orjson.loads(text).get("outputs", {}) for pod in good if (text := _terminated(pod, name).get("message"))
        ]
        found += [
            f"has output {key} = {value!r}, which no pod reported"
            for key, value in outputs(row).items()
            if not any(key in one and one[key] == value for one in told)
        ]
    return found
