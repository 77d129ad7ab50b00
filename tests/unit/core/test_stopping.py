"""The end of a run before its time: cancelled, or out of time; and one that is suspended."""

from dataclasses import replace
from typing import Any

import pytest
from tests.builders import EPOCH, PipelineBuilder, PodBuilder, a_job, a_pipeline, a_pod, a_view, at
from tests.unit.core.planning import attempt_of, created, done, name_of, phases, planned, running

from dataops_operator.api.conditions import Reason
from dataops_operator.api.run import Cancel, Phase
from dataops_operator.core.plan import Asked, Plan, View, asked_of
from dataops_operator.core.podends import GRACE
from dataops_operator.core.rows import Row
from dataops_operator.core.status import ending

pytestmark = pytest.mark.usefixtures("both_modes")

GRACEFUL = Asked(cancel=Cancel.GRACEFUL, by="ann", began=EPOCH)
IMMEDIATE = Asked(cancel=Cancel.IMMEDIATE, by="ann", began=EPOCH)


def pipeline(**more: object) -> PipelineBuilder:
    last = {"name": "tidy", "image": "img", "command": ["true"]}
    return a_pipeline().step("a").step("b", needs=["a"]).having(**{"finally": [last]}, **more)


def cancelled(rows: list[Row], view: View | None = None, asked: Asked = GRACEFUL, now: float = 0) -> Plan:
    return planned(pipeline(), rows, view, now=now, asked=asked)


def shown(made: Plan) -> list[tuple[str, str | None]]:
    return [(str(row.phase), row.reason) for row in made.rows]


def leaving(view: View, step: str = "a") -> View:
    view.jobs[name_of(step)]["metadata"]["deletionTimestamp"] = at(5)
    return view


RUNNING = attempt_of("a", a_pod("a").running())
ASKED = attempt_of("a", a_pod("a").running().limited(3))
"""Its pod began after 2 s, and was asked to end after 5."""


def test_what_runs_is_asked_to_end_and_what_has_not_begun_never_does() -> None:
    made = cancelled([running("a")], RUNNING)
    assert shown(made) == [("Running", "Cancelled"), ("Skipped", "Cancelled"), ("Pending", None)]
    assert made.stop == (name_of("a"),)
    assert made.rows[0].message == "is ending: cancelled by ann"
    assert not made.create, "the last steps wait for what is ending"


@pytest.mark.parametrize(
    "view",
    [ASKED, leaving(attempt_of("a", a_pod("a").running()))],
    ids=["its time is over", "its Job is going"],
)
def test_a_pod_that_is_ending_is_waited_for(view: View) -> None:
    made = cancelled([running("a")], view, now=6)
    assert (made.stop, made.delete, made.verdict, made.wake_at) == ((), (), None, EPOCH + 5 + GRACE)


def test_how_its_container_ended_is_waited_for_as_well() -> None:
    made = cancelled([running("a")], attempt_of("a", a_pod("a").running().out_of_time(3)), now=6)
    assert (shown(made)[0], made.stop, made.wake_at) == (("Running", "Cancelled"), (), EPOCH + 5 + GRACE)


@pytest.mark.parametrize(
    "pod",
    [a_pod("a").succeeded(message='{"message": "x"}').out_of_time(3), a_pod("a").succeeded(), a_pod("a").succeeded({})],
    ids=["it told its result", "it had ended by itself", "with its result"],
)
def test_a_step_that_ends_well_in_the_time_it_is_given_has_succeeded(pod: PodBuilder) -> None:
    made = cancelled([running("a")], attempt_of("a", pod))
    assert shown(made)[0] == ("Succeeded", None)
    assert made.delete == (), "its Job stays, and with it the log"


@pytest.mark.parametrize(
    "view",
    [
        attempt_of("a", a_pod("a").failed(143).out_of_time(3)),
        attempt_of("a", a_pod("a").failed(137).out_of_time(3)),
        attempt_of("a", a_pod("a").succeeded().out_of_time(3)),
        attempt_of("a", a_pod("a").succeeded(message="{junk").out_of_time(3)),
        leaving(attempt_of("a", a_pod("a").failed(137).deleted())),
        View(proven=frozenset({name_of("a")})),
    ],
    ids=["it ended by the signal", "killed", "told nothing", "nothing of sense", "its Job is going", "its Job is gone"],
)
def test_a_step_that_does_not_is_cancelled_and_the_last_steps_begin(view: View) -> None:
    made = cancelled([running("a"), Row("b", Phase.SKIPPED, Reason.CANCELLED)], view)
    assert shown(made) == [("Cancelled", "Cancelled"), ("Skipped", "Cancelled"), ("Running", None)]
    assert made.delete == (), "its Job stays, and with it the log"
    (job,) = made.create
    env = job["spec"]["template"]["spec"]["containers"][0]["env"]
    assert {"name": "DATAOPS_RUN_OUTCOME", "value": "Cancelled"} in env
    after = cancelled([made.rows[0], made.rows[1], done("tidy")])
    assert after.verdict is Phase.CANCELLED
    assert ending(after.rows, Phase.CANCELLED) == (Reason.CANCELLED, "cancelled by ann; ended in the middle: a")


def test_what_was_not_at_work_is_not_said_to_have_been_ended_in_the_middle() -> None:
    again = {"limit": 1, "backoff": {"initial": "1h"}}
    beside = a_pipeline().step("works").step("waits").step("pauses", retry=again)
    beside = beside.step("each", forEach={"items": [1, 2]}).step("stuck", forEach={"items": [1]})
    beside = beside.having(steps=[*beside.raw["steps"], {"name": "ask", "approval": {}}])
    first = planned(beside, [])
    jobs = {job["metadata"]["name"]: a_job(job["metadata"]["name"]) for job in first.create}
    pods = {
        name: a_pod("waits").unschedulable()
        if "-waits-" in name
        else a_pod("stuck").unschedulable()
        if "-stuck-" in name
        else a_pod("pauses").failed(3)
        if "-pauses-" in name
        else a_pod(name.split("-")[2]).running()
        for name in jobs
    }
    view = a_view(*((jobs[name], [pods[name]]) for name in jobs), proven=frozenset(jobs))
    going = planned(beside, list(first.rows), view, now=20)
    assert phases(going) == ["Running", "Waiting", "Waiting", "Running", "Waiting", "Waiting"]
    ended = planned(beside, list(going.rows), view, now=21, asked=GRACEFUL)
    gone = View(proven=frozenset(jobs))
    ended = planned(beside, list(ended.rows), gone, now=30, asked=GRACEFUL)
    assert set(phases(ended)) == {"Cancelled"}
    assert ending(ended.rows, Phase.CANCELLED)[1] == "cancelled by ann; ended in the middle: works, each"
    assert ended.rows[1].message == "cancelled by ann; nothing of it was at work"


@pytest.mark.parametrize(
    "end", [a_pod("a").running(), a_pod("a").failed(143, ended=40).out_of_time(30)], ids=["it runs", "it has ended"]
)
def test_what_had_begun_unheard_of_was_at_work(end: PodBuilder) -> None:
    begun = planned(pipeline(), [])
    waits = planned(pipeline(), list(begun.rows), attempt_of("a", a_pod("a").waiting("ImagePullBackOff", "x")), now=9)
    assert waits.rows[0].phase is Phase.WAITING
    made = cancelled(list(waits.rows), attempt_of("a", end), now=41)
    if made.rows[0].phase is Phase.RUNNING:
        made = cancelled(list(made.rows), attempt_of("a", a_pod("a").failed(143).out_of_time(39)), now=45)
    assert (made.rows[0].phase, made.rows[0].message) == (Phase.CANCELLED, "cancelled by ann")


def test_a_node_that_is_lost_holds_no_cancelled_run() -> None:
    made = cancelled([running("a")], leaving(attempt_of("a", a_pod("a").running())), now=5 + GRACE)
    assert shown(made)[0] == ("Cancelled", "Cancelled")
    made = cancelled([running("a")], ASKED, now=5 + GRACE)
    assert shown(made)[0] == ("Cancelled", "Cancelled")
    assert made.delete == (name_of("a"),), "nobody is left to ask"


def test_what_ended_a_step_is_no_failure_of_its_own_to_try_again() -> None:
    given = pipeline(timeout="1m", defaults={"retry": {"limit": 3, "on": ["Deadline", "Infrastructure"]}})
    for view in (attempt_of("a", a_pod("a").failed(143).out_of_time(3)), attempt_of("a", a_pod("a").out_of_time(3))):
        made = planned(given, [running("a")], view, now=9, asked=GRACEFUL)
        assert (shown(made)[0], made.rows[0].retry_at) == (("Cancelled", "Cancelled"), None)
        made = planned(given, [running("a")], view, now=61, asked=Asked(began=EPOCH))
        assert (shown(made)[0], made.rows[0].retry_at) == (("Failed", "RunDeadlineExceeded"), None)


def test_a_step_between_attempts_has_no_further_one() -> None:
    waits = replace(running("a"), phase=Phase.WAITING, reason="Error", finished_at=at(1), retry_at=at(9))
    made = cancelled([waits], now=60)
    assert shown(made)[0] == ("Cancelled", "Cancelled")
    assert created(made) == [name_of("tidy")]


def test_what_had_ended_stays_as_it_is_and_a_run_whose_steps_had_all_ended_is_not_cancelled() -> None:
    made = cancelled([done("a"), done("b"), Row("tidy")])
    assert created(made) == [name_of("tidy")]
    assert cancelled([done("a"), done("b"), done("tidy")]).verdict is Phase.SUCCEEDED


def test_at_once_nothing_is_waited_for_and_nothing_more_is_run() -> None:
    made = cancelled([running("a")], RUNNING, IMMEDIATE)
    assert shown(made) == [("Cancelled", "Cancelled"), ("Skipped", "Cancelled"), ("Skipped", "Cancelled")]
    assert (made.verdict, made.kill, made.delete) == (Phase.CANCELLED, True, (name_of("a"),))
    assert not made.create


def test_at_once_does_not_touch_what_was_asked_to_end_before() -> None:
    """A kubelet does not shorten the time that it gave; what is deleted beside it is the log."""
    made = cancelled([running("a"), Row("b", Phase.SKIPPED, "Cancelled")], ASKED, IMMEDIATE, now=6)
    assert shown(made) == [("Cancelled", "Cancelled"), ("Skipped", "Cancelled"), ("Skipped", "Cancelled")]
    assert (made.verdict, made.delete, made.wake_at) == (Phase.CANCELLED, (), EPOCH + 5 + GRACE)
    late = cancelled(list(made.rows), ASKED, IMMEDIATE, now=5 + GRACE)
    assert (late.delete, late.kill) == ((name_of("a"),), True)


def test_at_once_also_ends_the_last_steps_of_a_run_that_was_cancelled_before() -> None:
    rows = [replace(running("a"), phase=Phase.CANCELLED, reason=Reason.CANCELLED), Row("b", Phase.SKIPPED, "Cancelled")]
    made = cancelled([*rows, running("tidy")], attempt_of("tidy", a_pod("tidy").running()), IMMEDIATE)
    assert made.rows[2].phase is Phase.CANCELLED
    assert made.delete == (name_of("tidy"),)


def test_a_job_that_the_status_has_not_heard_of_is_stopped_as_well() -> None:
    made = cancelled([Row("a"), Row("b"), Row("tidy")], RUNNING)
    assert made.stop == (name_of("a"),)
    assert made.rows[0].attempt == 1


# The run's own time.


def late(rows: list[Row], view: View | None = None, now: float = 60) -> Plan:
    return planned(pipeline(timeout="1m"), rows, view, now=now, asked=Asked(began=EPOCH))


def test_a_run_wakes_at_its_deadline_and_fails_there() -> None:
    assert late([running("a")], RUNNING, now=59).wake_at == EPOCH + 60
    made = late([running("a")], RUNNING)
    assert shown(made) == [("Running", "RunDeadlineExceeded"), ("Skipped", "RunDeadlineExceeded"), ("Pending", None)]
    after = late([running("a"), made.rows[1]], leaving(attempt_of("a", a_pod("a").failed(143))))
    assert shown(after) == [("Failed", "RunDeadlineExceeded"), ("Skipped", "RunDeadlineExceeded"), ("Running", None)]
    end = late([after.rows[0], after.rows[1], done("tidy")], now=600)
    assert end.verdict is Phase.FAILED
    reason, message = ending(end.rows, Phase.FAILED)
    assert reason is Reason.RUN_DEADLINE_EXCEEDED
    assert message == "the run took longer than its timeout of 1m; ended in the middle: a"


def test_a_run_of_which_nothing_has_begun_fails_at_its_deadline_as_well() -> None:
    rows = [
        Row("a", Phase.SKIPPED, Reason.RUN_DEADLINE_EXCEEDED),
        Row("b", Phase.SKIPPED, Reason.RUN_DEADLINE_EXCEEDED),
    ]
    assert late([*rows, done("tidy")]).verdict is Phase.FAILED


def test_the_deadline_is_over_the_other_steps_and_not_over_the_last_ones() -> None:
    made = late([done("a"), done("b"), running("tidy")], attempt_of("tidy", a_pod("tidy").running()), now=999)
    assert shown(made) == [("Succeeded", None), ("Succeeded", None), ("Running", None)]


# Suspended.


def test_a_suspended_run_begins_nothing_and_what_runs_may_end() -> None:
    asked = Asked(suspend=True, began=EPOCH)
    made = planned(pipeline(), [running("a")], attempt_of("a", a_pod("a").succeeded()), asked=asked)
    assert shown(made) == [("Succeeded", None), ("Pending", None), ("Pending", None)]
    assert not made.create
    assert created(planned(pipeline(), list(made.rows), now=1)) == [name_of("b")], "and goes on afterwards"


def test_a_cancelled_run_is_not_kept_by_being_suspended() -> None:
    made = planned(pipeline(), [done("a"), Row("b"), Row("tidy")], asked=replace(GRACEFUL, suspend=True))
    assert shown(made)[1] == ("Skipped", "Cancelled")
    assert created(made) == [name_of("tidy")]


# What is asked.


@pytest.mark.parametrize(
    ("spec", "asked"),
    [
        ({}, Asked()),
        ({"suspend": True}, Asked(suspend=True)),
        ({"cancel": "Graceful"}, Asked(cancel=Cancel.GRACEFUL, by="ann")),
        ({"cancel": "Immediate", "suspend": False}, Asked(cancel=Cancel.IMMEDIATE, by="ann")),
        ({"cancel": "Whenever"}, Asked()),
    ],
)
def test_what_people_ask_is_read_from_the_run(spec: dict[str, object], asked: Asked) -> None:
    run = {"spec": spec, "metadata": {"annotations": {"dataops.dev/changed-by": "ann"}}, "status": {}}
    assert asked_of(run) == asked


def test_a_run_is_under_way_since_its_status_or_its_first_job_says_so() -> None:
    run: dict[str, Any] = {"spec": {}, "metadata": {}, "status": {}}
    jobs = a_view((a_job("x", 7), []), (a_job("y", 3), [])).jobs.values()
    assert asked_of(run, jobs).began == EPOCH + 3
    assert asked_of(run | {"status": {"startedAt": at(1)}}, jobs).began == EPOCH + 1
