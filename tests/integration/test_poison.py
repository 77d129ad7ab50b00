"""Objects that no schema would let in (security checks 14, 18, 19): refused or left lying, and nobody else is touched.

The API server of this module has our kinds without their schemas, as one would be where somebody replaced the CRDs, an
older release left objects behind, or etcd was written to. What holds here holds by the operator's own checks.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import pytest_asyncio
import yaml
from tests.harness.api import Api, Object, condition
from tests.harness.history import run_ended
from tests.harness.kinds import ENVIRONMENTS, JOBS, PIPELINES, PODS, RUNS, Kind
from tests.harness.operator import ROOT
from tests.integration.rights import a_plane
from tests.integration.support import World, a_world, spec, step, succeeded, until

from localcluster import binaries
from localcluster.controlplane import ControlPlane

pytestmark = pytest.mark.asyncio(loop_scope="module")

DEEP: Any = "x"
for _ in range(400):
    DEEP = [DEEP]

PIPELINE_SPECS: dict[str, Any] = {
    "nothing": {},
    "steps-null": {"steps": None},
    "steps-text": {"steps": "a"},
    "step-null": {"steps": [None]},
    "step-name-number": {"steps": [{"name": 5, "image": "a"}]},
    "step-name-path": {"steps": [{"name": "../../secrets", "image": "a"}]},
    "name-of-another-script": {"steps": [{"name": "ａ", "image": "a"}]},
    "needs-itself": {"steps": [{"name": "a", "image": "a", "needs": ["a"]}]},
    "limit-beyond": {"steps": [{"name": "a", "image": "a", "retry": {"limit": 10**18}}]},
    "timeout-beyond": {"steps": [{"name": "a", "image": "a", "timeout": "9" * 40 + "d"}]},
    "fraction": {"steps": [{"name": "a", "image": "a", "retry": {"limit": 0.5}}]},
    "deep": {"steps": [{"name": "a", "image": "a"}], "parameters": [{"name": "p", "type": "Array", "default": DEEP}]},
    "pattern": {"steps": [{"name": "a", "image": "a"}], "parameters": [{"name": "p", "pattern": "(" * 2000}]},
    "many": {"steps": [{"name": f"s{n}", "image": "a"} for n in range(1001)]},
}
RUN_SPECS: dict[str, Any] = {
    "nothing": {},
    "pipeline-null": {"pipeline": None},
    "pipeline-list": {"pipeline": ["good"]},
    "pipeline-path": {"pipeline": "../../kube-system/secrets/x"},
    "pipeline-elsewhere": {"pipeline": "other-team/good"},
    "revision-path": {"pipeline": "good", "revision": "../../../api/v1/secrets"},
    "parameters-text": {"pipeline": "good", "parameters": "p"},
    "date-number": {"pipeline": "good", "logicalDate": 5},
    "date-nowhere": {"pipeline": "good", "logicalDate": "2026-02-31T00:00:00Z"},
}
ENVIRONMENT_SPECS: dict[str, Any] = {
    "namespace-number": {"namespace": 7},
    "namespace-path": {"namespace": "../kube-system"},
    "targets-null": {"targets": [None]},
    "target-of-two-kinds": {"targets": [{"name": "a", "volume": {"size": "1Gi"}, "s3": {"endpoint": "x"}}]},
    "from-itself": {"from": "from-itself"},
    "access-everything": {"access": [{"role": "cluster-admin", "subjects": [{"kind": "User", "name": "eve"}]}]},
    "address": {"vault": {"role": "r", "address": "https://evil.example", "server": "https://evil.example"}},
}
SETTLE = 8.0
"""Seconds in which the operator may look at poison again; then it must have come to rest."""


@pytest.fixture(scope="module")
def plane() -> Iterator[ControlPlane]:
    with a_plane("poison") as made:
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    folder = tmp_path_factory.mktemp("crds")
    for path in sorted((ROOT / "crds").glob("*_*.yaml")):
        crd = yaml.safe_load(path.read_text())
        for version in crd["spec"]["versions"]:
            version["schema"]["openAPIV3Schema"] = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
            version.pop("selectableFields", None)
        (folder / path.name).write_text(yaml.safe_dump(crd))
    async with Api(plane.server, plane.token, plane.ca) as api:
        await api.install_crds(folder)
    async with a_world(plane, tmp_path_factory.mktemp("poison")) as it:
        yield it


async def put(api: Api, kind: Kind, namespace: str, specs: dict[str, Any]) -> None:
    for name, body in specs.items():
        whole = {"apiVersion": kind.group_version, "kind": kind.name, "metadata": {"name": name}, "spec": body}
        await api.request("POST", kind.path(namespace), json.dumps(whole).encode())
    await api.create(kind, namespace, {"metadata": {"name": "no-spec-at-all"}})
    await api.create(kind, namespace, {"metadata": {"name": "spec-of-text"}, "spec": "text"})
    await api.create(
        kind, namespace, {"metadata": {"name": "status-of-text"}, "status": {"conditions": "x", "steps": 7}}
    )


def look_alikes(uid: str) -> list[Object]:
    """Jobs and pods with our labels that nobody of us made; `uid` is of a run that is under way."""
    container = {"name": "a", "image": "b"}
    template = {"spec": {"restartPolicy": "Never", "containers": [container]}}
    found = []
    for index, labels in enumerate(({"attempt": "x"}, {"attempt": "0"}, {"step": "land", "attempt": "9" * 40}, {})):
        marks = {f"dataops.dev/{key}": value for key, value in labels.items()}
        meta = {"labels": {"app.kubernetes.io/managed-by": "dataops-operator", "dataops.dev/run-uid": uid, **marks}}
        odd = {"dataops.dev/parameters": "{", "dataops.dev/revision": "../x", "dataops.dev/parameter-origins": "[]"}
        named = {"name": f"look-alike-{index}", "annotations": odd, **meta}
        found.append({"metadata": named, "spec": {"suspend": True, "template": template}})
    return found


async def test_poison_is_refused_and_a_good_run_beside_it_succeeds(world: World) -> None:
    api, sick, well = world.api, "sick", "well"
    assert world.operator is not None
    for namespace in (sick, well):
        await api.make_namespace(namespace)
        await api.create(
            PIPELINES, namespace, {"metadata": {"name": "good"}, "spec": spec(step("land"), step("end", "land"))}
        )
    await put(api, PIPELINES, sick, PIPELINE_SPECS)
    await put(api, RUNS, sick, RUN_SPECS | {f"of-{name}": {"pipeline": name} for name in PIPELINE_SPECS})
    # Elsewhere, since the runs of a namespace that an Environment asks for wait for it.
    await api.make_namespace("elsewhere")
    await put(api, ENVIRONMENTS, "elsewhere", ENVIRONMENT_SPECS)
    slow = await api.create(RUNS, sick, {"metadata": {"name": "slow"}, "spec": {"pipeline": "good"}})
    for job in look_alikes(slow["metadata"]["uid"]):
        await api.create(JOBS, sick, job)
        if job["metadata"]["labels"].get("dataops.dev/attempt") == "x":
            continue  # the kubelet's stand-in reads it as a number
        pod = {"metadata": job["metadata"], "spec": job["spec"]["template"]["spec"]}
        await api.create(PODS, sick, pod)
    for namespace in (sick, well):
        await api.create(RUNS, namespace, {"metadata": {"name": "good"}, "spec": {"pipeline": "good"}})

    for namespace, name in ((sick, "good"), (sick, "slow"), (well, "good")):
        assert succeeded(await api.wait_for(RUNS, namespace, name, run_ended, timeout=60))
    for name in PIPELINE_SPECS:
        found = await api.wait_for(PIPELINES, sick, name, lambda one: condition(one, "Ready") != {})
        assert condition(found, "Ready")["status"] == "False", name
        run = await api.wait_for(RUNS, sick, f"of-{name}", run_ended)
        assert condition(run, "Succeeded")["status"] == "False", name
    for name in RUN_SPECS:
        run = await api.wait_for(RUNS, sick, name, run_ended)
        assert condition(run, "Succeeded")["status"] == "False", name
        assert condition(run, "Succeeded")["message"], name
    for job in look_alikes(""):
        assert await api.find(JOBS, sick, job["metadata"]["name"]) is not None, "not ours, so not ours to delete"


async def test_poison_costs_nothing_once_it_was_seen(world: World) -> None:
    assert world.operator is not None
    await asyncio.sleep(SETTLE)
    before = world.operator.cpu_seconds()
    began = time.monotonic()
    await asyncio.sleep(SETTLE)
    spent = (world.operator.cpu_seconds() - before) / (time.monotonic() - began)
    assert spent < 0.1, f"{spent:.0%} of a core, for objects that nobody changed"


async def test_a_value_nested_deeper_than_any_json_library_goes_is_refused_and_stops_nobody(world: World) -> None:
    """One object of one user in a list that nobody can read would be the end of all runs, also after a restart."""
    assert world.operator is not None
    specs: dict[str, Object] = {
        "Pipeline": {"steps": [{"name": "a", "image": "b"}], "parameters": [{"name": "p", "default": "ABYSS"}]},
        "PipelineRun": {"pipeline": "good", "parameters": [{"name": "p", "value": "ABYSS"}]},
        "Environment": {"namespace": "abyss", "parameters": [{"name": "p", "value": "ABYSS"}]},
    }
    for kind, body in specs.items():
        whole = {"apiVersion": "dataops.dev/v1alpha1", "kind": kind, "metadata": {"name": "abyss"}, "spec": body}
        text = json.dumps(whole).replace('"ABYSS"', "[" * 5000 + "]" * 5000)
        await kubectl(world, "create", "-n", "elsewhere", "-f", "-", given=text)
    await kubectl(world, "wait", "-n", "elsewhere", "dpl/abyss", "--for=condition=Ready=False", "--timeout=90s")
    await kubectl(world, "wait", "-n", "elsewhere", "drun/abyss", "--for=condition=Succeeded=False", "--timeout=90s")
    said = await kubectl(world, "get", "-n", "elsewhere", "dpl/abyss", "-o", "jsonpath={.status.conditions[*].message}")
    assert "spec.parameters[0].default" in said
    assert "nested deeper than 64 levels" in said

    assert world.operator.alive
    await world.operator.terminate()
    await world.operator.start()
    await world.api.create(RUNS, "well", {"metadata": {"name": "after-all"}, "spec": {"pipeline": "good"}})
    assert succeeded(await world.api.wait_for(RUNS, "well", "after-all", run_ended, timeout=60))


async def kubectl(world: World, *words: str, given: str = "") -> str:
    """What kubectl prints, which reads any depth."""
    command = [str(binaries.ensure("kubernetes") / "kubectl"), f"--kubeconfig={world.plane.kubeconfig}", *words]
    done = await asyncio.to_thread(
        subprocess.run, command, input=given, capture_output=True, text=True, check=False
    )  # fmt: skip
    log = world.operator.tail() if world.operator is not None else ""
    assert done.returncode == 0, f"{done.stderr}\nthe operator's log ends:\n{log}"
    return done.stdout


async def test_a_flood_in_one_namespace_delays_no_run_in_another(world: World) -> None:
    """Security check 19: 300 runs of one tenant are there already when the operator comes to the one of another."""
    assert world.operator is not None
    api, gate = world.api, asyncio.Semaphore(32)
    await world.operator.terminate()

    async def one(index: int) -> None:
        async with gate:
            await api.create(RUNS, "sick", {"metadata": {"name": f"flood-{index}"}, "spec": {"pipeline": "good"}})

    await asyncio.gather(*(one(index) for index in range(300)))
    await api.create(RUNS, "well", {"metadata": {"name": "alone"}, "spec": {"pipeline": "good"}})
    begun: list[str] = []

    async def follow() -> None:
        async for type_, job in api.list_then_watch(JOBS, selector="dataops.dev/step=land"):
            run = job.get("metadata", {}).get("labels", {}).get("dataops.dev/run", "")
            if type_ == "ADDED" and (run.startswith("flood-") or run == "alone"):
                begun.append(run)

    following = asyncio.create_task(follow())
    await world.operator.start()

    async def most_have_begun() -> bool:
        return "alone" in begun and len(begun) >= 200

    await until(most_have_begun, within=120)
    following.cancel()
    place = begun.index("alone") + 1
    print(f"of 301 runs that waited for the operator, the one of another tenant began as number {place}")
    assert place <= 66, "it may find each of the 32 workers busy once or twice, and no more"
