"""The Job that begins: how many steps of a stage it runs, by what the run and its environment have to say."""

from dataclasses import replace
from typing import Any

import orjson
import pytest
from tests.builders import PipelineBuilder, a_pipeline, a_run, an_environment
from tests.unit.core.planning import planned

from dataops_operator.api.run import Phase
from dataops_operator.core.credentials import Agent, Armed
from dataops_operator.core.environment import Effective
from dataops_operator.core.joint import ANNOTATIONS_LIMIT, JOB_LIMIT, joint_job
from dataops_operator.core.rows import Row

IN_A_SECRET = Armed(secret="s", files={"x": ("k",)})
IN_THE_POD = Armed(agent=Agent("agent:1", "vault", {"address": "https://vault"}))
VAULT = an_environment(vault={"role": "r"})
GROWS = {"limit": 2, "on": ["OutOfMemory"], "memory": {"max": "4Gi"}}
SOME = {"requests": {"memory": "1Gi"}, "limits": {"memory": "1Gi"}}


def chain(**fields: Any) -> PipelineBuilder:
    """Three steps that may share a pod; fields of each."""
    built = a_pipeline().having(fuse="Auto", secrets=[{"name": "x", "vault": {"path": "secret/data/x"}}])
    return built.chain(*"abc", **fields)


def runs(
    pipeline: PipelineBuilder, armed: Armed | None = None, environment: Effective | None = None, raised: int = 0
) -> str:
    """The steps that the first one's Job runs, checked against its containers and its label."""
    inputs = a_run().inputs(pipeline, environment)
    job, steps = joint_job(inputs, inputs.revision.stage("a"), 1, {}, armed, raised=raised)
    pod = job["spec"]["template"]["spec"]
    made = [one["name"] for one in (*pod.get("initContainers", ()), *pod["containers"])]
    assert [name for name in made if name != "dataops-secrets"] == [step.name for step in steps]
    assert job["metadata"]["labels"].get("dataops.dev/stage", "1") == str(len(steps))
    return "".join(step.name for step in steps)


@pytest.mark.parametrize(
    ("pipeline", "more", "together"),
    [
        pytest.param(chain(), {}, "abc", id="all that may"),
        pytest.param(
            chain(secrets=[{"name": "x"}]),
            {"armed": IN_A_SECRET, "environment": VAULT},
            "abc",
            id="the run's secrets are at hand until its end in any case",
        ),
        pytest.param(
            chain(secrets=[{"name": "x"}]),
            {"armed": IN_THE_POD, "environment": VAULT},
            "a",
            id="a pod that gets its own secrets has them for one step",
        ),
        pytest.param(
            chain(), {"armed": IN_THE_POD, "environment": VAULT}, "abc", id="which those without secrets do not mind"
        ),
        pytest.param(chain(resources=SOME, retry=GROWS), {}, "abc", id="memory that may be raised"),
        pytest.param(
            chain(resources=SOME, retry=GROWS), {"raised": 1}, "a", id="that was raised, for the one that needs it"
        ),
        pytest.param(chain(resources=SOME), {"raised": 1}, "abc", id="that is never raised"),
        pytest.param(
            chain(resources={"limits": {"ephemeral-storage": "1Gi"}}), {}, "a", id="a limit on what lies on the disk"
        ),
        pytest.param(
            chain(),
            {"environment": an_environment(podDefaults={"resources": {"limits": {"ephemeral-storage": "1Gi"}}})},
            "a",
            id="the environment's",
        ),
        pytest.param(
            chain(),
            {"environment": an_environment(quota={"hard": {"limits.ephemeral-storage": "9Gi"}})},
            "a",
            id="by its quota",
        ),
        pytest.param(
            chain(),
            {"environment": an_environment(quota={"hard": {"requests.ephemeral-storage": "9Gi", "limits.cpu": 4}})},
            "abc",
            id="other quotas",
        ),
        pytest.param(
            chain(command=None, script="#!/bin/sh\n" + "#" * 65_000), {}, "abc", id="scripts that fit into one pod"
        ),
    ],
)
def test_steps_that_begin_together(pipeline: PipelineBuilder, more: dict[str, Any], together: str) -> None:
    assert runs(pipeline, **more) == together


def test_scripts_that_are_too_much_for_one_pod_are_run_by_several() -> None:
    long = "#!/bin/sh\n" + "ä" * 50_000
    pipeline = a_pipeline().having(fuse="Auto").chain(*"abcde", command=None, script=long)
    assert runs(pipeline) == "ab"
    inputs = a_run().inputs(pipeline)
    job, _ = joint_job(inputs, inputs.revision.stage("a"), 1, {}, None)
    told = job["spec"]["template"]["metadata"]["annotations"]
    assert sum(len(key) + len(value.encode()) for key, value in told.items()) <= ANNOTATIONS_LIMIT


def test_parameters_that_are_too_much_for_one_job_are_told_by_several() -> None:
    pipeline = a_pipeline().having(fuse="Auto").chain(*"abc", args=["x" * 8_000] * 8)
    for name in "pqr":
        pipeline.parameter(name, default="x" * 31_000)
    assert runs(pipeline) == "ab"
    inputs = a_run().inputs(pipeline)
    job, _ = joint_job(inputs, inputs.revision.stage("a"), 1, {}, None)
    assert len(orjson.dumps(job)) <= JOB_LIMIT


def test_what_one_step_alone_needs_is_not_looked_at() -> None:
    wide = a_pipeline().step("a", args=["x" * 8000] * 100)
    assert runs(wide) == "a"


def test_a_step_behind_whose_templates_cannot_be_filled_in_fails_in_its_own_turn() -> None:
    given = a_pipeline().having(fuse="Auto", parameters=[{"name": "o", "type": "Object", "default": {}}])
    given = given.step("a").step("b", needs=["a"]).step("c", needs=["b"], args=["$(params.o.none)"])
    assert runs(given) == "ab"


def test_a_step_behind_whose_image_is_not_allowed_fails_in_its_own_turn() -> None:
    given = a_pipeline().having(fuse="Auto").chain(*"ab", image="good/i:1").step("c", needs=["b"], image="bad/i:1")
    assert runs(given, environment=an_environment(images={"allowedRegistries": ["good"]})) == "ab"


def test_only_the_steps_that_begin_name_the_job() -> None:
    given = a_pipeline().having(fuse="Auto", parameters=[{"name": "o", "type": "Object", "default": {}}])
    given = given.step("a").step("b", needs=["a"]).step("c", needs=["b"], args=["$(params.o.none)"])
    made = planned(given, [])
    assert [row.job is not None for row in made.rows] == [True, True, False]
    done = [replace(row, phase=Phase.SUCCEEDED, attempt=1) for row in made.rows[:2]]
    then = planned(given, [*done, Row("c")])
    assert (then.rows[2].phase, then.rows[2].reason) == (Phase.FAILED, "InvalidTemplate")
