"""Targets: where an environment's data lives, resolved to addresses; and whether two are one place.

Nothing here talks to a target: that is done by Jobs under the environment's runner (`storage/`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from ..api.environment import DataMode, EnvironmentSpec
from ..api.secret import Credentials
from ..api.target import PostgresTarget, S3Target, Target, VolumeTarget
from .branching import BranchError, derive, inherit, qualify, source_of
from .places import MOUNT as MOUNT
from .places import attributes, claim_of, inside, kind_of, location, place_of
from .problems import Problem

if TYPE_CHECKING:
    from .environment import Effective

READ: Final = "-read"
"""Behind a target's name: where the login for its readUrl is delivered, such as `/dataops/secrets/lake-read/`."""


@dataclass(frozen=True, slots=True)
class ResolvedTarget:
    """One target of one environment.

    Attributes:
        name: as pipelines call it.
        kind: postgres, s3, volume or duckdb.
        writable: whether runs write here; a claim that is not writable is mounted read-only.
        location: the place itself in canonical words, the same for the same place whoever writes it down;
            `overlaps` compares two.
        attributes: what templates may name, by the words of ATTRIBUTES; `url` and `readUrl` are always there and
            carry no credentials.
        spec: the target written out in full, as if it stood in the Environment: a branch's with its derived place.
        source: the parent's target, with its login that only reads, where this one copies from it or reads through it.
        copies: whether it begins as a copy of the source; where it does not, the source is what readUrl names.
        credentials: login for `url`; None where none is needed.
        read_credentials: login for `readUrl` where that is another place, which cannot write.
        claim: PersistentVolumeClaim of the execution namespace to mount at /dataops/targets/<name>.
        made_by_us: whether the environment makes and removes the place (a branch's schema or prefix, a sized claim).
    """

    name: str
    kind: str
    writable: bool
    location: str
    attributes: Mapping[str, str]
    spec: Target
    source: Target | None = None
    copies: bool = False
    credentials: Credentials | None = None
    read_credentials: Credentials | None = None
    claim: str | None = None
    made_by_us: bool = False

    @property
    def logins(self) -> dict[str, Credentials]:
        """What a step that uses the target is given, by the name of its directory in /dataops/secrets."""
        given = {self.name: self.credentials, f"{self.name}{READ}": self.read_credentials}
        return {name: login for name, login in given.items() if login is not None}

    @property
    def job_logins(self) -> dict[str, Credentials]:
        """The same for the Jobs that make and check the place: they also read what they copy."""
        read = None if self.source is None else _credentials(self.source)
        return self.logins | ({} if read is None else {f"{self.name}{READ}": read})


@dataclass(frozen=True, slots=True)
class Targets:
    """All targets of one environment."""

    items: Sequence[ResolvedTarget] = field(default_factory=tuple)

    def get(self, name: str) -> ResolvedTarget | None:
        """The target of that name."""
        return next((one for one in self.items if one.name == name), None)


def overlaps(one: ResolvedTarget, other: ResolvedTarget) -> bool:
    """Whether two targets are one place, or one lies in the other."""
    return inside(one.location, other.location) or inside(other.location, one.location)


def conflict(one: ResolvedTarget, other: ResolvedTarget) -> bool:
    """Whether two targets write to one place: what two environments must never do."""
    return one.writable and other.writable and overlaps(one, other)


def resolve(
    spec: Target, execution: str, *, source: Target | None = None, copies: bool = False, made_by_us: bool = False
) -> ResolvedTarget:
    """A target as runs of an execution namespace use it.

    Args:
        spec: the target in full; it must have exactly one of the kinds.
        execution: the namespace.
        source: the parent's, narrowed to the login that reads.
        copies: whether the place begins as a copy of the source.
        made_by_us: whether the environment makes the place.
    """
    through = None if copies else source
    place = place_of(spec)
    return ResolvedTarget(
        name=spec.name,
        kind=kind_of(spec),
        writable=spec.access == "ReadWrite",
        location=location(spec, execution),
        attributes=attributes(spec, through),
        spec=spec,
        source=source,
        copies=copies,
        credentials=_credentials(spec),
        read_credentials=None if through is None else _credentials(through),
        claim=claim_of(spec),
        made_by_us=made_by_us or (isinstance(place, VolumeTarget) and place.claim is None),
    )


def dump(target: ResolvedTarget) -> dict[str, Any]:
    """A target as JSON that `load` reads back: what a pinned revision of an environment keeps."""
    out: dict[str, Any] = {"spec": _raw(target.spec), "copies": target.copies, "madeByUs": target.made_by_us}
    return out | ({} if target.source is None else {"source": _raw(target.source)})


def load(raw: Mapping[str, Any], execution: str) -> ResolvedTarget:
    """What `dump` wrote, for the execution namespace it was resolved for."""
    source = raw.get("source")
    return resolve(
        Target.model_validate(raw["spec"]),
        execution,
        source=None if source is None else Target.model_validate(source),
        copies=raw["copies"],
        made_by_us=raw["madeByUs"],
    )


def resolve_targets(
    spec: EnvironmentSpec, project: str, name: str, execution: str, parent: Effective | None
) -> tuple[list[ResolvedTarget], list[Problem]]:
    """The targets of an environment, and what is wrong with them.

    Those that the spec names come first, in its order; then, for a branch environment, one for each other target that
    the parent has. A target with a problem is not among them.

    Args:
        spec: of the Environment.
        project: its namespace.
        name: its name, of which the names of a branch's places are made.
        execution: namespace of its runs.
        parent: what it branches off; None without `from`, or where the parent is not known yet.
    """
    found: list[tuple[str, ResolvedTarget]] = []
    problems: list[Problem] = []
    for index, target in enumerate(spec.targets or ()):
        path = f"spec.targets[{index}]"
        wrong = list(_shape(target, path))
        problems += wrong
        if not wrong:
            found.append((path, resolve(target, execution)))
    named = {target.name for target in spec.targets or ()}
    if spec.from_ is not None and parent is not None:
        path = "spec.from" if spec.data_mode is None else "spec.dataMode"
        for given in parent.targets.values():
            if given.name not in named:
                try:
                    found.append((path, _branched(given, spec, project, name, execution, parent)))
                except BranchError as error:
                    problems.append(Problem(path, str(error)))
    return [target for _, target in found], problems + list(_clashes(found))


def _branched(
    given: ResolvedTarget, spec: EnvironmentSpec, project: str, name: str, execution: str, parent: Effective
) -> ResolvedTarget:
    theirs = qualify(given.spec, parent.execution)
    if not given.writable:
        return resolve(inherit(theirs), execution)
    mode = spec.data_mode or DataMode.EMPTY
    source = None if mode is DataMode.EMPTY else source_of(theirs)
    for hashed in (False, True):
        own = derive(theirs, project, name, mode, hashed=hashed)
        out = resolve(own, execution, source=source, copies=mode is DataMode.COPY, made_by_us=True)
        if not any(conflict(out, other) for other in parent.targets.values()):
            return out
    raise BranchError(
        f"the place beside the parent's {given.name!r} is inside another of its targets: "
        "name the target in spec.targets of this environment"
    )


def _credentials(target: Target) -> Credentials | None:
    place = place_of(target)
    return None if isinstance(place, VolumeTarget) else place.credentials


def _raw(target: Target) -> dict[str, Any]:
    return target.model_dump(mode="json", by_alias=True, exclude_none=True)


def _shape(target: Target, path: str) -> Iterator[Problem]:
    """What is wrong with one target: the schema's rules again, and what the schema cannot say."""
    try:
        place = place_of(target)
    except ValueError as error:
        yield Problem(path, str(error))
        return
    at = f"{path}.{kind_of(target)}"
    if isinstance(place, PostgresTarget):
        if place.schema_.startswith("pg_") or place.schema_ == "information_schema":
            yield Problem(f"{at}.schema", f"{place.schema_!r} is PostgreSQL's own: name another schema")
    elif isinstance(place, S3Target):
        port = place.endpoint.rpartition(":")[2]
        if port.isdigit() and not 1 <= int(port) <= 65535:
            yield Problem(f"{at}.endpoint", f"{port} is no port: write one from 1 to 65535, or none")
    elif (place.size is None) == (place.claim is None):
        yield Problem(at, "give exactly one of size (a claim that the environment makes) and claim (one that exists)")
    elif place.size is not None and target.access == "ReadOnly":
        yield Problem(f"{path}.access", "nobody writes to a new claim that runs only read: name one that exists")


def _clashes(found: Sequence[tuple[str, ResolvedTarget]]) -> Iterator[Problem]:
    for index, (path, one) in enumerate(found):
        for other_path, other in found[:index]:
            if one.name == other.name:
                yield Problem(path, f"there are two targets called {one.name!r}: rename one")
            elif conflict(one, other):
                yield Problem(
                    path,
                    f"{one.name!r} and {other.name!r} ({other_path}) write to one place, {other.location}: "
                    "give each a place of its own, or make one of them access: ReadOnly",
                )
    names = {target.name for _, target in found}
    for path, one in found:
        if one.source is not None and f"{one.name}{READ}" in names:
            yield Problem(
                path,
                f"{one.name}{READ} is where the login that reads for {one.name!r} is delivered: "
                f"rename the target {one.name}{READ}",
            )
