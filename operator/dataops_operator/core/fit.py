"""Whether a revision can run in an environment: its templates, its secrets and its images, before anything begins."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..api.conditions import Reason
from ..api.step import Step
from . import podplacement
from .cacherules import CacheError
from .caching import key_of
from .concurrency import UnusableKeyError, bound
from .credentials import order, wants
from .graph import placed, step_references
from .images import ImageError, NoImageError
from .inputs import Inputs
from .jobs import step_image
from .problems import Problem, nearest
from .secrets import CredentialError
from .templating import Reference, TemplateError, references

Found = tuple[Reason, Problem]


def unfit(inputs: Inputs) -> list[Found]:
    """What keeps a run from its environment: each with its path in the pipeline, what there is, and the cure.

    Args:
        inputs: what the run would be accepted with.
    """
    found = [one for where, step in placed(inputs.revision.spec) for one in _step(inputs, where, step)]
    found += _concurrency(inputs)
    return found or list(_credentials(inputs))


def _concurrency(inputs: Inputs) -> Iterator[Found]:
    """A key that the run has no value for."""
    concurrency = inputs.revision.spec.concurrency
    if concurrency is None or concurrency.key is None:
        return
    where = f"pipeline {inputs.identity.pipeline}: spec.concurrency.key"
    missing = [
        found
        for reference in references(concurrency.key)
        if reference.path[0] == "env"
        for found in _parameter(inputs, where, reference)
    ]
    try:
        bound(inputs)
    except UnusableKeyError as error:
        missing = missing or [(Reason.INVALID_PARAMETERS, Problem(where, str(error)))]
    yield from missing


def _step(inputs: Inputs, where: str, step: Step) -> Iterator[Found]:
    path = f"pipeline {inputs.identity.pipeline}: {where}"
    told = [(f"{path}.{field}", reference) for field, reference in step_references(step)]
    container = step.name not in inputs.revision.kinds
    image = f"{path}.image" if step.image is not None else f"pipeline {inputs.identity.pipeline}: spec.defaults.image"
    if step.image is None and container:
        told += [(image, reference) for reference in references(inputs.revision.image(step))]
    for where, reference in told:
        if reference.path[0] == "env":
            yield from _parameter(inputs, where, reference)
        elif reference.path[0] == "targets":
            yield from _target(inputs, where, reference)
    if not container:
        return
    scope = inputs.scope(step, {})
    for problem in scope.early_problems() if scope is not None else ():
        yield Reason.INVALID_PARAMETERS, Problem(f"{path}.{problem.path}", problem.message)
    yield from _secrets(inputs, path, step)
    yield from podplacement.refusals(inputs, where, step)
    if all(reference.path[0] != "steps" for reference in references(inputs.revision.image(step))):
        try:
            step_image(inputs, step, scope.resolve if scope is not None else inputs.resolver({}))
        except ImageError as error:
            changed = f", or have spec.images of environment {_key(inputs)} changed"
            cure = "use another image" + ("" if isinstance(error, NoImageError) else changed)
            yield Reason.IMAGE_NOT_ALLOWED, Problem(image, f"{error}; {cure}")
        except TemplateError:
            pass  # told above, or by the step when it begins
    if step.cache is not None:
        yield from _cache(inputs, path, step)


def _cache(inputs: Inputs, path: str, step: Step) -> Iterator[Found]:
    """A cache without a key, as far as it can be made before anything has run."""
    step = inputs.revision.steps[step.name]
    if any(reference.path[0] == "steps" for reference in inputs.revision.references(step)):
        return
    try:
        key_of(inputs, step, {})
    except CacheError as error:
        yield Reason.CACHE_IMPOSSIBLE, Problem(f"{path}.cache", str(error))
    except (TemplateError, ImageError):
        pass  # told above


def _parameter(inputs: Inputs, where: str, reference: Reference) -> Iterator[Found]:
    if reference.path[1] == "name":
        return
    if inputs.environment is None:
        yield Reason.INVALID_PARAMETERS, Problem(where, f"{reference.text}: {_homeless(inputs, 'spec.parameters')}")
        return
    name, held = (
        reference.path[2],
        [one.name for one in inputs.environment.parameters.values() if one.value is not None],
    )
    if name not in held:
        text = f"environment {_key(inputs)} has no parameter {name!r}{nearest(name, held)}"
        yield (
            Reason.INVALID_PARAMETERS,
            Problem(where, f"{reference.text}: {text}; add it to the environment's spec.parameters"),
        )
        return
    try:
        inputs.resolver({})(reference)
    except TemplateError as error:
        yield Reason.INVALID_PARAMETERS, Problem(where, f"{error}; mend it in environment {_key(inputs)}")


def _target(inputs: Inputs, where: str, reference: Reference) -> Iterator[Found]:
    if inputs.environment is None:
        yield Reason.TARGET_NOT_FOUND, Problem(where, f"{reference.text}: {_homeless(inputs, 'spec.targets')}")
        return
    name, attribute = reference.path[1:3]
    target = inputs.environment.targets.get(name)
    known: Mapping[str, Any] = inputs.environment.targets if target is None else target.attributes
    if target is None:
        text = f"environment {_key(inputs)} has no target {name!r}{nearest(name, known)}"
        cure = "add it to the environment's spec.targets"
    elif attribute not in known:
        text = f"target {name!r} of environment {_key(inputs)} is of kind {target.kind} and has no {attribute!r}"
        text, cure = f"{text}{nearest(attribute, known)}", "name one of those"
    else:
        return
    yield Reason.TARGET_NOT_FOUND, Problem(where, f"{reference.text}: {text}; {cure}")


def _secrets(inputs: Inputs, path: str, step: Step) -> Iterator[Found]:
    """Credentials are fetched as the environment's Vault role; without one nobody could fetch any."""
    if inputs.environment is not None and inputs.environment.vault is not None:
        return
    guarded = [one.name for one in inputs.targets(step) if one.credentials or one.read_credentials]
    if step.secrets:
        what, path = "secrets need Vault", f"{path}.secrets"
    elif guarded:
        what = f"target {guarded[0]!r} has credentials, which need Vault"
    else:
        return
    if inputs.environment is None:
        text = f"{what}: {_homeless(inputs, 'spec.vault (server and role)')}"
    else:
        text = f"{what}, and environment {_key(inputs)} has none; add spec.vault (server and role) to it"
    yield Reason.VAULT_NOT_CONFIGURED, Problem(path, text)


def _credentials(inputs: Inputs) -> Iterator[Found]:
    """What could not be read, or not be told apart, when the first step that needs a secret is due."""
    pipeline, environment = f"pipeline {inputs.identity.pipeline}", inputs.environment
    steps = inputs.revision.steps.values()
    logins = {name: target.name for step in steps for target in inputs.targets(step) for name in target.logins}
    for index, secret in enumerate(inputs.revision.spec.secrets or ()):
        if secret.name in logins and any(one.name == secret.name for step in steps for one in step.secrets or ()):
            target = f"target {logins[secret.name]!r} of environment {_key(inputs)}"
            text = f"the login of {target} is called so, too; rename it"
            yield Reason.SECRET_INVALID, Problem(f"{pipeline}: spec.secrets[{index}].name", text)
    for where, step in placed(inputs.revision.spec):
        for number, one in enumerate(step.secrets or ()):
            if one.as_ is not None and any(one.as_ in target.logins for target in inputs.targets(step)):
                target = f"target {logins[one.as_]!r} of environment {_key(inputs)}"
                text = f"the login of {target} is called {one.as_!r}, too; write another name"
                yield Reason.SECRET_INVALID, Problem(f"{pipeline}: {where}.secrets[{number}].as", text)
            if one.env and environment is not None and environment.vault and environment.vault.delivery == "Pod":
                text = f"environment {_key(inputs)} keeps secrets out of variables (vault.delivery: Pod); use the files"
                yield Reason.SECRET_INVALID, Problem(f"{pipeline}: {where}.secrets[{number}].env", text)
    if any(wants(inputs, step) for step in steps):
        try:
            order(inputs)
        except CredentialError as error:
            yield error.reason, Problem(f"{pipeline}: spec.secrets", str(error))


def _homeless(inputs: Inputs, field: str) -> str:
    namespace = inputs.identity.namespace
    return f"namespace {namespace} belongs to no environment; create an Environment in it with {field}"


def _key(inputs: Inputs) -> str:
    return inputs.environment.key if inputs.environment is not None else inputs.identity.namespace
