"""What can be known to be wrong with a step's cache."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ..api.base import parse_duration
from ..api.pipeline import PipelineSpec
from ..api.step import Step
from .images import ImageError, parse_image
from .problems import Problem
from .stepfields import kind_of
from .templating import references

LEAVES: Final = (
    "what the step leaves in the workspace goes with its run, and would be missing; write workspace: None in the step, "
    "use a claim that stays, or remove cache"
)


class CacheError(ValueError):
    """What a step does cannot be told apart from what it did."""


def cache_problems(path: str, step: Step, spec: PipelineSpec) -> Iterator[Problem]:
    """What keeps a step from being cached, whatever the run.

    Args:
        path: of the step.
        step: one that has a container.
        spec: of its pipeline.
    """
    if step.cache is None:
        return
    if parse_duration(step.cache.max_age) == 0:
        yield Problem(f"{path}.cache.maxAge", f"{step.cache.max_age} is no time at all; write at least 1s")
    if step.for_each is not None:
        yield Problem(f"{path}.cache", "a fan-out is not cached; remove cache, or forEach")
    if step in (spec.finally_ or ()):
        yield Problem(f"{path}.cache", "steps of spec.finally always run; remove it")
    if step.template is None and leaves_with_run(spec, step):
        yield Problem(f"{path}.cache", LEAVES)
    if masked := [one.name for one in spec.parameters or () if one.masked]:
        text = f"parameter {masked[0]!r} is masked and would be part of the key, which is shown"
        yield Problem(f"{path}.cache", f"{text}; have the step get it as a secret, or remove cache")
    image = step.image or (spec.defaults.image if spec.defaults is not None else None)
    if image is not None and step.template is None and not any(references(image)):
        try:
            image_digest(image)
        except CacheError as error:
            yield Problem(f"{path}.cache", str(error))
        except ImageError:
            pass  # what a node would say of it is told where it runs


def image_digest(text: str) -> str:
    """The digest of an image: by a tag another image may be meant tomorrow.

    Raises:
        ImageError: it is no image reference.
        CacheError: it has none.
    """
    if (digest := parse_image(text).digest) is None:
        name = text.rpartition(":")[0] if ":" in text.rpartition("/")[2] else text
        raise CacheError(f"image {text!r} is named by a tag, which may be moved; write {name}@sha256:..., or no cache")
    return digest


def leaves_with_run(spec: PipelineSpec, step: Step) -> bool:
    """Whether what a step leaves in its workspace goes with its run.

    Args:
        spec: of the pipeline.
        step: its template filled in.
    """
    own = spec.workspace is not None and spec.workspace.size is not None
    return own and step.workspace != "None" and kind_of(step) is None
