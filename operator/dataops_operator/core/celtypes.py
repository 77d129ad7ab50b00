"""Parts that an expression asks of values which have none: a field of a String, the first of an Integer.

Of parameters and outputs the type is declared, so that this is known when the pipeline is applied. The CEL library is
not told of these types: it would refuse more than is wrong, such as an Integer that is compared with 10.0.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from ..api.parameter import ParameterType
from ..api.pipeline import PipelineSpec
from ..api.step import Step
from .celmessages import place
from .celtree import INDEX, Call, Loop, Node, Outside, Path, walk
from .graph import placed
from .stepfields import APPROVAL_OUTPUTS

Types = Mapping[Path, ParameterType]
"""By the name that an expression uses; what is not among them may be anything."""

_OF_EVERY_RUN: Final[Types] = dict.fromkeys(
    (("run", "name"), ("run", "uid"), ("run", "logicalDate"), ("run", "outcome"), ("env", "name")), ParameterType.STRING
)
_NO_NUMBER: Final = frozenset(ParameterType) - {ParameterType.INTEGER, ParameterType.NUMBER}


def types_of(spec: PipelineSpec) -> Types:
    """What is declared, or is so by its kind, of the names that a pipeline's expressions may use."""
    types = dict(_OF_EVERY_RUN)
    types |= {("params", one.name): one.type for one in spec.parameters or ()}
    for _, step in placed(spec):
        types["steps", step.name, "phase"] = ParameterType.STRING
        types |= {("steps", step.name, "outputs", name): type_ for name, type_ in _outputs(step).items()}
    return types


def _outputs(step: Step) -> dict[str, ParameterType]:
    if step.approval is not None:
        return dict.fromkeys(APPROVAL_OUTPUTS, ParameterType.STRING)
    declared = {one.name: one.type for one in step.outputs or ()}
    return declared if step.for_each is None else dict.fromkeys(declared, ParameterType.ARRAY)


def type_problems(tree: Node, text: str, types: Types) -> Iterator[str]:
    """What an expression asks of values that by their type cannot give it.

    Args:
        tree: of the expression.
        text: of it.
        types: of what it may name.
    """
    for node in walk(tree):
        if isinstance(node, Outside):
            yield from _fields(node, text, types)
        elif isinstance(node, Loop):
            yield from _parts(node.over, text, types)
        elif isinstance(node, Call) and node.function == "@in":
            yield from _parts(node.arguments[1], text, types)
        elif isinstance(node, Call) and node.function == INDEX:
            yield from _element(node.arguments[0], node.arguments[1], text, types)


def _fields(node: Outside, text: str, types: Types) -> Iterator[str]:
    for size in range(2, len(node.path)):
        type_, name = types.get(node.path[:size]), ".".join(node.path[:size])
        if type_ is ParameterType.ARRAY:
            yield f"{name} {place(text, node.at)} is of type Array, whose elements are counted: write {name}[0]"
        elif type_ is not None and type_ is not ParameterType.OBJECT:
            yield f"{name} {place(text, node.at)} is of type {type_} and has no {node.path[size]!r}; use it whole"


def _parts(node: Node, text: str, types: Types) -> Iterator[str]:
    """Whether a value is one that has no parts, be it a list's or a map's."""
    type_ = types.get(node.path) if isinstance(node, Outside) and not node.test else None
    if isinstance(node, Outside) and type_ not in (None, ParameterType.ARRAY, ParameterType.OBJECT):
        yield f"{'.'.join(node.path)} {place(text, node.at)} is of type {type_} and has no parts; use it whole"


def _element(operand: Node, key: Node, text: str, types: Types) -> Iterator[str]:
    yield from _parts(operand, text, types)
    if isinstance(operand, Outside) and types.get(operand.path) is ParameterType.ARRAY and isinstance(key, Outside):
        type_ = types.get(key.path)
        if type_ in _NO_NUMBER:
            said = f"{'.'.join(key.path)} {place(text, key.at)} is of type {type_}"
            yield f"{said}, and the elements of {'.'.join(operand.path)} are counted, from 0; use an Integer"
