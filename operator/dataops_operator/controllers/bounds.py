"""What bounds a run that was not looked at: known by the caches alone, so that it has its place in line at once."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from ..api.run import PipelineRunSpec
from ..core import accept
from ..core.accept import Refused
from ..core.concurrency import UNBOUND, Bound, UnusableKeyError, bound, of_run_before, without_key
from ..core.inputs import Identity
from ..core.revision import Revision
from .revisions import Revisions
from .steptemplate import held_templates
from .tenancy import Home, Tenancy
from .world import Object, World


def bound_of(world: World, revisions: Revisions, tenancy: Tenancy, run: Object) -> Bound:
    """What bounds a run that was not looked at, as far as it can be known without a request.

    Of a run that is done again the cache keeps the revision and the key, not the values.
    """
    meta = run["metadata"]
    home = tenancy.of(meta["namespace"])
    environment = home.effective if isinstance(home, Home) else None
    try:
        spec = PipelineRunSpec.model_validate(run["spec"])
    except ValidationError:
        return UNBOUND
    project = environment.project if environment is not None else meta["namespace"]
    before = _before(world, meta["namespace"], spec)
    revision = _revision(world, revisions, project, spec, before)
    if revision is None:
        return UNBOUND
    concurrency = revision.spec.concurrency
    if (alike := without_key(concurrency)) is not None or concurrency is None:
        return alike or UNBOUND
    if before.get("revision") == revision.name and isinstance(key := before.get("concurrencyKey"), str):
        same = of_run_before(concurrency, key, {one.name for one in spec.parameters or ()}, spec.logical_date)
        if same is not None:
            return same
    identity = Identity(meta["namespace"], meta["name"], meta["uid"], spec.pipeline)
    fixed = accept.pin(identity, spec, meta["creationTimestamp"], revision, environment)
    if isinstance(fixed, Refused):
        return UNBOUND
    try:
        return bound(accept.inputs(identity, revision, fixed, world.settings.runner, environment))
    except UnusableKeyError:
        return UNBOUND


def _before(world: World, namespace: str, spec: PipelineRunSpec) -> dict[str, Any]:
    """The status of the run that is done again, as the cache has it; empty where there is none."""
    old = world.runs.get(namespace, spec.rerun.of) if spec.rerun is not None else None
    return dict(old["status"]) if old is not None and old["spec"]["pipeline"] == spec.pipeline else {}


def _revision(
    world: World, revisions: Revisions, project: str, spec: PipelineRunSpec, before: Object
) -> Revision | None:
    """What the run will execute: the revision that it names, else that of the run before, else the present one."""
    if spec.revision is not None:
        return revisions.known(project, spec.pipeline, spec.revision)
    kept = before.get("revision")
    if isinstance(kept, str) and (found := revisions.known(project, spec.pipeline, kept)) is not None:
        return found
    pipeline = world.pipelines.get(project, spec.pipeline)
    return revisions.compile(pipeline, held_templates(world, pipeline))[0] if pipeline is not None else None
