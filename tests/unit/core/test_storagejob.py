"""What storage Jobs are told and what they tell: read back as it was written, within a termination message."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataops_operator.api.environment import EnvironmentSpec
from dataops_operator.core.environment import Effective
from dataops_operator.core.storagejob import (
    RESULT_LIMIT,
    Code,
    Report,
    exit_code,
    read_result,
    read_task,
    result_json,
    task_json,
)
from dataops_operator.core.targets import ResolvedTarget, resolve_targets

LOGIN = {"vault": {"path": "database/creds/canary"}}
TARGET = {
    "name": "warehouse",
    "postgres": {
        "host": "pg.data",
        "database": "dwh",
        "schema": "marts",
        "credentials": LOGIN,
        "readCredentials": LOGIN,
        "branchCredentials": LOGIN,
    },
}


def targets(**branch: str) -> list[ResolvedTarget]:
    spec = EnvironmentSpec.model_validate({"targets": [TARGET]})
    found, _ = resolve_targets(spec, "team", "prod", "prod", None)
    if not branch:
        return found
    of = Effective("team", "prod", "prod", "r", spec, {one.name: one for one in found})
    found, problems = resolve_targets(
        EnvironmentSpec.model_validate({"from": "prod"} | branch), "team", "b", "team-b", of
    )
    assert problems == []
    return found


@pytest.mark.parametrize(
    ("mode", "source", "copies"), [("Empty", None, False), ("Copy", "marts", True), ("ReadThrough", "marts", False)]
)
def test_a_job_is_told_the_places_and_whether_there_are_logins_and_not_where_from(
    mode: str, source: str | None, copies: bool
) -> None:
    text = task_json("some-uid", targets(dataMode=mode))
    assert "canary" not in text
    assert "vault" not in text
    task = read_task(text)
    (item,) = task.items
    assert task.environment == "some-uid"
    assert item.target.postgres is not None
    assert item.target.postgres.schema_ == "marts__b"
    assert (item.login, item.made_by_us, item.copies) == (True, True, copies)
    assert (item.source.postgres.schema_ if item.source and item.source.postgres else None) == source
    assert item.source_login is (source is not None)


def test_what_was_there_before_the_environment_is_told_as_not_its_own() -> None:
    assert [item.made_by_us for item in read_task(task_json("u", targets())).items] == [False]


REPORTS = st.lists(
    st.builds(
        Report,
        name=st.from_regex(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", fullmatch=True),
        code=st.sampled_from(Code),
        message=st.text(st.characters(exclude_categories=["Cs"]), max_size=2000),
        used_bytes=st.none() | st.integers(0, 2**63 - 1),
    ),
    max_size=32,
    unique_by=lambda report: report.name,
)


@given(REPORTS)
def test_reports_of_every_target_fit_and_are_read_back(reports: list[Report]) -> None:
    text = result_json(reports)
    assert len(text.encode()) <= RESULT_LIMIT
    found = read_result(text)
    assert list(found) == [report.name for report in reports]
    for report in reports:
        read = found[report.name]
        assert (read.code, read.used_bytes) == (report.code, report.used_bytes)
        cut = read.message.removesuffix("…")
        assert report.message.startswith(cut)


@given(
    st.text()
    | st.recursive(st.none() | st.integers(-9, 9) | st.text(), st.lists).map(lambda x: orjson.dumps(x).decode())
)
def test_anything_else_is_refused_as_a_value(text: str) -> None:
    for read in (read_result, read_task):
        with pytest.raises(ValueError, match=r"."):
            read(text)


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        ([], 0),
        ([Code.OK, Code.GONE], 0),
        ([Code.OK, Code.UNREACHABLE, Code.UNAVAILABLE], 75),
        ([Code.UNREACHABLE, Code.FORBIDDEN], 1),
        ([Code.NOT_OURS], 1),
    ],
)
def test_how_a_job_ends_says_whether_to_try_again(codes: list[Code], expected: int) -> None:
    assert exit_code([Report(f"t{number}", code) for number, code in enumerate(codes)]) == expected
