"""How a command ends: exit codes that scripts can use, and what went wrong in one sentence."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Any, Final

import orjson


class Exit(IntEnum):
    """Exit codes; docs/cli.md explains each."""

    OK = 0
    FAILED = 1
    """The run failed, or lint found problems."""
    USAGE = 2
    """The command line is wrong; the code that click has for it."""
    REFUSED = 3
    """There is no such object, or the API server refused what was asked."""
    TIMEOUT = 4
    """It did not happen within --timeout."""
    UNREACHABLE = 5
    """No kubeconfig, or no answer from the API server."""
    INTERRUPTED = 130


class CliError(Exception):
    """A command cannot go on.

    Attributes:
        code: what it exits with.
        status: of the API server's answer; 0 where there was none.
        no_such_kind: whether the API server does not know the kind at all.
    """

    def __init__(self, message: str, code: Exit = Exit.REFUSED, *, status: int = 0, no_such_kind: bool = False) -> None:
        super().__init__(message)
        self.code = code
        self.status = status
        self.no_such_kind = no_such_kind


_LONGEST: Final = 1000
_NO_KIND: Final = "the server could not find the requested resource", "404 page not found"


def refused(status: int, reason: str, body: bytes, what: str) -> CliError:
    """An answer of the API server as one sentence.

    Args:
        status: of the answer.
        reason: of the answer, for one without a body.
        body: a Status object as JSON, usually.
        what: what was asked for, such as `run flights-1 in namespace analytics`.
    """
    told = _status(body)
    message = " ".join(str(told.get("message") or body.decode(errors="replace") or reason).split())[:_LONGEST]
    if status == 404 and message in _NO_KIND:
        text = "the cluster does not know this kind: is the operator installed there? (kubectl apply -k crds)"
        return CliError(text, status=status, no_such_kind=True)
    texts = {
        401: "the API server does not know you: log in again, or choose another --context",
        403: f"you may not do that: {message}",
        404: f"there is no {what}",
        409: f"{what}: {message}",
    }
    return CliError(texts.get(status, f"{what}: the API server refuses it: {message}"), status=status)


def _status(body: bytes) -> Mapping[str, Any]:
    """The Status object of an answer; empty where it is none."""
    try:
        told = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return told if isinstance(told, dict) else {}
