"""Stages: which steps that follow one another share a pod.

A stage is a stretch of a chain whose steps may run in one pod, one after the other, without anybody noticing in what
they do: each is the only one behind the one before, nothing has to be decided between the two, and what the pod has,
each of them would have had in a pod of its own. The kubelet begins the next container when the one before has exited
with 0, so what else a success asks for, outputs that are declared, ends a stage.

What a run has to say besides (its environment, an attempt with more memory) is `joint`'s.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ..api.pipeline import Defaults, PipelineSpec
from ..api.podtemplate import PodTemplate
from ..api.step import On, Step
from .graph import Dependency, step_references
from .podtemplate import merged
from .stepfields import kind_of
from .templating import references

LONGEST: Final = 3
"""Steps of a stage: so the result of each keeps its 4 KiB, a third of the 12 KiB that a pod has for what all of its
containers tell, each its share (kubelet, "MaxPodTerminationMessageLogLength")."""

Follows = Mapping[str, tuple[Dependency, ...]]
Chains = tuple[tuple[str, ...], ...]


def chains(spec: PipelineSpec, follows: Follows, steps: Mapping[str, Step]) -> Chains:
    """The stretches of more than one step of which each could share a pod with the one before it, by the graph alone.

    Whatever else lets steps share a pod, here or in another release, every stage is a part of one of these; and of
    their steps one at most is due or under way.

    Args:
        spec: of the pipeline, its step templates filled in.
        follows: for each step, in the pipeline's order, what it follows.
        steps: by name.
    """
    before = _links(spec, follows, steps)
    after = {one: name for name, one in before.items()}
    found = []
    for first in after:
        if first in before:
            continue
        chain = [first]
        while chain[-1] in after:
            chain.append(after[chain[-1]])
        found.append(tuple(chain))
    return tuple(found)


def stages(spec: PipelineSpec, among: Chains, steps: Mapping[str, Step]) -> Chains:
    """The stages of more than one step.

    Args:
        spec: of the pipeline, its step templates filled in.
        among: the chains of its graph.
        steps: by name.
    """
    if not any((step.fuse or spec.fuse) == "Auto" for step in steps.values()):
        return ()
    found = []
    for chain in among:
        parts = [[steps[chain[0]]]]
        for name in chain[1:]:
            part, step = parts[-1], steps[name]
            if len(part) < LONGEST and _together(spec, part[-1], step):
                part.append(step)
            else:
                parts.append([step])
        found += [tuple(step.name for step in part) for part in parts if len(part) > 1]
    return tuple(found)


def _links(spec: PipelineSpec, follows: Follows, steps: Mapping[str, Step]) -> dict[str, str]:
    """For each step that follows one other, where nothing else does and nothing is decided between, that one."""
    followers: dict[str, list[str]] = {}
    for name, before in follows.items():
        for one in before:
            followers.setdefault(one.step, []).append(name)
    final = {step.name for step in spec.finally_ or ()}
    out: dict[str, str] = {}
    for name, before in follows.items():
        if len(before) != 1 or before[0].on is not On.SUCCEEDED or before[0].step not in steps:
            continue
        first = before[0].step
        alone = followers[first] == [name] and not {first, name} & final
        if alone and _plain(steps[first]) and _plain(steps[name]):
            out[name] = first
    return out


def _plain(step: Step) -> bool:
    """Whether a step is one container whose exit with 0 is all that can be asked of it, and nothing comes before it."""
    asked = step.when is not None or step.for_each is not None or step.cache is not None
    return not asked and kind_of(step) is None and step.results != "Endpoint"


def _together(spec: PipelineSpec, one: Step, then: Step) -> bool:
    """Whether a step and the one behind it may share a pod: what the pod has for one is what the other would have."""
    if one.outputs or any((step.fuse or spec.fuse) != "Auto" for step in (one, then)):
        return False
    defaults = spec.defaults or Defaults()
    pod = merged(one.pod_template, defaults.pod_template)
    if pod != merged(then.pod_template, defaults.pod_template) or _scratch(pod):
        return False
    if (one.resources or defaults.resources) != (then.resources or defaults.resources):
        return False
    if spec.workspace is not None and (one.workspace == "None") != (then.workspace == "None"):
        return False
    return _reach(one, defaults) == _reach(then, defaults)


def _scratch(pod: PodTemplate | None) -> bool:
    """Whether something is mounted that begins empty in each pod: the second step would find what the first left."""
    if pod is None:
        return False
    mounted = {mount.name for mount in pod.volume_mounts or ()}
    return any(volume.empty_dir is not None and volume.name in mounted for volume in pod.volumes or ())


def _reach(step: Step, defaults: Defaults) -> tuple[frozenset[str], frozenset[str]]:
    """The secrets that a step uses, and the targets: credentials are at hand for as long as its pod lasts."""
    used = [reference for _, reference in step_references(step)]
    if step.image is None:
        used += references(defaults.image or "")
    targets = (reference.path[1] for reference in used if reference.path[0] == "targets")
    return frozenset(one.name for one in step.secrets or ()), frozenset(targets)
