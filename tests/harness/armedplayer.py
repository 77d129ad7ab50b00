"""A player whose pods log in to Vault by themselves, as the init container of delivery mode Pod does."""

from __future__ import annotations

from dataclasses import dataclass, field

import orjson
from tests.harness.api import Object
from tests.harness.openbao import OpenBao
from tests.harness.player import Player
from tests.harness.vaultadmin import token_of


@dataclass
class ArmedPlayer(Player):
    """Each pod with an init container logs in to a real Vault before it runs, reads, and tells what it got.

    Args:
        bao: the server.
        paths: what to read, of which `{role}` is the pod's namespace, and so is the role's name.
    """

    bao: OpenBao = field(kw_only=True)
    paths: tuple[str, ...] = field(kw_only=True)
    _told: dict[str, str] = field(default_factory=dict)
    """By pod UID, the termination message of its init container."""

    async def _write(self, pod: Object, status: Object) -> bool:
        for one in status.get("initContainerStatuses", ()):
            uid = pod["metadata"]["uid"]
            if uid not in self._told:
                self._told[uid] = await self._log_in(pod["metadata"]["namespace"])
            one["state"]["terminated"]["message"] = self._told[uid]
        return await super()._write(pod, status)

    async def _log_in(self, namespace: str) -> str:
        jwt = await token_of(self.api, namespace)
        asked = {"role": namespace, "jwt": jwt}
        auth = (await self.bao.request("POST", "auth/kubernetes/login", asked, token=""))["auth"]
        told: Object = {"accessor": auth["accessor"], "ttl": auth["lease_duration"], "renewable": auth["renewable"]}
        read = [
            await self.bao.request("GET", path.format(role=namespace), token=auth["client_token"])
            for path in self.paths
        ]
        leases = [one for one in read if one["lease_id"]]
        told["leases"] = [
            {"id": one["lease_id"], "ttl": one["lease_duration"], "renewable": one["renewable"]} for one in leases
        ]
        return orjson.dumps(told).decode()
