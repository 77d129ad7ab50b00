"""The script of played pods, and the statuses that come of it."""

from __future__ import annotations

from tests.harness import podstatus
from tests.harness.needs import needs
from tests.harness.script import Outcome, Play, Script, fail, never_start, succeed

POD = {
    "spec": {
        "containers": [{"name": "x", "image": "i"}, {"name": "y", "image": "i"}],
        "initContainers": [{"name": "z", "image": "i"}],
    }
}


def test_the_first_rule_that_matches_counts() -> None:
    script = Script().add("a", fail(3), attempt=1, run="r").add("a", succeed(rows=1))
    assert script.play("ns", "r", "a", 1).exit_code == 3
    assert script.play("ns", "r", "a", 2).message == '{"outputs":{"rows":1}}'
    assert script.play("ns", "other", "a", 1).outcome is Outcome.SUCCEED
    assert script.play("ns", "r", "b", 1) == Play()


def test_a_script_survives_json() -> None:
    script = Script(default=never_start()).add("a", fail(137, reason="OOMKilled"), namespace="ns")
    assert Script.from_json(script.to_json()) == script


def test_pace_changes_times_alone() -> None:
    script = Script().add("a", fail(3)).paced(0.01, 0.02)
    play = script.play("ns", "r", "a", 1)
    assert (play.start, play.end, play.exit_code) == (0.01, 0.02, 3)
    assert script.default.end == 0.02


def test_every_container_ends_with_its_message() -> None:
    status = podstatus.ended(POD, succeed(rows=1), "t1", "t2")
    assert status["phase"] == "Succeeded"
    assert [c["state"]["terminated"]["message"] for c in status["containerStatuses"]] == ['{"outputs":{"rows":1}}'] * 2
    assert [c["name"] for c in status["initContainerStatuses"]] == ["z"]


def test_an_eviction_has_its_condition() -> None:
    status = podstatus.ended(POD, Play(outcome=Outcome.EVICT), "t1", "t2")
    assert status["phase"] == "Failed"
    assert "DisruptionTarget" in [c["type"] for c in status["conditions"]]


def test_needs_are_said_or_implied_by_use() -> None:
    spec = {
        "steps": [
            {"name": "a"},
            {"name": "b", "needs": ["a"]},
            {"name": "c", "args": ["$(steps.b.outputs.x)", "$$(steps.a.outputs.x)"]},
        ]
    }
    assert needs(spec) == {"a": set(), "b": {"a"}, "c": {"b"}}
