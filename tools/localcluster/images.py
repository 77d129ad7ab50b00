"""Container images without a registry: a base image from Debian's packages, builds, loading into a cluster.

Where a Docker engine answers, docker builds and kind loads; else buildah builds and ctr imports.
"""

from __future__ import annotations

import fcntl
import os
import re
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from localcluster import binaries, debian, kind
from localcluster.errors import ClusterError, say
from localcluster.state import Cluster, cache_home

# Raise the last number to take newer Debian packages; it names the image, so a cached one is never mixed up.
BASE_PIN = "3.13-trixie-1"
BASE = f"localhost/dataops-pybase:{BASE_PIN}"
_SUITE = "trixie"
_BASE_PACKAGES = ("ca-certificates", "python-is-python3", "python3", "python3-venv")
_LEFT_OUT = ("man", "doc", "locale")
_BUILD_PACKAGES = ("buildah", "mmdebstrap", "debian-archive-keyring")
_BASE_DOCKERFILE = """\
FROM scratch
ADD base.tar /
ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8
CMD ["python3"]
"""
# Where a build finds the host's certificates; mounted for its time only, so no image carries them.
_CA_INSIDE = "/run/host-ca.pem"
_FULL_NAME = re.compile(r"(localhost|[a-z0-9.-]+[.:][a-z0-9.:-]*)/[a-z0-9][a-z0-9._/-]*:[\w][\w.-]*")


def check_name(image: str) -> None:
    """Refuse a short name: Docker, buildah and Kubernetes each complete it in another way."""
    if not _FULL_NAME.fullmatch(image):
        raise ClusterError(f"'{image}' is not a full image name: write it like localhost/my-image:dev")


def build(image: str, dockerfile: Path, context: Path, arguments: Mapping[str, str]) -> None:
    """Build an image.

    Args:
        image: Its full name with a tag.
        dockerfile: The Dockerfile. One with ``ARG BASE`` gets the local base image where no Docker engine answers.
        context: The folder that its COPY lines read from.
        arguments: Build arguments.

    Raises:
        ClusterError: A file, a package or root is missing, or the build fails.
    """
    check_name(image)
    if not dockerfile.is_file() or not context.is_dir():
        raise ClusterError(f"there is no Dockerfile {dockerfile} or no folder {context} to build {image} from")
    named = dict(arguments)
    if kind.docker_answers():
        _run(["docker", "build", "-t", image, "-f", str(dockerfile), *_build_args(named), str(context)], image)
        return
    _require()
    if re.search(r"^ARG\s+BASE\b", dockerfile.read_text(), re.MULTILINE) and "BASE" not in named:
        named["BASE"] = ensure_base()
    say(f"building {image}")
    with tempfile.TemporaryDirectory() as scratch:
        _buildah_build(image, dockerfile, context, [*_build_args(named), *host_trust(Path(scratch))])


def ensure_base() -> str:
    """Make the base image (Debian with Python) unless it is there; returns its name."""
    _require()
    folder = cache_home() / "images"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "base.lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        if _identity(BASE) is None:
            say(f"making the base image {BASE} from Debian {_SUITE} (once, about a minute)")
            with tempfile.TemporaryDirectory(dir=folder) as scratch:
                _bootstrap(Path(scratch))
    return BASE


def _bootstrap(scratch: Path) -> None:
    scratch.chmod(0o755)  # mmdebstrap's apt runs as its own user
    without = [f"--dpkgopt=path-exclude=/usr/share/{what}/*" for what in _LEFT_OUT]
    include = f"--include={','.join(_BASE_PACKAGES)}"
    _run(["mmdebstrap", "--variant=minbase", include, *without, _SUITE, str(scratch / "base.tar")], BASE)
    (scratch / "Dockerfile").write_text(_BASE_DOCKERFILE)
    _buildah_build(BASE, scratch / "Dockerfile", scratch, [])


def load(cluster: Cluster, images: Sequence[str]) -> None:
    """Copy images into a cluster; one that is there already in this very form is left alone.

    Raises:
        ClusterError: An image was not built, or the cluster cannot take it.
    """
    for image in images:
        check_name(image)
        if cluster.options.mode == "kind":
            kind.load_image(cluster, image)
        elif cluster.options.mode == "node":
            _load_native(cluster, image)
        else:
            raise ClusterError(f"'{cluster.name}' has no node to load {image} into: start it with `up`")


def _load_native(cluster: Cluster, image: str) -> None:
    identity = _identity(image)
    if identity is None:
        raise ClusterError(f"there is no image {image}: build it with `images-build {image} DOCKERFILE CONTEXT`")
    loaded = cluster.path / "images" / _file_name(image)
    if loaded.is_file() and loaded.read_text() == identity:
        return
    say(f"loading {image} into {cluster.name}")
    import_archive(cluster, _archive(image, identity), image)
    loaded.parent.mkdir(exist_ok=True)
    loaded.write_text(identity)


def import_archive(cluster: Cluster, archive: Path, image: str) -> None:
    """Import an OCI archive into a node cluster's containerd."""
    ctr = [f"{binaries.ensure('kubernetes')}/ctr", "--address", str(cluster.path / "containerd.sock")]
    # With --digests a reference by digest resolves too, and with its base name it is the image's own in a pod's status.
    name = image.rpartition(":")[0]
    _run([*ctr, "--namespace", "k8s.io", "images", "import", "--digests", "--base-name", name, str(archive)], image)


def _archive(image: str, identity: str) -> Path:
    folder = cache_home() / "images"
    folder.mkdir(parents=True, exist_ok=True)
    archive = folder / f"{_file_name(image)}.tar"
    mark = archive.with_suffix(".id")
    with archive.with_suffix(".lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        if not (archive.is_file() and mark.is_file() and mark.read_text() == identity):
            archive.unlink(missing_ok=True)
            _run([*_buildah(), "push", "--quiet", image, f"oci-archive:{archive}:{image}"], image)
            mark.write_text(identity)
    return archive


def _identity(image: str) -> str | None:
    command = [*_buildah(), "images", "--quiet", "--no-trunc", image]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or None if done.returncode == 0 else None


def _buildah() -> list[str]:
    # Storage of its own: nothing of another user of buildah on this machine is seen or touched.
    store = cache_home() / "buildah"
    return ["buildah", "--storage-driver", "overlay", "--root", f"{store}/storage", "--runroot", f"{store}/run"]


def _buildah_build(image: str, dockerfile: Path, context: Path, options: Sequence[str]) -> None:
    command = [*_buildah(), "build", "--isolation", "chroot", "--network", "host", "--layers", *options]
    _run([*command, "-t", image, "-f", str(dockerfile), str(context)], image)


def _build_args(arguments: Mapping[str, str]) -> list[str]:
    return [word for key, value in arguments.items() for word in ("--build-arg", f"{key}={value}")]


def host_trust(scratch: Path) -> list[str]:
    """Mounts that let pip inside the build reach what pip on the host reaches.

    A configuration file and not variables: those would have to stand in each Dockerfile.
    """
    lines = ["[global]"]
    mounts = []
    bundle = os.environ.get("PIP_CERT") or os.environ.get("SSL_CERT_FILE")
    if bundle and Path(bundle).is_file():
        lines.append(f"cert = {_CA_INSIDE}")
        mounts += ["--volume", f"{Path(bundle).resolve()}:{_CA_INSIDE}:ro"]
    for variable, option in (("PIP_INDEX_URL", "index-url"), ("PIP_EXTRA_INDEX_URL", "extra-index-url")):
        if value := os.environ.get(variable):
            lines.append(f"{option} = {value}")
    if len(lines) == 1:
        return []
    config = scratch / "pip.conf"
    config.write_text("\n".join(lines) + "\n")
    return [*mounts, "--volume", f"{config}:/etc/pip.conf:ro"]


def _file_name(image: str) -> str:
    return re.sub(r"[^A-Za-z0-9.-]", "_", image)


def _require() -> None:
    if os.geteuid() != 0:
        raise ClusterError("building an image without Docker needs root: run it with sudo, or start Docker")
    debian.ensure(_BUILD_PACKAGES, "to build images")


def _run(command: list[str], image: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        lines = (done.stdout + done.stderr).strip().splitlines()[-30:]
        raise ClusterError(f"{image}: `{' '.join(command[:1])}` failed:\n  " + "\n  ".join(lines))
