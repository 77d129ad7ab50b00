from dataclasses import replace

import pytest
from tests.builders import EPOCH, JobBuilder, PodBuilder, a_job, a_pipeline, a_pod, a_run, a_view, at
from tests.unit.core.planning import attempt_of, created, done, inputs_of, name_of, pending, phases, planned, running

from dataops_operator.api.conditions import Reason
from dataops_operator.api.run import Phase
from dataops_operator.core.attempts import ended_well, overstayed, refusal
from dataops_operator.core.names import workspace_claim_name
from dataops_operator.core.outputs import OUTPUTS_LIMIT, bounded
from dataops_operator.core.plan import Plan, Refusal, View
from dataops_operator.core.planner import plan
from dataops_operator.core.progress import BACKLOG_PATIENCE, NO_POD_PATIENCE
from dataops_operator.core.rows import Row

pytestmark = pytest.mark.usefixtures("both_modes")

DIAMOND = a_pipeline().step("a").step("b", needs=["a"]).step("c", needs=["a"]).step("d", needs=["b", "c"])
RETRYING = a_pipeline().step("a", retry={"limit": 2, "backoff": {"initial": "10s", "factor": 3, "max": "20s"}})


# What begins when.


@pytest.mark.parametrize(
    ("rows", "begun"),
    [
        pytest.param([], ["a"], id="a new run begins with the steps that need nothing"),
        pytest.param(
            [done("a"), *pending("b", "c", "d")], ["b", "c"], id="both branches once their step has succeeded"
        ),
        pytest.param([done("a"), done("b"), *pending("c", "d")], ["c"], id="the join waits for both"),
        pytest.param([done("a"), done("b"), done("c"), *pending("d")], ["d"], id="and begins when both have succeeded"),
    ],
)
def test_steps_begin_once_what_they_need_has_succeeded(rows: list[Row], begun: list[str]) -> None:
    made = planned(DIAMOND, rows)
    assert created(made) == [name_of(step) for step in begun]
    for row in made.rows:
        if row.name in begun:
            assert row == Row(row.name, Phase.RUNNING, attempt=1, started_at=at(0), job=name_of(row.name))
    assert made.verdict is None


def test_the_end_of_a_pod_moves_the_run_on_before_the_job_says_anything() -> None:
    rows = [running("a"), *pending("b", "c", "d")]
    made = planned(DIAMOND, rows, attempt_of("a", a_pod("a").succeeded(began=2, ended=9), proven=False))
    assert phases(made) == ["Succeeded", "Running", "Running", "Pending"]
    assert (made.rows[0].started_at, made.rows[0].finished_at) == (at(2), at(9))
    assert created(made) == [name_of("b"), name_of("c")]


def test_outputs_reach_the_step_that_uses_them() -> None:
    pipeline = a_pipeline().step("a", outputs=[{"name": "n"}]).step("b", args=["$(steps.a.outputs.n)"])
    made = planned(pipeline, [done("a", n="seven"), *pending("b")])
    (job,) = made.create
    assert job["spec"]["template"]["spec"]["containers"][0]["args"] == ["seven"]


def test_all_steps_done_is_a_verdict_and_nothing_more() -> None:
    made = planned(DIAMOND, [done(step) for step in "abcd"])
    assert made == Plan(tuple(done(step) for step in "abcd"), verdict=Phase.SUCCEEDED)


# Crashes: what the Jobs know and the status does not.


def test_a_job_that_the_status_has_not_heard_of_is_taken_up() -> None:
    made = planned(DIAMOND, [], attempt_of("a", created=3, proven=False), now=4)
    assert not made.create
    assert made.rows[0] == Row("a", Phase.RUNNING, attempt=1, started_at=at(3), job=name_of("a"))


def test_a_second_attempt_that_the_status_has_not_heard_of_is_taken_up() -> None:
    waiting = replace(running("a"), phase=Phase.WAITING, reason="Error", finished_at=at(9), retry_at=at(19))
    made = planned(RETRYING, [waiting], attempt_of("a", attempt=2, created=19), now=20)
    assert not made.create
    assert made.rows == (Row("a", Phase.RUNNING, attempt=2, started_at=at(19), job=name_of("a", 2)),)


def test_a_later_attempt_counts_even_where_the_one_before_seems_under_way() -> None:
    view = a_view((a_job(name_of("a", 1)), []), (a_job(name_of("a", 2), 5), []), (a_job(name_of("a", 3), 8), []))
    made = planned(RETRYING, [running("a")], view, now=9)
    assert made.rows == (Row("a", Phase.RUNNING, attempt=3, started_at=at(8), job=name_of("a", 3)),)
    assert not made.create
    assert made.delete == (name_of("a", 1), name_of("a", 2)), "what was given up must not go on"


# Failures.


def test_bad_news_is_proven_before_anything_is_done() -> None:
    pipeline = a_pipeline().step("a").step("x")
    made = planned(pipeline, [running("a")], attempt_of("a", a_pod("a").failed(), proven=False))
    assert made.prove == (name_of("a"),)
    assert not made.create, "the other step waits for the proof as well"
    assert made.rows[0] == running("a")


def test_a_failed_step_ends_the_run_once_what_runs_has_ended() -> None:
    pipeline = a_pipeline().step("a").step("b").step("c", needs=["a"]).step("d")
    rows = [running("a"), running("b"), *pending("c"), done("d")]
    view = a_view(
        (a_job(name_of("a")), [a_pod("a").failed(3)]),
        (a_job(name_of("b")), [a_pod("b").running()]),
        proven=frozenset({name_of("a")}),
    )
    made = planned(pipeline, rows, view)
    assert phases(made) == ["Failed", "Running", "Skipped", "Succeeded"]
    assert (made.rows[2].reason, made.rows[2].message) == (Reason.UPSTREAM_FAILED, "not run, since step a failed")
    assert (made.verdict, made.create, made.delete) == (None, (), ())
    last = plan(inputs_of(pipeline), made.rows, attempt_of("b", a_pod("b").succeeded()), EPOCH)
    assert phases(last) == ["Failed", "Succeeded", "Skipped", "Succeeded"]
    assert last.verdict is Phase.FAILED


def test_a_step_that_waits_for_its_next_attempt_is_given_up_when_another_has_failed() -> None:
    waiting = replace(
        running("a"), phase=Phase.WAITING, reason="Error", message="exit code 1", finished_at=at(9), retry_at=at(99)
    )
    failed = Row("b", Phase.FAILED, "Error", "exit code 2", 1)
    made = planned(a_pipeline().step("a").step("b"), [waiting, failed])
    assert made.rows[0] == replace(waiting, phase=Phase.FAILED, retry_at=None)
    assert made.verdict is Phase.FAILED


@pytest.mark.parametrize(
    ("attempt", "phase"),
    [
        pytest.param(1, Phase.SKIPPED, id="never ran where its first attempt was refused"),
        pytest.param(2, Phase.FAILED, id="has failed where an earlier attempt had run"),
    ],
)
def test_a_refused_step_beside_a_failed_one(attempt: int, phase: Phase) -> None:
    refused = Row("a", Phase.WAITING, "QuotaExceeded", "no room", attempt, at(0))
    made = planned(
        a_pipeline().step("a").step("b"), [refused, Row("b", Phase.FAILED, "Error", "exit code 2", 1)], now=5
    )
    assert (made.rows[0].phase, made.verdict) == (phase, Phase.FAILED)
    assert made.rows[0].finished_at == (at(5) if phase is Phase.FAILED else None)


@pytest.mark.parametrize(
    ("attempt", "wait"),
    [(1, 10 + 1), (2, 20 + 1)],
    ids=["the first wait", "the next, three times as long, cut at the longest"],
)
def test_a_failed_attempt_is_tried_again_after_its_backoff(attempt: int, wait: float) -> None:
    # A second more: the time of its end is cut to whole seconds, and the wait is never shorter than was asked for.
    made = planned(
        RETRYING, [running("a", attempt)], attempt_of("a", a_pod("a").failed(1, ended=9), attempt=attempt), now=9
    )
    (row,) = made.rows
    assert (row.phase, row.reason, row.attempt, row.retry_at) == (Phase.WAITING, Reason.ERROR, attempt, at(9 + wait))
    assert made.wake_at == EPOCH + 9 + wait
    assert not made.create
    early = planned(RETRYING, [row], now=9 + wait - 1)
    assert (early.create, early.rows) == ((), (row,))
    due = planned(RETRYING, [row], now=9 + wait)
    assert created(due) == [name_of("a", attempt + 1)]
    assert due.rows == (
        Row("a", Phase.RUNNING, attempt=attempt + 1, started_at=at(9 + wait), job=name_of("a", attempt + 1)),
    )


def test_after_the_last_attempt_the_step_has_failed() -> None:
    made = planned(RETRYING, [running("a", 3)], attempt_of("a", a_pod("a").failed(1), attempt=3))
    assert (made.rows[0].phase, made.rows[0].attempt, made.verdict) == (Phase.FAILED, 3, Phase.FAILED)


@pytest.mark.parametrize(
    ("pod", "again"),
    [
        pytest.param(a_pod("a").failed(1), True, id="an exit code is, by default"),
        pytest.param(a_pod("a").failed(143).disrupted(), True, id="a disruption is, by default"),
        pytest.param(a_pod("a").failed(137, reason="OOMKilled"), False, id="too little memory is not"),
        pytest.param(a_pod("a").gone_bad("DeadlineExceeded"), False, id="a timeout is not"),
        pytest.param(a_pod("a").failed(128, reason="StartError"), False, id="a program that is not there is not"),
    ],
)
def test_only_failures_of_the_classes_named_are_tried_again(pod: PodBuilder, again: bool) -> None:
    made = planned(RETRYING, [running("a")], attempt_of("a", pod))
    assert (made.rows[0].phase is Phase.WAITING) is again


def test_a_job_that_was_deleted_is_a_failed_attempt_and_its_name_is_not_used_again() -> None:
    made = planned(RETRYING, [running("a")], View(proven=frozenset({name_of("a")})), now=50)
    (row,) = made.rows
    assert (row.phase, row.reason, row.retry_at) == (Phase.WAITING, Reason.JOB_DELETED, at(61))
    assert created(planned(RETRYING, [row], now=61)) == [name_of("a", 2)]


def test_a_failure_seen_long_after_is_still_seen_to_wait_before_the_next_attempt() -> None:
    made = planned(RETRYING, [running("a")], attempt_of("a", a_pod("a").failed(1, ended=9)), now=500)
    assert (made.rows[0].phase, made.rows[0].retry_at, made.create) == (Phase.WAITING, at(501), ())
    assert created(planned(RETRYING, list(made.rows), now=501)) == [name_of("a", 2)]


def test_a_template_that_cannot_be_filled_in_fails_the_step_and_begins_nothing_beside_it() -> None:
    pipeline = (
        a_pipeline()
        .step("a", outputs=[{"name": "o", "type": "Object"}])
        .step("b", needs=["a"])
        .step("c", args=["$(steps.a.outputs.o.missing)"])
    )
    made = planned(pipeline, [done("a", o={"x": 1}), *pending("b", "c")])
    assert not made.create
    assert phases(made) == ["Succeeded", "Skipped", "Failed"]
    assert made.rows[2].reason is Reason.INVALID_TEMPLATE
    assert "'missing'" in (made.rows[2].message or "")
    assert made.verdict is Phase.FAILED


# What does not start.

SLOW = a_pipeline().step("a", startTimeout="60s")


@pytest.mark.parametrize(
    ("pod", "reason"),
    [
        pytest.param(a_pod("a").waiting("ImagePullBackOff", "Back-off"), Reason.IMAGE_UNAVAILABLE, id="no image"),
        pytest.param(
            a_pod("a").waiting("CreateContainerConfigError", "no Secret"), Reason.CONTAINER_CONFIG, id="no Secret"
        ),
        pytest.param(a_pod("a").unschedulable("no node"), Reason.UNSCHEDULABLE, id="no node"),
        pytest.param(a_pod("a"), None, id="nobody says why"),
    ],
)
def test_an_attempt_that_does_not_start_says_why_and_fails_at_its_start_timeout(
    pod: PodBuilder, reason: Reason | None
) -> None:
    made = planned(SLOW, [running("a")], attempt_of("a", pod), now=59)
    (row,) = made.rows
    assert row.phase is (Phase.WAITING if reason else Phase.RUNNING)
    assert row.reason == reason
    assert made.wake_at == EPOCH + 60
    unproven = planned(SLOW, [row], attempt_of("a", pod, proven=False), now=60)
    assert unproven.prove == (name_of("a"),)
    late = planned(SLOW, [row], attempt_of("a", pod), now=60)
    assert (late.rows[0].phase, late.rows[0].reason) == (Phase.FAILED, reason or Reason.NOT_STARTED)
    assert (late.rows[0].message or "").startswith("did not start within 60s")
    assert late.delete == (name_of("a"),), "the pod must not start for nobody"
    assert late.verdict is Phase.FAILED


def test_an_attempt_that_started_after_all_runs() -> None:
    waiting = replace(running("a"), phase=Phase.WAITING, reason="Unschedulable", message="no node")
    made = planned(SLOW, [waiting], attempt_of("a", a_pod("a").running()), now=500)
    assert made.rows == (running("a"),)


def test_the_same_trouble_in_other_words_is_no_news() -> None:
    first = planned(SLOW, [running("a")], attempt_of("a", a_pod("a").waiting("ErrImagePull", "try 1")), now=1)
    second = planned(SLOW, list(first.rows), attempt_of("a", a_pod("a").waiting("ImagePullBackOff", "try 2")), now=2)
    assert second.rows == first.rows


def test_a_job_without_a_pod_is_asked_about_after_a_moment() -> None:
    early = planned(SLOW, [running("a")], attempt_of("a"), now=NO_POD_PATIENCE - 1)
    assert (early.explain, early.wake_at) == ({}, EPOCH + NO_POD_PATIENCE)
    later = planned(SLOW, [running("a")], attempt_of("a"), now=NO_POD_PATIENCE)
    assert later.explain == {name_of("a"): None}
    told = {name_of("a"): 'pods "flights-x7k2p" is forbidden: exceeded quota: small'}
    made = planned(SLOW, [running("a")], attempt_of("a", explained=told), now=NO_POD_PATIENCE)
    (row,) = made.rows
    assert (row.phase, row.reason) == (Phase.WAITING, Reason.QUOTA_EXCEEDED)
    assert row.message == "the pod is forbidden: exceeded quota: small"
    silent = planned(SLOW, [running("a")], attempt_of("a", explained={name_of("a"): ""}), now=NO_POD_PATIENCE)
    assert (silent.rows, silent.explain) == ((running("a"),), {})


@pytest.mark.parametrize(
    ("taken_up", "asked_at"),
    [pytest.param(25, 25 + NO_POD_PATIENCE, id="late"), pytest.param(None, BACKLOG_PATIENCE, id="not yet")],
)
def test_a_job_that_its_controller_gets_to_late_has_time_from_then(taken_up: float | None, asked_at: float) -> None:
    view = a_view((a_job(name_of("a")).taken_up(taken_up), []), proven=frozenset({name_of("a")}))
    early = planned(SLOW, [running("a")], view, now=asked_at - 1)
    assert (early.explain, early.wake_at) == ({}, EPOCH + asked_at)
    assert planned(SLOW, [running("a")], view, now=asked_at).explain == {name_of("a"): None}


def test_a_job_that_is_refused_is_tried_again_until_the_start_timeout() -> None:
    told = {name_of("a"): Refusal("exceeded quota: jobs")}
    first = planned(SLOW, [], View(refused=told), now=1)
    (row,) = first.rows
    assert row == Row("a", Phase.WAITING, Reason.QUOTA_EXCEEDED, "exceeded quota: jobs", 1, at(1))
    assert (first.create, first.wake_at) == ((), EPOCH + 11)
    again = planned(SLOW, [row], now=11)
    assert created(again) == [name_of("a", 1)], "nothing was created, so it is still the first attempt"
    assert planned(SLOW, [row], View(refused=told), now=11).rows == (row,)
    late = planned(SLOW, [row], View(refused=told), now=61)
    assert (late.rows[0].phase, late.verdict) == (Phase.FAILED, Phase.FAILED)
    assert late.rows[0].message == "did not start within 60s: exceeded quota: jobs"


def test_an_attempt_whose_job_was_refused_for_its_whole_time_counts_as_one_that_did_not_start() -> None:
    pipeline = a_pipeline().step(
        "a", startTimeout="60s", retry={"limit": 1, "on": ["Start"], "backoff": {"initial": "5s"}}
    )
    told = View(refused={name_of("a"): Refusal("exceeded quota: jobs")})
    row = planned(pipeline, [], told, now=1).rows[0]
    late = planned(pipeline, [row], told, now=61).rows[0]
    assert (late.phase, late.reason, late.attempt, late.refused) == (Phase.WAITING, Reason.QUOTA_EXCEEDED, 1, False)
    assert late.retry_at is not None
    again = planned(pipeline, [Row.from_status(late.to_status())], told, now=70)
    assert created(again) == [name_of("a", 2)]
    second = View(refused={name_of("a", 2): Refusal("exceeded quota: jobs")})
    row = planned(pipeline, [Row.from_status(late.to_status())], second, now=70).rows[0]
    end = planned(pipeline, [row], second, now=130).rows[0]
    assert (end.phase, end.attempt) == (Phase.FAILED, 2)


def test_attempts_that_were_made_stay_counted_where_the_next_cannot_be_made() -> None:
    pipeline = a_pipeline().step("a", results="Endpoint", retry={"limit": 1})
    failed = Row("a", Phase.WAITING, Reason.ERROR, "no", 1, at(0), finished_at=at(1), retry_at=at(5), job=name_of("a"))
    (row,) = planned(pipeline, [failed], now=6).rows
    assert (row.phase, row.reason, row.attempt) == (Phase.FAILED, Reason.RESULTS_UNAVAILABLE, 1)


def test_a_job_that_can_never_be_taken_is_not_waited_for() -> None:
    told = {name_of("a"): Refusal("quantities must match", hopeless=True)}
    made = planned(SLOW, [], View(refused=told), now=1)
    assert (made.rows[0].reason, made.verdict) == (Reason.JOB_REFUSED, Phase.FAILED)
    assert made.rows[0].message == "cannot start: quantities must match"


def test_a_claim_that_is_not_taken_has_a_reason_of_its_own() -> None:
    told = {name_of("a"): Refusal("no such class", hopeless=True, reason=Reason.CLAIM_REFUSED)}
    assert planned(SLOW, [], View(refused=told), now=1).rows[0].reason == Reason.CLAIM_REFUSED
    short = {name_of("a"): Refusal("exceeded quota: claims", reason=Reason.CLAIM_REFUSED)}
    assert planned(SLOW, [], View(refused=short), now=1).rows[0].reason == Reason.QUOTA_EXCEEDED


@pytest.mark.parametrize(
    ("row", "given_up"),
    [
        pytest.param(replace(running("a"), phase=Phase.SUCCEEDED), False, id="its success was seen"),
        pytest.param(replace(running("a"), phase=Phase.FAILED, reason="Error"), False, id="its end was seen"),
        pytest.param(replace(running("a"), phase=Phase.FAILED, reason="ImageUnavailable"), True, id="never started"),
        pytest.param(running("a"), False, id="it is under way"),
    ],
)
def test_only_the_job_of_an_attempt_that_was_given_up_is_deleted_where_no_pod_is_seen(row: Row, given_up: bool) -> None:
    view = attempt_of("a")
    assert overstayed([row], view) == ((name_of("a"),) if given_up else ())


@pytest.mark.parametrize(
    ("job", "pod", "well"),
    [
        pytest.param(a_job(), a_pod().succeeded(), True, id="its pod has succeeded"),
        pytest.param(a_job().complete(), None, True, id="it is complete, and its pod is gone"),
        pytest.param(a_job(), a_pod().running(0), False, id="its pod runs"),
        pytest.param(a_job().failed(), a_pod().failed(1), False, id="it has failed"),
        pytest.param(a_job(), None, False, id="nothing is known of its end"),
    ],
)
def test_a_job_has_ended_well_as_it_or_its_pod_shows(job: JobBuilder, pod: PodBuilder | None, well: bool) -> None:
    view = a_view((job, [pod] if pod else []))
    assert bool(ended_well(view)) is well


@pytest.mark.parametrize(
    ("told", "reason", "text"),
    [
        (
            'pods "x-abc" is forbidden: exceeded quota: q',
            Reason.QUOTA_EXCEEDED,
            "the pod is forbidden: exceeded quota: q",
        ),
        (
            'pods "x-abc" is forbidden: violates PodSecurity',
            Reason.POD_REFUSED,
            "the pod is forbidden: violates PodSecurity",
        ),
        ("admission webhook denied", Reason.POD_REFUSED, "admission webhook denied"),
    ],
)
def test_a_refusal_is_told_without_the_pods_passing_name(told: str, reason: Reason, text: str) -> None:
    assert refusal(told) == (reason, text)


# The workspace's claim.

CLAIMED = a_pipeline().having(workspace={"size": "1Gi"}).step("a").step("b", needs=["a"])


def test_the_claim_comes_with_the_first_jobs_only() -> None:
    first = planned(CLAIMED, [])
    assert first.claim is not None
    assert first.claim["metadata"]["name"] == workspace_claim_name("flights-1", a_run().uid)
    assert planned(CLAIMED, [done("a"), *pending("b")]).claim is None
    refused = [Row("a", Phase.WAITING, "QuotaExceeded", "x", 1, at(0)), *pending("b")]
    assert planned(CLAIMED, refused).claim is not None, "perhaps it was the claim that was refused"
    existing = a_pipeline().having(workspace={"claim": "mine"}).step("a")
    assert planned(existing, []).claim is None


def test_the_claim_is_asked_for_until_a_job_was_made() -> None:
    late = Row("a", Phase.WAITING, Reason.CLAIM_REFUSED, "no", 1, at(0), finished_at=at(60), retry_at=at(65))
    retried = a_pipeline().having(workspace={"size": "1Gi"}).step("a", retry={"limit": 1, "on": ["Start"]})
    made = planned(retried, [late], now=70)
    assert (created(made), made.claim is not None) == ([name_of("a", 2)], True), "the first attempt never had it"
    tidy = a_pipeline().having(workspace={"size": "1Gi"}, **{"finally": [{"name": "tidy", "image": "i"}]}).step("a")
    never = Row("a", Phase.FAILED, Reason.CLAIM_REFUSED, "no", 1, at(0), finished_at=at(60))
    made = planned(tidy, [never, Row("tidy")], now=70)
    assert (created(made), made.claim is not None) == ([name_of("tidy")], True)


@pytest.mark.parametrize(("states", "asked"), [("Q1@1767600000*2", True), ("W1@1767600000*2", True), ("F1,P0", False)])
def test_the_claim_is_asked_for_until_a_job_of_a_fan_out_was_made(states: str, asked: bool) -> None:
    each = {"items": [1, 2], "tolerate": 2}
    pipeline = a_pipeline().having(workspace={"size": "1Gi"}).step("a", forEach=each, retry={"limit": 1})
    row = Row("a", Phase.WAITING, items={"total": 2, "states": states})
    made = planned(pipeline, [row], now=1_000_000_000)
    assert (bool(made.create), made.claim is not None) == (True, asked)


def test_a_fan_out_that_was_taken_over_from_another_run_needs_no_claim_and_others_do() -> None:
    pipeline = a_pipeline().having(workspace={"size": "1Gi"})
    pipeline = pipeline.step("a", forEach={"items": [1]}, workspace="None").step("b", needs=["a"])
    taken = Row("a", Phase.SUCCEEDED, items={"total": 1, "states": "S1"}, reused="before")
    made = planned(pipeline, [taken, Row("b")])
    assert (created(made), made.claim is not None) == ([name_of("b")], True)


# Outputs.


def test_outputs_too_large_in_all_fail_the_step_that_has_just_ended() -> None:
    pipeline = a_pipeline()
    count = OUTPUTS_LIMIT // 4000 + 1
    for index in range(count):
        pipeline.step(f"s{index}", outputs=[{"name": "n"}])
    rows = [done(f"s{index}", n="x" * 4000) for index in range(count - 1)] + [running(f"s{count - 1}")]
    made = planned(pipeline, rows, attempt_of(f"s{count - 1}", a_pod(f"s{count - 1}").succeeded({"n": "x" * 3900})))
    assert made.rows[:-1] == tuple(rows[:-1]), "what has ended stays as it is"
    assert (made.rows[-1].phase, made.rows[-1].reason) == (Phase.FAILED, Reason.RESULT_TOO_LARGE)
    assert made.rows[-1].outputs is None
    assert made.verdict is Phase.FAILED


def test_of_several_that_ended_together_as_many_as_need_be_are_refused_the_largest_first() -> None:
    sizes = {"small": 1000, "large": OUTPUTS_LIMIT, "larger": 2 * OUTPUTS_LIMIT, "before": 1000}
    rows = {name: done(name, n="x" * size) for name, size in sizes.items()}
    told = bounded(rows, {"before"})
    assert [name for name, row in told.items() if row.reason == Reason.RESULT_TOO_LARGE] == ["large", "larger"]
    assert {name: told[name] for name in ("small", "before")} == {name: rows[name] for name in ("small", "before")}


# What must not go on.


@pytest.mark.parametrize(
    ("job", "pods", "deleted"),
    [
        pytest.param(a_job(), [], True, id="a Job without a pod"),
        pytest.param(a_job(), [a_pod().running()], True, id="one whose pod runs"),
        pytest.param(a_job(), [a_pod().succeeded()], False, id="one whose pod has ended is left to the Job controller"),
        pytest.param(a_job().complete(), [], False, id="one that is complete"),
        pytest.param(a_job().failed(), [], False, id="one that has failed"),
        pytest.param(a_job().deleting(), [], False, id="one that somebody deletes already"),
    ],
)
def test_jobs_of_ended_attempts_are_deleted(job: JobBuilder, pods: list[PodBuilder], deleted: bool) -> None:
    view = a_view((job, pods))
    assert overstayed([], view) == (("job",) if deleted else ())
    assert overstayed([replace(running("a"), job="job")], view) == (), "an attempt under way keeps its Job"


def test_ten_thousand_reads_of_an_unchanged_run_plan_nothing() -> None:
    rows = [done("a"), running("b"), running("c"), *pending("d")]
    view = a_view(
        (a_job(name_of("b")), [a_pod("b").running()]),
        (a_job(name_of("c")), [a_pod("c").running()]),
    )
    made = planned(DIAMOND, rows, view, now=10_000)
    assert made == Plan(tuple(rows)), "no write, no wake, nothing"
