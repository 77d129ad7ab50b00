"""The cluster tool's clusters where a Docker engine answers: made, used, lost and deleted by kind.

The twin of `test_cluster_node`: `conftest` has the one collected that this machine is for.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.integration.clustertool import kubectl, probed, status, tool, up

from localcluster import images, kind, state

A, B = "tooltest-a", "tooltest-b"
IMAGE = "localhost/tooltest:1"


def said(*words: str) -> list[str]:
    """The lines that a command prints."""
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.split()


def containers(name: str) -> list[str]:
    """Ids of the containers of a cluster, by the label that kind gives them."""
    return said("docker", "ps", "--all", "--quiet", "--filter", f"label=io.x-k8s.kind.cluster={name}")


@pytest.fixture(scope="module")
def nodes() -> Iterator[None]:
    for name in (A, B):
        tool("down", "--name", name)
    yield
    for name in (A, B):
        assert tool("down", "--name", name).returncode == 0


@pytest.mark.usefixtures("nodes")
class TestKind:
    def test_a_pod_runs_restricted_and_finds_api_names_neighbours_and_storage(self, tmp_path: Path) -> None:
        assert up(A)["mode"] == "kind"
        dockerfile = tmp_path / "Dockerfile"
        dockerfile.write_text("ARG BASE=docker.io/library/python:3.13-slim\nFROM ${BASE}\n")
        images.build(IMAGE, dockerfile, tmp_path, {})
        assert tool("images-load", IMAGE, "--name", A).returncode == 0
        told = probed(A, IMAGE)
        service = kubectl(A, "get", "service", "kubernetes", "-o", "jsonpath={.spec.clusterIP}")
        assert (told["user"], told["root"], told["neighbour"]) == (65532, "Read-only file system", 200)
        assert told["address"] == service
        assert kubectl(A, "-n", "proof", "get", "pvc", "data", "-o", "jsonpath={.status.phase}") == "Bound"
        assert kubectl(A, "-n", "proof", "get", "pvc", "data", "-o", "jsonpath={.spec.storageClassName}") == "standard"

    def test_up_again_changes_nothing(self) -> None:
        before = containers(A)
        assert len(before) == 1
        assert tool("up", "--name", A).returncode == 0
        assert containers(A) == before

    def test_another_cluster_stands_beside_it(self) -> None:
        assert up(B)["healthy"]
        assert kubectl(B, "get", "nodes", "-o", "name") == f"node/{B}-control-plane\n"
        assert "proof" not in kubectl(B, "get", "namespaces", "-o", "name")
        assert {A, B} <= set(said(kind.program(), "get", "clusters"))

    def test_up_makes_anew_what_somebody_removed_from_the_engine(self) -> None:
        said("docker", "rm", "--force", "--volumes", *containers(B))
        assert tool("status", "--name", B).returncode == 1
        assert up(B)["healthy"]
        kubectl(B, "wait", "--for=condition=Ready", "nodes", "--all", "--timeout=60s")

    def test_down_leaves_nothing_of_its_own_and_all_of_its_neighbour(self) -> None:
        cluster, before = state.load(A), containers(B)
        assert cluster is not None
        done = tool("down", "--name", A)
        assert done.returncode == 0, done.stderr
        assert containers(A) == []
        assert A not in said(kind.program(), "get", "clusters")
        assert not cluster.path.exists()
        assert containers(B) == before
        assert status(B)["healthy"]
