"""What a pipeline's concurrency.key may name."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Final

from ..api.concurrency import Concurrency
from .problems import Problem
from .references import Declared, check_reference
from .templating import NUL, Reference, TemplateError, references

ROOTS: Final = frozenset({"params", "env", "run"})
"""All that is known before a run begins."""


def problems_of(concurrency: Concurrency | None, parameters: Declared, hidden: Collection[str]) -> Iterator[Problem]:
    """What is wrong with a pipeline's bound, whatever the run.

    Args:
        concurrency: of the pipeline.
        parameters: those that the pipeline declares.
        hidden: names of those that it keeps out of sight.
    """
    if concurrency is None or concurrency.key is None:
        return
    path, found = "spec.concurrency.key", list(references(concurrency.key))
    if "\0" in concurrency.key:
        yield Problem(path, NUL)
    if not any(one.path[0] in ROOTS for one in found):
        text = "a key is a template of params, env or run, such as $(params.day); without one, leave key out"
        yield Problem(path, text)
    for reference in found:
        try:
            if reference.path[0] not in ROOTS:
                known = ", ".join(f"$({root}.…)" for root in sorted(ROOTS))
                raise TemplateError(f"{reference.text} is not known before a run begins; a key may name {known}")
            check_reference(reference, parameters, {})
            if reference.path[0] == "params" and reference.path[1] in hidden:
                raise TemplateError(masked(reference))
        except TemplateError as error:
            yield Problem(path, str(error))


def masked(reference: Reference) -> str:
    """Why a key may not name a masked value."""
    return f"{reference.text} is masked, and a key is shown in the status of runs; name another"
