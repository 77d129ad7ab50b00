"""podTemplate on a real API server: what it allows becomes a pod that the server takes, and the rest a refused run."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from tests.harness.api import Object, condition
from tests.harness.kinds import CLAIMS, CONFIGMAPS, ENVIRONMENTS, PRIORITIES
from tests.integration.beside import side_by_side
from tests.integration.support import Case, World, a_world, spec, step, succeeded, verdict

from localcluster.controlplane import ControlPlane

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    async with a_world(plane, tmp_path_factory.mktemp("pods")) as it:
        await it.api.create(PRIORITIES, None, {"metadata": {"name": "batch"}, "value": 7})
        yield it


def near(label: str) -> Object:
    return {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {label: "p"}}}


WHOLE: Object = {
    "labels": {"team": "data"},
    "annotations": {"ticket": "DATA-7", "acme.example/trace": "on"},
    "nodeSelector": {"disk": "ssd", "pool": "others"},
    "tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}],
    "affinity": {
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [{"matchExpressions": [{"key": "cores", "operator": "Gt", "values": ["8"]}]}]
            }
        },
        "podAntiAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": [
                {"weight": 5, "podAffinityTerm": near("dataops.dev/pipeline")}
            ]
        },
    },
    "priorityClassName": "batch",
    "volumes": [
        {"name": "cache", "emptyDir": {"medium": "Memory", "sizeLimit": "64Mi"}},
        {"name": "settings", "configMap": {"name": "settings", "items": [{"key": "a", "path": "b/c"}]}},
    ],
    "volumeMounts": [
        {"name": "cache", "mountPath": "/cache"},
        {"name": "cache", "mountPath": "/home/.local", "subPath": "home"},
        {"name": "settings", "mountPath": "/etc/app", "readOnly": True},
    ],
}
POLICY: Object = {
    "podDefaults": {"nodeSelector": {"pool": "own"}},
    "podPolicy": {
        "labels": ["team"],
        "annotations": ["acme.example/trace"],
        "taints": ["gpu"],
        "priorityClasses": ["batch"],
    },
}


async def settled(case: Case, **fields: Any) -> None:
    """An environment of the namespace's own."""
    await case.api.create(ENVIRONMENTS, case.namespace, {"metadata": {"name": "own"}, "spec": fields})
    await case.until(ENVIRONMENTS, "own", lambda one: condition(one, "Ready").get("status") == "True")


@side_by_side
async def test_all_that_an_environment_allows_becomes_a_pod_that_the_server_takes(case: Case) -> None:
    await settled(case, **POLICY)
    await case.api.create(CONFIGMAPS, case.namespace, {"metadata": {"name": "settings"}, "data": {"a": "x"}})
    await case.ready(spec(step("a", podTemplate=WHOLE)))
    await case.run()
    assert succeeded(await case.ended())
    (pod,) = await case.pods()
    assert pod["metadata"]["labels"]["team"] == "data"
    assert pod["metadata"]["annotations"]["acme.example/trace"] == "on"
    made = pod["spec"]
    assert made["nodeSelector"] == {"disk": "ssd", "pool": "own"}
    assert WHOLE["tolerations"][0] in made["tolerations"]
    assert made["affinity"] == WHOLE["affinity"]
    assert (made["priorityClassName"], made["priority"]) == ("batch", 7)
    assert {one["name"] for one in made["volumes"]} >= {"extra-cache", "extra-settings"}


@side_by_side
async def test_a_run_that_asks_for_more_than_its_environment_allows_is_refused(case: Case) -> None:
    await settled(case)
    await case.ready(spec(step("a", podTemplate={"priorityClassName": "batch"})))
    await case.run()
    ended = await case.ended()
    assert verdict(ended) == ("False", "PodNotAllowed")
    text = condition(ended, "Succeeded")["message"]
    assert "spec.steps[0].podTemplate.priorityClassName: priority class 'batch'" in text
    assert "does not list it in its spec.podPolicy.priorityClasses" in text
    assert await case.jobs() == []


@side_by_side
async def test_a_claim_serves_as_volume_only_where_its_owner_offers_it_to_runs(case: Case) -> None:
    volumes = {"volumes": [{"name": "lake", "claim": {"name": "lake"}}]}
    mounts = {"volumeMounts": [{"name": "lake", "mountPath": "/lake"}]}
    await case.ready(spec(step("a", podTemplate=mounts), defaults={"image": "img", "podTemplate": volumes}))
    await case.run("early")
    await case.waits("ClaimNotFound", "early")
    claim: Object = {
        "metadata": {"name": "lake"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    await case.api.create(CLAIMS, case.namespace, claim)
    await case.run("later")
    ended = await case.ended("later")
    assert verdict(ended) == ("False", "ClaimNotAllowed")
    text = condition(ended, "Succeeded")["message"]
    assert "spec.defaults.podTemplate.volumes[0].claim.name: claim 'lake' is not offered to runs" in text
    offer = {"metadata": {"labels": {"dataops.dev/allow-runs": "true"}}}
    await case.api.patch(CLAIMS, case.namespace, "lake", offer)
    await case.run("last")
    assert succeeded(await case.ended("last"))
