import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.builders import at

from dataops_operator.api.conditions import Reason
from dataops_operator.api.run import Phase, StepStatus
from dataops_operator.core.rows import Row, skipped

TEXT = st.none() | st.text(min_size=1, max_size=20)
TIME = st.none() | st.integers(0, 10**6).map(at)
ROWS = st.builds(
    Row,
    name=st.just("a"),
    phase=st.sampled_from(Phase),
    reason=TEXT,
    message=TEXT,
    attempt=st.integers(0, 21),
    started_at=TIME,
    finished_at=TIME,
    retry_at=TIME,
    job=TEXT,
    outputs=st.none() | st.dictionaries(st.text(min_size=1), st.integers() | st.lists(st.none()), min_size=1),
)


@given(ROWS)
def test_a_row_survives_the_status_and_fits_its_schema(row: Row) -> None:
    raw = row.to_status()
    assert Row.from_status(raw) == row
    assert None not in raw.values()
    StepStatus.model_validate(raw)


@given(ROWS)
def test_a_row_is_in_at_most_one_state(row: Row) -> None:
    assert row.final + row.under_way + row.refused <= 1


@pytest.mark.parametrize(
    ("row", "state"),
    [
        (Row("a"), ""),
        (Row("a", Phase.RUNNING, attempt=1, job="j"), "under_way"),
        (Row("a", Phase.WAITING, "Unschedulable", attempt=1, job="j"), "under_way"),
        (Row("a", Phase.WAITING, "Error", attempt=1, job="j", retry_at=at(9)), ""),
        (Row("a", Phase.WAITING, "QuotaExceeded", attempt=1), "refused"),
        (Row("a", Phase.SUCCEEDED, attempt=1, job="j"), "final"),
        (Row("a", Phase.FAILED, attempt=1), "final"),
        (Row("a", Phase.SKIPPED), "final"),
    ],
    ids=["new", "runs", "does not start", "between attempts", "refused", "succeeded", "refused for good", "skipped"],
)
def test_a_row_says_what_it_waits_for(row: Row, state: str) -> None:
    assert [word for word in ("under_way", "refused", "final") if getattr(row, word)] == ([state] if state else [])


def test_a_message_in_a_row_is_short() -> None:
    assert len(Row("a", message="x" * 5000).to_status()["message"]) == 512


def test_a_skipped_step_forgets_attempts_that_never_began() -> None:
    row = skipped(Row("a", Phase.WAITING, "QuotaExceeded", attempt=1), Reason.UPSTREAM_FAILED, "not run")
    assert row.to_status() == {"name": "a", "phase": "Skipped", "reason": "UpstreamFailed", "message": "not run"}
