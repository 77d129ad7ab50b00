"""Processes of the harness whose start fails: nothing is left of them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.harness import moduleprocess, openbao
from tests.harness.openbao import OpenBao
from tests.harness.operator import OperatorProcess
from tests.harness.player import PlayerProcess
from tests.harness.script import Script


@pytest.fixture
def hangs(tmp_path: Path) -> Path:
    """A program that says nothing, whatever it is told, and does not end in the test's time."""
    path = tmp_path / "hangs"
    path.write_text("#!/bin/sh\nexec sleep 600\n")
    path.chmod(0o755)
    return path


async def enters(context: Any, seconds: float) -> None:
    async with asyncio.timeout(seconds), context:
        raise AssertionError("it was entered")


async def test_a_server_that_does_not_answer_in_time_is_ended(
    tmp_path: Path, hangs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openbao, "_program", lambda: str(hangs))
    monkeypatch.setattr(openbao, "READY_WITHIN", 0.2)
    bao = OpenBao(tmp_path / "bao")
    with pytest.raises(AssertionError, match="OpenBao was not ready"):
        await enters(bao, 60)
    assert bao.pid
    assert not bao.alive


async def test_a_server_whose_start_is_given_up_is_ended(
    tmp_path: Path, hangs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openbao, "_program", lambda: str(hangs))
    bao = OpenBao(tmp_path / "bao")
    with pytest.raises(TimeoutError):
        await enters(bao, 0.2)
    assert bao.pid
    assert not bao.alive


async def test_an_operator_whose_start_is_given_up_is_ended(tmp_path: Path, hangs: Path) -> None:
    operator = OperatorProcess(tmp_path / "kubeconfig", tmp_path / "log", lease_namespace="x", python=hangs)
    with pytest.raises(TimeoutError):
        await enters(operator, 0.2)
    assert operator.pid
    assert not operator.alive


def test_a_player_that_does_not_start_in_time_is_ended(
    tmp_path: Path, hangs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.executable", str(hangs))
    monkeypatch.setattr(moduleprocess, "START_WITHIN", 0.1)
    plays = PlayerProcess("http://127.0.0.1:1", "token", "ca", Script(), tmp_path)
    with pytest.raises(RuntimeError, match="the player did not start"):
        plays.__enter__()
    assert not Path(f"/proc/{plays.pid}").exists()
