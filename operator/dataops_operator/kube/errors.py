"""What can go wrong in a call to the API server, as types that callers can tell apart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson


class ApiError(Exception):
    """The API server did not do what was asked.

    Attributes:
        status: HTTP status; 0 when there was no answer (timeout, broken connection).
        reason: the server's CamelCase reason (``NotFound``, ``Invalid``), or ours where it gave none.
        message: the server's sentence. It may quote the request, so it belongs in logs only in part.
        retry_after: seconds that the server asks to wait, or None.
        causes: reasons of the single causes, such as ``NamespaceTerminating`` below a 403.
    """

    def __init__(
        self,
        status: int,
        reason: str,
        message: str,
        *,
        retry_after: float | None = None,
        causes: tuple[str, ...] = (),
    ) -> None:
        super().__init__(status, reason, message)
        self.status = status
        self.reason = reason
        self.message = message
        self.retry_after = retry_after
        self.causes = causes

    def __str__(self) -> str:
        return f"{self.status or 'no answer'} {self.reason}: {self.message}"


class NotFound(ApiError):  # noqa: N818 - the API's own words
    """404: no such object, or no such kind."""


class AlreadyExists(ApiError):  # noqa: N818
    """409 on a create: an object of that name is there."""


class Conflict(ApiError):  # noqa: N818
    """409 otherwise: another resourceVersion or UID than the one that was named."""


class Gone(ApiError):  # noqa: N818
    """410: the resourceVersion or continue token is too old, list afresh."""


class Invalid(ApiError):  # noqa: N818
    """422: the object breaks its schema or an admission rule."""


class Forbidden(ApiError):  # noqa: N818
    """403: no right, a quota, an admission refusal, or a namespace that is going away (see `causes`)."""


class Unauthorized(ApiError):  # noqa: N818
    """401: the credentials are not accepted (any more)."""


class TooManyRequests(ApiError):  # noqa: N818
    """429: refused before it was carried out, ask again later."""


class Unavailable(ApiError):  # noqa: N818
    """5xx, timeout or broken connection: whether the call was carried out is not known."""


def refuses(error: ApiError) -> bool:
    """Whether the API server took a request and would not do it, so that nothing is left in doubt."""
    passing = isinstance(error, Conflict | TooManyRequests | Unauthorized) or error.status == 408
    return 400 <= error.status < 500 and not passing


_BY_STATUS: dict[int, type[ApiError]] = {
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: Gone,
    422: Invalid,
    429: TooManyRequests,
}

_MESSAGE_LIMIT = 1024  # proxies in front of an API server answer with whole pages of HTML


def error_from(status: int, body: bytes | Mapping[str, Any] | None, retry_after: str | None = None) -> ApiError:
    """Make the typed error of an unsuccessful answer.

    Args:
        status: HTTP status of the answer, or the `code` of the Status object of a watch's ERROR event.
        body: the answer's body, a Status object as bytes or already parsed; anything else is kept as text.
        retry_after: the Retry-After header's value, if there was one; else the Status object's own is taken.
    """
    details = _as_status(body)
    reason = str(details.get("reason") or "")
    kind = _BY_STATUS.get(status, Unavailable if status >= 500 or status == 0 else ApiError)
    if status == 409 and reason == "AlreadyExists":
        kind = AlreadyExists
    more = details.get("details")
    more = more if isinstance(more, Mapping) else {}
    return kind(
        status,
        reason or kind.__name__,
        str(details.get("message") or "")[:_MESSAGE_LIMIT],
        retry_after=_seconds(retry_after) or _seconds(more.get("retryAfterSeconds")),
        causes=tuple(
            str(cause["reason"])
            for cause in more.get("causes") or ()
            if isinstance(cause, Mapping) and cause.get("reason")
        ),
    )


def _as_status(body: bytes | Mapping[str, Any] | None) -> Mapping[str, Any]:
    if isinstance(body, Mapping):
        return body
    if not body:
        return {}
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError:
        parsed = None
    return parsed if isinstance(parsed, dict) else {"message": body.decode("utf-8", "replace").strip()}


def _seconds(value: object) -> float | None:
    """Read a count of seconds; the header's other form (a date) is not used by API servers."""
    if not isinstance(value, str | int | float):
        return None
    try:
        seconds = float(value)
    except ValueError:
        return None
    return seconds if 0 < seconds < float("inf") else None
