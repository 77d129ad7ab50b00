"""The places of a branch environment, derived from its parent's: beside them, never inside, and with which logins."""

from __future__ import annotations

from typing import Final

from ..api.environment import DataMode
from ..api.target import DuckdbTarget, PostgresTarget, S3Target, Target, VolumeTarget
from .places import Place, place_of, short_hash

_SCHEMA_LIMIT: Final = 63
"""Bytes of a name in PostgreSQL (NAMEDATALEN - 1)."""
_PREFIX_LIMIT: Final = 512
_HASH: Final = 9
"""Characters of a hash and what parts it from the rest."""


class BranchError(ValueError):
    """A target of the parent's cannot be derived; the message says why, and what to do."""


def derive(target: Target, project: str, branch: str, mode: DataMode, *, hashed: bool = False) -> Target:
    """The branch's own target in the place of one that its parent writes to.

    Its login is the parent's branchCredentials, or its credentials where there are none.

    Args:
        target: the parent's, in full.
        project: namespace of the Environments.
        branch: name of the branch environment.
        mode: what it begins with.
        hashed: whether to add a hash to the derived name, where the plain one is taken.

    Raises:
        BranchError: there is no place to derive, or its data cannot be had.
    """
    place = place_of(target)
    if isinstance(place, PostgresTarget):
        _needs_read_login(target.name, "postgres", place, mode)
        changed = {"schema_": _schema(place.schema_, project, branch, hashed)}
        return target.model_copy(update={"postgres": place.model_copy(update=changed | _login(place))})
    if isinstance(place, S3Target):
        _needs_read_login(target.name, "s3", place, mode)
        changed = {"prefix": _prefix(target.name, place.prefix, project, branch, hashed)}
        return target.model_copy(update={"s3": place.model_copy(update=changed | _login(place))})
    return _new_claim(target, place, mode)


def qualify(target: Target, execution: str) -> Target:
    """The parent's target as another namespace sees it: a Service's bare name gets the namespace it was said in."""
    place = place_of(target)
    if isinstance(place, PostgresTarget) and "." not in place.host:
        changed: Place = place.model_copy(update={"host": f"{place.host}.{execution}"})
        return target.model_copy(update={"postgres": changed})
    if isinstance(place, S3Target):
        scheme, _, address = place.endpoint.partition("://")
        host, colon, port = address.partition(":")
        if "." not in host:
            changed = place.model_copy(update={"endpoint": f"{scheme}://{host}.{execution}{colon}{port}"})
            return target.model_copy(update={"s3": changed})
    return target


def source_of(target: Target) -> Target:
    """The parent's target as a branch reads it: with the login that cannot write, and no other."""
    place = place_of(target)
    if isinstance(place, VolumeTarget):
        return target
    narrow = {"credentials": place.read_credentials, "read_credentials": None, "branch_credentials": None}
    changed = {"access": "ReadOnly", _field(place): place.model_copy(update=narrow)}
    return target.model_copy(update=changed)


def inherit(target: Target) -> Target:
    """A target that the parent only reads, as the branch reads it: the same place, by the login that reads."""
    place = place_of(target)
    if isinstance(place, VolumeTarget):
        raise BranchError(
            f"the parent reads {target.name!r} from a claim, which cannot be read from another namespace: "
            "name the target in spec.targets of this environment"
        )
    narrow = {"credentials": place.read_credentials or place.credentials, "branch_credentials": None}
    return target.model_copy(update={_field(place): place.model_copy(update=narrow)})


def _field(place: Place) -> str:
    return "postgres" if isinstance(place, PostgresTarget) else "s3"


def _login(place: PostgresTarget | S3Target) -> dict[str, object]:
    own = place.branch_credentials or place.credentials
    return {"credentials": own, "branch_credentials": own}


def _needs_read_login(name: str, kind: str, place: PostgresTarget | S3Target, mode: DataMode) -> None:
    if mode is DataMode.EMPTY or place.read_credentials is not None:
        return
    if place.credentials is None and place.branch_credentials is None:
        return  # nobody logs in here
    raise BranchError(
        f"dataMode {mode} reads the parent's data in {name!r}, and would have to log in as one who may write it: set "
        f"{kind}.readCredentials, with rights to read alone, on that target of the parent, or dataMode: Empty here"
    )


def _schema(schema: str, project: str, branch: str, hashed: bool) -> str:
    # `a--b` of `marts` and `b` of `marts__a` would be one name without a hash.
    plain = f"{schema}__{branch.replace('-', '_')}"
    if not hashed and len(plain) <= _SCHEMA_LIMIT and "__" not in schema and "--" not in branch:
        return plain
    return f"{plain[: _SCHEMA_LIMIT - _HASH]}_{short_hash(project, schema, branch)}"


def _prefix(name: str, prefix: str, project: str, branch: str, hashed: bool) -> str:
    if not prefix:
        raise BranchError(
            f"the parent's {name!r} is a whole bucket, so nothing in it lies beside it: give that target of the "
            "parent a prefix, or name the target in spec.targets of this environment"
        )
    trunk = prefix.removesuffix("/")
    plain = f"{trunk}__{branch}/"
    if not hashed and len(plain) <= _PREFIX_LIMIT and "__" not in trunk:
        return plain
    return f"{plain[: _PREFIX_LIMIT - _HASH - 1].rstrip('/')}-{short_hash(project, prefix, branch)}/"


def _new_claim(target: Target, place: VolumeTarget, mode: DataMode) -> Target:
    if mode is not DataMode.EMPTY:
        raise BranchError(
            f"the parent's {target.name!r} is a claim, which cannot be read from another namespace, so dataMode "
            f"{mode} cannot have its data: name the target in spec.targets of this environment, which then begins "
            "empty, or set dataMode: Empty"
        )
    if place.size is None:
        raise BranchError(
            f"the parent's {target.name!r} is a claim that exists, so the size of one for this environment is not "
            "known: name the target in spec.targets of this environment with a size"
        )
    kind = "duckdb" if isinstance(place, DuckdbTarget) else "volume"
    return target.model_copy(update={kind: place.model_copy(update={"claim": None})})
