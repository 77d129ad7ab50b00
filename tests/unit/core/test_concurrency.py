"""What bounds a run among those of its pipeline, and what a key may be."""

from __future__ import annotations

from typing import Any

import pytest
from tests.builders import a_pipeline, a_run
from tests.unit.core.environments import an_environment, in_effect

from dataops_operator.core.concurrency import KEY_LIMIT, UNBOUND, Bound, UnusableKeyError, bound, key_of
from dataops_operator.core.fit import unfit
from dataops_operator.core.inputs import Inputs
from dataops_operator.core.validate import problems_of


def inputs(key: str | None, environment: dict[str, Any] | None = None, **given: Any) -> Inputs:
    limit = {"limit": 2} if key is None else {"limit": 2, "key": key}
    pipeline = a_pipeline().step("a").having(concurrency=limit)
    pipeline.parameter("day", "Date", default="2013-02-09").parameter("config", "Object", default={"b": 1, "a": [2]})
    pipeline.parameter("note", default="").parameter("n", "Integer", default=7)
    run = a_run()
    for name, value in given.items():
        run.parameter(name, value)
    return run.inputs(pipeline, None if environment is None else in_effect(an_environment(**environment)))


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (None, None),
        ("$(params.day)", "2013-02-09"),
        ("$(params.day)/$(params.n)", "2013-02-09/7"),
        ("$(params.config)", '{"b":1,"a":[2]}'),
        ("$(params.config.a.0)", "2"),
        ("$(params.note)", ""),
        ("$(env.name)", "team"),
        ("$(run.logicalDate)", "2026-01-05T06:00:00Z"),
        ("$$(params.day) $(params.n)", "$(params.day) 7"),
        ("$(date) $(params.n)", "$(date) 7"),
    ],
)
def test_a_key_is_its_template_filled_in(key: str | None, expected: str | None) -> None:
    assert bound(inputs(key)) == Bound(2, expected)
    assert key_of(inputs(key)) == expected


def test_values_that_are_written_differently_and_read_alike_are_one_key() -> None:
    assert key_of(inputs("$(params.day)", day="2013-02-09T06:00:00Z")) == key_of(inputs("$(params.day)"))


def test_a_value_is_not_read_as_a_template() -> None:
    assert key_of(inputs("$(params.note)", note="$(params.day) $$ $(X)")) == "$(params.day) $$ $(X)"


def test_a_pipeline_that_says_nothing_bounds_nothing() -> None:
    assert bound(a_run().inputs(a_pipeline().step("a"))) == UNBOUND


def test_refuse_is_the_pipelines_word() -> None:
    pipeline = a_pipeline().step("a").having(concurrency={"limit": 1, "policy": "Refuse"})
    assert bound(a_run().inputs(pipeline)) == Bound(1, None, refuse=True)


MASKED = {"parameters": [{"name": "token", "value": "hidden-one", "masked": True}, {"name": "region", "value": "eu"}]}


@pytest.mark.parametrize(
    ("key", "environment", "told"),
    [
        ("$(params.config.zone)", None, "the value has no 'zone'"),
        ("$(params.note)", None, f"the key has 300 characters, and at most {KEY_LIMIT} are kept"),
        ("$(env.params.region)", None, "namespace team belongs to no environment; create an Environment"),
        ("$(env.params.zone)", MASKED, "has no parameter 'zone'"),
        ("$(env.params.token)", MASKED, "$(env.params.token) is masked, and a key is shown"),
        ("$(params.day)", {"parameters": [{"name": "day", "masked": True}]}, "$(params.day) is masked"),
    ],
    ids=[
        "no such part",
        "too long",
        "no environment",
        "no such parameter",
        "masked there",
        "masked by the environment",
    ],
)
def test_a_run_that_makes_no_key_is_refused_with_the_path(
    key: str, environment: dict[str, Any] | None, told: str
) -> None:
    made = inputs(key, environment, note="x" * 300)
    with pytest.raises(UnusableKeyError):
        bound(made)
    assert key_of(made) is None
    ((reason, problem),) = unfit(made)
    assert reason == "InvalidParameters"
    assert problem.path == "pipeline flights: spec.concurrency.key"
    assert told in problem.message
    assert "hidden-one" not in problem.message


def test_what_the_environment_gives_may_be_a_key() -> None:
    made = inputs("$(env.params.region)", MASKED)
    assert key_of(made) == "eu"
    assert unfit(made) == []


@pytest.mark.parametrize(
    ("key", "told"),
    [
        ("$(params.month)", "$(params.month): no parameter 'month'"),
        ("$(run.nme)", "no such name; known here are"),
        ("$(env.bucket)", "write $(env.name) or $(env.params.<name>)"),
        ("x-$(steps.a.outputs.n)-$(params.day)", "$(steps.a.outputs.n) is not known before a run begins"),
        ("$(targets.lake.url) $(params.day)", "$(targets.lake.url) is not known before a run begins"),
        ("$(params.secret)", "$(params.secret) is masked"),
        ("all", "a key is a template of params, env or run"),
        ("$$(params.day)", "a key is a template of params, env or run"),
        ("$(params.day)\0", "NUL"),
    ],
)
def test_a_pipelines_key_is_checked_before_any_run(key: str, told: str) -> None:
    pipeline = a_pipeline().step("a").parameter("day").parameter("secret", masked=True)
    (problem,) = problems_of(pipeline.having(concurrency={"limit": 1, "key": key}).spec())
    assert problem.path == "spec.concurrency.key"
    assert told in problem.message


def test_a_limit_is_content_and_the_policy_that_everybody_has_is_not() -> None:
    plain = a_pipeline().step("a")
    one = plain.having(concurrency={"limit": 1}).revision().name
    assert plain.having(concurrency={"limit": 1, "policy": "Wait"}).revision().name == one
    assert plain.having(concurrency={"limit": 2}).revision().name != one
