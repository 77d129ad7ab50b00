"""The cluster tool's nodes where no Docker engine answers: real processes in namespaces, and what they leave behind.

The twin of `test_cluster_kind`: `conftest` has the one collected that this machine is for.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.integration.clustertool import kubectl, pids, probed, status, tool, up

from localcluster import binaries, cgroups, images, network, processes, state

A, B = "tooltest-a", "tooltest-b"


def traces(cluster: state.Cluster) -> list[str]:
    """Everything of the cluster that the machine still shows."""
    found = [f"netns {network.namespace(cluster)}"] if network.namespace(cluster).exists() else []
    routes = subprocess.run(["ip", "route"], capture_output=True, text=True, check=True).stdout
    ranges = (cluster.pod_range, cluster.service_range, cluster.host_address)
    found += [f"route {line}" for line in routes.splitlines() if any(word in line for word in ranges)]
    path = str(cluster.path)
    found += [f"mount {line}" for line in Path("/proc/self/mounts").read_text().splitlines() if path in line]
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().decode(errors="replace")
            member = (entry / "cgroup").read_text()
        except OSError:
            continue
        if not words:
            continue  # ended, and waiting for init to take notice: it holds nothing any more
        if f"{path}/" in words or cgroups.root(cluster) + "/" in member:
            found.append(f"process {entry.name} {words[:80]}")
    groups = (folder for folder, _, _ in os.walk("/sys/fs/cgroup"))  # those of others come and go meanwhile
    found += [f"cgroup {folder}" for folder in groups if folder.endswith(cgroups.root(cluster))]
    logs = Path("/var/log/containers").glob("*.log")
    found += [f"link {link}" for link in logs if os.readlink(link).startswith(path)]
    return [*found, *([f"folder {path}"] if cluster.path.exists() else [])]


@pytest.fixture(scope="module")
def nodes() -> Iterator[None]:
    for name in (A, B):
        tool("down", "--name", name)
    yield
    for name in (A, B):
        assert tool("down", "--name", name).returncode == 0


@pytest.mark.usefixtures("nodes")
class TestNode:
    def test_a_pod_runs_restricted_and_finds_api_names_neighbours_and_storage(self) -> None:
        up(A)
        images.ensure_base()
        assert tool("images-load", images.BASE, "--name", A).returncode == 0
        told = probed(A)
        cluster = state.load(A)
        assert cluster is not None
        assert told == {
            "user": 65532,
            "address": cluster.service_address,
            "version": binaries.KUBERNETES_VERSION,
            "neighbour": 200,
            "root": "Read-only file system",
            "outside": -2,  # EAI_NONAME: at once, not after a time-out
        }

    def test_nothing_outside_can_be_reached_from_the_node(self) -> None:
        cluster = state.load(A)
        assert cluster is not None
        # Asks the routing table; no packet is sent. 198.51.100.0/24 is kept for documentation (RFC 5737).
        asked = [*network.enter(cluster), "ip", "route", "get", "198.51.100.1"]
        done = subprocess.run(asked, capture_output=True, text=True, check=False)
        assert done.returncode != 0
        assert "unreachable" in done.stderr.lower() or "no route" in done.stderr.lower()

    def test_a_volume_goes_with_its_claim(self) -> None:
        cluster = state.load(A)
        assert cluster is not None
        volumes = cluster.path / "volumes"
        assert [path.read_text() for path in volumes.glob("*/file")] == ["kept"]
        kubectl(A, "-n", "proof", "delete", "pod/probe", "pvc/data", "--wait=true")
        deadline = time.monotonic() + 15
        while (kubectl(A, "get", "pv", "-o", "name") or list(volumes.iterdir())) and time.monotonic() < deadline:
            time.sleep(0.2)
        assert not kubectl(A, "get", "pv", "-o", "name")
        assert list(volumes.iterdir()) == []

    def test_up_again_changes_nothing_and_takes_no_second(self) -> None:
        began = time.monotonic()
        before = pids(status(A))
        asked = time.monotonic() - began
        began = time.monotonic()
        assert tool("up", "--name", A).returncode == 0
        # 0.4 s by itself; where other work shares the machine, about what asking for its health takes there.
        assert time.monotonic() - began < 3 + 2 * asked
        assert pids(status(A)) == before

    def test_another_cluster_stands_beside_it(self) -> None:
        before = pids(status(A))
        found = up(B)
        assert found["healthy"]
        assert kubectl(B, "get", "nodes", "-o", "name") == f"node/{B}-node\n"
        assert "proof" not in kubectl(B, "get", "namespaces", "-o", "name")
        assert pids(status(A)) == before

    def test_up_mends_a_killed_api_server_and_kubelet_and_keeps_the_data(self) -> None:
        before = pids(status(A))
        for part in ("kube-apiserver", "kubelet"):
            processes.kill(before[part])
        assert tool("status", "--name", A).returncode == 1
        after = pids(up(A))
        assert {part for part in after if after[part] != before[part]} == {"kube-apiserver", "kubelet"}
        kubectl(A, "-n", "proof", "wait", "--for=condition=Ready", "pod/web", "--timeout=30s")

    def test_up_makes_anew_what_another_boot_left(self) -> None:
        cluster = state.load(B)
        assert cluster is not None
        for pid in pids(status(B)).values():
            processes.kill(pid)
        record = cluster.path / "cluster.json"
        record.write_text(json.dumps({**json.loads(record.read_text()), "boot": "another"}))
        subprocess.run(["ip", "link", "del", f"dop{cluster.index}h"], check=True)
        assert up(B)["healthy"]

    def test_down_leaves_nothing_of_its_own_and_all_of_its_neighbour(self) -> None:
        cluster, before = state.load(A), pids(status(B))
        assert cluster is not None
        assert traces(cluster)  # or the next look proves nothing
        assert kubectl(A, "-n", "proof", "get", "pod", "web", "-o", "jsonpath={.status.phase}") == "Running"
        done = tool("down", "--name", A)
        assert done.returncode == 0, done.stderr
        assert traces(cluster) == []
        assert status(B)["healthy"]
        assert pids(status(B)) == before
