"""The interpreter that the tests run the operator with: nothing but what its image has.

kopf imports the `kubernetes` package where it finds it, which the tests' own environment has: 50 MB that would not be
the operator's.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import venv
from pathlib import Path

from localcluster.state import cache_home, exclusive

ROOT = Path(__file__).resolve().parents[2]
LOCK = ROOT / "requirements" / "operator.txt"


def interpreter() -> Path:
    """The Python of an environment with the locked packages of the operator alone, made at the first call.

    Raises:
        subprocess.CalledProcessError: a package cannot be installed; pip has said why.
    """
    key = hashlib.sha256(LOCK.read_bytes() + sys.version.encode()).hexdigest()[:16]
    folder = cache_home() / f"operator-python-{key}"
    python = folder / "bin" / "python"
    complete = folder / "complete"
    with exclusive(f".{folder.name}"):  # workers of one test run come here at the same time
        if complete.exists():
            return python
        venv.create(folder, clear=True, with_pip=True)
        install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
        subprocess.run([*install, "--require-hashes", "-r", str(LOCK)], check=True)
        complete.touch()
    return python
