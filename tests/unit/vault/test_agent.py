"""What a pod's init container writes, and says."""

from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataops_operator.vault.agent import MESSAGE_LIMIT, message, write

LEASE = st.fixed_dictionaries({"id": st.text(min_size=1, max_size=300), "ttl": st.integers(0, 10**9)})
VERSION = st.fixed_dictionaries({"name": st.text(max_size=63), "leased": st.booleans()})
TOLD = st.fixed_dictionaries(
    {"accessor": st.just("a" * 24)},
    optional={
        "leases": st.lists(LEASE, max_size=40),
        "versions": st.lists(VERSION, max_size=64),
        "message": st.text(max_size=1024),
    },
)


@given(TOLD)
def test_a_message_is_what_the_kubelet_reads_and_keeps_the_accessor(told: dict[str, object]) -> None:
    raw = message(told)
    assert len(raw) <= MESSAGE_LIMIT
    assert orjson.loads(raw)["accessor"] == told["accessor"]


def test_what_fits_is_told_whole_and_versions_go_before_leases() -> None:
    leases = [{"id": "x" * 100, "ttl": 60}] * 20
    whole = {"accessor": "a", "leases": leases, "versions": [{"name": "n"}]}
    assert orjson.loads(message(whole)) == whole
    assert orjson.loads(message(whole | {"versions": [{"name": "n" * 63}] * 40})).keys() == {"accessor", "leases"}


def test_a_file_that_was_put_there_by_others_is_not_written_through(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("theirs")
    (tmp_path / "api").mkdir()
    (tmp_path / "api" / "token").symlink_to(elsewhere)
    (tmp_path / "api" / ".token.part").symlink_to(elsewhere)
    write(tmp_path / "api", {"token": b"mine"})
    assert elsewhere.read_text() == "theirs"
    assert (tmp_path / "api" / "token").read_bytes() == b"mine"
    assert not (tmp_path / "api" / "token").is_symlink()


@pytest.mark.parametrize("content", [b"", b"\0\xff", b"x" * 1_000_000])
def test_contents_are_written_byte_for_byte(tmp_path: Path, content: bytes) -> None:
    write(tmp_path / "api", {"a": content})
    assert (tmp_path / "api" / "a").read_bytes() == content
    assert [one.name for one in (tmp_path / "api").iterdir()] == ["a"]
