"""I6: no byte of a secret where it must not be. A canary is looked for, in all its clothes, wherever something lands.

The value stands in a Vault and, while a run lives, in the run's own Secret and its pods. Everywhere else (CRs, events,
Jobs, pods, records, the operator's log, metrics, arguments and environment, all of etcd) it is a leak.
"""

from __future__ import annotations

import base64
import functools
import json
from collections.abc import AsyncIterator, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import aiohttp
import orjson
import re2
from tests.harness.api import Api
from tests.harness.kinds import CONFIGMAPS, EVENTS, JOBS, NAMESPACES, PIPELINES, PODS, REVISIONS, RUNS, Kind
from tests.harness.operator import OperatorProcess

from localcluster.controlplane import ControlPlane

ENVIRONMENTS = Kind("Environment", "dataops.dev/v1alpha1", "environments")
LISTED = (PIPELINES, RUNS, ENVIRONMENTS, EVENTS, JOBS, PODS, CONFIGMAPS, REVISIONS)
SECRETS_IN_ETCD = b"/registry/secrets/"
_PAGE = 500


def canary(name: str) -> str:
    """A value that is found in any encoding: each of them writes one of its characters otherwise."""
    return f'canary-{name}-7Qz/+"\\é%&='


@dataclass(frozen=True)
class Leak:
    """A canary where it must not be."""

    where: str
    value: str
    encoding: str

    def __str__(self) -> str:
        return f"I6: {self.where} has the canary {self.value[:24]!r}..., {self.encoding}"


def needles(value: str) -> Iterator[tuple[str, bytes]]:
    """The value in every encoding in which it could land somewhere, with the encoding's name."""
    raw = value.encode()
    yield "plain", raw
    yield "as JSON", json.dumps(value)[1:-1].encode()
    yield "as JSON with UTF-8", orjson.dumps(value)[1:-1]
    yield "as JSON in JSON", json.dumps(json.dumps(value)[1:-1])[1:-1].encode()
    yield "as a URL", quote(value, safe="").encode()
    yield "as a URL's path", quote(value).encode()
    yield "as a form", quote_plus(value).encode()
    yield "as Python writes it", repr(value)[1:-1].encode()
    yield "in hexadecimal", raw.hex().encode()
    for shift in range(3):
        # In the middle of something else it may begin at any of three places of a group; the groups at the ends, which
        # depend on what stands beside, are left out.
        coded = base64.b64encode(b"\0" * shift + raw)
        inner = coded[4 if shift else 0 :].rstrip(b"=")[:-2]
        yield "in base64", inner
        yield "in base64 for URLs", inner.replace(b"+", b"-").replace(b"/", b"_")
    twice = base64.b64encode(base64.b64encode(raw)).rstrip(b"=")[:-4]
    yield "in base64 of base64", twice


def search(where: str, content: bytes, values: Iterable[str]) -> list[Leak]:
    """The leaks in one place."""
    wanted = tuple(values)
    if not wanted or _pattern(wanted).search(content) is None:
        return []
    found = []
    for value in wanted:
        hit = next((encoding for encoding, needle in needles(value) if needle in content), None)
        if hit is not None:
            found.append(Leak(where, value, hit))
    return found


@functools.lru_cache(maxsize=32)
def _pattern(values: tuple[str, ...]) -> Any:
    """All encodings of all values in one: what is searched is read once, and not once for each of some hundred."""
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1  # bytes as they are
    options.max_mem = 64 * 2**20
    every = {re2.escape(needle) for value in values for _, needle in needles(value)}
    return re2.compile(b"|".join(sorted(every)), options)


async def leaks(
    values: Collection[str],
    plane: ControlPlane,
    *,
    operators: Sequence[OperatorProcess] = (),
    files: Sequence[Path] = (),
    secrets: bool = False,
    since: int = 0,
) -> list[Leak]:
    """Every place of a cluster and of operators in which a canary is.

    Args:
        values: the canaries.
        plane: the cluster, all of whose etcd is read.
        operators: their logs, and, while they run, metrics, arguments and environment.
        files: further ones, such as logs.
        secrets: whether Secrets of runs may be there now: those alone may have it.
        since: a revision of etcd when no canary was there yet: what was last written before has none. What the API
            server makes of etcd's content is then not looked into a second time.
    """
    found: list[Leak] = []
    async for where, content in _places(plane, operators, files, secrets, since):
        found += search(where, content, values)
    return found


async def revision(api: Api) -> int:
    """The revision that etcd has now."""
    return int((await api.request("GET", NAMESPACES.path(), query={"limit": "1"}))["metadata"]["resourceVersion"])


async def _places(
    plane: ControlPlane, operators: Sequence[OperatorProcess], files: Sequence[Path], secrets: bool, since: int
) -> AsyncIterator[tuple[str, bytes]]:
    if not since:
        async with Api(plane.server, plane.token, plane.ca) as api:
            for kind in LISTED:
                for item in await api.list(kind):
                    metadata = item["metadata"]
                    yield f"{kind.name} {metadata.get('namespace')}/{metadata['name']}", orjson.dumps(item)
    async for key, value in etcd(plane.etcd, since):
        if not (secrets and key.startswith(SECRETS_IN_ETCD)):
            yield f"etcd {key.decode()}", key + b"\n" + value
    for operator in operators:
        yield f"log {operator.log}", operator.log.read_bytes()
        if operator.alive:
            yield "metrics", (await operator.get("/metrics") or "").encode()
            for name in ("cmdline", "environ"):
                yield f"the operator's {name}", _of_process(operator.pid, name)
    for file in files:
        yield f"file {file}", file.read_bytes()


def _of_process(pid: int, name: str) -> bytes:
    return Path(f"/proc/{pid}/{name}").read_bytes()


async def etcd(address: str, since: int = 0) -> AsyncIterator[tuple[bytes, bytes]]:
    """Every key of a control plane's etcd with its value, by the JSON gateway of its client port.

    Args:
        address: the client port's URL.
        since: leave out keys that were last written before this revision.
    """
    key = b"\0"
    async with aiohttp.ClientSession() as session:
        while True:
            asked = {"key": _coded(key), "range_end": _coded(b"\0"), "limit": _PAGE, "min_mod_revision": since}
            async with session.post(f"{address}/v3/kv/range", json=asked) as answer:
                answer.raise_for_status()
                page = orjson.loads(await answer.read())
            pairs = page.get("kvs", [])
            for pair in pairs:
                yield base64.b64decode(pair["key"]), base64.b64decode(pair.get("value", ""))
            if not page.get("more"):
                return
            key = base64.b64decode(pairs[-1]["key"]) + b"\0"


def _coded(raw: bytes) -> str:
    return base64.b64encode(raw).decode()
