"""Runs the pods of Jobs that touch targets as processes of this machine, where no node is: what they do is real.

Logins come out of the Secrets that the pods mount, volume targets are folders of this machine.
"""

from __future__ import annotations

import asyncio
import base64
import os
import sys
import tempfile
import time
import traceback
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.harness.api import Api, ApiError, Object
from tests.harness.kinds import PODS, SECRETS
from tests.harness.operator import ROOT
from tests.harness.podstatus import now

LABEL = "dataops.dev/target-job"


class StoragePods:
    """Watches pods and carries them out; an asynchronous context manager.

    Args:
        api: an open session.
    """

    def __init__(self, api: Api) -> None:
        self.api = api
        self.folder = Path(tempfile.mkdtemp(prefix="dataops-targets-"))
        self.done: list[str] = []
        """`<namespace> <action>` of each container that was run, in order."""
        self.held = asyncio.Event()
        """Pods end only while it is set."""
        self.held.set()
        self.seconds = 0.0
        """How long they ran, all together."""
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._watch: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._watch = asyncio.create_task(self._follow())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        tasks = [task for task in (self._watch, *self._tasks.values()) if task is not None]
        for task in tasks:
            task.cancel()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        failures = [one for one in found if isinstance(one, Exception)]
        if error is None and failures:
            raise failures[0]

    async def _follow(self) -> None:
        async for type_, pod in self.api.list_then_watch(PODS, None, LABEL):
            if type_ in ("ADDED", "LISTED") and pod["status"].get("phase") == "Pending":
                self._tasks[pod["metadata"]["uid"]] = asyncio.create_task(self._told(pod))
            elif type_ == "DELETED" and (task := self._tasks.pop(pod["metadata"]["uid"], None)) is not None:
                task.cancel()

    async def _told(self, pod: Object) -> None:
        """Carry a pod out; what fails of ours is told where pytest shows it."""
        try:
            await self._carry_out(pod)
        except Exception:
            traceback.print_exc()
            raise

    async def _carry_out(self, pod: Object) -> None:
        begun = now()
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        await self._logins(pod, folder / "secrets")
        await self._write(pod, {"phase": "Running", "startTime": begun})
        inits, mains = pod["spec"].get("initContainers", []), pod["spec"]["containers"]
        ended: dict[str, Object] = {}
        for container in (*inits, *mains):
            code, message = await self._run(pod, container, folder)
            times = {"startedAt": begun, "finishedAt": now()}
            reason = "Error" if code else "Completed"
            ended[container["name"]] = {"exitCode": code, "reason": reason, "message": message, **times}
            if code:
                break
        await self.held.wait()
        status: Object = {"phase": "Failed" if any(one["exitCode"] for one in ended.values()) else "Succeeded"}
        for field, containers in (("initContainerStatuses", inits), ("containerStatuses", mains)):
            if containers:
                status[field] = [_status(one, ended.get(one["name"])) for one in containers]
        await self._write(pod, status)

    async def _run(self, pod: Object, container: Object, folder: Path) -> tuple[int, str]:
        """Run one container; its exit code and its termination message."""
        action = container["command"][-1]
        assert container["command"][:3] == ["python3", "-m", "dataops_operator.storage"]
        targets = folder / "targets"
        for mount in container["volumeMounts"]:
            if mount["name"].startswith("target-"):
                (volume,) = (one for one in pod["spec"]["volumes"] if one["name"] == mount["name"])
                claim = volume["persistentVolumeClaim"]["claimName"]
                data = self.folder / pod["metadata"]["namespace"] / claim
                data.mkdir(parents=True, exist_ok=True)
                targets.mkdir(exist_ok=True)
                (targets / Path(mount["mountPath"]).name).symlink_to(data)
        result = folder / f"result-{action}"
        result.touch()
        places = {"--secrets": folder / "secrets", "--targets": targets, "--result": result}
        environment = {one["name"]: one["value"].replace("$$", "$") for one in container["env"]}
        began = time.monotonic()
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "dataops_operator.storage", action),
            *(word for pair in places.items() for word in map(str, pair)),
            env={**os.environ, **environment, "PYTHONPATH": str(ROOT / "operator")},
            stderr=asyncio.subprocess.PIPE,
        )
        _, told = await process.communicate()
        self.seconds += time.monotonic() - began
        assert process.returncode != 2, told.decode()
        self.done.append(f"{pod['metadata']['namespace']} {action}")
        return process.returncode or 0, result.read_text()

    async def _logins(self, pod: Object, folder: Path) -> None:
        """The files of the Secrets that a pod mounts."""
        paths = {
            mount["name"]: Path(mount["mountPath"]).name
            for container in pod["spec"]["containers"]
            for mount in container["volumeMounts"]
        }
        for volume in pod["spec"]["volumes"]:
            if "secret" not in volume:
                continue
            secret = await self.api.get(SECRETS, pod["metadata"]["namespace"], volume["secret"]["secretName"])
            there = folder / paths[volume["name"]]
            there.mkdir(parents=True)
            for item in volume["secret"]["items"]:
                (there / item["path"]).write_bytes(base64.b64decode(secret["data"][item["key"]]))

    async def _write(self, pod: Object, status: Any) -> None:
        meta = pod["metadata"]
        try:
            await self.api.patch(PODS, meta["namespace"], meta["name"], {"status": status}, subresource="status")
        except ApiError as error:
            if error.status not in (404, 409):
                raise


def _status(container: Object, ended: Object | None) -> Object:
    state: Object = {"terminated": ended} if ended is not None else {"waiting": {"reason": "PodInitializing"}}
    about = {"name": container["name"], "image": container["image"], "imageID": "", "ready": False, "restartCount": 0}
    return about | {"state": state}
