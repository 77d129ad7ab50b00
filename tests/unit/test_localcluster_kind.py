"""The way by kind, with a `docker` and a `kind` that note how they are called."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from localcluster import binaries, clusters, images, kind, state
from localcluster.cli import main
from localcluster.errors import ClusterError

KIND = """
echo "kind $@" >> {calls}
case "$1 $2" in
"get clusters") ls {made} ;;
"create cluster") touch {made}/$4 ;;
"delete cluster") rm -f {made}/$4 ;;
esac
"""


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Docker engine that answers and a kind; the file says how both were called."""
    folder, noted, made = tmp_path / "fakes", tmp_path / "calls", tmp_path / "made"
    folder.mkdir()
    made.mkdir()
    for name, body in (("docker", f'echo "docker $@" >> {noted}'), ("kind", KIND.format(calls=noted, made=made))):
        (folder / name).write_text(f"#!/bin/sh\n{body}\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(binaries, "ensure", lambda name: tmp_path / name)
    return noted


def said(calls: Path, first: str) -> list[str]:
    return [line for line in calls.read_text().splitlines() if line.startswith(first)]


def test_up_creates_once_and_down_deletes(calls: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["up", "--name", "k"]) == 0
    assert main(["up", "--name", "k"]) == 0
    cluster = state.load("k")
    assert cluster is not None
    assert cluster.options.mode == "kind"
    config = f"--config {kind.CONFIG} --wait 120s --kubeconfig {cluster.kubeconfig}"
    assert said(calls, "kind create") == [f"kind create cluster --name k {config}"]
    assert main(["status", "--name", "k"]) == 0
    capsys.readouterr()
    assert main(["kubeconfig", "--name", "k"]) == 0
    assert capsys.readouterr().out == f"{cluster.kubeconfig}\n"
    assert main(["down", "--name", "k"]) == 0
    assert said(calls, "kind delete") == [f"kind delete cluster --name k --kubeconfig {cluster.kubeconfig}"]
    assert state.load("k") is None


def test_images_are_built_by_docker_and_loaded_by_kind(calls: Path, tmp_path: Path) -> None:
    dockerfile = tmp_path / "Dockerfile"
    dockerfile.write_text("ARG BASE=docker.io/library/python:3.13-slim\nFROM $BASE\n")
    images.build("localhost/x:1", dockerfile, tmp_path, {"A": "b"})
    assert said(calls, "docker build") == [
        f"docker build -t localhost/x:1 -f {dockerfile} --build-arg A=b {tmp_path}"  # the public base stays
    ]
    clusters.up("k")
    assert main(["images-load", "localhost/x:1", "--name", "k"]) == 0
    assert said(calls, "kind load") == ["kind load docker-image --name k localhost/x:1"]


@pytest.mark.usefixtures("calls")
def test_what_kind_cannot_do_is_refused() -> None:
    with pytest.raises(ClusterError, match="not for kind"):
        clusters.up("k", audit=True)
    assert state.load("k") is None


@pytest.mark.usefixtures("calls")
def test_a_failing_kind_shows_its_last_lines(tmp_path: Path) -> None:
    (tmp_path / "fakes" / "kind").write_text("#!/bin/sh\necho 'no space left' >&2; exit 1\n")
    with pytest.raises(ClusterError, match="no space left"):
        clusters.up("k")


@pytest.mark.usefixtures("calls")
def test_an_engine_that_does_not_answer_does_not_count(tmp_path: Path) -> None:
    assert kind.docker_answers()
    (tmp_path / "fakes" / "docker").write_text("#!/bin/sh\nexit 1\n")
    assert not kind.docker_answers()
    (tmp_path / "fakes" / "docker").unlink()
    assert not kind.docker_answers()


@pytest.mark.parametrize(("engine", "collected"), [("exit 0", "kind"), ("exit 1", "node")])
def test_the_tests_of_clusters_with_nodes_are_those_of_what_this_machine_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: str, collected: str
) -> None:
    (tmp_path / "docker").write_text(f"#!/bin/sh\n{engine}\n")
    (tmp_path / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    root = Path(__file__).parents[2]
    collect = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider"]
    collect.append("--ignore-glob=*/test_[!c]*.py")  # importing all the others takes seconds
    done = subprocess.run([*collect, "tests/integration"], cwd=root, capture_output=True, text=True, check=True)
    files = {line.partition("::")[0] for line in done.stdout.splitlines() if "::" in line}
    clusters = {file for file in files if "/test_cluster_" in file}
    assert clusters == {f"tests/integration/test_cluster_{one}.py" for one in ("tool", collected)}
