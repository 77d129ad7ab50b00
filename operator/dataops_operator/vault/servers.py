"""The Vault servers, as the administrator defined them; nobody else sets an address.

The file is YAML::

    servers:
    - name: default
      address: https://vault.example:8200
      ca: /etc/dataops/vault/ca/default.pem     # a file, or the PEM text itself; the system's authorities where unset
      namespace: team                           # of Vault, where it has namespaces
      auth: {method: kubernetes, mount: kubernetes, audience: vault}
      operatorRole: dataops-operator
      timeout: 10s
      renewFor: 20m
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from pydantic.alias_generators import to_camel

from ..api.base import Duration, Name, parse_duration

_PEM: Final = "-----BEGIN"
_ADDRESS: Final = r"^https?://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:]+\])(:[0-9]{1,5})?/?$"
_ROLE: Final = r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$"
_MOUNT: Final = r"^[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*$"

Role = Annotated[str, StringConstraints(pattern=_ROLE, max_length=128)]


class ServersError(ValueError):
    """The file of servers cannot be used; the message says where and why."""


class _Auth(BaseModel):
    model_config = ConfigDict(extra="forbid")

    method: Literal["kubernetes", "jwt"] = "kubernetes"
    mount: Annotated[str, StringConstraints(pattern=_MOUNT, max_length=128)] | None = None
    audience: Annotated[str, StringConstraints(min_length=1, max_length=253)] = "vault"


class _Server(BaseModel):
    model_config = ConfigDict(extra="forbid", alias_generator=to_camel)

    name: Name
    address: Annotated[str, StringConstraints(pattern=_ADDRESS, max_length=300)]
    ca: str | None = None
    namespace: Annotated[str, StringConstraints(pattern=_MOUNT, max_length=253)] | None = None
    auth: _Auth = _Auth()
    operator_role: Role = "dataops-operator"
    timeout: Duration = "10s"
    renew_for: Duration = "20m"
    peers: list[dict[str, Any]] = Field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Server:
    """One server.

    Attributes:
        name: by which Environments name it.
        address: URL, without a slash at its end.
        ca: authorities of its certificate: a path, or PEM; None for the system's.
        namespace: Vault's own namespaces; None for the root one.
        method: kubernetes or jwt.
        mount: of the auth method.
        audience: whom a token must be for to log in with.
        operator_role: role that the operator logs in with, which can renew and revoke and read nothing.
        timeout: seconds that one request may take.
        renew_for: seconds of life that a login is given, at least, once it is recorded.
        peers: where it is found, as NetworkPolicy peers.
    """

    name: str
    address: str
    ca: str | None = None
    namespace: str | None = None
    method: str = "kubernetes"
    mount: str = "kubernetes"
    audience: str = "vault"
    operator_role: str = "dataops-operator"
    timeout: float = 10.0
    renew_for: float = 1200.0
    peers: tuple[Mapping[str, Any], ...] = ()

    @property
    def host(self) -> str:
        """The host of its address, a name or an IP address without brackets."""
        return urlsplit(self.address).hostname or ""

    @property
    def port(self) -> int:
        """The port of its address."""
        scheme, _, rest = self.address.partition("://")
        _, colon, port = rest.rpartition("]")[2].rpartition(":")
        return int(port) if colon else {"https": 443, "http": 80}[scheme]

    def tls(self) -> ssl.SSLContext:
        """What its certificate is held against, read anew.

        Raises:
            OSError: the file with the authorities cannot be read.
            ssl.SSLError: there is no certificate in it.
        """
        if self.ca is None:
            return ssl.create_default_context()
        return ssl.create_default_context(cadata=self._pem())

    def _pem(self) -> str:
        assert self.ca is not None  # noqa: S101 - both callers asked
        return self.ca if self.ca.startswith(_PEM) else Path(self.ca).read_text(encoding="ascii", errors="replace")

    def for_agent(self) -> dict[str, Any]:
        """What a pod needs to log in by itself, as JSON: the same, with the authorities inside."""
        return {
            "name": self.name,
            "address": self.address,
            "auth": {"method": self.method, "mount": self.mount, "audience": self.audience},
            "timeout": f"{max(1, round(self.timeout))}s",
            **({"namespace": self.namespace} if self.namespace else {}),
            **({"ca": self._pem()} if self.ca else {}),
        }


def load_servers(file: Path) -> dict[str, Server]:
    """The servers of a file, by name.

    Raises:
        ServersError: the file cannot be read, or what it says cannot be used.
    """
    import yaml  # here, since a pod's agent reads no YAML and is to start fast

    try:
        raw = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ServersError(f"{file}: {error}") from None
    found = raw.get("servers") if isinstance(raw, dict) else None
    if not isinstance(found, list):
        raise ServersError(f"{file}: servers: not there; write a list of servers under this key")
    out: dict[str, Server] = {}
    for index, one in enumerate(found):
        try:
            server = parse_server(one)
            server.tls()
        except ServersError as error:
            raise ServersError(f"{file}: servers[{index}]{error}") from None
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            cure = "give a PEM file with the authority of the server's certificate, or its text"
            raise ServersError(f"{file}: servers[{index}].ca: {error}; {cure}") from None
        if server.name in out:
            raise ServersError(f"{file}: servers[{index}].name: {server.name!r} is there already; names are unique")
        out[server.name] = server
    return out


def parse_server(raw: object) -> Server:
    """One server.

    Raises:
        ServersError: it cannot be used; the message begins with the path, such as `.address`.
    """
    try:
        given = _Server.model_validate(raw)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = "".join(f"[{one}]" if isinstance(one, int) else f".{one}" for one in first["loc"])
        raise ServersError(f"{where}: {first['msg']}") from None
    return Server(
        name=given.name,
        address=given.address.rstrip("/"),
        ca=given.ca.strip() if given.ca else None,
        namespace=given.namespace,
        method=given.auth.method,
        mount=given.auth.mount or given.auth.method,
        audience=given.auth.audience,
        operator_role=given.operator_role,
        timeout=max(1.0, parse_duration(given.timeout)),
        renew_for=parse_duration(given.renew_for),
        peers=tuple(given.peers),
    )
