import json
from typing import Any

import pytest
from tests.builders import JobBuilder, PodBuilder, a_job, a_pod, a_step, at

from dataops_operator.api.conditions import Reason
from dataops_operator.api.step import FailureClass, Step
from dataops_operator.core.jobs import RESULT_LIMIT
from dataops_operator.core.observe import Observation, State, job_condition, observe

PLAIN = a_step()
ROWS = a_step(outputs=[{"name": "rows", "type": "Integer"}])


def seen(step: Step, job: JobBuilder | None, *pods: PodBuilder, proven: bool = True) -> Observation:
    return observe(step, job.build() if job else None, [pod.build() for pod in pods], proven=proven)


@pytest.mark.parametrize(
    ("job", "pods"),
    [
        pytest.param(a_job(), [a_pod().succeeded()], id="its pod succeeded, before the Job says so"),
        pytest.param(a_job().complete(), [a_pod().succeeded()], id="both say so"),
        pytest.param(None, [a_pod().succeeded()], id="though the Job is gone"),
        pytest.param(a_job().complete(), [], id="the Job is complete and its pod gone, where no outputs are declared"),
        pytest.param(a_job(), [a_pod(name="p1").failed(), a_pod(name="p2").succeeded()], id="a replacement succeeded"),
        pytest.param(
            a_job().failed("DeadlineExceeded"), [a_pod().succeeded()], id="the pod succeeded, whatever the Job says"
        ),
        pytest.param(
            a_job(),
            [a_pod().succeeded(message='{"message": "x"}').disrupted()],
            id="a drained pod that wrote its result",
        ),
    ],
)
def test_an_attempt_has_succeeded_when(job: JobBuilder | None, pods: list[PodBuilder]) -> None:
    for proven in (True, False):
        assert seen(PLAIN, job, *pods, proven=proven).state is State.SUCCEEDED, "good news needs no proof"


def test_a_success_carries_what_the_pod_showed() -> None:
    pod = a_pod().succeeded(message='{"outputs": {"rows": 7}, "message": "fine"}', began=3, ended=8)
    assert seen(ROWS, a_job(), pod) == Observation(
        State.SUCCEEDED,
        message="fine",
        started=True,
        started_at=at(3),
        finished_at=at(8),
        image="registry/img@sha256:abc",
        exit_code=0,
        outputs={"rows": 7},
    )


TOO_LARGE = json.dumps({"outputs": {"rows": 7}, "x": "x" * 9000})[:RESULT_LIMIT]
F = FailureClass
FAILURES: list[Any] = [
    pytest.param(
        PLAIN,
        a_job(),
        [a_pod().failed(3)],
        F.FAILURE,
        Reason.ERROR,
        "exit code 3; see: kubectl logs pod",
        id="it exits with a code",
    ),
    pytest.param(
        PLAIN,
        a_job(),
        [a_pod().failed(1, message='{"message": "no data"}')],
        F.FAILURE,
        Reason.ERROR,
        "exit code 1: no data",
        id="and says why",
    ),
    pytest.param(
        PLAIN,
        a_job(),
        [a_pod().failed(143)],
        F.FAILURE,
        Reason.ERROR,
        "exit code 143",
        id="a signal that nobody explains",
    ),
    pytest.param(
        ROWS,
        a_job(),
        [a_pod().succeeded()],
        F.FAILURE,
        Reason.MISSING_OUTPUT,
        "no output 'rows'",
        id="it exits with 0 without its output",
    ),
    pytest.param(
        ROWS,
        a_job(),
        [a_pod().succeeded({"rows": "many"})],
        F.FAILURE,
        Reason.INVALID_RESULT,
        "whole number",
        id="an output of another type",
    ),
    pytest.param(
        PLAIN,
        a_job(),
        [a_pod().succeeded(message="done!")],
        F.FAILURE,
        Reason.INVALID_RESULT,
        "not JSON",
        id="junk for a result",
    ),
    pytest.param(
        ROWS,
        a_job(),
        [a_pod().succeeded(message=TOO_LARGE)],
        F.FAILURE,
        Reason.RESULT_TOO_LARGE,
        "4096 bytes",
        id="more than the platform keeps",
    ),
    pytest.param(
        PLAIN,
        a_job(),
        [a_pod().succeeded().disrupted()],
        F.INFRASTRUCTURE,
        Reason.DISRUPTED,
        "disrupted: EvictionByEvictionAPI",
        id="a drained pod that exits with 0 and no result",
    ),
    pytest.param(
        ROWS,
        a_job(),
        [a_pod().succeeded({}).disrupted()],
        F.INFRASTRUCTURE,
        Reason.DISRUPTED,
        "disrupted",
        id="a drained pod without its output",
    ),
    pytest.param(
        PLAIN,
        a_job(),
        [a_pod().failed(143).disrupted("PreemptionByScheduler", "for a greater one")],
        F.INFRASTRUCTURE,
        Reason.DISRUPTED,
        "disrupted: PreemptionByScheduler: for a greater one",
        id="a preempted pod",
    ),
    pytest.param(
        PLAIN,
        a_job(),
        [a_pod().failed(9).deleted()],
        F.INFRASTRUCTURE,
        Reason.DISRUPTED,
        "the pod was deleted",
        id="a pod that somebody deletes, whatever code its process gives then",
    ),
    pytest.param(
        PLAIN,
        a_job(),
        [a_pod().gone_bad("Evicted", "low on memory")],
        F.INFRASTRUCTURE,
        Reason.DISRUPTED,
        "Evicted: low on memory",
        id="an evicted pod",
    ),
    pytest.param(
        PLAIN,
        a_job(),
        [a_pod().running().gone_bad().disrupted("DeletionByPodGC")],
        F.INFRASTRUCTURE,
        Reason.DISRUPTED,
        "DeletionByPodGC",
        id="its node is gone, and its container seems to run",
    ),
    pytest.param(
        PLAIN,
        a_job(),
        [a_pod().failed(255, reason="Unknown")],
        F.INFRASTRUCTURE,
        Reason.DISRUPTED,
        "its node died or started anew while it ran (Unknown)",
        id="its node died, and the runtime found no process of it when it came back",
    ),
    pytest.param(
        PLAIN,
        a_job(),
        [a_pod().failed(137, reason="ContainerStatusUnknown", message="The container could not be located")],
        F.INFRASTRUCTURE,
        Reason.DISRUPTED,
        "its node died or started anew while it ran (ContainerStatusUnknown)",
        id="its node died, and the kubelet found no container of it when it came back",
    ),
    pytest.param(
        PLAIN,
        a_job(),
        [a_pod().failed(255)],
        F.FAILURE,
        Reason.ERROR,
        "exit code 255",
        id="it exits with the code that a runtime gives for what it does not know",
    ),
    pytest.param(
        PLAIN,
        a_job(),
        [a_pod().running().gone_bad()],
        F.INFRASTRUCTURE,
        Reason.DISRUPTED,
        "without a word",
        id="the pod failed without a word",
    ),
    pytest.param(
        PLAIN,
        a_job(),
        [a_pod().gone_bad("UnexpectedAdmissionError", "no device")],
        F.INFRASTRUCTURE,
        Reason.DISRUPTED,
        "UnexpectedAdmissionError: no device",
        id="the kubelet would not take it",
    ),
    pytest.param(
        PLAIN,
        a_job(),
        [a_pod().failed(137, reason="OOMKilled")],
        F.OUT_OF_MEMORY,
        Reason.OUT_OF_MEMORY,
        "raise resources.limits.memory",
        id="it used too much memory",
    ),
    pytest.param(
        PLAIN,
        a_job(),
        [a_pod().failed(143, ended=62).out_of_time(60)],
        F.DEADLINE,
        Reason.DEADLINE_EXCEEDED,
        "longer than its timeout of 60s",
        id="it ran too long",
    ),
    pytest.param(
        PLAIN,
        a_job(),
        [a_pod().failed(128, reason="StartError", message="exec: no such file")],
        F.START,
        Reason.CONTAINER_CONFIG,
        "could not start: exec: no such file",
        id="its program does not exist",
    ),
    pytest.param(
        PLAIN,
        None,
        [],
        F.INFRASTRUCTURE,
        Reason.JOB_DELETED,
        "deleted before its end was seen",
        id="its Job was deleted",
    ),
    pytest.param(
        ROWS,
        a_job().complete(),
        [],
        F.INFRASTRUCTURE,
        Reason.POD_LOST,
        "outputs it declared are gone",
        id="complete, but its outputs are gone with its pod",
    ),
    pytest.param(
        PLAIN,
        a_job().failed("BackoffLimitExceeded", "too many"),
        [],
        F.INFRASTRUCTURE,
        Reason.POD_LOST,
        "the Job says: BackoffLimitExceeded: too many",
        id="the Job failed and its pod is gone",
    ),
]


@pytest.mark.parametrize(("step", "job", "pods", "failure", "reason", "message"), FAILURES)
def test_an_attempt_has_failed_when(
    step: Step, job: JobBuilder | None, pods: list[PodBuilder], failure: FailureClass, reason: Reason, message: str
) -> None:
    found = seen(step, job, *pods)
    assert (found.state, found.failure, found.reason) == (State.FAILED, failure, reason)
    assert message in found.message
    assert seen(step, job, *pods, proven=False) == Observation(State.UNPROVEN), "bad news from a cache is not believed"


def in_time(message: str = "", ended: float = 45) -> PodBuilder:
    """A pod that began after 2 s, was asked to end after 42 s, and whose container exited with 0."""
    return a_pod().succeeded(message=message, ended=ended).out_of_time(40)


@pytest.mark.parametrize(
    ("pod", "state"),
    [
        pytest.param(in_time('{"message": "x"}'), State.SUCCEEDED, id="it told its result in the time it was given"),
        pytest.param(in_time(), State.FAILED, id="it exited with 0 and told nothing: it was in the middle"),
        pytest.param(in_time("{junk"), State.FAILED, id="or nothing of sense"),
        pytest.param(in_time(ended=41), State.SUCCEEDED, id="it had ended by itself before"),
        pytest.param(a_pod().failed(143, ended=45).out_of_time(40), State.FAILED, id="it ended by the signal"),
        pytest.param(a_pod().running().out_of_time(40), State.ACTIVE, id="how it ended is not told yet"),
        pytest.param(a_pod().running().limited(40), State.ACTIVE, id="it is ending"),
    ],
)
def test_what_a_container_makes_of_its_pods_end_counts(pod: PodBuilder, state: State) -> None:
    found = seen(PLAIN, a_job(), pod)
    assert found.state is state
    if state is State.ACTIVE:
        assert (found.started, found.finished_at) == (True, None)


@pytest.mark.parametrize(
    "pod", [in_time('{"message": "x"}'), in_time(), in_time(ended=41), a_pod().running().out_of_time(40)]
)
def test_it_does_not_in_an_item_of_an_indexed_job_whose_controller_goes_by_the_pod(pod: PodBuilder) -> None:
    found = observe(PLAIN, a_job().build(), [pod.build()], proven=True, whole=True)
    assert (found.state, found.failure, found.reason) == (State.FAILED, F.DEADLINE, Reason.DEADLINE_EXCEEDED)


@pytest.mark.parametrize(
    ("pod", "failure", "reason", "text"),
    [
        pytest.param(a_pod().failed(3, ended=41).out_of_time(40), F.FAILURE, Reason.ERROR, "exit code 3", id="before"),
        pytest.param(a_pod().out_of_time(40), F.START, Reason.NOT_STARTED, "had started", id="it never began"),
        pytest.param(
            a_pod().waiting("ImagePullBackOff", "no such image").out_of_time(40),
            F.START,
            Reason.IMAGE_UNAVAILABLE,
            "had started: no such image",
            id="it could not",
        ),
    ],
)
def test_a_step_is_not_blamed_for_running_too_long_that_did_not_run_then(
    pod: PodBuilder, failure: FailureClass, reason: Reason, text: str
) -> None:
    for whole in (True, False):
        found = observe(PLAIN, a_job().build(), [pod.build()], proven=True, whole=whole)
        assert (found.state, found.failure, found.reason) == (State.FAILED, failure, reason)
        assert text in found.message


@pytest.mark.parametrize(
    ("before", "state"),
    [
        pytest.param(in_time(), State.FAILED, id="told to end, it exited with 0 in the middle"),
        pytest.param(in_time('{"message": "x"}'), State.SUCCEEDED, id="or told its result"),
        pytest.param(in_time(ended=41), State.SUCCEEDED, id="it had ended, and the next had not begun yet"),
    ],
)
def test_a_step_that_shares_a_pod_which_is_out_of_time(before: PodBuilder, state: State) -> None:
    pod = before.build()
    status = pod["status"]
    behind = {"name": "b", "state": {"waiting": {"reason": "PodInitializing"}}}
    status |= {"initContainerStatuses": status["containerStatuses"], "containerStatuses": [behind]}
    found = observe(PLAIN, a_job().build(), [pod], proven=True, then=a_step("b"))
    assert (found.state, found.failure) == (state, F.DEADLINE if state is State.FAILED else None)


@pytest.mark.parametrize(
    ("job", "pods", "reason", "started"),
    [
        pytest.param(a_job(), [], None, False, id="the Job has no pod yet"),
        pytest.param(a_job().failing(), [], None, False, id="the Job will fail, and has not yet"),
        pytest.param(a_job(), [a_pod()], None, False, id="its pod is new"),
        pytest.param(a_job(), [a_pod().running()], None, True, id="its container runs"),
        pytest.param(a_job(), [a_pod().waiting("ContainerCreating")], None, False, id="its container is made"),
        pytest.param(
            a_job(), [a_pod().waiting("ImagePullBackOff", "x")], Reason.IMAGE_UNAVAILABLE, False, id="no image"
        ),
        pytest.param(
            a_job(), [a_pod().waiting("ErrImagePull")], Reason.IMAGE_UNAVAILABLE, False, id="no image at once"
        ),
        pytest.param(
            a_job(), [a_pod().waiting("InvalidImageName")], Reason.IMAGE_UNAVAILABLE, False, id="no such name"
        ),
        pytest.param(
            a_job(),
            [a_pod().waiting("CreateContainerConfigError", "x")],
            Reason.CONTAINER_CONFIG,
            False,
            id="no Secret",
        ),
        pytest.param(a_job(), [a_pod().unschedulable()], Reason.UNSCHEDULABLE, False, id="no node takes it"),
        pytest.param(
            a_job(), [a_pod(name="p1").failed(), a_pod(name="p2").running()], None, True, id="a replacement runs"
        ),
        pytest.param(a_job(), [a_pod().running().disrupted()], None, True, id="it is being drained, and has not ended"),
    ],
)
def test_an_attempt_is_under_way_when(
    job: JobBuilder, pods: list[PodBuilder], reason: Reason | None, started: bool
) -> None:
    for proven in (True, False):
        found = seen(PLAIN, job, *pods, proven=proven)
        assert (found.state, found.reason, found.started) == (State.ACTIVE, reason, started)
        assert found.finished_at is None


@pytest.mark.parametrize(
    ("pod", "message"),
    [
        (a_pod().waiting("ImagePullBackOff", "Back-off pulling img"), "Back-off pulling img"),
        (a_pod().waiting("ImagePullBackOff"), "ImagePullBackOff"),
        (a_pod().unschedulable("0/3 nodes"), "0/3 nodes"),
        (a_pod().waiting("ErrImagePull", "x" * 900), "x" * 399 + "…"),
    ],
)
def test_what_keeps_a_pod_from_starting_is_told_in_its_own_words(pod: PodBuilder, message: str) -> None:
    assert seen(PLAIN, a_job(), pod).message == message


def test_a_step_reads_its_own_container_among_those_of_a_stage() -> None:
    status = a_pod("b").succeeded().body["status"]
    status["initContainerStatuses"] = a_pod("a").succeeded({"rows": 7}).body["status"]["containerStatuses"]
    pod = {"metadata": {"name": "pod"}, "spec": {}, "status": status}
    assert observe(ROWS, a_job().build(), [pod], proven=True).outputs == {"rows": 7}


def test_only_complete_and_failed_are_a_jobs_end() -> None:
    assert job_condition(a_job().build()) is None
    assert job_condition(a_job().failing().build()) is None
    for job, type_ in ((a_job().complete(), "Complete"), (a_job().failing().failed(), "Failed")):
        condition = job_condition(job.build())
        assert condition is not None
        assert condition["type"] == type_
    withdrawn = {"status": {"conditions": [{"type": "Complete", "status": "False"}]}}
    assert job_condition(withdrawn) is None


def test_of_a_lost_pod_the_job_tells_the_times() -> None:
    found = seen(PLAIN, a_job(created=5).complete(seconds=50))
    assert (found.started_at, found.finished_at) == (at(5), at(50))


def behind_another(pod: PodBuilder) -> dict[str, Any]:
    """The pod, as of a step behind another one that shares it and has ended well."""
    built = pod.build()
    done = {"exitCode": 0, "startedAt": at(2), "finishedAt": at(5)}
    built["status"]["initContainerStatuses"] = [{"name": "before", "state": {"terminated": done}}]
    return built


def test_a_failure_names_the_log_in_which_it_can_be_read() -> None:
    alone = seen(PLAIN, a_job(), a_pod().failed(3))
    shared = observe(PLAIN, a_job().build(), [behind_another(a_pod().failed(3))], proven=True)
    name = a_pod().build()["metadata"]["name"]
    assert alone.message.endswith(f"kubectl logs {name}")
    assert shared.message.endswith(f"kubectl logs {name} -c a")


def test_a_container_whose_program_there_is_not_has_not_started_before_all_time() -> None:
    pod = a_pod().failed(128, reason="StartError").build()
    (container,) = pod["status"]["containerStatuses"]
    container["state"]["terminated"]["startedAt"] = "1970-01-01T00:00:00Z"
    found = observe(PLAIN, a_job().build(), [pod], proven=True)
    assert (found.state, found.started_at) == (State.FAILED, pod["status"]["startTime"])
    pod["status"]["initContainerStatuses"] = behind_another(a_pod())["status"]["initContainerStatuses"]
    assert observe(PLAIN, a_job().build(), [pod], proven=True).started_at is None, "its turn came later"
