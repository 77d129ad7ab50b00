"""How many runs of a pipeline may be under way at once, and with which others a run counts together."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final

from ..api.concurrency import Concurrency, Policy
from .inputs import Inputs
from .keyrules import masked
from .templating import Reference, TemplateError, as_text, fill_value, references, strings

KEY_LIMIT: Final = 253
"""Characters of a key: it stands in the status of each run."""


@dataclass(frozen=True, slots=True)
class Bound:
    """What bounds a run among those of its pipeline.

    Attributes:
        limit: how many may be under way at once; None where nothing bounds them.
        key: with which others the run counts; None counts with all of the pipeline.
        refuse: whether a run for which there is no place is refused; else it waits.
    """

    limit: int | None = None
    key: str | None = None
    refuse: bool = False


UNBOUND: Final = Bound()


class UnusableKeyError(ValueError):
    """A key that cannot be made."""


def without_key(concurrency: Concurrency | None) -> Bound | None:
    """What bounds every run of a pipeline alike; None where it depends on the run."""
    if concurrency is None:
        return UNBOUND
    if concurrency.key is not None:
        return None
    return Bound(concurrency.limit, None, concurrency.policy is Policy.REFUSE)


def of_run_before(concurrency: Concurrency, key: str, given: Collection[str], date: str | None) -> Bound | None:
    """What bounds a run that does another again, by the key of that one; None where it may have another key.

    Args:
        concurrency: of the revision that both execute.
        key: of the run before.
        given: names of the parameters that the new run gives itself.
        date: the time that it is to stand for, where it says that itself.
    """
    for reference in references(concurrency.key or ""):
        root, *rest = reference.path
        if root == "params" and rest[0] in given:
            return None
        if root == "run" and (rest != ["logicalDate"] or date is not None):
            return None
    return Bound(concurrency.limit, key, concurrency.policy is Policy.REFUSE)


def bound(inputs: Inputs) -> Bound:
    """What bounds a run with these values.

    Raises:
        UnusableKeyError: no key can be made of them; the message has the cure.
    """
    concurrency = inputs.revision.spec.concurrency
    if concurrency is None or concurrency.key is None:
        return without_key(concurrency) or UNBOUND
    try:
        for reference in references(concurrency.key):
            if hides(inputs, reference):
                raise TemplateError(masked(reference))
        key = as_text(fill_value(concurrency.key, inputs.resolver({})))
    except TemplateError as error:
        raise UnusableKeyError(str(error)) from None
    if len(key) > KEY_LIMIT:
        raise UnusableKeyError(
            f"the key has {len(key)} characters, and at most {KEY_LIMIT} are kept; name a shorter value"
        )
    return Bound(concurrency.limit, key, concurrency.policy is Policy.REFUSE)


def key_of(inputs: Inputs) -> str | None:
    """The key of a run that was accepted with these values."""
    try:
        return bound(inputs).key
    except UnusableKeyError:
        return None  # accepted by another release, which took it


def first_hidden(inputs: Inputs, value: Any) -> Reference | None:
    """The first template in a value that names something masked; None where none does."""
    named = (reference for text in strings(value) for reference in references(text))
    return next((reference for reference in named if hides(inputs, reference)), None)


def hides(inputs: Inputs, reference: Reference) -> bool:
    """Whether what a template names is masked."""
    root, *rest = reference.path
    if root == "params":
        return any(one.masked for one in inputs.parameters if one.name == rest[0])
    if root == "env" and rest[0] == "params" and inputs.environment is not None:
        held = inputs.environment.parameters.get(rest[1])
        return held is not None and held.masked
    return False
