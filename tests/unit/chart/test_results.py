"""The endpoint of results in the chart: nothing of it unless asked for, then a Service, a certificate and one right."""

from __future__ import annotations

import contextlib
import ssl
from pathlib import Path

import pytest
from tests.unit.chart.rendering import Render


def test_nothing_of_it_is_there_unless_asked_for(render: Render) -> None:
    rendered = render()
    assert not [one for one in rendered.objects if one["metadata"]["name"].endswith("-results")]
    (container,) = rendered.one("Deployment")["spec"]["template"]["spec"]["containers"]
    assert not [one for one in container["args"] if "results" in one]
    assert [one["name"] for one in container["ports"]] == ["http"]


@pytest.mark.parametrize("namespaces", [[], ["analytics"]])
def test_it_is_served_where_its_arguments_say(render: Render, namespaces: list[str]) -> None:
    rendered = render(results={"enabled": True}, watch={"namespaces": namespaces})
    pod = rendered.one("Deployment")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    service = next(one for one in rendered.all("Service") if one["metadata"]["name"] == "dataops-operator-results")
    (port,) = service["spec"]["ports"]
    assert {"name": "results", "containerPort": port["port"], "protocol": "TCP"} in container["ports"]
    assert f"--results-listen=0.0.0.0:{port['port']}" in container["args"]
    host = f"{service['metadata']['name']}.{service['metadata']['namespace']}.svc"
    assert f"--results-url=https://{host}:{port['port']}/v1/results" in container["args"]
    (mount,) = [one for one in container["volumeMounts"] if one["name"] == "results"]
    assert f"--results-tls={mount['mountPath']}" in container["args"]
    (volume,) = [one for one in pod["volumes"] if one["name"] == "results"]
    (made,) = rendered.all("Secret")
    assert volume["secret"]["secretName"] == made["metadata"]["name"]
    assert set(made["stringData"]) == {"ca.crt", "tls.crt", "tls.key"}
    role = next(one for one in rendered.all("ClusterRole") if one["metadata"]["name"] == "dataops-operator-results")
    assert role["rules"] == [
        {"apiGroups": ["authentication.k8s.io"], "resources": ["tokenreviews"], "verbs": ["create"]}
    ]


def test_a_certificate_of_ones_own_is_taken(render: Render) -> None:
    rendered = render(results={"enabled": True, "certificate": "mine"})
    assert rendered.all("Secret") == []
    volumes = rendered.one("Deployment")["spec"]["template"]["spec"]["volumes"]
    assert [one["secret"]["secretName"] for one in volumes if one["name"] == "results"] == ["mine"]


def test_beside_vault_both_have_their_volumes(render: Render) -> None:
    rendered = render(ci="vault", results={"enabled": True})
    volumes = rendered.one("Deployment")["spec"]["template"]["spec"]["volumes"]
    assert [one["name"] for one in volumes] == ["results", "vault", "vault-tokens"]


def test_the_operators_network_policy_lets_results_in(render: Render) -> None:
    def ports(**values: object) -> list[int]:
        policy = render(networkPolicy={"enabled": True}, **values).one("NetworkPolicy")
        return [port["port"] for rule in policy["spec"]["ingress"] for port in rule["ports"]]

    assert ports() == [8080]
    assert ports(results={"enabled": True}) == [8080, 8443]


def test_the_certificate_is_one_that_a_client_takes_for_the_services_name(render: Render, tmp_path: Path) -> None:
    rendered = render(results={"enabled": True})
    (made,) = rendered.all("Secret")
    for name, text in made["stringData"].items():
        (tmp_path / name).write_text(text)
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(tmp_path / "tls.crt", tmp_path / "tls.key")
    client = ssl.create_default_context(cafile=str(tmp_path / "ca.crt"))
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    here = client.wrap_bio(to_client, to_server, server_hostname="dataops-operator-results.dataops-system.svc")
    there = server.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(4):
        for side in (here, there):
            with contextlib.suppress(ssl.SSLWantReadError):
                side.do_handshake()
    assert here.version() == "TLSv1.3"
