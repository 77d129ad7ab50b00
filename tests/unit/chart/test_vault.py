"""Vault in the chart: the administrator's servers, the operator's tokens for them, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from tests.unit.chart.rendering import Object, RefusedError, Render, Rendered

SERVER = {"name": "default", "address": "https://vault.example:8200"}


def pod(rendered: Rendered) -> Object:
    spec: Object = rendered.one("Deployment")["spec"]["template"]["spec"]
    return spec


def servers(rendered: Rendered) -> list[Object]:
    data = next(o for o in rendered.all("ConfigMap") if o["metadata"]["name"].endswith("-vault"))["data"]
    found: list[Object] = yaml.safe_load(data["servers.yaml"])["servers"]
    return found


def sources(rendered: Rendered, volume: str) -> list[Object]:
    found: list[Object] = next(v for v in pod(rendered)["volumes"] if v["name"] == volume)["projected"]["sources"]
    return found


def mounts(rendered: Rendered) -> dict[str, str]:
    return {m["name"]: m["mountPath"] for m in pod(rendered)["containers"][0]["volumeMounts"]}


def test_a_server_gets_the_defaults_that_vault_itself_has(render: Render) -> None:
    assert servers(render(vault={"servers": [SERVER]})) == [
        {
            "name": "default",
            "address": "https://vault.example:8200",
            "auth": {"method": "kubernetes", "mount": "kubernetes", "audience": "vault"},
            "operatorRole": "dataops-operator",
            "timeout": "10s",
            "renewFor": "20m",
            "peers": [],
        }
    ]
    jwt = servers(render(vault={"servers": [SERVER | {"auth": {"method": "jwt"}}]}))
    assert jwt[0]["auth"] == {"method": "jwt", "mount": "jwt", "audience": "vault"}


def test_without_servers_nothing_of_vault_is_there(render: Render) -> None:
    rendered = render()
    assert rendered.all("ConfigMap") == []
    assert "volumes" not in pod(rendered)
    assert not [a for a in pod(rendered)["containers"][0]["args"] if "vault" in a]


def test_the_operator_finds_its_servers_its_cas_and_its_tokens_where_its_arguments_say(render: Render) -> None:
    rendered = render(ci="vault")
    where = mounts(rendered)
    files = {
        f"{where['vault']}/{item['path']}" for one in sources(rendered, "vault") for item in one["configMap"]["items"]
    }
    args = dict(a.split("=", 1) for a in pod(rendered)["containers"][0]["args"])
    assert args["--vault-servers"] in files
    assert {one["ca"] for one in servers(rendered)} <= files
    tokens = {f"{where['vault-tokens']}/{s['serviceAccountToken']['path']}" for s in sources(rendered, "vault-tokens")}
    assert tokens == {args["--vault-token"].replace("{server}", one["name"]) for one in servers(rendered)}


def test_each_server_gets_a_token_for_its_own_audience_which_lives_for_minutes(render: Render) -> None:
    rendered = render(ci="vault")
    made = {one["serviceAccountToken"]["path"]: one["serviceAccountToken"] for one in sources(rendered, "vault-tokens")}
    assert {name: one["audience"] for name, one in made.items()} == {
        "default": "https://vault.example.com",
        "team": "vault",
    }
    assert {one["expirationSeconds"] for one in made.values()} == {600}


def test_a_changed_server_starts_the_operator_anew(render: Render) -> None:
    def checksum(**server: Any) -> str:
        template = render(vault={"servers": [SERVER | server]}).one("Deployment")["spec"]["template"]
        return str(template["metadata"]["annotations"]["checksum/vault"])

    bundle = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"
    assert len({checksum(), checksum(timeout="5s"), checksum(caBundle=bundle)}) == 3


@pytest.mark.parametrize(
    ("address", "port"),
    [
        ("https://vault.example:8200", 8200),
        ("https://vault.example", 443),
        ("https://[2001:db8::1]:8200", 8200),
        ("https://[2001:db8::1]", 443),
    ],
)
def test_the_network_policy_opens_a_servers_port(render: Render, address: str, port: int) -> None:
    peers = [{"ipBlock": {"cidr": "192.0.2.0/24"}}]
    values = {"servers": [SERVER | {"address": address, "peers": peers}]}
    policy = render(networkPolicy={"enabled": True}, vault=values).one("NetworkPolicy")["spec"]
    assert {"ports": [{"port": port, "protocol": "TCP"}], "to": peers} in policy["egress"]


@pytest.mark.parametrize(
    ("server", "said"),
    [
        ({"address": "http://vault.example:8200"}, r"/vault/servers/0/address"),
        ({"address": "vault.example:8200"}, r"/vault/servers/0/address"),
        ({"address": "https://user:pw@vault.example"}, r"/vault/servers/0/address"),
        ({"address": "https://vault.example/v1"}, r"/vault/servers/0/address"),
        ({"name": "Default"}, r"/vault/servers/0/name"),
        ({"namespace": "../root"}, r"/vault/servers/0/namespace"),
        ({"auth": {"mount": "a/../../sys"}}, r"/vault/servers/0/auth/mount"),
        ({"auth": {"method": "approle"}}, r"/vault/servers/0/auth/method"),
        ({"token": "s.abc"}, r"'token' not allowed"),
        ({"caBundle": "/etc/ca.pem"}, r"/vault/servers/0/caBundle"),
        ({"caBundle": "-----BEGIN CERTIFICATE-----", "caConfigMap": {"name": "ca"}}, r"/vault/servers/0"),
    ],
    ids=str,
)
def test_a_server_that_is_not_one_is_refused_and_named(render: Render, server: Object, said: str) -> None:
    with pytest.raises(RefusedError, match=said):
        render(vault={"servers": [SERVER | server]})


def test_an_address_without_tls_has_to_be_asked_for(render: Render) -> None:
    plain = SERVER | {"address": "http://openbao.vault:8200", "insecure": True}
    assert servers(render(vault={"servers": [plain]}))[0]["address"] == "http://openbao.vault:8200"


def test_two_servers_of_one_name_are_refused(render: Render) -> None:
    with pytest.raises(RefusedError, match="two servers named default"):
        render(vault={"servers": [SERVER, SERVER]})
