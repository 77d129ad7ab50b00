"""A run and its environment: values and their origins, what is masked, what its Jobs get, what is remembered."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import orjson
import pytest
from tests.builders import EPOCH, PipelineBuilder, RunBuilder, a_job, a_pipeline, a_run, an_environment, at

from dataops_operator.api.conditions import Reason
from dataops_operator.api.run import Phase, PipelineRunStatus
from dataops_operator.core.accept import Pinned, Refused, Waiting, pin, pinned, remember
from dataops_operator.core.environment import Effective, controller_revision, fix, load
from dataops_operator.core.jobs import build_job
from dataops_operator.core.parameters import Resolved
from dataops_operator.core.plan import View
from dataops_operator.core.planner import plan
from dataops_operator.core.progress import POLL
from dataops_operator.core.rows import Row, held
from dataops_operator.core.status import belonging, difference, running, waiting

Object = dict[str, Any]
CANARY = 'canary-"7f3a'


def place(*parameters: Object, **spec: Any) -> Effective:
    return an_environment(parameters=list(parameters), **spec)


def settled(pipeline: PipelineBuilder, environment: Effective, run: RunBuilder | None = None) -> Pinned | Refused:
    run = run or a_run()
    return pin(run.identity(), run.spec(), at(0), pipeline.revision(), environment)


def values(found: Pinned | Refused) -> dict[str, tuple[Any, str]]:
    assert isinstance(found, Pinned), found
    return {one.name: (one.value, one.origin) for one in found.parameters}


# Precedence.


def test_the_runs_value_comes_before_the_environments_and_that_before_the_default() -> None:
    pipeline = a_pipeline().step("a")
    for name in ("all", "given", "offered", "both", "nobody"):
        pipeline.parameter(name, "Integer", default=1)
    offers = [{"name": name, "value": "2"} for name in ("all", "offered", "both", "undeclared")]
    run = a_run()
    for name in ("all", "given"):
        run.parameter(name, 3)
    environment = place(*offers, {"name": "nobody", "value": None})
    found = settled(pipeline, environment, run)
    assert values(found) == {
        "all": (3, "Run"),
        "given": (3, "Run"),
        "offered": (2, "Environment"),
        "both": (2, "Environment"),
        "nobody": (1, "Pipeline"),
    }
    assert isinstance(found, Pinned)
    assert (found.environment, found.environment_revision) == ("team/prod", environment.revision)


def test_an_environments_value_serves_where_the_pipeline_requires_one() -> None:
    pipeline = a_pipeline().parameter("day", "Date", required=True).step("a")
    assert values(settled(pipeline, place({"name": "day", "value": "2013-02-09"}))) == {
        "day": ("2013-02-09", "Environment")
    }


@pytest.mark.parametrize(
    ("parameter", "value", "words"),
    [
        ({"type_": "Integer"}, "many", '"many" is not a whole number of at most 64 bits'),
        ({"type_": "Integer", "maximum": 16}, 17, "17 is greater than 16"),
        ({"type_": "Date"}, 5, "5 is not a date"),
        ({"enum": ["a", "b"]}, "c", '"c" is not one of "a", "b"'),
    ],
)
def test_an_environments_value_that_does_not_fit_refuses_the_run_with_path_and_cure(
    parameter: Object, value: Any, words: str
) -> None:
    pipeline = a_pipeline().parameter("threads", **parameter).step("a")
    found = settled(pipeline, place({"name": "threads", "value": value}))
    assert isinstance(found, Refused)
    assert found.reason is Reason.INVALID_PARAMETERS
    assert found.message.startswith("Environment team/prod: spec.parameters[threads].value: threads: ")
    assert words in found.message
    assert found.message.endswith("; mend it there, or give the run a value of its own")


@pytest.mark.parametrize("masked_by", ["pipeline", "environment"])
@pytest.mark.parametrize("given_by", ["run", "environment"])
@pytest.mark.parametrize(
    "fields",
    [{"type_": "Integer"}, {"enum": ["a"]}, {"pattern": "x"}],
    ids=["of another type", "not in the enum", "against the pattern"],
)
def test_a_masked_value_that_does_not_fit_is_refused_without_being_shown(
    masked_by: str, given_by: str, fields: Object
) -> None:
    pipeline = a_pipeline().parameter("token", masked=masked_by == "pipeline", **fields).step("a")
    offer: Object = {"name": "token", "masked": masked_by == "environment"}
    run = a_run()
    if given_by == "run":
        run.parameter("token", CANARY)
    else:
        offer["value"] = CANARY
    found = settled(pipeline, place(offer), run)
    assert isinstance(found, Refused)
    assert "canary" not in found.message
    assert "the value, which is masked, " in found.message


# What is masked.


def masked_run(environment: Effective) -> tuple[PipelineBuilder, Pinned]:
    pipeline = a_pipeline().parameter("token", default="x" * 8).parameter("n", "Integer", default=1).step("a")
    found = settled(pipeline, environment)
    assert isinstance(found, Pinned)
    return pipeline, found


def test_a_masked_value_reaches_the_pod_and_not_the_status() -> None:
    environment = place({"name": "token", "value": CANARY, "masked": True})
    pipeline, fixed = masked_run(environment)
    inputs = replace(a_run().inputs(pipeline, environment), parameters=fixed.parameters)
    rows = [Row("a", Phase.WAITING, Reason.CONTAINER_CONFIG, f"exec: {json.dumps(CANARY)} or {CANARY}: not found", 1)]
    status = running({}, fixed, rows, None, 1, EPOCH, hidden=inputs.hidden)
    assert status["parameters"] == [
        {"name": "token", "origin": "Environment", "masked": True},
        {"name": "n", "value": 1, "origin": "Pipeline"},
    ]
    assert b"canary" not in orjson.dumps(status)
    assert "exec: " in status["steps"][0]["message"]
    PipelineRunStatus.model_validate(status)
    container = build_job(inputs, tuple(inputs.revision.spec.steps), 1, {})["spec"]["template"]["spec"]["containers"][0]
    assert {"name": "DATAOPS_PARAM_TOKEN", "value": CANARY} in container["env"]


def test_a_value_of_the_environment_alone_is_hidden_too() -> None:
    environment = place({"name": "other", "value": CANARY, "masked": True})
    inputs = a_run().inputs(a_pipeline().step("a", args=["$(env.params.other)"]), environment)
    assert CANARY in inputs.hidden


def test_a_status_knows_of_masked_values_only_that_they_are_there() -> None:
    environment = place({"name": "token", "value": CANARY, "masked": True})
    pipeline, fixed = masked_run(environment)
    found = pinned(running({}, fixed, [Row("a")], None, 1, EPOCH), [])
    assert found is not None
    assert not found.complete
    again = remember(found, pipeline.revision(), environment, {"token": CANARY})
    assert again == fixed
    assert again.complete


def test_a_run_whose_status_was_never_written_is_known_by_its_job_masks_and_environment_too() -> None:
    environment = place({"name": "token", "value": CANARY, "masked": True})
    pipeline, fixed = masked_run(environment)
    inputs = replace(a_run().inputs(pipeline, environment), parameters=fixed.parameters)
    job = a_job("x").of(build_job(inputs, (inputs.revision.spec.steps[0],), 1, {})).build()
    found = pinned({}, [job])
    assert found is not None
    assert remember(found, pipeline.revision(), environment) == fixed


# What is remembered of the environment.


def test_an_environments_content_survives_being_kept() -> None:
    lake = {
        "name": "lake",
        "s3": {"endpoint": "https://s3.example", "bucket": "lake", "credentials": {"vault": {"path": "secret/data/s"}}},
    }
    before = an_environment(
        parameters=[{"name": "n", "value": {"a": [1]}, "masked": True}],
        targets=[lake, {"name": "scratch", "volume": {"size": "1Gi"}}],
        vault={"role": "r"},
        podDefaults={"nodeSelector": {"a": "b"}, "tolerations": [{"key": "k"}]},
        images={"requireDigest": True},
    )
    fixed = fix(before.project, before.name, before.execution, before.spec, before.targets)
    kept = orjson.loads(orjson.dumps(controller_revision(fixed, "uid", 1)))
    assert load("team", "prod", kept["metadata"]["name"], kept["data"]) == replace(
        fixed, spec=fixed.spec.model_copy(update={"targets": None})
    ), "targets are kept as they were resolved"


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"freeze": True}, True),
        ({"quota": {"runs": 2}}, True),
        ({"description": "x"}, True),
        ({"parameters": [{"name": "a", "value": 1}]}, False),
        ({"images": {"requireDigest": True}}, False),
        ({"vault": {"role": "r"}}, False),
        ({"podDefaults": {"nodeSelector": {"a": "b"}}}, False),
        ({"targets": [{"name": "s", "volume": {"claim": "c"}}]}, False),
        ({"namespace": "elsewhere"}, False),
    ],
)
def test_what_a_run_keeps_makes_another_revision_and_what_holds_at_once_does_not(change: Object, same: bool) -> None:
    def revision(**spec: Any) -> str:
        made = an_environment(**spec)
        return fix(made.project, made.name, made.execution, made.spec, made.targets).revision

    assert (revision() == revision(**change)) is same


# What its Jobs get.


def pod_of(pipeline: PipelineBuilder, environment: Effective, step: int = 0) -> Object:
    inputs = a_run().inputs(pipeline, environment)
    job = build_job(inputs, (inputs.revision.spec.steps[step],), 1, {})
    pod: Object = job["spec"]["template"]["spec"]
    return pod


def test_a_job_says_with_which_environment_its_run_began() -> None:
    environment = place()
    inputs = a_run().inputs(a_pipeline().step("a"), environment)
    job = build_job(inputs, tuple(inputs.revision.spec.steps), 1, {})
    assert (
        job["metadata"]["annotations"].items()
        >= {
            "dataops.dev/environment": "team/prod",
            "dataops.dev/environment-revision": environment.revision,
        }.items()
    )


def test_templates_name_the_environment_its_parameters_and_targets() -> None:
    lake = {"name": "lake", "s3": {"endpoint": "https://s3.example", "bucket": "data", "prefix": "p/"}}
    texts = ["$(env.name)", "$(env.params.x)", "$(env.params.deep.list.1)", "$(targets.lake.url)", "$$(env.params.x)"]
    environment = place({"name": "x", "value": 7}, {"name": "deep", "value": {"list": ["a", "b"]}}, targets=[lake])
    (container,) = pod_of(a_pipeline().step("a", command=texts), environment)["containers"]
    assert container["command"] == ["prod", "7", "b", environment.targets["lake"].attributes["url"], "$$(env.params.x)"]
    assert {"name": "DATAOPS_ENVIRONMENT", "value": "prod"} in container["env"]


def test_a_namespace_of_no_environment_stands_for_one() -> None:
    inputs = a_run().inputs(a_pipeline().step("a", command=["$(env.name)"]))
    (container,) = build_job(inputs, tuple(inputs.revision.spec.steps), 1, {})["spec"]["template"]["spec"]["containers"]
    assert container["command"] == ["team"]
    assert {"name": "DATAOPS_ENVIRONMENT", "value": "team"} in container["env"]


MINE, PIPELINES, PLACES = ({"requests": {"cpu": cpu}} for cpu in ("1", "2", "3"))


@pytest.mark.parametrize(
    ("step", "pipeline", "expected"),
    [(MINE, PIPELINES, MINE), (None, PIPELINES, PIPELINES), (None, None, PLACES)],
    ids=["the step's own", "the pipeline's", "the environment's"],
)
def test_resources_are(step: Object | None, pipeline: Object | None, expected: Object) -> None:
    built = a_pipeline().step("a", **({"resources": step} if step else {}))
    if pipeline:
        built.having(defaults={"resources": pipeline})
    (container,) = pod_of(built, place(podDefaults={"resources": PLACES}))["containers"]
    assert container["resources"] == expected


def test_pods_get_the_environments_placement() -> None:
    pod = pod_of(
        a_pipeline().step("a"),
        place(
            podDefaults={
                "nodeSelector": {"disk": "fast"},
                "tolerations": [{"key": "dedicated", "value": "data", "effect": "NoSchedule"}],
                "imagePullSecrets": [{"name": "registry"}],
            }
        ),
    )
    assert pod["nodeSelector"] == {"disk": "fast"}
    assert pod["tolerations"] == [{"key": "dedicated", "operator": "Equal", "value": "data", "effect": "NoSchedule"}]
    assert pod["imagePullSecrets"] == [{"name": "registry"}]


def test_a_volume_target_is_mounted_where_a_step_names_it_and_nowhere_else() -> None:
    targets = [
        {"name": "scratch", "volume": {"size": "1Gi"}},
        {"name": "shared", "access": "ReadOnly", "volume": {"claim": "shared-data"}},
    ]
    pipeline = a_pipeline().step("a", args=["$(targets.scratch.path)", "$(targets.shared.path)"]).step("b")
    environment = place(targets=targets)
    pod = pod_of(pipeline, environment)
    mounts = {one["mountPath"]: one for one in pod["containers"][0]["volumeMounts"]}
    volumes = {one["name"]: one for one in pod["volumes"]}
    for name, read_only in (("scratch", False), ("shared", True)):
        mount = mounts[f"/dataops/targets/{name}"]
        assert mount.get("readOnly", False) is read_only
        claim = volumes[mount["name"]]["persistentVolumeClaim"]["claimName"]
        assert claim == environment.targets[name].claim
    assert not [one for one in pod_of(pipeline, environment, 1)["volumes"] if "persistentVolumeClaim" in one]


def test_a_job_whose_templated_image_is_out_of_policy_fails_its_step_before_it_exists() -> None:
    pipeline = a_pipeline().step("a", outputs=[{"name": "x"}]).step("b", image="$(steps.a.outputs.x)")
    inputs = a_run().inputs(pipeline, place(images={"allowedRegistries": ["docker.io"]}))
    done = Row("a", Phase.SUCCEEDED, attempt=1, outputs={"x": "ghcr.io/evil/x"})
    made = plan(inputs, [done, Row("b")], View(), EPOCH)
    assert made.create == ()
    assert (made.rows[1].phase, made.rows[1].reason) == (Phase.FAILED, Reason.IMAGE_NOT_ALLOWED)
    assert "'ghcr.io/evil/x' is in ghcr.io/evil; allowed here: docker.io" in str(made.rows[1].message)


# The quota of Jobs.


THREE = a_pipeline().step("a").step("b").step("c")


def with_room(room: int | None, rows: list[Row] | None = None) -> Any:
    return plan(a_run().inputs(THREE), rows or [], View(room=room), EPOCH)


@pytest.mark.parametrize(("room", "begun"), [(None, 3), (5, 3), (3, 3), (2, 2), (0, 0)])
def test_as_many_jobs_are_created_as_there_is_room_for(room: int | None, begun: int) -> None:
    made = with_room(room)
    assert len(made.create) == begun
    assert made.short is (begun < 3)
    waits = [row for row in made.rows if row.phase is Phase.WAITING]
    assert [row.reason for row in waits] == [Reason.JOB_QUOTA] * (3 - begun)
    assert [row.attempt for row in waits] == [0] * (3 - begun), "no attempt was begun"
    if waits:
        assert made.wake_at == EPOCH + POLL


def test_a_step_that_waits_for_room_begins_with_its_first_attempt_when_there_is_some() -> None:
    before = with_room(0)
    assert with_room(0, list(before.rows)).rows == before.rows, "the words do not change while it waits: no write"
    after = with_room(3, list(before.rows))
    assert [(row.phase, row.attempt) for row in after.rows] == [(Phase.RUNNING, 1)] * 3


def test_a_run_that_waits_for_room_says_its_place_and_is_not_written_while_that_stays() -> None:
    rows = with_room(2).rows
    first = running({}, Pinned("r", (), at(0)), rows, None, 1, EPOCH, place=3)
    (waits,) = first["waitingFor"]
    assert (waits["reason"], waits["position"], waits["since"]) == ("JobQuota", 3, at(0))
    assert running(first, Pinned("r", (), at(0)), rows, None, 1, EPOCH + 60, place=3) == first
    later = running(first, Pinned("r", (), at(0)), rows, None, 1, EPOCH + 60, place=1)
    assert later["waitingFor"] == [waits | {"position": 1}], "and has waited since it began to"


def test_a_retry_that_waits_for_room_still_tells_how_the_last_attempt_ended() -> None:
    pipeline = a_pipeline().step("a", retry={"limit": 1})
    failed = Row("a", Phase.WAITING, Reason.ERROR, "exit code 1", 1, at(0), at(5), retry_at=at(15), job="j")
    made = plan(a_run().inputs(pipeline), [failed], View(room=0), EPOCH + 20)
    (row,) = made.rows
    assert (row.reason, row.attempt, made.create, made.short) == (Reason.ERROR, 1, (), True)
    status = running({}, Pinned("r", (), at(0)), made.rows, None, 1, EPOCH + 20)
    assert status["waitingFor"][0]["reason"] == "JobQuota"
    assert status["steps"] == [failed.to_status()]
    assert held(failed, Reason.JOB_QUOTA, "x").to_status() == failed.to_status()


# Statuses.


def test_a_run_in_line_shows_its_place_and_who_holds_what_it_waits_for() -> None:
    why = Waiting(Reason.RUN_QUOTA, "2 runs at once", EPOCH + 5, holder="r1", position=3)
    status = waiting({}, why, 1, EPOCH)
    assert status["waitingFor"] == [
        {"reason": "RunQuota", "message": "2 runs at once", "since": at(0), "holder": "r1", "position": 3}
    ]
    PipelineRunStatus.model_validate(status)
    moved = waiting(status, replace(why, position=2), 1, EPOCH + 9)
    assert set(difference(status, moved)) == {"waitingFor"}
    assert moved["waitingFor"][0]["since"] == at(0)


@pytest.mark.parametrize(
    ("status", "annotations", "environment", "told"),
    [
        ({}, {}, None, {}),
        ({}, {"dataops.dev/created-by": "ada"}, "team/prod", {"requestedBy": "ada", "environment": "team/prod"}),
        ({"requestedBy": "ada"}, {"dataops.dev/created-by": "eve"}, None, {"requestedBy": "ada"}),
        ({}, {"dataops.dev/created-by": "x" * 300}, None, {"requestedBy": "x" * 252 + "…"}),
    ],
    ids=["nothing is known", "as the API server knows them", "said once", "within its bound"],
)
def test_who_asked_for_a_run_and_where_it_belongs(
    status: Object, annotations: dict[str, str], environment: str | None, told: Object
) -> None:
    assert belonging(status, annotations, environment) == told


def test_a_run_that_belongs_to_an_environment_keeps_which_one_it_began_with() -> None:
    fixed = Pinned("p-1", (Resolved("n", 1, "Run"),), at(0), "team/prod", "prod-1")
    status = running({}, fixed, [Row("a")], None, 1, EPOCH)
    assert (status["environment"], status["environmentRevision"]) == ("team/prod", "prod-1")
    assert pinned(status, []) == fixed
    waits = {"environment": "team/prod", "revision": "p-1", "logicalDate": at(0)}
    assert pinned(waits, []) == Pinned("p-1", (), at(0)), "a run that began outside of it does not belong to it"
