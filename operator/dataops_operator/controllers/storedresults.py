"""What steps handed in, read of its ConfigMaps: each once, as long as there is room to remember it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Final

from ..core.stored import KEY
from ..kube.client import KubeClient
from ..kube.errors import NotFound
from ..kube.resources import CONFIG_MAPS

Object = Mapping[str, Any]

ROOM: Final = 32 * 1024 * 1024
"""Characters of results that are remembered."""


class StoredResults:
    """Reads results."""

    def __init__(self, client: KubeClient, room: int = ROOM) -> None:
        """Remember nothing yet."""
        self._client = client
        self._room = room
        self._held: OrderedDict[tuple[str, str], str] = OrderedDict()

    async def read(self, run: Object, name: str) -> str | None:
        """A result as it was handed in; None where there is none that is this run's.

        Raises:
            ApiError: it could not be read.
        """
        meta = run["metadata"]
        key = (meta["uid"], name)
        if key in self._held:
            self._held.move_to_end(key)
            return self._held[key]
        try:
            found = await self._client.get(CONFIG_MAPS, meta["namespace"], name)
        except NotFound:
            return None
        owners = found["metadata"].get("ownerReferences") or ()
        mine = any(one.get("uid") == meta["uid"] and one.get("controller") for one in owners)
        text = (found.get("data") or {}).get(KEY)
        if not mine or found.get("immutable") is not True or not isinstance(text, str):
            return None
        self._held[key] = text
        while sum(map(len, self._held.values())) > self._room:
            self._held.popitem(last=False)
        return text
