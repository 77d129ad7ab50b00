"""The administrator's list of Vault servers."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from dataops_operator.vault.servers import Server, ServersError, load_servers, parse_server
from localcluster.certs import Authority

MINIMAL = {"name": "default", "address": "https://vault.example:8200"}


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = Authority(tmp_path_factory.mktemp("pki"))
    made.make([])
    return made.ca


def load(folder: Path, *servers: Any) -> dict[str, Server]:
    file = folder / "servers.yaml"
    file.write_text(yaml.safe_dump({"servers": list(servers)}))
    return load_servers(file)


def test_a_server_needs_a_name_and_an_address(tmp_path: Path) -> None:
    (server,) = load(tmp_path, MINIMAL).values()
    assert server == Server("default", "https://vault.example:8200")
    assert (server.method, server.mount, server.audience) == ("kubernetes", "kubernetes", "vault")
    assert (server.operator_role, server.timeout, server.renew_for) == ("dataops-operator", 10.0, 1200.0)


def test_everything_can_be_said(tmp_path: Path, authority: Path) -> None:
    whole = {
        "name": "eu",
        "address": "https://vault.example/",
        "ca": str(authority),
        "namespace": "team/eu",
        "auth": {"method": "jwt", "audience": "https://vault.example"},
        "operatorRole": "dataops",
        "timeout": "3s",
        "renewFor": "1h",
        "peers": [{"ipBlock": {"cidr": "10.0.0.0/8"}}],
    }
    server = load(tmp_path, MINIMAL, whole)["eu"]
    assert (server.address, server.namespace, server.timeout) == ("https://vault.example", "team/eu", 3.0)
    assert (server.method, server.mount, server.audience) == ("jwt", "jwt", "https://vault.example")
    assert server.renew_for == 3600.0
    assert server.peers == ({"ipBlock": {"cidr": "10.0.0.0/8"}},)


@pytest.mark.parametrize(
    ("address", "port"),
    [
        ("https://v", 443),
        ("http://v", 80),
        ("https://v:8200", 8200),
        ("https://[::1]:8201", 8201),
        ("https://[::1]", 443),
    ],
)
def test_its_port_is_known(address: str, port: int) -> None:
    assert Server("s", address).port == port


def test_a_pod_gets_the_authorities_and_nothing_that_is_not_its_own(tmp_path: Path, authority: Path) -> None:
    server = load(tmp_path, {**MINIMAL, "ca": str(authority), "namespace": "team", "operatorRole": "boss"})["default"]
    told = server.for_agent()
    assert told["ca"] == authority.read_text().strip() or told["ca"] == authority.read_text()
    assert "boss" not in str(told)
    again = parse_server(told)
    assert (again.address, again.namespace, again.mount) == (server.address, "team", "kubernetes")
    assert again.tls().cert_store_stats()["x509_ca"] == 1


@pytest.mark.parametrize(
    ("server", "where"),
    [
        ({"name": "x"}, ".address: Field required"),
        ({**MINIMAL, "address": "vault.example"}, ".address: "),
        ({**MINIMAL, "address": "https://user:pass@vault.example"}, ".address: "),
        ({**MINIMAL, "address": "https://vault.example/v1/secret"}, ".address: "),
        ({**MINIMAL, "name": "No Name"}, ".name: "),
        ({**MINIMAL, "adress": "https://x"}, ".adress: Extra inputs are not permitted"),
        ({**MINIMAL, "auth": {"method": "userpass"}}, ".auth.method: "),
        ({**MINIMAL, "auth": {"token": "root"}}, ".auth.token: "),
        ({**MINIMAL, "timeout": "soon"}, ".timeout: "),
        ({**MINIMAL, "renewFor": "long"}, ".renewFor: "),
        ({**MINIMAL, "ca": "/no/such/file.pem"}, ".ca: "),
        ({**MINIMAL, "ca": "-----BEGIN CERTIFICATE-----\nnothing\n-----END CERTIFICATE-----"}, ".ca: "),
        ("default", ": "),
    ],
)
def test_what_is_wrong_is_said_with_its_place(tmp_path: Path, server: Any, where: str) -> None:
    with pytest.raises(ServersError) as caught:
        load(tmp_path, MINIMAL | {"name": "first"}, server)
    assert f"servers.yaml: servers[1]{where}" in str(caught.value)


def test_two_servers_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ServersError, match=r"servers\[1\].name: 'default' is there already"):
        load(tmp_path, MINIMAL, MINIMAL)


@pytest.mark.parametrize("text", ["", "servers:", "[]", "servers: {a: b}", "servers: [", "\x00"])
def test_a_file_that_is_no_list_of_servers_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "servers.yaml"
    file.write_text(text)
    with pytest.raises(ServersError, match=r"servers\.yaml"):
        load_servers(file)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ServersError, match="No such file"):
        load_servers(tmp_path / "none")
