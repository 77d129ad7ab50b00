"""Revisions: the same resolved content is the same revision, whatever it is called and whenever it was written."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from ..api.base import GROUP, parse_duration
from ..api.parameter import Parameter
from ..api.pipeline import Defaults, PipelineSpec
from ..api.step import Retry, Step
from .graph import Dependency, dependencies, placed, step_references, topological
from .items import is_indexed
from .stages import Chains, chains, stages
from .stepfields import Kind, kind_of
from .templating import Reference, references

PIPELINE_LABEL: Final = f"{GROUP}/pipeline"
_HASH_LENGTH: Final = 10
_NOT_RUN: Final = ("history",)
"""Fields that say nothing of what is run: a change of them makes no revision."""
_UNSAID: Final = {"fuse": "Never"}
"""What a revision means that does not say it: it was kept by a release in which that stood where nothing was said."""
_LISTS: Final = ("parameters", "needs", "after", "env", "outputs", "secrets", "with")

Templates = Mapping[str, tuple[Parameter, ...]]
"""The parameters of the step templates that a pipeline uses, by the name of the StepTemplate."""


@dataclass(frozen=True, slots=True)
class Revision:
    """A pipeline's content, fixed.

    Attributes:
        name: of its ControllerRevision, `<pipeline>-<hash>`.
        spec: what is run, its step templates filled in: in them `$(with.x)` is the template's own parameter.
        follows: for each step, in the pipeline's order, what it follows.
        steps: the steps by name, those of `finally` last.
        final: names of those of `finally`.
        order: the names, each behind all that it follows.
        templates: the parameters of the templates that were filled in.
        indexed: names of the steps that are run by one Indexed Job each.
        chains: the stretches of steps of which several may be found to share a pod, whatever made them.
        shared: the stages: names of steps that share a pod from their next attempt on, in their order.
        kinds: what those steps are that have no container; empty in most pipelines.
    """

    name: str
    spec: PipelineSpec
    follows: dict[str, tuple[Dependency, ...]]
    steps: dict[str, Step]
    final: frozenset[str]
    order: tuple[str, ...]
    templates: Templates = field(default_factory=dict)
    kinds: Mapping[str, Kind] = field(default_factory=dict)
    chains: Chains = ()
    shared: Chains = ()
    rest: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Of each step of a stage: itself and those behind it, which its Job runs as well."""

    linked: frozenset[str] = frozenset()
    """The steps of those chains."""

    indexed: frozenset[str] = frozenset()

    def stage(self, name: str) -> tuple[Step, ...]:
        """The steps that the Job of a step may run."""
        return tuple(self.steps[one] for one in self.rest.get(name, (name,)))

    def parameters(self, step: Step) -> tuple[Parameter, ...] | None:
        """The parameters of the template that a step was made of; None where it was made of none."""
        return None if step.template is None else self.templates.get(step.template.object_name, ())

    @property
    def defaults(self) -> Defaults:
        """What a step has that does not say otherwise."""
        return self.spec.defaults or _NO_DEFAULTS

    def image(self, step: Step) -> str:
        """A step's container image."""
        return step.image or self.defaults.image or ""

    def references(self, step: Step) -> list[Reference]:
        """Every template of a step, that of the default image among them where it has none of its own."""
        found = [reference for _, reference in step_references(step)]
        own = step.image is not None or step.name in self.kinds
        return found if own else [*references(self.image(step)), *found]

    def timeout(self, step: Step) -> float | None:
        """How long an attempt at a step may run, in seconds; None without end."""
        limit = step.timeout or self.defaults.timeout
        return None if limit is None else parse_duration(limit)

    def pod_timeout(self, stage: Iterable[Step]) -> int | None:
        """Seconds that the pod of a stage may take at most, its starts included; None where a step has no timeout."""
        whole = 0.0
        for step in stage:
            if (limit := self.timeout(step)) is None:
                return None
            whole += limit + parse_duration(self.start_timeout(step))
        return int(whole + _LATE)

    def start_timeout(self, step: Step) -> str:
        """How long an attempt at a step may wait for its container to start, as it is written."""
        return step.start_timeout or self.defaults.start_timeout

    def retry(self, step: Step) -> Retry:
        """A step's retry policy."""
        return step.retry or self.defaults.retry or _NO_RETRY


_LATE: Final = 30.0
"""Seconds by which an operator may be late to end what it would, before a kubelet does."""
_NO_DEFAULTS: Final = Defaults()
_NO_RETRY: Final = Retry()


def make_revision(pipeline: str, spec: PipelineSpec, templates: Templates | None = None) -> Revision:
    """The revision of a pipeline with this content.

    Args:
        pipeline: its name.
        spec: its spec, step templates filled in.
        templates: the parameters of those templates.
    """
    whole = _whole(spec, templates or {})
    digest = hashlib.sha256(orjson.dumps(whole, option=orjson.OPT_SORT_KEYS)).hexdigest()
    return load_revision(f"{pipeline}-{digest[:_HASH_LENGTH]}", spec, templates)


def load_revision(name: str, spec: PipelineSpec, templates: Templates | None = None) -> Revision:
    """A revision that exists under a name."""
    follows = dependencies(spec)
    final = frozenset(step.name for step in spec.finally_ or ())
    order = topological({step: [one.step for one in before] for step, before in follows.items()})
    ordered = (*(name for name in order if name not in final), *(name for name in order if name in final))
    steps = {step.name: step for _, step in placed(spec)}
    kinds = {step.name: kind for _, step in placed(spec) if (kind := kind_of(step)) is not None}
    linear = chains(spec, follows, steps)
    shared = stages(spec, linear, steps)
    return Revision(
        name,
        spec,
        follows,
        steps,
        final,
        ordered,
        templates or {},
        kinds=kinds,
        chains=linear,
        shared=shared,
        rest={one: stage[index:] for stage in shared for index, one in enumerate(stage)},
        linked=frozenset(name for chain in linear for name in chain),
        indexed=frozenset(name for name, step in steps.items() if is_indexed(step)),
    )


def read_revision(name: str, data: Mapping[str, Any]) -> Revision:
    """A revision as its ControllerRevision keeps it.

    Args:
        name: of the ControllerRevision.
        data: of the same.
    """
    templates = {
        template: tuple(Parameter.model_validate(one) for one in parameters)
        for template, parameters in (data.get("templates") or {}).items()
    }
    return load_revision(name, PipelineSpec.model_validate(_UNSAID | data["spec"]), templates)


def size(spec: PipelineSpec, templates: Templates) -> int:
    """Bytes that a revision of this content takes."""
    return len(orjson.dumps({"spec": content(spec), **_declared(templates)}))


def _whole(spec: PipelineSpec, templates: Templates) -> dict[str, Any]:
    """What the hash of a revision is of."""
    return {**content(spec), **_declared(templates)}


def _declared(templates: Templates) -> dict[str, Any]:
    """The parameters of templates as a revision keeps them; nothing at all where there are no templates."""
    told = {
        name: [one.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_defaults=True) for one in given]
        for name, given in templates.items()
    }
    return {"templates": told} if told else {}


def content(spec: PipelineSpec) -> dict[str, Any]:
    """What a revision stores and its hash is of: what is run, without what equals a default, but for `fuse`."""
    raw = spec.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_defaults=True)
    raw["fuse"] = spec.fuse  # said in any case: what it was where unset has changed once, and revisions do not
    for key in _NOT_RUN:
        raw.pop(key, None)
    for part in (raw, *raw["steps"], *raw.get("finally", ())):
        for key in [key for key in _LISTS if part.get(key) == []]:
            del part[key]  # an empty list says what none says
    return raw


def controller_revision(revision: Revision, pipeline: str, owner_uid: str, number: int) -> dict[str, Any]:
    """The ControllerRevision object that keeps a revision (apps/v1; the API server makes its data immutable).

    Args:
        revision: what to keep.
        pipeline: name of the Pipeline.
        owner_uid: uid of the Pipeline, which takes its revisions along when it is deleted.
        number: position in the pipeline's history, from 1.
    """
    return {
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": {
            "name": revision.name,
            "labels": {PIPELINE_LABEL: pipeline, "app.kubernetes.io/managed-by": "dataops-operator"},
            "ownerReferences": [
                {
                    "apiVersion": f"{GROUP}/v1alpha1",
                    "kind": "Pipeline",
                    "name": pipeline,
                    "uid": owner_uid,
                    "controller": True,
                }
            ],
        },
        "data": {"spec": content(revision.spec), **_declared(revision.templates)},
        "revision": number,
    }
