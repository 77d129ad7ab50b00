"""The search for canaries finds one that was put into the cluster: a search that finds nothing proves something."""

from __future__ import annotations

import pytest
from tests.harness.api import Api
from tests.harness.canary import canary, leaks, revision
from tests.harness.kinds import CONFIGMAPS

from localcluster.controlplane import ControlPlane

VALUE = canary("planted")


@pytest.mark.parametrize("whole", [True, False], ids=["in all there is", "in what is new"])
async def test_a_canary_in_the_cluster_is_found_until_it_is_gone(plane: ControlPlane, whole: bool) -> None:
    async with Api(plane.server, plane.token, plane.ca) as api:
        await api.make_namespace(name := f"canary-{'whole' if whole else 'new'}")
        before = await revision(api)
        since = 0 if whole else before
        assert await leaks([VALUE], plane, since=since) == []
        await api.create(CONFIGMAPS, name, {"metadata": {"name": "leaky"}, "data": {"key": f"is {VALUE}"}})
        found = {leak.where for leak in await leaks([VALUE], plane, since=since)}
        assert f"etcd /registry/configmaps/{name}/leaky" in found
        assert (f"ConfigMap {name}/leaky" in found) is whole
        assert await leaks([VALUE], plane, since=await revision(api) + 1) == []
        await api.delete(CONFIGMAPS, name, "leaky")
        assert await leaks([VALUE], plane, since=since) == []
