"""One cgroup for all pods of a cluster, so that they can be told from another cluster's and ended as one."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

from localcluster.errors import ClusterError
from localcluster.processes import kill
from localcluster.state import Cluster


def root(cluster: Cluster) -> str:
    """The cgroup's path below each hierarchy's mount point.

    Each kubelet clears its root of pods that it does not know, so two clusters must not share one.
    """
    return f"/dataops-{cluster.name}"


def make(cluster: Cluster) -> None:
    """Make the cgroup in every mounted hierarchy."""
    for folder in _folders(cluster):
        _delegate(folder.parent)
        folder.mkdir(exist_ok=True)
        for name in ("cpuset.cpus", "cpuset.mems"):  # version 1 starts them empty, and an empty one takes no process
            own = folder / name
            if own.exists() and not own.read_text().strip():
                own.write_text((folder.parent / name).read_text())


def remove(cluster: Cluster, seconds: float = 10) -> None:
    """Kill what runs in the cgroup and remove it; harmless where there is none."""
    deadline = time.monotonic() + seconds
    while (left := [folder for folder in _folders(cluster) if folder.is_dir()]) and time.monotonic() < deadline:
        for folder in left:
            for procs in folder.rglob("cgroup.procs"):
                _kill_all(procs)
            _remove_tree(folder)
        time.sleep(0.02)
    if left:
        raise ClusterError(f"{left[0]} cannot be removed: a process in it does not end after SIGKILL")


def _delegate(mount: Path) -> None:
    """Version 2 hands controllers down only where it was told to; systemd does that for most, not for all."""
    offered = mount / "cgroup.controllers"
    for controller in offered.read_text().split() if offered.exists() else []:
        with contextlib.suppress(OSError):  # one that cannot be had is missed by the kubelet, which names it
            (mount / "cgroup.subtree_control").write_text(f"+{controller}")


def _folders(cluster: Cluster) -> list[Path]:
    mounts = (line.split() for line in Path("/proc/self/mounts").read_text().splitlines())
    points = [Path(words[1]) for words in mounts if words[2] in ("cgroup", "cgroup2")]
    return [point / root(cluster).lstrip("/") for point in points]


def _kill_all(procs: Path) -> None:
    try:
        pids = procs.read_text().split()
    except OSError:  # removed meanwhile
        return
    for pid in pids:
        if pid != "0":
            kill(int(pid))


def _remove_tree(folder: Path) -> None:
    deepest_first = sorted((path for path in folder.rglob("*") if path.is_dir()), reverse=True)
    for path in [*deepest_first, folder]:
        try:
            path.rmdir()
        except OSError:  # still busy: the next round takes it
            return
