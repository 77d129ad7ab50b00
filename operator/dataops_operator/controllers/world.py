"""What the controllers share: the settings, the stores, the queue, the client."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from ..api.run import Phase
from ..core import status as statuses
from ..core.environment import execution_namespace
from ..core.inputs import Endpoint
from ..core.line import Line
from ..core.names import INDEX_LABEL, ITEM_LABEL, RUN_LABEL, RUN_UID_LABEL, SELECTOR
from ..core.observe import is_indexed_job, job_condition
from ..core.quota import lined_up, maker, order
from ..kube.cache import Store
from ..kube.client import KubeClient
from ..kube.queue import WorkQueue
from ..kube.resources import ENVIRONMENTS, JOBS, PIPELINE_RUNS, PIPELINES, PODS, STEP_TEMPLATES, Resource
from ..kube.shared import SharedReads
from ..kube.watch import OnChange
from ..metrics.registry import Metrics
from .changes import (
    edited,
    fixed,
    has_ended,
    history,
    in_its_course,
    matters,
    over,
    passed_on,
    run_kind,
    same,
    standing,
    waits,
)
from .events import Recorder
from .indices import CACHED, RERUN_OF, UNPINNED, cache_keys, live_in, parent, rerun_of, templates_of, unpinned
from .kept import slim_definition, slim_environment, slim_job, slim_pod, slim_run
from .keys import Key, environment_key, pipeline_key, project_of, run_key
from .lines import Lines
from .pace import Spread
from .shapes import JOB_SHAPE, POD_SHAPE

Object = Mapping[str, Any]
Followed = tuple[Store, OnChange, str | None]
"""A kind with what its changes mean and by which labels it is asked for."""

BY_PIPELINE = "pipeline"
BY_TEMPLATE: Final = "template"
"""Index of Pipelines by the StepTemplates that they use, as `<namespace>/<name>`."""
LIVE_IN: Final = "live-in"
"""Index of the runs that have not ended, by their namespace."""
AT_WORK: Final = "at-work"
"""Index of the Jobs that have not ended, by their namespace."""
BY_EXECUTION: Final = "execution"
"""Index of Environments by the namespace that the operator's own words (status.namespace) say they hold."""
BY_CLAIM: Final = "claim"
"""Index of Environments by the namespace that their spec asks for, which alone gives them nothing."""
BY_PARENT: Final = "parent"
"""Index of Environments by the one that they branch off, as `<namespace>/<name>`."""

_AT_ONCE: Final = 8
"""How many of those in line for Jobs look again when a place may be free."""
ITEMS_SETTLE: Final = 0.1
"""Seconds in which the ends of a fan-out's items become one reconcile of their run."""
COUNT_DELAY: Final = 2.0
"""Seconds in which the edits of many pipelines become one new count of those that use a template."""
SETTLE: Final = 0.5
"""Seconds in which the lesser news of a run's children become one reconcile."""
CLEAN_UP_DELAY: Final = 5.0
"""Seconds in which the ends of many runs become one look at what their pipeline's history lets go."""


@dataclass(frozen=True)
class Settings:
    """How the operator was told to behave.

    Attributes:
        namespaces: to watch; empty for the whole cluster.
        workers: reconciles at once.
        pipeline_wait: seconds that a run waits for a Pipeline that does not exist yet.
        runner: ServiceAccount that steps run as; made where it is missing.
        resync: seconds between two lists beside the watches.
        endpoint: where steps hand in results; None where nobody takes them.
    """

    namespaces: tuple[str, ...] = ()
    workers: int = 32
    pipeline_wait: float = 120.0
    runner: str = "dataops-runner"
    resync: float = 300.0
    endpoint: Endpoint | None = None


def _nobody(_told: Any) -> None:
    """Nobody listens."""


@dataclass
class World:
    """What every controller sees."""

    client: KubeClient
    settings: Settings
    metrics: Metrics
    recorder: Recorder
    queue: WorkQueue[Key]
    clean_up: WorkQueue[Key] = field(default_factory=WorkQueue)
    """Pipelines and environments whose finished runs and old revisions are to be looked at: a queue of its own, so that
    no deletion stands in the way of a run."""
    environments: Store = field(default_factory=lambda: Store(ENVIRONMENTS, transform=slim_environment))
    templates: Store = field(default_factory=lambda: Store(STEP_TEMPLATES, transform=slim_definition))
    pipelines: Store = field(default_factory=lambda: Store(PIPELINES, transform=slim_definition))
    runs: Store = field(default_factory=lambda: Store(PIPELINE_RUNS, transform=slim_run))
    jobs: Store = field(init=False)
    pods: Store = field(init=False)
    pod_ends: dict[Key, float] = field(default_factory=dict)
    """When the news came that a run's pod has ended, in monotonic seconds; for the transition metric."""
    edited: set[str] = field(default_factory=set)
    """Uids of runs of which somebody changed what is fixed when a run begins."""
    lines: Lines = field(init=False)
    """Whose turn it is to begin."""
    job_line: dict[str, Line[Key]] = field(default_factory=dict)
    """By namespace, the runs that wait for a place for a Job."""
    reads: SharedReads[dict[str, Any]] = field(default_factory=SharedReads)
    """What runs that begin at the same time read of the same things."""

    run_gone: Callable[[str], None] = _nobody
    """Told the uid of a run that was deleted, or is being."""
    pod_with_init: Callable[[Object], None] = _nobody
    """Told of a pod with init containers whose status changed."""
    _small_news: Spread[Key] = field(default_factory=lambda: Spread(SETTLE))

    def __post_init__(self) -> None:
        """Make the stores of children, which depend on that of runs, and index runs and environments."""
        self.jobs = Store(JOBS, transform=slim_job, wanted=self._wanted, shape=JOB_SHAPE)
        self.pods = Store(PODS, transform=slim_pod, wanted=self._wanted, shape=POD_SHAPE)
        self.jobs.index(AT_WORK, lambda job: () if job_condition(job) else (job["metadata"]["namespace"],))
        self.pipelines.index(BY_TEMPLATE, templates_of)
        self.runs.index(BY_PIPELINE, lambda run: (f"{project_of(run)}/{run['spec']['pipeline']}",))
        self.runs.index(LIVE_IN, live_in)
        self.runs.index(UNPINNED, unpinned)
        self.runs.index(RERUN_OF, rerun_of)
        self.runs.index(CACHED, cache_keys)
        self.lines = Lines(self.jobs, self.pods, self._look)
        self.environments.index(BY_EXECUTION, lambda one: filter(None, (one["status"].get("namespace"),)))
        self.environments.index(BY_CLAIM, lambda one: (execution_namespace(one),))
        self.environments.index(BY_PARENT, parent)

    async def read(self, resource: Resource, namespace: str, name: str) -> dict[str, Any]:
        """One object as it stands, which our watch may not have told of yet; shared, so that nobody may change it."""
        key = (resource.plural, namespace, name)
        return await self.reads.get(key, lambda: self.client.get(resource, namespace, name))

    async def write_status(self, resource: Resource, held: Object, patch: Mapping[str, Any]) -> dict[str, Any]:
        """Change fields of the status of an object that is still as it is held; the object as it is then.

        Raises:
            NotFound: it is gone.
            Conflict: somebody has written in between.
        """
        meta = held["metadata"]
        body = {"metadata": {"resourceVersion": meta["resourceVersion"]}, "status": patch}
        return await self.client.patch(resource, meta["namespace"], meta["name"], body, subresource="status")

    def _look(self, namespace: str, name: str, seconds: float) -> None:
        """Have a run looked at in so many seconds."""
        key = Key("PipelineRun", namespace, name)
        if seconds > 0:
            self.queue.add_after(key, seconds)
        else:
            self.queue.add(key)

    def definitions(self) -> tuple[tuple[Store, OnChange], ...]:
        """The kinds that people define, each with what its changes mean; in the order in which they are listed."""
        return (
            (self.environments, self.environment_changed),
            (self.templates, self.template_changed),
            (self.pipelines, self.pipeline_changed),
        )

    def followed(self) -> tuple[Followed, ...]:
        """The kinds that our own watches follow; runs first: by them it is known which children are worth memory."""
        return (
            (self.runs, self.run_changed, None),
            (self.jobs, self.child_changed, SELECTOR),
            (self.pods, self.child_changed, SELECTOR),
        )

    def _wanted(self, child: Object) -> bool:
        """Whether a Job or a pod is worth memory: not once it has ended and its run has, too.

        A cluster keeps them for people to read, three of each and more for a run, and nothing is decided on them. Of an
        Indexed Job's pods, which may be 10,000, none is once it has ended, unless it may hold a secret's lease.
        """
        meta, status = child["metadata"], child["status"]
        if status.get("phase") not in ("Succeeded", "Failed") and job_condition(child) is None:
            return True
        if INDEX_LABEL in meta["labels"] and "initContainerStatuses" not in status:
            return False
        run = self.runs.by_uid(meta["labels"].get(RUN_UID_LABEL, ""))
        return run is None or not statuses.is_final(run["status"])

    def let_go(self, run: Object) -> None:
        """Forget what an ended run owns and has ended: a Job with its pods, or it would look as if it had none."""
        for job in self.jobs.by_owner(run["metadata"]["uid"]):
            ended = [pod for pod in self.pods.by_owner(job["metadata"]["uid"]) if not self._wanted(pod)]
            if not self._wanted(job) or (ended and not is_indexed_job(job)):  # of an Indexed one others may go on
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
        if history(before) != history(after):
            self.clean_up.add(Key("Pipeline", meta["namespace"], meta["name"]))
        if edited(before, after):
            self._wake_waiting(meta["namespace"], meta["name"])
            counted = [set(templates_of(one)) if one is not None else set() for one in (before, after)]
            for name in counted[0] ^ counted[1]:
                self.queue.add_after(Key("StepTemplate", *name.split("/")), COUNT_DELAY)

    def _wake_waiting(self, namespace: str, pipeline: str) -> None:
        """Look again at the runs of a pipeline that have not begun."""
        found = self.runs.by_index(BY_PIPELINE, f"{namespace}/{pipeline}")
        waiting = [run for run in found if live_in(run) and not run["status"].get("revision")]
        self.lines.bounds_changed(waiting)
        for run in waiting:
            if not lined_up(run):  # else its turn is looked after
                self.queue.add(run_key(run))

    def template_changed(self, before: Object | None, after: Object | None) -> None:
        """Reconcile the template, the pipelines that use it, and their runs that may be waiting for it."""
        template = after or before
        assert template is not None  # noqa: S101 - a change is of something
        meta = template["metadata"]
        if after is not None:
            self.queue.add(Key("StepTemplate", meta["namespace"], meta["name"]))
        if edited(before, after):
            for pipeline in self.pipelines.by_index(BY_TEMPLATE, f"{meta['namespace']}/{meta['name']}"):
                name = pipeline["metadata"]["name"]
                self.queue.add(Key("Pipeline", meta["namespace"], name))
                self._wake_waiting(meta["namespace"], name)

    def environment_changed(self, before: Object | None, after: Object | None) -> None:
        """Reconcile the environment, those that branch off it, and the runs that may be waiting for it."""
        environment = after or before
        assert environment is not None  # noqa: S101 - a change is of something
        meta = environment["metadata"]
        if after is not None:
            self.queue.add(environment_key(after))
        if before is None or after is None or before["metadata"]["generation"] != after["metadata"]["generation"]:
            self.clean_up.add_after(environment_key(environment), CLEAN_UP_DELAY)
        if before is not None and after is not None and matters(before) == matters(after):
            return
        family = [one for one in (before, after) if one is not None]
        edited = len({(one["metadata"]["generation"], one["metadata"].get("deletionTimestamp")) for one in family}) > 1
        for branch in self.environments.by_index(BY_PARENT, f"{meta['namespace']}/{meta['name']}"):
            self.queue.add(environment_key(branch))
            family.append(branch)
        for namespace in {
            name for one in family for name in (one["status"].get("namespace"), execution_namespace(one))
        }:
            self.wake_runs(namespace, everyone=edited or before is None or after is None)
            if after is None:
                # A namespace that one lets go of another may have.
                for other in self.environments.by_index(BY_CLAIM, namespace or ""):
                    self.queue.add(environment_key(other))

    def wake_runs(self, namespace: str | None, *, everyone: bool = True) -> None:
        """Look again at the runs of a namespace that have not begun, or that wait.

        Args:
            namespace: theirs.
            everyone: also those whose turn has not come, besides the first of them.
        """
        for run in self.runs.by_index(LIVE_IN, namespace or ""):
            if run["status"].get("revision"):
                concerned = run["status"].get("phase") == Phase.WAITING
            else:
                concerned = everyone or not lined_up(run)
            if concerned:
                self.queue.add(run_key(run))
        self.lines.look(namespace or "")
        for key in self.job_line.get(namespace or "", ()):
            self.queue.add(key)

    def run_changed(self, before: Object | None, after: Object | None) -> None:
        """Reconcile the run, and the next in line when it left a place."""
        self.metrics.runs.moved(run_kind(before), run_kind(after))
        self.metrics.waiting.moved(waits(before), waits(after))
        self.lines.run_changed(before, after)
        goes_on = after is not None and not statuses.is_final(after["status"])  # of one that has ended less is kept
        if before is not None and after is not None and goes_on and fixed(before) != fixed(after):
            self.edited.add(after["metadata"]["uid"])
        if after is not None:
            self.queue.add(run_key(after))
        else:
            self.pod_ends.pop(run_key(before or {}), None)
            self.edited.discard((before or {})["metadata"]["uid"])
        if before is not None and (after is None or "deletionTimestamp" in after["metadata"]):
            self.run_gone(before["metadata"]["uid"])
        if after is None or statuses.is_final(after["status"]):
            self._clean_up_after(after or before or {})
        self._tell_maker(before, after)
        if standing(before) != standing(after):
            for holder in self.environments.by_index(BY_EXECUTION, (after or before or {})["metadata"]["namespace"]):
                self.queue.add_after(environment_key(holder), SETTLE)
        if before is not None and (after is None or statuses.is_final(after["status"])):
            self.leave_line(before)

    def _tell_maker(self, before: Object | None, after: Object | None) -> None:
        """Have the run look that made this one, where something is another that it tells or passes on."""
        made_by = maker(after or before or {"metadata": {}})
        if made_by is not None and passed_on(before) != passed_on(after):
            above = self.runs.by_uid(made_by)
            if above is not None:
                self.queue.add(run_key(above))

    def _clean_up_after(self, run: Object) -> None:
        """Look at what the end of a run, or its deletion, lets go: other runs, and revisions."""
        self.clean_up.add_after(pipeline_key(run), CLEAN_UP_DELAY)
        if environment := run["status"].get("environment"):
            project, _, name = environment.partition("/")
            self.clean_up.add_after(Key("Environment", project, name), CLEAN_UP_DELAY)

    def leave_line(self, run: Object) -> None:
        """Take a run out of the line for Jobs; those behind it may have a place now."""
        namespace = run["metadata"]["namespace"]
        line = self.job_line.get(namespace)
        if line is not None and line.leave(order(run)):
            self.place_for_job(namespace)
            if not line:
                del self.job_line[namespace]

    def place_for_job(self, namespace: str) -> None:
        """Have the first in line for Jobs look again."""
        line = self.job_line.get(namespace, ())
        for index in range(min(_AT_ONCE, len(line))):
            self.queue.add(line[index])

    def child_changed(self, before: Object | None, after: Object | None) -> None:
        """Reconcile the run that a Job or a pod belongs to, by its label."""
        child = after or before
        assert child is not None  # noqa: S101 - a change is of something
        meta = child["metadata"]
        name = (meta.get("labels") or {}).get(RUN_LABEL)
        if name is None or same(before, after):
            return
        self.lines.child_changed(self.runs.by_uid(meta["labels"].get(RUN_UID_LABEL, "")), child)
        if "initContainerStatuses" in child["status"]:
            self.pod_with_init(child)
        key = Key("PipelineRun", meta["namespace"], name)
        if over(after) and not over(before):
            self.place_for_job(meta["namespace"])
        if INDEX_LABEL in meta["labels"]:
            self.queue.add_after(key, SETTLE)  # the Job counts its pods
        elif after is not None and is_indexed_job(after) and over(after):
            self.queue.add(key)
        elif has_ended(after) and not has_ended(before):
            self.pod_ends[key] = time.monotonic()
            if ITEM_LABEL in (meta.get("labels") or {}):
                self.queue.add_after(key, ITEMS_SETTLE)  # a fan-out may have hundreds, each look is at all of them
            else:
                self.queue.add(key)
        else:
            # Nothing waits for the rest: what a pod does on its way, and the Job's word, which comes a second later.
            self.queue.add_after(key, self._small_news.wait(key) if in_its_course(after) else SETTLE)
