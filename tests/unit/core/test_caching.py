"""Cached steps: what their key is made of, when an earlier run's outputs are taken, and when never."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.builders import EPOCH, PipelineBuilder, RunBuilder, a_pipeline, a_run, an_environment, at
from tests.unit.core.planning import done, planned

from dataops_operator.api.conditions import Reason
from dataops_operator.api.run import Phase
from dataops_operator.core.cacherules import CacheError
from dataops_operator.core.caching import key_of
from dataops_operator.core.environment import Effective
from dataops_operator.core.fit import unfit
from dataops_operator.core.inputs import Inputs
from dataops_operator.core.plan import Asked, Earlier, Plan, View, asked_of
from dataops_operator.core.planner import plan
from dataops_operator.core.rows import Row
from dataops_operator.core.validate import parse

IMAGE = f"ghcr.io/acme/flights@sha256:{'a' * 64}"
OTHER = f"ghcr.io/acme/flights@sha256:{'b' * 64}"
HOUR = {"maxAge": "1h"}
N = [{"name": "n", "type": "Integer"}]


def one(**fields: Any) -> PipelineBuilder:
    """A step `a` that is cached and has the output `n`, and `b` that uses it."""
    step = {"image": IMAGE, "cache": HOUR, "outputs": N, **fields}
    return a_pipeline().parameter("day", default="mon").step("a", **step).step("b", args=["$(steps.a.outputs.n)"])


def key(
    pipeline: PipelineBuilder, run: RunBuilder | None = None, environment: Effective | None = None, **outputs: Any
) -> str:
    inputs = (run or a_run()).inputs(pipeline, environment)
    return key_of(inputs, inputs.revision.steps["a"], {"land": outputs})


def earlier(of: str, *, ended: float = -60, **outputs: Any) -> Earlier:
    row = Row("other", Phase.SUCCEEDED, started_at=at(ended - 9), finished_at=at(ended), outputs=outputs, cache=of)
    return Earlier("before", row)


def found(pipeline: PipelineBuilder, known: Earlier | None, **more: Any) -> Plan:
    """The first plan of a run for which that is what the key leads to."""
    return planned(pipeline, [], View(recalled={key(pipeline): known}), **more)


# The key.


def mounted(claim: str, path: str = "/data") -> dict[str, Any]:
    """A podTemplate with a claim, and where a container finds it."""
    volume = {"name": "data", "claim": {"name": claim, "readOnly": True}}
    return {"volumes": [volume], "volumeMounts": [{"name": "data", "mountPath": path}]}


def landed(**fields: Any) -> PipelineBuilder:
    return a_pipeline().step("land", outputs=N).step("a", image=IMAGE, **{"cache": HOUR, **fields})


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(one(image=OTHER), id="image"),
        pytest.param(one(command=["false"]), id="command"),
        pytest.param(one(args=["x"]), id="args"),
        pytest.param(one(script="true"), id="script"),
        pytest.param(one(env=[{"name": "A", "value": "1"}]), id="variable"),
        pytest.param(one(outputs=[{"name": "n"}]), id="type of an output"),
        pytest.param(one(cache=HOUR | {"salt": "2"}), id="salt"),
        pytest.param(one(cache=HOUR | {"inputs": ["v2"]}), id="input"),
        pytest.param(one().parameter("limit", default="3"), id="parameter"),
        pytest.param(one().having(workspace={"claim": "shared"}), id="claim of the workspace"),
        pytest.param(one(args=["$(run.logicalDate)"]), id="the time, where it is named"),
        pytest.param(one(podTemplate=mounted("data-2023")), id="a volume"),
    ],
)
def test_whatever_reaches_the_container_changes_the_key(other: PipelineBuilder) -> None:
    assert key(other) != key(one())


def test_another_claim_or_another_place_of_it_changes_the_key_and_what_nobody_mounts_does_not() -> None:
    before = key(one(podTemplate=mounted("data-2023")))
    assert key(one(podTemplate=mounted("data-2024"))) != before
    assert key(one(podTemplate=mounted("data-2023", path="/other"))) != before
    assert key(one(podTemplate={"volumes": mounted("data-2024")["volumes"]})) == key(one())


def test_a_value_changes_the_key_wherever_it_comes_from() -> None:
    assert key(one(), a_run().parameter("day", "tue")) != key(one())
    assert key(landed(cache=HOUR | {"inputs": ["$(steps.land.outputs.n)"]}), n=1) != key(
        landed(cache=HOUR | {"inputs": ["$(steps.land.outputs.n)"]}), n=2
    )
    assert key(landed(), n=1) == key(landed(), n=2), "what the step does not name"


def test_environments_share_nothing() -> None:
    keys = {key(one()), key(one(), environment=an_environment("prod")), key(one(), environment=an_environment("dev"))}
    assert len(keys) == 3


@pytest.mark.parametrize(
    "same",
    [
        pytest.param(one(image=IMAGE.replace("ghcr.io/acme", "mirror.test/acme")), id="where the image is got"),
        pytest.param(one(cache={"maxAge": "2h"}), id="maxAge"),
        pytest.param(one(retry={"limit": 3}), id="retry"),
        pytest.param(one(resources={"limits": {"memory": "1Gi"}}), id="resources"),
        pytest.param(one(description="counts"), id="description"),
    ],
)
def test_what_changes_no_output_does_not_change_the_key(same: PipelineBuilder) -> None:
    assert key(same) == key(one())


def test_runs_for_different_times_share_a_step_that_is_not_told_the_time() -> None:
    runs = [a_run(f"r-{day}").having(logicalDate=f"2013-02-0{day}T00:00:00Z") for day in (1, 2)]
    assert key(one(), runs[0]) == key(one(), runs[1])
    (job,) = planned(one(), [], View(recalled={key(one()): None})).create
    names = {variable["name"] for variable in job["spec"]["template"]["spec"]["containers"][0]["env"]}
    assert "DATAOPS_LOGICAL_DATE" not in names
    assert "DATAOPS_RUN" in names


def test_a_step_template_is_seen_as_what_it_becomes() -> None:
    def of(value: str) -> str:
        builder = a_pipeline().template(
            "count", image=IMAGE, args=["$(params.day)"], parameters=[{"name": "day"}], outputs=N
        )
        return key(builder.uses("a", "count", {"day": value}, cache=HOUR))

    assert of("mon") == of("mon") != of("tue")


# A hit.


def test_before_anything_is_done_the_key_is_looked_up() -> None:
    made = planned(one(), [])
    assert (made.recall, made.create) == ((key(one()),), ())


def test_what_an_earlier_run_did_is_taken_with_its_outputs_and_its_name() -> None:
    made = found(one(), earlier(key(one()), n=7))
    row = made.rows[0]
    assert (row.phase, row.reused, row.cache) == (Phase.SUCCEEDED, "before", key(one()))
    assert row.message == f"not run: run before did the same at {at(-60)}"
    assert (row.started_at, row.finished_at, row.attempt, row.job) == (at(-69), at(-60), 0, None)
    assert (made.create, made.wake_at) == ((), EPOCH), "it is written down before anything goes by it"
    (job,) = planned(one(), list(made.rows)).create
    assert job["spec"]["template"]["spec"]["containers"][0]["args"] == ["7"], "and what follows goes on with it"


def test_nothing_begins_beside_what_is_taken() -> None:
    made = found(one().step("beside"), earlier(key(one()), n=7))
    assert [str(row.phase) for row in made.rows] == ["Succeeded", "Pending", "Pending"]
    assert made.create == ()


def test_the_run_that_really_did_it_is_named_however_often_it_was_taken_over() -> None:
    again = earlier(key(one()), n=7)
    again = replace(again, row=replace(again.row, reused="first"))
    assert found(one(), again).rows[0].reused == "first"


@pytest.mark.parametrize(("age", "taken"), [(3599, True), (3600, True), (3601, False)])
def test_it_is_taken_until_max_age_is_over(age: float, taken: bool) -> None:
    made = found(one(), earlier(key(one()), ended=-age, n=7))
    assert (made.rows[0].phase is Phase.SUCCEEDED) == taken


def test_without_an_earlier_run_the_step_is_run_and_found_by_the_next() -> None:
    made = found(one(), None)
    assert [job["metadata"]["labels"]["dataops.dev/step"] for job in made.create] == ["a"]
    (row, _) = planned(one(), [done("a", n=7), Row("b")]).rows
    assert row.cache == key(one())


@pytest.mark.parametrize(
    "spec",
    [
        {"cache": "Refresh"},
        {"rerun": {"of": "r", "mode": "All"}},
        {"rerun": {"of": "r", "mode": "Steps", "steps": ["a"]}},
    ],
)
def test_who_wants_it_done_again_gets_that(spec: dict[str, Any]) -> None:
    asked = asked_of({"spec": {"pipeline": "p", **spec}, "metadata": {}, "status": {}})
    made = planned(one(), [], asked=asked)
    assert made.recall == ()
    assert len(made.create) == 1


def test_another_step_being_done_again_leaves_the_cache_alone() -> None:
    asked = Asked(again=frozenset({"b"}))
    assert planned(one(), [], asked=asked).recall == (key(one()),)


def test_a_retry_is_not_looked_up() -> None:
    pipeline = one(retry={"limit": 2, "backoff": {"initial": "0s"}})
    row = replace(done("a"), phase=Phase.WAITING, retry_at=at(5), reason="Error")
    made = planned(pipeline, [row, Row("b")], now=60)
    assert (made.recall, len(made.create)) == ((), 1)


def test_a_condition_is_asked_first() -> None:
    assert planned(one(when="false"), []).rows[0].phase is Phase.SKIPPED


def test_secrets_are_not_got_for_a_step_that_is_not_run() -> None:
    secret = [{"name": "x", "vault": {"path": "secret/data/x"}}]
    pipeline = one(secrets=[{"name": "x"}]).having(secrets=secret)
    inputs = a_run().inputs(pipeline, an_environment(vault={"role": "r"}))
    of = key_of(inputs, inputs.revision.steps["a"], {})
    made = plan(inputs, [], View(recalled={of: earlier(of, n=7)}), EPOCH)
    assert not made.arm
    assert made.rows[0].phase is Phase.SUCCEEDED


def test_steps_that_are_cached_keep_a_pod_of_their_own() -> None:
    chain = a_pipeline().step("a", image=IMAGE, cache=HOUR).step("b", needs=["a"]).step("c", needs=["b"])
    assert chain.having(fuse="Auto").revision().shared == (("b", "c"),)


# What cannot be cached.

WRONG: dict[str, tuple[PipelineBuilder, str]] = {
    "a tag": (
        one(image="ghcr.io/acme/flights:1"),
        "spec.steps[0].cache: image 'ghcr.io/acme/flights:1' is named by a tag, which may be moved;"
        " write ghcr.io/acme/flights@sha256:..., or no cache",
    ),
    "the default image's tag": (
        a_pipeline().step("a", image=None, cache=HOUR).having(defaults={"image": "localhost:5000/x"}),
        "spec.steps[0].cache: image 'localhost:5000/x' is named by a tag, which may be moved;"
        " write localhost:5000/x@sha256:..., or no cache",
    ),
    "no time": (one(cache={"maxAge": "0s"}), "spec.steps[0].cache.maxAge: 0s is no time at all; write at least 1s"),
    "a fan-out": (
        a_pipeline().step("a", image=IMAGE, cache=HOUR, forEach={"items": [1]}),
        "spec.steps[0].cache: a fan-out is not cached; remove cache, or forEach",
    ),
    "finally": (
        a_pipeline().step("a").having(**{"finally": [{"name": "z", "image": IMAGE, "cache": HOUR}]}),
        "spec.finally[0].cache: steps of spec.finally always run; remove it",
    ),
    "a workspace that goes": (
        one().having(workspace={"size": "1Gi"}),
        "spec.steps[0].cache: what the step leaves in the workspace goes with its run, and would be missing; write"
        " workspace: None in the step, use a claim that stays, or remove cache",
    ),
    "a masked parameter": (
        one().parameter("token", default="x", masked=True),
        "spec.steps[0].cache: parameter 'token' is masked and would be part of the key, which is shown; have the step"
        " get it as a secret, or remove cache",
    ),
    "a name that is not there": (
        one(cache=HOUR | {"inputs": ["$(params.dya)"]}),
        "spec.steps[0].cache.inputs[0]: $(params.dya): no parameter 'dya'; did you mean 'day'?",
    ),
    "an approval": (
        a_pipeline().jobless("a", approval={}, cache=HOUR),
        "spec.steps[0].cache: belongs to a container, and this step is of the kind approval; remove it",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_cached_is_said_where_the_pipeline_is_written(name: str) -> None:
    pipeline, told = WRONG[name]
    assert told in [str(problem) for problem in parse(pipeline.raw)[1]]


@pytest.mark.parametrize(
    "fine",
    [
        one().having(workspace={"claim": "shared"}),
        one(workspace="None").having(workspace={"size": "1Gi"}),
        one(image="$(params.day)"),
    ],
)
def test_what_can_be_is_not_complained_of(fine: PipelineBuilder) -> None:
    assert parse(fine.raw)[1] == []


def the_problem(inputs: Inputs) -> tuple[Reason, str]:
    ((reason, problem),) = unfit(inputs)
    return reason, str(problem)


def test_an_image_that_the_run_names_is_held_against_it_before_the_run_begins() -> None:
    inputs = a_run().parameter("day", "acme/x:1").inputs(one(image="$(params.day)"))
    reason, told = the_problem(inputs)
    assert reason == Reason.CACHE_IMPOSSIBLE
    assert told.startswith("pipeline flights: spec.steps[0].cache: image 'acme/x:1' is named by a tag")


def test_a_templates_own_workspace_is_seen() -> None:
    def of(**fields: Any) -> Inputs:
        builder = a_pipeline().template("count", image=IMAGE, **fields).uses("a", "count", cache=HOUR)
        return a_run().inputs(builder.having(workspace={"size": "1Gi"}))

    assert unfit(of(workspace="None")) == []
    assert the_problem(of())[0] == Reason.CACHE_IMPOSSIBLE


def test_a_masked_value_of_the_environment_is_not_hashed_into_sight() -> None:
    environment = an_environment(parameters=[{"name": "pin", "value": "1234", "masked": True}])
    inputs = a_run().inputs(one(args=["$(env.params.pin)"]), environment)
    assert the_problem(inputs)[0] == Reason.CACHE_IMPOSSIBLE
    with pytest.raises(CacheError, match="masked"):
        key_of(inputs, inputs.revision.steps["a"], {})


def test_a_parameter_that_the_environment_masks_is_not_hashed_into_sight() -> None:
    environment = an_environment(parameters=[{"name": "day", "value": "1234", "masked": True}])
    reason, told = the_problem(a_run().inputs(one(), environment))
    assert reason == Reason.CACHE_IMPOSSIBLE
    assert "parameter 'day' is masked" in told


def test_an_image_that_a_step_tells_fails_the_step_that_would_be_cached() -> None:
    pipeline = a_pipeline().step("land", outputs=[{"name": "n"}]).step("a", image="$(steps.land.outputs.n)", cache=HOUR)
    row = planned(pipeline, [done("land", n="acme/x:1"), Row("a")]).rows[1]
    assert (row.phase, row.reason) == (Phase.FAILED, Reason.CACHE_IMPOSSIBLE)


def test_what_is_too_large_for_a_row_is_not_found_by_others() -> None:
    row = replace(done("a", n=7), result="a-result", whole={"n": 7})
    assert planned(one(results="Endpoint"), [row, Row("b")], View(results={"a-result": None})).rows[0].cache is None


@pytest.mark.parametrize("known", [None, "the key it was done with"])
def test_what_a_rerun_took_over_has_the_key_that_it_was_done_with_and_no_other(known: str | None) -> None:
    taken = Row("a", Phase.SUCCEEDED, outputs={"n": 1}, finished_at=at(0), reused="before", cache=known)
    made = planned(one(), [taken, Row("b")])
    assert made.rows[0].cache == known
    assert key(one()) != known
