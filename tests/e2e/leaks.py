"""I6 on a real node: after every test, no canary that Vault keeps is anywhere but in Secrets of runs under way.

Looked into: all of our kinds and what they make, all of etcd (on a node of our own; kind's is not reached), the logs of
the operator's pods at debug level, their metrics, and the arguments and environment of their processes.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import orjson
from tests.e2e.observer import Observer
from tests.e2e.platform import CANARIES
from tests.e2e.replicas import SELECTOR, processes
from tests.e2e.site import NAME, SYSTEM
from tests.harness.api import ApiError
from tests.harness.canary import LISTED, SECRETS_IN_ETCD, Leak, etcd, search
from tests.harness.kinds import PODS

from localcluster import state


class Leaks:
    """Looks for canaries in one cluster."""

    def __init__(self, observer: Observer) -> None:
        cluster = state.load(NAME)
        assert cluster is not None
        self._observer = observer
        self._etcd = f"http://127.0.0.1:{cluster.port('etcd')}" if cluster.options.mode == "node" else ""

    def found(self) -> list[Leak]:
        """Every place in which one is."""
        return self._observer.do(self._found(sorted(CANARIES)))

    async def _found(self, values: list[str]) -> list[Leak]:
        places = (self._operator(), self._stored())
        return [leak for these in places async for where, content in these for leak in search(where, content, values)]

    async def _stored(self) -> AsyncIterator[tuple[str, bytes]]:
        for kind in LISTED:
            for item in await self._observer.api.list(kind):
                metadata = item["metadata"]
                yield f"{kind.name} {metadata.get('namespace')}/{metadata['name']}", orjson.dumps(item)
        if self._etcd:
            async for key, value in etcd(self._etcd):
                # Other tests' runs may be under way: that theirs are gone with them, each test sees for itself.
                if not key.startswith(SECRETS_IN_ETCD):
                    yield f"etcd {key.decode()}", key + b"\n" + value

    async def _operator(self) -> AsyncIterator[tuple[str, bytes]]:
        for pod in await self._observer.api.list(PODS, SYSTEM, SELECTOR):
            name, uid = pod["metadata"]["name"], pod["metadata"]["uid"]
            path = PODS.path(SYSTEM, name)
            yield f"log of {name}", await self._told(f"{path}/log")
            yield f"log of {name} before its restart", await self._told(f"{path}/log", previous="true")
            yield f"metrics of {name}", await self._told(f"{path}:8080/proxy/metrics")
            for pid in processes(uid, f"--lease-namespace={SYSTEM}"):
                for file in ("cmdline", "environ"):
                    yield f"{file} of {name}", _of_process(pid, file)

    async def _told(self, path: str, **query: str) -> bytes:
        """What is there, or why there is nothing: the pod may be on its way, and have had no restart."""
        try:
            return await self._observer.api.raw("GET", path, query=query)
        except ApiError as error:
            return str(error).encode()


def _of_process(pid: int, file: str) -> bytes:
    with contextlib.suppress(ProcessLookupError, FileNotFoundError):  # it may end meanwhile
        return Path(f"/proc/{pid}/{file}").read_bytes()
    return b""
