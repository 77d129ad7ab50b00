"""The bill of materials of an image, in CycloneDX 1.6, from the lock file that the image is built of.

    python3 tools/sbom.py dataops-operator 0.1.0 requirements/operator.txt > operator.cdx.json

The lock file is the truth: the image is installed from it with --require-hashes, so nothing else can be inside. What
the base image brings is in the base image's own bill.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

_ENTRY = re.compile(r"^(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)(\[[^\]]*\])?==(?P<version>[^ ;\\]+)")
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")


def components(lock: Path) -> list[dict[str, Any]]:
    """The packages of a lock file, with the hashes of the files that may be installed.

    Raises:
        ValueError: a line is no pinned package with a hash.
    """
    found = []
    for line in lock.read_text(encoding="utf-8").replace("\\\n", " ").splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        entry, hashes = _ENTRY.match(line), _HASH.findall(line)
        if entry is None or not hashes:
            raise ValueError(f"{lock.name}: not a pinned package with a hash: {line[:80]}")
        name, version = entry["name"], entry["version"]
        found.append(
            {
                "type": "library",
                "bom-ref": f"pkg:pypi/{name}@{version}",
                "name": name,
                "version": version,
                "purl": f"pkg:pypi/{name}@{version}",
                "hashes": [{"alg": "SHA-256", "content": digest} for digest in sorted(set(hashes))],
            }
        )
    return found


def bill(name: str, version: str, lock: Path) -> dict[str, Any]:
    """The bill of materials of one image."""
    listed = components(lock)
    root = f"pkg:oci/{name}@{version}"
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": {"type": "container", "bom-ref": root, "name": name, "version": version}},
        "components": listed,
        "dependencies": [{"ref": root, "dependsOn": [one["bom-ref"] for one in listed]}],
    }


def main() -> int:
    """Print the bill; returns the exit code."""
    parser = argparse.ArgumentParser(prog="sbom", description=__doc__.partition("\n")[0])
    parser.add_argument("name", help="name of the image")
    parser.add_argument("version", help="its version")
    parser.add_argument("lock", type=Path, help="the lock file that it is installed from")
    arguments = parser.parse_args()
    try:
        print(json.dumps(bill(arguments.name, arguments.version, arguments.lock), indent=2))
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
