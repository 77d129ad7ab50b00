"""Processes that tests start: their lives, their logs, and what /proc tells of them."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Protocol

TICKS = os.sysconf("SC_CLK_TCK")


class Handle(Protocol):
    """What starting a process gives; the part of `subprocess.Popen` that is asked of one."""

    @property
    def pid(self) -> int:
        """Its id."""

    def poll(self) -> int | None:
        """Its exit code (negative: the signal), or None while it runs."""

    def wait(self) -> int:
        """Wait for its end; its exit code."""

    def send_signal(self, number: int, /) -> None:
        """Send it a signal; nothing if it has ended."""


class Logged:
    """A process that a test starts, and that writes a log; it has no `_process` before.

    Args:
        log: its log.
    """

    def __init__(self, log: Path) -> None:
        self.log = log
        self._process: Handle | None = None

    @property
    def pid(self) -> int:
        """The process's id."""
        assert self._process, "not started"
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.poll() is None

    def tail(self, size: int = 4000) -> str:
        """The end of its log."""
        return self.log.read_bytes()[-size:].decode(errors="replace") if self.log.exists() else "(no log)"

    def kill(self) -> None:
        """SIGKILL, at once; fine if it has ended, or was never started."""
        if self._process:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()

    def freeze(self) -> None:
        """SIGSTOP: it stands still, and connections are taken that nobody answers."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT: it goes on, not knowing how long it stood still."""
        os.kill(self.pid, signal.SIGCONT)


def cpu_seconds(pid: int) -> float:
    """User and system time of all threads of a process so far, seconds."""
    # The second field is the command in parentheses and may hold blanks; user and system time are
    # fields 14 and 15.
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def rss_bytes(pid: int) -> int:
    """Resident memory now."""
    return _status(pid, "VmRSS")


def peak_rss_bytes(pid: int) -> int:
    """The most resident memory since the start."""
    return _status(pid, "VmHWM")


def _status(pid: int, field: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise ProcessLookupError(f"process {pid} has ended")


def machine_cpu_seconds() -> float:
    """The time that all CPUs of the machine were busy since its boot, seconds."""
    # user nice system idle iowait irq softirq steal; guest time is in user time already.
    times = Path("/proc/stat").read_text(encoding="utf-8").split("\n", 1)[0].split()[1:9]
    user, nice, system, _idle, _wait, irq, softirq, steal = map(int, times)
    return (user + nice + system + irq + softirq + steal) / TICKS


def whole_lines(log: Path) -> list[bytes]:
    """The lines of a file that another process appends to, without the last one where it is half written."""
    return log.read_bytes().split(b"\n")[:-1]
