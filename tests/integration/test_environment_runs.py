"""Runs in an environment on a real API server: what they are given, what keeps them waiting, what refuses them."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import orjson
import pytest
from tests.harness.api import Object, condition
from tests.harness.history import run_ended
from tests.harness.kinds import ENVIRONMENTS, EVENTS, JOBS, PIPELINES, REVISIONS, RUNS, Kind
from tests.harness.script import Outcome, Play
from tests.integration.beside import side_by_side
from tests.integration.standing import edit, ready, stands
from tests.integration.support import (
    Case,
    command,
    failed_because,
    said,
    spec,
    step,
    succeeded,
    until,
    verdict,
    waiting_for,
)

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]
WORDS = ("--log-level", "debug")

CANARY = "canary-5b1d0e"
POLICIES = Kind("NetworkPolicy", "networking.k8s.io/v1", "networkpolicies")
HANG = Play(outcome=Outcome.HANG)


def variables(job: Object) -> dict[str, str]:
    (container,) = job["spec"]["template"]["spec"]["containers"]
    return {one["name"]: one.get("value", "") for one in container["env"]}


# What runs are given.


@side_by_side
async def test_what_no_environment_could_mend_is_told_before_one_is_waited_for(case: Case) -> None:
    theirs = {"metadata": {"name": "dataops-default-deny"}, "spec": {"podSelector": {}}}
    await case.api.create(POLICIES, case.namespace, theirs)
    await case.api.create(ENVIRONMENTS, case.namespace, {"metadata": {"name": "prod"}, "spec": {}})
    foreign = "ForeignObject"
    await case.until(ENVIRONMENTS, "prod", lambda one: condition(one, "NetworkReady").get("reason") == foreign)
    deep: Object | str = "x"
    for _ in range(80):
        deep = {"a": deep}
    await case.run("deep", parameters=[{"name": "p", "value": deep}])
    assert verdict(await case.ended("deep")) == ("False", "Invalid")


@side_by_side
async def test_a_run_takes_its_pipeline_from_the_project_and_values_in_their_order(case: Case) -> None:
    project = f"{case.namespace[:50]}-p"
    await stands(
        case,
        project=project,
        parameters=[
            {"name": "all", "value": "environment"},
            {"name": "offered", "value": "environment"},
            {"name": "undeclared", "value": {"deep": ["a", "b"]}},
        ],
        podDefaults={"nodeSelector": {"disk": "fast"}},
    )
    names = ("all", "offered", "defaulted")
    texts = [*(f"$(params.{name})" for name in names), "$(env.name)", "$(env.params.undeclared.deep.1)"]
    pipeline = spec(step("a", command=texts), parameters=[{"name": name, "default": "pipeline"} for name in names])
    await case.api.create(PIPELINES, project, {"metadata": {"name": "p"}, "spec": pipeline})
    asked = {"dataops.dev/created-by": "ada"}
    decoy = spec(step("a", command=["another of that name, in the execution namespace"]))
    await case.api.create(PIPELINES, case.namespace, {"metadata": {"name": "p", "annotations": asked}, "spec": decoy})
    body = {"metadata": {"name": "r", "annotations": asked}, "spec": {"pipeline": "p"}}
    body["spec"]["parameters"] = [{"name": "all", "value": "run"}]  # type: ignore[index]
    case.own = asked
    await case.api.create(RUNS, case.namespace, body)
    run = await case.ended()
    assert succeeded(run)
    status = run["status"]
    assert {one["name"]: (one["value"], one["origin"]) for one in status["parameters"]} == {
        "all": ("run", "Run"),
        "offered": ("environment", "Environment"),
        "defaulted": ("pipeline", "Pipeline"),
    }
    assert (status["environment"], status["requestedBy"]) == (f"{project}/prod", "ada")
    (job,) = await case.jobs()
    assert command(job) == ["run", "environment", "pipeline", "prod", "b"]
    assert variables(job)["DATAOPS_ENVIRONMENT"] == "prod"
    assert job["spec"]["template"]["spec"]["nodeSelector"] == {"disk": "fast"}
    kept = {one["metadata"]["name"] for one in await case.api.list(REVISIONS, project)}
    assert kept == {status["revision"], status["environmentRevision"]}

    async def told() -> bool:
        found = await case.api.get(PIPELINES, project, "p")
        return condition(found, "LastRunSucceeded").get("status") == "True"

    await until(told)


@side_by_side
async def test_an_environment_that_is_edited_mid_run_changes_nothing_for_it(case: Case) -> None:
    environment = await stands(
        case, parameters=[{"name": "level", "value": "before"}], images={"allowedRegistries": ["example.test"]}
    )
    texts = ["$(params.level)", "$(env.params.level)"]
    await case.ready(spec(step("a", command=texts), step("b", "a", command=texts), parameters=[{"name": "level"}]))
    case.plays("a", Play(), end=2.0)
    await case.run("early")
    await case.step_is("a", "Running", "early")
    await edit(
        case,
        environment,
        parameters=[{"name": "level", "value": "after"}],
        images={"allowedRegistries": ["elsewhere.test"]},
    )
    await case.run("late")
    early, late = await case.ended("early"), await case.ended("late")
    assert succeeded(early)
    assert [command(job) for job in await case.jobs(run="early")] == [["before", "before"]] * 2
    assert verdict(late) == ("False", "ImageNotAllowed"), late["status"]
    assert await case.jobs(run="late") == []


@side_by_side
async def test_a_masked_value_is_shown_nowhere_but_to_the_pod(case: Case) -> None:
    await stands(
        case,
        parameters=[
            {"name": "token", "value": f"{CANARY}-1", "masked": True},
            {"name": "quiet", "value": f"{CANARY}-2", "masked": True},
        ],
    )
    parameters = [{"name": "token"}, {"name": "own", "masked": True}, {"name": "open", "default": "seen"}]
    texts = ["$(params.token)", "$(params.own)", "$(env.params.quiet)"]
    await case.ready(spec(step("a", command=texts), step("b", "a", script="x"), parameters=parameters))
    await case.run(parameters=[{"name": "own", "value": f"{CANARY}-3"}])
    run = await case.ended()
    assert succeeded(run)
    first, _ = await case.jobs()
    assert command(first) == [f"{CANARY}-1", f"{CANARY}-3", f"{CANARY}-2"]
    assert {one["name"]: one.get("value") for one in run["status"]["parameters"]} == {
        "token": None,
        "own": None,
        "open": "seen",
    }
    assert {one["name"]: one.get("masked") for one in run["status"]["parameters"]} == {
        "token": True,
        "own": True,
        "open": None,
    }
    wrong = [{"name": "bad", "type": "Integer", "masked": True}]
    await case.ready(spec(step("a"), parameters=wrong), "q")
    await case.run("refused", "q", parameters=[{"name": "bad", "value": f"{CANARY}-4"}])
    await case.run("early", "late", parameters=[{"name": "own", "value": f"{CANARY}-5"}])
    assert verdict(await case.ended("refused")) == ("False", "InvalidParameters")
    await case.ended("early")
    for kind in (RUNS, ENVIRONMENTS, PIPELINES, EVENTS):
        for found in await case.api.list(kind, case.namespace):
            assert CANARY not in orjson.dumps({**found, "spec": None}).decode(), found["metadata"]["name"]
    log = next(case.logs.glob("operator*.log")).read_text()
    assert case.namespace in log
    assert CANARY not in log


@side_by_side
async def test_a_refusal_that_repeats_a_masked_value_is_told_without_it(case: Case) -> None:
    """Whose value is no image."""
    await stands(case, parameters=[{"name": "token", "value": f" {CANARY} ", "masked": True}])
    await case.ready(spec(step("a", image="$(env.params.token)", startTimeout="5s")))
    await case.run()
    run = await case.ended()
    assert verdict(run) == ("False", "ImageNotAllowed")
    assert "'***' is no image reference" in said(run)
    assert CANARY not in orjson.dumps(run["status"]).decode()


# What refuses them.


@side_by_side
@pytest.mark.parametrize(
    ("reason", "words", "environment", "pipeline"),
    [
        (
            "InvalidParameters",
            ["Environment", "/prod: spec.parameters[n].value: n: ", '"many" is not a whole number', "mend it there"],
            {"parameters": [{"name": "n", "value": "many"}]},
            spec(step("a"), parameters=[{"name": "n", "type": "Integer", "default": 1}]),
        ),
        (
            "TargetNotFound",
            ["pipeline p: spec.steps[0].command[0]: $(targets.lake.url): ", "no target 'lake'", "add it to"],
            {},
            spec(step("a", command=["$(targets.lake.url)"])),
        ),
        (
            "InvalidParameters",
            ["spec.steps[0].command[0]: $(env.params.x): ", "has no parameter 'x'; there are none; add it to"],
            {},
            spec(step("a", command=["$(env.params.x)"])),
        ),
        (
            "VaultNotConfigured",
            ["spec.steps[0].secrets: secrets need Vault", "add spec.vault"],
            {},
            spec(step("a", secrets=[{"name": "s"}]), secrets=[{"name": "s", "vault": {"path": "secret/data/s"}}]),
        ),
        (
            "ImageNotAllowed",
            ["spec.defaults.image: image 'example.test/step:1' is not named by digest", "have spec.images of"],
            {"images": {"requireDigest": True}},
            spec(step("a")),
        ),
    ],
    ids=["value", "target", "parameter", "vault", "digest"],
)
async def test_refused(case: Case, reason: str, words: list[str], environment: Object, pipeline: Object) -> None:
    await stands(case, **environment)
    await case.ready(pipeline)
    await case.run()
    run = await case.ended()
    assert verdict(run) == ("False", reason), run["status"]
    for one in words:
        assert one in said(run)
    assert run["status"]["environment"] == f"{case.namespace}/prod"
    assert await case.jobs() == []


@side_by_side
@pytest.mark.parametrize(
    ("image", "runs"),
    [
        ("ghcr.io/acme/step:1", True),
        ("ghcr.io.evil/acme/step:1", False),
        ("ghcr.io/acme-evil/step:1", False),
        ("acme/step:1", False),
    ],
    ids=["allowed", "a-longer-host", "a-longer-path", "docker-hub"],
)
async def test_image(case: Case, image: str, runs: bool) -> None:
    await stands(case, images={"allowedRegistries": ["ghcr.io/acme"]}, parameters=[{"name": "image", "value": image}])
    await case.ready(spec(step("a", image=image)), "plain")
    await case.ready(spec(step("a", image="$(env.params.image)")), "filled")
    later = spec(
        step("a", image="ghcr.io/acme/first", outputs=[{"name": "x"}]), step("b", image="$(steps.a.outputs.x)")
    )
    await case.ready(later, "later")
    case.plays("a", Play(message=orjson.dumps({"outputs": {"x": image}}).decode()), run="later")
    for name in ("plain", "filled", "later"):
        await case.run(name, name)
    for name in ("plain", "filled"):
        ended = await case.ended(name)
        assert verdict(ended) == (("True", "Succeeded") if runs else ("False", "ImageNotAllowed")), ended["status"]
        assert len(await case.jobs(run=name)) == int(runs)
    ended = await case.ended("later")
    if runs:
        assert succeeded(ended)
    else:
        assert failed_because(ended, "b") == "ImageNotAllowed"
        assert await case.jobs("b", "later") == []


@side_by_side
async def test_secrets_need_an_environment_with_vault(case: Case) -> None:
    secrets = [{"name": "s", "vault": {"path": "secret/data/s"}}]
    await case.ready(spec(step("a", secrets=[{"name": "s"}]), secrets=secrets))
    await case.run()
    run = await case.ended()
    assert verdict(run) == ("False", "VaultNotConfigured")
    assert "create an Environment in it with spec.vault" in said(run)
    assert "environment" not in run["status"]


# What keeps them waiting.


@side_by_side
async def test_a_freeze_keeps_new_runs_and_lets_those_under_way_go_on(case: Case) -> None:
    environment = await stands(case)
    await case.ready(spec(step("a"), step("b", "a")))
    case.plays("a", Play(), run="early", end=1.5)
    await case.run("early")
    await case.step_is("a", "Running", "early")
    await edit(case, environment, freeze=True)
    await case.run("late")  # at once: an edit right before the run counts
    late = await case.waits("Frozen", "late")
    assert late["status"]["environment"] == f"{case.namespace}/prod"
    assert "until its spec.freeze is false" in said(late)
    assert succeeded(await case.ended("early"))
    assert await case.jobs(run="late") == []
    await edit(case, environment, freeze=False)
    assert succeeded(await case.ended("late", within=10))


@side_by_side
async def test_a_run_that_could_never_start_is_refused_though_the_environment_is_frozen(case: Case) -> None:
    await stands(case, freeze=True)
    await case.ready(spec(step("a"), parameters=[{"name": "n", "type": "Integer", "default": 1}]))
    await case.run(parameters=[{"name": "n", "value": "x"}])
    assert verdict(await case.ended()) == ("False", "InvalidParameters")


@side_by_side
async def test_five_runs_share_two_places_in_the_order_of_their_creation(case: Case) -> None:
    await stands(case, quota={"runs": 2})
    await case.ready(spec(step("a")))
    case.plays("a", Play(), end=7.0)
    names = ["r3", "r1", "r5", "r2", "r4"]
    for name in names:
        await case.run(name)
        await asyncio.sleep(1.05)  # creations are told in whole seconds
    first = (await case.waits("RunQuota", names[-1]))["status"]["waitingFor"][0]
    assert first["position"] > 1
    assert first["holder"] in names[:3]
    assert "runs at most 2 at once (spec.quota.runs); place" in first["message"]
    ended = [await case.ended(name) for name in names]
    assert all(succeeded(run) for run in ended)
    began = [run["status"]["startedAt"] for run in ended]
    assert began == sorted(began)
    assert await most_at_once(case) == 2


@side_by_side
async def test_runs_created_at_once_wait_with_their_places_and_never_more_run(case: Case) -> None:
    await stands(case, quota={"runs": 2})
    await case.ready(spec(step("a"), step("b", "a")))
    for number in range(5):
        case.plays("a", HANG, run=f"r{number}") if number < 2 else None
    await asyncio.gather(*(case.run(f"r{number}") for number in range(2)))
    await asyncio.sleep(1)  # the order is that of creation, in whole seconds
    await asyncio.gather(*(case.run(f"r{number}") for number in range(2, 5)))

    async def lined_up() -> bool:
        runs = await case.api.list(RUNS, case.namespace)
        return sorted(position(run) for run in runs) == [0, 0, 1, 2, 3]

    await until(lined_up)
    runs = {run["metadata"]["name"]: run for run in await case.api.list(RUNS, case.namespace)}
    order = sorted(runs, key=lambda name: (runs[name]["metadata"]["creationTimestamp"], name))
    assert [position(runs[name]) for name in order] == [0, 0, 1, 2, 3]
    for name in order[:2]:
        await case.api.delete(RUNS, case.namespace, name)
    for name in order[2:]:
        assert succeeded(await case.ended(name))
    for name in order[:2]:

        async def gone(name: str = name) -> bool:
            return not await case.jobs(run=name)

        await until(gone)  # the cluster's garbage collector takes its time


def position(run: Object) -> int:
    """A run's place in line; 0 for one that runs, -1 for one that says nothing yet."""
    status = run.get("status", {})
    (entry,) = status.get("waitingFor") or [{"position": 0 if "revision" in status else -1}]
    place: int = entry["position"]
    return place


async def most_at_once(case: Case) -> int:
    """How many runs were under way at most, by the times that they tell of themselves."""
    spans = [
        (run["status"]["startedAt"], run["status"]["finishedAt"]) for run in await case.api.list(RUNS, case.namespace)
    ]
    return max(len([begin for begin, end in spans if begin <= moment < end]) for moment, _ in spans)


@side_by_side
async def test_jobs_share_the_places_of_the_environment(case: Case) -> None:
    await stands(case, quota={"jobs": 2})
    await case.ready(spec(step("a"), step("b"), step("c"), step("d", "a", "b", "c")))
    case.plays("", Play(), end=0.6)
    await asyncio.gather(*(case.run(f"r{number}") for number in range(3)))
    await until(lambda: waits_for_jobs(case))
    runs = await case.api.list(RUNS, case.namespace)
    waits = [one for run in runs for one in run["status"].get("waitingFor", ()) if one["reason"] == "JobQuota"]
    assert {one["position"] for one in waits} <= {1, 2, 3}, waits
    most = 0

    async def over() -> bool:
        nonlocal most
        jobs = [one for one in await case.api.list(JOBS, case.namespace) if not one["status"].get("conditions")]
        pods = await case.pods()
        ended = {one["metadata"]["ownerReferences"][0]["uid"] for one in pods if one["status"]["phase"] == "Succeeded"}
        most = max(most, sum(job["metadata"]["uid"] not in ended for job in jobs))
        runs = await case.api.list(RUNS, case.namespace)
        return all(condition(run, "Succeeded").get("status") == "True" for run in runs)

    await until(over, within=60)
    assert most <= 2
    assert len(await case.api.list(JOBS, case.namespace)) == 12


async def waits_for_jobs(case: Case) -> bool:
    return any("JobQuota" in waiting_for(run) for run in await case.api.list(RUNS, case.namespace))


@side_by_side
async def test_a_run_waits_for_an_environment_that_does_not_hold_its_namespace_yet(case: Case) -> None:
    """It branches off one that is created later."""
    wants = {"namespace": case.namespace, "from": "parent"}
    late = await case.api.create(ENVIRONMENTS, case.namespace, {"metadata": {"name": "late"}, "spec": wants})
    await case.ready(spec(step("a", command=["$(env.params.x)"])))
    await case.run()
    run = await case.waits("EnvironmentNotReady")
    assert run["status"]["environment"] == f"{case.namespace}/late"
    assert "the run fails if it does not by" in said(run)
    own = {"namespace": f"{case.namespace[:50]}-parent", "parameters": [{"name": "x", "value": "inherited"}]}
    await case.api.create(ENVIRONMENTS, case.namespace, {"metadata": {"name": "parent"}, "spec": own})
    await ready(case, late)
    assert succeeded(await case.ended())
    (job,) = await case.jobs()
    assert command(job) == ["inherited"]


@side_by_side
async def test_a_run_fails_in_an_environment_that_never_stands(case: Case) -> None:
    wants = {"namespace": case.namespace, "from": "nowhere"}
    await case.api.create(ENVIRONMENTS, case.namespace, {"metadata": {"name": "late"}, "spec": wants})
    await case.ready(spec(step("a")))
    await case.run()
    run = await case.ended()
    assert verdict(run) == ("False", "EnvironmentNotReady")
    assert "mend the environment, then start it again" in said(run)
    assert await case.jobs() == []


@side_by_side
async def test_a_job_that_claims_what_the_run_began_with_lends_it_no_other_projects_environment(case: Case) -> None:
    """Who may create Jobs may forge one of a run that still waits; what it says must not reach into another project."""
    victim = f"{case.namespace[:50]}-v"
    await case.api.make_namespace(victim)
    parameters = [{"name": "token", "value": CANARY, "masked": True}]
    other = await case.api.create(
        ENVIRONMENTS, victim, {"metadata": {"name": "prod"}, "spec": {"parameters": parameters}}
    )
    await ready(replace(case, namespace=victim), other)
    secretly = spec(step("a", command=["$(env.params.token)"]))
    await case.api.create(PIPELINES, victim, {"metadata": {"name": "p"}, "spec": secretly})
    await case.api.create(RUNS, victim, {"metadata": {"name": "r"}, "spec": {"pipeline": "p"}})
    theirs = (await case.api.wait_for(RUNS, victim, "r", run_ended, timeout=60))["status"]

    case.broken |= {"I1", "I7"}  # a Job that nobody of us made is none of an attempt
    await stands(case, freeze=True)
    await case.ready(spec(step("a", command=["$(params.token)"]), parameters=[{"name": "token", "default": "mine"}]))
    run = await case.run()
    await case.waits("Frozen")
    owner = {"apiVersion": "dataops.dev/v1alpha1", "kind": "PipelineRun", "name": "r", "uid": run["metadata"]["uid"]}
    labels = {
        "app.kubernetes.io/managed-by": "dataops-operator",
        "dataops.dev/run": "r",
        "dataops.dev/run-uid": run["metadata"]["uid"],
        "dataops.dev/step": "a",
        "dataops.dev/attempt": "1",
    }
    annotations = {
        "dataops.dev/revision": theirs["revision"],
        "dataops.dev/environment": f"{victim}/prod",
        "dataops.dev/environment-revision": theirs["environmentRevision"],
        "dataops.dev/logical-date": theirs["logicalDate"],
        "dataops.dev/parameter-origins": "{}",
    }
    meta: Object = {"name": "forged", "labels": labels, "annotations": annotations}
    meta["ownerReferences"] = [{**owner, "controller": True}]
    template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "a", "image": "b"}]}}
    body = {"metadata": meta, "spec": {"suspend": True, "template": template}}
    await case.api.create(JOBS, case.namespace, body)
    await case.api.patch(RUNS, case.namespace, "r", {"metadata": {"labels": {"look": "again"}}})
    await asyncio.sleep(5)
    jobs = await case.api.list(JOBS, case.namespace)
    assert CANARY not in orjson.dumps(jobs).decode()
    assert {job["metadata"]["name"] for job in jobs} <= {"forged"}
    assert verdict(await case.ended())[0] == "False"
    assert "does not hold this namespace" in said(await case.ended())


@side_by_side
async def test_another_projects_environment_captures_no_namespace(case: Case) -> None:
    """By its spec it asks for the case's namespace; its pipeline, its values and its bounds must not reach it."""
    evil = f"{case.namespace[:50]}-x"
    await case.api.make_namespace(evil)
    wants = {"namespace": case.namespace, "parameters": [{"name": "who", "value": "evil"}], "freeze": True}
    await case.api.create(ENVIRONMENTS, evil, {"metadata": {"name": "prod"}, "spec": wants})
    pipeline = spec(step("a", command=["evil"]))
    await case.api.create(PIPELINES, evil, {"metadata": {"name": "p"}, "spec": pipeline})
    await case.ready(spec(step("a", command=["mine", "$(params.who)"]), parameters=[{"name": "who", "default": "me"}]))
    await case.run()
    run = await case.ended()
    assert succeeded(run)
    assert "environment" not in run["status"]
    (job,) = await case.jobs()
    assert command(job) == ["mine", "me"]
    assert variables(job)["DATAOPS_ENVIRONMENT"] == case.namespace


@side_by_side
async def test_an_environment_that_is_being_deleted_takes_no_more_runs(case: Case) -> None:
    body = {"metadata": {"name": "prod", "finalizers": ["example.test/holds"]}, "spec": {}}
    made = await case.api.create(ENVIRONMENTS, case.namespace, body)
    await ready(case, made)
    await case.ready(spec(step("a"), step("b", "a")))
    case.plays("a", Play(), run="early", end=1.5)
    await case.run("early")
    await case.step_is("a", "Running", "early")
    await case.api.delete(ENVIRONMENTS, case.namespace, "prod")
    await case.run("late")
    late = await case.ended("late")
    assert verdict(late) == ("False", "EnvironmentDeleted")
    assert "start the run in another one" in said(late)
    assert succeeded(await case.ended("early"))
    await case.api.patch(ENVIRONMENTS, case.namespace, "prod", {"metadata": {"finalizers": None}})
