"""What the names in one step stand for: the pipeline's own, and in a step made of a template the template's parameters.

A template's parameter has the value that `with` gives it, in which the pipeline's templates are filled in, else its own
default. So of the run, the environment, the pipeline and the template the first that says something is heard. A value
is read by the parameter's type before it stands anywhere, and what is filled in is never looked at again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import orjson

from ..api.parameter import Parameter
from ..api.step import Step
from .parameters import Resolved, RunContext, check
from .problems import Problem
from .templating import Reference, TemplateError, descend, fill_deep, references, strings

ROOT: Final = "with"
"""Where the parameters of a template are found in a step that was made of it."""
KNOWN_EARLY: Final = frozenset({"params", "env", "run", "targets"})
"""Roots of what is known when a run begins."""
TOTAL_LIMIT: Final = 48 * 1024
"""Bytes of all values of one step as JSON: they travel in an annotation beside the run's own and the script."""

Resolve = Callable[[Reference], Any]


class Scope:
    """The names of one step."""

    def __init__(
        self,
        step: Step,
        declared: tuple[Parameter, ...],
        resolve: Resolve,
        context: RunContext,
        outer: Mapping[str, Resolved],
    ) -> None:
        """The names of a step that was made of a template.

        Args:
            step: with its `with`.
            declared: the template's parameters.
            resolve: what the pipeline's own names stand for.
            context: what `$(run.…)` stands for in a default.
            outer: the run's parameters, and as `env.<name>` the environment's: for origins and masks.
        """
        self._given = {one.name: (index, one.value) for index, one in enumerate(step.with_ or ())}
        self._declared = {one.name: one for one in declared}
        self._resolve = resolve
        self._context = context
        self._outer = outer
        self._own = step.for_each.as_ if step.for_each is not None else "item"
        self._found: dict[str, Resolved] = {}

    def resolve(self, reference: Reference) -> Any:
        """The value of a template in the step.

        Raises:
            TemplateError: there is no such value, or it does not fit the template's parameter.
        """
        if reference.path[0] != ROOT:
            return self._resolve(reference)
        return descend(self.value(reference.path[1]).value, reference.path[2:], reference.text)

    def value(self, name: str) -> Resolved:
        """One parameter of the template with its value.

        Raises:
            TemplateError: it has none, or one that does not fit.
        """
        if name not in self._found:
            self._found[name] = self._bind(name)
        return self._found[name]

    def values(self) -> tuple[Resolved, ...]:
        """All parameters of the template, in its order.

        Raises:
            TemplateError: one has no value that fits, or all are together too large.
        """
        found = tuple(self.value(name) for name in self._declared)
        if sum(len(orjson.dumps(one.value)) for one in found) > TOTAL_LIMIT:
            raise TemplateError(
                f"with: all values together are larger than {TOTAL_LIMIT // 1024} KiB; pass a location instead"
            )
        return found

    def known(self) -> Iterator[Resolved]:
        """Those parameters whose values can be known now."""
        for name in self._declared:
            try:
                yield self.value(name)
            except TemplateError:
                continue

    def early_problems(self) -> Iterator[Problem]:
        """What is wrong with values that are known when a run begins, by their path below the step."""
        for name, (index, value) in self._given.items():
            roots = {one.path[0] for text in strings(value) for one in references(text)}
            if name in self._declared and roots and roots <= KNOWN_EARLY:
                try:
                    self.value(name)
                except TemplateError as error:
                    yield Problem(f"with[{index}].value", str(error))

    def origin(self, name: str) -> str:
        """Where a parameter's value comes from: Run, Environment, Pipeline, Step (an output) or Template."""
        value = self._value(name)
        if value is None:
            return "Template"
        only = _only_reference(value)
        if only is None:
            return "Pipeline"
        if only.path[0] == "params":
            held = self._outer.get(only.path[1])
            return held.origin if held is not None else "Pipeline"
        return {"env": "Environment", "targets": "Environment", "run": "Run", "steps": "Step"}.get(
            only.path[0], "Pipeline"
        )

    def is_masked(self, name: str) -> bool:
        """Whether a parameter's value is kept out of sight: the template says so, or what it is made of is."""
        if self._declared[name].masked:
            return True
        return any(
            self._is_hidden(one) for text in strings(self._value(name)) for one in references(text) if len(one.path) > 1
        )

    def _is_hidden(self, reference: Reference) -> bool:
        root, *names = reference.path
        key = names[0] if root == "params" else f"env.{names[1]}" if root == "env" and len(names) > 1 else ""
        held = self._outer.get(key)
        return held is not None and held.masked

    def _value(self, name: str) -> Any:
        return self._given.get(name, (0, None))[1]

    def _bind(self, name: str) -> Resolved:
        parameter = self._declared.get(name)
        if parameter is None:
            raise TemplateError(f"$({ROOT}.{name}): the template has no parameter {name!r}")
        given, masked = self._value(name), self.is_masked(name)
        try:
            if given is not None:
                value = fill_deep(given, self._resolve, self._own)
            elif parameter.default is not None:
                value = fill_deep(parameter.default, self._context.resolve)
            else:
                raise TemplateError(f"no value for {name!r}, which has no default; give one in with")
            return Resolved(name, check(parameter, value, masked), self.origin(name), masked)
        except TemplateError:
            raise
        except ValueError as error:
            raise TemplateError(f"{name}: {error}") from None


def _only_reference(value: Any) -> Reference | None:
    """The template that a value wholly consists of."""
    if not isinstance(value, str):
        return None
    found = next(references(value), None)
    return found if found is not None and found.text == value else None
