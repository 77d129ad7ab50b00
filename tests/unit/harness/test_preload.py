import os
import signal
from pathlib import Path

import pytest
from tests.harness import preload


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


def test_an_operator_has_its_own_arguments_log_and_exit_code(log: Path) -> None:
    log.write_text("before\n")
    helped = preload.start(["--help"], {}, log)
    assert helped.wait() == 0
    refused = preload.start(["--kubeconfig", "/no/such/file", "--lease-namespace", "x"], {"HOME": "/"}, log)
    assert refused.wait() == 1
    assert refused.poll() == 1
    said = log.read_text()
    assert said.startswith("before\nusage: ")
    assert "/no/such/file" in said.splitlines()[-1]


def test_one_that_is_killed_tells_the_signal_and_touches_no_other(log: Path, tmp_path: Path) -> None:
    fifo = tmp_path / "kubeconfig"
    os.mkfifo(fifo)  # reading it never ends
    one, two = (preload.start(["--kubeconfig", str(fifo), "--lease-namespace", "x"], {}, log) for _ in range(2))
    assert one.pid != two.pid
    assert one.poll() is None
    one.kill()
    assert one.wait() == -signal.SIGKILL
    one.kill()
    assert two.poll() is None
    two.send_signal(signal.SIGSTOP)
    assert two.poll() is None
    two.kill()
    assert two.wait() == -signal.SIGKILL
