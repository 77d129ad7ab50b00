"""When a run asks for its secrets, what waits for them, and what their lack ends."""

from dataclasses import replace
from typing import Any

import pytest
from tests.builders import EPOCH, PipelineBuilder, a_job, a_pipeline, a_pod, a_run, a_view, an_environment, at

from dataops_operator.api.conditions import Reason
from dataops_operator.api.run import Phase
from dataops_operator.core.credentials import Armed, Hindrance
from dataops_operator.core.names import job_name
from dataops_operator.core.plan import Plan, View
from dataops_operator.core.planner import plan
from dataops_operator.core.progress import AGENT_PATIENCE
from dataops_operator.core.rows import Row

pytestmark = pytest.mark.usefixtures("both_modes")

USES = [{"name": "api"}]
PLACE = an_environment(vault={"role": "prod", "waitLimit": "2m"})
ARMED = Armed(secret="s-1", files={"api": ("token",)})
SEALED = Hindrance(Reason.VAULT_UNAVAILABLE, "Vault server default is sealed", again_at=EPOCH + 7)
FORBIDDEN = Hindrance(Reason.VAULT_FORBIDDEN, "secret api: not allowed", final=True)


def pipeline() -> PipelineBuilder:
    return a_pipeline().having(secrets=[{"name": "api", "vault": {"path": "secret/data/x"}}])


def planned(
    built: PipelineBuilder,
    armed: Armed | Hindrance | None = None,
    rows: tuple[Row, ...] = (),
    now: float = 0,
    **view: Any,
) -> Plan:
    return plan(a_run().inputs(built, PLACE), rows, View(armed=armed, **view), EPOCH + now)


def jobs(made: Plan) -> list[str]:
    return [one["metadata"]["labels"]["dataops.dev/step"] for one in made.create]


def row(made: Plan, name: str) -> Row:
    return next(one for one in made.rows if one.name == name)


def test_a_run_without_secrets_never_asks() -> None:
    made = planned(a_pipeline().step("a"))
    assert (made.arm, jobs(made)) == (False, ["a"])


def test_a_step_with_secrets_that_is_due_asks_and_nothing_else_is_done_before() -> None:
    made = planned(pipeline().step("a", secrets=USES).step("b"))
    assert made.arm
    assert (made.create, made.verdict, [one.phase for one in made.rows]) == ((), None, [Phase.PENDING] * 2)


def test_a_step_with_secrets_that_is_not_due_asks_for_nothing() -> None:
    made = planned(pipeline().step("a").step("b", needs=["a"], secrets=USES))
    assert (made.arm, jobs(made)) == (False, ["a"])


def test_a_step_whose_template_names_a_target_with_a_login_asks() -> None:
    login = {"vault": {"path": "secret/data/s3"}}
    lake = {"name": "lake", "s3": {"endpoint": "https://s3.example", "bucket": "lake", "credentials": login}}
    place = an_environment(vault={"role": "prod"}, targets=[lake])
    built = a_pipeline().step("a", args=["$(targets.lake.url)"])
    assert plan(a_run().inputs(built, place), (), View(), EPOCH).arm


def test_with_its_secrets_at_hand_the_step_begins() -> None:
    made = planned(pipeline().step("a", secrets=USES), ARMED)
    assert (made.arm, jobs(made)) == (False, ["a"])
    assert "s-1" in str(made.create)


def test_what_hinders_is_shown_and_the_others_go_on() -> None:
    made = planned(pipeline().step("a", secrets=USES).step("b"), SEALED)
    assert jobs(made) == ["b"]
    waiting = row(made, "a")
    assert (waiting.phase, waiting.reason, waiting.message) == (Phase.WAITING, SEALED.reason, SEALED.message)
    assert made.wake_at is not None
    assert made.wake_at <= EPOCH + 7


def test_a_step_that_waited_begins_as_its_first_attempt() -> None:
    built = pipeline().step("a", secrets=USES)
    waiting = planned(built, SEALED).rows
    made = planned(built, ARMED, rows=waiting, now=30)
    assert made.create[0]["metadata"]["labels"]["dataops.dev/attempt"] == "1"
    assert row(made, "a").phase is Phase.RUNNING


def test_a_step_that_waits_asks_again_once_nobody_says_what_hinders() -> None:
    built = pipeline().step("a", secrets=USES)
    assert planned(built, None, rows=planned(built, SEALED).rows, now=30).arm


def test_the_same_trouble_is_no_news() -> None:
    built = pipeline().step("a", secrets=USES)
    waiting = planned(built, SEALED).rows
    other = replace(SEALED, message="Vault server default did not answer")
    assert planned(built, other, rows=waiting, now=30).rows == waiting


def test_waiting_ends_at_the_environments_limit() -> None:
    built = pipeline().step("a", secrets=USES).step("b", needs=["a"])
    waiting = planned(built, SEALED).rows
    assert row(planned(built, SEALED, rows=waiting, now=119), "a").phase is Phase.WAITING
    made = planned(built, SEALED, rows=waiting, now=120)
    assert made.verdict is Phase.FAILED
    assert row(made, "a").reason == Reason.VAULT_UNAVAILABLE
    assert "waitLimit" in (row(made, "a").message or "")


def test_a_final_hindrance_fails_the_step_at_once_and_nothing_begins_beside_it() -> None:
    made = planned(pipeline().step("a", secrets=USES).step("b"), FORBIDDEN)
    assert (made.create, made.verdict) == ((), Phase.FAILED)
    assert (row(made, "a").reason, row(made, "a").message) == (FORBIDDEN.reason, FORBIDDEN.message)
    assert row(made, "b").phase is Phase.SKIPPED


def test_no_secrets_are_asked_for_where_the_run_fails_anyway() -> None:
    built = pipeline().parameter("p", "Object", default={}).step("a", secrets=USES).step("b", args=["$(params.p.none)"])
    made = planned(built)
    assert (made.arm, made.verdict) == (False, Phase.FAILED)


def test_a_retry_uses_what_is_at_hand() -> None:
    built = pipeline().step("a", secrets=USES, retry={"limit": 1, "backoff": {"initial": "1s"}})
    failed = Row("a", Phase.WAITING, "Error", attempt=1, retry_at=at(5), finished_at=at(3), job="gone")
    made = planned(built, ARMED, rows=(failed,), now=6)
    assert jobs(made) == ["a"]
    assert row(made, "a").attempt == 2


# Mode Pod: the init container tells.


def of_pod(pod: Any, now: float = 20, proven: bool = True, **step: Any) -> Row:
    built = pipeline().step("a", secrets=USES, startTimeout="30s", **step)
    run = a_run()
    name = job_name(run.name, run.uid, "a", 1)
    view = a_view((a_job(name), [pod]), armed=Armed(), proven=frozenset({name} if proven else ()))
    before = Row("a", Phase.RUNNING, attempt=1, started_at=at(0), job=name)
    return plan(run.inputs(built, PLACE), (before,), view, EPOCH + now).rows[0]


def test_a_pod_that_reads_its_secrets_for_long_is_seen_to() -> None:
    pod = a_pod("a").agent(running={"startedAt": at(2)})
    assert of_pod(pod, 2 + AGENT_PATIENCE - 1).phase is Phase.RUNNING
    waiting = of_pod(pod, 2 + AGENT_PATIENCE)
    assert (waiting.phase, waiting.reason) == (Phase.WAITING, Reason.VAULT)
    assert "-c dataops-secrets" in (waiting.message or "")


def test_reading_secrets_has_the_environments_limit_and_not_that_of_the_start() -> None:
    pod = a_pod("a").agent(running={"startedAt": at(2)})
    assert of_pod(pod, 2 + 100).phase is Phase.WAITING
    assert of_pod(pod, 2 + 130).reason == Reason.VAULT
    assert of_pod(pod, 2 + 130).phase is Phase.FAILED


def test_the_limit_of_the_start_counts_from_the_secrets_on() -> None:
    pod = a_pod("a").agent(terminated={"exitCode": 0, "startedAt": at(2), "finishedAt": at(60)})
    assert of_pod(pod, 60 + 29).phase is Phase.RUNNING
    assert of_pod(pod, 60 + 30).phase is Phase.FAILED


@pytest.mark.parametrize(
    ("message", "reason", "said"),
    [
        ('{"reason": "VaultForbidden", "message": "secret api: not allowed"}', "VaultForbidden", "not allowed"),
        ('{"reason": "Succeeded", "message": "x"}', "Vault", "kubectl logs pod -c dataops-secrets"),
        ("no JSON", "Vault", "exit code 3"),
        ("[1]", "Vault", "exit code 3"),
        ("", "Vault", "exit code 3"),
    ],
)
def test_an_agent_that_fails_says_why_the_step_did(message: str, reason: str, said: str) -> None:
    ended = {"exitCode": 3, "message": message, "startedAt": at(2), "finishedAt": at(3)}
    pod = a_pod("a").agent(terminated=ended).gone_bad()
    found = of_pod(pod, retry={"infrastructure": 0})
    assert (found.phase, found.reason) == (Phase.FAILED, reason)
    assert said in (found.message or "")


def test_a_refusal_by_vault_is_not_tried_again_and_a_broken_agent_is() -> None:
    retry = {"limit": 1}
    told = {"exitCode": 3, "message": '{"reason": "SecretNotFound", "message": "x"}', "finishedAt": at(3)}
    assert of_pod(a_pod("a").agent(terminated=told).gone_bad(), retry=retry).phase is Phase.FAILED
    silent = {"exitCode": 137, "finishedAt": at(3)}
    assert of_pod(a_pod("a").agent(terminated=silent).gone_bad(), retry=retry).retry_at is not None
