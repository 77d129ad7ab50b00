"""Debian packages that the tool calls: installed and announced where root allows it, else named."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence

from localcluster.errors import ClusterError, say
from localcluster.state import exclusive


def missing(packages: Sequence[str]) -> list[str]:
    """Those of ``packages`` that dpkg does not call installed."""
    if not packages:
        return []
    if shutil.which("dpkg-query") is None:
        raise ClusterError(
            f"this machine has no dpkg, and these programs are needed: {' '.join(packages)}; "
            "on a machine that is not Debian or Ubuntu run Docker, and kind is used instead"
        )
    query = ["dpkg-query", "--show", "--showformat=${Package} ${db:Status-Status}\\n", *packages]
    done = subprocess.run(query, capture_output=True, text=True, check=False)
    rows = (line.split() for line in done.stdout.splitlines())
    installed = {row[0] for row in rows if row[1:] == ["installed"]}
    return [package for package in packages if package not in installed]


def ensure(packages: Sequence[str], why: str) -> None:
    """Install what is missing.

    Args:
        packages: Debian package names.
        why: The purpose, for the message: "to build runc".

    Raises:
        ClusterError: Not root (the line to run is in the message), or apt-get fails.
    """
    wanted = missing(packages)
    if not wanted:
        return
    line = f"apt-get install --no-install-recommends {' '.join(wanted)}"
    if os.geteuid() != 0:
        raise ClusterError(f"Debian packages are missing {why}; run: sudo {line}")
    with exclusive(".debian"):
        _install(missing(packages), why)


def _install(wanted: Sequence[str], why: str) -> None:
    if not wanted:
        return  # by another process, while this one waited
    say(f"installing Debian packages {why}: {' '.join(wanted)}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    install = ["apt-get", "install", "--yes", "--no-install-recommends", *wanted]
    for command in (["apt-get", "update"], install):
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            reason = "\n  ".join((done.stderr or done.stdout).strip().splitlines()[-5:])
            raise ClusterError(f"`{' '.join(command)}` failed; run it by hand:\n  {reason}")
