from collections.abc import Mapping
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.core.expansion import expand

from dataops_operator.core.templating import (
    Reference,
    TemplateError,
    as_text,
    descend,
    fill,
    fill_value,
    kubernetes_literal,
    references,
)

PARAMS: dict[str, dict[str, Any]] = {
    "params": {
        "day": "2013-02-09",
        "n": 7,
        "on": True,
        "list": [30, 10, 20],
        "map": {"a": {"b": 1}, "c d": 2},
        "nothing": None,
        "evil": "$(params.day) $$(x) $(HOME) $",
    },
    "item": {"carrier": "AA"},
}


def resolve(reference: Reference) -> Any:
    return descend(PARAMS, reference.path, reference.text)


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        pytest.param("--day=$(params.day)", "--day=2013-02-09", id="a string stands as it is"),
        pytest.param("$(params.n)$(params.n)", "77", id="two templates side by side"),
        pytest.param("on=$(params.on)", "on=true", id="a boolean as JSON"),
        pytest.param("$(params.list)", "[30,10,20]", id="an array as compact JSON"),
        pytest.param("$(params.list.1)", "10", id="a member of an array by its position"),
        pytest.param("$(params.map.a)", '{"b":1}', id="an object as compact JSON"),
        pytest.param("$(params.map.a.b)", "1", id="a part of an object"),
        pytest.param("$(params.nothing)", "null", id="null as JSON"),
        pytest.param("$(item)", '{"carrier":"AA"}', id="the whole item, a root that stands alone"),
        pytest.param("$(item.carrier)", "AA", id="a part of the item"),
        pytest.param("$(date)", "$(date)", id="the shell's command substitution"),
        pytest.param("$((x+1))", "$((x+1))", id="the shell's arithmetic"),
        pytest.param("$(env)", "$(env)", id="a root without a name is the shell's"),
        pytest.param("$(params)", "$(params)", id="a root alone is no template"),
        pytest.param("$(HOME)/$(params_x)", "$(HOME)/$(params_x)", id="Kubernetes' own variables"),
        pytest.param("$(params .day)", "$(params .day)", id="with a blank it is no template"),
        pytest.param("$(params.)", "$(params.)", id="with an empty name it is no template"),
        pytest.param("$$(params.day)", "$(params.day)", id="a doubled dollar writes a literal template"),
        pytest.param("$$(params.day) $(params.n)", "$(params.day) 7", id="a literal template beside a real one"),
        pytest.param("$$$(params.day)", "$$(params.day)", id="Kubernetes undoes a doubled dollar by itself"),
        pytest.param("${params.day} $params.day", "${params.day} $params.day", id="other brackets are not ours"),
        pytest.param("$(params.evil)", PARAMS["params"]["evil"], id="what is filled in is never looked at again"),
        pytest.param("$(cat $(params.day))", "$(cat 2013-02-09)", id="a template inside the shell's substitution"),
        pytest.param("$(cat $(params.evil))", "$(cat " + str(PARAMS["params"]["evil"]) + ")", id="and its dollars"),
        pytest.param("$(a $$ $(params.n) $$) $$", "$(a $$ 7 $$) $", id="the user's own dollars around it stay"),
        pytest.param("$(a $(params.evil)", "$(a " + str(PARAMS["params"]["evil"]), id="in one that is never closed"),
    ],
)
def test_a_container_gets(text: str, filled: str) -> None:
    assert expand(fill(text, resolve), {"DATAOPS_RUN": "r"}) == filled


@pytest.mark.parametrize(
    ("text", "value"),
    [
        pytest.param("$(params.n)", 7, id="the whole string keeps the type of a number"),
        pytest.param("$(params.list)", [30, 10, 20], id="of an array"),
        pytest.param("$(params.nothing)", None, id="of null"),
        pytest.param(" $(params.n)", " 7", id="beside a blank it is text"),
        pytest.param("$$(params.n)", "$(params.n)", id="an escaped one is literal, with nobody to undo it after us"),
        pytest.param("$(date)", "$(date)", id="another's stays"),
        pytest.param("a$$b", "a$$b", id="a doubled dollar that escapes nothing stays"),
        pytest.param("$(params.evil)", PARAMS["params"]["evil"], id="nothing is doubled in a value"),
    ],
)
def test_a_field_of_any_type_gets(text: str, value: Any) -> None:
    assert fill_value(text, resolve) == value


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        pytest.param("$(params.dya)", "'dya'", id="an unknown name"),
        pytest.param("$(params.map.x)", "'x'", id="an unknown key"),
        pytest.param("$(params.list.3)", "'3'", id="a position behind the end"),
        pytest.param("$(params.day.x)", "'x'", id="a part of a string"),
    ],
)
def test_what_is_not_there_is_an_error_that_names_it(text: str, missing: str) -> None:
    with pytest.raises(TemplateError) as caught:
        fill(text, resolve)
    assert text in str(caught.value)
    assert missing in str(caught.value)


def test_references_come_in_the_order_written_and_without_the_escaped() -> None:
    text = "$(params.day) $(date) $$(params.n) x$(steps.land.outputs.rows)"
    assert [one.path for one in references(text)] == [("params", "day"), ("steps", "land", "outputs", "rows")]


def test_a_part_of_a_value_that_no_process_can_be_given_is_an_error_that_names_it() -> None:
    with pytest.raises(TemplateError, match=r"\$\(params\.a\.b\): the value holds a NUL character"):
        fill("x=$(params.a.b)", lambda reference: descend({"params": {"a": {"b": "x\0y"}}}, reference.path, ""))
    assert fill("$(params.a)", lambda _: {"b": "x\0y"}) == '{"b":"x\\u0000y"}', "as JSON it is written in letters"


DOLLARS = st.text(alphabet="$()ab. {}", max_size=12)
VALUES: st.SearchStrategy[Any] = st.one_of(
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
    DOLLARS,
    st.sampled_from(["$(params.b)", "$(HOME)", "$$(params.b)", "$", "$$", ")$$", "$(", "a)$b"]),
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**53), 2**53) | DOLLARS,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(DOLLARS, inner, max_size=3),
        max_leaves=5,
    ),
)
# What a user may write around templates; the variable is known to Kubernetes.
LITERALS = st.lists(
    st.sampled_from(["$(HOME)", "$(KNOWN)", "$(cat ", ")", "$$", " ", "a", "$((1+2))", "{", "$$(params.a)", "$$("]),
    max_size=4,
).map("".join)
KNOWN = {"KNOWN": "expanded", "params.a": "never", "a": "never"}


def fill_from(values: Mapping[str, Any], text: str) -> str:
    return fill(text, lambda reference: values[reference.path[1]])


@given(VALUES)
def test_a_value_alone_comes_through_kubernetes_unchanged(value: Any) -> None:
    assert expand(fill_from({"a": value}, "$(params.a)"), KNOWN) == as_text(value)


@given(VALUES, VALUES, LITERALS, LITERALS, LITERALS)
def test_values_come_through_kubernetes_unchanged_whatever_stands_around_them(
    first: Any, second: Any, before: str, between: str, after: str
) -> None:
    if before.endswith("$") or between.endswith("$"):
        return  # `$` and a template side by side are an escaped template
    text = f"{before}$(params.a){between}$(params.b){after}"
    # What Kubernetes does to the user's own text, with something harmless where the values will stand.
    around = expand(f"{before}\x01{between}\x02{after}", KNOWN)
    expected = "".join({"\x01": as_text(first), "\x02": as_text(second)}.get(char, char) for char in around)
    assert expand(fill_from({"a": first, "b": second}, text), KNOWN) == expected


@given(st.text() | DOLLARS | LITERALS)
def test_text_without_templates_is_never_changed(text: str) -> None:
    if not list(references(text)):
        assert fill(text, lambda _: pytest.fail("nothing to resolve")) == text


@given(st.text() | DOLLARS)
def test_a_literal_for_kubernetes_is_undone_by_it(text: str) -> None:
    assert expand(kubernetes_literal(text), KNOWN) == text


@given(VALUES)
def test_a_value_in_a_field_of_any_type_is_itself(value: Any) -> None:
    assert fill_value("$(params.a)", lambda _: value) is value
    assert fill_value("x$(params.a)", lambda _: value) == "x" + as_text(value)


@given(VALUES)
def test_as_text_of_what_is_no_string_is_json(value: Any) -> None:
    assert isinstance(value, str) or orjson.loads(as_text(value)) == value
