"""What can be known to be wrong with the order of steps: what they follow, their conditions, and `finally`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ..api.parameter import ParameterType
from ..api.pipeline import PipelineSpec
from ..api.step import ForEach, On, Step
from .celtypes import Types, type_problems, types_of
from .expressions import ExpressionError, compile_condition, compile_expression
from .graph import EXPRESSION_ROOTS, OBJECT_ROOTS, dependencies, find_cycle, own_name, placed, step_references
from .items import ITEMS_LIMIT, FanOutError, expand, is_indexed, tolerated
from .problems import Problem, nearest
from .references import Declared, check_name
from .stepfields import kind_conditions, kind_values
from .templating import Reference, TemplateError, references, strings


def flow_problems(spec: PipelineSpec, parameters: Declared, outputs: Mapping[str, frozenset[str]]) -> Iterator[Problem]:
    """What is wrong with the order of a well-formed spec's steps, each with its path and the cure.

    Args:
        spec: the Pipeline's.
        parameters: its parameters.
        outputs: for each step, those of `finally` among them, the outputs that it declares.
    """
    seen: set[str] = set()
    for path, step in placed(spec):
        if step.name in seen:
            yield Problem(f"{path}.name", f"the name {step.name!r} is there already; names are unique")
        seen.add(step.name)
    final = frozenset(step.name for step in spec.finally_ or ())
    others = frozenset(outputs) - final
    types = types_of(spec)
    for path, step in placed(spec):
        yield from _follows(path, step, final if step.name in final else others, final)
        yield from _condition(path, step, parameters, outputs, final, types)
        yield from _unreachable(path, step)
        yield from _no_list(path, step, types)
        for field, reference in step_references(step):
            used = reference.path[1] if reference.path[0] == "steps" and len(reference.path) > 1 else None
            if used in final and step.name not in final:
                text = f"{reference.text}: steps of spec.finally run when all others have ended; remove it"
                yield Problem(f"{path}.{field}", text)
    cycle = find_cycle({name: [one.step for one in before] for name, before in dependencies(spec).items()})
    if cycle is not None:
        path = next(path for path, step in placed(spec) if step.name == cycle[0])
        text = f"steps need each other in a circle: {' -> '.join(cycle)}; remove one of these needs or uses of outputs"
        yield Problem(f"{path}.needs", text)


def _follows(path: str, step: Step, among: frozenset[str], final: frozenset[str]) -> Iterator[Problem]:
    """Steps of `finally` begin when all others have ended, so that each kind follows its own alone."""
    said = [(f"{path}.needs[{index}]", name) for index, name in enumerate(step.needs or ())]
    for index, one in enumerate(step.after or ()):
        where = f"{path}.after[{index}].step"
        if one.step in (step.needs or ()):
            yield Problem(where, f"step {one.step!r} is in needs, too; say once how this step follows it")
        if one.step == step.name:
            yield Problem(where, "a step cannot follow itself; remove it")
        said.append((where, one.step))
    for where, name in said:
        if name in among or name == step.name:
            continue
        if name in final:
            yield Problem(where, f"step {name!r} is one of spec.finally, which begin when all others have ended")
        elif step.name in final and nearest(name, among).startswith("; there"):
            yield Problem(where, f"no step {name!r} in spec.finally, whose steps begin when all others have ended")
        else:
            yield Problem(where, f"no step {name!r}{nearest(name, among)}")


def _condition(
    path: str,
    step: Step,
    parameters: Declared,
    outputs: Mapping[str, frozenset[str]],
    final: frozenset[str],
    types: Types,
) -> Iterator[Problem]:
    said = [("when", step.when)] if step.when is not None else []
    of_objects, values = list(kind_conditions(step)), list(kind_values(step))
    for field, text in (*said, *of_objects, *values):
        try:
            roots = EXPRESSION_ROOTS if field == "when" else OBJECT_ROOTS
            compiled = (compile_expression if (field, text) in values else compile_condition)(text, roots)
        except ExpressionError as error:
            yield Problem(f"{path}.{field}", str(error))
            continue
        for name in compiled.references:
            if (problem := _name(name, parameters, outputs, final, ended=step.name in final)) is not None:
                yield Problem(f"{path}.{field}", problem)
        for problem in type_problems(compiled.tree, text, types):
            yield Problem(f"{path}.{field}", problem)


def _name(
    name: tuple[str, ...],
    parameters: Declared,
    outputs: Mapping[str, frozenset[str]],
    final: frozenset[str],
    *,
    ended: bool,
) -> str | None:
    """What is wrong with a name that an expression of a step uses."""
    if name[0] == "object":
        return None
    if name == ("steps",):
        return 'name the step itself, such as steps["a"]: it tells what to wait for'
    if name[0] == "steps" and len(name) > 1 and name[1] in final and not ended:
        return f"{'.'.join(name)}: steps of spec.finally run when all others have ended; remove it"
    try:
        check_name(name, parameters, outputs, ended=ended)
    except TemplateError as error:
        return str(error)
    return None


def fan_out_problems(path: str, fan: ForEach) -> Iterator[Problem]:
    """What is wrong with what a step fans out over, as far as that can be known before a run."""
    if (fan.items is None) == (fan.range is None):
        yield Problem(path, "a fan-out is over items or over a range; give exactly one")
        return
    if fan.as_ in _TAKEN:
        yield Problem(f"{path}.as", f"{fan.as_!r} is what templates call something else; choose another name")
    try:
        tolerated(fan, ITEMS_LIMIT)
    except FanOutError as error:
        yield Problem(f"{path}.tolerate", str(error).partition(": ")[2])
    if any(True for text in _texts(fan) for _ in references(text)):
        return  # what it is over is known when a run begins, or goes on
    try:
        expand(fan, _unknown)
    except FanOutError as error:
        where, _, text = str(error).partition(": ")
        yield Problem(f"{path}{where.removeprefix('forEach')}", text)


def indexed_problems(path: str, step: Step) -> Iterator[Problem]:
    """What a step says that one Indexed Job cannot do, since it has one template for all items."""
    if not is_indexed(step):
        return
    own = own_name(step)
    for field, reference in step_references(step):
        if reference.path[0] == own and not field.startswith("forEach."):
            text = f"{reference.text}: with forEach.mode Indexed all items have the same fields; have the step read its"
            yield Problem(f"{path}.{field}", f"{text} item from /dataops/item, or set the mode to Jobs")
    if step.retry is not None and step.retry.memory is not None:
        text = "with forEach.mode Indexed all attempts have the same memory; remove it, or set the mode to Jobs"
        yield Problem(f"{path}.retry.memory", text)


def result_problems(path: str, step: Step) -> Iterator[Problem]:
    """Results that nobody takes."""
    if step.results == "Endpoint" and step.for_each is not None:
        text = "items of a fan-out tell their results in /dataops/result alone; remove it, and write locations there"
        yield Problem(f"{path}.results", text)


_TAKEN = frozenset({"params", "env", "steps", "run", "datasets", "targets"})


def _texts(fan: ForEach) -> Iterator[str]:
    ends = (fan.range.from_, fan.range.to) if fan.range is not None else ()
    yield from strings([fan.items, *ends])


def _unknown(reference: Reference) -> object:
    raise TemplateError(reference.text)


def _no_list(path: str, step: Step, types: Types) -> Iterator[Problem]:
    """A fan-out over what will be no list, or a range of what will be no numbers, whatever the run."""
    fan = step.for_each
    ends = fan.range if fan is not None else None
    for end, value in (("from", ends.from_), ("to", ends.to)) if ends is not None else ():
        found = list(references(value)) if isinstance(value, str) else []
        type_ = types.get(found[0].path) if found else None
        if type_ in (ParameterType.ARRAY, ParameterType.OBJECT, ParameterType.BOOLEAN):
            text = f"{value} is of type {type_}, and a range is of whole numbers; name an Integer"
            yield Problem(f"{path}.forEach.range.{end}", text)
    over = fan.items if fan is not None else None
    if not isinstance(over, str) or not (found := list(references(over))):
        return
    type_ = types.get(found[0].path) if found[0].text == over else ParameterType.STRING
    if type_ is not None and type_ is not ParameterType.ARRAY:
        text = f"{over} is of type {type_}, and a fan-out is over a list; name an Array, or write a list of items"
        yield Problem(f"{path}.forEach.items", text)


def _unreachable(path: str, step: Step) -> Iterator[Problem]:
    """Outputs of a step that this one follows only where that has none."""
    without = {one.step: one.on for one in step.after or () if one.on in (On.FAILED, On.SKIPPED)}
    for field, reference in step_references(step):
        if reference.path[0] == "steps" and reference.path[1] in without:
            how = "failed" if without[reference.path[1]] is On.FAILED else "was skipped"
            text = f"{reference.text}: this step follows {reference.path[1]!r} where that {how}: it has no outputs then"
            yield Problem(f"{path}.{field}", text)
