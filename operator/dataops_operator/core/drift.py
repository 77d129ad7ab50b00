"""How an object that an environment made differs from how it should be: the smallest patch that mends it.

A patch and not an apply, since an apply leaves what another writer added: a rule in a policy, a subject in a binding.
What people add beside it (annotations, labels of their own) stays.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from .quantities import parse_quantity

CONTENT: Final[Mapping[str, tuple[str, ...]]] = {
    "Namespace": (),
    "ServiceAccount": ("automountServiceAccountToken", "imagePullSecrets"),
    "RoleBinding": ("subjects",),
    "ResourceQuota": ("spec",),
    "LimitRange": ("spec",),
    "NetworkPolicy": ("spec",),
    "PersistentVolumeClaim": (),
}
"""Fields of each kind that are held to the letter: what is not wanted there is taken out."""

_QUANTITIES: Final = ("ResourceQuota", "LimitRange", "PersistentVolumeClaim")


def mend(wanted: Mapping[str, Any], live: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON merge patch (RFC 7396) that makes a live object as wanted; empty where it is.

    Args:
        wanted: the whole object, as it would be created.
        live: the object as the API server has it, with the defaults it filled in.
    """
    kind = str(wanted["kind"])
    patch: dict[str, Any] = {}
    meta = _metadata(wanted["metadata"], live["metadata"])
    if meta:
        patch["metadata"] = meta
    for field in CONTENT[kind]:
        section = _exactly(wanted.get(field), live.get(field), kind in _QUANTITIES)
        if section is not _SAME:
            patch[field] = section
    if kind == "PersistentVolumeClaim":
        size, there = (one["spec"]["resources"]["requests"]["storage"] for one in (wanted, live))
        if not _same(size, there, True):
            patch["spec"] = {"resources": {"requests": {"storage": size}}}
    return patch


def must_be_remade(wanted: Mapping[str, Any], live: Mapping[str, Any]) -> bool:
    """Whether an object differs in what cannot be changed: a RoleBinding's role."""
    return bool(wanted["kind"] == "RoleBinding" and wanted["roleRef"] != live.get("roleRef"))


def _metadata(wanted: Mapping[str, Any], live: Mapping[str, Any]) -> dict[str, Any]:
    patch: dict[str, Any] = {}
    for field in ("labels", "annotations"):
        there = live.get(field) or {}
        missing = {key: value for key, value in (wanted.get(field) or {}).items() if there.get(key) != value}
        if missing:
            patch[field] = missing
    owners = list(live.get("ownerReferences") or ())
    ours = [one for one in wanted.get("ownerReferences") or () if one["uid"] not in {other["uid"] for other in owners}]
    if ours:
        patch["ownerReferences"] = owners + ours
    return patch


class _Same:
    """Says that nothing is to be patched; None is a value in a merge patch."""


_SAME: Final = _Same()


def _exactly(wanted: Any, live: Any, quantities: bool) -> Any:
    """The patch from one value to another; _SAME where they are equal."""
    if _same(wanted, live, quantities):
        return _SAME
    if not (isinstance(wanted, Mapping) and isinstance(live, Mapping)):
        return wanted
    patch: dict[str, Any] = dict.fromkeys(live.keys() - wanted.keys())
    for key, value in wanted.items():
        part = _exactly(value, live.get(key), quantities)
        if part is not _SAME:
            patch[key] = part
    return patch


def _same(one: Any, other: Any, quantities: bool) -> bool:
    """Whether two values mean the same: the API server leaves out empty lists, and writes quantities its own way."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        keys = {key for each in (one, other) for key, value in each.items() if value is not None and value != []}
        return all(_same(one.get(key), other.get(key), quantities) for key in keys)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(_same(*pair, quantities) for pair in zip(one, other, strict=True))
    if one == other or (one in (None, []) and other in (None, [])):
        return True
    if quantities and isinstance(one, str | int) and isinstance(other, str | int):
        try:
            return parse_quantity(one) == parse_quantity(other)
        except ValueError:
            return False
    return False
