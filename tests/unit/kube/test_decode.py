"""Reading JSON of any depth: what can be read is read as it is, and what is too deep is cut there and nowhere else."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataops_operator.kube.decode import LEVELS, loads

ANY = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


def nested(levels: int, what: str = "[]") -> bytes:
    begin, end = what[0], what[1]
    key = '"a":' if begin == "{" else ""
    return (f"{begin}{key}" * levels + "1" + end * levels).encode()


def depth(value: Any) -> int:
    levels = 0
    while isinstance(value, list | dict):
        value = value[0] if isinstance(value, list) else value["a"]
        levels += 1
    return levels


@given(ANY)
def test_what_a_library_can_read_is_read_as_it_is(value: Any) -> None:
    assert loads(orjson.dumps(value)) == value


@pytest.mark.parametrize("what", ["[]", "{}"])
@pytest.mark.parametrize("levels", [2_000, 100_000])
def test_what_is_too_deep_for_any_library_is_cut(what: str, levels: int) -> None:
    read = loads(nested(levels, what))
    assert depth(read) == LEVELS
    assert orjson.dumps(read), "and can be written again"


@given(ANY, ANY)
def test_what_stands_beside_a_cut_stays_as_it_is(before: Any, after: Any) -> None:
    """Also where strings hold brackets, quotes and backslashes."""
    text = b'{"before":%s,"deep":%s,"after":%s}' % (orjson.dumps(before), nested(3_000), orjson.dumps(after))
    read = loads(text)
    assert (read["before"], read["after"]) == (before, after)
    assert depth(read["deep"]) == LEVELS - 1


@pytest.mark.parametrize("text", [b"", b"{", b"[" * 5_000, b"]" * 5_000, b'"' * 5_001, b'{"a":' + b'"\\' * 50_000])
def test_what_is_no_json_is_refused_at_once(text: bytes) -> None:
    with pytest.raises(orjson.JSONDecodeError):
        loads(text)
