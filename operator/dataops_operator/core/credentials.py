"""What a run's steps need of Vault, and the words between those who plan, those who read, and those who build Jobs.

No value of a secret passes through here: names, sources and where things lie, nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from ..api.conditions import Reason
from ..api.environment import Vault
from ..api.secret import Credentials, SecretVariable
from ..api.step import Step
from .inputs import Inputs
from .secrets import CredentialError, check_source
from .templating import Reference, TemplateError, as_text, fill_value

RUN: Final = "PipelineRun"
ENVIRONMENT: Final = "Environment"


@dataclass(frozen=True, slots=True)
class Version:
    """What was read of one secret: which version, and whether Vault takes it back."""

    name: str
    version: int | None = None
    leased: bool = False

    def to_status(self) -> dict[str, Any]:
        """As a run's status has it."""
        out: dict[str, Any] = {"name": self.name}
        if self.version is not None:
            out["version"] = self.version
        if self.leased:
            out["leased"] = True
        return out


@dataclass(frozen=True, slots=True)
class Agent:
    """How a pod logs in by itself, in delivery mode Pod.

    Attributes:
        image: of the init container.
        audience: of the token that the pod gets for it.
        server: where and how to log in, as `vault.agent` reads it.
    """

    image: str
    audience: str
    server: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Armed:
    """Secrets are at hand.

    Attributes:
        secret: the Kubernetes Secret that has them; None in mode Pod.
        files: what lies in it, by the secret's name; its keys are `<name>.<file>`.
        versions: what was read.
        agent: in mode Pod, how pods get at them.
    """

    secret: str | None = None
    files: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    versions: tuple[Version, ...] = ()
    agent: Agent | None = None


@dataclass(frozen=True, slots=True)
class Hindrance:
    """Why secrets are not at hand.

    Attributes:
        reason: out of the closed list.
        message: for people; never what Vault answered.
        final: whether trying again could not help.
        again_at: when it is tried again, in seconds since the epoch; None where that is told.
    """

    reason: Reason
    message: str
    final: bool = False
    again_at: float | None = None


@dataclass(frozen=True, slots=True)
class Holder:
    """For whom credentials are held: a run, or an Environment for the Jobs that touch its targets."""

    kind: str
    namespace: str
    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class Order:
    """What to read for one holder, with one login.

    Attributes:
        holder: for whom.
        namespace: where the Secret is made and whose runner logs in.
        labels: of the Secret.
        owner: owner reference of the Secret; None where the holder is of another namespace.
        environment: `<project>/<name>`.
        vault: server, role, and how to deliver.
        requests: what to read, templates filled in, by the name of its directory.
        variables: files that steps want as environment variables, by the secret's name: they must be there.
    """

    holder: Holder
    namespace: str
    labels: Mapping[str, str]
    owner: Mapping[str, Any] | None
    environment: str
    vault: Vault
    requests: Mapping[str, Credentials]
    variables: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def wants(inputs: Inputs, step: Step) -> dict[str, tuple[SecretVariable, ...]]:
    """The secrets that a step uses, each with the variables that it wants instead of files.

    Those it names itself, then the logins of the targets that its templates name.
    """
    out = {one.name: tuple(one.env or ()) for one in step.secrets or ()}
    for target in inputs.targets(step):
        for name in target.logins:
            out.setdefault(name, ())
    return out


def order(inputs: Inputs) -> Order:
    """What to read for a run: all that any of its steps uses, so that one login does.

    Raises:
        CredentialError: the run's environment has no Vault, or a source cannot be filled in.
    """
    environment = inputs.environment
    if environment is None or environment.vault is None:
        text = f"namespace {inputs.identity.namespace} belongs to no Environment, which would say how to read secrets"
        if environment is not None:
            text = f"environment {environment.key} does not say how to read secrets; set its spec.vault"
        raise CredentialError(Reason.VAULT_NOT_CONFIGURED, text)
    resolve = inputs.resolver({})
    declared: dict[str, Credentials] = {one.name: one for one in inputs.revision.spec.secrets or ()}
    requests: dict[str, Credentials] = {}
    variables: dict[str, tuple[str, ...]] = {}
    for step in inputs.revision.steps.values():
        logins = {name: login for target in inputs.targets(step) for name, login in target.logins.items()}
        for name, env in wants(inputs, step).items():
            source = logins.get(name) or declared.get(name)
            if source is None:
                raise CredentialError(Reason.SECRET_INVALID, f"step {step.name}: there is no secret {name!r}")
            if name not in requests:
                requests[name] = filled(name, source, resolve)
            variables[name] = tuple(dict.fromkeys([*variables.get(name, ()), *(one.key for one in env)]))
    identity = inputs.identity
    return Order(
        holder=Holder(RUN, identity.namespace, identity.name, identity.uid),
        namespace=identity.namespace,
        labels=identity.labels(),
        owner=identity.owner(),
        environment=environment.key,
        vault=environment.vault,
        requests=requests,
        variables={name: keys for name, keys in variables.items() if keys},
    )


def filled(name: str, credentials: Credentials, resolve: Callable[[Reference], Any]) -> Credentials:
    """Credentials with the templates of their source filled in.

    Raises:
        CredentialError: a template names something that is not there, or makes a path that no secret may have.
    """

    def text(value: str) -> str:
        return as_text(fill_value(value, resolve))

    source = credentials.vault
    try:
        update: dict[str, Any] = {}
        if source.path is not None:
            update["path"] = text(source.path)
        if source.data is not None:
            update["data"] = [one.model_copy(update={"value": text(one.value)}) for one in source.data]
        if source.transit is not None:
            update["transit"] = source.transit.model_copy(update={"ciphertext": text(source.transit.ciphertext)})
    except TemplateError as error:
        raise CredentialError(Reason.SECRET_INVALID, f"secret {name}: {error}") from None
    source = source.model_copy(update=update)
    check_source(name, source, credentials.vault.path)
    return Credentials(vault=source, keys=credentials.keys, files=credentials.files)
