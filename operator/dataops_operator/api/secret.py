"""Secrets: where a credential comes from, what it is called in a step, and how a step gets it.

Which server is asked, and as whom, is never said here: the administrator names servers in the chart's values, and the
run's Environment names the role (class D of known advisories: a credential sent to an address that a user chose).
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from .base import LIST_ATOMIC, LIST_BY_NAME, ApiModel, Argument, Name, rule, rules

VAULT_PATH_PATTERN = r"^[A-Za-z0-9_$][A-Za-z0-9_.$()@+=~/-]*$"
"""No colon, so no address; templates `$(env.params.x)` are filled in and the whole is held against the rules again."""
FILE_NAME_PATTERN = r"^[A-Za-z0-9_-][A-Za-z0-9._-]*$"

VaultPath = Annotated[str, StringConstraints(pattern=VAULT_PATH_PATTERN, min_length=3, max_length=512)]
FileName = Annotated[str, StringConstraints(pattern=FILE_NAME_PATTERN, min_length=1, max_length=128)]
VaultKey = Annotated[str, StringConstraints(min_length=1, max_length=253)]
MountPath = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*$", min_length=1, max_length=128)
]


class VaultParameter(ApiModel):
    """A field of a request that is written to Vault."""

    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_]+$", min_length=1, max_length=63)]
    """Name, such as common_name."""
    value: Argument = ""
    """Value; templates such as `$(params.host)` are filled in."""


class TransitDecrypt(ApiModel):
    """A text that Vault's transit engine decrypts."""

    mount: MountPath = "transit"
    """Where the engine is mounted."""
    key: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]+$", min_length=1, max_length=128)]
    """Name of the engine's key."""
    ciphertext: Argument
    """What to decrypt, such as `$(params.sealed)`; the result is the key `plaintext`."""


_NO_ESCAPE = "!has(self.path) || !(self.path.contains('..') || self.path.contains('//') || self.path.endsWith('/'))"


class VaultSource(ApiModel):
    """What to ask Vault for: a path that is read, or written when it has data, or a text to decrypt."""

    model_config = ApiModel.model_config | {
        "json_schema_extra": rules(
            rule("has(self.path) != has(self.transit)", "give exactly one of path and transit"),
            rule(_NO_ESCAPE, "write a plain path, without '..', '//' or a '/' at its end", ".path"),
            rule(
                "!has(self.path) || !(self.path.startsWith('sys/') || self.path.startsWith('auth/')"
                " || self.path.startsWith('identity/') || self.path.startsWith('cubbyhole/'))",
                "no secret is there: sys, auth, identity and cubbyhole are Vault's own; name a secrets engine's path",
                ".path",
            ),
            rule(
                "!has(self.version) || (has(self.path) && !has(self.data))",
                "version is for a path of a key-value engine; remove it",
                ".version",
            ),
            rule("!has(self.data) || has(self.path)", "data is written to a path; give the path", ".data"),
        )
    }

    path: VaultPath | None = None
    """Path as Vault's API has it: `secret/data/team/api` (KV version 2), `kv/api` (version 1), `database/creds/loader`
    or any other that returns data, leased or not; with data, one that is written, such as `pki/issue/web`."""
    version: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """Version of a KV version 2 secret; the latest where unset. Which one was read stands in the run's status."""
    data: Annotated[list[VaultParameter], Field(min_length=1, max_length=32, json_schema_extra=LIST_BY_NAME)] | None = (
        None
    )
    """Fields to write to the path; what Vault answers is the secret."""
    transit: TransitDecrypt | None = None
    """A text to decrypt instead of a path."""


class SecretKey(ApiModel):
    """One key of a secret, and what it is called in the step."""

    key: VaultKey
    """Key as Vault has it."""
    name: FileName | None = None
    """File name in the step; the key itself where unset."""


class SecretFile(ApiModel):
    """A file made of several keys."""

    name: FileName
    """File name."""
    template: Annotated[str, StringConstraints(min_length=1, max_length=8192)]
    """Text in which `$(key)` stands for a key of the secret, such as `$(host):5432:*:$(username):$(password)`; `$$(`
    writes a literal `$(`. There is nothing else: no functions, no code."""


class Credentials(ApiModel):
    """A secret without a name of its own."""

    vault: VaultSource
    """What to ask Vault for."""
    keys: Annotated[list[SecretKey], Field(min_length=1, max_length=64, json_schema_extra=LIST_ATOMIC)] | None = None
    """The keys to take; all of them, by their own names, where unset."""
    files: Annotated[list[SecretFile], Field(min_length=1, max_length=16, json_schema_extra=LIST_BY_NAME)] | None = None
    """Files made of several keys, beside those of the keys."""


class Secret(Credentials):
    """A secret that steps of the pipeline may use: read when the first of them begins, revoked when the run ends."""

    name: Name
    """Name; a step finds its files under /dataops/secrets/<name>/."""


class SecretVariable(ApiModel):
    """An environment variable with a key's value."""

    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", min_length=1, max_length=128)]
    """Name of the variable."""
    key: FileName
    """Which of the secret's files."""


class StepSecret(ApiModel):
    """A secret that a step gets: as files under /dataops/secrets/<name>/, or as environment variables."""

    name: Name
    """Name of one of spec.secrets."""
    as_: Name | None = Field(default=None, alias="as")
    """Another name for it in this step: that of its directory, or the one by which the step's template asks for it."""
    env: Annotated[list[SecretVariable], Field(min_length=1, max_length=32, json_schema_extra=LIST_BY_NAME)] | None = (
        None
    )
    """Variables instead of files. Not where the environment delivers in mode Pod, which keeps values out of etcd."""
