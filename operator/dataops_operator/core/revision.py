"""Revisions: the same resolved content is the same revision, whatever it is called and whenever it was written."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, Final

import orjson

from ..api.base import GROUP
from ..api.pipeline import Defaults, PipelineSpec
from ..api.step import Retry, Step
from .graph import dependencies

PIPELINE_LABEL: Final = f"{GROUP}/pipeline"
_HASH_LENGTH: Final = 10
_NOT_RUN: Final = ("history",)
"""Fields that say nothing of what is run: a change of them makes no revision."""
_LISTS: Final = ("parameters", "needs", "env", "outputs", "secrets")


@dataclass(frozen=True, slots=True)
class Revision:
    """A pipeline's content, fixed.

    Attributes:
        name: of its ControllerRevision, `<pipeline>-<hash>`.
        spec: what is run.
        needs: for each step, in order, the steps that must have succeeded before it.
        steps: the steps by name.
    """

    name: str
    spec: PipelineSpec
    needs: dict[str, tuple[str, ...]]
    steps: dict[str, Step]

    @property
    def defaults(self) -> Defaults:
        """What a step has that does not say otherwise."""
        return self.spec.defaults or _NO_DEFAULTS

    def image(self, step: Step) -> str:
        """A step's container image."""
        return step.image or self.defaults.image or ""

    def retry(self, step: Step) -> Retry:
        """A step's retry policy."""
        return step.retry or self.defaults.retry or _NO_RETRY


_NO_DEFAULTS: Final = Defaults()
_NO_RETRY: Final = Retry()


def make_revision(pipeline: str, spec: PipelineSpec) -> Revision:
    """The revision of a pipeline with this content."""
    digest = hashlib.sha256(orjson.dumps(content(spec), option=orjson.OPT_SORT_KEYS)).hexdigest()
    return load_revision(f"{pipeline}-{digest[:_HASH_LENGTH]}", spec)


def load_revision(name: str, spec: PipelineSpec) -> Revision:
    """A revision that exists under a name."""
    return Revision(name, spec, dependencies(spec), {step.name: step for step in spec.steps})


def content(spec: PipelineSpec) -> dict[str, Any]:
    """What a revision stores and its hash is of: what is run, without what equals a default."""
    raw = spec.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_defaults=True)
    for key in _NOT_RUN:
        raw.pop(key, None)
    for part in (raw, *raw["steps"]):
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
        "data": {"spec": content(revision.spec)},
        "revision": number,
    }
