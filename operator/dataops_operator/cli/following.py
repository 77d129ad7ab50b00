"""One object as it changes: a watch that is taken up where it ended, and begun anew where that is too long ago."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Final

from .cluster import Cluster, Kind, Object
from .errors import CliError, Exit

TURN: Final = 300
"""Seconds after which the API server ends a watch; it is taken up at once."""
PATIENCE: Final = 8
"""How often the API server may fail to answer, one time after another; with the pauses half a minute."""
LONGEST_PAUSE: Final = 5.0
_PASSING: Final = (429, 500, 502, 503, 504)


def follow(
    cluster: Cluster, kind: Kind, namespace: str, name: str, *, pause: Callable[[float], None] = time.sleep
) -> Iterator[Object]:
    """Each state of an object, the present one first, for as long as there is one.

    Raises:
        CliError: there is no such object, it was deleted, or the API server has not answered for half a minute.
    """
    failures, version, uid = 0, "", ""
    while True:
        try:
            if not version:
                # A list's own version: that of an object that rests may be older than what a watch can begin at.
                page = next(cluster.pages(kind, namespace, fields=f"metadata.name={name}"))
                version, failures = page["metadata"]["resourceVersion"], 0
                found = page["items"][0] if page["items"] else None
                if found is None or uid not in ("", found["metadata"]["uid"]):
                    text = (
                        f"{kind.told(namespace, name)} was deleted"
                        if uid
                        else f"there is no {kind.told(namespace, name)}"
                    )
                    raise CliError(text, status=404)
                uid = found["metadata"]["uid"]
                yield found
            for event in cluster.watch(kind, namespace, name, version, TURN):
                version, failures = event["object"]["metadata"]["resourceVersion"], 0
                if event["type"] == "DELETED":
                    raise CliError(f"{kind.told(namespace, name)} was deleted", status=404)
                if event["type"] != "BOOKMARK":
                    yield event["object"]
        except CliError as error:
            if error.status == 410:
                version = ""  # what happened since then is no longer known; how it stands now is
                continue
            if error.code is not Exit.UNREACHABLE and error.status not in _PASSING:
                raise
            failures += 1
            if failures > PATIENCE or not uid:
                raise
            pause(min(0.2 * 2**failures, LONGEST_PAUSE))
