"""What the controllers share: the settings, the stores, the queue, the client."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from ..api.base import GROUP
from ..api.conditions import Type, find_condition
from ..api.run import Phase
from ..core import status as statuses
from ..core.environment import execution_namespace
from ..core.names import RUN_LABEL, RUN_UID_LABEL
from ..core.observe import job_condition
from ..kube.cache import Store
from ..kube.client import KubeClient
from ..kube.queue import WorkQueue
from ..kube.resources import ENVIRONMENTS, JOBS, PIPELINE_RUNS, PIPELINES, PODS
from ..kube.watch import OnChange
from ..metrics.registry import Metrics, RunKind
from .events import Recorder

Object = Mapping[str, Any]

BY_PIPELINE = "pipeline"
LIVE_IN: Final = "live-in"
"""Index of the runs that have not ended, by their namespace."""
BY_EXECUTION: Final = "execution"
"""Index of Environments by the namespace that the operator's own words (status.namespace) say they hold."""
BY_CLAIM: Final = "claim"
"""Index of Environments by the namespace that their spec asks for, which alone gives them nothing."""
BY_PARENT: Final = "parent"
"""Index of Environments by the one that they branch off, as `<namespace>/<name>`."""

SETTLE: Final = 0.5
"""Seconds in which the lesser news of a run's children become one reconcile."""


@dataclass(frozen=True)
class Settings:
    """How the operator was told to behave.

    Attributes:
        namespaces: to watch; empty for the whole cluster.
        workers: reconciles at once.
        pipeline_wait: seconds that a run waits for a Pipeline that does not exist yet.
        runner: ServiceAccount that steps run as; made where it is missing.
        resync: seconds between two lists beside the watches.
    """

    namespaces: tuple[str, ...] = ()
    workers: int = 32
    pipeline_wait: float = 120.0
    runner: str = "dataops-runner"
    resync: float = 300.0


class Key(NamedTuple):
    """One object to reconcile."""

    kind: str
    namespace: str
    name: str


@dataclass
class World:
    """What every controller sees."""

    client: KubeClient
    settings: Settings
    metrics: Metrics
    recorder: Recorder
    queue: WorkQueue[Key]
    environments: Store = field(default_factory=lambda: Store(ENVIRONMENTS, transform=_slim_environment))
    pipelines: Store = field(default_factory=lambda: Store(PIPELINES, transform=_slim_definition))
    runs: Store = field(default_factory=lambda: Store(PIPELINE_RUNS, transform=slim_run))
    jobs: Store = field(init=False)
    pods: Store = field(init=False)
    pod_ends: dict[Key, float] = field(default_factory=dict)
    """When the news came that a run's pod has ended, in monotonic seconds; for the transition metric."""

    def __post_init__(self) -> None:
        """Make the stores of children, which depend on that of runs, and index runs and environments."""
        self.jobs = Store(JOBS, transform=slim_job, wanted=self._wanted)
        self.pods = Store(PODS, transform=slim_pod, wanted=self._wanted)
        self.runs.index(BY_PIPELINE, lambda run: (f"{run['metadata']['namespace']}/{run['spec']['pipeline']}",))
        self.runs.index(LIVE_IN, _live_in)
        self.environments.index(BY_EXECUTION, lambda one: filter(None, (one["status"].get("namespace"),)))
        self.environments.index(BY_CLAIM, lambda one: (execution_namespace(one),))
        self.environments.index(BY_PARENT, _parent)

    def definitions(self) -> tuple[tuple[Store, OnChange], ...]:
        """The kinds that people write, each with what its changes mean; in the order in which they are listed."""
        return (
            (self.environments, self.environment_changed),
            (self.pipelines, self.pipeline_changed),
            (self.runs, self.run_changed),
        )

    def _wanted(self, child: Object) -> bool:
        """Whether a Job or a pod is worth memory: not once it has ended and its run has, too.

        A cluster keeps them for people to read, three of each and more for a run, and nothing is decided on them.
        """
        meta, status = child["metadata"], child["status"]
        if status.get("phase") not in ("Succeeded", "Failed") and job_condition(child) is None:
            return True
        run = self.runs.by_uid(meta["labels"].get(RUN_UID_LABEL, ""))
        return run is None or not statuses.is_final(run["status"])

    def let_go(self, run: Object) -> None:
        """Forget what an ended run owns and has ended: a Job with its pods, or it would look as if it had none."""
        for job in self.jobs.by_owner(run["metadata"]["uid"]):
            ended = [pod for pod in self.pods.by_owner(job["metadata"]["uid"]) if not self._wanted(pod)]
            if ended or not self._wanted(job):
                self.jobs.remove(job)
            for pod in ended:
                self.pods.remove(pod)

    # What a change of the cache means for the queue.

    def pipeline_changed(self, before: Object | None, after: Object | None) -> None:
        """Reconcile the pipeline, and the runs that may be waiting for it."""
        pipeline = after or before
        assert pipeline is not None  # noqa: S101 - a change is of something
        meta = pipeline["metadata"]
        if after is not None:
            self.queue.add(Key("Pipeline", meta["namespace"], meta["name"]))
        if before is None or after is None or before["metadata"]["generation"] != after["metadata"]["generation"]:
            for run in self.runs.by_index(BY_PIPELINE, f"{meta['namespace']}/{meta['name']}"):
                if not (run.get("status") or {}).get("revision") and not statuses.is_final(run.get("status") or {}):
                    self.queue.add(run_key(run))

    def environment_changed(self, before: Object | None, after: Object | None) -> None:
        """Reconcile the environment, those that branch off it, and the runs that may be waiting for it."""
        environment = after or before
        assert environment is not None  # noqa: S101 - a change is of something
        meta = environment["metadata"]
        if after is not None:
            self.queue.add(environment_key(after))
        if before is not None and after is not None and _matters(before) == _matters(after):
            return
        family = [one for one in (before, after) if one is not None]
        for branch in self.environments.by_index(BY_PARENT, f"{meta['namespace']}/{meta['name']}"):
            self.queue.add(environment_key(branch))
            family.append(branch)
        for namespace in {
            name for one in family for name in (one["status"].get("namespace"), execution_namespace(one))
        }:
            self.wake_runs(namespace)

    def wake_runs(self, namespace: str | None) -> None:
        """Look again at the runs of a namespace that have not begun, or that wait."""
        for run in self.runs.by_index(LIVE_IN, namespace or ""):
            if not run["status"].get("revision") or run["status"].get("phase") == Phase.WAITING:
                self.queue.add(run_key(run))

    def run_changed(self, before: Object | None, after: Object | None) -> None:
        """Reconcile the run; tell its pipeline when it has ended."""
        self.metrics.runs.moved(_kind(before), _kind(after))
        if after is not None:
            self.queue.add(run_key(after))
        else:
            self.pod_ends.pop(run_key(before or {}), None)

    def child_changed(self, before: Object | None, after: Object | None) -> None:
        """Reconcile the run that a Job or a pod belongs to, by its label."""
        child = after or before
        assert child is not None  # noqa: S101 - a change is of something
        meta = child["metadata"]
        name = (meta.get("labels") or {}).get(RUN_LABEL)
        if name is None or _same(before, after):
            return
        key = Key("PipelineRun", meta["namespace"], name)
        if _ended(after) and not _ended(before):
            self.pod_ends[key] = time.monotonic()
            self.queue.add(key)
        else:
            # Nothing waits for the rest: what a pod does on its way, and the Job's word, which comes a second later.
            self.queue.add_after(key, SETTLE)


def environment_key(environment: Object) -> Key:
    """The key of an Environment."""
    return Key("Environment", environment["metadata"]["namespace"], environment["metadata"]["name"])


def run_key(run: Object) -> Key:
    """The key of a PipelineRun."""
    return Key("PipelineRun", run["metadata"]["namespace"], run["metadata"]["name"])


def pipeline_key(run: Object) -> Key:
    """The key of a run's Pipeline."""
    return Key("Pipeline", run["metadata"]["namespace"], run["spec"]["pipeline"])


def _live_in(run: Object) -> tuple[str, ...]:
    return () if statuses.is_final(run["status"]) else (run["metadata"]["namespace"],)


def _parent(environment: Object) -> tuple[str, ...]:
    name = environment["spec"].get("from")
    return () if name is None else (f"{environment['metadata']['namespace']}/{name}",)


def _matters(environment: Object) -> tuple[Any, ...]:
    """What of an Environment can change whether its runs go on."""
    meta, status = environment["metadata"], environment["status"]
    conditions = [(one["type"], one["status"], one["reason"]) for one in status.get("conditions") or ()]
    targets = [(one["name"], one.get("reachable")) for one in status.get("targets") or ()]
    return meta["generation"], meta.get("deletionTimestamp"), status.get("namespace"), conditions, targets


def _kind(run: Object | None) -> RunKind | None:
    if run is None:
        return None
    phase = (run.get("status") or {}).get("phase") or str(Phase.PENDING)
    return run["spec"]["pipeline"], run["metadata"]["namespace"], phase


def _same(before: Object | None, after: Object | None) -> bool:
    """Whether nothing changed of what is kept of a child; most of its events are of that kind."""
    return (
        before is not None
        and after is not None
        and before["metadata"]["uid"] == after["metadata"]["uid"]
        and before["status"] == after["status"]
        and before["metadata"].get("deletionTimestamp") == after["metadata"].get("deletionTimestamp")
    )


def _ended(child: Object | None) -> bool:
    """Whether a pod has ended; a Job has no phase."""
    return child is not None and child.get("status", {}).get("phase") in ("Succeeded", "Failed")


# What the stores keep of an object: what somebody reads.

_META = ("name", "namespace", "uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp")


def _meta(item: Object, *more: str) -> dict[str, Any]:
    meta = item["metadata"]
    return {key: meta[key] for key in (*_META, "ownerReferences", *more) if key in meta}


def _slim_environment(item: dict[str, Any]) -> dict[str, Any]:
    """An Environment, with its finalizers and those annotations that are ours."""
    return _slim_definition(item) | {"metadata": _meta(item, "finalizers") | _annotations(item)}


def _annotations(item: Object) -> dict[str, Any]:
    """The annotations of this project's group: what kubectl keeps there can be as large as the object."""
    kept = {key: value for key, value in (item["metadata"].get("annotations") or {}).items() if key.startswith(GROUP)}
    return {"annotations": kept} if kept else {}


def _slim_definition(item: dict[str, Any]) -> dict[str, Any]:
    return {"metadata": _meta(item), "spec": item.get("spec") or {}, "status": item.get("status") or {}}


def slim_run(item: dict[str, Any]) -> dict[str, Any]:
    """A run; of one that has ended only what its pipeline and the metrics read."""
    status = item.get("status") or {}
    if not statuses.is_final(status):
        return _slim_definition(item) | {"metadata": _meta(item) | _annotations(item)}
    keep = {key: status[key] for key in ("phase", "finishedAt", "observedGeneration") if key in status}
    outcome = find_condition(item, Type.SUCCEEDED)
    return {
        "metadata": _meta(item),
        "spec": {"pipeline": item["spec"]["pipeline"]},
        "status": keep | {"conditions": [{key: (outcome or {}).get(key) for key in ("type", "status", "reason")}]},
    }


def slim_job(item: dict[str, Any]) -> dict[str, Any]:
    """A Job: whose it is, and how it ended."""
    status = item.get("status") or {}
    kept: dict[str, Any] = {
        "conditions": [c for c in status.get("conditions") or () if c.get("type") in ("Complete", "Failed")]
    }
    if "startTime" in status:
        kept["startTime"] = status["startTime"]
    return {"metadata": _meta(item) | {"labels": _routing(item)}, "status": kept}


def slim_pod(item: dict[str, Any]) -> dict[str, Any]:
    """A pod: whose it is, and what its containers do."""
    status = item.get("status") or {}
    kept = {key: status[key] for key in ("phase", "reason", "message", "startTime") if key in status}
    for key in ("containerStatuses", "initContainerStatuses"):
        if status.get(key):
            kept[key] = [
                {"name": one["name"], "state": one.get("state") or {}, "imageID": one.get("imageID")}
                for one in status[key]
            ]
    kept["conditions"] = [
        c for c in status.get("conditions") or () if c.get("type") in ("PodScheduled", "DisruptionTarget")
    ]
    deadline = item["spec"].get("activeDeadlineSeconds")
    meta = _meta(item) | {"labels": _routing(item)}
    return {"metadata": meta, "spec": {"activeDeadlineSeconds": deadline}, "status": kept}


def _routing(item: Object) -> dict[str, str]:
    labels = item["metadata"].get("labels") or {}
    return {key: labels[key] for key in (RUN_LABEL, RUN_UID_LABEL) if key in labels}
