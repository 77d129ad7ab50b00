"""Objects of the cluster that a run's steps look at: which one, and what was read of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from ..api.base import GROUP
from ..api.conditions import Reason


@dataclass(frozen=True, slots=True)
class ObjectRef:
    """Which object.

    Attributes:
        api_version: of its kind.
        kind: of it.
        namespace: where it is.
        name: of it.
        own: whether it is a run that the looking run made; else it is looked at with the rights of the runner.
    """

    api_version: str
    kind: str
    namespace: str
    name: str
    own: bool = False

    def __str__(self) -> str:
        """As people call it: `Job team/load`."""
        return f"{self.kind} {self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class Seen:
    """What was read of an object.

    Attributes:
        content: the object; None where there is none, or it could not be read.
        problem: why it could not be read; empty where it could, or there is none.
        reason: of the problem.
        hopeless: whether no later try can end otherwise.
        stays: why the API server would not delete it, where it was asked to; empty where it was not, or would.
    """

    content: Mapping[str, Any] | None = None
    problem: str = ""
    reason: Reason = Reason.OBJECT_UNREADABLE
    hopeless: bool = False
    stays: str = ""


@dataclass(frozen=True, slots=True)
class AllowedKind:
    """A kind that steps may look at.

    Attributes:
        api_version: such as `batch/v1`.
        kind: such as `Job`.
        plural: what its path calls it, such as `jobs`.
        applies: whether steps may also make objects of it.
    """

    api_version: str
    kind: str
    plural: str
    applies: bool = False


Allowed = Mapping[tuple[str, str], AllowedKind]
"""The kinds that the administrator lets steps touch, by apiVersion and kind."""

_NEVER_GROUPS: Final = frozenset({GROUP, "rbac.authorization.k8s.io", "admissionregistration.k8s.io"})
_NEVER: Final = frozenset({"secrets", "Secret", "serviceaccounts", "ServiceAccount"})
_ACCESS: Final = ("Read", "Apply")


def allowed_kinds(text: str) -> dict[tuple[str, str], AllowedKind]:
    """The kinds of a JSON list `[{"apiVersion", "kind", "resource", "access": "Read" | "Apply"}]`.

    Raises:
        ValueError: it is none, or names a kind that no step may touch whatever an administrator says.
    """
    out: dict[tuple[str, str], AllowedKind] = {}
    for one in orjson.loads(text or "[]"):
        try:
            access = one.get("access", "Read")
            found = AllowedKind(one["apiVersion"], one["kind"], one["resource"], access == "Apply")
        except (AttributeError, KeyError, TypeError):
            raise ValueError(f"{one!r}: give apiVersion, kind and resource, and access where it is not Read") from None
        if access not in _ACCESS:
            raise ValueError(f"access of {found.kind} is {access!r}; give one of {', '.join(_ACCESS)}")
        if never_allowed(found.api_version, found.plural):
            raise ValueError(f"{found.kind} ({found.api_version}) is a kind that no step may touch; remove it")
        out[found.api_version, found.kind] = found
    return out


def never_allowed(api_version: str, name: str) -> bool:
    """Whether a kind is one that no step may touch, whatever an administrator says.

    Args:
        api_version: such as `v1`.
        name: of the kind, or what its path calls it.
    """
    group = api_version.rpartition("/")[0]
    return group in _NEVER_GROUPS or (not group and name in _NEVER)
