"""The machine that is the cluster's one node: stopped in the ways that machines stop, and started again."""

from __future__ import annotations

import subprocess

from tests.e2e.site import NAME

from localcluster import clusters, node, state
from localcluster.processes import Supervisor


class Machine:
    """The node; the API server is beside it and goes on, as that of a larger cluster does."""

    def __init__(self) -> None:
        cluster = state.load(NAME)
        assert cluster is not None
        self._cluster = cluster
        self._kind = cluster.options.mode == "kind"

    def stop_kubelet(self) -> None:
        """Kill the kubelet: nobody tells any more what containers do, and they go on."""
        if self._kind:
            self._systemctl("stop")
        else:
            Supervisor(self._cluster.path).stop("kubelet")

    def crash(self) -> None:
        """End all at once, as a power cut does: kubelet, runtime, every container, mounts and network.

        Not for kind, whose node is also the machine of the API server.
        """
        assert not self._kind
        node.stop(self._cluster)

    def start(self) -> None:
        """Start what does not run."""
        if self._kind:
            self._systemctl("start")
        else:
            clusters.up(NAME)

    def _systemctl(self, verb: str) -> None:
        command = ["docker", "exec", f"{NAME}-control-plane", "systemctl", verb, "kubelet"]
        subprocess.run(command, check=True, capture_output=True, timeout=60)
