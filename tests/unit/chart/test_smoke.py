"""What `helm test` makes of a run: when it has passed, when it has failed, and what it tells."""

from __future__ import annotations

from typing import Any

import pytest

from dataops_operator.api.pipeline import Pipeline
from dataops_operator.api.run import PipelineRun
from dataops_operator.smoke import Failed, main, pipeline, report, run, states, taken_up, verdict


def observed(succeeded: str, outputs: dict[str, Any] | None = None, **status: Any) -> dict[str, Any]:
    condition = {"type": "Succeeded", "status": succeeded, "reason": "StepFailed", "message": "step multiply failed"}
    step = {"name": "multiply", "phase": "Running", "outputs": outputs}
    return {"status": {"observedGeneration": 1, "conditions": [condition], "steps": [step], **status}}


def test_its_pipeline_and_run_are_what_the_models_take() -> None:
    made = Pipeline.model_validate(pipeline("smoke-1", "image", 90.0))
    started = PipelineRun.model_validate(run("smoke-1"))
    assert made.spec.defaults is not None
    assert made.spec.defaults.start_timeout == "90s"
    assert started.spec.pipeline == "smoke-1"


@pytest.mark.parametrize("obj", [{}, {"status": {"observedGeneration": -1}}, observed("Unknown")])
def test_a_run_that_has_not_ended_is_waited_for(obj: dict[str, Any]) -> None:
    assert verdict(obj) is False


def test_a_run_that_worked_out_the_answer_has_passed() -> None:
    assert verdict(observed("True", {"answer": 42})) is True


def test_a_failed_run_says_why() -> None:
    with pytest.raises(Failed, match="StepFailed - step multiply failed"):
        verdict(observed("False"))


@pytest.mark.parametrize("outputs", [None, {}, {"answer": 41}, {"answer": "42"}])
def test_a_run_that_succeeds_without_the_right_answer_has_not_passed(outputs: dict[str, Any] | None) -> None:
    with pytest.raises(Failed, match="expected answer: 42"):
        verdict(observed("True", outputs))


def test_waiting_and_steps_are_told_with_their_reasons() -> None:
    obj = {
        "status": {
            "phase": "Running",
            "progress": "0/1",
            "waitingFor": [{"reason": "ConcurrencyLimit", "message": "behind another run"}],
            "steps": [{"name": "multiply", "phase": "Failed", "reason": "Error", "message": "exit code 1"}],
        }
    }
    assert list(states(obj)) == [
        ("run", "Running - 0/1"),
        ("waiting for ConcurrencyLimit", "behind another run"),
        ("step multiply", "Failed - Error - exit code 1"),
    ]
    assert list(report(observed("False"))) == ["condition Succeeded=False: StepFailed - step multiply failed"]


def test_the_servers_own_default_is_not_taken_for_an_operators_answer() -> None:
    assert taken_up({"status": {"observedGeneration": -1}}) is False
    assert taken_up({}) is False
    assert taken_up(observed("Unknown")) is True


def test_a_test_without_a_way_to_the_api_server_fails_with_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KUBECONFIG", "/nonexistent")
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    assert main(["--namespace=a", "--image=b"]) == 1
    assert capsys.readouterr().out == "FAILED: the kubeconfig /nonexistent cannot be read: No such file or directory\n"
