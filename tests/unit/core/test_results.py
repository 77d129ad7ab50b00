import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.builders import a_step

from dataops_operator.api.conditions import Reason
from dataops_operator.core.jobs import RESULT_LIMIT
from dataops_operator.core.results import Result, ResultError, read, read_message

ROWS = a_step(outputs=[{"name": "rows", "type": "Integer"}])
PLAIN = a_step()


@pytest.mark.parametrize(
    ("step", "text", "result"),
    [
        pytest.param(PLAIN, "", Result(), id="nothing declared and nothing written"),
        pytest.param(PLAIN, " \n", Result(), id="blanks are nothing"),
        pytest.param(PLAIN, "{}", Result(), id="an empty object"),
        pytest.param(ROWS, '{"outputs": {"rows": 7}}', Result({"rows": 7}), id="a declared output"),
        pytest.param(ROWS, '{"outputs": {"rows": "7"}}', Result({"rows": 7}), id="read by its type"),
        pytest.param(ROWS, '{"outputs": {"rows": 7, "more": 8}}', Result({"rows": 7}), id="only what is declared"),
        pytest.param(PLAIN, '{"outputs": {"rows": 7}}', Result(), id="undeclared ones are left out"),
        pytest.param(PLAIN, '{"message": "all well"}', Result(message="all well"), id="a message"),
        pytest.param(PLAIN, '{"message": null, "checks": null}', Result(), id="null is nothing said"),
        pytest.param(
            PLAIN,
            '{"message": 7, "checks": "x"}',
            Result(message="message in /dataops/result is no string; and 1 more such"),
            id="a message or checks of no sense are no harm, and are told",
        ),
        pytest.param(
            ROWS,
            '{"outputs": {"rows": 7}, "checks": {"rows": "Pass"}}',
            Result({"rows": 7}, "checks in /dataops/result is no list"),
            id="checks that are no list",
        ),
        pytest.param(
            PLAIN,
            '{"message": "landed", "checks": [{"name": "a", "outcome": "Pass"}, {"name": "b", "outcome": "pass"}]}',
            Result(
                message='landed; checks[1].outcome in /dataops/result is "pass", none of Pass, Warn, Fail, Error, Skip'
            ),
            id="an outcome that there is not",
        ),
        pytest.param(
            PLAIN,
            '{"checks": [{"name": "a", "outcome": ["Pass"]}]}',
            Result(message='checks[0].outcome in /dataops/result is ["Pass"], none of Pass, Warn, Fail, Error, Skip'),
            id="an outcome that is no word",
        ),
        pytest.param(
            PLAIN,
            '{"checks": [{"name": "a", "outcome": "Fail"}, {"name": "a", "passed": false}]}',
            Result(
                message="check failed: a; "
                "checks[1].outcome in /dataops/result is null, none of Pass, Warn, Fail, Error, Skip"
            ),
            id="a check without an outcome beside one that failed",
        ),
        pytest.param(
            a_step(outputs=[{"name": "o", "type": "Object"}]),
            '{"outputs": {"o": {"a": [1, null]}}}',
            Result({"o": {"a": [1, None]}}),
            id="an object",
        ),
    ],
)
def test_a_result_is_read(step: Any, text: str, result: Result) -> None:
    assert read(step, text) == result


@pytest.mark.parametrize(
    ("step", "text", "reason", "message"),
    [
        pytest.param(
            ROWS, "", Reason.MISSING_OUTPUT, "has no output 'rows'; write", id="declared, but nothing written"
        ),
        pytest.param(ROWS, '{"outputs": {"row": 7}}', Reason.MISSING_OUTPUT, "no output 'rows'", id="another name"),
        pytest.param(ROWS, '{"rows": 7}', Reason.MISSING_OUTPUT, "no output 'rows'", id="beside outputs"),
        pytest.param(
            ROWS,
            '{"outputs": {"rows": "many"}}',
            Reason.INVALID_RESULT,
            "output 'rows' in .*whole number",
            id="wrong type",
        ),
        pytest.param(
            ROWS, '{"outputs": {"rows": null}}', Reason.INVALID_RESULT, "output 'rows'", id="null is no value"
        ),
        pytest.param(
            PLAIN, '{"outputs": [7]}', Reason.INVALID_RESULT, "not a JSON object of names", id="a list of outputs"
        ),
        pytest.param(
            PLAIN, '{"outputs": null}', Reason.INVALID_RESULT, "not a JSON object of names", id="null outputs"
        ),
        pytest.param(PLAIN, "done", Reason.INVALID_RESULT, "is not JSON", id="junk, though nothing is declared"),
        pytest.param(PLAIN, "[]", Reason.INVALID_RESULT, "is not a JSON object", id="a list"),
        pytest.param(PLAIN, "{} {}", Reason.INVALID_RESULT, "is not JSON", id="two objects"),
        pytest.param(PLAIN, '{"a": NaN}', Reason.INVALID_RESULT, "is not JSON", id="what only Python calls JSON"),
        pytest.param(PLAIN, "[" * 5000, Reason.RESULT_TOO_LARGE, "larger than 4096 bytes", id="a deep and cut one"),
    ],
)
def test_a_result_that_cannot_be_used_says_why(step: Any, text: str, reason: Reason, message: str) -> None:
    with pytest.raises(ResultError, match=message) as caught:
        read(step, text)
    assert caught.value.reason is reason


def kept(text: str) -> str:
    """What the kubelet keeps of a termination message: 4,096 bytes, a cut character replaced on its way into JSON."""
    return text.encode()[:RESULT_LIMIT].decode(errors="replace")


@pytest.mark.parametrize("filler", ["x", "é", "語", "😀"], ids=["one byte", "two", "three", "four"])
@pytest.mark.parametrize("shift", range(4))
def test_a_result_cut_at_the_limit_is_told_as_too_large_whatever_character_was_cut(filler: str, shift: int) -> None:
    text = json.dumps({"outputs": {"rows": 7}, "x": " " * shift + filler * 4096}, ensure_ascii=False)
    with pytest.raises(ResultError, match="larger than 4096 bytes") as caught:
        read(ROWS, kept(text))
    assert caught.value.reason is Reason.RESULT_TOO_LARGE


def test_a_result_that_just_fits_is_read() -> None:
    frame = json.dumps({"outputs": {"rows": 7}, "x": ""})
    text = json.dumps({"outputs": {"rows": 7}, "x": "x" * (RESULT_LIMIT - len(frame))})
    assert len(text) == RESULT_LIMIT
    assert read(ROWS, kept(text)).outputs == {"rows": 7}


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        pytest.param({"message": "lost 3 files"}, "lost 3 files", id="its own message"),
        pytest.param(
            {"checks": [{"name": "count", "outcome": "Fail", "value": 3, "expected": ">= 5"}]},
            "check failed: count was 3, expected >= 5",
            id="a failed check",
        ),
        pytest.param(
            {"checks": [{"name": "a", "outcome": "Pass"}, {"outcome": "Error", "message": "no table"}]},
            "check failed: unnamed (no table)",
            id="a check that could not run; one that passed is left out",
        ),
        pytest.param(
            {"checks": [{"name": f"c{index}", "outcome": "Fail"} for index in range(7)]},
            "7 checks failed: c0; c1; c2; c3; c4; and 2 more",
            id="the first five of many",
        ),
        pytest.param({"message": "why", "checks": [{"outcome": "Fail"}]}, "why", id="the message before the checks"),
        pytest.param({"checks": [{"outcome": "Warn"}, {"outcome": "Skip"}]}, "", id="nothing that failed"),
        pytest.param(
            {"checks": [{"outcome": "Warn"}, 7, None]},
            "checks[1] in /dataops/result is no object with a name and an outcome; and 1 more such",
            id="what is no check",
        ),
        pytest.param(
            {"message": "x" * 5000, "checks": 7},
            "x" * 761 + "…; checks in /dataops/result is no list",
            id="what is amiss after a whole book",
        ),
        pytest.param({}, "", id="nothing"),
        pytest.param({"message": "x" * 5000}, "x" * 799 + "…", id="not a whole book"),
    ],
)
def test_a_failed_step_says_why(raw: dict[str, Any], message: str) -> None:
    assert read_message(json.dumps(raw)) == message


@pytest.mark.parametrize("text", ["", "Traceback (most recent call last)", "[1]", "{"])
def test_what_a_failed_step_wrote_of_no_sense_says_nothing(text: str) -> None:
    assert read_message(text) == ""


JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["outputs", "rows", "checks", "outcome", "message", "name"]), inner, max_size=3
        )
    ),
    max_leaves=6,
)


@given(st.text() | JSON.map(json.dumps))
def test_whatever_is_written_is_a_result_or_a_reason(text: str) -> None:
    try:
        result = read(ROWS, text)
    except ResultError as error:
        told = str(error)
    else:
        told = ""
        assert isinstance(result.outputs["rows"], int)
    assert "\n\n" not in told
    assert len(told) < 1024
    assert len(read_message(text)) <= 800
