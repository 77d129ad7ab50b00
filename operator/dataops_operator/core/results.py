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

_MESSAGE: Final = 800
"""Characters of what a step tells."""
_SHOWN_CHECKS: Final = 5
_OUTCOMES: Final = ("Pass", "Warn", "Fail", "Error", "Skip")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a step tells its result, as messages call it.

    Attributes:
        name: what it is called.
        give: what is done with a result there.
        how: where to, and when.
    """

    name: str
    give: str
    how: str


FILE: Final = Place("/dataops/result", "write", "to it, in place, before the end")
ENDPOINT: Final = Place("what was handed in at the results endpoint", "hand in", "there; the first one stands")
NOT_HANDED_IN: Final = Place(
    "/dataops/result (nothing was handed in at the results endpoint)", "hand in", "there, or write it to the file"
)


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


def read(step: Step, text: str, place: Place = FILE) -> Result:
    """The result of a step that exited with 0.

    Args:
        step: what it declares.
        text: its container's termination message, or what it handed in.
        place: where it was told.

    Raises:
        ResultError: malformed, too large, or without a declared output.
    """
    raw = _parse(text, place)
    outputs = raw.get("outputs", {})
    if not isinstance(outputs, dict):
        text = f"outputs in {place.name} is not a JSON object of names and values"
        raise ResultError(Reason.INVALID_RESULT, text)
    out: dict[str, Any] = {}
    for declared in step.outputs or ():
        if declared.name not in outputs:
            raise ResultError(
                Reason.MISSING_OUTPUT,
                f"exited with 0, but {place.name} has no output {declared.name!r}; "
                f'{place.give} {{"outputs": {{"{declared.name}": …}}}} {place.how}',
            )
        try:
            out[declared.name] = coerce(outputs[declared.name], declared.type)
        except ValueError as error:
            raise ResultError(Reason.INVALID_RESULT, f"output {declared.name!r} in {place.name}: {error}") from None
    return Result(out, _told(raw, place))


def read_message(text: str) -> str:
    """What a failed step told of why; empty where it told nothing that can be read."""
    try:
        return _told(_parse(text, FILE), FILE)
    except ResultError:
        return ""


def _parse(text: str, place: Place) -> dict[str, Any]:
    if not text.strip():
        return {}
    try:
        raw = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        # The kubelet keeps 4,096 bytes and may cut a character; what is cut cannot be told from what is broken.
        if len(text.encode()) >= RESULT_LIMIT - 8:
            raise ResultError(
                Reason.RESULT_TOO_LARGE,
                f"{place.name} is larger than {RESULT_LIMIT} bytes, which is all that Kubernetes keeps; "
                "write data to the workspace and only its location to the result",
            ) from None
        raise ResultError(Reason.INVALID_RESULT, f"{place.name} is not JSON: {error}") from None
    if not isinstance(raw, dict):
        raise ResultError(Reason.INVALID_RESULT, f"{place.name} is not a JSON object")
    try:
        shallow(raw)
    except ValueError as error:
        raise ResultError(Reason.INVALID_RESULT, f"{place.name}: {error}") from None
    return raw


def _told(raw: Mapping[str, Any], place: Place) -> str:
    """What a step tells a person, and what of it cannot be told since it is not of the contract's shape."""
    amiss = _amiss(raw, place.name)
    message = truncate(_message(raw), _MESSAGE - len(amiss) - 2) if amiss else truncate(_message(raw), _MESSAGE)
    return f"{message}; {amiss}" if message and amiss else message or amiss


def _amiss(raw: Mapping[str, Any], where: str) -> str:
    """What is said in another shape than the contract's; null is nothing said."""
    message, checks = raw.get("message"), raw.get("checks")
    found = [] if message is None or isinstance(message, str) else [f"message in {where} is no string"]
    if checks is not None and not isinstance(checks, list):
        found.append(f"checks in {where} is no list")
    for index, one in enumerate(checks if isinstance(checks, list) else ()):
        if not isinstance(one, dict):
            found.append(f"checks[{index}] in {where} is no object with a name and an outcome")
        elif one.get("outcome") not in _OUTCOMES:
            shown = truncate(str(orjson.dumps(one.get("outcome")), "utf-8"), 40)
            found.append(f"checks[{index}].outcome in {where} is {shown}, none of {', '.join(_OUTCOMES)}")
    return found[0] + (f"; and {len(found) - 1} more such" if len(found) > 1 else "") if found else ""


def _message(raw: Mapping[str, Any]) -> str:
    message = raw.get("message")
    if isinstance(message, str) and message:
        return message
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
    return f"{len(failed)} checks failed: {shown}{more}" if len(failed) > 1 else f"check failed: {shown}"


def _check(one: Mapping[str, Any]) -> str:
    text = str(one.get("name", "unnamed"))
    if one.get("message"):
        return f"{text} ({one['message']})"
    if "value" in one:
        text += f" was {one['value']}"
    if "expected" in one:
        text += f", expected {one['expected']}"
    return text
