"""Stages: which steps that follow one another share a pod.

A stage is a stretch of a chain whose steps may run in one pod, one after the other, without anybody noticing in what
they do: each is the only one behind the one before, and nothing has to be decided between the two. The kubelet begins
the next container when the one before has exited with 0, so what else a success asks for, outputs that are declared,
ends a stage.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ..api.pipeline import PipelineSpec
from ..api.step import On, Step
from .graph import Dependency, step_references
from .podtemplate import merged
from .stepfields import kind_of

LONGEST: Final = 8
"""Steps of a stage; each failure's message gets its share of the 12 KiB that a pod has for all of them."""
LONGEST_WITH_OUTPUTS: Final = 3
"""Steps of a stage whose last one declares outputs: so its result keeps its 4 KiB, a third of what a pod has."""

Follows = Mapping[str, tuple[Dependency, ...]]


def stages(spec: PipelineSpec, follows: Follows, steps: Mapping[str, Step]) -> tuple[tuple[str, ...], ...]:
    """The stages of more than one step.

    Args:
        spec: of the pipeline, its step templates filled in.
        follows: for each step, in the pipeline's order, what it follows.
        steps: by name.
    """
    if not any((step.fuse or spec.fuse) == "Auto" for step in steps.values()):
        return ()
    before = _joined(spec, follows, steps)
    after = {one: name for name, one in before.items()}
    found = []
    for name in follows:
        if name in before:
            continue
        chain = [name]
        while chain[-1] in after:
            chain.append(after[chain[-1]])
        found += _parts(chain, steps)
    return tuple(part for part in found if len(part) > 1)


def _joined(spec: PipelineSpec, follows: Follows, steps: Mapping[str, Step]) -> dict[str, str]:
    """For each step that may share a pod with the one before it, that one."""
    followers: dict[str, list[str]] = {}
    for name, before in follows.items():
        for one in before:
            followers.setdefault(one.step, []).append(name)
    final = {step.name for step in spec.finally_ or ()}
    out: dict[str, str] = {}
    for name, before in follows.items():
        if len(before) != 1 or before[0].on is not On.SUCCEEDED or before[0].step not in steps:
            continue
        first, second = steps[before[0].step], steps[name]
        alone = followers[first.name] == [name] and not {first.name, name} & final
        if alone and not first.outputs and _may(spec, first) and _may(spec, second) and _alike(spec, first, second):
            out[name] = first.name
    return out


def _may(spec: PipelineSpec, step: Step) -> bool:
    """Whether a step may share a pod at all."""
    plain = step.when is None and step.for_each is None and kind_of(step) is None
    plain = plain and step.results != "Endpoint" and step.cache is None
    return plain and (step.fuse or spec.fuse) == "Auto"


def _alike(spec: PipelineSpec, one: Step, other: Step) -> bool:
    """Whether two steps say the same about their pod."""
    defaults = spec.defaults.pod_template if spec.defaults is not None else None
    return merged(one.pod_template, defaults) == merged(other.pod_template, defaults)


def _parts(chain: list[str], steps: Mapping[str, Step]) -> list[tuple[str, ...]]:
    """A chain in parts that are short enough."""
    out: list[list[str]] = []
    for name in chain:
        if out and len(out[-1]) < _room([*(steps[one] for one in out[-1]), steps[name]]):
            out[-1].append(name)
        else:
            out.append([name])
    return [tuple(part) for part in out]


def _room(part: list[Step]) -> int:
    """How many steps a stage with these may have."""
    if not part[-1].outputs:
        return LONGEST
    # Where pods read their secrets themselves, what does so takes a share of the messages, too.
    return LONGEST_WITH_OUTPUTS - any(map(_secretive, part))


def _secretive(step: Step) -> bool:
    return bool(step.secrets) or any(reference.path[0] == "targets" for _, reference in step_references(step))
