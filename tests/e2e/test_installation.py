"""The installed chart, as its administrator meets it: tools, documentation, metrics, its own test."""

from __future__ import annotations

import re
from pathlib import Path

from tests.e2e.replicas import Replicas
from tests.e2e.room import Room, begins, shell
from tests.e2e.site import RELEASE, SYSTEM

from localcluster import binaries


def test_helm_test_passes_and_leaves_nothing(room: Room) -> None:
    said = room.site.call("helm", "test", RELEASE, "-n", SYSTEM, "--timeout", "3m", within=240)
    assert re.search(r"Phase:\s+Succeeded", said)
    left = room.site.kubectl("get", "dpl,drun,jobs,serviceaccounts,roles", "-n", SYSTEM, "-o", "name").split()
    assert [name for name in left if name.endswith("-test")] == []
    assert [name for name in left if name.startswith(("pipeline", "job"))] == []


def test_kubectl_explain_reads_like_documentation(room: Room) -> None:
    steps = room.site.kubectl("explain", "pipeline.spec.steps")
    for words in ("outputs", "Program and its first arguments, instead of the image's entrypoint", "startTimeout"):
        assert words in re.sub(r"\s+", " ", steps)
    status = re.sub(r"\s+", " ", room.site.kubectl("explain", "drun.status.waitingFor"))
    assert "Since when, RFC 3339." in status


def test_the_operator_runs_restricted_and_writes_lines_that_tell(room: Room, replicas: Replicas) -> None:
    assert len(replicas.pods()) == 2
    enforce = f"kubectl label namespace {SYSTEM} pod-security.kubernetes.io/enforce=restricted --overwrite"
    said = room.site.call("bash", "-c", f"{enforce} --dry-run=server 2>&1")
    assert "Warning" not in said, "the API server names the pods that would not be allowed"
    leader = replicas.leader()
    log = room.site.kubectl("logs", leader, "-n", SYSTEM)
    assert f"Leading as {leader} by lease" in log
    assert "Caches are synced" in log
    assert "Traceback" not in log, log[-3000:]


def begin_counted(room: Room) -> None:
    room.define("good", [shell("one", "true"), shell("two", "true", needs=["one"])])
    room.define("bad", [shell("one", "exit 1", retry={"limit": 1, "backoff": {"initial": "1s"}})])
    for name, pipeline in (("g1", "good"), ("g2", "good"), ("b1", "bad")):
        room.launch(pipeline, name)


@begins(begin_counted)
def test_metrics_of_the_leader_are_well_formed_and_count_the_runs(
    room: Room, replicas: Replicas, tmp_path: Path
) -> None:
    room.succeeded("g1")
    room.succeeded("g2")
    room.failed("b1")
    path = f"/api/v1/namespaces/{SYSTEM}/pods/{replicas.leader()}:8080/proxy/metrics"
    text = room.site.kubectl("get", "--raw", path)
    room.site.call(str(binaries.ensure("checks") / "promtool"), "check", "metrics", given=text)

    def value(name: str, **labels: str) -> float:
        wanted = {"environment": room.namespace} | labels
        for line in text.splitlines():
            if line.startswith(f"{name}{{") and all(f'{key}="{word}"' in line for key, word in wanted.items()):
                return float(line.rpartition(" ")[2])
        return 0

    assert value("dataops_runs", pipeline="good", phase="Succeeded") == 2
    assert value("dataops_runs", pipeline="bad", phase="Failed") == 1
    assert value("dataops_run_duration_seconds_count", pipeline="good", phase="Succeeded") == 2
    assert value("dataops_step_duration_seconds_count", pipeline="good", phase="Succeeded") == 4
    assert value("dataops_step_retries_total", pipeline="bad", reason="Error") == 1
    assert value("dataops_queue_wait_seconds_count", pipeline="good") == 2
    assert "\ndataops_leader 1.0\n" in text


def test_make_kubeconfig_and_make_env_print_what_a_shell_can_use(room: Room) -> None:
    site = room.site
    assert site.call("make", "-s", "kubeconfig", "NAME=e2e") == f"{site.kubeconfig}\n"
    ask = 'eval "$(make -s env NAME=e2e)" && command -v kubectl helm && kubectl get nodes -o name && helm list -A -q'
    bare = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": site.environment["HOME"]}
    said = site.call("bash", "-c", ask, env=bare).splitlines()
    assert [Path(line).name for line in said[:2]] == ["kubectl", "helm"]
    assert said[2].startswith("node/e2e-")
    assert said[3] == RELEASE
