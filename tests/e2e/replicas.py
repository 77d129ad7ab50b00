"""The operator's pods: which one leads, what they log, and how one is killed."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from tests.e2e.observer import Observer
from tests.e2e.site import RELEASE, SYSTEM, Site
from tests.harness.api import Object
from tests.harness.kinds import LEASES

SELECTOR = f"app.kubernetes.io/name={RELEASE},app.kubernetes.io/component=operator"
TAKEN_WITHIN = 60.0
"""Seconds for another to lead: a Lease of a dead leader lasts 15, the rest is a loaded machine's."""


class Replicas:
    """The pods of the operator's Deployment."""

    def __init__(self, site: Site, observer: Observer) -> None:
        self._site = site
        self._observer = observer

    @staticmethod
    def tail(site: Site) -> str:
        """The end of every replica's log, and of the logs of those that ended before in the same pods."""
        words = ("logs", "-n", SYSTEM, "-l", SELECTOR, "--prefix", "--tail=60")
        return site.try_kubectl(*words) + site.try_kubectl(*words, "--previous")

    def scale(self, replicas: int) -> None:
        """Have so many replicas, and wait until they are ready and one of them leads."""
        self._site.kubectl("scale", f"deployment/{RELEASE}", "-n", SYSTEM, f"--replicas={replicas}")
        self._site.kubectl("rollout", "status", f"deployment/{RELEASE}", "-n", SYSTEM, "--timeout=120s", within=150)
        self.leader()

    def stop(self) -> None:
        """Have none, and wait until the last is gone."""
        self._site.kubectl("scale", f"deployment/{RELEASE}", "-n", SYSTEM, "--replicas=0")
        self._site.kubectl("wait", "pods", "-l", SELECTOR, "-n", SYSTEM, "--for=delete", "--timeout=90s", within=120)

    def pods(self) -> list[str]:
        """Names of the pods that are not on their way out."""
        items = self._site.read("pods", "-n", SYSTEM, "-l", SELECTOR)["items"]
        return [pod["metadata"]["name"] for pod in items if "deletionTimestamp" not in pod["metadata"]]

    def holder(self) -> str:
        """The pod that the Lease names now; empty for none."""
        lease = self._observer.do(self._observer.api.find(LEASES, SYSTEM, RELEASE))
        return _holder(lease or {})

    def leader(self, other_than: str = "") -> str:
        """Wait until one of the present pods leads, another one than this; its name.

        Raises:
            AssertionError: none did in time.
        """
        deadline = time.monotonic() + TAKEN_WITHIN
        while time.monotonic() < deadline:
            holder = self.holder()
            if holder and holder != other_than and holder in self.pods():
                return holder
            time.sleep(0.3)
        raise AssertionError(f"no pod but {other_than or 'one that is gone'} leads after {TAKEN_WITHIN:.0f} s")

    def restarts(self, pod: str) -> int:
        """How often the container of a pod was started again."""
        read = self._site.read("pod", pod, "-n", SYSTEM)
        return int(read["status"]["containerStatuses"][0]["restartCount"])

    def kill(self, pod: str) -> int:
        """SIGKILL to the operator's process in a pod, as the kernel would send it; how many processes there were."""
        uid = self._site.read("pod", pod, "-n", SYSTEM)["metadata"]["uid"]
        found = processes(uid, f"--lease-namespace={SYSTEM}")
        for pid in found:
            os.kill(pid, signal.SIGKILL)
        return len(found)

    def keep_killing(self, pod: str) -> None:
        """Kill a pod's process whenever there is one, until another pod leads.

        Raises:
            AssertionError: no other did in time.
        """
        deadline = time.monotonic() + TAKEN_WITHIN
        while time.monotonic() < deadline:
            self.kill(pod)
            if self.holder() not in ("", pod):
                return
            time.sleep(0.5)
        raise AssertionError(f"nobody but {pod} leads after {TAKEN_WITHIN:.0f} s")


def processes(pod_uid: str, word: str) -> list[int]:
    """Ids of the processes of a pod, by its own cgroup, that have a word in their command line."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            groups = (folder / "cgroup").read_text()
            words = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        # The systemd driver writes a pod's uid with underscores.
        if (pod_uid in groups or pod_uid.replace("-", "_") in groups) and word.encode() in words:
            found.append(int(folder.name))
    return found


def _holder(lease: Object) -> str:
    return str(lease.get("spec", {}).get("holderIdentity") or "")
