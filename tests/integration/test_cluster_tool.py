"""The cluster tool on this machine: control planes as real processes, and what they leave behind.

Clusters have names of their own, so that a demo that is up is never touched.
"""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from tests.integration.clustertool import TOOLS, kubectl, tool

from localcluster import processes
from localcluster.controlplane import ControlPlane

PLANE = "tooltest-plane"


def test_a_control_plane_serves_tokens_writes_its_audit_log_and_goes_without_a_trace() -> None:
    with ControlPlane.start(PLANE, tuned_jobs=True, audit=True) as plane:
        assert plane.pids.keys() == {"etcd", "kube-apiserver", "kube-controller-manager"}
        words = Path(f"/proc/{plane.pids['kube-controller-manager']}/cmdline").read_text().split("\0")
        assert "--concurrent-job-syncs=32" in words
        call = urllib.request.Request(f"{plane.server}/api", headers={"Authorization": f"Bearer {plane.token}"})
        call.add_header("User-Agent", "the-test")
        trust = ssl.create_default_context(cafile=plane.ca)
        assert urllib.request.urlopen(call, context=trust, timeout=5).status == 200
        kubectl(PLANE, "create", "job", "one", "--image=x")
        deadline = time.monotonic() + 10
        while not kubectl(PLANE, "get", "pods", "-o", "name") and time.monotonic() < deadline:
            time.sleep(0.1)
        assert kubectl(PLANE, "get", "pods", "-o", "name").startswith("pod/one-")
        assert kubectl(PLANE, "create", "token", "default").count(".") == 2
        assert plane.audit_log is not None
        rows = [json.loads(line) for line in plane.audit_log.read_text().splitlines()]
        assert [row["responseStatus"]["code"] for row in rows if row.get("userAgent") == "the-test"] == [200]
        left = plane.pids
    assert all(processes.start_time(pid) is None for pid in left.values())
    assert not plane.kubeconfig.parent.exists()


def test_a_control_plane_replaces_the_one_that_a_crashed_run_left() -> None:
    first = ControlPlane.start(PLANE).pids
    kubectl(PLANE, "create", "namespace", "old")
    processes.kill(first["kube-apiserver"])
    with ControlPlane.start(PLANE) as second:
        assert "namespace/old" not in kubectl(PLANE, "get", "namespaces", "-o", "name")
        assert second.pids["etcd"] != first["etcd"]
        assert processes.start_time(first["etcd"]) is None


def test_an_unknown_cluster_is_an_error_on_stderr_alone() -> None:
    for command in ("kubeconfig", "env", "status"):
        done = tool(command, "--name", "tooltest-none")
        assert (done.returncode, done.stdout) == (1, "")
        assert "there is no cluster 'tooltest-none'" in done.stderr
    assert tool("down", "--name", "tooltest-none").returncode == 0


def test_env_puts_kubeconfig_and_programs_into_a_shell() -> None:
    with ControlPlane.start(PLANE):
        script = f'eval "$({sys.executable} -m localcluster env --name {PLANE})"; kubectl get namespaces -o name'
        done = subprocess.run(
            ["bash", "-euc", f"{script}; helm version"],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PYTHONPATH": str(TOOLS)},
        )
        assert done.returncode == 0, done.stderr
        assert "namespace/default" in done.stdout
