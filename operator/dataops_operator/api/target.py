"""Target: where data lives that steps read and write, as an Environment declares it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from .base import (
    ApiModel,
    Name,
    Size,
    rule,
    rules,
)
from .secret import Credentials

Host = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$", min_length=1, max_length=253)
]
Port = Annotated[int, Field(ge=1, le=65535)]
SqlName = Annotated[str, StringConstraints(pattern=r"^[a-z_][a-z0-9_]*$", min_length=1, max_length=63)]
StorageClass = Annotated[str, StringConstraints(min_length=1, max_length=253)]
AccessMode = Literal["ReadWriteOnce", "ReadWriteMany", "ReadWriteOncePod"]
ClaimName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", min_length=1, max_length=253)]


class PostgresTarget(ApiModel):
    """A schema of a PostgreSQL database."""

    host: Host
    """Host name or address."""
    port: Port = 5432
    """TCP port."""
    database: SqlName
    """Database."""
    schema_: SqlName = Field(default="public", alias="schema")
    """Schema that this environment writes to."""
    ssl_mode: Literal["disable", "prefer", "require", "verify-full"] = "prefer"
    """TLS as libpq's sslmode has it."""
    credentials: Credentials | None = None
    """Login with the keys `username` and `password`."""
    read_credentials: Credentials | None = None
    """The same with rights to read alone: what branch environments with dataMode ReadThrough get."""
    branch_credentials: Credentials | None = None
    """The same with the right to create and drop schemas, for branch environments; credentials where unset."""


class S3Target(ApiModel):
    """A prefix of a bucket that speaks the S3 protocol."""

    endpoint: Annotated[
        str, StringConstraints(pattern=r"^https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?$", min_length=8, max_length=300)
    ]
    """Address of the server, such as https://s3.example."""
    bucket: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9.-]*[a-z0-9]$", min_length=3, max_length=63)]
    """Bucket."""
    prefix: Annotated[str, StringConstraints(pattern=r"^([A-Za-z0-9_=-][A-Za-z0-9._=-]*/)*$", max_length=512)] = ""
    """Where in the bucket, ending in '/'; the whole bucket where empty."""
    region: Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]+$", min_length=1, max_length=63)] = "us-east-1"
    """Region."""
    credentials: Credentials | None = None
    """Login with the keys `access_key`, `secret_key` and, where there is one, `security_token`."""
    read_credentials: Credentials | None = None
    """The same with rights to read alone: what branch environments with dataMode ReadThrough get."""
    branch_credentials: Credentials | None = None
    """The same for branch environments; credentials where unset."""


_ONE_CLAIM = rule(
    "has(self.claim) != has(self.size)",
    "give exactly one of size (a claim that the environment makes) and claim (one that exists)",
)

_NEW_CLAIM = rule(
    "!has(self.claim) || !(has(self.storageClass) || has(self.accessMode))",
    "storageClass and accessMode belong to a claim that the environment makes; remove them, or give size",
    ".claim",
)


class VolumeTarget(ApiModel):
    """A directory: a claim in the execution namespace."""

    model_config = ApiModel.model_config | {"json_schema_extra": rules(_ONE_CLAIM, _NEW_CLAIM)}

    size: Size | None = None
    """Size of the claim that the environment makes, such as 5Gi."""
    claim: ClaimName | None = None
    """Name of a claim that exists in the execution namespace."""
    storage_class: StorageClass | None = None
    """Storage class of the new claim; the cluster's default where unset."""
    access_mode: AccessMode = "ReadWriteOnce"
    """Access mode of the new claim."""


class DuckdbTarget(VolumeTarget):
    """A DuckDB database: one file on a volume."""

    file: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-][A-Za-z0-9._-]*$", min_length=1, max_length=128)] = (
        "warehouse.duckdb"
    )
    """Name of the file."""


class Target(ApiModel):
    """A place where data lives, under a name that pipelines use: `$(targets.<name>.url)`."""

    model_config = ApiModel.model_config | {
        "json_schema_extra": rules(
            rule(
                "[has(self.postgres), has(self.s3), has(self.volume), has(self.duckdb)].filter(x, x).size() == 1",
                "a target is exactly one of postgres, s3, volume and duckdb",
            )
        )
    }

    name: Name
    """Name, the same in every environment."""
    access: Literal["ReadWrite", "ReadOnly"] = "ReadWrite"
    """Whether runs write here. No two environments write to one place."""
    postgres: PostgresTarget | None = None
    """A schema of a PostgreSQL database."""
    s3: S3Target | None = None
    """A prefix of a bucket that speaks the S3 protocol."""
    volume: VolumeTarget | None = None
    """A directory on a claim, mounted at /dataops/targets/<name>."""
    duckdb: DuckdbTarget | None = None
    """A DuckDB file on a claim, mounted at /dataops/targets/<name>."""
