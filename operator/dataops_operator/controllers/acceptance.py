"""Acceptance: what a run begins with, or began with, and what keeps it from beginning."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from pydantic import ValidationError

from ..api.conditions import Reason
from ..api.run import PipelineRunSpec
from ..core import accept, rerun
from ..core.accept import Pinned, Refused, Waiting
from ..core.concurrency import UNBOUND, Bound, bound
from ..core.environment import Effective
from ..core.fit import unfit
from ..core.inputs import Identity
from ..core.masking import hide
from ..core.podplacement import claims
from ..core.problems import summarise
from ..core.quota import lined_up
from ..core.revision import Revision
from ..core.rows import Row
from ..core.steptemplates import missing
from ..core.validate import shape_problems
from ..kube.errors import NotFound
from ..kube.resources import ENVIRONMENTS, PERSISTENT_VOLUME_CLAIMS, PIPELINE_RUNS, PIPELINES
from .admission import Admission
from .bounds import bound_of
from .children import Children
from .revisions import Recent, Revisions
from .steptemplate import read_templates
from .tenancy import Home, NotYet, Tenancy
from .world import Object, World

_TURNS: Final = 3
"""Times that a run is looked at when its environment changes meanwhile."""
_SHORTLY: Final = 2.0
"""Seconds after which it is looked at again where it changed each time."""


@dataclass(frozen=True, slots=True)
class Begun:
    """What a run was accepted with.

    Attributes:
        fixed: what its status keeps.
        revision: what it executes.
        environment: where, as it was when the run began; None where the run's namespace belongs to none.
        bound: what bounds it among the runs of its pipeline; of no concern once it has begun.
        rows: where its steps stand when it begins, if it takes some over; of no concern once it has begun.
    """

    fixed: Pinned
    revision: Revision
    environment: Effective | None
    bound: Bound = UNBOUND
    rows: tuple[Row, ...] = ()


class Acceptance:
    """Finds out what runs begin with."""

    def __init__(self, world: World, revisions: Revisions, tenancy: Tenancy, admission: Admission) -> None:
        """Work on what the world holds."""
        self._world = world
        self._revisions = revisions
        self._tenancy = tenancy
        self._admission = admission
        self._values: Recent[str, Mapping[str, Any]] = Recent(2000)
        """Values of live runs with masked parameters, by the run's uid: their status does not keep them."""
        world.lines.bound_of = partial(bound_of, world, revisions, tenancy)

    async def of(self, run: Object, identity: Identity, children: Children) -> Begun | Waiting | Refused:
        """What the run was, or is now, accepted with."""
        fixed = accept.pinned(run["status"], await children.first_job(run))
        if fixed is not None:
            return await self._resumed(run, identity, fixed, children)
        home = self._tenancy.of(identity.namespace)
        if isinstance(home, Home) and not lined_up(run):
            home = await self._read_live(home, identity.namespace)
        for _ in range(_TURNS):
            if isinstance(home, NotYet):
                spec = _readable(run)  # what no environment could mend is told at once
                return spec if isinstance(spec, Refused) else self._not_yet(run, home)
            # One in line was looked at when it lined up, and will be again when its turn comes.
            wait = self._admission.wait(run, home, None, time.time()) if lined_up(run) else None
            if wait is not None:
                return wait
            begun = await self._prepared(run, identity, home)
            if not isinstance(begun, Begun):
                return begun
            now = self._tenancy.of(identity.namespace)
            if _same(home, now):
                # Nothing is awaited between this and the run counting as begun.
                return self._admission.let_in(run, home, begun.bound, time.time()) or begun
            home = now  # it changed under our hands
        text = "the environment changes faster than the run can be held against it"
        return Waiting(Reason.ENVIRONMENT_NOT_READY, text, time.time() + _SHORTLY)

    async def _read_live(self, home: Home, namespace: str) -> Home | NotYet | None:
        """The environment as it stands now: a freeze, or an edit, right before the run must not be overlooked."""
        meta, store = home.object["metadata"], self._world.environments
        try:
            change = store.put(await self._world.read(ENVIRONMENTS, meta["namespace"], meta["name"]))
        except NotFound:
            gone = store.take(dict(home.object))
            change = (gone, None) if gone is not None else None
        if change is not None:
            self._world.environment_changed(*change)
        return self._tenancy.of(namespace)

    def environment_of(self, run: Object) -> str | None:
        """The environment that a run belongs to, as its status should say; None where it belongs to none."""
        if run["status"].get("revision"):
            kept: str | None = run["status"].get("environment")
            return kept
        home = self._tenancy.of(run["metadata"]["namespace"])
        return home.environment if isinstance(home, NotYet) else home.effective.key if home is not None else None

    def _not_yet(self, run: Object, why: NotYet) -> Waiting | Refused:
        now = time.time()
        if why.final:
            return Refused(why.reason, why.message)
        if why.bounded:
            created, patience = run["metadata"]["creationTimestamp"], self._world.settings.pipeline_wait
            return accept.not_yet(why.reason, why.message, created, patience, now)
        return Waiting(why.reason, why.message, now + accept.LOOK_AGAIN)

    # A run that begins.

    async def _prepared(self, run: Object, identity: Identity, home: Home | None) -> Begun | Waiting | Refused:
        """What a new run begins with, everything held against everything else."""
        spec = _readable(run)
        if isinstance(spec, Refused):
            return spec
        environment = home.effective if home is not None else None
        settled = await self._settled(run, identity, spec, environment)
        if isinstance(settled, Waiting | Refused):
            return settled
        revision, fixed, rows = settled
        inputs = accept.inputs(identity, revision, fixed, self._world.settings.runner, environment)
        if found := unfit(inputs):
            return Refused(found[0][0], hide(summarise([problem for _, problem in found]), inputs.hidden))
        if (refused := await self._claims(run, revision)) is not None:
            return refused
        if home is not None:
            named = (target.name for step in revision.steps.values() for target in inputs.targets(step))
            for name in dict.fromkeys(named):
                if (why := self._tenancy.target_not_ready(home, name)) is not None:
                    return self._not_yet(run, why)
            await self._revisions.ensure_environment(home.object, home.effective)
        self._keep(run, fixed)
        return Begun(fixed, revision, environment, bound(inputs), rows)

    async def _settled(
        self, run: Object, identity: Identity, spec: PipelineRunSpec, environment: Effective | None
    ) -> tuple[Revision, Pinned, tuple[Row, ...]] | Waiting | Refused:
        """What a new run executes with which values, and what of another run it takes over."""
        before, given = None, {one.name for one in spec.parameters or ()}
        if spec.rerun is not None:
            again = rerun.settled(spec, spec.rerun, await self._run_before(identity.namespace, spec.rerun.of))
            if isinstance(again, Refused):
                return again
            spec, before = again
        project = environment.project if environment is not None else identity.namespace
        revision = await self._revision(run, spec, project)
        if isinstance(revision, Waiting | Refused):
            return revision
        fixed = accept.pin(identity, spec, run["metadata"]["creationTimestamp"], revision, environment)
        if isinstance(fixed, Refused):
            return fixed
        if spec.rerun is None or before is None:
            return revision, fixed, ()
        fixed = rerun.taken_over(fixed, given, before)
        rows = rerun.rows(revision, fixed, spec.rerun, before)
        return rows if isinstance(rows, Refused) else (revision, fixed, rows)

    async def _run_before(self, namespace: str, name: str) -> Object | None:
        """A run that is done again, read live: of one that has ended the cache keeps no steps."""
        try:
            return await self._world.client.get(PIPELINE_RUNS, namespace, name)
        except NotFound:
            return None

    async def _claims(self, run: Object, revision: Revision) -> Waiting | Refused | None:
        """What keeps a run from the claims that its pipeline names; None where nothing does."""
        meta = run["metadata"]
        for name, path in claims(revision).items():
            try:
                claim = await self._world.read(PERSISTENT_VOLUME_CLAIMS, meta["namespace"], name)
            except NotFound:
                created, patience = meta["creationTimestamp"], self._world.settings.pipeline_wait
                return accept.missing("claim", name, Reason.CLAIM_NOT_FOUND, created, patience, time.time())
            if (refused := accept.claim_refusal(claim, path)) is not None:
                return refused
        return None

    async def _revision(self, run: Object, spec: PipelineRunSpec, project: str) -> Revision | Waiting | Refused:
        """The revision that a new run executes."""
        created, patience, now = run["metadata"]["creationTimestamp"], self._world.settings.pipeline_wait, time.time()
        if spec.revision is not None:
            kept = await self._revisions.load(project, spec.pipeline, spec.revision)
            kind = f"pipeline {spec.pipeline!r}'s revision"
            return kept or accept.missing(kind, spec.revision, Reason.REVISION_NOT_FOUND, created, patience, now)
        try:
            # Read live: the run may have been made right after an edit that our watch has not told of yet.
            pipeline = await self._world.read(PIPELINES, project, spec.pipeline)
        except NotFound:
            kind = "pipeline" if project == run["metadata"]["namespace"] else f"namespace {project}: pipeline"
            return accept.missing(kind, spec.pipeline, Reason.PIPELINE_NOT_FOUND, created, patience, now)
        revision, problems = self._revisions.compile(pipeline, await read_templates(self._world, pipeline))
        if revision is None and (absent := missing(problems)):
            kind = f"pipeline {spec.pipeline!r}'s step template"
            return accept.missing(kind, absent[0], Reason.TEMPLATE_NOT_FOUND, created, patience, now)
        if revision is None:
            text = f"pipeline {spec.pipeline!r} is not valid: {summarise(problems)}"
            return Refused(Reason.PIPELINE_INVALID, text)
        await self._revisions.ensure(pipeline, revision)
        return revision

    # A run that has begun.

    async def _resumed(self, run: Object, identity: Identity, fixed: Pinned, children: Children) -> Begun | Refused:
        """What a run began with, put together again."""
        environment = None
        project = identity.namespace
        if fixed.environment_revision:
            project, _, name = fixed.environment.partition("/")
            environment = await self._environment(project, name, fixed.environment_revision)
            if environment is None:
                return Refused(
                    Reason.ENVIRONMENT_DELETED,
                    f"environment {fixed.environment} was deleted, or revision {fixed.environment_revision!r} of it "
                    "with which the run began; start the run again",
                )
            if environment.execution != identity.namespace:
                # Only a Job can say so, and who may create Jobs here may not have anything from elsewhere.
                return Refused(
                    Reason.ENVIRONMENT_INVALID,
                    f"a Job of the run says that it began in environment {fixed.environment}, which does not hold this "
                    "namespace; delete that Job, then start the run again",
                )
        revision = await self._revisions.load(project, identity.pipeline, fixed.revision)
        if revision is None:
            revision = await self._made_again(project, identity, fixed.revision)
        if revision is None:
            return Refused(
                Reason.REVISION_NOT_FOUND,
                f"revision {fixed.revision!r}, with which the run began, was deleted; start the run again",
            )
        fixed = accept.remember(fixed, revision, environment, self._values.get(identity.uid))
        if not fixed.complete:
            fixed = await self._recalled(run, identity, fixed, revision, environment, children)
        self._keep(run, fixed)
        return Begun(fixed, revision, environment)

    async def _recalled(
        self,
        run: Object,
        identity: Identity,
        fixed: Pinned,
        revision: Revision,
        environment: Effective | None,
        children: Children,
    ) -> Pinned:
        """The masked values again: one of the run's Jobs has them; else they are resolved as they were at first."""
        values = await children.values(run)
        if not values:
            spec = PipelineRunSpec.model_validate(run["spec"])
            settled = accept.pin(identity, spec, run["metadata"]["creationTimestamp"], revision, environment)
            values = {one.name: one.value for one in settled.parameters} if isinstance(settled, Pinned) else {}
        return accept.remember(fixed, revision, environment, values)

    def _keep(self, run: Object, fixed: Pinned) -> None:
        if any(one.masked for one in fixed.parameters):
            self._values.put(run["metadata"]["uid"], {one.name: one.value for one in fixed.parameters if one.masked})

    async def _environment(self, project: str, name: str, kept: str) -> Effective | None:
        """An environment as it was when a run began."""
        found = await self._revisions.load_environment(project, name, kept)
        if found is not None:
            return found
        held = self._world.environments.get(project, name)
        content = self._tenancy.effective(held)[0] if held is not None else None
        if held is None or content is None or content.revision != kept:
            return None
        await self._revisions.ensure_environment(held, content)
        return content

    async def _made_again(self, project: str, identity: Identity, name: str) -> Revision | None:
        """A revision that was deleted, if its pipeline still has the same content."""
        try:
            pipeline = await self._world.read(PIPELINES, project, identity.pipeline)
        except NotFound:
            return None
        revision, _ = self._revisions.compile(pipeline, await read_templates(self._world, pipeline))
        if revision is None or revision.name != name:
            return None
        await self._revisions.ensure(pipeline, revision)
        return revision


def _same(home: Home | None, other: Home | NotYet | None) -> bool:
    """Whether an environment is what it was, for a run that begins in it."""
    if home is None or not isinstance(other, Home):
        return home is other
    return home.effective.key == other.effective.key and home.effective.revision == other.effective.revision


def _readable(run: Object) -> PipelineRunSpec | Refused:
    """What a run asks for, or why that makes no sense."""
    try:
        return PipelineRunSpec.model_validate(run["spec"])
    except ValidationError as error:
        return Refused(Reason.INVALID, summarise(shape_problems(error)))
