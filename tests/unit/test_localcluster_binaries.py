"""What the build of the cluster's programs refuses, and what it keeps; with a `go` of our own on the PATH."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from localcluster import binaries, debian
from localcluster.errors import ClusterError

Fake = Callable[[str, str], Path]


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    """Puts a shell script on the PATH, before everything else."""
    folder = tmp_path / "fakes"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))

    def put(name: str, body: str) -> Path:
        script = folder / name
        script.write_text(f"#!/bin/sh\n{body}\n")
        script.chmod(0o755)
        return script

    return put


# Answers like go; `go build` leaves the programs that a real one would and notes that it ran.
GO = """
case "$1" in
env) case "$2" in GOVERSION) echo go1.99.0;; *) echo "$XDG_CACHE_HOME"; echo "$XDG_CACHE_HOME";; esac;;
build)
  echo "$PWD" "$@" >> "$XDG_CACHE_HOME/ran"
  for word; do [ "$last" = -o ] && out="$word"; last="$word"; done
  echo "example.com/some/package" >&2
  touch "$out/promtool" "$out/kubeconform";;
esac
"""


def test_a_group_is_built_once_and_found_afterwards(fake: Fake, tmp_path: Path) -> None:
    fake("go", GO)
    first = binaries.ensure("checks")
    assert binaries.ensure("checks") == first == binaries.folder("checks")
    assert sorted(path.name for path in first.iterdir()) == ["kubeconform", "promtool"]
    ran = (tmp_path / "cache" / "ran").read_text().splitlines()
    assert len(ran) == 1
    assert "-mod=readonly" in ran[0]
    assert "-tags remove_all_sd" in ran[0]


def test_a_failed_build_shows_the_end_of_what_go_said_and_keeps_nothing(fake: Fake) -> None:
    fake("go", GO.replace("touch", "echo 'some.go:1:2: broken source' >&2; exit 1; touch"))
    with pytest.raises(ClusterError, match="broken source"):
        binaries.ensure("checks")
    assert not binaries.folder("checks").exists()


def test_without_go_one_sentence_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(ClusterError, match=r"^Go is not on the PATH.* Go 1\.\d+"):
        binaries.ensure("kubernetes")


@pytest.mark.parametrize(("version", "refused"), [("go1.25.9", True), ("go1.26.5", True), ("go1.26.6", False)])
def test_an_old_go_is_refused_with_the_version_that_is_needed(
    fake: Fake, tmp_path: Path, version: str, refused: bool
) -> None:
    fake("go", f"echo {version}")
    lock = tmp_path / "go.mod"
    lock.write_text("module example.com/x\n\ngo 1.26.6\n")
    if refused:
        with pytest.raises(ClusterError, match=rf"Go 1\.26\.6 or newer is needed, {version}"):
            binaries.check_go(lock)
    else:
        binaries.check_go(lock)


def test_a_full_disk_is_refused_before_the_build(fake: Fake, tmp_path: Path) -> None:
    fake("go", GO)
    with pytest.raises(ClusterError, match=r"GiB of disk below .*make room"):
        binaries.check_disk(tmp_path / "not-there-yet", 2**60, "kubernetes")


def test_a_change_of_the_lock_or_of_the_flags_is_another_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "some").mkdir()
    (tmp_path / "some" / "go.mod").write_text("a")
    (tmp_path / "some" / "go.sum").write_text("b")
    monkeypatch.setattr(binaries, "LOCKS", tmp_path)
    keys = [binaries.Group("some", ("p",)).key(), binaries.Group("some", ("p",), tags="t").key()]
    (tmp_path / "some" / "go.sum").write_text("c")
    keys.append(binaries.Group("some", ("p",)).key())
    assert len(set(keys)) == 3


def test_every_group_has_a_complete_lock_that_names_its_programs() -> None:
    for group in binaries.GROUPS.values():
        lock = (binaries.LOCKS / group.module / "go.mod").read_text()
        assert (binaries.LOCKS / group.module / "go.sum").stat().st_size > 0
        for package in group.packages:
            own = package.startswith("./") and (binaries.LOCKS / group.module / package / "main.go").is_file()
            assert own or f"\t{package}\n" in lock or f"tool {package}\n" in lock


def test_a_program_of_our_own_is_built_anew_when_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "some" / "own").mkdir(parents=True)
    for name in ("go.mod", "go.sum", "own/main.go"):
        (tmp_path / "some" / name).write_text("a")
    monkeypatch.setattr(binaries, "LOCKS", tmp_path)
    before = binaries.Group("some", ("./own",)).key()
    (tmp_path / "some" / "own" / "main.go").write_text("b")
    assert binaries.Group("some", ("./own",)).key() != before


def test_checks_are_locked_to_the_clusters_own_modules_of_kubernetes() -> None:
    """The largest that both need: at one version, Go compiles them once."""
    lock = (binaries.LOCKS / "checks" / "go.mod").read_text()
    for module in ("api", "apimachinery", "client-go"):
        assert f"k8s.io/{module} v0.{binaries.KUBERNETES_VERSION.removeprefix('v1.')} " in lock


def test_the_version_that_programs_tell_is_the_one_in_the_lock() -> None:
    lock = (binaries.LOCKS / "kubernetes" / "go.mod").read_text()
    assert f"k8s.io/kubernetes {binaries.KUBERNETES_VERSION} " in lock


def test_missing_packages_are_named_with_the_line_to_run(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    fake("dpkg-query", 'echo "nftables installed"; echo "conntrack config-files"; exit 1')
    assert debian.missing(["nftables", "conntrack", "buildah"]) == ["conntrack", "buildah"]
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(ClusterError, match=r"to run a node; run: sudo apt-get install .*conntrack buildah$"):
        debian.ensure(["nftables", "conntrack", "buildah"], "to run a node")


def test_missing_packages_are_installed_and_announced_for_root(
    fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake("dpkg-query", "exit 1")
    fake("apt-get", f'echo "$@" >> {tmp_path}/ran')
    monkeypatch.setattr("os.geteuid", lambda: 0)
    debian.ensure(["conntrack"], "to run a node")
    ran = (tmp_path / "ran").read_text().splitlines()
    assert ran == ["update", "install --yes --no-install-recommends conntrack"]
    assert "installing Debian packages to run a node: conntrack" in capsys.readouterr().err


def test_an_installed_package_asks_nothing_of_apt(fake: Fake) -> None:
    fake("dpkg-query", "echo 'conntrack installed'")
    fake("apt-get", "exit 1")
    debian.ensure(["conntrack"], "to run a node")
