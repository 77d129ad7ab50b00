"""How the pods of a Job are ended: by a deadline where something of them has begun, else with their Job."""

from typing import Any

import pytest
from tests.builders import EPOCH, JobBuilder, PodBuilder, a_job, a_pod, at

from dataops_operator.core.indexedjobs import tally
from dataops_operator.core.podends import GRACE, Orders, given_until, orders


def told(job: JobBuilder, *pods: PodBuilder, now: float = 60) -> tuple[dict[str, int], bool, float | None]:
    """The deadlines by pod, whether the Job goes, and until when there is time."""
    body, built = job.build(), [pod.build() for pod in pods]
    made, until = orders(body, built, EPOCH + now), given_until(body, built, EPOCH + now)
    assert until is None or made == Orders(), "what is ending gets no orders"
    asked = {pod["metadata"]["name"]: seconds for pod, seconds in made.deadlines}
    return asked, made.delete, None if until is None else until - EPOCH


def an_indexed_job() -> JobBuilder:
    job = a_job()
    job.body["status"]["indexes"] = tally({"spec": {"completions": 2}})
    return job


def init_runs(pod: PodBuilder) -> PodBuilder:
    """The first of several containers runs, so that the pod's phase is Pending."""
    states = pod.running().body["status"]
    states |= {"phase": "Pending", "initContainerStatuses": states.pop("containerStatuses")}
    return pod


DELETED: Any = ({}, True, None)
LET_BE: Any = ({}, False, None)


@pytest.mark.parametrize(
    ("job", "pods", "expected"),
    [
        pytest.param(a_job(), [a_pod().running()], ({"pod": 58}, False, None), id="it runs: its time is over now"),
        pytest.param(a_job(), [init_runs(a_pod())], ({"pod": 58}, False, None), id="its first container runs"),
        pytest.param(a_job(), [a_pod().running().limited(600)], ({"pod": 58}, False, None), id="it had longer"),
        pytest.param(a_job(), [a_pod().running(began=60)], ({"pod": 1}, False, None), id="it has just begun"),
        pytest.param(a_job(), [a_pod().running(began=90)], ({"pod": 1}, False, None), id="its node's clock is ahead"),
        pytest.param(a_job(), [a_pod().running().limited(58)], ({}, False, 60 + GRACE), id="it was asked to end"),
        pytest.param(a_job(), [a_pod().running().limited(9)], ({}, False, 11 + GRACE), id="a while ago"),
        pytest.param(a_job(), [a_pod().running().limited(1)], ({}, False, 3 + GRACE), id="as soon as it had begun"),
        pytest.param(a_job(), [a_pod().running(60).limited(1)], ({}, False, 60 + GRACE), id="in this very second"),
        pytest.param(a_job(), [a_pod().running().out_of_time(9)], ({}, False, 11 + GRACE), id="it is over, not how"),
        pytest.param(a_job(), [a_pod().running(90).out_of_time(9)], ({}, False, 60 + GRACE), id="by another clock"),
        pytest.param(a_job(), [a_pod().succeeded()], LET_BE, id="it has ended"),
        pytest.param(a_job(), [a_pod().failed()], LET_BE, id="it has failed"),
        pytest.param(a_job(), [], DELETED, id="there is none, and may be any moment"),
        pytest.param(a_job(), [a_pod()], DELETED, id="it is new"),
        pytest.param(a_job(), [a_pod().limited(9)], DELETED, id="no kubelet has it, so nobody counts its time"),
        pytest.param(a_job(), [a_pod().unschedulable()], DELETED, id="no node takes it"),
        pytest.param(a_job(), [a_pod().waiting("ImagePullBackOff")], DELETED, id="its image is not there"),
        pytest.param(a_job(), [a_pod().running().deleted()], DELETED, id="it is being drained: its log goes anyway"),
        pytest.param(a_job(), [a_pod(name="p1").failed(), a_pod().running()], ({"pod": 58}, False, None), id="another"),
        pytest.param(
            a_job(),
            [a_pod(name="p1").running().limited(9), a_pod().running()],
            ({"pod": 58}, False, None),
            id="one was",
        ),
        pytest.param(a_job(), [a_pod(name="p1").running(), a_pod()], DELETED, id="one of two has not begun"),
        pytest.param(a_job().deleting(), [a_pod().running()], ({}, False, 60 + GRACE), id="its Job is going"),
        pytest.param(a_job().deleting(), [], ({}, False, 60 + GRACE), id="its Job is going, and its pod gone"),
        pytest.param(an_indexed_job(), [a_pod().running()], DELETED, id="a pod of an Indexed Job would be made anew"),
        pytest.param(an_indexed_job(), [a_pod().running().limited(9)], DELETED, id="even if its own time is over"),
        pytest.param(an_indexed_job(), [a_pod().failed()], DELETED, id="or has failed, between two attempts"),
    ],
)
def test_what_ends_a_job(job: JobBuilder, pods: list[PodBuilder], expected: Any) -> None:
    assert told(job, *pods) == expected


def test_a_pod_that_was_given_its_deadline_is_ending_from_then_on() -> None:
    pod = a_pod().running(began=2).build()
    for asked in (3.0, 10.5, 10.99, 4000):
        ((_, seconds),) = orders(a_job().build(), [pod], EPOCH + asked).deadlines
        after = {**pod, "spec": {"activeDeadlineSeconds": seconds}}
        for now in (asked, asked + 0.2, asked + 50):
            until = given_until(a_job().build(), [after], EPOCH + now)
            assert until is not None
            assert asked + GRACE - 1 < until - EPOCH <= asked + GRACE
        assert pod["status"]["startTime"] == at(2)
