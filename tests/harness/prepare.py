"""Installs what tests would install at their first use, in their own time: `python -m tests.harness.prepare`."""

from __future__ import annotations

from tests.harness import interpreter, postgres

if __name__ == "__main__":
    interpreter.interpreter()
    postgres.programs()
