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


def compiled() -> dict[str, str]:
    """Environment variables by which the operator's modules are compiled once and not at every start, as in its image.

    The tests' own environment may say that nothing is to be written beside the sources; here nothing is.
    """
    return {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(_folder() / "compiled")}


def interpreter() -> Path:
    """The Python of an environment with the locked packages of the operator alone, made at the first call.

    Raises:
        subprocess.CalledProcessError: a package cannot be installed; pip has said why.
    """
    folder = _folder()
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


def _folder() -> Path:
    key = hashlib.sha256(LOCK.read_bytes() + sys.version.encode()).hexdigest()[:16]
    return cache_home() / f"operator-python-{key}"
