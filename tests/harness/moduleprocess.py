"""A module of the tests as a process of its own, so that its CPU time is apart from everybody's."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.harness.api import Api
from tests.harness.process import Logged

ROOT = Path(__file__).resolve().parents[2]
TOKEN = "API_TOKEN"
START_WITHIN = END_WITHIN = 20.0
"""Seconds."""


class ModuleProcess(Logged):
    """A module that talks to an API server, until SIGTERM; a context manager.

    Args:
        module: its name; its command line is `parser()`'s with more, and it makes the file `--ready` when it works.
        server, token, ca: as for `Api`.
        directory: where its log goes.
        arguments: more of its command line.
    """

    def __init__(
        self, module: str, server: str, token: str, ca: str | Path, directory: Path, arguments: Sequence[str]
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._name = module.rpartition(".")[2]
        super().__init__(directory / f"{self._name}.log")
        self._ready = directory / f"{self._name}.ready"
        self._ready.unlink(missing_ok=True)
        self._command = [sys.executable, "-m", module, "--server", server, "--ca", str(ca)]
        self._command += ["--ready", str(self._ready), *arguments]
        self._token = token
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                self._command, cwd=ROOT, env={**os.environ, TOKEN: self._token}, stdout=log, stderr=subprocess.STDOUT
            )
        try:
            self._until_ready()
        except BaseException:
            self._end(signal.SIGKILL)  # nobody leaves a context that was not entered
            raise
        return self

    def _until_ready(self) -> None:
        deadline = time.monotonic() + START_WITHIN
        while not self._ready.exists():
            if not self.alive or time.monotonic() > deadline:
                raise RuntimeError(f"the {self._name} did not start: {self.tail()}")
            time.sleep(0.05)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end(signal.SIGTERM)

    def check(self) -> None:
        """See that it ended well; to be called after the context has ended.

        Raises:
            RuntimeError: it failed on the way; the message carries its log.
        """
        if not self._process or self._process.returncode != 0:
            raise RuntimeError(f"the {self._name} failed: {self.tail()}")

    def _end(self, how: signal.Signals) -> None:
        if self._process:
            self._process.send_signal(how)
            self._process.wait(END_WITHIN)


def parser(description: str | None) -> argparse.ArgumentParser:
    """The part of the module's command line that `ModuleProcess` gives."""
    made = argparse.ArgumentParser(description=description)
    made.add_argument("--server", required=True)
    made.add_argument("--ca", type=Path)
    made.add_argument("--ready", type=Path, required=True)
    return made


def session(arguments: argparse.Namespace, user_agent: str) -> Api:
    """A session with the API server that the command line names, in the module's own process."""
    return Api(arguments.server, os.environ.get(TOKEN), arguments.ca, user_agent)
