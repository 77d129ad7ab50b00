"""Fan-outs that are one Indexed Job: the Job and its items' ConfigMaps, what its status shows, what comes of it."""

from typing import Any

import orjson
import pytest
from tests.builders import EPOCH, JobBuilder, PipelineBuilder, PodBuilder, a_pipeline, a_pod, a_run, a_view, at
from tests.unit.core.planning import created, name_of, planned

from dataops_operator.api.run import Cancel, Phase
from dataops_operator.api.step import ForEach, Retry
from dataops_operator.core.attempts import ended_well, overstayed
from dataops_operator.core.indexedjobs import PART_BYTES, failure_rules, item_parts, tally
from dataops_operator.core.items import INDEXED_BYTES, INDEXED_LIMIT, FanOutError, expand
from dataops_operator.core.names import items_name
from dataops_operator.core.plan import Asked, Gather, Plan, Refusal, View
from dataops_operator.core.rows import Row
from dataops_operator.core.validate import parse

JOB = name_of("f")


def indexed(count: int = 4, each: dict[str, Any] | None = None, **fields: Any) -> PipelineBuilder:
    over = {"range": {"to": count - 1}, "mode": "Indexed", **(each or {})}
    return a_pipeline().step("f", forEach=over, **fields)


def job(total: int = 4, completed: str = "", failed: str = "", active: int = 0) -> JobBuilder:
    """The Job as the cache keeps it."""
    made = JobBuilder(JOB)
    status = {"completedIndexes": completed, "failedIndexes": failed, "active": active}
    made.body["status"]["indexes"] = tally({"spec": {"completions": total}, "status": status})
    return made


def turned(pipeline: PipelineBuilder, rows: tuple[Row, ...], view: View | None = None, **more: Any) -> Plan:
    """The plan after another, as the status keeps its rows."""
    return planned(
        pipeline, [Row.from_status(orjson.loads(orjson.dumps(row.to_status()))) for row in rows], view, **more
    )


def begun(pipeline: PipelineBuilder) -> tuple[Row, ...]:
    return planned(pipeline, []).rows


# What it is over.


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"items": [0] * (INDEXED_LIMIT + 1)}, "forEach.items: 10,001 items, at most 10,000 are taken"),
        ({"range": {"to": INDEXED_LIMIT}}, "forEach.range: 10,001 items, at most 10,000 are taken"),
        ({"range": {"to": 10**30}}, "at most 10,000 are taken"),
        ({"items": ["x" * 60_000] * 200}, f"in all, at most {INDEXED_BYTES:,} are taken; pass locations"),
        ({"items": ["x" * 70_000]}, "forEach.items[0]: 70,002 bytes"),
    ],
)
def test_too_much_is_refused_with_the_cure(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(FanOutError) as caught:
        expand(ForEach.model_validate({"mode": "Indexed", **fields}), lambda _: None)
    assert message in str(caught.value)


@pytest.mark.parametrize(("count", "advised"), [(501, True), (INDEXED_LIMIT, True), (INDEXED_LIMIT + 1, False)])
def test_too_many_for_a_job_each_are_told_of_the_other_way_where_it_helps(count: int, advised: bool) -> None:
    for fields in ({"items": [0] * count}, {"range": {"to": count - 1}}):
        with pytest.raises(FanOutError) as caught:
            expand(ForEach.model_validate(fields), lambda _: None)
        assert ("set forEach.mode to Indexed" in str(caught.value)) is advised
        assert "give each item more to do" in str(caught.value)


def test_as_many_as_are_said_are_taken() -> None:
    fan = ForEach.model_validate({"mode": "Indexed", "range": {"to": INDEXED_LIMIT - 1}})
    assert len(expand(fan, lambda _: None)) == INDEXED_LIMIT


OF_MEMORY = {
    "retry": {"limit": 1, "on": ["OutOfMemory"], "memory": {"max": "2Gi"}},
    "resources": {"limits": {"memory": "1Gi"}},
}


@pytest.mark.parametrize(
    ("fields", "path", "message"),
    [
        ({"args": ["$(item.path)"]}, "spec.steps[0].args[0]", "have the step read its item from /dataops/item"),
        ({"env": [{"name": "X", "value": "$(item)"}]}, "spec.steps[0].env[0].value", "or set the mode to Jobs"),
        ({"image": "registry/$(item)"}, "spec.steps[0].image", "$(item): with forEach.mode Indexed"),
        (OF_MEMORY, "spec.steps[0].retry.memory", "all attempts have the same memory"),
        ({"args": ["$$(item)"], "retry": {"limit": 2}}, None, ""),
    ],
)
def test_what_one_template_for_all_items_cannot_do_is_a_problem(
    fields: dict[str, Any], path: str | None, message: str
) -> None:
    problems = parse(indexed(**fields).build()["spec"])[1]
    assert [problem.path for problem in problems] == ([path] if path else [])
    assert all(message in problem.message for problem in problems)


# The Job.


def test_all_items_are_one_job_that_finds_each_item_by_its_index() -> None:
    made = planned(indexed(12, {"parallelism": 5, "tolerate": "25%"}, retry={"limit": 2}), [])
    assert created(made) == [JOB]
    (body,) = made.create
    spec = body["spec"]
    assert (spec["completionMode"], spec["completions"], spec["parallelism"]) == ("Indexed", 12, 5)
    assert (spec["backoffLimitPerIndex"], spec["maxFailedIndexes"]) == (2, 3)
    assert "backoffLimit" not in spec
    assert spec["podReplacementPolicy"] == "Failed"
    (container,) = spec["template"]["spec"]["containers"]
    index, *others = container["env"]
    assert index["name"] == "DATAOPS_ITEM_INDEX"
    assert "job-completion-index" in index["valueFrom"]["fieldRef"]["fieldPath"]
    env = {one["name"]: one["value"] for one in others}
    assert env["DATAOPS_IDEMPOTENCY_KEY"].endswith("/f/$(DATAOPS_ITEM_INDEX)")
    (mount,) = [one for one in container["volumeMounts"] if one["mountPath"] == "/dataops/item"]
    assert mount["subPathExpr"] == "$(DATAOPS_ITEM_INDEX)"
    (part,) = made.items
    assert part["data"] == {str(index): str(index) for index in range(12)}
    assert part["immutable"] is True
    assert part["metadata"]["ownerReferences"] == body["metadata"]["ownerReferences"]
    (volume,) = [one for one in spec["template"]["spec"]["volumes"] if one["name"] == mount["name"]]
    assert volume["configMap"] == {"name": part["metadata"]["name"]}
    assert made.rows[0].to_status()["items"] == {"total": 12, "active": 0, "succeeded": 0, "failed": 0}


@pytest.mark.parametrize(("each", "most"), [({}, 0), ({"failFast": False}, None), ({"tolerate": 99}, 4)])
def test_no_further_item_begins_once_more_have_failed_than_may(each: dict[str, Any], most: int | None) -> None:
    assert planned(indexed(4, each), []).create[0]["spec"].get("maxFailedIndexes") == most


def test_ten_thousand_items_at_once_are_five_hundred() -> None:
    assert planned(indexed(INDEXED_LIMIT), []).create[0]["spec"]["parallelism"] == 500


def test_items_are_in_parts_that_the_api_server_takes_and_the_same_for_the_same() -> None:
    pipeline = indexed()
    values = [{"n": index, "text": "é" * 20_000} for index in range(100)]
    identity, step = a_run().inputs(pipeline).identity, pipeline.spec().steps[0]
    parts = item_parts(identity, step, values)
    assert len(parts) > 1
    assert parts == item_parts(identity, step, values)
    data = {key: text for part in parts for key, text in part["data"].items()}
    assert [orjson.loads(data[str(index)]) for index in range(100)] == values
    assert max(sum(len(k) + len(v.encode()) for k, v in part["data"].items()) for part in parts) <= PART_BYTES
    assert len({part["metadata"]["name"] for part in parts}) == len(parts)
    made = planned(indexed(each={"range": None, "items": values}), [])
    volume = made.create[0]["spec"]["template"]["spec"]["volumes"][-1]
    sources = [one["configMap"]["name"] for one in volume["projected"]["sources"]]
    assert sources == [part["metadata"]["name"] for part in made.items]


def test_names_of_parts_are_labels_whatever_the_run_is_called() -> None:
    name = items_name("r" * 63, "uid", "s" * 63, 11)
    assert len(name) <= 63
    assert name != items_name("r" * 63, "uid", "s" * 63, 1)


DISRUPTED = {"onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}


def codes(operator: str, *values: int) -> dict[str, Any]:
    said = {"containerName": "f", "operator": operator, "values": list(values)}
    return {"action": "FailIndex", "onExitCodes": said}


@pytest.mark.parametrize(
    ("policy", "rules"),
    [
        ({}, [{"action": "Ignore"} | DISRUPTED, codes("In", 137)]),
        ({"infrastructure": 0}, [{"action": "FailIndex"} | DISRUPTED, codes("In", 137)]),
        ({"on": ["Failure", "OutOfMemory"]}, [{"action": "FailIndex"} | DISRUPTED]),
        ({"on": ["Infrastructure"]}, [{"action": "Ignore"} | DISRUPTED, codes("In", 137), codes("NotIn", 0)]),
        ({"on": ["OutOfMemory"]}, [{"action": "FailIndex"} | DISRUPTED, codes("NotIn", 137)]),
        ({"exitCodes": {"never": [4, 3]}}, [{"action": "Ignore"} | DISRUPTED, codes("In", 137), codes("In", 3, 4)]),
        (
            {"on": ["Infrastructure", "Failure", "OutOfMemory"], "exitCodes": {"retry": [75]}},
            [{"action": "Ignore"} | DISRUPTED, codes("NotIn", 75, 137)],
        ),
    ],
)
def test_kubernetes_tries_again_what_the_policy_does(policy: dict[str, Any], rules: list[Any]) -> None:
    assert failure_rules("f", Retry.model_validate(policy)) == rules


def test_what_cannot_begin_makes_no_items() -> None:
    refused = planned(indexed(), [], View(refused={JOB: Refusal("exceeded quota: none")}))
    assert (refused.items, refused.rows[0].reason) == ((), "QuotaExceeded")
    assert planned(indexed(), [], View(room=0)).items == ()
    empty = planned(indexed(each={"range": None, "items": []}), [])
    assert (empty.rows[0].phase, empty.create, empty.items) == (Phase.SUCCEEDED, (), ())
    invalid = planned(indexed(each={"range": {"to": "$(params.x)"}}).parameter("x", "String", default="many"), [])
    assert (invalid.rows[0].reason, invalid.items) == ("FanOutInvalid", ())


# Its status.


@pytest.mark.parametrize(
    ("status", "counts"),
    [
        ({}, (0, 0, 0, [])),
        ({"completedIndexes": "0", "active": 3}, (3, 1, 0, [])),
        ({"completedIndexes": "1,3-5,9", "failedIndexes": "0,2"}, (0, 5, 2, [0, 2])),
        ({"failedIndexes": "2-9", "active": 1}, (1, 0, 8, [2, 3, 4, 5, 6])),
        (
            {"completedIndexes": "0-9", "active": 2, "conditions": [{"type": "Complete", "status": "True"}]},
            (0, 10, 0, []),
        ),
    ],
)
def test_a_status_is_counted(status: dict[str, Any], counts: tuple[int, int, int, list[int]]) -> None:
    told = tally({"spec": {"completions": 10}, "status": status})
    assert told["total"] == 10
    assert (told["active"], told["succeeded"], told["failed"], told["first"]) == counts


def test_a_row_tells_the_counts_in_constant_size() -> None:
    odd = ",".join(str(index) for index in range(1, 10_000, 2))
    pipeline = indexed(10_000)
    made = turned(pipeline, begun(pipeline), a_view((job(10_000, odd, "0,2", 500), [a_pod("f").running()])))
    row = made.rows[0].to_status()
    assert row["items"] == {"total": 10_000, "active": 500, "succeeded": 5_000, "failed": 2}
    assert len(orjson.dumps(row)) < 400
    assert made.rows[0].phase is Phase.RUNNING
    assert made.verdict is None


def test_a_job_that_the_status_has_not_heard_of_is_taken_up() -> None:
    made = turned(indexed(), (), a_view((job(completed="0-1", active=2), [a_pod("f").running()])))
    assert not made.create
    assert (made.rows[0].job, made.rows[0].items) == (JOB, {"total": 4, "active": 2, "succeeded": 2, "failed": 0})


def ended(how: str, completed: str = "", failed: str = "", total: int = 4, **status: Any) -> JobBuilder:
    made = job(total, completed, failed)
    return made.complete() if how == "Complete" else made.failed(**status)


def test_all_succeeded_is_a_success_and_nothing_is_read() -> None:
    pipeline = indexed()
    made = turned(pipeline, begun(pipeline), a_view((ended("Complete", "0-3"), [])))
    assert (made.rows[0].phase, made.verdict, made.gather) == (Phase.SUCCEEDED, Phase.SUCCEEDED, ())
    assert made.rows[0].finished_at == at(60)


def pods(**each: PodBuilder) -> dict[int, Any]:
    return {int(name[1:]): pod.build() for name, pod in each.items()}


@pytest.mark.parametrize(
    ("each", "failed", "phase", "message"),
    [
        ({}, "1", Phase.FAILED, "1 of 4 items failed: item 1: exit code 3: no such file"),
        ({"tolerate": 1}, "1", Phase.SUCCEEDED, "1 of 4 items failed, which is tolerated"),
        ({"tolerate": "25%", "failFast": False}, "1-2", Phase.FAILED, "2 of 4 items failed: item 1: exit code 3"),
    ],
)
def test_why_items_failed_is_read_of_their_pods_at_the_end(
    each: dict[str, Any], failed: str, phase: Phase, message: str
) -> None:
    pipeline, end = indexed(each=each), ended("Failed", "0,3", failed, reason="FailedIndexes")
    if failed == "1":
        end = ended("Failed", "0,2-3", failed, reason="FailedIndexes")
    first = turned(pipeline, begun(pipeline), a_view((end, [])))
    positions = tuple(int(one) for one in failed.split("-"))
    assert first.gather == (Gather(JOB, False, positions),)
    assert (first.create, first.verdict) == ((), None)
    bad = {index: a_pod("f").failed(3, message='{"message": "no such file"}').build() for index in positions}
    made = turned(pipeline, begun(pipeline), a_view((end, []), gathered={JOB: bad}))
    assert (made.rows[0].phase, made.gather) == (phase, ())
    assert message in (made.rows[0].message or "")
    assert made.rows[0].items is not None
    assert made.rows[0].items["errors"][0] == "item 1: exit code 3: no such file"


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        ("MaxFailedIndexesExceeded", "ended, since more items failed than may"),
        ("BackoffLimitExceeded", "ended with its Job: BackoffLimitExceeded: no more"),
    ],
)
def test_items_that_the_end_of_their_job_ended_say_so(reason: str, told: str) -> None:
    pipeline, end = indexed(outputs=OUTPUTS), ended("Failed", "0", "1-2", reason=reason, message="no more")
    bad = pods(i0=a_pod("f").succeeded().deleted(), i1=a_pod("f").failed(143).deleted(), i2=a_pod("f").failed(3))
    row = turned(pipeline, begun(pipeline), a_view((end, []), gathered={JOB: bad})).rows[0]
    assert row.items is not None
    assert row.items["errors"] == [f"item 0: {told}", f"item 1: {told}", "item 2: exit code 3; see: kubectl logs pod"]
    others = "; with that the other 1 were ended, or not begun"
    assert (row.message or "").endswith(others) == (reason == "MaxFailedIndexesExceeded")


def test_a_job_that_kubernetes_ended_early_has_not_run_all() -> None:
    pipeline = indexed(each={"tolerate": 2})
    view = a_view((ended("Failed", "0", reason="DeadlineExceeded", message="too late"), []))
    row = turned(pipeline, begun(pipeline), view).rows[0]
    assert (row.phase, row.reason) == (Phase.FAILED, "ItemsFailed")
    assert row.message == "the Job ended before all items had: DeadlineExceeded: too late"


OUTPUTS = [{"name": "rows", "type": "Integer"}]


def test_outputs_are_lists_in_the_order_of_the_items_and_what_gave_none_has_failed() -> None:
    pipeline, end = indexed(each={"tolerate": 3}, outputs=OUTPUTS), ended("Complete", "0-3")
    first = turned(pipeline, begun(pipeline), a_view((end, [])))
    assert first.gather == (Gather(JOB, True, ()),)
    told = pods(i2=a_pod("f").succeeded({"rows": 12}), i0=a_pod("f").succeeded({"rows": 7}), i1=a_pod("f").succeeded())
    made = turned(pipeline, begun(pipeline), a_view((end, []), gathered={JOB: told}))
    row = made.rows[0]
    assert (row.phase, row.outputs) == (Phase.SUCCEEDED, {"rows": [7, None, 12, None]})
    assert row.items is not None
    assert (row.items["succeeded"], row.items["failed"]) == (2, 2)
    assert "has no output 'rows'" in row.items["errors"][0]
    assert row.items["errors"][1].startswith("of 1 items the pods are gone")


# What goes wrong.


def test_a_job_that_somebody_deleted_fails_the_step_once_that_was_read_live() -> None:
    pipeline = indexed(retry={"limit": 3})
    unproven = turned(pipeline, begun(pipeline))
    assert (unproven.prove, unproven.verdict) == ((JOB,), None)
    made = turned(pipeline, begun(pipeline), View(proven=frozenset({JOB})))
    assert (made.rows[0].phase, made.rows[0].reason) == (Phase.FAILED, "JobDeleted")
    assert not made.create, "items that had succeeded would run again"


def waiting() -> PodBuilder:
    pod = a_pod("f").waiting("ImagePullBackOff", "no such image")
    pod.body["metadata"]["creationTimestamp"] = at(5)
    return pod


def test_items_that_do_not_get_to_run_make_the_step_wait_and_then_fail() -> None:
    pipeline = indexed(startTimeout="30s")
    made = turned(pipeline, begun(pipeline), a_view((job(active=1), [waiting()])), now=10)
    assert (made.rows[0].phase, made.rows[0].reason) == (Phase.WAITING, "ImageUnavailable")
    assert made.wake_at == EPOCH + 35
    late = turned(pipeline, made.rows, a_view((job(active=1), [waiting()])), now=36)
    assert late.prove == (JOB,)
    view = a_view((job(active=1), [waiting()]), proven=frozenset({JOB}))
    failed = turned(pipeline, made.rows, view, now=36)
    assert (failed.rows[0].phase, failed.rows[0].reason) == (Phase.FAILED, "ImageUnavailable")
    assert failed.rows[0].message == "no item started within 30s: no such image"
    assert failed.delete == (JOB,), "its pods would start for nobody"


def test_items_for_which_there_is_no_room_yet_wait_for_those_that_have_begun() -> None:
    pipeline = indexed(startTimeout="30s")
    view = a_view((job(active=1, completed="0"), [waiting()]), proven=frozenset({JOB}))
    made = turned(pipeline, begun(pipeline), view, now=400)
    assert (made.rows[0].phase, made.rows[0].reason, made.delete) == (Phase.WAITING, "ImageUnavailable", ())


def test_one_item_that_runs_is_enough() -> None:
    pipeline = indexed(startTimeout="30s")
    view = a_view((job(active=2), [waiting(), a_pod("f", "other").running()]))
    assert turned(pipeline, begun(pipeline), view, now=400).rows[0].phase is Phase.RUNNING


def test_why_there_is_no_pod_is_asked_of_the_events() -> None:
    pipeline = indexed(startTimeout="30s")
    asks = turned(pipeline, begun(pipeline), a_view((job(), [])), now=11)
    assert asks.explain == {JOB: None}
    view = a_view((job(), []), explained={JOB: "exceeded quota: small"})
    waits = turned(pipeline, begun(pipeline), view, now=11)
    assert (waits.rows[0].phase, waits.rows[0].reason) == (Phase.WAITING, "QuotaExceeded")
    failed = turned(pipeline, waits.rows, view, now=31)
    assert failed.rows[0].message == "no item started within 30s: exceeded quota: small"


@pytest.mark.parametrize("how", Cancel)
def test_a_run_that_is_cancelled_ends_the_job(how: Cancel) -> None:
    pipeline = indexed()
    view = a_view((job(completed="0-1", active=2), [a_pod("f").running()]))
    made = turned(pipeline, begun(pipeline), view, asked=Asked(cancel=how))
    if how is Cancel.GRACEFUL:
        assert (made.stop, made.verdict) == ((JOB,), None)
        made = turned(pipeline, made.rows, View(proven=frozenset({JOB})), asked=Asked(cancel=how))
    else:
        assert (made.delete, made.kill) == ((JOB,), True)
    assert (made.rows[0].phase, made.verdict) == (Phase.CANCELLED, Phase.CANCELLED)
    assert made.rows[0].items is not None
    assert (made.rows[0].items["active"], made.rows[0].items["succeeded"]) == (0, 2)


def test_a_pod_that_ended_does_not_end_the_job() -> None:
    view = a_view((job(active=1), [a_pod("f").succeeded()]))
    assert overstayed((), view) == (JOB,)
    assert ended_well(view) == frozenset()


def test_another_step_that_fails_lets_it_go_on() -> None:
    pipeline = indexed().step("bad").step("after", needs=["f"])
    rows = (
        *begun(pipeline)[:1],
        Row("bad", Phase.FAILED, "Error", "exit code 1", attempt=1, finished_at=at(1)),
        Row("after"),
    )
    made = turned(pipeline, rows, a_view((job(completed="0", active=1), [a_pod("f").running()])))
    assert [row.phase for row in made.rows] == [Phase.RUNNING, Phase.FAILED, Phase.SKIPPED]
    assert made.verdict is None
