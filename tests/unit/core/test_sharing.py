"""A pod that three steps share: what each state of it makes of their rows, and what is done then."""

from dataclasses import replace
from typing import Any

import orjson
import pytest
from tests.builders import EPOCH, JobBuilder, PipelineBuilder, a_pipeline, a_pod, at
from tests.unit.core.planning import attempt_of, created, name_of, planned

from dataops_operator.api.run import Cancel, Phase
from dataops_operator.core.names import GOES_ON_LABEL
from dataops_operator.core.plan import Asked, Plan, View
from dataops_operator.core.podends import GRACE
from dataops_operator.core.progress import POLL, UNTOLD_PATIENCE
from dataops_operator.core.rows import Row
from dataops_operator.core.timeouts import SLACK

RETRY = {"limit": 1, "on": ["Infrastructure", "Failure", "Deadline"], "backoff": {"initial": "10s"}}


def pipeline(**fields: Any) -> PipelineBuilder:
    built = a_pipeline().having(fuse="Auto", **fields)
    return built.step("a").step("b", needs=["a"], retry=RETRY, timeout="2m").step("c", needs=["b"])


def ran(began: float, ended: float, code: int = 0, message: str = "") -> dict[str, Any]:
    said = {"message": message} if message else {}
    return {"terminated": {"exitCode": code, "startedAt": at(began), "finishedAt": at(ended)} | said}


def runs(began: float) -> dict[str, Any]:
    return {"running": {"startedAt": at(began)}}


WAITS = {"waiting": {"reason": "PodInitializing"}}
NO_IMAGE = {"waiting": {"reason": "ImagePullBackOff", "message": "Back-off"}}


def view(
    made: Plan,
    *states: dict[str, Any],
    phase: str = "Pending",
    proven: bool = True,
    job: dict[str, Any] | None = None,
    conditions: list[dict[str, str]] | None = None,
    deadline: int | None = None,
    held: bool = False,
) -> View:
    """The Job of the stage with its pod's containers in these states; `job`: more of its metadata.

    Where the pod has Failed with a deadline, its kubelet has ended it for that. `held`: whether it begins nothing more.
    """
    name = name_of("a")
    (body,) = made.create
    built = JobBuilder.of(body).build()
    built["metadata"] |= job or {}
    assert built["metadata"]["labels"]["dataops.dev/stage"] == "3"
    told = [{"name": one, "imageID": "", "state": state} for one, state in zip("abc", states, strict=True)]
    status: dict[str, Any] = {"phase": phase, "initContainerStatuses": told[:-1], "containerStatuses": told[-1:]}
    status["conditions"] = conditions or []
    spec = {} if deadline is None else {"activeDeadlineSeconds": deadline}
    status |= {"startTime": at(0)} | ({"reason": "DeadlineExceeded"} if spec and phase == "Failed" else {})
    shown = {
        "metadata": {"name": f"{name}-pod", "uid": "p", "labels": {} if held else {GOES_ON_LABEL: "params"}},
        "spec": spec,
        "status": status,
    }
    return View(
        jobs={name: built}, pods={built["metadata"]["uid"]: [shown]}, proven=frozenset({name} if proven else set())
    )


def turned(made: Plan, seen: View, now: float = 60, asked: Asked | None = None, **spec: Any) -> Plan:
    rows = [Row.from_status(orjson.loads(orjson.dumps(row.to_status()))) for row in made.rows]
    return planned(pipeline(**spec), rows, seen, now=now, asked=asked)


def told(made: Plan) -> list[tuple[str, int, bool]]:
    """Of each row: phase, attempt, and whether it names a Job."""
    return [(str(row.phase), row.attempt, row.job is not None) for row in made.rows]


def test_one_job_begins_with_all_three_in_order_each_with_its_own_surroundings() -> None:
    made = planned(pipeline(), [])
    (job,) = made.create
    pod = job["spec"]["template"]["spec"]
    assert job["metadata"]["name"] == name_of("a")
    assert [one["name"] for one in (*pod["initContainers"], *pod["containers"])] == ["a", "b", "c"]
    places = [
        next(mount["name"] for mount in one["volumeMounts"] if mount["mountPath"] == "/tmp")
        for one in (*pod["initContainers"], *pod["containers"])
    ]
    assert len(set(places)) == 3, "what one leaves in /tmp is nothing to the next"
    assert set(places) <= {volume["name"] for volume in pod["volumes"]}
    assert "activeDeadlineSeconds" not in pod, "one without an end has none for all"
    assert told(made) == [("Running", 1, True), ("Pending", 0, True), ("Pending", 0, True)]


@pytest.mark.parametrize(
    ("states", "phase", "rows"),
    [
        pytest.param(
            (runs(1), WAITS, WAITS),
            "Pending",
            [("Running", 1, True), ("Pending", 0, True), ("Pending", 0, True)],
            id="the first runs",
        ),
        pytest.param(
            (ran(1, 5), runs(5), WAITS),
            "Pending",
            [("Succeeded", 1, True), ("Running", 1, True), ("Pending", 0, True)],
            id="it has ended, and the second runs",
        ),
        pytest.param(
            (ran(1, 5), WAITS, WAITS),
            "Pending",
            [("Succeeded", 1, True), ("Running", 1, True), ("Pending", 0, True)],
            id="or is about to",
        ),
        pytest.param(
            (ran(1, 5), NO_IMAGE, WAITS),
            "Pending",
            [("Succeeded", 1, True), ("Waiting", 1, True), ("Pending", 0, True)],
            id="or cannot",
        ),
        pytest.param(
            (ran(1, 5), ran(5, 9), ran(9, 12)),
            "Succeeded",
            [("Succeeded", 1, True), ("Succeeded", 1, True), ("Succeeded", 1, True)],
            id="all have ended well",
        ),
        pytest.param(
            (ran(1, 5), ran(5, 9, 3), WAITS),
            "Failed",
            [("Succeeded", 1, True), ("Waiting", 1, True), ("Pending", 0, False)],
            id="the second failed and has another attempt, the third is let go",
        ),
        pytest.param(
            (ran(1, 5, 3), WAITS, WAITS),
            "Failed",
            [("Failed", 1, True), ("Skipped", 0, False), ("Skipped", 0, False)],
            id="the first failed for good",
        ),
        pytest.param(
            (ran(1, 5), ran(5, 9), ran(9, 12, 1)),
            "Failed",
            [("Succeeded", 1, True), ("Succeeded", 1, True), ("Failed", 1, True)],
            id="the last failed",
        ),
    ],
)
def test_rows_by_the_states_of_the_containers(
    states: tuple[dict[str, Any], ...], phase: str, rows: list[tuple[str, int, bool]]
) -> None:
    begun = planned(pipeline(), [])
    made = turned(begun, view(begun, *states, phase=phase))
    assert told(made) == rows
    assert not made.create
    assert not made.delete


def test_times_are_those_of_each_container() -> None:
    begun = planned(pipeline(), [])
    made = turned(begun, view(begun, ran(1, 5), ran(5, 9), ran(9, 12), phase="Succeeded"))
    assert [(row.started_at, row.finished_at) for row in made.rows] == [(at(1), at(5)), (at(5), at(9)), (at(9), at(12))]
    assert made.verdict is Phase.SUCCEEDED


def test_the_next_attempt_begins_at_the_step_that_failed_and_takes_the_rest_along() -> None:
    begun = planned(pipeline(), [])
    failed = turned(begun, view(begun, ran(1, 5), ran(5, 9, 3), WAITS, phase="Failed"))
    again = turned(failed, View(), now=90)
    assert created(again) == [name_of("b", 2)]
    pod = again.create[0]["spec"]["template"]["spec"]
    assert [one["name"] for one in (*pod["initContainers"], *pod["containers"])] == ["b", "c"]
    assert told(again) == [("Succeeded", 1, True), ("Running", 2, True), ("Pending", 0, True)]
    attempts = {
        one["name"]: next(env["value"] for env in one["env"] if env["name"] == "DATAOPS_ATTEMPT")
        for one in (*pod["initContainers"], *pod["containers"])
    }
    assert attempts == {"b": "2", "c": "1"}


def test_a_failure_is_believed_once_it_was_read_live() -> None:
    begun = planned(pipeline(), [])
    made = turned(begun, view(begun, ran(1, 5), ran(5, 9, 3), WAITS, phase="Failed", proven=False))
    assert made.prove == (name_of("a"),)


def test_what_was_seen_to_end_stays_done_when_the_node_is_lost() -> None:
    begun = planned(pipeline(), [])
    lost = [{"type": "DisruptionTarget", "status": "True", "reason": "DeletionByPodGC"}]
    made = turned(begun, view(begun, ran(1, 5), runs(5), WAITS, phase="Failed", conditions=lost))
    assert told(made) == [("Succeeded", 1, True), ("Waiting", 1, True), ("Pending", 0, False)]
    assert (made.rows[1].reason, made.rows[1].disruptions) == ("Disrupted", 1)


def test_a_drained_step_that_ends_with_0_before_the_next_begins_has_not_succeeded() -> None:
    begun = planned(pipeline(), [])
    drained = [{"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"}]
    made = turned(begun, view(begun, ran(1, 5), WAITS, WAITS, phase="Failed", conditions=drained))
    assert (made.rows[0].phase, made.rows[0].reason) == (Phase.WAITING, "Disrupted")


def test_a_result_that_makes_no_sense_fails_the_step_and_ends_the_pod() -> None:
    begun = planned(pipeline(), [])
    made = turned(begun, view(begun, ran(1, 5, message="{junk"), runs(5), WAITS))
    assert told(made) == [("Failed", 1, True), ("Skipped", 0, False), ("Skipped", 0, False)]
    assert made.delete == (name_of("a"),)


def test_a_step_that_runs_too_long_is_ended_counts_as_that_and_is_tried_again() -> None:
    begun = planned(pipeline(), [])
    rest = view(begun, ran(1, 5), runs(5), WAITS)
    early = turned(begun, rest, now=120)
    assert (early.stop, early.wake_at) == ((), EPOCH + 125 + SLACK)
    late = turned(early, rest, now=127)
    assert (late.stop, late.rows[1].reason) == ((name_of("a"),), "DeadlineExceeded")
    asked = view(begun, ran(1, 5), runs(5), WAITS, deadline=126)
    ending = turned(late, asked, now=140)
    assert (ending.stop, ending.delete, ending.rows[1].phase) == ((), (), Phase.RUNNING)
    shown = view(begun, ran(1, 5), ran(5, 127, 143), WAITS, phase="Failed", deadline=126)
    for seen in (shown, View(proven=frozenset({name_of("a")}))):
        ended = turned(late, seen, now=150)
        assert (ended.rows[1].phase, ended.rows[1].reason) == (Phase.WAITING, "DeadlineExceeded")
        assert (ended.rows[1].disruptions, ended.delete) == (0, ()), "its Job stays, and with it the logs of both"
        assert ended.rows[1].message == "ran longer than its timeout of 2m; raise the step's timeout, or make it faster"
    given_up = turned(late, asked, now=190)
    assert (given_up.rows[1].phase, given_up.rows[1].reason) == (Phase.WAITING, "DeadlineExceeded")
    assert given_up.delete == (name_of("a"),), "its node does not answer"


def test_a_step_that_tells_its_result_when_its_time_is_over_has_succeeded_and_the_next_has_a_pod_of_its_own() -> None:
    begun = planned(pipeline(), [])
    late = turned(begun, view(begun, ran(1, 5), runs(5), WAITS), now=127)
    told = ran(5, 127, message='{"message": "late"}')
    seen = view(begun, ran(1, 5), told, WAITS, phase="Failed", deadline=126, proven=False)
    assert turned(late, seen, now=128).prove == (name_of("a"),)
    made = turned(late, view(begun, ran(1, 5), told, WAITS, phase="Failed", deadline=126), now=128)
    assert [str(row.phase) for row in made.rows] == ["Succeeded", "Succeeded", "Running"]
    assert (created(made), made.rows[2].attempt, made.rows[2].job) == ([name_of("c")], 1, name_of("c"))
    mute = turned(late, view(begun, ran(1, 5), ran(5, 127), WAITS, phase="Failed", deadline=126), now=128)
    assert (mute.rows[1].phase, mute.rows[1].reason) == (Phase.WAITING, "DeadlineExceeded")


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        pytest.param(ran(127, 130, 143), "Disrupted", id="it began before its pod was told to end"),
        pytest.param(WAITS, "Disrupted", id="its turn had come, and it never began"),
        pytest.param(ran(5, 127, 143), "DeadlineExceeded", id="it ran too long itself, while nobody looked"),
    ],
)
def test_a_step_is_not_blamed_for_the_time_that_another_took(state: dict[str, Any], reason: str) -> None:
    own = {"limit": 1, "on": ["Infrastructure", "Deadline"], "backoff": {"initial": "10s"}}
    given = a_pipeline().having(fuse="Auto").step("a").step("b", needs=["a"], timeout="2m")
    given = given.step("c", needs=["b"], timeout="2m", retry=own)
    begun = planned(given, [])
    seen = view(begun, ran(1, 5), ran(5, 126), WAITS, deadline=126)
    turn = planned(given, list(begun.rows), seen, now=127)
    assert (turn.rows[2].phase, turn.rows[2].attempt) == (Phase.RUNNING, 1)
    ended = view(begun, ran(1, 5), ran(5, 126), state, phase="Failed", deadline=126)
    made = planned(given, list(turn.rows), ended, now=131)
    assert (made.rows[2].phase, made.rows[2].reason) == (Phase.WAITING, reason)
    assert made.rows[2].disruptions == (1 if reason == "Disrupted" else 0)


def test_what_had_not_begun_when_the_time_of_all_was_over_has_had_no_attempt() -> None:
    begun = planned(pipeline(), [])
    made = turned(begun, view(begun, ran(1, 5), ran(5, 9), NO_IMAGE, phase="Failed", deadline=240), now=241)
    assert [str(row.phase) for row in made.rows] == ["Succeeded", "Succeeded", "Running"]
    assert created(made) == [name_of("c")]


def test_a_pod_has_the_time_of_all_its_steps_where_each_has_one() -> None:
    (job,) = planned(pipeline(defaults={"timeout": "1m", "image": "img"}), []).create
    assert job["spec"]["template"]["spec"]["activeDeadlineSeconds"] == 60 + 120 + 60 + 3 * 300 + 30


def test_the_time_to_start_is_counted_from_the_end_of_the_step_before() -> None:
    begun = planned(pipeline(), [])
    stuck = view(begun, ran(1, 200), NO_IMAGE, WAITS)
    waits = turned(begun, stuck, now=250)
    assert (waits.rows[1].phase, waits.wake_at) == (Phase.WAITING, EPOCH + 500)
    over = turned(waits, stuck, now=501)
    assert (over.rows[1].phase, over.rows[1].reason) == (Phase.FAILED, "ImageUnavailable")
    assert over.delete == (name_of("a"),)
    asked = turned(over, view(begun, ran(1, 200), NO_IMAGE, WAITS, deadline=501), now=502)
    assert (asked.delete, asked.wake_at) == ((), EPOCH + 501 + GRACE), "it is ending, and has the log of the first"
    lost = turned(over, view(begun, ran(1, 200), NO_IMAGE, WAITS, deadline=501), now=501 + GRACE)
    assert lost.delete == (name_of("a"),)


PULL = 'Failed to pull image "none:1": no such host'


@pytest.mark.parametrize(
    ("told", "reason", "message"),
    [
        pytest.param(PULL, "ImageUnavailable", PULL, id="no image"),
        pytest.param("Error: ErrImagePull", "ImageUnavailable", "ErrImagePull", id="nor its words"),
        pytest.param("Error: InvalidImageName", "ImageUnavailable", "InvalidImageName", id="no such name"),
        pytest.param("Error: ImageInspectError", "ImageUnavailable", "ImageInspectError", id="it cannot be looked at"),
        pytest.param('Error: secret "s" not found', "ContainerConfig", 'secret "s" not found', id="no secret"),
        pytest.param("", None, None, id="it takes its time"),
    ],
)
def test_why_the_next_does_not_begin_is_told_by_events_before_its_pod_tells(
    told: str, reason: str | None, message: str | None
) -> None:
    begun = planned(pipeline(), [])
    seen = view(begun, ran(1, 10), WAITS, WAITS)
    early = turned(begun, seen, now=12)
    assert (early.explain, early.wake_at) == ({}, EPOCH + 10 + UNTOLD_PATIENCE)
    assert turned(early, seen, now=13).explain == {name_of("a"): "b"}
    made = turned(early, replace(seen, explained={name_of("a"): told}), now=13)
    assert (made.rows[1].phase, made.rows[1].reason) == (Phase.WAITING if told else Phase.RUNNING, reason)
    assert (made.rows[1].message, made.wake_at) == (message, EPOCH + 13 + POLL)
    late = turned(made, replace(seen, explained={name_of("a"): told}), now=311)
    assert (late.rows[1].phase, late.rows[1].reason) == (Phase.FAILED, reason or "NotStarted")
    assert late.rows[1].message == "did not start within 5m" + (f": {message}" if message else "")


def test_the_first_of_a_pod_is_told_of_by_the_pod_however_long_its_image_takes() -> None:
    begun = planned(pipeline(), [])
    assert turned(begun, view(begun, WAITS, WAITS, WAITS), now=60).explain == {}


@pytest.mark.parametrize("how", list(Cancel))
def test_a_cancelled_stage_ends_what_runs_and_skips_what_never_began(how: Cancel) -> None:
    begun = planned(pipeline(), [])
    made = turned(begun, view(begun, runs(1), WAITS, WAITS), asked=Asked(how))
    if how is Cancel.IMMEDIATE:
        assert [str(row.phase) for row in made.rows] == ["Cancelled", "Skipped", "Skipped"]
        return
    assert made.stop == (name_of("a"),), "once, though three steps share it"
    assert [str(row.phase) for row in made.rows] == ["Running", "Pending", "Pending"]
    gone = View(proven=frozenset({name_of("a")}))
    for seen in (gone, view(begun, ran(1, 60, 143), WAITS, WAITS, phase="Failed", deadline=59)):
        end = turned(made, seen, asked=Asked(how))
        assert [str(row.phase) for row in end.rows] == ["Cancelled", "Skipped", "Skipped"]
        assert (end.verdict, end.delete) == (Phase.CANCELLED, ())


def test_what_follows_a_step_that_told_its_result_when_it_was_cancelled_never_begins() -> None:
    begun, asked = planned(pipeline(), []), Asked(Cancel.GRACEFUL)
    told = ran(1, 60, message='{"message": "in the middle"}')
    ending = turned(begun, view(begun, told, WAITS, WAITS, deadline=59), asked=asked)
    assert [str(row.phase) for row in ending.rows] == ["Succeeded", "Pending", "Pending"]
    assert (ending.stop, ending.delete, ending.verdict) == ((), (), None), "its pod has not ended"
    end = turned(ending, view(begun, told, WAITS, WAITS, phase="Failed", deadline=59), asked=asked)
    assert [str(row.phase) for row in end.rows] == ["Succeeded", "Skipped", "Skipped"]
    assert [row.attempt for row in end.rows] == [1, 0, 0]
    assert (end.verdict, end.delete) == (Phase.CANCELLED, ())


def test_a_pod_whose_next_step_is_about_to_begin_is_killed_where_nothing_is_waited_for() -> None:
    begun = planned(pipeline(), [])
    made = turned(begun, view(begun, ran(1, 5), WAITS, WAITS), asked=Asked(Cancel.IMMEDIATE))
    assert [str(row.phase) for row in made.rows] == ["Succeeded", "Skipped", "Skipped"]
    assert (made.delete, made.kill) == ((name_of("a"),), True)


def test_a_pod_that_goes_on_is_ended_though_its_step_is_at_another_attempt_by_now() -> None:
    """As where the operator ended before it could see to that."""
    begun = planned(pipeline(), [])
    failed = turned(begun, view(begun, ran(1, 5), ran(5, 9, 3), WAITS, phase="Failed"))
    again = turned(failed, View(), now=90)
    seen = view(begun, ran(1, 5), runs(5), WAITS)
    (body,) = again.create
    both = View(jobs={**seen.jobs, name_of("b", 2): JobBuilder.of(body, 90).build()}, pods=seen.pods)
    assert turned(again, both, now=91).delete == (name_of("a"),)


def test_what_began_before_its_pod_was_told_to_end_is_cancelled() -> None:
    begun, asked = planned(pipeline(), []), Asked(Cancel.GRACEFUL)
    ending = turned(begun, view(begun, ran(1, 58), runs(59), WAITS, deadline=60), asked=asked)
    assert [(str(row.phase), row.attempt) for row in ending.rows] == [("Succeeded", 1), ("Running", 1), ("Pending", 0)]
    end = turned(ending, view(begun, ran(1, 58), ran(59, 61, 143), WAITS, phase="Failed", deadline=60), asked=asked)
    assert [str(row.phase) for row in end.rows] == ["Succeeded", "Cancelled", "Skipped"]


def test_a_job_that_the_status_has_not_heard_of_is_taken_up_with_all_its_steps() -> None:
    begun = planned(pipeline(), [])
    made = planned(pipeline(), [], view(begun, ran(1, 5), runs(5), WAITS), now=60)
    assert told(made) == [("Succeeded", 1, True), ("Running", 1, True), ("Pending", 0, True)]
    assert not made.create


# What is under way goes on as it began, whatever would begin now: an operator of another release made it.


def alone(**fields: Any) -> PipelineBuilder:
    """The same three steps, which would get a pod each."""
    built = pipeline(**fields)
    return built.having(fuse="Never")


@pytest.mark.parametrize("written", [True, False], ids=["as the status has it", "as nobody has written it down"])
def test_a_pod_that_steps_share_stays_theirs_where_they_would_not_share_one_now(written: bool) -> None:
    begun = planned(pipeline(), [])
    runs_b = view(begun, ran(1, 5), runs(5), WAITS)
    made = planned(alone(), list(begun.rows) if written else [], runs_b, now=60)
    assert told(made) == [("Succeeded", 1, True), ("Running", 1, True), ("Pending", 0, True)]
    assert (made.create, made.delete) == ((), ())
    end = planned(alone(), list(made.rows), view(begun, ran(1, 5), ran(5, 9), ran(9, 12), phase="Succeeded"), now=60)
    assert told(end) == [("Succeeded", 1, True)] * 3
    assert (end.verdict, end.create) == (Phase.SUCCEEDED, ())


def test_a_failure_in_such_a_pod_lets_the_steps_behind_go_and_each_then_begins_as_it_would_now() -> None:
    begun = planned(pipeline(), [])
    failed = planned(alone(), list(begun.rows), view(begun, ran(1, 5), ran(5, 9, 3), WAITS, phase="Failed"), now=60)
    assert told(failed) == [("Succeeded", 1, True), ("Waiting", 1, True), ("Pending", 0, False)]
    again = planned(alone(), list(failed.rows), View(), now=90)
    assert created(again) == [name_of("b", 2)]
    assert told(again) == [("Succeeded", 1, True), ("Running", 2, True), ("Pending", 0, False)]


def test_such_a_job_that_is_gone_was_that_of_the_steps_whose_rows_name_it() -> None:
    begun = planned(pipeline(), [])
    runs_b = planned(alone(), list(begun.rows), view(begun, ran(1, 5), runs(5), WAITS), now=60)
    lost = planned(alone(), list(runs_b.rows), View(proven=frozenset({name_of("a")})), now=70)
    assert told(lost) == [("Succeeded", 1, True), ("Waiting", 1, True), ("Pending", 0, False)]
    assert lost.rows[1].reason == "JobDeleted"


def test_a_pod_of_one_step_stays_that_where_it_would_be_shared_now() -> None:
    (job,) = planned(alone(), []).create
    name = job["metadata"]["name"]
    there = JobBuilder.of(job).build()
    runs_a = View(jobs={name: there}, pods={there["metadata"]["uid"]: [a_pod("a").running().build()]})
    made = planned(pipeline(), [], runs_a, now=3)
    assert told(made) == [("Running", 1, True), ("Pending", 0, False), ("Pending", 0, False)]
    over = replace(runs_a, pods={there["metadata"]["uid"]: [a_pod("a").succeeded().build()]})
    then = planned(pipeline(), list(made.rows), over, now=10)
    assert created(then) == [name_of("b")], "what is behind it begins as it would now"
    assert told(then) == [("Succeeded", 1, True), ("Running", 1, True), ("Pending", 0, True)]


def test_a_job_behind_a_pod_that_has_done_is_taken_up_in_the_same_turn() -> None:
    begun = planned(pipeline().step("d", needs=["c"], fuse="Never"), [])
    whole = view(begun, ran(1, 5), ran(5, 9), ran(9, 12), phase="Succeeded")
    seen = replace(whole, jobs={**whole.jobs, name_of("d"): JobBuilder(name_of("d"), 13).build()})
    made = planned(pipeline().step("d", needs=["c"], fuse="Never"), list(begun.rows), seen, now=20)
    assert told(made) == [("Succeeded", 1, True)] * 3 + [("Running", 1, True)]
    assert (made.create, made.rows[3].started_at) == ((), at(13))


def test_a_step_whose_row_names_a_job_that_does_not_run_it_has_not_begun() -> None:
    (job,) = planned(alone(), []).create
    name, there = job["metadata"]["name"], JobBuilder.of(job).build()
    ended = View(jobs={name: there}, pods={there["metadata"]["uid"]: [a_pod("a").succeeded().build()]})
    begun = planned(pipeline(), [])
    made = planned(pipeline(), list(begun.rows), ended, now=20)
    assert told(made) == [("Succeeded", 1, True), ("Running", 1, True), ("Pending", 0, True)]
    assert created(made) == [name_of("b")]
    assert made.rows[2].job == name_of("b")


# A pod that goes on while nothing new of its run begins.


def forked(**fields: Any) -> PipelineBuilder:
    """Two branches: one step, and two that share a pod."""
    return a_pipeline().having(fuse="Auto", **fields).step("z").step("a").step("b", needs=["a"])


HELD_UP = {"waiting": {"reason": "CreateContainerConfigError", "message": "missing value for DATAOPS_GOES_ON"}}


def beside(made: Plan, *states: dict[str, Any], phase: str = "Pending", held: bool = False, **metadata: Any) -> View:
    """The pod of `a` and `b` with its containers in these states, and the Job of `z`, which has failed."""
    jobs = {body["metadata"]["name"]: JobBuilder.of(body).build() for body in made.create}
    told = [{"name": one, "imageID": "", "state": state} for one, state in zip("ab", states, strict=True)]
    status = {"phase": phase, "startTime": at(0), "initContainerStatuses": told[:1], "containerStatuses": told[1:]}
    labels = {} if held else {GOES_ON_LABEL: "params"}
    shown = {"metadata": {"name": "ab", "uid": "p", "labels": labels} | metadata, "spec": {}, "status": status}
    bad = a_pod("z", "z").failed(3, ended=9).build()
    pods = {jobs[name_of("a")]["metadata"]["uid"]: [shown], jobs[name_of("z")]["metadata"]["uid"]: [bad]}
    return View(jobs=jobs, pods=pods, proven=frozenset(jobs))


def test_in_a_run_that_fails_the_next_step_of_a_pod_does_not_begin() -> None:
    begun = planned(forked(), [])
    assert created(begun) == [name_of("z"), name_of("a")]
    failing = planned(forked(), list(begun.rows), beside(begun, runs(1), WAITS), now=10)
    assert (failing.hold, failing.stop, failing.delete) == ((name_of("a"),), (), ()), "what is at work may end"
    again = planned(forked(), list(failing.rows), beside(begun, runs(1), WAITS, held=True), now=11)
    assert (again.hold, again.verdict) == ((), None), "it is told once"
    unsure = planned(forked(), list(again.rows), beside(begun, ran(1, 20), WAITS, held=True), now=21)
    assert (unsure.stop, unsure.rows[1].phase, unsure.rows[2].phase) == ((), Phase.SUCCEEDED, Phase.PENDING)
    assert (unsure.verdict, unsure.wake_at) == (None, EPOCH + 20 + GRACE), "it may have begun before, unheard of"
    certain = planned(forked(), list(unsure.rows), beside(begun, ran(1, 20), HELD_UP, held=True), now=32)
    assert (certain.stop, certain.verdict) == ((name_of("a"),), None)
    over = beside(begun, ran(1, 20), HELD_UP, held=True, phase="Failed")
    end = planned(forked(), list(certain.rows), over, now=33)
    assert told(end) == [("Failed", 1, True), ("Succeeded", 1, True), ("Skipped", 0, False)]
    assert (end.rows[2].reason, end.verdict) == ("UpstreamFailed", Phase.FAILED)


def test_a_step_that_had_begun_before_its_pod_was_held_runs_to_its_end() -> None:
    begun = planned(forked(), [])
    failing = planned(forked(), list(begun.rows), beside(begun, runs(1), WAITS), now=8)
    assert failing.hold == (name_of("a"),)
    late = planned(forked(), list(failing.rows), beside(begun, ran(1, 9), runs(9), held=True), now=12)
    assert (late.stop, told(late)[2]) == ((), ("Running", 1, True))
    end = planned(forked(), list(late.rows), beside(begun, ran(1, 9), ran(9, 20), held=True, phase="Succeeded"), now=21)
    assert (told(end)[2], end.verdict) == (("Succeeded", 1, True), Phase.FAILED)


def test_one_whose_node_does_not_answer_is_waited_for_and_no_longer() -> None:
    begun = planned(forked(), [])
    failing = planned(forked(), list(begun.rows), beside(begun, runs(1), WAITS), now=8)
    mute = beside(begun, ran(1, 9), WAITS, held=True)
    asked = planned(forked(), list(failing.rows), mute, now=9 + GRACE)
    assert asked.stop == (name_of("a"),)
    mute.pods[mute.jobs[name_of("a")]["metadata"]["uid"]][0]["spec"]["activeDeadlineSeconds"] = int(9 + GRACE)
    gone = planned(forked(), list(asked.rows), mute, now=9 + 2 * GRACE)
    assert (told(gone)[2], gone.delete) == (("Skipped", 0, False), (name_of("a"),))


@pytest.mark.parametrize("job", [True, False], ids=["its pod", "its Job"])
def test_one_that_is_held_back_and_whose_pod_vanishes_never_began(job: bool) -> None:
    begun = planned(forked(), [])
    failing = planned(forked(), list(begun.rows), beside(begun, runs(1), WAITS), now=8)
    held = planned(forked(), list(failing.rows), beside(begun, ran(1, 9), WAITS, held=True), now=10)
    assert told(held)[2] == ("Pending", 0, True)
    seen, a = beside(begun, ran(1, 9), WAITS, held=True), name_of("a")
    gone = replace(seen, pods={uid: pods for uid, pods in seen.pods.items() if uid != seen.jobs[a]["metadata"]["uid"]})
    if not job:
        gone = replace(gone, jobs={name: one for name, one in seen.jobs.items() if name != a})
    made = planned(forked(), list(held.rows), gone, now=12)
    assert (told(made)[2], made.verdict) == (("Skipped", 0, False), Phase.FAILED)


def test_in_a_run_that_is_suspended_the_next_step_begins_in_another_pod_once_it_goes_on() -> None:
    begun, asked = planned(pipeline(), []), Asked(suspend=True)
    made = turned(begun, view(begun, runs(1), WAITS, WAITS), now=4, asked=asked)
    assert (made.hold, made.stop) == ((name_of("a"),), ())
    made = turned(made, view(begun, ran(1, 5), HELD_UP, WAITS, held=True), now=20, asked=asked)
    assert made.stop == (name_of("a"),)
    made = turned(made, view(begun, ran(1, 5), HELD_UP, WAITS, held=True, phase="Failed"), now=22, asked=asked)
    assert told(made) == [("Succeeded", 1, True), ("Pending", 0, False), ("Pending", 0, False)]
    made = turned(made, View(), now=30)
    assert created(made) == [name_of("b")]
    assert told(made)[1:] == [("Running", 1, True), ("Pending", 0, True)]


def test_a_step_that_answers_the_failure_begins_in_its_pod_all_the_same() -> None:
    answering = a_pipeline().having(fuse="Auto").step("z")
    answering = answering.step("a", after=[{"step": "z", "on": "Completed"}]).step("b", needs=["a"])
    rows = list(planned(answering, []).rows)
    failed = planned(answering, rows, attempt_of("z", a_pod("z").failed(3)), now=10)
    assert created(failed) == [name_of("a")]
    (body,) = failed.create
    jobs = {name_of("a"): JobBuilder.of(body).build()}
    states = [{"name": "a", "imageID": "", "state": runs(11)}, {"name": "b", "imageID": "", "state": WAITS}]
    status = {"phase": "Pending", "startTime": at(10), "initContainerStatuses": states[:1]}
    shown = {"metadata": {"name": "ab", "uid": "p", "labels": {GOES_ON_LABEL: "params"}}, "spec": {}, "status": status}
    seen = View(jobs=jobs, pods={jobs[name_of("a")]["metadata"]["uid"]: [shown]})
    assert planned(answering, list(failed.rows), seen, now=12).hold == ()


def test_what_is_about_to_begin_is_not_held_for_it_counts_as_begun() -> None:
    begun = planned(forked(), [])
    failing = planned(forked(), list(begun.rows), beside(begun, ran(1, 9), WAITS), now=10)
    assert (failing.hold, told(failing)[2]) == ((), ("Running", 1, True))


def test_one_that_was_told_as_begun_while_its_pod_was_held_unheard_of_has_not_begun() -> None:
    begun, asked = planned(pipeline(), []), Asked(suspend=True)
    made = turned(begun, view(begun, ran(1, 5), WAITS, WAITS), now=6, asked=asked)
    assert (made.hold, told(made)[1]) == ((), ("Running", 1, True)), "the answer to the hold was lost, and it was late"
    made = turned(made, view(begun, ran(1, 5), HELD_UP, WAITS, held=True), now=20, asked=asked)
    assert (made.stop, told(made)[1]) == ((name_of("a"),), ("Pending", 0, True))
    made = turned(made, view(begun, ran(1, 5), HELD_UP, WAITS, held=True, phase="Failed"), now=22, asked=asked)
    assert told(made) == [("Succeeded", 1, True), ("Pending", 0, False), ("Pending", 0, False)]


def test_one_that_ran_when_its_node_was_lost_has_run_though_its_pod_was_held() -> None:
    begun, asked = planned(pipeline(), []), Asked(suspend=True)
    made = turned(begun, view(begun, ran(1, 5), runs(5), WAITS), now=6, asked=asked)
    assert made.hold == (name_of("a"),)
    lost = {"terminated": {"exitCode": 137, "reason": "ContainerStatusUnknown"}}
    made = turned(made, view(begun, ran(1, 5), lost, WAITS, held=True, phase="Failed"), now=20, asked=asked)
    assert (told(made)[1], made.rows[1].disruptions) == (("Waiting", 1, True), 1)


def test_the_next_attempt_waits_for_a_pod_in_which_a_step_behind_had_begun() -> None:
    retried = a_pipeline().having(fuse="Auto").step("a", retry={"limit": 1, "backoff": {"initial": "5s"}})
    retried = retried.step("b", needs=["a"])

    def next_after(made: Plan, seen: View, now: float) -> Plan:
        return planned(retried, [Row.from_status(row.to_status()) for row in made.rows], seen, now=now)

    begun = planned(retried, [])
    body = begun.create[0]
    job = JobBuilder.of(body).build()

    def seen(b: dict[str, Any], phase: str, **spec: Any) -> View:
        told = [{"name": "a", "imageID": "", "state": ran(1, 5, message="no JSON")}]
        last = [{"name": "b", "imageID": "", "state": b}]
        status = {"phase": phase, "startTime": at(0), "initContainerStatuses": told, "containerStatuses": last}
        meta = {"name": "ab", "uid": "p", "labels": {GOES_ON_LABEL: "params"}}
        pod = {"metadata": meta, "spec": spec, "status": status}
        return View(jobs={name_of("a"): job}, pods={job["metadata"]["uid"]: [pod]}, proven=frozenset({name_of("a")}))

    failed = next_after(begun, seen(runs(5), "Running"), 6)
    assert (told(failed)[0], failed.delete) == (("Waiting", 1, True), (name_of("a"),))
    ending = next_after(failed, seen(runs(5), "Running", activeDeadlineSeconds=6), 20)
    assert ending.create == (), "it has its time, and two at once would write in one place"
    after = next_after(ending, seen(ran(5, 21, 143), "Failed", activeDeadlineSeconds=6), 22)
    assert created(after) == [name_of("a", 2)]
    late = next_after(failed, seen(runs(5), "Running", activeDeadlineSeconds=6), 7 + 2 * GRACE)
    assert created(late) == [name_of("a", 2)], "but not for ever"


def test_pods_of_an_earlier_release_cannot_be_held_and_go_on() -> None:
    begun = planned(forked(), [])
    seen = beside(begun, runs(1), WAITS, held=True)
    seen.jobs[name_of("a")]["metadata"]["labels"].pop(GOES_ON_LABEL, None)
    failing = planned(forked(), list(begun.rows), seen, now=10)
    assert failing.hold == ()
    seen = beside(begun, ran(1, 20), NO_IMAGE, held=True)
    seen.jobs[name_of("a")]["metadata"]["labels"].pop(GOES_ON_LABEL, None)
    assert told(planned(forked(), list(failing.rows), seen, now=30))[2] == ("Waiting", 1, True)
