"""A run that is done again: what it begins with, and which of its steps it takes over."""

from __future__ import annotations

from typing import Any

import pytest
from tests.builders import PipelineBuilder, a_pipeline, a_run

from dataops_operator.api.run import PipelineRunSpec
from dataops_operator.core import rerun
from dataops_operator.core.accept import Pinned, Refused, pin
from dataops_operator.core.inputs import Inputs
from dataops_operator.core.plan import View
from dataops_operator.core.planner import plan

pytestmark = pytest.mark.usefixtures("both_modes")

DAY = "2013-02-09T00:00:00Z"


def chain() -> PipelineBuilder:
    """Land, check and publish one after the other, count beside; `publish` names the day, `check` the limit."""
    given = [
        {"name": "day", "default": "mon"},
        {"name": "limit", "type": "Integer", "default": 5},
        {"name": "unused", "default": "x"},
    ]
    return (
        a_pipeline()
        .having(parameters=given, **{"finally": [{"name": "tidy", "image": "img"}]})
        .step("land", outputs=[{"name": "rows", "type": "Integer"}])
        .step("count", needs=["land"], script="echo $DATAOPS_PARAM_UNUSED_TOO")
        .step("check", args=["$(params.limit)", "$(steps.land.outputs.rows)"])
        .step("publish", needs=["check"], args=["$(params.day)"])
    )


def ended(pipeline: PipelineBuilder, succeeded: str, failed: str = "", **status: Any) -> dict[str, Any]:
    """A run of the pipeline as it ended; what neither succeeded nor failed was skipped."""
    rows = []
    for name in pipeline.revision().follows:
        phase = "Succeeded" if name in succeeded.split() else "Failed" if name in failed.split() else "Skipped"
        row: dict[str, Any] = {"name": name, "phase": phase, "attempt": 2, "job": f"j-{name}", "startedAt": DAY}
        if name == "land" and phase == "Succeeded":
            row["outputs"] = {"rows": 7}
        rows.append(row)
    parameters = [
        {"name": "day", "value": "tue", "origin": "Run"},
        {"name": "limit", "value": 5, "origin": "Pipeline"},
        {"name": "unused", "value": "x", "origin": "Environment"},
    ]
    whole = {
        "revision": pipeline.revision().name,
        "logicalDate": DAY,
        "parameters": parameters,
        "steps": rows,
        "conditions": [{"type": "Succeeded", "status": "False" if failed else "True"}],
    }
    return {"metadata": {"name": "old"}, "spec": {"pipeline": "flights"}, "status": {**whole, **status}}


def again(old: dict[str, Any] | None, pipeline: PipelineBuilder | None = None, **spec: Any) -> Any:
    """What the new run is accepted with and where its steps stand, or why it is refused."""
    how = {"of": "old", **spec.pop("rerun", {})}
    asked = PipelineRunSpec.model_validate({"pipeline": "flights", "rerun": how, **spec})
    assert asked.rerun is not None
    settled = rerun.settled(asked, asked.rerun, old)
    if isinstance(settled, Refused):
        return settled
    whole, before = settled
    revision = (pipeline or chain()).revision()
    fixed = pin(a_run().identity(), whole, DAY, revision)
    assert isinstance(fixed, Pinned), fixed
    fixed = rerun.taken_over(fixed, {one.name for one in asked.parameters or ()}, before)
    rows = rerun.rows(revision, fixed, asked.rerun, before)
    return rows if isinstance(rows, Refused) else (fixed, rows)


def runs_again(found: Any) -> str:
    """Names of the steps that are run again."""
    assert not isinstance(found, Refused), found
    return " ".join(row.name for row in found[1] if not row.final)


FAILED = ended(chain(), "land count tidy", "check")


@pytest.mark.parametrize(
    ("old", "asked", "steps"),
    [
        pytest.param(FAILED, {}, "check publish tidy", id="from what failed on; finally always"),
        pytest.param(ended(chain(), "land count check publish tidy"), {}, "tidy", id="nothing, where all succeeded"),
        pytest.param(FAILED, {"rerun": {"mode": "All"}}, "land count check publish tidy", id="all"),
        pytest.param(
            ended(chain(), "land count check publish tidy"),
            {"rerun": {"mode": "Steps", "steps": ["check"]}},
            "check publish tidy",
            id="a step that is named, and what follows it",
        ),
        pytest.param(
            FAILED,
            {"rerun": {"mode": "Steps", "steps": ["count"]}},
            "count check publish tidy",
            id="what failed is run again in any mode",
        ),
        pytest.param(
            ended(chain(), "land count check publish tidy"),
            {"parameters": [{"name": "day", "value": "wed"}]},
            "publish tidy",
            id="what uses a parameter that has changed",
        ),
        pytest.param(
            ended(chain(), "land count check publish tidy"),
            {"parameters": [{"name": "limit", "value": 6}]},
            "check publish tidy",
            id="and what follows that",
        ),
        pytest.param(
            ended(chain(), "land count check publish tidy"),
            {"parameters": [{"name": "day", "value": "tue"}, {"name": "unused", "value": "y"}]},
            "tidy",
            id="the same value is no change, and nothing names the other one",
        ),
        pytest.param(
            ended(chain(), "land count check publish tidy"),
            {"logicalDate": "2013-02-10T00:00:00Z"},
            "land count check publish tidy",
            id="another time is another run",
        ),
    ],
)
def test_these_steps_are_run_again(old: dict[str, Any], asked: dict[str, Any], steps: str) -> None:
    assert runs_again(again(old, **asked)) == steps


def test_a_script_that_reads_a_changed_parameter_is_run_again() -> None:
    pipeline = a_pipeline().having(parameters=[{"name": "n", "default": "1"}])
    pipeline = pipeline.step("a", script="echo $DATAOPS_PARAM_N").step("b", script="cat /dataops/params.json").step("c")
    pipeline = pipeline.step("d", command=["sh", "-c", "echo $DATAOPS_PARAM_N"]).step("e", args=["$(DATAOPS_PARAM_N)"])
    pipeline = pipeline.step("f", env=[{"name": "N", "value": "$(DATAOPS_PARAM_N)"}])
    old = ended(pipeline, "a b c d e f", parameters=[{"name": "n", "value": "1", "origin": "Pipeline"}])
    assert runs_again(again(old, pipeline, parameters=[{"name": "n", "value": "2"}])) == "a b d e f"


def test_a_step_whose_default_image_names_a_changed_parameter_is_run_again() -> None:
    pipeline = a_pipeline().having(parameters=[{"name": "tag", "default": "1"}], defaults={"image": "i:$(params.tag)"})
    pipeline = pipeline.step("a", image=None).step("b", image="j:1").jobless("c", wait={"duration": "1s"})
    old = ended(pipeline, "a b c", parameters=[{"name": "tag", "value": "1", "origin": "Pipeline"}])
    assert runs_again(again(old, pipeline, parameters=[{"name": "tag", "value": "2"}])) == "a"


def test_what_lies_in_a_workspace_of_the_run_is_made_again() -> None:
    pipeline = a_pipeline().having(workspace={"size": "1Gi"}).step("a").step("b", workspace="None").step("c")
    assert runs_again(again(ended(pipeline, "a b", "c", parameters=[]), pipeline)) == "a c"
    kept = a_pipeline().having(workspace={"claim": "mine"}).step("a").step("c")
    assert runs_again(again(ended(kept, "a", "c", parameters=[]), kept)) == "c"


def test_results_that_go_with_the_run_before_are_made_again() -> None:
    old = ended(chain(), "land count tidy", "check")
    old["status"]["steps"][0] |= {"result": "old-land-result"}
    assert runs_again(again(old)) == "land count check publish tidy"


def test_values_and_the_time_are_those_of_the_run_before_with_their_origin() -> None:
    fixed, _ = again(FAILED, parameters=[{"name": "limit", "value": 9}])
    assert [(one.name, one.value, one.origin) for one in fixed.parameters] == [
        ("day", "tue", "Run"),
        ("limit", 9, "Run"),
        ("unused", "x", "Environment"),
    ]
    assert fixed.logical_date == DAY


def test_what_is_taken_over_says_from_where_and_feeds_what_follows() -> None:
    fixed, rows = again(FAILED)
    land = rows[0].to_status()
    assert (land["reusedFrom"], land["outputs"], land["phase"]) == ("old", {"rows": 7}, "Succeeded")
    assert not {"job", "attempt"} & land.keys()
    inputs = Inputs(a_run().identity(), chain().revision(), fixed.parameters, fixed.logical_date, "runner", None)
    made = plan(inputs, rows, View(), 0)
    (job,) = made.create
    pod = job["spec"]["template"]["spec"]
    assert [*pod.get("initContainers", ()), *pod["containers"]][0]["args"] == ["5", "7"]


def test_what_is_taken_over_keeps_the_key_by_which_other_runs_find_it() -> None:
    old = ended(chain(), "land count", "check")
    old["status"]["steps"][0]["cacheKey"] = "k"
    _, rows = again(old)
    assert [row.cache for row in rows][:2] == ["k", None]


def test_the_origin_is_the_run_in_which_it_was_done_not_one_that_took_it_over() -> None:
    old = ended(chain(), "land count tidy", "check")
    old["status"]["steps"][0]["reusedFrom"] = "first"
    _, rows = again(old)
    assert [row.reused for row in rows[:2]] == ["first", "old"]


@pytest.mark.parametrize(
    ("old", "asked", "reason", "said"),
    [
        pytest.param(None, {}, "RerunNotFound", "no run 'old'", id="there is none"),
        pytest.param(
            ended(chain(), "land", conditions=[{"type": "Succeeded", "status": "Unknown"}]),
            {},
            "RerunActive",
            "has not ended",
            id="it goes on",
        ),
        pytest.param(
            ended(chain(), "", "land", revision=None), {}, "RerunImpossible", "never began", id="it never began"
        ),
        pytest.param(
            FAILED | {"spec": {"pipeline": "other"}}, {}, "RerunImpossible", "one of pipeline 'other'", id="another's"
        ),
        pytest.param(FAILED, {"revision": "flights-0"}, "RerunImpossible", "take mode All", id="another revision"),
        pytest.param(
            FAILED,
            {"rerun": {"mode": "Steps", "steps": ["lnad"]}},
            "RerunImpossible",
            "no step 'lnad'; did you mean 'land'",
            id="no such step",
        ),
        pytest.param(
            ended(chain(), "", "land", parameters=[{"name": "day", "masked": True, "origin": "Run"}]),
            {},
            "RerunImpossible",
            "'day' is masked",
            id="a value that nobody knows any more",
        ),
    ],
)
def test_what_cannot_be_done_again(old: Any, asked: dict[str, Any], reason: str, said: str) -> None:
    found = again(old, **asked)
    assert isinstance(found, Refused)
    assert (found.reason, said in found.message) == (reason, True), found.message


def test_another_revision_may_be_run_with_everything_anew() -> None:
    whole = ended(chain(), "land count check publish tidy")
    asked = PipelineRunSpec.model_validate(
        {"pipeline": "flights", "revision": "flights-0", "rerun": {"of": "old", "mode": "All"}}
    )
    assert asked.rerun is not None
    settled = rerun.settled(asked, asked.rerun, whole)
    assert not isinstance(settled, Refused)
    assert settled[0].revision == "flights-0"


def test_a_workspace_of_its_own_runs_nothing_again_that_has_no_container() -> None:
    child = {"pipeline": {"name": "other"}}
    pipeline = (
        a_pipeline()
        .having(workspace={"size": "1Gi"})
        .jobless("go", approval={})
        .jobless("rest", wait={"duration": "1s"})
        .jobless("child", **child)
        .step("c", needs=["go", "rest", "child"], workspace="None")
    )
    assert runs_again(again(ended(pipeline, "go rest child", "c", parameters=[]), pipeline)) == "c"
