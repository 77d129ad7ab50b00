"""Starts the cluster's parts detached, remembers them by pid and start time, waits for health, stops them."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from localcluster.errors import ClusterError
from localcluster.state import boot_id

TAIL_LINES = 20
_POLL_SECONDS = 0.03
_GRACE_SECONDS = 8

# Children of this very process must be waited for, or they stay as zombies.
_children: dict[int, subprocess.Popen[bytes]] = {}


@dataclass(frozen=True)
class Part:
    """One program of a cluster: how it is started and how it shows that it works.

    Attributes:
        name: Its name in logs, records and messages.
        command: The program and its arguments.
        healthy: Answers whether it works now; may raise OSError for "not yet".
        environment: Variables beside PATH and HOME.
        again: Seconds for which it is started again where it ends before it is healthy, as what it needs may come late.
    """

    name: str
    command: Sequence[str]
    healthy: Callable[[], bool]
    environment: Mapping[str, str] | None = None
    again: float = 0


class Supervisor:
    """The processes of one cluster, as recorded in its folder."""

    def __init__(self, folder: Path) -> None:
        self._records = folder / "run"
        self._logs = folder / "logs"

    def log(self, name: str) -> Path:
        """Where the part writes."""
        return self._logs / f"{name}.log"

    def pid(self, name: str) -> int | None:
        """The part's process id if that very process still lives, else None."""
        try:
            record = json.loads((self._records / f"{name}.json").read_text())
            pid, start, boot = int(record["pid"]), int(record["start"]), record["boot"]
        except (OSError, ValueError, KeyError, TypeError):  # TypeError: it ended before its start time could be read
            return None
        return pid if boot == boot_id() and start_time(pid) == start else None

    def pids(self) -> dict[str, int]:
        """All recorded parts that live."""
        names = sorted(path.stem for path in self._records.glob("*.json"))
        return {name: pid for name in names if (pid := self.pid(name)) is not None}

    def start(self, part: Part) -> bool:
        """Start the part unless it lives and is healthy; returns whether it was started.

        A part that lives and stays deaf is stopped first; a busy machine gets some seconds to answer.
        """
        deadline = time.monotonic() + _GRACE_SECONDS
        while self.pid(part.name) is not None:
            if probe(part.healthy):
                return False
            if time.monotonic() > deadline:
                self.stop(part.name)
            time.sleep(_POLL_SECONDS)
        for folder in (self._records, self._logs):
            folder.mkdir(parents=True, exist_ok=True)
        keep = {key: value for key, value in os.environ.items() if key in ("PATH", "HOME", "TZ")}
        with self.log(part.name).open("ab") as log:
            child = subprocess.Popen(
                list(part.command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**keep, **(part.environment or {})},
                cwd="/",
                start_new_session=True,
            )
        _children[child.pid] = child
        record = {"pid": child.pid, "start": start_time(child.pid), "boot": boot_id()}
        (self._records / f"{part.name}.json").write_text(json.dumps(record) + "\n")
        return True

    def wait(self, part: Part, seconds: float = 60) -> None:
        """Wait until the part is healthy.

        Raises:
            ClusterError: It ended or did not become healthy; the message carries its last lines.
        """
        began = time.monotonic()
        while not probe(part.healthy):
            alive, waited = self.pid(part.name) is not None, time.monotonic() - began
            if waited < (seconds if alive else part.again):
                time.sleep(_POLL_SECONDS)
                if not alive:
                    self.start(part)
                continue
            what = f"is not healthy after {seconds:.0f} s" if alive else "ended right after its start"
            raise ClusterError(f"{part.name} {what}; the last lines of {self.log(part.name)}:\n{self.tail(part.name)}")

    def tail(self, name: str) -> str:
        """The last lines of the part's log, indented."""
        try:
            lines = self.log(name).read_text(errors="replace").splitlines()[-TAIL_LINES:]
        except OSError:
            lines = []
        return "\n".join(f"  {line[:300]}" for line in lines) or "  (nothing was logged)"

    def stop(self, name: str, seconds: float = 10) -> None:
        """Kill the part if it lives and forget it; harmless otherwise.

        SIGKILL at once: nothing here holds data that outlives the cluster, and the API server lingers on SIGTERM.
        """
        if (pid := self.pid(name)) is not None:
            kill(pid)
            if not gone(pid, seconds):
                raise ClusterError(f"{name} (process {pid}) does not end after SIGKILL; see `ps -p {pid}`")
        (self._records / f"{name}.json").unlink(missing_ok=True)


def probe(healthy: Callable[[], bool]) -> bool:
    """Whether the check says yes now; a refused connection or an early end of it is a no."""
    try:
        return healthy()
    except OSError:
        return False


def kill(pid: int) -> None:
    """SIGKILL; a process that is gone already is fine."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def gone(pid: int, seconds: float) -> bool:
    """Wait until the process has ended (a zombie has)."""
    start = start_time(pid)
    deadline = time.monotonic() + seconds
    while start is not None and start_time(pid) == start:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def strays(folder: Path, programs: Collection[str]) -> list[int]:
    """Processes of a cluster that no record names: containers' shims, and a part whose start was cut off.

    Args:
        folder: The cluster's folder, which stands in the arguments of each of its processes.
        programs: Names of programs (or Python modules) that may belong to a cluster.
    """
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:  # ended meanwhile
            continue
        ours = any(f"{folder}/" in word for word in words)
        if ours and any(Path(word).name in programs for word in words[:3]):
            found.append(int(entry.name))
    return found


def end_strays(folder: Path, programs: Collection[str], seconds: float = 10) -> None:
    """Kill them all and wait until they have ended."""
    for pid in strays(folder, programs):
        kill(pid)
        gone(pid, seconds)


def start_time(pid: int) -> int | None:
    """When the process started, in clock ticks since boot; None if there is no such process.

    Field 22 of /proc/PID/stat (proc_pid_stat(5)); with the pid it names a process for one boot.
    """
    if (child := _children.get(pid)) is not None and child.poll() is not None:
        del _children[pid]
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in ("Z", "X") else int(fields[19])
