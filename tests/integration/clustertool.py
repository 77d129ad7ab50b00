"""The cluster tool as its users call it, and a pod that tries all that a cluster must give it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from localcluster import binaries, images, processes, state

TOOLS = Path(processes.__file__).resolve().parent.parent

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
    cluster = state.load(name)
    by_kind = cluster is not None and cluster.options.mode == "kind"
    program = binaries.ensure("clients" if by_kind else "kubernetes") / "kubectl"
    kubeconfig = tool("kubeconfig", "--name", name).stdout.strip()
    command = [str(program), "--kubeconfig", kubeconfig, *words]
    text = None if given is None else json.dumps(given)
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False, timeout=90)
    assert done.returncode == 0, done.stderr
    return done.stdout


def container(script: str, image: str) -> dict[str, Any]:
    return {
        "name": "main",
        "image": image,
        "command": ["python3", "-c", script],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }


def pod(name: str, script: str, claim: str | None = None, image: str = images.BASE) -> dict[str, Any]:
    main = container(script, image)
    user = {"runAsNonRoot": True, "runAsUser": 65532, "fsGroup": 65532, "seccompProfile": {"type": "RuntimeDefault"}}
    spec: dict[str, Any] = {"restartPolicy": "Never", "securityContext": user, "containers": [main]}
    if claim:
        main["volumeMounts"] = [{"name": "data", "mountPath": "/data"}]
        spec["volumes"] = [{"name": "data", "persistentVolumeClaim": {"claimName": claim}}]
    meta = {"name": name, "namespace": "proof", "labels": {"app": name}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}


def proof_objects(image: str = images.BASE) -> dict[str, Any]:
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "proof", "labels": labels}}
    meta = {"name": "data", "namespace": "proof"}
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}}
    claim = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": meta, "spec": spec}
    ports = {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]}
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "proof"}, "spec": ports}
    serve = "import http.server as h; h.HTTPServer(('', 8080), h.SimpleHTTPRequestHandler).serve_forever()"
    return {"apiVersion": "v1", "kind": "List", "items": [namespace, claim, service, pod("web", serve, image=image)]}


def probed(name: str, image: str = images.BASE) -> dict[str, Any]:
    """What a restricted pod found in a cluster: the API, a neighbour, a claim; and what it could not do."""
    kubectl(name, "apply", "-f", "-", given=proof_objects(image))
    kubectl(name, "-n", "proof", "wait", "--for=condition=Ready", "pod/web", "--timeout=60s")
    kubectl(name, "apply", "-f", "-", given=pod("probe", PROBE, claim="data", image=image))
    ended = "--for=jsonpath={.status.phase}=Succeeded"
    kubectl(name, "-n", "proof", "wait", ended, "pod/probe", "--timeout=60s")
    row = "{.status.containerStatuses[0].state.terminated.message}"
    told: dict[str, Any] = json.loads(
        kubectl(name, "-n", "proof", "get", "pod", "probe", "-o", f"jsonpath={row}"),
    )
    return told
