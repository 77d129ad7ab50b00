"""An Environment as runs use it: its spec, what it inherits from the one it branched off, and its targets resolved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..api.environment import EnvironmentParameter, EnvironmentSpec, Vault
from .targets import ResolvedTarget


@dataclass(frozen=True, slots=True)
class Effective:
    """One environment, fixed.

    Attributes:
        project: namespace of the Environment object, in which the pipelines are.
        name: of the Environment.
        execution: namespace in which its runs, Jobs and Secrets live.
        revision: name of the ControllerRevision in the project namespace that keeps this content, `<name>-<hash>`.
        spec: what holds here: the object's own spec, filled up from the parent's where it branched off.
        targets: where data lives, by name.
    """

    project: str
    name: str
    execution: str
    revision: str
    spec: EnvironmentSpec
    targets: Mapping[str, ResolvedTarget]

    @property
    def key(self) -> str:
        """What a run's status.environment says: `<project>/<name>`."""
        return f"{self.project}/{self.name}"

    @property
    def vault(self) -> Vault | None:
        """How runs get at secrets."""
        return self.spec.vault

    @property
    def parameters(self) -> Mapping[str, EnvironmentParameter]:
        """The environment's parameters by name."""
        return {one.name: one for one in self.spec.parameters or ()}
