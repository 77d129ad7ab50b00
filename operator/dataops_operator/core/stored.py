"""Results that steps hand in at the operator's endpoint: the way there in their pods, and how a run has them.

What is handed in lies in a ConfigMap that the run owns and nobody can change, so that any replica may take it and a
restart loses nothing. The status shows the smaller outputs; templates and conditions get all of them whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import orjson

from ..api.base import API_VERSION
from ..api.run import Phase
from ..api.step import Step
from . import names
from .inputs import Endpoint
from .observe import Object, job_condition
from .results import ENDPOINT, FILE, NOT_HANDED_IN, Place, ResultError, read
from .rows import Row
from .turn import Turn

RESULT_BYTES: Final = 1_000_000
"""Bytes of a result: a ConfigMap has 1 MiB with its keys."""
SHOWN_BYTES: Final = 1024
"""Bytes of an output as JSON that the status shows, of a result that was handed in."""
AUDIENCE: Final = "dataops-results"
"""Whom the token in the pod is for: nobody else takes it."""
TOKEN_SECONDS: Final = 3600
KEY: Final = "result"
FOLDER: Final = "/dataops/results"
NO_ENDPOINT: Final = (
    "the step hands its result in at the operator's endpoint (results: Endpoint), and the operator serves none; "
    "have it installed with results.enabled, or remove the field"
)


def with_endpoint(job: dict[str, Any], step: Step, endpoint: Endpoint) -> dict[str, Any]:
    """The Job of an attempt at a step, with the way to the endpoint in the step's container.

    Args:
        job: not changed.
        step: the step.
        endpoint: where it is.
    """
    template = job["spec"]["template"]
    meta, pod = template["metadata"], template["spec"]
    token = {"audience": AUDIENCE, "expirationSeconds": TOKEN_SECONDS, "path": "token"}
    ca = {"path": "ca.crt", "fieldRef": {"fieldPath": f"metadata.annotations['{names.RESULTS_CA_ANNOTATION}']"}}
    volume = {
        "name": "results",
        "projected": {"sources": [{"serviceAccountToken": token}, {"downwardAPI": {"items": [ca]}}]},
    }
    url = {"name": "DATAOPS_RESULTS_URL", "value": f"{endpoint.url}/{step.name}"}
    mount = {"name": "results", "mountPath": FOLDER, "readOnly": True}

    def reached(container: dict[str, Any]) -> dict[str, Any]:
        if container["name"] != step.name:
            return container
        return {**container, "env": [url, *container["env"]], "volumeMounts": [*container["volumeMounts"], mount]}

    spec = {**pod, "volumes": [*pod["volumes"], volume]}
    for kind in ("containers", "initContainers"):
        if kind in pod:
            spec[kind] = [reached(one) for one in pod[kind]]
    labels = {**meta["labels"], names.RESULTS_LABEL: "endpoint"}
    annotations = {**meta["annotations"], names.RESULTS_CA_ANNOTATION: endpoint.ca}
    made = {**template, "metadata": {**meta, "labels": labels, "annotations": annotations}, "spec": spec}
    return {**job, "spec": {**job["spec"], "template": made}}


def result_map(job: Object, step: str, text: str) -> dict[str, Any]:
    """The ConfigMap with what a step handed in.

    Args:
        job: whose pod did, with its metadata.
        step: the step.
        text: as it came.
    """
    meta = job["metadata"]
    run = next(one for one in meta["ownerReferences"] if one.get("controller"))
    labels = {
        names.MANAGED_BY_LABEL: names.MANAGER,
        names.RUN_LABEL: run["name"],
        names.RUN_UID_LABEL: run["uid"],
        names.STEP_LABEL: step,
    }
    owner = {
        "apiVersion": API_VERSION,
        "kind": "PipelineRun",
        "name": run["name"],
        "uid": run["uid"],
        "controller": True,
    }
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": names.result_name(meta["name"], step),
            "namespace": meta["namespace"],
            "labels": labels,
            "ownerReferences": [owner],
        },
        "immutable": True,
        "data": {KEY: text},
    }


def handed_in(turn: Turn, row: Row, step: Step, pods: Sequence[Object]) -> tuple[Sequence[Object], Place] | None:
    """The pods of an attempt, with what was handed in as the message of the one that ended well, and where it was told.

    None where that has to be read first. A step may tell a small result in /dataops/result all the same. What was
    handed in outlives its pod: where that is gone before its end was seen, the Job tells whether it was a good one.
    """
    assert row.job is not None  # noqa: S101 - an attempt is under way
    gone = not pods and row.job in turn.view.proven
    if gone:
        pods = _as_its_job_tells(step.name, turn.view.jobs.get(row.job))
    if not any(_ended_well(pod, step.name) for pod in pods):
        return pods, FILE
    name = names.result_name(row.job, step.name)
    if name not in turn.view.results:
        turn.fetch.append(name)
        return None
    text = turn.view.results[name]
    if text is None:
        return () if gone else pods, NOT_HANDED_IN
    return [_telling(pod, step.name, text) if _ended_well(pod, step.name) else pod for pod in pods], ENDPOINT


def _ended_well(pod: Object, step: str) -> bool:
    """Whether a step's container exited with 0; its pod may have failed all the same, where it was to end."""
    states = [one["state"] for one in pod.get("status", {}).get("containerStatuses") or () if one["name"] == step]
    return any((state.get("terminated") or {}).get("exitCode") == 0 for state in states)


def _as_its_job_tells(step: str, job: Object | None) -> Sequence[Object]:
    """The pod of a Job that is Complete, as it must have ended; none of any other Job."""
    condition = job_condition(job or {}) or {}
    if job is None or condition.get("type") != "Complete":
        return ()
    times = {"startedAt": job["status"].get("startTime"), "finishedAt": condition.get("lastTransitionTime")}
    state = {"terminated": {"exitCode": 0, **times}}
    return [{"metadata": {}, "status": {"phase": "Succeeded", "containerStatuses": [{"name": step, "state": state}]}}]


def _telling(pod: Object, step: str, text: str) -> Object:
    def told(one: Mapping[str, Any]) -> Mapping[str, Any]:
        ended = one.get("state", {}).get("terminated")
        if one["name"] != step or not ended:
            return one
        return {**one, "state": {"terminated": {**ended, "message": text}}}

    kinds = ("containerStatuses", "initContainerStatuses")
    status = {**pod["status"], **{key: list(map(told, pod["status"][key])) for key in kinds if key in pod["status"]}}
    return {**pod, "status": status}


def folded(turn: Turn, row: Row) -> Row:
    """The row of a step that has succeeded, with the smaller outputs of what it handed in; any other as it is."""
    if not turn.view.results or not row.outputs:
        return row
    name = names.result_name(row.job or "", row.name)
    if turn.view.results.get(name) is None:
        return row
    small = {key: value for key, value in row.outputs.items() if len(orjson.dumps(value)) <= SHOWN_BYTES}
    if len(small) == len(row.outputs):
        return row
    return replace(row, outputs=small or None, result=name, whole=row.outputs)


def whole(turn: Turn, row: Row) -> Mapping[str, Any]:
    """All outputs of a step that has succeeded, read again where they are not at hand."""
    if row.whole is not None:
        return row.whole
    assert row.result is not None  # noqa: S101 - the caller looked
    if row.result not in turn.view.results:
        turn.fetch.append(row.result)
        return {}
    text = turn.view.results[row.result]
    try:
        return read(turn.inputs.revision.steps[row.name], text).outputs if text is not None else row.outputs or {}
    except ResultError:
        return row.outputs or {}


def given(turn: Turn, rows: Iterable[Row]) -> dict[str, Mapping[str, Any]]:
    """All outputs of the steps that have succeeded, by name; of no use where `turn.fetch` asks for some of them."""
    return {
        one.name: one.outputs or {} if one.result is None else whole(turn, one)
        for one in rows
        if one.phase is Phase.SUCCEEDED
    }
