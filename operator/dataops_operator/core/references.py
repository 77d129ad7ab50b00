"""What a template may name: held against the pipeline when that is applied, and against the environment of a run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

from ..api.parameter import Parameter, ParameterType
from .parameters import RunContext
from .places import ATTRIBUTES
from .problems import nearest
from .templating import Reference, TemplateError

SAMPLE_RUN: Final = RunContext("run", "00000000-0000-0000-0000-000000000000", "2013-02-09T00:00:00Z")
_NOT_YET: Final = {"datasets": "datasets"}

Declared = Mapping[str, ParameterType]
"""The types of the parameters that templates may name, by name."""


NONE: Final[Declared] = MappingProxyType({})


def declared(parameters: Iterable[Parameter] | None) -> Declared:
    """The types of parameters, by name."""
    return {one.name: one.type for one in parameters or ()}


def check_reference(
    reference: Reference,
    parameters: Declared,
    outputs: Mapping[str, frozenset[str]],
    *,
    ended: bool = False,
    own: str | None = None,
) -> None:
    """Hold a template against what the pipeline declares.

    Which parameters and targets an environment has is known when a run begins there; here only their shape is.

    Args:
        reference: the template.
        parameters: the pipeline's.
        outputs: what each step declares.
        ended: whether it is filled in when the run's steps have ended, so that there is an outcome.
        own: what an item of the step's fan-out is called; None where it has none, or it is not known yet.

    Raises:
        TemplateError: no such name; the message says what there is.
    """
    root, *rest = reference.path
    if root == own:
        return
    if root == "item":
        called = f"an item of this step is called $({own})" if own else "only steps with forEach have items"
        raise TemplateError(f"{reference.text}: {called}; write that, or ${reference.text} for the text itself")
    if root == "run":
        _check_run(reference, ended=ended)
    elif root == "params":
        _check_parameter(reference, rest, parameters)
    elif root == "steps":
        _check_output(reference, rest, outputs)
    elif root == "env":
        _check_environment(reference)
    elif root == "targets":
        if len(rest) != 2:
            raise TemplateError(f"{reference.text}: write $(targets.{rest[0]}.url), or another attribute of it")
        if rest[1] not in ATTRIBUTES:
            raise TemplateError(f"{reference.text}: no target has {rest[1]!r}{nearest(rest[1], ATTRIBUTES)}")
    elif root == "with":
        name = ".".join(rest)
        raise TemplateError(
            f"{reference.text}: a template's parameter is written $(params.{name}), in the template; "
            f"mend it, or write ${reference.text} for the text itself"
        )
    else:
        raise TemplateError(
            f"{reference.text}: there is nothing under {root!r} here, since the pipeline has no {_NOT_YET[root]}; "
            f"remove it, or write ${reference.text} for the text itself"
        )


def _check_parameter(reference: Reference, rest: list[str], parameters: Declared) -> None:
    name = rest[0]
    if name not in parameters:
        raise TemplateError(f"{reference.text}: no parameter {name!r}{nearest(name, parameters)}")
    type_ = parameters[name]
    if len(rest) > 1 and type_ not in (ParameterType.ARRAY, ParameterType.OBJECT):
        a = "an" if type_ is ParameterType.INTEGER else "a"
        raise TemplateError(
            f"{reference.text}: parameter {name!r} is {a} {type_}, which has no parts; write $(params.{name})"
        )


def _check_run(reference: Reference, *, ended: bool) -> None:
    if reference.path != ("run", "outcome"):
        SAMPLE_RUN.resolve(reference)
    elif not ended:
        raise TemplateError(f"{reference.text}: a run has an outcome only for the steps of spec.finally; remove it")


def _check_environment(reference: Reference) -> None:
    rest = reference.path[1:]
    if rest != ("name",) and (rest[0] != "params" or len(rest) == 1):
        raise TemplateError(f"{reference.text}: write $(env.name) or $(env.params.<name>)")


def check_name(
    name: tuple[str, ...], parameters: Declared, outputs: Mapping[str, frozenset[str]], *, ended: bool
) -> None:
    """Hold a name that a condition uses against what the pipeline declares; as check_reference does for templates.

    Raises:
        TemplateError: no such name; the message says what there is.
    """
    text = ".".join(name)
    if len(name) == 1:
        return  # what of it is used is known when it is evaluated
    if name[0] == "steps":
        if name[1] not in outputs:
            raise TemplateError(f"{text}: no step {name[1]!r}{nearest(name[1], outputs)}")
        if len(name) == 2 or name[2] == "phase" or name[2:] == ("outputs",):
            return
        if name[2] != "outputs":
            raise TemplateError(f"{text}: write steps.{name[1]}.outputs.<name> or steps.{name[1]}.phase")
        if name[3] not in outputs[name[1]]:
            known = outputs[name[1]]
            raise TemplateError(f"{text}: step {name[1]!r} declares no output {name[3]!r}{nearest(name[3], known)}")
    elif name == ("env", "params"):
        return
    else:  # whether a value has parts is told by its type, in the condition's own words
        checked = name[:2] if name[0] == "params" else name
        check_reference(Reference(text, checked), parameters, outputs, ended=ended)


def _check_output(reference: Reference, rest: list[str], outputs: Mapping[str, frozenset[str]]) -> None:
    if rest[0] not in outputs:
        raise TemplateError(f"{reference.text}: no step {rest[0]!r}{nearest(rest[0], outputs)}")
    if len(rest) < 3 or rest[1] != "outputs":
        raise TemplateError(f"{reference.text}: write $(steps.{rest[0]}.outputs.<name>)")
    if rest[2] not in outputs[rest[0]]:
        raise TemplateError(
            f"{reference.text}: step {rest[0]!r} declares no output {rest[2]!r}{nearest(rest[2], outputs[rest[0]])}"
        )
