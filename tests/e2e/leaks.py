"""I6 on a real node: after every test, no canary that Vault keeps is anywhere but in Secrets of runs under way.

Looked into: all of our kinds and what they make, all of etcd (on a node of our own; kind's is not reached), the logs of
the operator's pods at debug level, their metrics, and the arguments and environment of their processes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import orjson
from tests.e2e.observer import Observer
from tests.e2e.platform import CANARIES
from tests.e2e.replicas import SELECTOR, processes
from tests.e2e.site import NAME, SYSTEM, Site
from tests.harness.canary import LISTED, SECRETS_IN_ETCD, Leak, etcd, search

from localcluster import state


class Leaks:
    """Looks for canaries in one cluster."""

    def __init__(self, site: Site, observer: Observer) -> None:
        cluster = state.load(NAME)
        assert cluster is not None
        self._site = site
        self._observer = observer
        self._etcd = f"http://127.0.0.1:{cluster.port('etcd')}" if cluster.options.mode == "node" else ""

    def found(self) -> list[Leak]:
        """Every place in which one is."""
        values = sorted(CANARIES)
        out = [leak for where, content in self._operator() for leak in search(where, content, values)]
        return out + self._observer.do(self._stored(values))

    async def _stored(self, values: list[str]) -> list[Leak]:
        return [leak async for where, content in self._places() for leak in search(where, content, values)]

    async def _places(self) -> AsyncIterator[tuple[str, bytes]]:
        for kind in LISTED:
            for item in await self._observer.api.list(kind):
                metadata = item["metadata"]
                yield f"{kind.name} {metadata.get('namespace')}/{metadata['name']}", orjson.dumps(item)
        if self._etcd:
            async for key, value in etcd(self._etcd):
                # Other tests' runs may be under way: that theirs are gone with them, each test sees for itself.
                if not key.startswith(SECRETS_IN_ETCD):
                    yield f"etcd {key.decode()}", key + b"\n" + value

    def _operator(self) -> Iterator[tuple[str, bytes]]:
        for pod in self._site.read("pods", "-n", SYSTEM, "-l", SELECTOR)["items"]:
            name, uid = pod["metadata"]["name"], pod["metadata"]["uid"]
            for words in ((), ("--previous",)):
                log = self._site.try_kubectl("logs", name, "-n", SYSTEM, "--tail=-1", *words)
                yield f"log of {name} {' '.join(words)}", log.encode()
            path = f"/api/v1/namespaces/{SYSTEM}/pods/{name}:8080/proxy/metrics"
            yield f"metrics of {name}", self._site.try_kubectl("get", "--raw", path).encode()
            for pid in processes(uid, f"--lease-namespace={SYSTEM}"):
                for file in ("cmdline", "environ"):
                    yield f"{file} of {name}", Path(f"/proc/{pid}/{file}").read_bytes()
