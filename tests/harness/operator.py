"""The operator as a process of its own, to be started, killed and measured."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import aiohttp
from tests.harness import preload, process
from tests.harness.interpreter import compiled, interpreter
from tests.harness.ports import free_port
from tests.harness.process import Logged

ROOT = Path(__file__).resolve().parents[2]


class OperatorProcess(Logged):
    """One replica of the operator; an asynchronous context manager that starts it and awaits its readiness.

    Args:
        kubeconfig: how it reaches the API server.
        log: its log's file; a restart appends.
        namespaces: what it watches; none for all.
        lease_namespace: where its Lease is.
        identity: who it is in the Lease. The same one after a restart is a container that restarted in its
        pod.
        python: the interpreter; the one with the operator's packages alone where None.
        environment: more environment variables.
        preloaded: start it from a process that has imported it (see `tests.harness.preload`).
        arguments: more of the command line.
    """

    def __init__(
        self,
        kubeconfig: Path,
        log: Path,
        *,
        lease_namespace: str,
        namespaces: Sequence[str] = (),
        identity: str = "operator-0",
        python: Path | None = None,
        environment: Mapping[str, str] | None = None,
        preloaded: bool = False,
        arguments: Sequence[str] = (),
    ) -> None:
        super().__init__(log)
        self.port = free_port()
        self._preloaded = preloaded
        self._program = [str(python or interpreter()), "-m", "dataops_operator.main"]
        self._command = ["--kubeconfig", str(kubeconfig), "--listen", f"127.0.0.1:{self.port}"]
        self._command += ["--lease-namespace", lease_namespace, "--log-format", "text"]
        if namespaces:
            self._command += ["--namespaces", ",".join(namespaces)]
        self._command += arguments
        self._environment = {"POD_NAME": identity, **(environment or {})}

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            self.kill()  # nobody leaves a context that was not entered
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    async def start(self, ready_within: float = 60, *, preloaded: bool = False) -> None:
        """Start it, or start it again after it has ended, and wait until it is ready.

        Args:
            ready_within: seconds.
            preloaded: start it as if it had been made so: where the seconds without it count.

        Raises:
            AssertionError: it ended, or was not ready in time; the message carries the end of its log.
        """
        assert not self.alive, "it runs already"
        environment = {**os.environ, **compiled(), "PYTHONPATH": str(ROOT / "operator"), **self._environment}
        if self._preloaded or preloaded:
            self._process = preload.start(self._command, environment, self.log)
        else:
            with self.log.open("ab") as log:
                self._process = subprocess.Popen(  # noqa: ASYNC220 - takes a millisecond, and kill() must not wait
                    [*self._program, *self._command],
                    cwd=ROOT,
                    env=environment,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    stdin=subprocess.DEVNULL,
                )
        await self._until_ready(ready_within)

    async def _until_ready(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while await self.get("/readyz") is None:
            if not self.alive:
                raise AssertionError(f"the operator ended while it started:\n{self.tail()}")
            if time.monotonic() > deadline:
                raise AssertionError(f"the operator was not ready after {seconds} s:\n{self.tail()}")
            await asyncio.sleep(0.1)

    async def get(self, path: str) -> str | None:
        """The body that its HTTP endpoint answers with (`/metrics`); None for any answer but 200."""
        timeout = aiohttp.ClientTimeout(total=5)
        with contextlib.suppress(aiohttp.ClientError, TimeoutError):
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.get(f"http://127.0.0.1:{self.port}{path}") as answer,
            ):
                if answer.status == 200:
                    return await answer.text()
        return None

    async def terminate(self, within: float = 15) -> int:
        """SIGTERM; wait for the end and give back the exit code.

        Raises:
            AssertionError: it did not end in time.
        """
        assert self._process, "not started"
        self._process.send_signal(signal.SIGTERM)
        return await self.ended(within)

    async def ended(self, within: float) -> int:
        """Wait for the process's end, and give back its exit code (negative: the signal).

        Raises:
            AssertionError: it did not end in time.
        """
        assert self._process, "not started"
        deadline = time.monotonic() + within
        while (code := self._process.poll()) is None:
            if time.monotonic() > deadline:
                raise AssertionError(f"the operator still runs after {within} s:\n{self.tail()}")
            await asyncio.sleep(0.05)
        return code

    def cpu_seconds(self) -> float:
        """CPU time so far, seconds."""
        return process.cpu_seconds(self.pid)

    def rss_bytes(self) -> int:
        """Resident memory now."""
        return process.rss_bytes(self.pid)

    def peak_rss_bytes(self) -> int:
        """The most resident memory since the start."""
        return process.peak_rss_bytes(self.pid)
