"""Results that steps hand in at the operator's endpoint: the way there, and how a run has them."""

from dataclasses import replace
from typing import Any

import orjson
import pytest
from tests.builders import EPOCH, RUN_UID, PipelineBuilder, a_job, a_pipeline, a_pod, a_run, a_view
from tests.unit.core.planning import name_of

from dataops_operator.api.run import Cancel, Phase
from dataops_operator.core.inputs import Endpoint
from dataops_operator.core.names import result_name
from dataops_operator.core.objects import ObjectRef, Seen
from dataops_operator.core.plan import Asked, Plan, View
from dataops_operator.core.planner import plan
from dataops_operator.core.rows import Row
from dataops_operator.core.stored import result_map
from dataops_operator.core.validate import parse

JOB = name_of("list")
KEPT = result_name(JOB, "list")
ENDPOINT = Endpoint("https://results.ops.svc:8443/v1/results", "-----BEGIN CERTIFICATE-----")
FILES = [f"file-{index}" for index in range(500)]
TEXT = orjson.dumps({"outputs": {"files": FILES, "n": 500}}).decode()


def listing(**fields: Any) -> PipelineBuilder:
    outputs = [{"name": "files", "type": "Array"}, {"name": "n", "type": "Integer"}]
    pipeline = a_pipeline().step("list", outputs=outputs, **{"results": "Endpoint", **fields})
    return pipeline.step("use", args=["$(steps.list.outputs.files)"], when="steps.list.outputs.files.size() == 500")


def planned(
    pipeline: PipelineBuilder,
    rows: tuple[Row, ...] = (),
    view: View | None = None,
    endpoint: Endpoint | None = ENDPOINT,
) -> Plan:
    inputs = replace(a_run().inputs(pipeline), endpoint=endpoint)
    kept = tuple(Row.from_status(orjson.loads(orjson.dumps(row.to_status()))) for row in rows)
    return plan(inputs, kept, view or View(), EPOCH)


def test_the_way_to_the_endpoint_is_in_the_steps_container_alone() -> None:
    (body,) = planned(listing()).create
    template = body["spec"]["template"]
    (container,) = template["spec"]["containers"]
    env = {one["name"]: one["value"] for one in container["env"]}
    assert env["DATAOPS_RESULTS_URL"] == "https://results.ops.svc:8443/v1/results/list"
    (volume,) = [one for one in template["spec"]["volumes"] if one["name"] == "results"]
    token, ca = volume["projected"]["sources"]
    assert token["serviceAccountToken"] == {"audience": "dataops-results", "expirationSeconds": 3600, "path": "token"}
    assert template["metadata"]["annotations"]["dataops.dev/results-ca"] == ENDPOINT.ca
    assert "dataops.dev/results-ca" in ca["downwardAPI"]["items"][0]["fieldRef"]["fieldPath"]
    assert template["metadata"]["labels"]["dataops.dev/results"] == "endpoint"
    assert {"name": "results", "mountPath": "/dataops/results", "readOnly": True} in container["volumeMounts"]
    assert template["spec"]["automountServiceAccountToken"] is False


@pytest.mark.parametrize("how", [None, "Message"])
def test_a_step_that_asks_for_nothing_gets_no_token(how: str | None) -> None:
    (body,) = planned(listing(results=how)).create
    assert "results" not in str(body["spec"]["template"]["spec"]["volumes"])


def test_without_an_endpoint_the_step_fails_and_says_what_to_do() -> None:
    made = planned(listing(), endpoint=None)
    assert (made.rows[0].phase, made.rows[0].reason, made.create) == (Phase.FAILED, "ResultsUnavailable", ())
    assert "results.enabled" in (made.rows[0].message or "")


def ended(message: str = "", **more: Any) -> View:
    return a_view((a_job(JOB), [a_pod("list").succeeded(message=message)]), **more)


def test_what_was_handed_in_by_a_step_that_was_asked_to_end_counts_if_it_exited_with_0() -> None:
    inputs, asked = replace(a_run().inputs(listing()), endpoint=ENDPOINT), Asked(cancel=Cancel.GRACEFUL)
    rows, name = planned(listing()).rows, frozenset({JOB})
    for pod, phase in ((a_pod("list").succeeded(), "Succeeded"), (a_pod("list").failed(143), "Cancelled")):
        view = a_view((a_job(JOB), [pod.out_of_time(3)]), proven=name)
        made = plan(inputs, rows, view, EPOCH + 60, asked)
        assert made.fetch == ((KEPT,) if phase == "Succeeded" else ())
        made = plan(inputs, rows, replace(view, results={KEPT: TEXT}), EPOCH + 60, asked)
        assert str(made.rows[0].phase) == phase
    assert made.rows[0].outputs is None


def test_what_was_handed_in_is_read_before_the_step_is_judged() -> None:
    first = planned(listing(), planned(listing()).rows, ended())
    assert (first.fetch, first.create, first.rows[0].phase) == ((KEPT,), (), Phase.RUNNING)
    made = planned(listing(), planned(listing()).rows, ended(results={KEPT: TEXT}))
    row = made.rows[0].to_status()
    assert (row["phase"], row["outputs"], row["result"]) == ("Succeeded", {"n": 500}, KEPT)
    (use,) = made.create
    assert orjson.loads(use["spec"]["template"]["spec"]["containers"][0]["args"][0]) == FILES
    assert len(orjson.dumps(row)) < 500


def test_what_was_handed_in_outlives_a_pod_whose_end_nobody_saw() -> None:
    rows, gone = planned(listing()).rows, a_view((a_job(JOB).complete(40), []))
    assert planned(listing(), rows, gone).prove == (JOB,), "the pod may be there"
    gone = replace(gone, proven=frozenset({JOB}))
    first = planned(listing(), rows, gone)
    assert (first.fetch, first.create, first.rows[0].phase) == ((KEPT,), (), Phase.RUNNING)
    row = planned(listing(), rows, replace(gone, results={KEPT: TEXT})).rows[0].to_status()
    assert (row["phase"], row["outputs"], row["result"]) == ("Succeeded", {"n": 500}, KEPT)
    assert row["finishedAt"] == a_job().complete(40).build()["status"]["conditions"][0]["lastTransitionTime"]
    lost = planned(listing(retry={"infrastructure": 0}), rows, replace(gone, results={KEPT: None})).rows[0]
    assert (lost.phase, lost.reason) == (Phase.FAILED, "PodLost"), "a small result went with the pod"


def test_what_was_handed_in_by_a_job_that_failed_does_not_count() -> None:
    failed = a_view((a_job(JOB).failed(), []), proven=frozenset({JOB}), results={KEPT: TEXT})
    lost = planned(listing(retry={"infrastructure": 0}), planned(listing()).rows, failed)
    assert (lost.rows[0].phase, lost.fetch) == (Phase.FAILED, ())


def test_an_operator_that_started_anew_reads_it_again() -> None:
    pipeline = listing()
    row = Row("list", Phase.SUCCEEDED, attempt=1, job=JOB, outputs={"n": 500}, result=KEPT)
    assert planned(pipeline, (row,)).fetch == (KEPT,)
    made = planned(pipeline, (row,), View(results={KEPT: TEXT}))
    assert orjson.loads(made.create[0]["spec"]["template"]["spec"]["containers"][0]["args"][0]) == FILES


def test_a_result_that_was_deleted_leaves_what_the_status_shows() -> None:
    row = Row("list", Phase.SUCCEEDED, attempt=1, job=JOB, outputs={"n": 500}, result=KEPT)
    made = planned(listing(), (row,), View(results={KEPT: None}))
    assert (made.rows[1].phase, made.rows[1].reason) == (Phase.FAILED, "ExpressionFailed")


HANDED_IN = Row("list", Phase.SUCCEEDED, attempt=1, job=JOB, outputs={"n": 500}, result=KEPT)


def test_what_the_run_tells_is_told_whole() -> None:
    told = [{"name": "all", "value": "$(steps.list.outputs.files)"}]
    rows = (HANDED_IN, Row("use", Phase.SUCCEEDED, attempt=1))
    pipeline = listing().having(outputs=told)
    assert planned(pipeline, rows).fetch == (KEPT,)
    made = planned(pipeline, rows, View(results={KEPT: TEXT}))
    assert (made.verdict, made.outputs) == (Phase.SUCCEEDED, {"all": FILES})


WIDGET = {"apiVersion": "test.example/v1", "kind": "Widget"}
OF_FILES = "steps.list.outputs.files.size() == object.size"
WAITS = {"wait": {"condition": {**WIDGET, "name": "w", "when": OF_FILES}}}
MAKES = {"resource": {"manifest": WIDGET, "successWhen": OF_FILES}}


@pytest.mark.parametrize(
    ("fields", "name", "attempt"),
    [
        (WAITS, "w", {}),
        (MAKES, name_of("after"), {"object": f"Widget/{name_of('after')}"}),
    ],
    ids=["a wait", "an object"],
)
@pytest.mark.parametrize(("size", "phase"), [(500, Phase.SUCCEEDED), (4, None)])
def test_a_condition_over_an_object_sees_it_whole(
    fields: dict[str, Any], name: str, attempt: dict[str, Any], size: int, phase: Phase | None
) -> None:
    pipeline = listing().jobless("after", needs=["list"], **fields)
    row = Row("after", Phase.RUNNING, attempt=1, started_at="2026-01-05T10:00:00Z", **attempt)
    rows = (HANDED_IN, Row("use", Phase.SUCCEEDED, attempt=1), row)
    about = ObjectRef("test.example/v1", "Widget", "team", name)
    owner = {"ownerReferences": [{"uid": RUN_UID}]}
    seen = {about: Seen(content={"metadata": owner, "size": size})}
    first = planned(pipeline, rows, View(objects=seen))
    assert (first.fetch, first.verdict, first.rows[2].phase) == ((KEPT,), None, Phase.RUNNING)
    made = planned(pipeline, rows, View(objects=seen, results={KEPT: TEXT}))
    assert made.verdict is phase


@pytest.mark.parametrize(
    ("text", "message", "phase", "reason"),
    [
        (None, '{"outputs": {"files": [], "n": 0}}', Phase.SUCCEEDED, None),
        (None, "", Phase.FAILED, "MissingOutput"),
        ('{"outputs": {"files": [], "n": "many"}}', "", Phase.FAILED, "InvalidResult"),
        ('{"outputs": {"files": [1], "n": 1}}', '{"outputs": {}}', Phase.SUCCEEDED, None),
    ],
)
def test_a_result_counts_as_one_in_the_file_does(
    text: str | None, message: str, phase: Phase, reason: str | None
) -> None:
    row = planned(
        listing(), planned(listing()).rows, ended(message, results={KEPT: text}, proven=frozenset({JOB}))
    ).rows[0]
    assert (row.phase, row.reason, row.result) == (phase, reason, None)


@pytest.mark.parametrize(
    ("text", "message", "told"),
    [
        (
            '{"outputs": {"n": 1}}',
            "",
            "exited with 0, but what was handed in at the results endpoint has no output 'files'; "
            'hand in {"outputs": {"files": …}} there; the first one stands',
        ),
        ('{"outputs": [7]}', "", "outputs in what was handed in at the results endpoint is not a JSON object"),
        ('{"outputs": {"files": 1, "n": 1}}', "", "output 'files' in what was handed in at the results endpoint: "),
        (
            None,
            "{}",
            "exited with 0, but /dataops/result (nothing was handed in at the results endpoint) has no output 'files'; "
            'hand in {"outputs": {"files": …}} there, or write it to the file',
        ),
        (None, "[]", "/dataops/result (nothing was handed in at the results endpoint) is not a JSON object"),
    ],
)
def test_a_problem_names_where_the_result_came_from(text: str | None, message: str, told: str) -> None:
    view = ended(message, results={KEPT: text}, proven=frozenset({JOB}))
    row = planned(listing(), planned(listing()).rows, view).rows[0]
    assert row.phase is Phase.FAILED
    assert (row.message or "").startswith(told)


def test_checks_that_were_handed_in_amiss_are_told_with_where_they_were() -> None:
    text = '{"outputs": {"files": [], "n": 0}, "checks": 7}'
    row = planned(listing(), planned(listing()).rows, ended("", results={KEPT: text})).rows[0]
    assert (row.phase, row.message) == (
        Phase.SUCCEEDED,
        "checks in what was handed in at the results endpoint is no list",
    )


def test_a_pod_that_failed_is_judged_by_its_own_words() -> None:
    view = a_view((a_job(JOB), [a_pod("list").failed(3)]), proven=frozenset({JOB}))
    made = planned(listing(), planned(listing()).rows, view)
    assert (made.fetch, made.rows[0].reason) == ((), "Error")


def test_it_is_kept_as_the_runs_own_and_can_never_change() -> None:
    owner = {"apiVersion": "dataops.dev/v1alpha1", "kind": "PipelineRun", "name": "r", "uid": "u", "controller": True}
    job = {"metadata": {"name": "j", "namespace": "team", "ownerReferences": [owner]}}
    made = result_map(job, "list", TEXT)
    assert made["metadata"]["ownerReferences"] == [owner]
    assert (made["immutable"], made["data"], made["metadata"]["namespace"]) == (True, {"result": TEXT}, "team")
    assert made["metadata"]["name"] == result_name("j", "list") != result_name("j", "other")


def test_items_hand_in_nothing() -> None:
    pipeline = a_pipeline().step("f", forEach={"range": {"to": 2}}, results="Endpoint")
    (problem,) = parse(pipeline.build()["spec"])[1]
    assert problem.path == "spec.steps[0].results"
