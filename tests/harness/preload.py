"""Starts operators from a process that has imported it already.

Two thirds of what a start of the operator computes are imports, and a sweep over faults starts it hundreds of times.
What runs is the operator's own `main` in a process of its own, with its own arguments, environment and log, to be
killed and stopped like any other. Only its command line and environment in /proc are those of the process that it came
from: where a test looks into these, the operator is started by itself.
"""

from __future__ import annotations

import atexit
import functools
import json
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.harness.interpreter import compiled, interpreter

ROOT = Path(__file__).resolve().parents[2]
_NOT_RUNNING = ("Z", "X")

_SERVER = """
import json, os, sys
from dataops_operator.main import main

def become(request):
    nothing = os.open(os.devnull, os.O_RDONLY)
    log = os.open(request["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    for file, number in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(file, number)
    os.closerange(3, log + 1)
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.argv = ["dataops-operator", *request["arguments"]]

for line in iter(sys.stdin.readline, ""):
    request = json.loads(line)
    if "ready" in request:
        answer = 0
    elif "reap" in request:
        answer = os.waitstatus_to_exitcode(os.waitpid(request["reap"], 0)[1])
    elif (answer := os.fork()) == 0:
        become(request)
        main()
        sys.exit()
    print(answer, flush=True)
"""


class Forked:
    """An operator that was started so; the part of `subprocess.Popen` that is asked of one."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Its exit code (negative: the signal), or None while it runs."""
        # It stays a zombie until it is asked for here: its id is nobody else's before.
        if self.returncode is None and _state(self.pid) in _NOT_RUNNING:
            self.returncode = _ask({"reap": self.pid})
        return self.returncode

    def wait(self) -> int:
        """Wait for its end; its exit code."""
        if self.returncode is None:
            self.returncode = _ask({"reap": self.pid})
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send it a signal; nothing if it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL; nothing if it has ended."""
        self.send_signal(signal.SIGKILL)


def start(arguments: Sequence[str], environment: Mapping[str, str], log: Path) -> Forked:
    """Start an operator.

    Args:
        arguments: what would follow its name on the command line.
        environment: all of its environment variables.
        log: the file that its output is appended to.
    """
    return Forked(_ask({"arguments": list(arguments), "environment": dict(environment), "log": str(log)}))


def warm() -> None:
    """Have what operators come from import them now, where the seconds of the first start count."""
    _ask({"ready": True})


def _ask(request: Mapping[str, object]) -> int:
    server = _server()
    assert server.stdin, "asked for below"
    assert server.stdout, "asked for below"
    server.stdin.write(json.dumps(request) + "\n")
    server.stdin.flush()
    answer = server.stdout.readline()
    assert answer, "the process that operators come from has ended; its words are on standard error"
    return int(answer)


@functools.cache
def _server() -> subprocess.Popen[str]:
    command = [str(interpreter()), "-c", _SERVER]
    environment = {**os.environ, **compiled(), "PYTHONPATH": str(ROOT / "operator")}
    pipe = subprocess.PIPE
    server = subprocess.Popen(command, cwd=ROOT, env=environment, stdin=pipe, stdout=pipe, text=True)
    atexit.register(server.kill)
    return server


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
