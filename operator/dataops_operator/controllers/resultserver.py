"""The endpoint at which pods of steps hand in results: who a pod is says its own token, which is for this alone.

Any replica takes them: a result becomes an immutable ConfigMap of a name that follows from the pod's Job, so that the
first one stands, and the same one again is as good as the first. Only so many are taken at a time; who comes in between
is told to come again.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import orjson
from aiohttp import web

from ..api.base import shallow
from ..core import status as statuses
from ..core.stored import AUDIENCE, KEY, RESULT_BYTES, result_map
from ..kube.errors import AlreadyExists, ApiError
from ..kube.resources import CONFIG_MAPS, TOKEN_REVIEWS
from .world import World

logger = logging.getLogger(__name__)

Object = Mapping[str, Any]

PATH: Final = "/v1/results"
AT_ONCE: Final = 8
"""Results in hand; with their bodies 8 MB."""
AGAIN: Final = 2
"""Seconds after which one that was not taken may come again."""
BODY_WITHIN: Final = 30.0
"""Seconds in which a body has to come."""
_COME_AGAIN: Final = 503
_POD_UID: Final = "authentication.kubernetes.io/pod-uid"


class _Refused(Exception):  # noqa: N818 - an answer, not an error
    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class ResultServer:
    """Takes results."""

    def __init__(self, world: World) -> None:
        """Take what the pods that the world holds hand in."""
        self._world = world
        self._in_hand = 0

    async def serve(self, listen: str, tls: Path) -> None:
        """Take results until cancelled.

        Args:
            listen: address and port.
            tls: folder with tls.crt and tls.key.

        Raises:
            OSError: the address cannot be listened on, or a file not be read.
        """
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(tls / "tls.crt", tls / "tls.key")
        runner = web.AppRunner(self.app(), access_log=None)
        await runner.setup()
        host, _, port = listen.rpartition(":")
        try:
            await web.TCPSite(runner, host or None, int(port), ssl_context=context).start()
            await asyncio.Event().wait()
        finally:
            await runner.cleanup()

    def app(self) -> web.Application:
        """The application, for any server."""
        app = web.Application(client_max_size=RESULT_BYTES)
        app.add_routes([web.post(f"{PATH}/{{step}}", self._post)])
        return app

    async def _post(self, request: web.Request) -> web.Response:
        if self._in_hand >= AT_ONCE:
            return self._answer(429, "many results come at this moment; come again", again=AGAIN)
        self._in_hand += 1
        try:
            created = await self._take(request)
        except _Refused as refused:
            return self._answer(refused.status, str(refused), again=AGAIN if refused.status == _COME_AGAIN else None)
        except ApiError as error:
            # Whatever it was, the same result may come again.
            logger.warning("A result could not be kept, and is to come again: %s", error)
            return self._answer(_COME_AGAIN, "the result could not be kept; come again", again=AGAIN)
        finally:
            self._in_hand -= 1
        return self._answer(201 if created else 200, "kept")

    def _answer(self, status: int, text: str, *, again: int | None = None) -> web.Response:
        self._world.metrics.results.labels(str(status)).inc()
        headers = {"Retry-After": str(again)} if again is not None else {}
        return web.json_response({"message": text}, status=status, headers=headers)

    async def _take(self, request: web.Request) -> bool:
        """Keep a result; whether it is new.

        Raises:
            _Refused: it is not taken.
            ApiError: that could not be known.
        """
        if (request.content_length or 0) > RESULT_BYTES:
            raise _Refused(413, _TOO_LARGE)
        step = request.match_info["step"]
        job = await self._job_of(request, step)
        try:
            async with asyncio.timeout(BODY_WITHIN):
                body = await request.read()
        except web.HTTPRequestEntityTooLarge:
            raise _Refused(413, _TOO_LARGE) from None
        except TimeoutError:
            raise _Refused(408, f"the result did not come within {BODY_WITHIN:.0f} s") from None
        wanted = result_map(job, step, _checked(body))
        namespace, name = wanted["metadata"]["namespace"], wanted["metadata"]["name"]
        try:
            await self._world.client.create(CONFIG_MAPS, namespace, wanted)
        except AlreadyExists:
            there = await self._world.client.get(CONFIG_MAPS, namespace, name)
            if (there.get("data") or {}).get(KEY) != wanted["data"][KEY]:
                raise _Refused(409, "another result of this attempt is kept already; the first one stands") from None
            return False
        return True

    async def _job_of(self, request: web.Request, step: str) -> Object:
        """The Job of the pod whose token came along, where that is a pod of a live run with such a step."""
        kind, _, token = request.headers.get("Authorization", "").partition(" ")
        if kind != "Bearer" or not token or len(token) > 16_384:
            raise _Refused(401, "send the token of /dataops/results/token as Authorization: Bearer")
        review = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": token, "audiences": [AUDIENCE]},
        }
        told = (await self._world.client.create(TOKEN_REVIEWS, None, review)).get("status") or {}
        if told.get("authenticated") is not True or AUDIENCE not in (told.get("audiences") or ()):
            raise _Refused(401, f"this token is none for {AUDIENCE}, or its pod is gone")
        uids = ((told.get("user") or {}).get("extra") or {}).get(_POD_UID) or []
        pod = self._world.pods.by_uid(uids[0]) if len(uids) == 1 else None
        job = self._world.jobs.by_uid(_controller(pod)) if pod is not None else None
        if pod is None or job is None:
            # The token is good and its pod lives: the watch has not told of it yet, or it is no pod of a run.
            raise _Refused(_COME_AGAIN if uids else 404, "this pod is not known as a step's; come again")
        run = self._world.runs.by_uid(_controller(job))
        if run is None or statuses.is_final(run["status"]):
            raise _Refused(410, "the run of this pod has ended")
        status = pod["status"]
        names = {one["name"] for key in ("containerStatuses", "initContainerStatuses") for one in status.get(key) or ()}
        if step not in names:  # its kubelet, or the watch, may be behind it
            raise _Refused(404 if names else _COME_AGAIN, f"this pod is not known to have a step {step!r}")
        return job


_TOO_LARGE: Final = f"larger than {RESULT_BYTES:,} bytes; write data to the workspace and hand in its location"


def _controller(child: Object) -> str:
    owners = child["metadata"].get("ownerReferences") or ()
    return next((str(one["uid"]) for one in owners if one.get("controller")), "")


def _checked(body: bytes) -> str:
    """The text of a result.

    Raises:
        _Refused: it is no JSON object, or one that nobody reads.
    """
    try:
        found = orjson.loads(body)
        if not isinstance(found, dict):
            raise _Refused(400, "not a JSON object such as that of /dataops/result")
        shallow(found)
    except ValueError as error:
        raise _Refused(400, f"not a result: {error}") from None
    return body.decode()
