"""What the administrator of a Vault does: engines, policies, login for runs and for the operator.

It speaks HTTP for itself and not by the operator's own client, on purpose: a fault in that one must not blind the
tests that would show it.
"""

from __future__ import annotations

import asyncio
import base64
import ssl
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import orjson
from tests.harness.api import RUNNER, Api, Object
from tests.harness.kinds import NAMESPACES, SERVICE_ACCOUNTS, Kind

from localcluster.certs import Authority
from localcluster.controlplane import ISSUER, ControlPlane

AUDIENCE = "vault"
OPERATOR = "dataops-operator"
"""Name of the operator's ServiceAccount, of its policy and of its role."""
REVIEWER = "vault-reviewer"
"""Namespace and ServiceAccount by which Vault asks the API server about tokens."""
CLUSTER_ROLE_BINDINGS = Kind(
    "ClusterRoleBinding", "rbac.authorization.k8s.io/v1", "clusterrolebindings", namespaced=False
)

OPERATOR_RULES: Mapping[str, Sequence[str]] = dict.fromkeys(
    (
        "auth/token/renew-accessor",
        "auth/token/revoke-accessor",
        "auth/token/lookup-accessor",
        "sys/leases/renew",
        "sys/leases/revoke",
        "sys/leases/lookup",
    ),
    ("update",),
)
"""All that the operator itself may do: it can renew and revoke, and read nothing."""


class VaultError(Exception):
    """An answer of Vault that is not a success."""

    def __init__(self, status: int, errors: Sequence[str]) -> None:
        super().__init__(f"{status}: {'; '.join(errors)}")
        self.status = status
        self.errors = list(errors)


class VaultAdmin:
    """A Vault and a token that may do everything in it.

    Args:
        address: URL of the server.
        token: the token; "" as long as there is none.
        ca: file with the authority of the server's certificate, for https.
    """

    def __init__(self, address: str, token: str, ca: Path | None = None) -> None:
        self.address = address
        self.token = token
        self.ca = ca
        self._listed: set[str] = set()

    async def request(
        self, method: str, path: str, body: Object | None = None, token: str | None = None, seconds: float = 30
    ) -> Object:
        """Send one request to `/v1/<path>`, as the administrator where no token is given.

        Raises:
            VaultError: the answer's status is 400 or more.
        """
        tls = ssl.create_default_context(cafile=str(self.ca)) if self.ca else True
        chosen = self.token if token is None else token
        headers = {"X-Vault-Token": chosen} if chosen else {}
        data = orjson.dumps(body) if body is not None else None
        timeout = aiohttp.ClientTimeout(total=seconds)
        async with (
            aiohttp.ClientSession(timeout=timeout, headers=headers) as session,
            session.request(method, f"{self.address}/v1/{path}", data=data, ssl=tls) as answer,
        ):
            raw = await answer.read()
            found = orjson.loads(raw) if raw else {}
            if answer.status >= 400:
                raise VaultError(answer.status, found.get("errors", []))
            return found

    # Engines.

    async def kv(self, mount: str, version: int) -> None:
        """Mount a key-value engine of version 1 or 2."""
        await self.request("POST", f"sys/mounts/{mount}", {"type": "kv", "options": {"version": str(version)}})
        while version == 2:  # it refuses everything for the moment that it takes to set itself up
            try:
                await self.request("GET", f"{mount}/config")
                return
            except VaultError as error:
                if error.status != 400:
                    raise
            await asyncio.sleep(0.05)

    async def put(self, path: str, values: Mapping[str, Any]) -> Object:
        """Write a secret: `secret/data/x` of version 2, `kv/x` of version 1; gives back what Vault says."""
        body = {"data": dict(values)} if "/data/" in path else dict(values)
        return await self.request("POST", path, body)

    async def pki(self, mount: str = "pki", role: str = "web", domain: str = "example.test") -> None:
        """Mount a PKI engine with an authority of its own and a role whose certificates are leased: a dynamic
        credential that needs no further server."""
        await self.request("POST", f"sys/mounts/{mount}", {"type": "pki", "config": {"max_lease_ttl": "87600h"}})
        await self.request("POST", f"{mount}/root/generate/internal", {"common_name": domain, "ttl": "8760h"})
        may = {"allowed_domains": [domain], "allow_subdomains": True, "generate_lease": True, "key_type": "ec"}
        await self.request("POST", f"{mount}/roles/{role}", {**may, "key_bits": 256, "ttl": "1h", "max_ttl": "24h"})

    async def transit(self, mount: str = "transit", key: str = "orders") -> None:
        """Mount a transit engine with one key."""
        await self.request("POST", f"sys/mounts/{mount}", {"type": "transit"})
        await self.request("POST", f"{mount}/keys/{key}")

    async def encrypt(self, plaintext: bytes, mount: str = "transit", key: str = "orders") -> str:
        """What transit makes of a text: `vault:v1:...`."""
        body = {"plaintext": base64.b64encode(plaintext).decode()}
        return str((await self.request("POST", f"{mount}/encrypt/{key}", body))["data"]["ciphertext"])

    async def database(
        self,
        *,
        host: str,
        port: int,
        database: str,
        username: str,
        password: str,
        mount: str = "database",
        role: str = "loader",
        statements: Sequence[str] = (),
        ttl: str = "1h",
        max_ttl: str = "24h",
    ) -> None:
        """Mount the database engine for a PostgreSQL, with one role: `<mount>/creds/<role>` makes a user.

        Args:
            host: where PostgreSQL listens.
            port: its port.
            database: which database.
            username: a user who may create roles.
            password: that user's password.
            mount: where the engine is mounted.
            role: the engine's role, and the name that its connection is known by.
            statements: SQL that makes a user; by default one who may log in.
            ttl: life of a user, as long as nobody renews it.
            max_ttl: life of a user with renewals.
        """
        if mount + "/" not in (await self.request("GET", "sys/mounts"))["data"]:
            await self.request("POST", f"sys/mounts/{mount}", {"type": "database"})
        url = f"postgresql://{{{{username}}}}:{{{{password}}}}@{host}:{port}/{database}?sslmode=disable"
        connection = {"plugin_name": "postgresql-database-plugin", "connection_url": url, "allowed_roles": "*"}
        await self.request("POST", f"{mount}/config/{role}", {**connection, "username": username, "password": password})
        login = "CREATE ROLE \"{{name}}\" LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}'"
        making = {"creation_statements": list(statements) or [login], "default_ttl": ttl, "max_ttl": max_ttl}
        await self.request("POST", f"{mount}/roles/{role}", {"db_name": role, **making})

    # Policies and logins.

    async def policy(self, name: str, rules: Mapping[str, Sequence[str]]) -> None:
        """Write a policy: capabilities by path."""
        text = orjson.dumps({"path": {path: {"capabilities": list(may)} for path, may in rules.items()}}).decode()
        await self.request("POST", f"sys/policies/acl/{name}", {"policy": text})

    async def kubernetes_auth(self, plane: ControlPlane, api: Api, mount: str = "kubernetes") -> None:
        """Enable login by ServiceAccount tokens, which Vault has reviewed by a cluster's API server."""
        if not await api.find(NAMESPACES, None, REVIEWER):
            await api.create(NAMESPACES, None, {"metadata": {"name": REVIEWER}})
            await api.create(SERVICE_ACCOUNTS, REVIEWER, {"metadata": {"name": REVIEWER}})
            binding = {
                "metadata": {"name": REVIEWER},
                "roleRef": {
                    "apiGroup": "rbac.authorization.k8s.io",
                    "kind": "ClusterRole",
                    "name": "system:auth-delegator",
                },
                "subjects": [{"kind": "ServiceAccount", "name": REVIEWER, "namespace": REVIEWER}],
            }
            await api.create(CLUSTER_ROLE_BINDINGS, None, binding)
        await self.request("POST", f"sys/auth/{mount}", {"type": "kubernetes"})
        where = {"kubernetes_host": plane.server, "kubernetes_ca_cert": plane.ca.read_text()}
        reviewer = await token_of(api, REVIEWER, REVIEWER, audience=None, seconds=24 * 3600)
        await self.request("POST", f"auth/{mount}/config", {**where, "token_reviewer_jwt": reviewer})

    async def jwt_auth(self, plane: ControlPlane, mount: str = "jwt") -> None:
        """Enable login by ServiceAccount tokens whose signature Vault checks by itself."""
        key = Authority(plane.ca.parent).key("service-accounts")
        public = subprocess.run(  # noqa: ASYNC221 - milliseconds
            ["openssl", "pkey", "-in", str(key), "-pubout"], check=True, capture_output=True, text=True
        ).stdout
        await self.request("POST", f"sys/auth/{mount}", {"type": "jwt"})
        await self.request("POST", f"auth/{mount}/config", {"jwt_validation_pubkeys": [public], "bound_issuer": ISSUER})

    async def role(
        self,
        name: str,
        namespace: str,
        policies: Sequence[str],
        *,
        account: str = RUNNER,
        audience: str = AUDIENCE,
        ttl: str = "20m",
        mount: str = "kubernetes",
        **more: Any,
    ) -> None:
        """A Kubernetes auth role: the named ServiceAccount of one namespace alone, for one audience.

        Args:
            name: of the role.
            namespace: in which the ServiceAccount is: an environment's execution namespace.
            policies: what it may.
            account: the ServiceAccount.
            audience: the token's audience.
            ttl: life of what logs in, as long as nobody renews it.
            mount: of the auth method.
            more: further fields, such as token_type="batch" or token_max_ttl.
        """
        bound = {"bound_service_account_names": [account], "bound_service_account_namespaces": [namespace]}
        body = {**bound, "audience": audience, "token_policies": list(policies), "token_ttl": ttl, **more}
        await self.request("POST", f"auth/{mount}/role/{name}", body)

    async def jwt_role(
        self,
        name: str,
        namespace: str,
        policies: Sequence[str],
        *,
        account: str = RUNNER,
        audience: str = AUDIENCE,
        ttl: str = "20m",
        mount: str = "jwt",
        **more: Any,
    ) -> None:
        """The same as a role of JWT auth."""
        bound = {
            "role_type": "jwt",
            "user_claim": "sub",
            "bound_audiences": [audience],
            "bound_subject": f"system:serviceaccount:{namespace}:{account}",
        }
        body = {**bound, "token_policies": list(policies), "token_ttl": ttl, **more}
        await self.request("POST", f"auth/{mount}/role/{name}", body)

    async def operator(
        self, namespace: str, *, account: str = OPERATOR, ttl: str = "20m", mount: str = "kubernetes"
    ) -> None:
        """The operator's policy and role, both called dataops-operator, for its ServiceAccount in a namespace."""
        await self.policy(OPERATOR, OPERATOR_RULES)
        await self.role(OPERATOR, namespace, [OPERATOR], account=account, ttl=ttl, mount=mount)

    # What is held.

    async def accessors(self) -> dict[str, Object]:
        """What each token that lives is, by its accessor, those of the administrator left out."""
        found = (await self.request("LIST", "auth/token/accessors"))["data"]["keys"]
        if set(found) - self._listed:
            # Vault revokes a token that is looked up before its lease is stored, which it is a moment after the token.
            await asyncio.sleep(0.3)
        self._listed = set(found)
        out = {}
        for accessor in found:
            try:
                said = await self.request("POST", "auth/token/lookup-accessor", {"accessor": accessor})
            except VaultError as error:
                if error.status in (400, 403, 404):  # it ended in between
                    continue
                raise
            if said["data"]["path"] != "auth/token/root":
                out[accessor] = said["data"]
        return out

    async def run_accessors(self) -> set[str]:
        """Accessors of the tokens that runs hold: all but the operator's own and the administrator's."""
        return {key for key, one in (await self.accessors()).items() if OPERATOR not in one["policies"]}

    async def leases(self, prefix: str) -> list[str]:
        """The ids of the leases below a path, such as `database/creds/loader`; [] where there is none."""
        try:
            found = await self.request("LIST", f"sys/leases/lookup/{prefix.rstrip('/')}/")
        except VaultError as error:
            if error.status == 404:
                return []
            raise
        out: list[str] = []
        for key in found["data"]["keys"]:
            whole = f"{prefix.rstrip('/')}/{key}"
            out += await self.leases(whole) if key.endswith("/") else [whole]
        return out


async def token_of(
    api: Api, namespace: str, account: str = RUNNER, *, audience: str | None = AUDIENCE, seconds: int = 600
) -> str:
    """A token for a ServiceAccount by TokenRequest.

    Args:
        api: an administrator's session.
        namespace: of the ServiceAccount.
        account: its name.
        audience: whom the token is for; the API server itself where None.
        seconds: its life.
    """
    asked: Object = {"expirationSeconds": seconds, **({"audiences": [audience]} if audience else {})}
    path = SERVICE_ACCOUNTS.path(namespace, account, "token")
    made = await api.request(
        "POST", path, {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": asked}
    )
    return str(made["status"]["token"])
