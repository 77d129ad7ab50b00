import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.builders import a_pipeline

from dataops_operator.core.graph import dependencies, find_cycle


@pytest.mark.parametrize(
    ("fields", "needed"),
    [
        pytest.param({"needs": ["a"]}, ("a",), id="what is said"),
        pytest.param({"command": ["x", "$(steps.a.outputs.n)"]}, ("a",), id="implied by a command"),
        pytest.param({"args": ["$(steps.a.outputs.n)"]}, ("a",), id="implied by an argument"),
        pytest.param({"env": [{"name": "N", "value": "$(steps.b.outputs.n)"}]}, ("b",), id="implied by a variable"),
        pytest.param({"image": "img:$(steps.b.outputs.n)"}, ("b",), id="implied by an image"),
        pytest.param(
            {"needs": ["b"], "args": ["$(steps.a.outputs.n)$(steps.b.outputs.n)"]},
            ("b", "a"),
            id="what is said comes first, and each once",
        ),
        pytest.param({"args": ["$$(steps.a.outputs.n)"]}, (), id="not by an escaped template"),
        pytest.param({"script": "echo $(steps.a.outputs.n)"}, (), id="not by a script, which takes no templates"),
        pytest.param({"args": ["$(params.a)"]}, (), id="not by a parameter"),
    ],
)
def test_a_step_needs(fields: dict[str, object], needed: tuple[str, ...]) -> None:
    spec = a_pipeline().step("a").step("b").step("c", **fields).spec()
    follows = {name: tuple(one.step for one in before) for name, before in dependencies(spec).items()}
    assert follows == {"a": (), "b": (), "c": needed}


@pytest.mark.parametrize(
    ("needs", "cycle"),
    [
        pytest.param({}, None, id="nothing has no cycle"),
        pytest.param({"a": [], "b": ["a"], "c": ["a", "b"], "d": ["b", "c"]}, None, id="a diamond has none"),
        pytest.param({"a": ["a"]}, ["a", "a"], id="one step that needs itself"),
        pytest.param({"a": ["b"], "b": ["a"]}, ["a", "b", "a"], id="two that need each other"),
        pytest.param(
            {"x": ["a"], "a": ["b"], "b": ["c"], "c": ["a"]}, ["a", "b", "c", "a"], id="without the way to it"
        ),
        pytest.param({"a": ["gone"], "b": ["a", "gone"]}, None, id="unknown names are passed over"),
    ],
)
def test_a_cycle_is_found(needs: dict[str, list[str]], cycle: list[str] | None) -> None:
    assert find_cycle(needs) == cycle


@pytest.mark.parametrize("closed", [False, True], ids=["open", "closed to a circle"])
def test_a_chain_of_a_thousand_steps_takes_no_recursion_and_no_time(closed: bool) -> None:
    names = [f"s{index}" for index in range(1000)]
    chain: dict[str, list[str]] = {name: [before] for before, name in pairwise(names)}
    needs = {"s0": ["s999"] if closed else [], **chain}
    began = time.perf_counter()
    cycle = find_cycle(needs)
    assert time.perf_counter() - began < 1
    assert (len(cycle) if cycle else 0) == (1001 if closed else 0)


def test_a_thousand_steps_that_each_need_all_before_take_no_time() -> None:
    needs = {f"s{index}": [f"s{other}" for other in range(max(index - 256, 0), index)] for index in range(1000)}
    began = time.perf_counter()
    assert find_cycle(needs) is None
    assert time.perf_counter() - began < 1


GRAPHS = st.integers(0, 7).flatmap(
    lambda size: st.fixed_dictionaries(
        {name: st.lists(st.sampled_from("abcdefgh"[: size + 1]), max_size=4) for name in "abcdefgh"[:size]}
    )
)


@given(GRAPHS)
def test_a_cycle_is_one_and_where_none_is_found_the_steps_can_be_ordered(needs: dict[str, list[str]]) -> None:
    cycle = find_cycle(needs)
    if cycle is not None:
        assert cycle[0] == cycle[-1]
        assert len(set(cycle)) == len(cycle) - 1
        assert all(following in needs[step] for step, following in pairwise(cycle))
        return
    left = dict(needs)
    while left:
        ready = [name for name, wanted in left.items() if not any(one in left for one in wanted)]
        assert ready, "no cycle was found, yet nothing can begin"
        for name in ready:
            del left[name]
