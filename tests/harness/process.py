"""What /proc tells of a process, and what it has logged so far."""

from __future__ import annotations

import os
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


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
