"""What a template may name: held against the pipeline when that is applied, and against the environment of a run."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from difflib import get_close_matches
from typing import Final

from .parameters import RunContext
from .targets import ATTRIBUTES
from .templating import Reference, TemplateError

SAMPLE_RUN: Final = RunContext("run", "00000000-0000-0000-0000-000000000000", "2013-02-09T00:00:00Z")
_NOT_YET: Final = {"datasets": "datasets"}


def check_reference(
    reference: Reference,
    parameters: frozenset[str],
    outputs: Mapping[str, frozenset[str]],
    *,
    ended: bool = False,
    own: str | None = None,
) -> None:
    """Hold a template against what the pipeline declares.

    Which parameters and targets an environment has is known when a run begins there; here only their shape is.

    Args:
        reference: the template.
        parameters: names of the pipeline's parameters.
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
        if rest[0] not in parameters:
            raise TemplateError(f"{reference.text}: no parameter {rest[0]!r}{nearest(rest[0], parameters)}")
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
    name: tuple[str, ...], parameters: frozenset[str], outputs: Mapping[str, frozenset[str]], *, ended: bool
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
    else:
        check_reference(Reference(text, name), parameters, outputs, ended=ended)


def _check_output(reference: Reference, rest: list[str], outputs: Mapping[str, frozenset[str]]) -> None:
    if rest[0] not in outputs:
        raise TemplateError(f"{reference.text}: no step {rest[0]!r}{nearest(rest[0], outputs)}")
    if len(rest) < 3 or rest[1] != "outputs":
        raise TemplateError(f"{reference.text}: write $(steps.{rest[0]}.outputs.<name>)")
    if rest[2] not in outputs[rest[0]]:
        raise TemplateError(
            f"{reference.text}: step {rest[0]!r} declares no output {rest[2]!r}{nearest(rest[2], outputs[rest[0]])}"
        )


def nearest(name: str, known: Collection[str]) -> str:
    """What may have been meant by a name, as the end of a message."""
    if close := get_close_matches(name, known, 1):
        return f"; did you mean {close[0]!r}?"
    return f"; there are: {', '.join(sorted(known)[:10])}" if known else "; there are none"
