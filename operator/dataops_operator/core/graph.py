"""The order of steps: what each follows, said or implied by what it uses, and cycles."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ..api.pipeline import PipelineSpec
from ..api.step import On, Step
from .expressions import ExpressionError, compile_expression
from .stepfields import kind_conditions, kind_fields, kind_values
from .templating import Reference, references, strings


@dataclass(frozen=True, slots=True)
class Dependency:
    """A step that has to have ended before another begins.

    Attributes:
        step: its name.
        on: how it has to have ended.
    """

    step: str
    on: On = On.SUCCEEDED


def placed(spec: PipelineSpec) -> Iterator[tuple[str, Step]]:
    """Every step, those of `finally` last, each with its path, such as `spec.steps[0]`."""
    for index, step in enumerate(spec.steps):
        yield f"spec.steps[{index}]", step
    for index, step in enumerate(spec.finally_ or ()):
        yield f"spec.finally[{index}]", step


def own_name(step: Step) -> str:
    """What an item of the step's fan-out is called in its templates."""
    return step.for_each.as_ if step.for_each is not None else "item"


def templated_fields(step: Step) -> Iterator[tuple[str, str]]:
    """Every field of a step in which templates are filled in, as (path below the step, text)."""
    if step.image is not None:
        yield "image", step.image
    for field, values in (("command", step.command), ("args", step.args)):
        for index, text in enumerate(values or ()):
            yield f"{field}[{index}]", text
    for index, variable in enumerate(step.env or ()):
        yield f"env[{index}].value", variable.value
    if step.cache is not None:
        for index, text in enumerate(step.cache.inputs or ()):
            yield f"cache.inputs[{index}]", text
    for index, given in enumerate(step.with_ or ()):
        for text in strings(given.value):
            yield f"with[{index}].value", text
    yield from kind_fields(step)


def step_references(step: Step) -> Iterator[tuple[str, Reference]]:
    """Every template of a step, as (path below the step, reference)."""
    own = own_name(step)
    for path, text in templated_fields(step):
        for reference in references(text, own):
            yield path, reference
    for path, text in _of_items(step):
        for reference in references(text):
            yield path, reference


def _of_items(step: Step) -> Iterator[tuple[str, str]]:
    """The texts of what a step fans out over."""
    if step.for_each is None:
        return
    if step.for_each.range is not None:
        for field, end in (("from", step.for_each.range.from_), ("to", step.for_each.range.to)):
            if isinstance(end, str):
                yield f"forEach.range.{field}", end
    for text in strings(step.for_each.items):
        yield "forEach.items", text


EXPRESSION_ROOTS = frozenset({"params", "env", "steps", "run"})
"""What a condition of a step may name."""
OBJECT_ROOTS = EXPRESSION_ROOTS | {"object"}
"""What a condition over an object may name."""


def condition_references(step: Step) -> tuple[tuple[str, ...], ...]:
    """The names that a step's conditions use; none of one that cannot be read, which is a problem of its own."""
    found = _names(step.when, EXPRESSION_ROOTS) if step.when is not None else ()
    for _, text in (*kind_conditions(step), *kind_values(step)):
        found += _names(text, OBJECT_ROOTS)
    return found


def _names(text: str, roots: frozenset[str]) -> tuple[tuple[str, ...], ...]:
    try:
        return compile_expression(text, roots).references
    except ExpressionError:
        return ()


def dependencies(spec: PipelineSpec) -> dict[str, tuple[Dependency, ...]]:
    """For each step, in order, what it follows: what its `needs` and `after` say, then what is implied by its use.

    A step whose outputs or whose end another uses is needed by it, unless that says itself how it follows.
    """
    final = {step.name for step in spec.finally_ or ()}
    out: dict[str, tuple[Dependency, ...]] = {}
    for _, step in placed(spec):
        found = {name: Dependency(name) for name in step.needs or ()}
        found |= {one.step: Dependency(one.step, one.on) for one in step.after or ()}
        used = [reference.path for _, reference in step_references(step)] + list(condition_references(step))
        for path in used:
            # Those of `finally` begin when all others have ended, in whatever way.
            if path[0] == "steps" and len(path) > 1 and (step.name not in final or path[1] in final):
                found.setdefault(path[1], Dependency(path[1]))
        out[step.name] = tuple(found.values())
    return out


def find_cycle(needs: Mapping[str, Sequence[str]]) -> list[str] | None:
    """One cycle as the steps along it, the first repeated at the end; None where there is none.

    Unknown names are passed over: they are an error of their own. Iterative, since 1,000 steps may form one chain.
    """
    done: dict[str, None] = {}
    for root in needs:
        if root not in done and (cycle := _walk(root, needs, done)) is not None:
            return cycle
    return None


def topological(needs: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """The steps, each behind all that it follows, otherwise in the given order; of a graph without cycles."""
    done: dict[str, None] = {}
    for root in needs:
        if root not in done:
            _walk(root, needs, done)
    return tuple(done)


def _walk(root: str, needs: Mapping[str, Sequence[str]], done: dict[str, None]) -> list[str] | None:
    """Go through all that a step follows, noting each as done behind what it follows; a cycle ends the walk."""
    trail: list[str] = [root]
    on_trail = {root}
    pending = [iter(needs[root])]
    while pending:
        following = next(pending[-1], None)
        if following is None:
            pending.pop()
            finished = trail.pop()
            on_trail.discard(finished)
            done[finished] = None
        elif following in on_trail:
            return [*trail[trail.index(following) :], following]
        elif following in needs and following not in done:
            trail.append(following)
            on_trail.add(following)
            pending.append(iter(needs[following]))
    return None
