"""An Environment as runs use it: its spec, what it inherits from the one it branched off, and its targets resolved."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson
from pydantic import ValidationError

from ..api.base import API_VERSION
from ..api.conditions import Reason
from ..api.environment import EnvironmentParameter, EnvironmentSpec, Vault
from .environment_rules import Fault, problems_of, quota_problems
from .inheritance import loosened, merged
from .names import ENVIRONMENT_LABEL, MANAGED_BY_LABEL, MANAGER
from .problems import Problem, summarise
from .targets import ResolvedTarget, dump, resolve_targets
from .targets import load as load_target

PINNED: Final = ("parameters", "vault", "restricted", "podDefaults", "images")
"""Fields of the spec that a run keeps from its start to its end; the rest holds at once for whatever is under way."""
_HASH_LENGTH: Final = 10
_LONGEST_NAMESPACE: Final = 63


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
    environment: Mapping[str, Any], parent: Mapping[str, Any] | None
) -> tuple[Effective | None, list[Problem]]:
    """What holds in an environment.

    Args:
        environment: the object.
        parent: the Environment of the same namespace that `spec.from` names; None where there is none.

    Returns:
        None where it cannot be said, and what is wrong, with paths in the object.
    """
    meta = environment["metadata"]
    try:
        own = EnvironmentSpec.model_validate(environment.get("spec") or {})
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        return None, [Problem(_where(one["loc"]), one["msg"]) for one in found]
    problems = list(problems_of(own))
    execution = execution_namespace(environment)
    if len(execution) > _LONGEST_NAMESPACE:
        text = f"{execution!r} has {len(execution)} characters, a namespace at most 63; give spec.namespace"
        problems.append(Problem("spec.namespace", text))
    source, spec = None, own
    if own.from_ is not None:
        source, more = _source(meta["name"], own.from_, parent)
        problems += more
        if source is not None:
            problems += loosened(own, source.spec)
            spec = merged(own, source.spec)
    targets: list[ResolvedTarget] = []
    if not problems:
        targets, more = resolve_targets(own, meta["namespace"], meta["name"], execution, source)
        problems += more
    if not problems:
        problems += _without_vault(spec, targets)
        problems += quota_problems(spec, _claims(targets))
    if problems:
        return None, problems
    return fix(meta["namespace"], meta["name"], execution, spec, {one.name: one for one in targets}), []


def _where(location: tuple[int | str, ...]) -> str:
    return "spec" + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)


def _source(name: str, wanted: str, parent: Mapping[str, Any] | None) -> tuple[Effective | None, list[Problem]]:
    if wanted == name:
        return None, [Problem("spec.from", "an environment cannot branch off itself; name another, or remove from")]
    if parent is None:
        text = f"there is no environment {wanted!r} in this namespace; create it, or name another"
        return None, [Fault("spec.from", text, Reason.PARENT_NOT_FOUND)]
    grand = (parent.get("spec") or {}).get("from")
    if grand:
        text = f"environment {wanted!r} is itself a branch, of {grand!r}; branch off {grand!r} instead"
        return None, [Problem("spec.from", text)]
    source, problems = effective(parent, None)
    if source is None:
        return None, [Problem("spec.from", f"environment {wanted!r} is not valid: {summarise(problems)}")]
    return source, []


def _without_vault(spec: EnvironmentSpec, targets: list[ResolvedTarget]) -> Iterator[Problem]:
    if spec.vault is not None:
        return
    for one in targets:
        if one.credentials is not None or one.read_credentials is not None:
            text = f"target {one.name!r} has credentials in Vault; say with which role to ask for them, in spec.vault"
            yield Problem("spec.vault", text)


def _claims(targets: list[ResolvedTarget]) -> dict[str, str]:
    """Size of each claim that the environment makes, by the target's name."""
    volumes = ((one.name, one.spec.volume or one.spec.duckdb) for one in targets)
    return {name: volume.size for name, volume in volumes if volume is not None and volume.size is not None}


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
        "targets": [dump(target) for _, target in sorted(targets.items())],
    }


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
    targets = [load_target(raw, data["execution"]) for raw in data["targets"]]
    return Effective(project, name, data["execution"], revision, spec, {one.name: one for one in targets})
