"""Results handed in at the operator's endpoint, by a pod's own token, on a real API server."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
import pytest_asyncio
from tests.harness import podstatus
from tests.harness.api import Object
from tests.harness.kinds import CONFIGMAPS, PODS, SERVICE_ACCOUNTS
from tests.harness.ports import free_port
from tests.harness.script import Outcome, Play
from tests.integration.beside import side_by_side
from tests.integration.support import Case, World, a_world, failed_because, phases, row, spec, step, succeeded

from localcluster.controlplane import ControlPlane

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(600)]

HANG = Play(outcome=Outcome.HANG)
PORT = free_port()
URL = f"https://127.0.0.1:{PORT}/v1/results"
TLS: dict[str, Path] = {}
OUTPUTS = [{"name": "files", "type": "Array"}, {"name": "count", "type": "Integer"}]
FILES = [f"s3://landing/{index:05}.csv" for index in range(2000)]
RESULT = orjson.dumps({"outputs": {"files": FILES, "count": 2000}})


def certificate(folder: Path) -> None:
    """A certificate that is its own authority, for 127.0.0.1."""
    folder.mkdir(parents=True, exist_ok=True)
    words = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=results"]
    words += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "tls.key", "-out", "tls.crt"]
    subprocess.run(words, cwd=folder, check=True, capture_output=True)
    (folder / "ca.crt").write_bytes((folder / "tls.crt").read_bytes())


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    logs = tmp_path_factory.mktemp("results")
    TLS["folder"] = logs / "tls"
    certificate(TLS["folder"])
    words = ["--results-listen", f"127.0.0.1:{PORT}", "--results-url", URL, "--results-tls", str(TLS["folder"])]
    async with a_world(plane, logs, *words) as it:
        yield it


async def a_token(case: Case, pod: Object | None, audience: str = "dataops-results") -> str:
    """What the kubelet mounts into a pod: a token of its ServiceAccount, bound to it."""
    asked: Object = {"audiences": [audience], "expirationSeconds": 3600}
    if pod is not None:
        meta = pod["metadata"]
        asked["boundObjectRef"] = {"apiVersion": "v1", "kind": "Pod", "name": meta["name"], "uid": meta["uid"]}
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": asked}
    path = f"{SERVICE_ACCOUNTS.path(case.namespace, 'dataops-runner')}/token"
    made = await case.api.request("POST", path, body)
    return str(made["status"]["token"])


async def hand_in(step_name: str, body: bytes, token: str | None, *, again: bool = True) -> tuple[int, str]:
    """The answer to a result; who is told to come again does, unless told otherwise."""
    context = ssl.create_default_context(cafile=str(TLS["folder"] / "ca.crt"))
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session:
        while True:
            async with session.post(f"{URL}/{step_name}", data=body, headers=headers) as answer:
                text = (await answer.json())["message"]
                if answer.status in (429, 503):
                    assert answer.headers["Retry-After"]
                if answer.status not in (429, 503) or not again:
                    return answer.status, text
            await asyncio.sleep(0.2)


async def ends(case: Case, pod: Object, message: str = "") -> None:
    """The pod exits with 0."""
    at = podstatus.now()
    status = podstatus.ended(pod, Play(message=message), at, at)
    await case.api.patch(PODS, case.namespace, pod["metadata"]["name"], {"status": status}, "status")


@side_by_side
async def test_a_result_beyond_four_kibibytes_comes_whole_to_later_steps_and_in_part_to_the_status(case: Case) -> None:
    case.plays("list", HANG)
    steps = [
        step("list", outputs=OUTPUTS, results="Endpoint"),
        step("each", forEach={"items": "$(steps.list.outputs.files)", "mode": "Indexed", "tolerate": 2000}),
        step("last", args=["$(steps.list.outputs.files)"], when="steps.list.outputs.files.size() == 2000"),
    ]
    steps[1]["when"] = "false"
    await case.ready(spec(*steps))
    await case.run()
    pod = await case.a_pod("list", "Running")
    (container,) = pod["spec"]["containers"]
    env = {one["name"]: one.get("value") for one in container["env"]}
    assert env["DATAOPS_RESULTS_URL"] == f"{URL}/list"
    (volume,) = [one for one in pod["spec"]["volumes"] if one["name"] == "results"]
    asked = volume["projected"]["sources"][0]["serviceAccountToken"]
    assert (asked["audience"], asked["path"]) == ("dataops-results", "token")
    ca = (TLS["folder"] / "ca.crt").read_text()
    assert pod["metadata"]["annotations"]["dataops.dev/results-ca"] == ca
    assert pod["metadata"]["labels"]["dataops.dev/results"] == "endpoint"
    token = await a_token(case, pod)
    assert await hand_in("list", RESULT, token) == (201, "kept")
    assert await hand_in("list", RESULT, token) == (200, "kept"), "a client that lost the answer sends it again"
    status, text = await hand_in("list", b'{"outputs": {}}', token)
    assert (status, "the first one stands" in text) == (409, True)
    await ends(case, pod)
    run = await case.ended()
    assert succeeded(run)
    found = row(run, "list")
    assert found["outputs"] == {"count": 2000}
    kept = await case.api.get(CONFIGMAPS, case.namespace, found["result"])
    assert kept["immutable"] is True
    assert [one["uid"] for one in kept["metadata"]["ownerReferences"]] == [run["metadata"]["uid"]]
    assert phases(run)["last"] == "Succeeded", "its condition saw the whole list"
    (job,) = await case.jobs("last")
    assert orjson.loads(job["spec"]["template"]["spec"]["containers"][0]["args"][0]) == FILES
    assert len(orjson.dumps(run["status"])) < 4096
    assert (await hand_in("list", RESULT, token, again=False))[0] in (503, 410), "the run has ended"


@side_by_side
async def test_who_is_no_pod_of_a_step_is_refused(case: Case) -> None:
    case.plays("load", HANG)
    await case.ready(spec(step("load", outputs=[{"name": "n"}], results="Endpoint")))
    await case.run()
    pod = await case.a_pod("load", "Running")
    good = orjson.dumps({"outputs": {"n": "x"}})
    token = await a_token(case, pod)
    assert (await hand_in("load", good, None))[0] == 401
    assert (await hand_in("load", good, "no.such.token"))[0] == 401
    assert (await hand_in("load", good, await a_token(case, pod, "https://kubernetes.default.svc")))[0] == 401
    assert (await hand_in("load", good, await a_token(case, None)))[0] == 404, "a token that is bound to no pod"
    assert (await hand_in("other", good, token))[0] == 404
    assert (await hand_in("load", b"x" * 1_000_001, token))[0] == 413
    for bad in (b"[1]", b"{", b"[" * 1000):
        assert (await hand_in("load", bad, token))[0] == 400
    assert (await hand_in("load", good, token))[0] == 201
    await ends(case, pod)
    run = await case.ended()
    assert succeeded(run)
    assert (row(run, "load")["outputs"], row(run, "load").get("result")) == ({"n": "x"}, None)


@side_by_side
async def test_a_step_may_tell_a_small_result_in_its_file_all_the_same(case: Case) -> None:
    case.plays("load", HANG)
    await case.ready(spec(step("load", outputs=[{"name": "n"}], results="Endpoint")))
    await case.run()
    pod = await case.a_pod("load", "Running")
    await ends(case, pod, '{"outputs": {"n": "small"}}')
    run = await case.ended()
    assert row(run, "load")["outputs"] == {"n": "small"}


@side_by_side
async def test_what_was_handed_in_without_a_declared_output_fails_the_step(case: Case) -> None:
    case.plays("load", HANG)
    await case.ready(spec(step("load", outputs=[{"name": "n"}], results="Endpoint")))
    await case.run()
    pod = await case.a_pod("load", "Running")
    assert (await hand_in("load", b'{"outputs": {}}', await a_token(case, pod)))[0] == 201
    await ends(case, pod)
    run = await case.ended()
    assert failed_because(run, "load") == "MissingOutput"
    assert "what was handed in at the results endpoint has no output 'n'" in row(run, "load")["message"]


@side_by_side
async def test_results_of_items_are_refused_with_the_cure(case: Case) -> None:
    await case.apply(spec(step("load", forEach={"range": {"to": 2}}, results="Endpoint")))
    await case.run()
    run: dict[str, Any] = await case.ended()
    assert "spec.steps[0].results: items of a fan-out tell their results" in run["status"]["conditions"][0]["message"]
