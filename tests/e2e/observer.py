"""Follows the cluster beside the tests: an event loop in a thread, since tests wait for commands."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from tests.harness.api import Api, Object
from tests.harness.history import Change, Recorder
from tests.harness.kinds import Kind

T = TypeVar("T")


class Observer:
    """One API session in a thread of its own; a context manager.

    Attributes:
        api: the session; its coroutines go through `do`.
    """

    def __init__(self, server: str, token: str, authority: str, directory: Path) -> None:
        """Prepare.

        Args:
            server: the API server's address.
            token: a bearer token.
            authority: the CA's certificate, PEM in base64 as a kubeconfig has it.
            directory: where the certificate may be put.
        """
        ca = directory / "ca.crt"
        ca.write_bytes(base64.b64decode(authority))
        self.api = Api(server, token, ca)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="observer", daemon=True)
        self._recorders: dict[str, Recorder] = {}

    def __enter__(self) -> Self:
        self._thread.start()
        self.do(self.api.__aenter__())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for recorder in self._recorders.values():
            self.do(recorder.__aexit__(None, None, None))
        self.do(self.api.__aexit__(None, None, None))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def do(self, work: Coroutine[Any, Any, T], within: float = 400) -> T:
        """Run a coroutine in the loop, and give back its result."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(within)

    def record(self, namespace: str, project: str = "") -> Recorder:
        """Keep every change of the runs, Jobs and pods of a namespace from now on; the pipelines are the project's."""
        recorder = Recorder(self.api, namespace, project)
        self.do(recorder.__aenter__())
        self._recorders[namespace] = recorder
        return recorder

    def forget(self, namespace: str) -> None:
        """End the recording of a namespace."""
        self.do(self._recorders.pop(namespace).__aexit__(None, None, None))

    def until(self, kind: Kind, namespace: str, name: str, reached: Callable[[Object], bool], within: float) -> Object:
        """Wait until an object is as asked, and give it back as it was then.

        Raises:
            AssertionError: it did not become so within that many seconds; the message carries its status.
        """
        return self.do(self.api.wait_for(kind, namespace, name, reached, within), within + 30)

    def follow(self, kind: Kind, namespace: str) -> Following:
        """Keep every change of one kind in a namespace, until the context ends."""
        return Following(self, kind, namespace)

    def start(self, work: Coroutine[Any, Any, None]) -> Future[None]:
        """Run a coroutine in the loop, beside everything else."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)


class Following:
    """The changes of one kind in a namespace, in order; a context manager that gives the growing list."""

    def __init__(self, observer: Observer, kind: Kind, namespace: str) -> None:
        self._observer = observer
        self._kind = kind
        self._namespace = namespace
        self._changes: list[Change] = []
        self._synced = threading.Event()

    def __enter__(self) -> list[Change]:
        self._task = self._observer.start(self._follow())
        assert self._synced.wait(30), "the watch did not begin"
        return self._changes

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._task.cancel()
        with contextlib.suppress(BaseException):
            self._task.result(5)

    async def _follow(self) -> None:
        async for type_, obj in self._observer.api.list_then_watch(self._kind, self._namespace):
            if type_ == "SYNCED":
                self._synced.set()
            else:
                self._changes.append(Change(self._kind.name, type_, obj))
