"""What must not show in the logs of a run: values of its Secret, and its masked parameters."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, quote_plus

from ..core.masking import SHORTEST, hide, masks
from ..core.names import RUN_UID_LABEL
from .cluster import ENVIRONMENTS, JOBS, SECRETS, Cluster
from .errors import CliError

Object = Mapping[str, Any]

_SHORTEST_BASE64: Final = 8
"""Characters of base64 that do not stand somewhere by chance."""


@dataclass(frozen=True, slots=True)
class Mask:
    """What is hidden, and what could not be.

    Attributes:
        hidden: the texts, the longest first.
        gaps: what of the run is not masked, and why, each as a sentence.
    """

    hidden: tuple[str, ...]
    gaps: tuple[str, ...] = ()

    def apply(self, line: bytes) -> str:
        """A line of a log without what must not show."""
        return hide(line.decode("utf-8", "replace"), self.hidden)


def texts(values: Iterable[Any]) -> tuple[str, ...]:
    """Every text by which values could show in a line of a log: as they are, encoded, and each of their lines.

    Credentials stand encoded in headers, addresses and requests, which programs print when they fail.
    """
    found: set[str] = set()
    for one in masks(values):
        found |= {one, *_encoded(one), *(line.strip() for line in one.splitlines())}
    return tuple(sorted((one for one in found if len(one) >= SHORTEST), key=lambda text: (-len(text), text)))


def _encoded(text: str) -> Iterator[str]:
    """A text in the encodings of JSON, addresses, forms, Python, hexadecimal and base64."""
    yield json.dumps(text)[1:-1]
    yield json.dumps(json.dumps(text)[1:-1])[1:-1]
    yield quote(text, safe="")
    yield quote(text)
    yield quote_plus(text)
    yield repr(text)[1:-1]
    raw = text.encode()
    yield raw.hex()
    for shift in range(3):
        # Inside of something else it begins at any of three places of a group; what depends on its neighbours is left.
        inner = base64.b64encode(b"\0" * shift + raw).decode()[4 if shift else 0 :].rstrip("=")[:-2]
        if len(inner) >= _SHORTEST_BASE64:
            yield inner
            yield inner.replace("+", "-").replace("/", "_")


def of_run(cluster: Cluster, run: Object) -> Mask:
    """What of a run's values must not show, as far as this person may read it.

    Raises:
        CliError: the API server does not answer.
    """
    gaps: list[str] = []
    values = [*_secrets(cluster, run, gaps), *_parameters(cluster, run, gaps), *_environment(cluster, run, gaps)]
    return Mask(texts(values), tuple(gaps))


def _secrets(cluster: Cluster, run: Object, gaps: list[str]) -> Iterator[str]:
    """The values of the run's own Secret. Where secrets are delivered into a pod's memory there is none to be read."""
    told = (run.get("status") or {}).get("secrets")
    meta = run["metadata"]
    try:
        found = cluster.list(SECRETS, meta["namespace"], labels=f"{RUN_UID_LABEL}={meta['uid']}")
    except CliError as error:
        if error.status != 403:
            raise
        if told:
            gaps.append(f"values of secrets are not masked: you may not read Secrets in namespace {meta['namespace']}")
        return
    if told and not found:
        gaps.append("values of secrets are not masked: the run's Secret is gone, or lies in its pods' memory alone")
    for secret in found:
        for value in (secret.get("data") or {}).values():
            yield base64.b64decode(value).decode("utf-8", "replace")


def _parameters(cluster: Cluster, run: Object, gaps: list[str]) -> Iterator[Any]:
    """The run's masked parameters, which its Jobs keep."""
    from ..core.accept import job_values

    masked = {one["name"] for one in (run.get("status") or {}).get("parameters") or () if one.get("masked")}
    if not masked:
        return
    meta = run["metadata"]
    try:
        jobs = cluster.list(JOBS, meta["namespace"], labels=f"{RUN_UID_LABEL}={meta['uid']}")
    except CliError as error:
        if error.status != 403:
            raise
        jobs = []
    values = next((found for job in jobs if (found := job_values(job))), {})
    given = {one["name"]: one.get("value") for one in run["spec"].get("parameters") or ()}
    for name in sorted(masked):
        if (value := values.get(name, given.get(name))) is not None:
            yield value
        else:
            gaps.append(f"the masked parameter {name} is not masked here: none of the run's Jobs can be read")


def _environment(cluster: Cluster, run: Object, gaps: list[str]) -> Iterator[Any]:
    """Masked parameters of the environment and of the one that it branched off, which any step may use."""
    project, _, name = ((run.get("status") or {}).get("environment") or "").partition("/")
    while name:
        try:
            found = cluster.find(ENVIRONMENTS, project, name)
        except CliError as error:
            if error.status != 403:
                raise
            gaps.append(f"masked parameters of environment {project}/{name} are not masked: you may not read it")
            return
        spec = (found or {}).get("spec") or {}
        yield from (one["value"] for one in spec.get("parameters") or () if one.get("masked") and "value" in one)
        name = spec.get("from") or ""
