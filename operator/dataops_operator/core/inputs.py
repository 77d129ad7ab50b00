"""What a run's steps may use: who the run is, and all that was fixed when it was accepted."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..api.base import API_VERSION
from ..api.step import Step
from . import names
from .environment import Effective
from .masking import masks
from .parameters import Resolved, RunContext
from .revision import PIPELINE_LABEL, Revision
from .scopes import Scope
from .targets import ResolvedTarget
from .templating import Reference, TemplateError, descend


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a run is: what its objects are named and labelled after."""

    namespace: str
    name: str
    uid: str
    pipeline: str

    def owner(self) -> dict[str, Any]:
        """Owner reference to the run; deleting the run takes the object along."""
        return {
            "apiVersion": API_VERSION,
            "kind": "PipelineRun",
            "name": self.name,
            "uid": self.uid,
            "controller": True,
        }

    def labels(self) -> dict[str, str]:
        """Labels of everything that the run makes."""
        return {
            names.MANAGED_BY_LABEL: names.MANAGER,
            PIPELINE_LABEL: self.pipeline,
            names.RUN_LABEL: self.name,
            names.RUN_UID_LABEL: self.uid,
        }


@dataclass(frozen=True, slots=True)
class Item:
    """One item of a fan-out.

    Attributes:
        index: its position in the list, from 0.
        value: any JSON.
    """

    index: int
    value: Any


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where steps hand in results.

    Attributes:
        url: https address, to which the step's name is added.
        ca: certificates by which it is known, as PEM.
    """

    url: str
    ca: str


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a run's steps may use, fixed when the run is accepted."""

    identity: Identity
    revision: Revision
    parameters: tuple[Resolved, ...]
    logical_date: str
    runner: str
    environment: Effective | None = None
    endpoint: Endpoint | None = None
    """Where steps hand in results; None where nobody takes them."""

    @property
    def environment_name(self) -> str:
        """The name of the environment; a namespace that belongs to none stands for one."""
        return self.environment.name if self.environment is not None else self.identity.namespace

    def targets(self, step: Step) -> tuple[ResolvedTarget, ...]:
        """The environment's targets that a step names."""
        held = self.environment.targets if self.environment is not None else {}
        if not held:
            return ()
        named = dict.fromkeys(one.path[1] for one in self.revision.references(step) if one.path[0] == "targets")
        return tuple(held[name] for name in named if name in held)

    @property
    def hidden(self) -> tuple[str, ...]:
        """The texts that must not show: masked values of the run and of its environment."""
        held = self.environment.parameters.values() if self.environment is not None else ()
        own = (one for step in self.revision.steps.values() for one in self._masked(step))
        return masks(one.value for one in (*self.parameters, *held, *own) if one.masked and one.value is not None)

    def _masked(self, step: Step) -> Iterator[Resolved]:
        """What the step's template calls masked; what is filled in from elsewhere is known there."""
        if any(one.masked for one in self.revision.parameters(step) or ()) and (scope := self.scope(step, {})):
            yield from (one for one in scope.known() if one.masked)

    def scope(
        self,
        step: Step,
        outputs: Mapping[str, Mapping[str, Any]],
        outcome: str | None = None,
        named: Mapping[str, Any] | None = None,
    ) -> Scope | None:
        """The parameters of the template that a step was made of; None where it was made of none.

        Args:
            step: one of the revision's.
            outputs: the outputs of each step that has succeeded.
            outcome: how the run has ended, for what comes after that.
            named: what else has a name, such as the item of a fan-out.
        """
        declared = self.revision.parameters(step)
        if declared is None:
            return None
        context = RunContext(self.identity.name, self.identity.uid, self.logical_date)
        outer = {one.name: one for one in self.parameters}
        for name, one in (self.environment.parameters if self.environment is not None else {}).items():
            outer[f"env.{name}"] = Resolved(name, one.value, "Environment", one.masked)
        return Scope(step, declared, self.resolver(outputs, outcome, named), context, outer)

    def variables(self, steps: Mapping[str, Any], outcome: str | None = None) -> dict[str, Any]:
        """The names that conditions may use, with their values.

        Args:
            steps: what is to be had of each step.
            outcome: how the run has ended, for what comes after that.
        """
        run = {"name": self.identity.name, "uid": self.identity.uid, "logicalDate": self.logical_date}
        return {
            "params": {one.name: one.value for one in self.parameters},
            "env": {"name": self.environment_name, "params": self._environment_values()},
            "run": run if outcome is None else run | {"outcome": str(outcome)},
            "steps": steps,
        }

    def resolver(
        self,
        outputs: Mapping[str, Mapping[str, Any]],
        outcome: str | None = None,
        named: Mapping[str, Any] | None = None,
    ) -> Callable[[Reference], Any]:
        """A function from a template to its value.

        Args:
            outputs: the outputs of each step that has succeeded.
            outcome: how the run has ended, for what comes after that.
            named: what else has a name, such as the item of a fan-out.
        """
        values = self.variables({step: {"outputs": given} for step, given in outputs.items()}, outcome)
        values |= {"targets": self._target_values(), **(named or {})}

        def resolve(reference: Reference) -> Any:
            root, *rest = reference.path
            if root not in values:
                raise TemplateError(f"{reference.text}: no such name here")
            if root == "steps" and rest and rest[0] not in values[root]:
                text = f"step {rest[0]!r} has not succeeded, so it has no outputs; have a `when` ask for them first"
                raise TemplateError(f"{reference.text}: {text}")
            return descend(values, reference.path, reference.text)

        return resolve

    def _environment_values(self) -> dict[str, Any]:
        held = self.environment.parameters if self.environment is not None else {}
        return {name: one.value for name, one in held.items() if one.value is not None}

    def _target_values(self) -> dict[str, Mapping[str, str]]:
        held = self.environment.targets if self.environment is not None else {}
        return {name: one.attributes for name, one in held.items()}
