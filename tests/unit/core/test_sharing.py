"""A pod that three steps share: what each state of it makes of their rows, and what is done then."""

from typing import Any

import orjson
import pytest
from tests.builders import EPOCH, JobBuilder, PipelineBuilder, a_pipeline, at
from tests.unit.core.planning import created, name_of, planned

from dataops_operator.api.run import Cancel, Phase
from dataops_operator.core.plan import Asked, Plan, View
from dataops_operator.core.rows import Row

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
) -> View:
    """The Job of the stage with its pod's containers in these states; `job`: more of its metadata."""
    name = name_of("a")
    (body,) = made.create
    built = JobBuilder.of(body).build()
    built["metadata"] |= job or {}
    assert built["metadata"]["labels"]["dataops.dev/stage"] == "3"
    told = [{"name": one, "imageID": "", "state": state} for one, state in zip("abc", states, strict=True)]
    status: dict[str, Any] = {"phase": phase, "initContainerStatuses": told[:-1], "containerStatuses": told[-1:]}
    status["conditions"] = conditions or []
    shown = {"metadata": {"name": f"{name}-pod", "uid": "p"}, "spec": {}, "status": status}
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
    assert (early.stop, early.wake_at) == ((), EPOCH + 125)
    late = turned(early, rest, now=126)
    assert (late.stop, late.rows[1].reason) == ((name_of("a"),), "DeadlineExceeded")
    leaving = {"deletionTimestamp": at(126)}
    ending = turned(late, view(begun, ran(1, 5), runs(5), WAITS, job=leaving), now=140)
    assert (ending.stop, ending.rows[1].phase) == ((), Phase.RUNNING)
    ended = turned(late, View(proven=frozenset({name_of("a")})), now=150)
    assert (ended.rows[1].phase, ended.rows[1].reason) == (Phase.WAITING, "DeadlineExceeded")
    assert ended.rows[1].disruptions == 0
    given_up = turned(late, view(begun, ran(1, 5), runs(5), WAITS, job=leaving), now=190)
    assert (given_up.rows[1].phase, given_up.rows[1].reason) == (Phase.WAITING, "DeadlineExceeded")


def test_a_pod_has_the_time_of_all_its_steps_where_each_has_one() -> None:
    (job,) = planned(pipeline(defaults={"timeout": "1m", "image": "img"}), []).create
    assert job["spec"]["template"]["spec"]["activeDeadlineSeconds"] == 60 + 120 + 60


def test_the_time_to_start_is_counted_from_the_end_of_the_step_before() -> None:
    begun = planned(pipeline(), [])
    stuck = view(begun, ran(1, 200), NO_IMAGE, WAITS)
    waits = turned(begun, stuck, now=250)
    assert (waits.rows[1].phase, waits.wake_at) == (Phase.WAITING, EPOCH + 500)
    over = turned(waits, stuck, now=501)
    assert (over.rows[1].phase, over.rows[1].reason) == (Phase.FAILED, "ImageUnavailable")
    assert over.delete == (name_of("a"),)


@pytest.mark.parametrize("how", list(Cancel))
def test_a_cancelled_stage_ends_what_runs_and_skips_what_never_began(how: Cancel) -> None:
    begun = planned(pipeline(), [])
    made = turned(begun, view(begun, runs(1), WAITS, WAITS), asked=Asked(how))
    if how is Cancel.IMMEDIATE:
        assert [str(row.phase) for row in made.rows] == ["Cancelled", "Skipped", "Skipped"]
        return
    assert made.stop == (name_of("a"),), "once, though three steps share it"
    assert [str(row.phase) for row in made.rows] == ["Running", "Pending", "Pending"]
    end = turned(made, View(proven=frozenset({name_of("a")})), asked=Asked(how))
    assert [str(row.phase) for row in end.rows] == ["Cancelled", "Skipped", "Skipped"]
    assert end.verdict is Phase.CANCELLED


def test_a_job_that_the_status_has_not_heard_of_is_taken_up_with_all_its_steps() -> None:
    begun = planned(pipeline(), [])
    made = planned(pipeline(), [], view(begun, ran(1, 5), runs(5), WAITS), now=60)
    assert told(made) == [("Succeeded", 1, True), ("Running", 1, True), ("Pending", 0, True)]
    assert not made.create


def test_a_step_behind_whose_templates_cannot_be_filled_in_fails_in_its_own_turn() -> None:
    given = a_pipeline().having(fuse="Auto", parameters=[{"name": "o", "type": "Object", "default": {}}])
    given = given.step("a").step("b", needs=["a"], args=["$(params.o.none)"])
    (job,) = planned(given, []).create
    assert "initContainers" not in job["spec"]["template"]["spec"]
    assert "dataops.dev/stage" not in job["metadata"]["labels"]
