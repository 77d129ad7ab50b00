"""Where a target is: its kind, its place in canonical words, and what templates may name of it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote, urlsplit

from ..api.target import DuckdbTarget, PostgresTarget, S3Target, Target, VolumeTarget

MOUNT: Final = "/dataops/targets"
"""Where volume targets are mounted, each under its name."""

ATTRIBUTES: Final = frozenset(
    {
        "url",
        "readUrl",
        "path",
        "readPath",
        "host",
        "port",
        "database",
        "schema",
        "readSchema",
        "endpoint",
        "bucket",
        "prefix",
        "readPrefix",
        "region",
    }
)
"""What may stand behind `$(targets.<name>.`; which of them a target has depends on its kind."""

Place = PostgresTarget | S3Target | VolumeTarget | DuckdbTarget
"""The part of a target that says where it is."""

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_AWS: Final = re.compile(r"s3[.-]([a-z0-9-]+\.)*amazonaws\.com(\.cn)?")


def place_of(target: Target) -> Place:
    """The one of its four parts that a target has.

    Raises:
        ValueError: it has none, or several; the API server's schema refuses that, an older object may have it.
    """
    given = [one for one in (target.postgres, target.s3, target.volume, target.duckdb) if one is not None]
    if len(given) != 1:
        raise ValueError("give exactly one of postgres, s3, volume and duckdb")
    return given[0]


def kind_of(target: Target) -> str:
    """postgres, s3, volume or duckdb."""
    return _KINDS[type(place_of(target))]


_KINDS: Final[Mapping[type, str]] = {
    PostgresTarget: "postgres",
    S3Target: "s3",
    VolumeTarget: "volume",
    DuckdbTarget: "duckdb",
}


def claim_of(target: Target) -> str | None:
    """The claim to mount: the one that is named, or `target-<name>`, which the environment makes; None without."""
    place = place_of(target)
    return (place.claim or f"target-{target.name}") if isinstance(place, VolumeTarget) else None


def location(target: Target, execution: str) -> str:
    """The place in canonical words: the same for the same place, ending in '/', its containers first.

    A name without a dot is a Service of the execution namespace; `pg.analytics` and `pg.analytics.svc.cluster.local`
    are one host. Two names that DNS gives to one server are two places: nothing here asks DNS.

    Args:
        target: one that has its shape.
        execution: namespace from which it is seen.
    """
    place = place_of(target)
    if isinstance(place, PostgresTarget):
        host = _host(place.host, execution)
        return f"postgres://{host}:{place.port}/{place.database}/{place.schema_}/"
    if isinstance(place, S3Target):
        return f"s3://{_endpoint(place.endpoint, execution)}/{place.bucket}/{place.prefix}"
    file = f"{place.file}/" if isinstance(place, DuckdbTarget) else ""
    return f"claim://{execution}/{claim_of(target)}/{file}"


def inside(one: str, other: str) -> bool:
    """Whether one canonical location is the other, or lies in it."""
    return one.startswith(other)


def _host(host: str, execution: str) -> str:
    name = host.lower().rstrip(".")
    name = name.removesuffix(".cluster.local").removesuffix(".svc")
    return name if "." in name else f"{name}.{execution}"


def _endpoint(endpoint: str, execution: str) -> str:
    parts = urlsplit(endpoint.lower())
    host = _host(parts.hostname or "", execution)
    if _AWS.fullmatch(host):
        host = "s3.amazonaws.com"  # names of buckets are unique there, whichever region is asked
    if parts.port is None or parts.port in _DEFAULT_PORTS.values():
        return host  # http and https of one host lead to one store
    return f"{host}:{parts.port}"


def attributes(target: Target, source: Target | None) -> dict[str, str]:
    """What templates may name: `$(targets.<name>.<attribute>)`; nothing of it is a credential.

    Args:
        target: whose place is written to.
        source: whose place is read, where that is another one.
    """
    own, read = place_of(target), place_of(source or target)
    out = {"url": _url(target.name, own), "readUrl": _url(target.name, read)}
    if isinstance(own, PostgresTarget) and isinstance(read, PostgresTarget):
        out |= {"host": own.host, "port": str(own.port), "database": own.database}
        out |= {"schema": own.schema_, "readSchema": read.schema_}
    elif isinstance(own, S3Target) and isinstance(read, S3Target):
        out |= {"endpoint": own.endpoint, "bucket": own.bucket, "region": own.region}
        out |= {"prefix": own.prefix, "readPrefix": read.prefix}
    elif isinstance(own, VolumeTarget):
        out |= {"path": _path(target.name, own), "readPath": _path(target.name, own)}
    return out


def _url(name: str, place: Place) -> str:
    if isinstance(place, PostgresTarget):
        # The schema is in the address, so that a step that names none still writes to its own environment's.
        options = quote(f"-csearch_path={place.schema_}", safe="")
        return f"postgresql://{place.host}:{place.port}/{place.database}?sslmode={place.ssl_mode}&options={options}"
    if isinstance(place, S3Target):
        return f"s3://{place.bucket}/{place.prefix}"
    return ("duckdb:///" if isinstance(place, DuckdbTarget) else "file://") + _path(name, place)


def _path(name: str, place: VolumeTarget) -> str:
    return f"{MOUNT}/{name}/{place.file}" if isinstance(place, DuckdbTarget) else f"{MOUNT}/{name}"


def short_hash(*parts: str) -> str:
    """Eight hexadecimal digits that stand for the parts."""
    return hashlib.sha256("/".join(parts).encode()).hexdigest()[:8]
