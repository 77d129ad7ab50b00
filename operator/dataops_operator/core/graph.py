"""The order of steps: what each needs, said or implied by the outputs it uses, and cycles."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ..api.pipeline import PipelineSpec
from ..api.step import Step
from .templating import Reference, references, strings


def templated_fields(step: Step) -> Iterator[tuple[str, str]]:
    """Every field of a step in which templates are filled in, as (path below the step, text)."""
    if step.image is not None:
        yield "image", step.image
    for field, values in (("command", step.command), ("args", step.args)):
        for index, text in enumerate(values or ()):
            yield f"{field}[{index}]", text
    for index, variable in enumerate(step.env or ()):
        yield f"env[{index}].value", variable.value
    for index, given in enumerate(step.with_ or ()):
        for text in strings(given.value):
            yield f"with[{index}].value", text


def step_references(step: Step) -> Iterator[tuple[str, Reference]]:
    """Every template of a step, as (path below the step, reference)."""
    for path, text in templated_fields(step):
        for reference in references(text):
            yield path, reference


def dependencies(spec: PipelineSpec) -> dict[str, tuple[str, ...]]:
    """For each step, in order, the steps that must have succeeded before it: its needs, then those implied."""
    out: dict[str, tuple[str, ...]] = {}
    for step in spec.steps:
        needed = dict.fromkeys(step.needs or ())
        for _, reference in step_references(step):
            if reference.path[0] == "steps" and len(reference.path) > 1:
                needed.setdefault(reference.path[1])
        out[step.name] = tuple(needed)
    return out


def find_cycle(needs: Mapping[str, Sequence[str]]) -> list[str] | None:
    """One cycle as the steps along it, the first repeated at the end; None where there is none.

    Unknown names are passed over: they are an error of their own. Iterative, since 1,000 steps may form one chain.
    """
    done: set[str] = set()
    for root in needs:
        if root in done:
            continue
        trail: list[str] = [root]
        on_trail = {root}
        pending = [iter(needs[root])]
        while pending:
            following = next(pending[-1], None)
            if following is None:
                pending.pop()
                finished = trail.pop()
                on_trail.discard(finished)
                done.add(finished)
            elif following in on_trail:
                return [*trail[trail.index(following) :], following]
            elif following in needs and following not in done:
                trail.append(following)
                on_trail.add(following)
                pending.append(iter(needs[following]))
    return None
