"""The cluster tool on this machine: real processes, real nodes, what they leave behind.

Clusters have names of their own, so that a demo that is up is never touched.
"""

from __future__ import annotations

import json
import os
import shutil
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from localcluster import binaries, cgroups, images, kind, network, processes, state
from localcluster.controlplane import ControlPlane

TOOLS = Path(processes.__file__).resolve().parent.parent
A, B, PLANE = "tooltest-a", "tooltest-b", "tooltest-plane"

needs_node = pytest.mark.skipif(
    os.geteuid() != 0 or kind.docker_answers(), reason="a node without Docker needs root and no Docker engine"
)

# Runs restricted, tries all that a pod may, and tells it in its termination message.
PROBE = """
import json, os, socket, ssl, urllib.request
where = "/var/run/secrets/kubernetes.io/serviceaccount/"
url = "https://kubernetes.default.svc/version"
call = urllib.request.Request(url, headers={"Authorization": "Bearer " + open(where + "token").read()})
trust = ssl.create_default_context(cafile=where + "ca.crt")
open("/data/file", "w").write("kept")
out = {
    "user": os.getuid(),
    "address": socket.gethostbyname("kubernetes.default.svc.cluster.local"),
    "version": json.load(urllib.request.urlopen(call, context=trust, timeout=5))["gitVersion"],
    "neighbour": urllib.request.urlopen("http://web", timeout=5).status,
}
try:
    open("/file", "w")
except OSError as error:
    out["root"] = error.strerror
try:
    socket.gethostbyname("outside.example")
except OSError as error:
    out["outside"] = error.errno
open("/dev/termination-log", "w").write(json.dumps(out))
"""


def tool(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "localcluster", *words]
    environment = {**os.environ, "PYTHONPATH": str(TOOLS)}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=280)


def up(name: str) -> dict[str, Any]:
    done = tool("up", "--name", name)
    assert done.returncode == 0, done.stderr
    return status(name)


def status(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(tool("status", "--name", name, "--json").stdout)
    return found


def pids(found: dict[str, Any]) -> dict[str, int]:
    return {row["name"]: row["pid"] for row in found["parts"] if row["pid"]}


def kubectl(name: str, *words: str, given: Any = None) -> str:
    program = binaries.folder("kubernetes") / "kubectl"
    kubeconfig = tool("kubeconfig", "--name", name).stdout.strip()
    command = [str(program), "--kubeconfig", kubeconfig, *words]
    text = None if given is None else json.dumps(given)
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False, timeout=90)
    assert done.returncode == 0, done.stderr
    return done.stdout


def container(script: str) -> dict[str, Any]:
    return {
        "name": "main",
        "image": images.BASE,
        "command": ["python3", "-c", script],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }


def pod(name: str, script: str, claim: str | None = None) -> dict[str, Any]:
    main = container(script)
    user = {"runAsNonRoot": True, "runAsUser": 65532, "fsGroup": 65532, "seccompProfile": {"type": "RuntimeDefault"}}
    spec: dict[str, Any] = {"restartPolicy": "Never", "securityContext": user, "containers": [main]}
    if claim:
        main["volumeMounts"] = [{"name": "data", "mountPath": "/data"}]
        spec["volumes"] = [{"name": "data", "persistentVolumeClaim": {"claimName": claim}}]
    meta = {"name": name, "namespace": "proof", "labels": {"app": name}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}


def proof_objects() -> dict[str, Any]:
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "proof", "labels": labels}}
    meta = {"name": "data", "namespace": "proof"}
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}}
    claim = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": meta, "spec": spec}
    ports = {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]}
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "proof"}, "spec": ports}
    serve = "import http.server as h; h.HTTPServer(('', 8080), h.SimpleHTTPRequestHandler).serve_forever()"
    return {"apiVersion": "v1", "kind": "List", "items": [namespace, claim, service, pod("web", serve)]}


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
    found += [f"cgroup {folder}" for folder in Path("/sys/fs/cgroup").glob(f"**/{cgroups.root(cluster)[1:]}")]
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


@needs_node
@pytest.mark.usefixtures("nodes")
class TestNode:
    def test_a_pod_runs_restricted_and_finds_api_names_neighbours_and_storage(self) -> None:
        up(A)
        images.ensure_base()
        assert tool("images-load", images.BASE, "--name", A).returncode == 0
        kubectl(A, "apply", "-f", "-", given=proof_objects())
        kubectl(A, "-n", "proof", "wait", "--for=condition=Ready", "pod/web", "--timeout=60s")
        kubectl(A, "apply", "-f", "-", given=pod("probe", PROBE, claim="data"))
        ended = "--for=jsonpath={.status.phase}=Succeeded"
        kubectl(A, "-n", "proof", "wait", ended, "pod/probe", "--timeout=60s")
        row = "{.status.containerStatuses[0].state.terminated.message}"
        told = json.loads(kubectl(A, "-n", "proof", "get", "pod", "probe", "-o", f"jsonpath={row}"))
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
        before = pids(status(A))
        began = time.monotonic()
        assert tool("up", "--name", A).returncode == 0
        assert time.monotonic() - began < 3  # 0.4 s by itself; other work may share the machine
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


@pytest.mark.skipif(shutil.which("bash") is None, reason="eval needs a shell")
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
