import orjson
import pytest
from tests.unit.kube.objects import status_of

from dataops_operator.kube import errors


@pytest.mark.parametrize(
    ("status", "reason", "kind"),
    [
        (401, "Unauthorized", errors.Unauthorized),
        (403, "Forbidden", errors.Forbidden),
        (404, "NotFound", errors.NotFound),
        (409, "AlreadyExists", errors.AlreadyExists),
        (409, "Conflict", errors.Conflict),
        (410, "Expired", errors.Gone),
        (422, "Invalid", errors.Invalid),
        (429, "TooManyRequests", errors.TooManyRequests),
        (500, "InternalError", errors.Unavailable),
        (504, "Timeout", errors.Unavailable),
        (415, "UnsupportedMediaType", errors.ApiError),
    ],
)
def test_each_answer_becomes_its_own_type(status: int, reason: str, kind: type[errors.ApiError]) -> None:
    error = errors.error_from(status, orjson.dumps(status_of(status, reason)))
    assert type(error) is kind
    assert (error.status, error.reason, error.message) == (status, reason, f"made up {reason}")
    assert reason in str(error)


@pytest.mark.parametrize("body", [b"", b"<html>bad gateway</html>", b"[1]", b"\xff\xfe", None])
def test_a_body_that_is_no_status_object_still_makes_the_right_type(body: bytes | None) -> None:
    error = errors.error_from(502, body)
    assert type(error) is errors.Unavailable
    assert error.reason == "Unavailable"


def test_a_long_body_is_cut() -> None:
    assert len(errors.error_from(502, b"x" * 100_000).message) == 1024


def test_the_header_goes_before_the_status_object_for_retry_after() -> None:
    body = {"details": {"retryAfterSeconds": 7}}
    assert errors.error_from(429, body).retry_after == 7
    assert errors.error_from(429, body, "2").retry_after == 2
    assert errors.error_from(429, None, "Wed, 21 Oct 2026 07:28:00 GMT").retry_after is None
    assert errors.error_from(429, None, "inf").retry_after is None


def test_a_namespace_that_is_going_away_is_told_from_a_missing_right() -> None:
    body = status_of(403, "Forbidden") | {
        "details": {"causes": [{"reason": "NamespaceTerminating", "field": "metadata.namespace"}]}
    }
    assert errors.error_from(403, body).causes == ("NamespaceTerminating",)
