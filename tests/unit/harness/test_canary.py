"""A canary is found in whatever clothes; one that could hide would make every search for it worthless."""

import base64
import json
from urllib.parse import quote, urlencode

import orjson
import pytest
from tests.harness.canary import canary, search

VALUE = canary("one")
CLOTHES = {
    "plain": VALUE.encode(),
    "in a log line": f"2026 INFO token={VALUE} read".encode(),
    "in JSON": json.dumps({"token": VALUE}).encode(),
    "in JSON with UTF-8": orjson.dumps({"token": VALUE}),
    "in JSON inside JSON": json.dumps({"record": json.dumps({"token": VALUE})}).encode(),
    "in a path": f"/v1/{quote(VALUE)}".encode(),
    "in a query": urlencode({"token": VALUE}).encode(),
    "in Python's words": repr({"token": VALUE}).encode(),
    "in hexadecimal": VALUE.encode().hex().encode(),
    "base64": base64.b64encode(VALUE.encode()),
    "base64 for URLs": base64.urlsafe_b64encode(VALUE.encode()),
    "base64 of base64": base64.b64encode(base64.b64encode(VALUE.encode())),
    **{
        f"base64 of something longer, {shift} before": base64.b64encode(b"x" * shift + VALUE.encode() + b"after")
        for shift in range(6)
    },
}


@pytest.mark.parametrize("clothes", CLOTHES)
def test_it_is_found(clothes: str) -> None:
    (leak,) = search("here", b"before " + CLOTHES[clothes] + b" after", [VALUE, canary("other")])
    assert leak.value == VALUE


def test_each_of_many_is_found_among_bytes_that_are_no_text() -> None:
    values = [canary(f"number-{number}") for number in range(100)]
    noise = bytes(range(256))
    for value in values:
        (leak,) = search("here", noise + value.encode() + noise, values)
        assert (leak.value, leak.encoding) == (value, "plain")
    assert search("here", noise * 100, values) == []
    assert search("here", noise, []) == []


def test_what_is_no_canary_is_no_leak() -> None:
    assert search("here", b"canary-one is a name, and canary-two", [VALUE]) == []


def test_a_leak_says_where() -> None:
    assert "the log has the canary" in str(search("the log", VALUE.encode(), [VALUE])[0])
