import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataops_operator.core.masking import hide, masks
from dataops_operator.core.templating import as_text, fill

SECRET = 'c4n"ary $(x) \\'


@pytest.mark.parametrize(
    ("values", "text", "shown"),
    [
        (["canary"], "no such file: canary", "no such file: ***"),
        (["canary"], "canary, canary", "***, ***"),
        ([["one-canary", "two-canary"]], "two-canary", "***"),
        ([{"key": "canary"}], "key: canary", "key: ***"),
        ([12345678], "exit of 12345678", "exit of ***"),
        (["abc"], "abc stands everywhere by chance", "abc stands everywhere by chance"),
        ([True], "it is true", "it is ***"),
        (["canary", "canary-longer"], "canary-longer", "***"),
        ([], "nothing to hide", "nothing to hide"),
        (["canary-longer"], "no such file: canary-lo…; and no canary…", "no such file: ***…; and no ***…"),
        (["canary", "cana-other"], "no can…, cana…", "no can…, ***…"),
    ],
)
def test_masked_values_do_not_show(values: list[object], text: str, shown: str) -> None:
    assert hide(text, masks(values)) == shown


@given(st.text(min_size=4))
def test_nor_in_the_forms_in_which_they_reach_a_container(value: str) -> None:
    """In a command Kubernetes' own `$` is doubled; inside a JSON value quotes are escaped."""
    hidden = masks([value])
    for form in (value, as_text({"k": value}), fill("do $(params.x)", lambda _: value)):
        shown = hide(form, hidden)
        assert "***" in shown
        assert value not in shown.replace("***", "") or value in "***"
