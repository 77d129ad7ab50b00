"""Processes, names, claims and images: the tool's small parts."""

from __future__ import annotations

import io
import json
import os
import sys
import tarfile
import time
from pathlib import Path
from typing import Any

import pytest

from localcluster import clusters, controlplane, images, oci, processes, state, volumes
from localcluster.cli import main
from localcluster.errors import ClusterError
from localcluster.processes import Part, Supervisor
from localcluster.state import Options


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def sleeper(tmp_path: Path) -> Part:
    """A part that is healthy once it has made a file."""
    mark = tmp_path / "mark"
    script = f"import pathlib, time; pathlib.Path({str(mark)!r}).touch(); time.sleep(60)"
    return Part("sleeper", [sys.executable, "-c", script], mark.exists)


def test_a_part_is_started_once_found_again_and_stopped(tmp_path: Path) -> None:
    part = sleeper(tmp_path)
    supervisor = Supervisor(tmp_path)
    assert supervisor.start(part)
    supervisor.wait(part)
    pid = Supervisor(tmp_path).pids()["sleeper"]
    assert not Supervisor(tmp_path).start(part)
    supervisor.stop("sleeper")
    supervisor.stop("sleeper")
    assert processes.start_time(pid) is None
    assert supervisor.pids() == {}


def test_a_process_that_only_has_the_recorded_number_is_not_ours(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    record = {"pid": os.getpid(), "start": 1, "boot": state.boot_id()}
    (tmp_path / "run" / "x.json").write_text(json.dumps(record))
    supervisor = Supervisor(tmp_path)
    assert supervisor.pid("x") is None
    supervisor.stop("x")  # and this test lives on
    own = {**record, "start": processes.start_time(os.getpid())}
    (tmp_path / "run" / "x.json").write_text(json.dumps({**own, "boot": "another boot"}))
    assert supervisor.pid("x") is None
    (tmp_path / "run" / "x.json").write_text(json.dumps({**own, "start": None}))  # it ended before that could be read
    assert supervisor.pid("x") is None


def test_a_part_that_ends_shows_its_last_lines_at_once(tmp_path: Path) -> None:
    script = "print('first'); [print('line', n) for n in range(20)]; raise SystemExit(3)"
    part = Part("broken", [sys.executable, "-c", script], lambda: False)
    supervisor = Supervisor(tmp_path)
    supervisor.start(part)
    began = time.monotonic()
    with pytest.raises(ClusterError, match="broken ended right after its start") as error:
        supervisor.wait(part, seconds=30)
    assert time.monotonic() - began < 10
    assert "line 19" in str(error.value)
    assert "first" not in str(error.value)


def test_a_part_that_ends_since_what_it_needs_comes_late_is_started_again(tmp_path: Path) -> None:
    tries, mark = tmp_path / "tries", tmp_path / "mark"
    script = (
        f"import pathlib, sys, time; tries = pathlib.Path({str(tries)!r}); tries.open('a').write('x'); "
        f"len(tries.read_text()) < 3 and sys.exit('it is not there yet'); pathlib.Path({str(mark)!r}).touch(); "
        "time.sleep(60)"
    )
    part = Part("late", [sys.executable, "-c", script], mark.exists, again=30)
    supervisor = Supervisor(tmp_path)
    supervisor.start(part)
    supervisor.wait(part)
    assert tries.read_text() == "xxx"
    supervisor.stop("late")
    hopeless = Part("hopeless", [sys.executable, "-c", "raise SystemExit(3)"], lambda: False, again=0.5)
    supervisor.start(hopeless)
    with pytest.raises(ClusterError, match="hopeless ended right after its start"):
        supervisor.wait(hopeless)


def test_a_part_that_never_gets_healthy_is_told_as_such(tmp_path: Path) -> None:
    part = Part("deaf", [sys.executable, "-c", "import time; time.sleep(60)"], lambda: False)
    supervisor = Supervisor(tmp_path)
    supervisor.start(part)
    with pytest.raises(ClusterError, match="deaf is not healthy after 0 s"):
        supervisor.wait(part, seconds=0.1)
    supervisor.stop("deaf")


def test_a_process_whose_start_was_cut_off_before_its_record_is_found_and_ended(tmp_path: Path) -> None:
    supervisor = Supervisor(tmp_path)
    script = "import time; time.sleep(60)"
    for name, where in (("lost", tmp_path / "config"), ("stranger", "/elsewhere/config")):
        supervisor.start(Part(name, [sys.executable, "-c", script, str(where)], lambda: True))
    lost, stranger = supervisor.pids()["lost"], supervisor.pids()["stranger"]
    (tmp_path / "run" / "lost.json").unlink()
    assert processes.strays(tmp_path, {"etcd"}) == []
    processes.end_strays(tmp_path, {"etcd", Path(sys.executable).name})
    assert processes.start_time(lost) is None
    assert processes.start_time(stranger) is not None
    supervisor.stop("stranger")


@pytest.mark.parametrize("name", ["", "Demo", "-a", "a-", "a/b", "..", "a" * 33])
def test_a_name_that_is_none_is_refused(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["up", f"--name={name}"]) == 1
    assert "is no cluster name" in capsys.readouterr().err


def test_clusters_get_ports_and_addresses_of_their_own() -> None:
    made = [state.allocate(name, Options("control-plane")) for name in ("a", "b", "c")]
    assert len({cluster.server for cluster in made}) == 3
    assert len({cluster.pod_range for cluster in made}) == 3
    middle = made[1].index
    made[1].forget()
    assert state.allocate("d", Options("control-plane")).index == middle
    assert [cluster.name for cluster in state.load_all()] == ["a", "c", "d"]


def test_a_record_cut_short_counts_as_no_cluster() -> None:
    cluster = state.allocate("a", Options("control-plane"))
    (cluster.path / "cluster.json").write_text('{"name": "a", "ind')
    assert state.load("a") is None
    assert main(["down", "--name", "a"]) == 0


def test_other_options_than_the_clusters_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clusters, "_prepare", lambda name, options: None)
    state.allocate("a", Options("control-plane", audit=True))
    with pytest.raises(
        ClusterError, match=r"as mode control-plane --audit, not as mode control-plane: run `down --name a`"
    ):
        clusters.up("a", control_plane_only=True)


def test_a_node_without_root_is_refused_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(ClusterError, match="a node needs root"):
        controlplane.require_root()


def claim(**changes: Any) -> dict[str, Any]:
    body: dict[str, Any] = {
        "metadata": {
            "name": "data",
            "namespace": "n",
            "uid": "1-2",
            "resourceVersion": "7",
            "annotations": {"volume.kubernetes.io/selected-node": "demo-node"},
        },
        "spec": {
            "storageClassName": "standard",
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}},
        },
        "status": {"phase": "Pending"},
    }
    for path, value in changes.items():
        part, field = path.split("__")
        body[part][field] = value
    return body


def test_a_claim_that_a_pod_needs_gets_a_volume_bound_to_it(tmp_path: Path) -> None:
    volume = volumes.volume_for(claim(), tmp_path, "demo-node")
    assert volume is not None
    assert volume["spec"]["claimRef"]["uid"] == "1-2"
    assert volume["spec"]["capacity"] == {"storage": "1Gi"}
    assert volume["spec"]["local"] == {"path": f"{tmp_path}/pvc-1-2"}
    assert volume["spec"]["persistentVolumeReclaimPolicy"] == "Delete"


@pytest.mark.parametrize(
    "changes",
    [
        {"metadata__annotations": {}},
        {"metadata__annotations": {"volume.kubernetes.io/selected-node": "another"}},
        {"metadata__deletionTimestamp": "2026-01-01T00:00:00Z"},
        {"spec__storageClassName": "other"},
        {"spec__volumeName": "given"},
        {"spec__volumeMode": "Block"},
        {"status__phase": "Bound"},
    ],
    ids=["no pod yet", "another node", "being deleted", "another class", "a volume by name", "block", "bound"],
)
def test_other_claims_get_none(changes: dict[str, Any], tmp_path: Path) -> None:
    assert volumes.volume_for(claim(**changes), tmp_path, "demo-node") is None


@pytest.mark.parametrize(
    ("phase", "provisioner", "gone"),
    [("Released", volumes.PROVISIONER, True), ("Bound", volumes.PROVISIONER, False), ("Released", "other", False)],
)
def test_only_our_own_released_volumes_are_removed(phase: str, provisioner: str, gone: bool) -> None:
    meta = {"name": "v", "annotations": {"pv.kubernetes.io/provisioned-by": provisioner}}
    assert volumes.released({"metadata": meta, "status": {"phase": phase}}) is gone


@pytest.mark.parametrize("name", ["localhost/a:1", "ghcr.io/acme/a/b:v1.2-x", "localhost:5000/a:1"])
def test_full_image_names_are_taken(name: str) -> None:
    images.check_name(name)


@pytest.mark.parametrize("name", ["a", "a:1", "acme/a:1", "localhost/a", "localhost/A:1"])
def test_short_image_names_are_refused(name: str) -> None:
    with pytest.raises(ClusterError, match="full image name"):
        images.check_name(name)


def test_a_missing_dockerfile_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["images-build", "localhost/a:1", str(tmp_path / "Dockerfile"), str(tmp_path)]) == 1
    assert "there is no Dockerfile" in capsys.readouterr().err


def test_an_archive_names_its_image_and_holds_the_program(tmp_path: Path) -> None:
    program = tmp_path / "pause"
    program.write_bytes(b"static program")
    oci.write(tmp_path / "image.tar", "localhost/pause:1", [program], ["/pause"])
    with tarfile.open(tmp_path / "image.tar") as archive:
        files = {row.name: archive.extractfile(row).read() for row in archive}  # type: ignore[union-attr]
    row = json.loads(files["index.json"])["manifests"][0]
    assert row["annotations"]["io.containerd.image.name"] == "localhost/pause:1"
    manifest = json.loads(files["blobs/sha256/" + row["digest"].removeprefix("sha256:")])
    layer = files["blobs/sha256/" + manifest["layers"][0]["digest"].removeprefix("sha256:")]
    with tarfile.open(fileobj=io.BytesIO(layer)) as inside:
        assert inside.getnames() == ["pause"]
        assert inside.getmember("pause").mode == 0o755


def test_the_hosts_trust_and_index_reach_a_build_and_nothing_where_none_is_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PIP_CERT", "SSL_CERT_FILE", "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    assert images.host_trust(tmp_path) == []
    bundle = tmp_path / "bundle.pem"
    bundle.touch()
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    monkeypatch.setenv("PIP_INDEX_URL", "https://mirror.example/simple")
    words = images.host_trust(tmp_path)
    assert f"{bundle}:/run/host-ca.pem:ro" in words
    assert (tmp_path / "pip.conf").read_text() == (
        "[global]\ncert = /run/host-ca.pem\nindex-url = https://mirror.example/simple\n"
    )
