"""Which namespaces an Environment may have made: those whose name the administrator's patterns allow its project."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

PROJECT: Final = "{project}"
_RESERVED: Final = re.compile(r"kube-.*|default|openshift-.*")
"""Kubernetes' own (documentation, "Namespaces": avoid names with the prefix kube-); no pattern reaches them."""


def may_be_made(name: str, project: str, patterns: Sequence[str]) -> bool:
    """Whether a namespace of this name may be made for a project's Environment.

    Args:
        name: of the namespace.
        project: namespace of the Environment.
        patterns: in each, `{project}` stands for the project and `*` for one or more characters; the whole name has
            to match one of them.
    """
    if _RESERVED.fullmatch(name):
        return False
    return any(re.fullmatch(_expression(pattern, project), name) for pattern in patterns)


def _expression(pattern: str, project: str) -> str:
    return ".+".join(re.escape(part.replace(PROJECT, project)) for part in pattern.split("*"))


def described(patterns: Sequence[str], project: str) -> str:
    """The patterns for people, with the project filled in."""
    return " or ".join(pattern.replace(PROJECT, project) for pattern in patterns)
