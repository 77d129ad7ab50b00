"""An Environment as runs use it: its spec, what it inherits from the one it branched off, and its targets resolved."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Final

import orjson
from pydantic import ValidationError

from ..api.base import API_VERSION
from ..api.environment import EnvironmentParameter, EnvironmentSpec, Vault
from ..api.secret import Credentials
from .names import ENVIRONMENT_LABEL, MANAGED_BY_LABEL, MANAGER
from .parameters import Problem
from .targets import ResolvedTarget

PINNED: Final = ("parameters", "vault", "restricted", "podDefaults", "images")
"""Fields of the spec that a run keeps from its start to its end; the rest holds at once for whatever is under way."""
_HASH_LENGTH: Final = 10


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


def execution_namespace(environment: Mapping[str, Any]) -> str:
    """The namespace that an Environment asks for; whether it has it is for its status to say.

    Args:
        environment: the object.
    """
    meta, spec = environment["metadata"], environment["spec"]
    if spec.get("namespace"):
        return str(spec["namespace"])
    return f"{meta['namespace']}-{meta['name']}" if spec.get("from") else str(meta["namespace"])


def effective(
    environment: Mapping[str, Any],
    parent: Mapping[str, Any] | None,  # noqa: ARG001 - branches are filled up from it once they can be made
) -> tuple[Effective | None, list[Problem]]:
    """What holds in an environment.

    Args:
        environment: the object.
        parent: the Environment that it branches off, where there is one.

    Returns:
        None where it cannot be said, and what is wrong, with paths in the object.
    """
    try:
        spec = EnvironmentSpec.model_validate(environment["spec"])
    except ValidationError as error:
        where = [".".join(map(str, one["loc"])) for one in error.errors(include_url=False, include_input=False)]
        return None, [Problem(f"spec.{path}", "is not of its type") for path in where]
    meta = environment["metadata"]
    return fix(meta["namespace"], meta["name"], execution_namespace(environment), spec, {}), []


# Content: the same is the same revision, whenever it was written.


def fix(
    project: str, name: str, execution: str, spec: EnvironmentSpec, targets: Mapping[str, ResolvedTarget]
) -> Effective:
    """An environment's content under the name that is derived from it."""
    content = _content(execution, spec, targets)
    digest = hashlib.sha256(orjson.dumps(content, option=orjson.OPT_SORT_KEYS)).hexdigest()
    return Effective(project, name, execution, f"{name}-{digest[:_HASH_LENGTH]}", spec, targets)


def _content(execution: str, spec: EnvironmentSpec, targets: Mapping[str, ResolvedTarget]) -> dict[str, Any]:
    raw = spec.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_defaults=True)
    return {
        "kind": "Environment",
        "execution": execution,
        "spec": {key: raw[key] for key in PINNED if key in raw},
        "targets": [_target(target) for _, target in sorted(targets.items())],
    }


def _target(target: ResolvedTarget) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for one in fields(target):
        value = getattr(target, one.name)
        if isinstance(value, Credentials):
            value = value.model_dump(mode="json", by_alias=True, exclude_none=True)
        if value is not None:
            out[one.name] = dict(value) if isinstance(value, Mapping) else value
    return out


def controller_revision(environment: Effective, owner_uid: str, number: int) -> dict[str, Any]:
    """The ControllerRevision that keeps an environment's content for the runs that began with it.

    Args:
        environment: what to keep.
        owner_uid: uid of the Environment, which takes its revisions along when it is deleted.
        number: position in the environment's history, from 1.
    """
    return {
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": {
            "name": environment.revision,
            "labels": {ENVIRONMENT_LABEL: environment.name, MANAGED_BY_LABEL: MANAGER},
            "ownerReferences": [
                {
                    "apiVersion": API_VERSION,
                    "kind": "Environment",
                    "name": environment.name,
                    "uid": owner_uid,
                    "controller": True,
                }
            ],
        },
        "data": _content(environment.execution, environment.spec, environment.targets),
        "revision": number,
    }


def load(project: str, name: str, revision: str, data: Mapping[str, Any]) -> Effective:
    """An environment's content as a ControllerRevision keeps it.

    Args:
        project: namespace of the Environment.
        name: its name.
        revision: name of the ControllerRevision.
        data: what that keeps.
    """
    spec = EnvironmentSpec.model_validate(data["spec"])
    targets = {raw["name"]: _loaded_target(raw) for raw in data["targets"]}
    return Effective(project, name, data["execution"], revision, spec, targets)


def _loaded_target(raw: Mapping[str, Any]) -> ResolvedTarget:
    known = {one.name for one in fields(ResolvedTarget)}
    values = {key: value for key, value in raw.items() if key in known}
    for key in ("credentials", "read_credentials"):
        if key in values:
            values[key] = Credentials.model_validate(values[key])
    return ResolvedTarget(**values)
