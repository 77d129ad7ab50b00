"""A step's result: the JSON object it wrote to /dataops/result, held against the outputs it declares."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from ..api.base import shallow
from ..api.conditions import Reason, truncate
from ..api.step import Step
from .jobs import RESULT_LIMIT
from .parameters import coerce

_SHOWN_CHECKS: Final = 5


@dataclass(frozen=True, slots=True)
class Result:
    """What a step told.

    Attributes:
        outputs: the declared outputs, each of its type.
        message: what the step wants a person to know, from its message or its failed checks.
    """

    outputs: dict[str, Any] = field(default_factory=dict)
    message: str = ""


class ResultError(ValueError):
    """The result cannot be used."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def read(step: Step, text: str) -> Result:
    """The result of a step that exited with 0.

    Args:
        step: what it declares.
        text: its container's termination message.

    Raises:
        ResultError: malformed, too large, or without a declared output.
    """
    raw = _parse(text)
    outputs = raw.get("outputs", {})
    if not isinstance(outputs, dict):
        raise ResultError(Reason.INVALID_RESULT, "outputs in /dataops/result is not a JSON object of names and values")
    out: dict[str, Any] = {}
    for declared in step.outputs or ():
        if declared.name not in outputs:
            raise ResultError(
                Reason.MISSING_OUTPUT,
                f"exited with 0, but /dataops/result has no output {declared.name!r}; write "
                f'{{"outputs": {{"{declared.name}": …}}}} to it, in place, before the end',
            )
        try:
            out[declared.name] = coerce(outputs[declared.name], declared.type)
        except ValueError as error:
            raise ResultError(Reason.INVALID_RESULT, f"output {declared.name!r} in /dataops/result: {error}") from None
    return Result(out, _message(raw))


def read_message(text: str) -> str:
    """What a failed step told of why; empty where it told nothing that can be read."""
    try:
        return _message(_parse(text))
    except ResultError:
        return ""


def _parse(text: str) -> dict[str, Any]:
    if not text.strip():
        return {}
    try:
        raw = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        # The kubelet keeps 4,096 bytes and may cut a character; what is cut cannot be told from what is broken.
        if len(text.encode()) >= RESULT_LIMIT - 8:
            raise ResultError(
                Reason.RESULT_TOO_LARGE,
                f"/dataops/result is larger than {RESULT_LIMIT} bytes, which is all that Kubernetes keeps; "
                "write data to the workspace and only its location to the result",
            ) from None
        raise ResultError(Reason.INVALID_RESULT, f"/dataops/result is not JSON: {error}") from None
    if not isinstance(raw, dict):
        raise ResultError(Reason.INVALID_RESULT, "/dataops/result is not a JSON object")
    try:
        shallow(raw)
    except ValueError as error:
        raise ResultError(Reason.INVALID_RESULT, f"/dataops/result: {error}") from None
    return raw


def _message(raw: Mapping[str, Any]) -> str:
    message = raw.get("message")
    if isinstance(message, str) and message:
        return truncate(message, 800)
    checks = raw.get("checks")
    failed = [
        one
        for one in (checks if isinstance(checks, list) else ())
        if isinstance(one, dict) and one.get("outcome") in ("Fail", "Error")
    ]
    if not failed:
        return ""
    shown = "; ".join(_check(one) for one in failed[:_SHOWN_CHECKS])
    more = f"; and {len(failed) - _SHOWN_CHECKS} more" if len(failed) > _SHOWN_CHECKS else ""
    return truncate(f"{len(failed)} checks failed: {shown}{more}" if len(failed) > 1 else f"check failed: {shown}", 800)


def _check(one: Mapping[str, Any]) -> str:
    text = str(one.get("name", "unnamed"))
    if one.get("message"):
        return f"{text} ({one['message']})"
    if "value" in one:
        text += f" was {one['value']}"
    if "expected" in one:
        text += f", expected {one['expected']}"
    return text
