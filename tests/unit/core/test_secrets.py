"""From what Vault answered to the files of a step."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataops_operator.api.secret import Credentials, VaultSource
from dataops_operator.core.secrets import (
    TOTAL_LIMIT,
    VARIABLE_LIMIT,
    CredentialError,
    Fetched,
    as_bytes,
    check_source,
    check_total,
    check_variables,
    fill_template,
    from_data,
    is_file_name,
    path_problem,
    render,
)

CANARY = "canary-7d1e"
LOGIN = {"username": b"v-team-1", "password": CANARY.encode(), "host": b"pg"}


def credentials(**fields: Any) -> Credentials:
    return Credentials.model_validate({"vault": {"path": "secret/data/x"}, **fields})


def refused(reason: str, call: Any, *arguments: Any) -> str:
    """The message of a refusal, which has a reason and no value."""
    with pytest.raises(CredentialError) as caught:
        call(*arguments)
    assert caught.value.reason == reason
    assert CANARY not in str(caught.value)
    return str(caught.value)


# Keys.


def test_all_keys_come_by_their_own_names_where_none_is_chosen() -> None:
    assert render("db", credentials(), LOGIN) == LOGIN


def test_chosen_keys_alone_come_under_the_names_that_they_are_given() -> None:
    keys = [{"key": "username", "name": "user"}, {"key": "password"}]
    assert render("db", credentials(keys=keys), LOGIN) == {"user": b"v-team-1", "password": CANARY.encode()}


def test_a_key_that_is_not_there_is_named_with_those_that_are() -> None:
    text = refused("SecretKeyMissing", render, "db", credentials(keys=[{"key": "passwd"}]), LOGIN)
    assert text == "secret db: no key 'passwd' in it; there are: host, password, username"


def test_a_key_of_an_empty_secret_is_missing_too() -> None:
    assert "it is empty" in refused("SecretKeyMissing", render, "db", credentials(keys=[{"key": "a"}]), {})


def test_of_very_many_keys_some_are_named() -> None:
    many = {f"key{number:03}": b"" for number in range(500)}
    assert len(refused("SecretKeyMissing", render, "db", credentials(keys=[{"key": "a"}]), many)) < 300


@pytest.mark.parametrize("key", ["../etc/passwd", "a/b", "..", ".", "", ".hidden", "a\nb", "ä", "x" * 129, "a b"])
def test_a_key_that_is_no_file_name_needs_another_one(key: str) -> None:
    assert not is_file_name(key)
    assert "choose keys and give this one a name" in refused(
        "SecretInvalid", render, "db", credentials(), {key: CANARY.encode()}
    )
    if key:
        named = credentials(keys=[{"key": key, "name": "file"}])
        assert render("db", named, {key: b"x"}) == {"file": b"x"}


def test_two_files_of_one_name_are_refused() -> None:
    twice = [{"key": "username", "name": "login"}, {"key": "password", "name": "login"}]
    assert "two files would be called 'login'" in refused("SecretInvalid", render, "db", credentials(keys=twice), LOGIN)
    file = [{"name": "host", "template": "x"}]
    assert "list the keys that you want" in refused("SecretInvalid", render, "db", credentials(files=file), LOGIN)


# Templates.


@pytest.mark.parametrize(
    ("template", "content"),
    [
        ("$(host):5432:*:$(username):$(password)\n", f"pg:5432:*:v-team-1:{CANARY}\n"),
        ("no key at all", "no key at all"),
        ("$$(host)", "$(host)"),
        ("$$$(host)", "$$(host)"),
        ("$HOME ${host} %(host)s {{host}}", "$HOME ${host} %(host)s {{host}}"),
        ("$(host)$(host)", "pgpg"),
    ],
)
def test_a_file_is_made_of_several_keys(template: str, content: str) -> None:
    made = credentials(keys=[{"key": "host"}], files=[{"name": "f", "template": template}])
    assert render("db", made, LOGIN) == {"host": b"pg", "f": content.encode()}


def test_a_template_may_name_keys_that_are_not_chosen_and_none_that_are_not_there() -> None:
    text = refused("SecretKeyMissing", fill_template, "db", "$(user)", LOGIN)
    assert "no key 'user' in it; there are: host, password, username" in text


def test_a_template_that_is_never_closed_is_refused() -> None:
    assert "never closed" in refused("SecretInvalid", fill_template, "db", "a $(host", LOGIN)


KEYS = st.text(st.characters(blacklist_characters=")", blacklist_categories=["Cs"]), min_size=1, max_size=8)
VALUES = st.one_of(st.binary(max_size=30), st.sampled_from([b"$(a)", b"$$(", b"$(", b")", b"$$(a)"]))


@given(st.dictionaries(KEYS, VALUES, min_size=1), st.data())
def test_what_is_filled_in_is_never_looked_at_again(values: dict[str, bytes], data: st.DataObject) -> None:
    literal = st.text(st.characters(blacklist_characters="$", blacklist_categories=["Cs"]), max_size=8)
    parts = data.draw(st.lists(st.one_of(literal, st.sampled_from(sorted(values)).map(lambda key: (key,)))))
    template = "".join(part if isinstance(part, str) else f"$({part[0]})" for part in parts)
    wanted = b"".join(part.encode() if isinstance(part, str) else values[part[0]] for part in parts)
    assert fill_template("s", template, values) == wanted


@given(st.text(st.characters(blacklist_categories=["Cs"])))
def test_any_text_can_be_written_literally(text: str) -> None:
    assert fill_template("s", text.replace("$(", "$$("), {}) == text.encode()


# Values.


@pytest.mark.parametrize(
    ("value", "content"),
    [
        ("text", b"text"),
        ("", b""),
        (None, b""),
        (5432, b"5432"),
        (True, b"true"),
        (1.5, b"1.5"),
        (["a", "b"], b"a\nb"),
        ([], b"[]"),
        (["a", 1], b'["a",1]'),
        ({"a": {"b": 1}}, b'{"a":{"b":1}}'),
        (b"\xff", b"\xff"),
    ],
)
def test_values_become_files(value: Any, content: bytes) -> None:
    assert as_bytes(value) == content


def test_half_a_character_is_no_file() -> None:
    refused("SecretInvalid", as_bytes, f"{CANARY}\ud800")
    refused("SecretInvalid", as_bytes, {"a": f"{CANARY}\ud800"})


TEXT = st.text(st.characters(blacklist_categories=["Cs"]))
LEAVES = st.none() | st.integers(-(2**31), 2**31) | TEXT
JSON = st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner), max_leaves=5)


@given(st.dictionaries(TEXT, JSON))
def test_whatever_json_vault_answers_becomes_files(data: dict[str, Any]) -> None:
    found = from_data(data)
    assert found.keys() == data.keys()
    for key, value in data.items():
        if not isinstance(value, str | None) and not (
            isinstance(value, list) and all(isinstance(v, str) for v in value)
        ):
            assert orjson.loads(found[key]) == value


def test_what_was_read_is_not_shown() -> None:
    assert CANARY not in repr(Fetched({"a": CANARY.encode()}, version=3))


# Variables and sizes.


def test_a_file_that_is_to_be_a_variable_must_be_there_and_be_text() -> None:
    check_variables("db", ["host", "password"], LOGIN)
    assert "no key 'user'" in refused("SecretKeyMissing", check_variables, "db", ["user"], LOGIN)
    for value in (b"\xff" + CANARY.encode(), b"a\0" + CANARY.encode()):
        assert "take it as a file" in refused("SecretInvalid", check_variables, "db", ["a"], {"a": value})


def test_a_variable_has_a_longest_value() -> None:
    check_variables("db", ["a"], {"a": b"x" * VARIABLE_LIMIT})
    text = refused("SecretTooLarge", check_variables, "db", ["a"], {"a": b"x" * (VARIABLE_LIMIT + 1)})
    assert "take it as a file" in text


def test_all_secrets_together_have_a_largest_size() -> None:
    half = TOTAL_LIMIT // 2 - 20
    check_total({"one": {"a": b"x" * half}, "two": {"b": b"x" * half}})
    text = refused(
        "SecretTooLarge", check_total, {"one": {"a": b"x" * half}, "two": {"b": b"x" * half, "c": b"x" * 99}}
    )
    assert f"the largest: one/a ({half}), two/b ({half}), two/c (99)" in text
    assert "list fewer keys" in text


# Paths.


@pytest.mark.parametrize(
    "path", ["secret/data/team/api", "kv/a", "database/creds/loader", "a/b.c_d-e@f+g=h~i(j)", "team/kv/data/auth/sys"]
)
def test_a_path_of_an_engine_is_fine(path: str) -> None:
    assert path_problem(path) is None


@pytest.mark.parametrize(
    "path",
    [
        "../sys/seal", "secret/../sys/seal", "secret/data/..", "secret//data", "/secret/data", "secret/data/", "secret",
        "secret/./x", "secret/.", "sys/seal", "auth/token/create", "identity/entity", "cubbyhole/x", "secret/a b",
        "https://elsewhere/x", "secret/x?version=1", "secret/x#y", "secret/%2e%2e/sys", "secret/x\n", "secret/ä", "",
        "secret/$(x)", "secret/" + "x" * 512, "secret\\x/y", "secret/...",
    ],
)  # fmt: skip
def test_a_path_that_leads_elsewhere_is_refused(path: str) -> None:
    assert path_problem(path)
    if len(path) > 2:
        source = VaultSource.model_construct(path=path)
        assert refused("SecretInvalid", check_source, "db", source).startswith("secret db: path ")


def test_a_message_shows_the_path_as_it_was_written() -> None:
    source = VaultSource.model_construct(path=f"secret/../{CANARY}")
    assert "'secret/$(env.params.x)'" in refused("SecretInvalid", check_source, "db", source, "secret/$(env.params.x)")


@given(st.text(st.sampled_from("ab./$(-_s")))
def test_no_path_escapes(path: str) -> None:
    if path_problem(path) is None:
        parts = path.split("/")
        assert all(parts)
        assert not any(set(part) <= {"."} for part in parts)
        assert parts[0] not in {"sys", "auth"}


def test_what_is_to_be_decrypted_must_be_of_transit() -> None:
    for text, fine in (("vault:v1:abc", True), ("vault:v12:abc", True), (f"{CANARY}", False), ("", False)):
        source = VaultSource.model_validate({"transit": {"key": "k", "ciphertext": text}})
        if fine:
            check_source("db", source)
        else:
            assert "begins with 'vault:v1:'" in refused("SecretInvalid", check_source, "db", source)
