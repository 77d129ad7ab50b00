"""Writes a container image of a single layer as an OCI archive, with nothing but the standard library."""

from __future__ import annotations

import hashlib
import io
import json
import platform
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_TYPE = "application/vnd.oci.image"


def write(archive: Path, image: str, programs: Sequence[Path], entrypoint: Sequence[str]) -> None:
    """Write an image from scratch that holds static programs in its root.

    Args:
        archive: The file to write.
        image: The image's full name with a tag.
        programs: Files that go to ``/NAME`` with mode 0755.
        entrypoint: What the image runs.
    """
    blobs: dict[str, bytes] = {}

    def add(content: bytes, media: str) -> dict[str, Any]:
        digest = hashlib.sha256(content).hexdigest()
        blobs[digest] = content
        return {"mediaType": media, "digest": f"sha256:{digest}", "size": len(content)}

    layer = _tar({program.name: program.read_bytes() for program in programs})
    layer_row = add(layer, f"{_TYPE}.layer.v1.tar")
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    config = {
        "architecture": machine,
        "os": "linux",
        "config": {"Entrypoint": list(entrypoint), "User": "65535:65535", "WorkingDir": "/"},
        "rootfs": {"type": "layers", "diff_ids": [layer_row["digest"]]},
    }
    config_row = add(json.dumps(config).encode(), f"{_TYPE}.config.v1+json")
    manifest = {"schemaVersion": 2, "mediaType": f"{_TYPE}.manifest.v1+json"}
    manifest_row = add(
        json.dumps({**manifest, "config": config_row, "layers": [layer_row]}).encode(),
        f"{_TYPE}.manifest.v1+json",
    )
    # containerd takes its reference from the first annotation, other tools from the second.
    names = {"io.containerd.image.name": image, "org.opencontainers.image.ref.name": image}
    index = {"schemaVersion": 2, "manifests": [{**manifest_row, "annotations": names}]}
    files = {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}', "index.json": json.dumps(index).encode()}
    archive.write_bytes(_tar({**files, **{f"blobs/sha256/{key}": blob for key, blob in blobs.items()}}))


def _tar(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, content in files.items():
            row = tarfile.TarInfo(name)
            row.size, row.mode = len(content), 0o755
            tar.addfile(row, io.BytesIO(content))
    return out.getvalue()
