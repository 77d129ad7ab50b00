"""What can be known to be wrong with an Environment's own words, each with its path and the cure.

The API server's schema refuses what it can see. Here is what it cannot: addresses, quantities, labels, and a quota in
which not one pod of a step would fit. The reconciler and the offline lint call this same code.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any, Final

from pydantic.alias_generators import to_camel

from ..api.base import parse_duration
from ..api.conditions import Reason
from ..api.environment import Egress, EnvironmentSpec, IpBlock, PodDefaults, Selector
from ..api.secret import Credentials
from ..api.step import Quantity
from ..api.target import Target, VolumeTarget
from .containerrules import resource_problems
from .podtemplate import policy_problems
from .problems import Problem
from .quantities import parse_quantity
from .secretrules import OF_ENVIRONMENT, credential_problems

LONGEST: Final = "366d"
"""Longest time to live."""
SMALLEST_POD: Final[Mapping[str, Decimal]] = {"cpu": Decimal("0.01"), "memory": Decimal(16 * 1024**2)}
"""What the smallest pod that does anything asks for: a hundredth of a core, 16 MiB."""

_LABEL_NAME: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_LABEL_PREFIX: Final = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")
_COUNTED: Final = ("pods", "count/pods", "count/jobs.batch")
"""Things of which a step needs one."""
_COMPUTE: Final = {
    f"{prefix}{name}": (name, field)
    for name in ("cpu", "memory", "ephemeral-storage")
    for prefix, field in (("", "requests"), ("requests.", "requests"), ("limits.", "limits"))
}
"""Which field of a container's resources an entry of a quota counts."""

Network = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class Fault(Problem):
    """A problem that has a reason of its own in the environment's conditions."""

    reason: Reason = Reason.INVALID


def reason_of(problems: Iterable[Problem]) -> Reason:
    """The reason that a condition gives for some problems: the first one's."""
    first = next(iter(problems), None)
    return first.reason if isinstance(first, Fault) else Reason.INVALID


def problems_of(spec: EnvironmentSpec) -> Iterator[Problem]:
    """What is wrong with a well-formed spec, apart from what needs its parent or its targets."""
    yield from _unique("spec.parameters", [one.name for one in spec.parameters or ()])
    for index, target in enumerate(spec.targets or ()):
        for kind, volume in (("volume", target.volume), ("duckdb", target.duckdb)):
            if volume is not None:
                yield from _volume(f"spec.targets[{index}].{kind}", volume)
        yield from _logins(f"spec.targets[{index}]", target)
    yield from _pod_defaults(spec.pod_defaults)
    if spec.pod_policy is not None:
        yield from policy_problems(spec.pod_policy)
    for index, egress in enumerate(spec.network.egress or () if spec.network else ()):
        yield from _egress(f"spec.network.egress[{index}]", egress)
    yield from _access(spec)
    if spec.quota is not None and spec.quota.hard:
        yield from _quantities("spec.quota.hard", spec.quota.hard)
    if spec.vault is not None:
        yield from _duration("spec.vault.waitLimit", spec.vault.wait_limit)
        if spec.restricted and spec.vault.delivery != "Pod":
            text = "a restricted environment keeps secrets out of etcd; set vault.delivery to Pod"
            yield Problem("spec.vault", text)
    yield from _life(spec)
    if spec.from_ is None:
        for field, value in (("branch", spec.branch), ("dataMode", spec.data_mode)):
            if value is not None:
                yield Problem(f"spec.{field}", f"{field} needs spec.from: the environment to branch off; add it")


def _logins(path: str, target: Target) -> Iterator[Problem]:
    for kind, place in (("postgres", target.postgres), ("s3", target.s3)):
        for field in ("credentials", "read_credentials", "branch_credentials"):
            login: Credentials | None = getattr(place, field, None)
            if login is not None:
                where = f"{path}.{kind}.{to_camel(field)}"
                yield from credential_problems(where, login, roots=OF_ENVIRONMENT)


def _unique(path: str, values: list[str]) -> Iterator[Problem]:
    seen: set[str] = set()
    for index, value in enumerate(values):
        if value in seen:
            yield Problem(f"{path}[{index}].name", f"the name {value!r} is there already; names are unique")
        seen.add(value)


def _life(spec: EnvironmentSpec) -> Iterator[Problem]:
    if spec.ttl is not None:
        yield from _duration("spec.ttl", spec.ttl)
        if parse_duration(spec.ttl) == 0:
            text = f"{spec.ttl} would delete the environment at once; write how long it shall live, such as 72h"
            yield Problem("spec.ttl", text)


def _duration(path: str, text: str) -> Iterator[Problem]:
    if parse_duration(text) > parse_duration(LONGEST):
        yield Problem(path, f"{text} is longer than {LONGEST}; write less")


def _volume(path: str, volume: VolumeTarget) -> Iterator[Problem]:
    if volume.claim is not None and (volume.storage_class is not None or "access_mode" in volume.model_fields_set):
        text = "storageClass and accessMode belong to a claim that the environment makes; remove them, or give size"
        yield Problem(f"{path}.claim", text)
    if volume.size is not None and not parse_quantity(volume.size):
        yield Problem(f"{path}.size", f"{volume.size} holds nothing; write a size such as 5Gi")


def _pod_defaults(defaults: PodDefaults | None) -> Iterator[Problem]:
    if defaults is None:
        return
    yield from resource_problems("spec.podDefaults.resources", defaults.resources)
    yield from _labels("spec.podDefaults.nodeSelector", defaults.node_selector or {})
    for index, one in enumerate(defaults.tolerations or ()):
        path = f"spec.podDefaults.tolerations[{index}]"
        if one.key is None and one.operator != "Exists":
            yield Problem(f"{path}.key", "a toleration without a key tolerates everything by operator Exists alone")
        if one.operator == "Exists" and one.value:
            yield Problem(f"{path}.value", "operator Exists takes no value; remove it, or write operator Equal")


def _labels(path: str, labels: Mapping[str, str]) -> Iterator[Problem]:
    """Keys and values as the API server takes them; it would refuse every object that has others."""
    for key, value in labels.items():
        prefix, _, name = key.rpartition("/")
        sound = _LABEL_NAME.fullmatch(name) and (not prefix or _LABEL_PREFIX.fullmatch(prefix))
        if not sound or key.startswith("/"):
            yield Problem(path, f"{key!r} is not the key of a label; write it as team or example.com/team")
        if value and not _LABEL_NAME.fullmatch(value):
            cure = "it has letters, digits, '.', '_' and '-' and begins and ends with a letter or digit"
            yield Problem(f"{path}.{key}", f"{value!r} is not the value of a label: {cure}")


def _egress(path: str, egress: Egress) -> Iterator[Problem]:
    for index, peer in enumerate(egress.to or ()):
        here = f"{path}.to[{index}]"
        selects = peer.namespace_selector is not None or peer.pod_selector is not None
        if (peer.ip_block is not None) == selects:
            text = "a peer is either ipBlock, or namespaceSelector and podSelector; give one of the two"
            yield Problem(here, text)
        if peer.ip_block is not None:
            yield from _block(f"{here}.ipBlock", peer.ip_block)
        for field, selector in (("namespaceSelector", peer.namespace_selector), ("podSelector", peer.pod_selector)):
            yield from _selector(f"{here}.{field}.matchLabels", selector)


def _selector(path: str, selector: Selector | None) -> Iterator[Problem]:
    if selector is not None:
        yield from _labels(path, selector.match_labels)


def _block(path: str, block: IpBlock) -> Iterator[Problem]:
    whole = _network(block.cidr)
    if whole is None:
        yield _bad_range(f"{path}.cidr", block.cidr)
    for index, text in enumerate(block.except_ or ()):
        part, here = _network(text), f"{path}.except[{index}]"
        if part is None:
            yield _bad_range(here, text)
        elif whole is not None and not _inside(part, whole):
            yield Problem(here, f"{text} is not a smaller range inside {block.cidr}; remove it, or widen cidr")


def _bad_range(path: str, text: str) -> Problem:
    return Problem(path, f"{text!r} is not a range of addresses; write one such as 10.0.0.0/8 or 2001:db8::/32")


def _network(text: str) -> Network | None:
    try:
        return ip_network(text, strict=False)
    except ValueError:
        return None


def _inside(part: Network, whole: Network) -> bool:
    if isinstance(part, IPv4Network) and isinstance(whole, IPv4Network):
        return part != whole and part.subnet_of(whole)
    if isinstance(part, IPv6Network) and isinstance(whole, IPv6Network):
        return part != whole and part.subnet_of(whole)
    return False


def _access(spec: EnvironmentSpec) -> Iterator[Problem]:
    for index, access in enumerate(spec.access or ()):
        for number, subject in enumerate(access.subjects):
            if subject.namespace is not None and subject.kind != "ServiceAccount":
                path = f"spec.access[{index}].subjects[{number}].namespace"
                yield Problem(path, f"a {subject.kind} has no namespace; remove it")


def _quantities(path: str, given: Quantity) -> Iterator[Problem]:
    for name, value in given.items():
        try:
            parse_quantity(value)
        except ValueError as error:
            yield Problem(f"{path}[{name}]", str(error))


# A quota below one pod.


def quota_problems(spec: EnvironmentSpec, storage: Mapping[str, str]) -> Iterator[Problem]:
    """What of a quota keeps even one pod of a step, or the environment's own claims, from being made.

    Args:
        spec: with all quantities readable; filled up from the parent's.
        storage: size of each claim that the environment makes, by the target's name.
    """
    hard = (spec.quota.hard if spec.quota else None) or {}
    for name, value in hard.items():
        path, bound = f"spec.quota.hard[{name}]", parse_quantity(value)
        if name in _COUNTED and bound < 1:
            yield Fault(path, f"{value} lets no pod of a step begin; give at least 1", Reason.QUOTA_TOO_SMALL)
        elif name in _COMPUTE:
            yield from _one_pod(path, value, bound, *_COMPUTE[name], spec.pod_defaults)
        elif name == "requests.storage":
            needed = sum((parse_quantity(size) for size in storage.values()), Decimal(0))
            if needed > bound:
                sizes = ", ".join(f"{target} {size}" for target, size in sorted(storage.items()))
                text = (
                    f"{value} is less than the targets' claims need ({sizes}); give more, or make the targets smaller"
                )
                yield Fault(path, text, Reason.QUOTA_TOO_SMALL)
        elif name in ("persistentvolumeclaims", "count/persistentvolumeclaims") and bound < len(storage):
            text = f"{value} is less than the claims of the targets {', '.join(sorted(storage))}; give {len(storage)}"
            yield Fault(path, text, Reason.QUOTA_TOO_SMALL)


def _one_pod(
    path: str, value: Any, bound: Decimal, name: str, field: str, defaults: PodDefaults | None
) -> Iterator[Problem]:
    """One pod with what spec.podDefaults gives it, or the smallest one where they say nothing."""
    resources = defaults.resources if defaults is not None else None
    asked = (getattr(resources, field) or {}) if resources is not None else {}
    if name not in asked and field == "requests" and resources is not None:
        asked = resources.limits or {}  # a request that is not said is the limit
    if name in asked and parse_quantity(asked[name]) > bound:
        where = f"spec.podDefaults.resources gives each step {asked[name]} {name}"
        text = f"{value} is less than one pod: {where}; raise the quota, or lower that"
        yield Fault(path, text, Reason.QUOTA_TOO_SMALL)
    elif name in SMALLEST_POD and bound < SMALLEST_POD[name]:
        least = {"cpu": "10m", "memory": "16Mi"}[name]
        yield Fault(path, f"{value} is less than one pod takes; give at least {least}", Reason.QUOTA_TOO_SMALL)
