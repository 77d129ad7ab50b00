"""Fan-outs: what a step is run for each of, and what comes of that."""

from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.builders import EPOCH, PipelineBuilder, PodBuilder, a_job, a_pipeline, a_pod, a_run, a_view, at
from tests.unit.core.planning import created, done, planned

from dataops_operator.api.conditions import Reason
from dataops_operator.api.run import Cancel, Phase
from dataops_operator.api.step import ForEach
from dataops_operator.core.attempts import overstayed
from dataops_operator.core.fanout import decode, encode, flat
from dataops_operator.core.items import ITEMS_LIMIT, FanOutError, expand, tolerated
from dataops_operator.core.names import STEP_LABEL, job_name
from dataops_operator.core.outputs import OUTPUTS_LIMIT
from dataops_operator.core.plan import Asked, Plan, Refusal, View
from dataops_operator.core.rows import Row
from dataops_operator.core.templating import Reference
from dataops_operator.core.validate import parse

pytestmark = pytest.mark.usefixtures("both_modes")

VALUES = {"params": ["AA", "DL"], "steps": {"not": "a list"}}


def resolve(reference: Reference) -> Any:
    return VALUES[reference.path[0]]


def fan(**fields: Any) -> ForEach:
    return ForEach.model_validate(fields)


def name_of(item: int, attempt: int = 1, step: str = "f") -> str:
    run = a_run()
    return job_name(run.name, run.uid, step, attempt, item)


def NAME(step: str, attempt: int, item: int | None) -> str:  # noqa: N802 - stands for a function of names
    return name_of(item or 0, attempt, step)


# What it is over.


@pytest.mark.parametrize(
    ("fields", "items"),
    [
        ({"items": [1, "a", {"b": [2]}]}, [1, "a", {"b": [2]}]),
        ({"items": "$(params.carriers)"}, ["AA", "DL"]),
        ({"items": [{"c": "$(params.carriers)"}, "x"]}, [{"c": ["AA", "DL"]}, "x"]),
        ({"items": []}, []),
        ({"range": {"to": 3}}, [0, 1, 2, 3]),
        ({"range": {"from": 2, "to": 9, "step": 3}}, [2, 5, 8]),
        ({"range": {"from": "4", "to": "3"}}, []),
    ],
)
def test_items_are(fields: dict[str, Any], items: list[Any]) -> None:
    assert expand(fan(**fields), resolve) == items


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"items": "$(steps.x.outputs.y)"}, "is no list; give one"),
        ({"items": "text"}, 'forEach.items: "text" is no list'),
        ({"items": list(range(ITEMS_LIMIT + 1))}, "501 items, at most 500"),
        ({"items": ["x", "y" * 70_000]}, "forEach.items[1]: 70,002 bytes"),
        ({"range": {"to": 500}}, "501 items"),
        ({"range": {"to": "many"}}, "forEach.range.to: 'many' is no whole number"),
    ],
)
def test_what_cannot_be_fanned_out_over_is_said(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(FanOutError) as caught:
        expand(fan(**fields), resolve)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("tolerate", "total", "allowed"),
    [(None, 9, 0), (3, 9, 3), ("3", 9, 3), ("10%", 9, 0), ("50%", 9, 4), ("100%", 9, 9)],
)
def test_so_many_items_may_fail(tolerate: Any, total: int, allowed: int) -> None:
    assert tolerated(fan(items=[], tolerate=tolerate), total) == allowed


@pytest.mark.parametrize("tolerate", ["101%", "-1", "few", "1.5"])
def test_anything_else_is_no_share(tolerate: str) -> None:
    with pytest.raises(FanOutError, match="neither a number of items nor a share"):
        tolerated(fan(items=[], tolerate=tolerate), 9)


@pytest.mark.parametrize(
    ("each", "args", "problem"),
    [
        ({"items": 7}, ["$(item)"], "spec.steps[0].forEach.items: 7 is no list"),
        ({"items": [], "tolerate": "some"}, [], "spec.steps[0].forEach.tolerate: 'some' is neither"),
        ({"items": [], "as": "params"}, [], "spec.steps[0].forEach.as: 'params' is what templates call something else"),
        ({"items": [1], "as": "day"}, ["$(item)"], "an item of this step is called $(day)"),
        ({"items": ["$(item)"]}, [], "only steps with forEach have items"),
        ({"items": "$(params.nope)"}, [], "spec.steps[0].forEach.items: $(params.nope): no parameter 'nope'"),
        ({"items": [1], "range": {"to": 3}}, [], "give exactly one"),
        (None, ["$(item.x)"], "only steps with forEach have items"),
    ],
)
def test_what_can_be_known_before_is_said_of_the_pipeline(each: Any, args: list[str], problem: str) -> None:
    pipeline = a_pipeline().step("a", args=args or None, forEach=each)
    _, problems = parse(pipeline.build()["spec"])
    assert any(problem in str(one) for one in problems), list(map(str, problems))


# Rows of items as a text.

STATES = st.builds(
    lambda letter, attempt, lost, out, moment: (letter, attempt, lost, out, moment),
    st.sampled_from("PRWQVSFDTGCK"),
    st.integers(1, 20),
    st.integers(0, 3),
    st.integers(0, 3),
    st.integers(1_000_000_000, 2_000_000_000),
)


@settings(deadline=None)
@given(st.lists(STATES, min_size=1, max_size=40))
def test_rows_come_back_from_their_text_as_they_were(states: list[tuple[str, int, int, int, int]]) -> None:
    text = ",".join(
        f"{letter}{0 if letter in 'PK' else attempt}" + (f"d{lost}" if lost else "") + (f"o{out}" if out else "")
        + (f"@{moment}" if letter in "WQV" else "")
        for letter, attempt, lost, out, moment in states
    )  # fmt: skip
    rows = decode("f", text, NAME)
    assert [row.item for row in rows] == list(range(len(states)))
    again = decode("f", encode(rows), NAME)
    assert again == rows


def test_five_hundred_items_alike_are_a_few_characters() -> None:
    assert encode([Row("f", item=index) for index in range(500)]) == "P0*500"


@pytest.mark.parametrize("ended", [False, True])
def test_the_job_of_an_item_that_goes_on_after_its_timeout_is_deleted_until_it_is_gone(ended: bool) -> None:
    late = Row("f", Phase.FAILED, Reason.DEADLINE_EXCEEDED, item=0, attempt=1, job=name_of(0))
    rows = decode("f", encode([late]), NAME)
    view = a_view((a_job(name_of(0)), [a_pod().failed() if ended else a_pod().running()]))
    assert overstayed(rows, view) == (() if ended else (name_of(0),))


def test_a_damaged_text_is_read_as_far_as_it_goes() -> None:
    rows = decode("f", "S1,?,R1*2,Z9", lambda step, attempt, item: "job")
    assert [row.phase for row in rows] == ["Succeeded", "Running", "Running"]


# Planning.


def carriers(*items: Any, **fields: Any) -> PipelineBuilder:
    each = {"items": list(items) or ["AA", "DL", "UA"], "as": "carrier", **fields.pop("each", {})}
    return a_pipeline().step("f", forEach=each, args=["$(carrier)"], **fields)


def seen(*attempts: tuple[int, PodBuilder], proven: bool = True) -> View:
    """A view of the first attempts at items."""
    view = a_view(
        *((a_job(name_of(item)), [pod]) for item, pod in attempts),
        proven=frozenset(name_of(item) for item, _ in attempts if proven),
    )
    for job in view.jobs.values():
        job["metadata"]["labels"] = {STEP_LABEL: "f"}
    return view


def turned(pipeline: PipelineBuilder, made: Plan, view: View | None = None, **more: Any) -> Plan:
    """The plan after another, as the status keeps its rows."""
    return planned(
        pipeline, [Row.from_status(orjson.loads(orjson.dumps(row.to_status()))) for row in made.rows], view, **more
    )


def states(made: Plan) -> str:
    return str((made.rows[0].items or {})["states"])


RUNS, GOOD, BAD = a_pod("f").running(), a_pod("f").succeeded(), a_pod("f").failed(3)


def test_each_item_has_a_job_and_finds_itself_in_it() -> None:
    made = planned(carriers({"code": "AA", "n": 1}, "DL", as_=None), [])
    assert created(made) == [name_of(0), name_of(1)]
    first, second = made.create
    assert first["metadata"]["labels"]["dataops.dev/item"] == "0"
    pods = [job["spec"]["template"] for job in (first, second)]
    assert [pod["spec"]["containers"][0]["args"] for pod in pods] == [['{"code":"AA","n":1}'], ["DL"]]
    assert [pod["metadata"]["annotations"]["dataops.dev/item"] for pod in pods] == ['{"code":"AA","n":1}', '"DL"']
    env = {one["name"]: one["value"] for one in pods[1]["spec"]["containers"][0]["env"]}
    assert env["DATAOPS_ITEM_INDEX"] == "1"
    assert env["DATAOPS_IDEMPOTENCY_KEY"].endswith("/f/1")
    mounts = {one["mountPath"] for one in pods[0]["spec"]["containers"][0]["volumeMounts"]}
    assert "/dataops/item" in mounts
    assert made.rows[0].to_status()["items"] == {"total": 2, "active": 2, "succeeded": 0, "failed": 0, "states": "R1*2"}


def test_no_more_than_its_parallelism_are_worked_on() -> None:
    pipeline = carriers(each={"parallelism": 2})
    made = planned(pipeline, [])
    assert created(made) == [name_of(0), name_of(1)]
    after = turned(pipeline, made, seen((0, GOOD), (1, RUNS)))
    assert created(after) == [name_of(2)]
    assert states(after) == "S1,R1*2"


def test_what_follows_has_the_outputs_of_a_fan_out_that_ended_before_the_status_had_heard_of_it() -> None:
    outputs = [{"name": "n", "type": "Integer"}]
    pipeline = carriers("AA", "DL", outputs=outputs).step("g", args=["$(steps.f.outputs.n)"])
    view = seen(*((item, a_pod("f").succeeded({"n": item})) for item in range(2)))
    made = planned(pipeline, [], view, now=9)
    assert [row.phase for row in made.rows] == ["Succeeded", "Running"]
    (job,) = made.create
    assert job["spec"]["template"]["spec"]["containers"][0]["args"] == ["[0,1]"]


def test_outputs_are_lists_in_the_order_of_the_items() -> None:
    pipeline = carriers(outputs=[{"name": "n", "type": "Integer"}])
    view = seen(*((index, a_pod("f").succeeded({"n": index * 10})) for index in (2, 0)), (1, RUNS))
    made = turned(pipeline, planned(pipeline, []), view)
    assert made.rows[0].outputs == {"n": [0, None, 20]}
    assert made.rows[0].phase is Phase.RUNNING
    end = turned(pipeline, made, seen((1, a_pod("f").succeeded({"n": 10}))))
    assert (end.verdict, end.rows[0].outputs) == (Phase.SUCCEEDED, {"n": [0, 10, 20]})


def test_items_of_a_fan_out_whose_outputs_are_too_large_are_ended() -> None:
    pipeline = carriers(0, 1, outputs=[{"name": "n"}])
    large = a_pod("f").succeeded({"n": "x" * 3900})
    before = [done(f"s{index}", n="x" * 4000) for index in range(OUTPUTS_LIMIT // 4000)]
    for row in before:
        pipeline.step(row.name, outputs=[{"name": "n"}])
    rows = [planned(pipeline, before).rows[0], *before]
    made = planned(pipeline, rows, seen((0, large), (1, a_pod("f").running())))
    assert (made.rows[0].phase, made.rows[0].reason) == (Phase.FAILED, Reason.RESULT_TOO_LARGE)
    assert made.rows[0].items is not None
    assert made.rows[0].items["active"] == 0
    assert made.delete == (name_of(1),), "it would go on for nobody"


def test_what_uses_a_fan_outs_output_gets_the_whole_list() -> None:
    pipeline = carriers(outputs=[{"name": "n"}]).step("g", args=["$(steps.f.outputs.n)"])
    before = replace(done("f", n=["a", None]), job=None, items={"total": 2, "states": "S1,F1"})
    made = planned(pipeline, [before])
    assert made.create[0]["spec"]["template"]["spec"]["containers"][0]["args"] == ['["a",null]']


def test_the_first_item_that_fails_keeps_others_from_beginning_and_the_step_says_which() -> None:
    pipeline = carriers(each={"parallelism": 2})
    made = turned(pipeline, planned(pipeline, []), seen((0, RUNS), (1, BAD)))
    assert not made.create
    assert states(made) == "R1,F1,K0"
    end = turned(pipeline, made, seen((0, GOOD)))
    (row,) = end.rows
    assert (row.phase, row.reason, end.verdict) == (Phase.FAILED, "ItemsFailed", Phase.FAILED)
    assert row.message == "1 of 3 items failed: item 1: exit code 3; see: kubectl logs pod"


def test_without_fail_fast_all_items_have_their_turn() -> None:
    pipeline = carriers(each={"parallelism": 1, "failFast": False})
    made = turned(pipeline, planned(pipeline, []), seen((0, BAD)))
    assert created(made) == [name_of(1)]


def test_so_many_failures_as_are_tolerated_fail_nothing() -> None:
    pipeline = carriers(each={"tolerate": "34%"}, outputs=[{"name": "n"}])
    good = a_pod("f").succeeded({"n": "x"})
    end = turned(pipeline, planned(pipeline, []), seen((0, good), (1, BAD), (2, good)))
    (row,) = end.rows
    assert (row.phase, row.message) == (Phase.SUCCEEDED, "1 of 3 items failed, which is tolerated")
    assert row.outputs == {"n": ["x", None, "x"]}


def test_outputs_of_items_that_all_failed_and_were_tolerated_are_there_and_empty() -> None:
    pipeline = carriers("AA", each={"tolerate": 1}, outputs=[{"name": "n"}])
    made = turned(pipeline, planned(pipeline, []), seen((0, BAD)))
    assert (made.rows[0].phase, made.rows[0].outputs) == (Phase.SUCCEEDED, {"n": [None]})


def test_only_the_items_that_failed_are_tried_again() -> None:
    pipeline = carriers(retry={"limit": 1, "backoff": {"initial": "10s"}})
    made = turned(pipeline, planned(pipeline, []), seen((0, GOOD), (1, BAD), (2, GOOD)), now=9)
    assert not made.create
    (row,) = made.rows
    assert (row.phase, row.reason) == (Phase.WAITING, "Backoff")
    assert states(made) == f"S1,W1@{int(EPOCH) + 20},S1"
    assert made.wake_at == EPOCH + 20
    again = turned(pipeline, made, now=20)
    assert created(again) == [name_of(1, 2)]
    assert states(again) == "S1,R2,S1"


def test_an_item_that_the_api_server_refuses_waits_and_the_others_go_on() -> None:
    pipeline = carriers()
    view = View(refused={name_of(1): Refusal("exceeded quota: none")})
    made = planned(pipeline, [], view)
    assert created(made) == [name_of(0), name_of(2)]
    assert states(made) == f"R1,Q1@{int(EPOCH)},R1"
    assert made.rows[0].phase is Phase.RUNNING


def test_items_beyond_the_environments_room_wait() -> None:
    pipeline = carriers()
    made = planned(pipeline, [], View(room=2))
    assert (created(made), made.short) == ([name_of(0), name_of(1)], True)
    assert states(made) == "R1*2,P0"


def test_no_items_are_a_success() -> None:
    made = planned(carriers(outputs=[{"name": "n"}], each={"items": []}).step("g", args=["$(steps.f.outputs.n)"]), [])
    assert (made.rows[0].phase, made.rows[0].outputs) == (Phase.SUCCEEDED, {"n": []})
    assert len(made.create) == 1


@pytest.mark.parametrize(
    ("each", "value", "reason"),
    [
        ({"items": "$(params.list)"}, "text", "FanOutInvalid"),
        ({"items": "$(params.list.deep)"}, "text", "InvalidTemplate"),
        ({"items": "$(params.list)"}, [1] * 501, "FanOutInvalid"),
    ],
)
def test_what_turns_out_to_be_no_list_fails_the_step_and_nothing_begins(each: Any, value: Any, reason: str) -> None:
    pipeline = a_pipeline().parameter("list", "Array" if isinstance(value, list) else "String", default=value)
    made = planned(pipeline.step("other").step("f", forEach=each), [])
    assert (made.rows[1].phase, made.rows[1].reason) == (Phase.FAILED, reason)
    assert not made.create


def test_jobs_that_the_status_has_not_heard_of_are_taken_up() -> None:
    pipeline = carriers()
    made = planned(pipeline, [], seen((0, RUNS), (2, GOOD)))
    assert created(made) == [name_of(1)]
    assert states(made) == "R1*2,S1"


@pytest.mark.parametrize("how", Cancel)
def test_a_cancelled_fan_out_ends_what_runs_of_it(how: Cancel) -> None:
    pipeline = carriers(each={"parallelism": 2})
    view = seen((0, RUNS), (1, GOOD))
    made = turned(pipeline, planned(pipeline, []), view, asked=Asked(cancel=how, began=EPOCH))
    if how is Cancel.GRACEFUL:
        assert (made.stop, states(made)) == ((name_of(0),), "R1,S1,K0")
        assert made.rows[0].message == "is ending: cancelled"
        view.jobs[name_of(0)]["metadata"]["deletionTimestamp"] = at(5)
        gone = View(proven=frozenset({name_of(0)}))
        made = turned(pipeline, made, gone, asked=Asked(cancel=how, began=EPOCH))
    else:
        assert made.delete == (name_of(0),)
    assert states(made) == "C1,S1,K0"
    assert (made.rows[0].phase, made.rows[0].reason, made.verdict) == (Phase.CANCELLED, "Cancelled", Phase.CANCELLED)


CUT: PodBuilder = a_pod("f").failed(143).deleted()


@pytest.mark.parametrize("pod", [CUT, a_pod("f", "b").succeeded().deleted()], ids=["killed", "handles SIGTERM"])
def test_an_item_that_a_cancel_ended_says_so(pod: PodBuilder) -> None:
    pipeline, asked = carriers(), Asked(cancel=Cancel.GRACEFUL, by="ann", began=EPOCH)
    made = turned(pipeline, planned(pipeline, []), seen((0, RUNS), (1, a_pod("f").failed(3))))
    made = turned(pipeline, made, seen((0, RUNS), (2, RUNS)), asked=asked)
    made = turned(pipeline, made, seen((0, pod), (2, RUNS)), asked=asked)
    assert (made.rows[0].items or {})["errors"] == [
        "item 1: exit code 3; see: kubectl logs pod",
        "item 0: cancelled by ann",
    ]
    made = turned(pipeline, made, View(proven=frozenset({name_of(2)})), asked=asked)
    assert (made.rows[0].items or {})["errors"][2:] == ["item 2: cancelled by ann"]
    assert (made.rows[0].phase, made.rows[0].message) == (Phase.CANCELLED, "cancelled by ann")


def test_an_item_that_the_end_of_the_runs_time_ended_says_so() -> None:
    pipeline, asked = carriers().having(timeout="1m"), Asked(began=EPOCH)
    made = turned(pipeline, planned(pipeline, []), seen((0, RUNS), (1, GOOD), (2, GOOD)), now=60, asked=asked)
    made = turned(pipeline, made, seen((0, CUT)), now=61, asked=asked)
    assert (made.rows[0].items or {})["errors"] == ["item 0: the run took longer than its timeout of 1m"]


@pytest.mark.parametrize("last", [CUT, GOOD], ids=["the last one killed", "the last one in time"])
@pytest.mark.parametrize("how", ["Cancelled", "RunDeadlineExceeded"])
def test_what_the_end_of_a_run_has_ended_is_not_tolerated(how: str, last: PodBuilder) -> None:
    pipeline = carriers(each={"tolerate": 3}).having(timeout="1m")
    asked = Asked(cancel=Cancel.GRACEFUL if how == "Cancelled" else None, began=EPOCH)
    made = turned(pipeline, planned(pipeline, []), seen((0, RUNS), (1, BAD), (2, RUNS)), now=5)
    made = turned(pipeline, made, seen((0, RUNS), (2, RUNS)), now=61, asked=asked)
    made = turned(pipeline, made, seen((0, CUT), (2, RUNS)), now=62, asked=asked)
    assert made.verdict is None
    made = turned(pipeline, made, seen((2, last)), now=63, asked=asked)
    assert (made.rows[0].phase, made.rows[0].reason, made.verdict) == (made.verdict, how, made.rows[0].phase)
    assert made.verdict is (Phase.CANCELLED if how == "Cancelled" else Phase.FAILED)


def test_what_failed_before_the_end_of_a_run_is_tolerated_where_the_others_end_well_in_their_time() -> None:
    pipeline, asked = carriers(each={"tolerate": 1}), Asked(cancel=Cancel.GRACEFUL, began=EPOCH)
    made = turned(pipeline, planned(pipeline, []), seen((0, GOOD), (1, BAD), (2, RUNS)), now=5)
    made = turned(pipeline, made, seen((2, GOOD)), now=6, asked=asked)
    assert made.rows[0].phase is Phase.SUCCEEDED


def test_in_a_run_that_fails_a_fan_out_ends_what_runs_and_begins_nothing() -> None:
    pipeline = carriers(each={"parallelism": 1}).step("bad")
    rows = planned(pipeline, []).rows
    failed = replace(done("bad"), phase=Phase.FAILED, outputs=None)
    made = planned(pipeline, [Row.from_status(rows[0].to_status()), failed], seen((0, RUNS)))
    assert states(made) == "R1,K0*2"
    end = turned(pipeline, made, seen((0, GOOD)))
    assert end.verdict is Phase.FAILED
    assert (end.rows[0].phase, end.rows[0].reason) == (Phase.FAILED, "UpstreamFailed"), "only one of three was run"
    assert "2 of 3 items were not run" in str(end.rows[0].message)


def test_jobs_of_items_that_were_given_up_are_deleted_and_others_are_not() -> None:
    pipeline = carriers()
    rows = [Row("f", Phase.RUNNING, items={"total": 3, "states": "S1,F1,R1"})]
    names = [one.job for one in flat(rows, NAME)]
    assert names == [name_of(0), name_of(1), name_of(2)]
    made = planned(pipeline, rows, seen((2, RUNS)))
    assert made.delete == ()


def test_the_status_of_five_hundred_items_stays_small_whatever_they_do() -> None:
    rows = [
        Row("f", Phase.WAITING, "Error", attempt=index % 20 + 1, retry_at=at(index), item=index, disruptions=index % 4)
        for index in range(500)
    ]
    assert len(encode(rows)) < 12_000
