"""How long an attempt may run: the same for a step in a pod of its own, one of a fan-out, and one that shares a pod."""

from dataclasses import replace
from typing import Any

import pytest
from tests.builders import EPOCH, PipelineBuilder, PodBuilder, a_job, a_pipeline, a_pod, a_view
from tests.unit.core.planning import attempt_of, name_of, planned

from dataops_operator.api.run import Phase
from dataops_operator.core.plan import Plan
from dataops_operator.core.podends import GRACE
from dataops_operator.core.rows import Row
from dataops_operator.core.timeouts import SLACK

RETRY = {"limit": 1, "on": ["Infrastructure", "Deadline"], "backoff": {"initial": "10s"}}


def begun(**step: Any) -> tuple[PipelineBuilder, list[Row]]:
    """A pipeline of one step that may run for a minute, and the rows of a run whose pod has been made."""
    pipeline = a_pipeline().step("a", timeout="1m", **step)
    return pipeline, list(planned(pipeline, []).rows)


def turned(given: tuple[PipelineBuilder, list[Row]], *pods: PodBuilder, now: float, **view: Any) -> Plan:
    return planned(given[0], given[1], attempt_of("a", *pods, **view), now=now)


def test_its_time_begins_with_its_container_however_long_its_image_took() -> None:
    given = begun()
    for now in (100, 261):
        made = turned(given, a_pod().running(200), now=now)
        assert (made.stop, made.rows[0].phase) == ((), Phase.RUNNING)
    assert made.wake_at == EPOCH + 260 + SLACK
    late = turned(given, a_pod().running(200), now=260 + SLACK)
    assert (late.stop, late.delete) == ((name_of("a"),), ()), "its log stays"
    assert (late.rows[0].phase, late.rows[0].reason) == (Phase.RUNNING, "DeadlineExceeded")


def test_one_that_does_not_start_is_said_not_to_long_before_and_after_its_timeout() -> None:
    given = begun(startTimeout="5m")
    stuck = a_pod().waiting("ImagePullBackOff", "no such image")
    waits = turned(given, stuck, now=100)
    assert (waits.rows[0].phase, waits.rows[0].reason) == (Phase.WAITING, "ImageUnavailable")
    over = turned(given, stuck, now=301)
    assert (over.rows[0].phase, over.rows[0].reason) == (Phase.FAILED, "ImageUnavailable")
    assert over.rows[0].message == "did not start within 5m: no such image"


@pytest.mark.parametrize(
    ("pod", "phase", "reason"),
    [
        pytest.param(a_pod().failed(143, ended=63).out_of_time(61), "Waiting", "DeadlineExceeded", id="it was ended"),
        pytest.param(a_pod().succeeded(ended=60).out_of_time(60), "Succeeded", None, id="it had just ended by itself"),
        pytest.param(a_pod().failed(3, ended=60).out_of_time(60), "Failed", "Error", id="or failed by itself"),
        pytest.param(
            a_pod().succeeded(message='{"message": "x"}', ended=64).out_of_time(61),
            "Succeeded",
            None,
            id="it told its result in its grace period",
        ),
        pytest.param(a_pod().succeeded(ended=64).out_of_time(61), "Waiting", "DeadlineExceeded", id="or did not"),
    ],
)
def test_what_an_attempt_makes_of_its_end(pod: PodBuilder, phase: str, reason: str | None) -> None:
    given = begun(retry=RETRY)
    ending = turned(given, a_pod().running(), now=65)
    made = turned((given[0], list(ending.rows)), pod, now=66)
    assert (str(made.rows[0].phase), made.rows[0].reason) == (phase, reason)


def test_one_whose_node_does_not_answer_is_given_up_after_a_minute() -> None:
    given = begun(retry=RETRY)
    ending = turned(given, a_pod().running(), now=65)
    asked = a_pod().running().limited(62)
    pipeline, rows = given[0], list(ending.rows)
    waits = turned((pipeline, rows), asked, now=70)
    assert (waits.stop, waits.delete, waits.rows[0].phase) == ((), (), Phase.RUNNING)
    over = turned((pipeline, rows), asked, now=66 + GRACE)
    assert (over.rows[0].phase, over.rows[0].reason) == (Phase.WAITING, "DeadlineExceeded")
    assert over.delete == (name_of("a"),)


@pytest.mark.parametrize(
    ("ended", "reason"),
    [pytest.param(70, "DeadlineExceeded", id="its own"), pytest.param(40, "Disrupted", id="that of its start")],
)
def test_a_pod_that_was_out_of_time_while_nobody_looked_says_whose_time_that_was(ended: float, reason: str) -> None:
    given = begun(retry=RETRY)
    made = turned(given, a_pod().failed(143, ended=ended).out_of_time(int(ended) - 2), now=90)
    assert (made.rows[0].phase, made.rows[0].reason) == (Phase.WAITING, reason)
    assert made.rows[0].disruptions == (1 if reason == "Disrupted" else 0)


def test_an_item_of_a_fan_out_has_the_same_time() -> None:
    pipeline = a_pipeline().step("a", timeout="1m", forEach={"range": {"from": 1, "to": 2}})
    first = planned(pipeline, [])
    assert len(first.create) == 2
    jobs = [a_job(job["metadata"]["name"]) for job in first.create]
    view = a_view((jobs[0], [a_pod("a", "p1").running(10)]), (jobs[1], [a_pod("a", "p2").running(30)]))
    made = planned(pipeline, list(first.rows), view, now=75)
    assert made.stop == (first.create[0]["metadata"]["name"],)
    assert made.rows[0].phase is Phase.RUNNING
    assert replace(made.rows[0], items=None) == replace(first.rows[0], items=None)
