"""kopf's part: which kinds it watches, how it logs in, and what it is told not to do."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import kopf
from kopf._cogs.clients import api as kopf_api
from pythonjsonlogger.json import JsonFormatter

from .api.base import GROUP, VERSION
from .controllers.world import World
from .kube.cache import Store
from .kube.config import Credentials
from .kube.decode import loads
from .kube.watch import OnChange


class _NoDiff(kopf.DiffBaseStorage):
    """Keeps nothing: the stock one copies and compares the whole object at every event."""

    def build(self, **_: Any) -> Any:
        return {}

    def fetch(self, **_: Any) -> None:
        return None

    def store(self, **_: Any) -> None:
        return None


class _NoProgress(kopf.ProgressStorage):
    """Keeps nothing: there are no handlers whose progress could be kept, and no annotations on users' objects."""

    def fetch(self, **_: Any) -> None:
        return None

    def store(self, **_: Any) -> None:
        return None

    def purge(self, **_: Any) -> None:
        return None

    def touch(self, **_: Any) -> None:
        return None

    def clear(self, *, essence: Any) -> Any:
        return essence


def read_with_care() -> None:
    """Have kopf read JSON as our client does.

    It reads by the standard library, which fails on what is nested a thousand deep or so, and with it end the watch,
    the process, and every next process. There is no setting for it, and its release is pinned to one minor version.
    """

    async def get(url: str, **more: Any) -> Any:
        response = await kopf_api.request(method="get", url=url, **more)
        async with response:
            return loads(await response.read())

    vars(kopf_api).update(get=get, json=SimpleNamespace(loads=lambda text: loads(text.encode())))


def build_settings() -> kopf.OperatorSettings:
    """Kopf's settings: no writes of its own, no scanning, workers that let go of an object at once."""
    settings = kopf.OperatorSettings()
    settings.persistence.diffbase_storage = _NoDiff()
    settings.persistence.progress_storage = _NoProgress()
    settings.queueing.idle_timeout = 0.01
    settings.scanning.disabled = True
    settings.posting.enabled = False
    settings.posting.loggers = False
    settings.watching.chunk_size = 500
    return settings


def build_registry(world: World, credentials: Credentials) -> kopf.OperatorRegistry:
    """The handlers: they put what kopf saw into the stores, and nothing else."""
    registry = kopf.OperatorRegistry()

    @kopf.on.login(registry=registry)
    async def login(**_: Any) -> kopf.ConnectionInfo:
        credentials.refresh()
        return kopf.ConnectionInfo(
            server=credentials.server,
            ca_path=credentials.ca_path,
            ca_data=credentials.ca_data,
            insecure=credentials.insecure,
            certificate_path=credentials.certificate_path,
            certificate_data=credentials.certificate_data,
            private_key_path=credentials.private_key_path,
            private_key_data=credentials.private_key_data,
            scheme="Bearer" if credentials.token() else None,
            token=credentials.token(),
        )

    def feed(store: Store, changed: OnChange) -> Callable[..., Any]:
        async def on_event(event: Any, **_: Any) -> None:
            item: dict[str, Any] = event["object"]
            if event["type"] == "DELETED":
                gone = store.take(item)
                if gone is not None:
                    changed(gone, None)
            elif (change := store.put(item)) is not None:
                changed(*change)

        return on_event

    for store, changed in world.definitions():
        kopf.on.event(GROUP, VERSION, store.resource.plural, registry=registry)(feed(store, changed))
    return registry


def setup_logging(level: str, form: str) -> None:
    """Log to standard error, a JSON object or a line of text for each record."""
    handler = logging.StreamHandler(sys.stderr)
    names = "%(asctime)s %(levelname)s %(name)s %(message)s"
    renamed = {"asctime": "time", "levelname": "level", "name": "logger"}
    handler.setFormatter(JsonFormatter(names, rename_fields=renamed) if form == "json" else logging.Formatter(names))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # kopf tells of every event of every object below warnings.
    logging.getLogger("kopf").setLevel(logging.WARNING if level != "debug" else logging.INFO)
    logging.getLogger("kopf.objects").setLevel(logging.WARNING)
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)
