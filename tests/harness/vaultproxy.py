"""A proxy between the operator and Vault that numbers every request, and breaks what a `Fault` says.

It is the proxy of the API server with other calls: everything is numbered, reads too, since each of them may have Vault
make something; tokens go through as they come.
"""

from __future__ import annotations

import asyncio
from typing import Any

from tests.harness.proxy import Answer, Call, Fault, Forward, Proxy


class Request(Call):
    """One request to Vault."""

    @property
    def plural(self) -> str:
        """Vault has no kinds."""
        return ""

    @property
    def is_watch(self) -> bool:
        """Vault has no watches."""
        return False

    @property
    def subject(self) -> str:
        """The path behind the version: `auth/kubernetes/login`."""
        return self.path.removeprefix("/v1/")

    def __str__(self) -> str:
        """As a failing test names it: `request 2: GET secret/data/api`."""
        return f"request {self.number}: {self.method} {self.subject} -> {self.answered or 'not forwarded'}"


class VaultProxy(Proxy):
    """The proxy as an asynchronous context manager; `writes` are all requests so far.

    Args:
        address: URL of the server behind, over plain HTTP.
    """

    calls = Request

    def __init__(self, address: str) -> None:
        super().__init__(address, "", None)

    def counts(self, call: Call) -> bool:
        """All are."""
        return True

    def server(self, plain: dict[str, Any], **more: Any) -> dict[str, Any]:
        """An entry of the administrator's list of servers that leads through the proxy."""
        return {**plain, "address": self.url, **more}


class LateAnswer(Fault):
    """Request `k` is done, and answered only after so many seconds: later than anybody waits."""

    def __init__(self, k: int, seconds: float) -> None:
        super().__init__()
        self.k = k
        self.seconds = seconds

    async def write(self, call: Call, forward: Forward) -> Answer | None:
        answer = await forward()
        if call.number == self.k:
            self.hits.append(str(call))
            await asyncio.sleep(self.seconds)
        return answer


class Refuse(Fault):
    """Requests from `k` on are not done, and answered with an error in Vault's words.

    Args:
        k: the request's number.
        status: of the answer.
        times: how many requests meet that.
    """

    def __init__(self, k: int, status: int, times: int = 1) -> None:
        super().__init__()
        self.k = k
        self.status = status
        self.times = times

    async def write(self, call: Call, forward: Forward) -> Answer | None:
        if not self.k <= call.number < self.k + self.times:
            return await forward()
        self.hits.append(str(call))
        body = b'{"errors":["made up by a test"]}'
        return Answer(self.status, body, {"Content-Type": "application/json"})
