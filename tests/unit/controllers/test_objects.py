"""Objects that steps make: what becomes of those that may not be deleted."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from dataops_operator.controllers.objects import Objects
from dataops_operator.core.objects import ObjectRef, allowed_kinds
from dataops_operator.kube.errors import ApiError, TooManyRequests

ABOUT = ObjectRef("ray.io/v1", "RayJob", "team", "m")
RUN = {"metadata": {"uid": "u", "namespace": "team", "name": "r"}}
ALLOWED = allowed_kinds('[{"apiVersion": "ray.io/v1", "kind": "RayJob", "resource": "rayjobs", "access": "Apply"}]')


class Client:
    """Has one object, which may be deleted or not."""

    answer: ApiError | None = ApiError(403, "Forbidden", "denied by policy")

    async def get(self, *_: object) -> dict[str, Any]:
        return {"metadata": {"uid": "o", "ownerReferences": [{"uid": "u"}]}}

    async def delete(self, *_: object, **__: object) -> None:
        if self.answer is not None:
            raise self.answer


async def test_what_may_not_be_deleted_is_seen_to_stay_until_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    client, objects = Client(), Objects(cast(Any, SimpleNamespace(client=None)), cast(Any, None), ALLOWED)

    async def as_runner(_self: Objects, _namespace: str) -> Any:
        return client

    monkeypatch.setattr(Objects, "_as_runner", as_runner)

    async def stays() -> str:
        return (await objects.read("team", [ABOUT]))[ABOUT].stays

    assert await stays() == ""
    await objects.remove(RUN, [ABOUT])
    assert await stays() == "denied by policy"
    client.answer = TooManyRequests(429, "TooManyRequests", "later")
    with pytest.raises(TooManyRequests):
        await objects.remove(RUN, [ABOUT])
    assert await stays() == ""
    client.answer = None
    await objects.remove(RUN, [ABOUT])
    assert await stays() == ""
