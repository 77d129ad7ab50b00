import pytest

from dataops_operator.api.conditions import (
    MESSAGE_LIMIT,
    Reason,
    Type,
    drop_condition,
    find_condition,
    set_condition,
    truncate,
)

FIRST, LATER = "2026-01-05T06:00:00Z", "2026-01-05T07:00:00Z"


@pytest.mark.parametrize(
    ("before", "after", "since"),
    [
        pytest.param(True, True, FIRST, id="the same status keeps its time"),
        pytest.param(None, None, FIRST, id="unknown and unknown is the same"),
        pytest.param(True, False, LATER, id="true to false moves it"),
        pytest.param(None, True, LATER, id="unknown to true moves it"),
        pytest.param(False, None, LATER, id="false to unknown moves it"),
    ],
)
def test_the_transition_time_moves_only_with_the_status(before: bool | None, after: bool | None, since: str) -> None:
    held = set_condition([], Type.READY, before, Reason.VALID, "one", now=FIRST, generation=1)
    held = set_condition(held, Type.READY, after, Reason.INVALID, "two", now=LATER, generation=2)
    (condition,) = held
    assert condition["lastTransitionTime"] == since
    assert (condition["reason"], condition["message"], condition["observedGeneration"]) == ("Invalid", "two", 2)


def test_setting_one_leaves_the_others_and_the_order_and_its_input_alone() -> None:
    one = set_condition([], Type.ACCEPTED, True, Reason.ACCEPTED, "", now=FIRST, generation=1)
    two = set_condition(one, Type.SUCCEEDED, None, Reason.RUNNING, "", now=FIRST, generation=1)
    three = set_condition(two, Type.ACCEPTED, False, Reason.INVALID, "", now=LATER, generation=1)
    assert [c["type"] for c in three] == ["Accepted", "Succeeded"]
    assert three[1] == two[1]
    assert one[0]["status"] == two[0]["status"] == "True"


def test_dropping_and_finding_go_by_the_type() -> None:
    held = set_condition([], Type.RECONCILING, True, Reason.RUNNING, "", now=FIRST, generation=1)
    held = set_condition(held, Type.SUCCEEDED, None, Reason.RUNNING, "", now=FIRST, generation=1)
    found = find_condition({"status": {"conditions": held}}, Type.SUCCEEDED)
    assert found is not None
    assert found["status"] == "Unknown"
    left = drop_condition(held, Type.RECONCILING)
    assert [c["type"] for c in left] == ["Succeeded"]
    assert find_condition({"status": {"conditions": left}}, Type.RECONCILING) is None
    assert find_condition({}, Type.READY) is None
    assert find_condition({"status": None}, Type.READY) is None


@pytest.mark.parametrize(
    ("length", "kept"), [(MESSAGE_LIMIT, MESSAGE_LIMIT), (MESSAGE_LIMIT + 1, MESSAGE_LIMIT), (9999, MESSAGE_LIMIT)]
)
def test_a_message_is_cut_at_its_limit_with_an_ellipsis(length: int, kept: int) -> None:
    (condition,) = set_condition([], Type.READY, False, Reason.INVALID, "x" * length, now=FIRST, generation=1)
    assert len(condition["message"]) == kept
    assert condition["message"].endswith("…") is (length > kept)


def test_a_message_that_fits_is_not_touched() -> None:
    assert truncate("abc", 3) == "abc"
    assert truncate("abcd", 3) == "ab…"
