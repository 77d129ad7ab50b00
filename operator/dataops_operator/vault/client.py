"""One server, asked by hvac: synchronous, for threads (`session`) and for the pod's own process (`agent`).

What hvac and requests would do by themselves and must not: follow redirects, take proxies, tokens, addresses or
certificates from the environment or from ~/.netrc, put an answer's text into an exception.
"""

from __future__ import annotations

import logging
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.cookiejar import DefaultCookiePolicy
from typing import Any, Final

import hvac
import orjson
import requests
from hvac.adapters import RawAdapter
from requests.adapters import HTTPAdapter

from .errors import Forbidden, Gone, Invalid, LoginFailed, NotFound, TooLarge, Unavailable, VaultError
from .servers import Server

BODY_LIMIT: Final = 4 * 1024 * 1024
"""Bytes of an answer that are read; a secret may have 900 KiB, which JSON and base64 make larger."""
_CHUNK: Final = 64 * 1024
_BUSY: Final = frozenset({412, 429, 472, 473})
"""Statuses below 500 that mean later: not replicated yet, too many requests, a standby that does not serve."""
_GONE: Final = (b"invalid accessor", b"lease not found", b"invalid lease", b"invalid lease ID")

Observe = Callable[[str, str, int, float], None]
"""Told of each request: server, operation, HTTP status (0 without an answer), seconds."""

# At level debug they write the path of every request: it is in Vault's audit log, and may hold what a masked parameter
# has.
logging.getLogger("urllib3").setLevel(logging.WARNING)


@dataclass(frozen=True, slots=True)
class Login:
    """What a login gave.

    Attributes:
        accessor: by which the token is renewed and revoked.
        token: the token; never shown.
        ttl: its life, seconds.
        renewable: whether it can be renewed.
    """

    accessor: str
    token: str = field(repr=False)
    ttl: float
    renewable: bool


class Client:
    """One server; any number of threads may use it.

    Args:
        server: which.
        observe: told of each request.
    """

    def __init__(self, server: Server, observe: Observe | None = None) -> None:
        self.server = server
        self._observe = observe
        self._local = threading.local()

    def login(self, role: str, jwt: str) -> Login:
        """Log in with a ServiceAccount's token.

        Raises:
            LoginFailed: refused; or the token it gave could not be revoked later.
            Unavailable: the server cannot do that now.
        """
        server, vault = self.server, self._vault("login", "")
        who = f"role {role!r} of auth/{server.mount} on Vault server {server.name!r}"
        try:
            if server.method == "kubernetes":
                answer = vault.auth.kubernetes.login(role, jwt, use_token=False, mount_point=server.mount)
            else:
                answer = vault.auth.jwt.jwt_login(role, jwt, use_token=False, path=server.mount)
        except (Forbidden, Invalid, NotFound) as error:
            cure = (
                f"the role must exist, be bound to this ServiceAccount and namespace, and to audience "
                f"{server.audience!r}; ask whoever administers Vault"
            )
            raise LoginFailed(f"{who} refused the login ({error.code}): {cure}", error.code) from None
        auth = answer.get("auth") or {}
        if not auth.get("client_token"):
            raise LoginFailed(f"{who} gave no token") from None
        if not auth.get("accessor"):
            cure = "a batch token, which nobody can revoke: set token_type=service on the role"
            raise LoginFailed(f"{who} gave a token without an accessor, {cure}")
        ttl = float(auth.get("lease_duration") or 0)
        return Login(str(auth["accessor"]), str(auth["client_token"]), ttl, bool(auth.get("renewable")))

    def get(self, path: str, token: str, version: int | None = None) -> dict[str, Any]:
        """Read a path."""
        query = {"params": {"version": version}} if version is not None else {}
        answer: dict[str, Any] = self._adapter(self._vault("read", token)).get(f"/v1/{path}", **query)
        return answer

    def put(self, path: str, token: str, data: dict[str, str]) -> dict[str, Any]:
        """Write fields to a path; what it answers."""
        answer: dict[str, Any] = self._adapter(self._vault("write", token)).post(f"/v1/{path}", json=data)
        return answer

    def decrypt(self, mount: str, key: str, ciphertext: str, token: str) -> dict[str, Any]:
        """Decrypt by the transit engine."""
        transit = self._vault("decrypt", token).secrets.transit
        answer: dict[str, Any] = transit.decrypt_data(name=key, ciphertext=ciphertext, mount_point=mount)
        return answer

    def renew_accessor(self, accessor: str, seconds: float, token: str) -> float:
        """Renew a token by so many seconds; its new life in seconds, which Vault may have made shorter."""
        answer = self._vault("renew", token).auth.token.renew_accessor(accessor, increment=f"{max(1, round(seconds))}s")
        return float((answer.get("auth") or {}).get("lease_duration") or 0)

    def renew_lease(self, lease_id: str, seconds: float, token: str) -> float:
        """Renew a lease; its new life in seconds."""
        answer = self._vault("renew", token).sys.renew_lease(lease_id, increment=max(1, round(seconds)))
        return float(answer.get("lease_duration") or 0)

    def revoke_accessor(self, accessor: str, token: str) -> None:
        """Revoke a token; what it leased goes with it, soon after."""
        self._vault("revoke", token).auth.token.revoke_accessor(accessor)

    def revoke_lease(self, lease_id: str, token: str) -> None:
        """Revoke a lease, and come back when it is done (`sync`); fine if there is none."""
        body = {"lease_id": lease_id, "sync": True}
        self._adapter(self._vault("revoke", token)).put("/v1/sys/leases/revoke", json=body)

    def revoke_self(self, token: str) -> None:
        """Revoke the token itself."""
        self._vault("revoke", token).auth.token.revoke_self()

    # Inside.

    @staticmethod
    def _adapter(vault: hvac.Client) -> _Adapter:
        adapter = vault.adapter
        assert isinstance(adapter, _Adapter)  # noqa: S101 - made below
        return adapter

    def _vault(self, operation: str, token: str) -> hvac.Client:
        """This thread's client of hvac, set up for one request: requests' sessions are not for several threads."""
        vault: hvac.Client | None = getattr(self._local, "vault", None)
        if vault is None:
            vault = self._local.vault = self._connect()
        vault.token = token
        self._adapter(vault).begin(self, operation)
        return vault

    def _connect(self) -> hvac.Client:
        """A client of hvac; all that it would look for in the environment is given."""
        return hvac.Client(
            url=self.server.address,
            token="",
            cert=("", ""),
            verify=True,
            timeout=self.server.timeout,
            proxies={},
            allow_redirects=False,
            session=_session(self.server),
            adapter=_Adapter,
            namespace=self.server.namespace,
        )

    def told(self, operation: str, code: int, seconds: float) -> None:
        """Count a request."""
        if self._observe is not None:
            self._observe(self.server.name, operation, code, seconds)

    def distrusted(self) -> None:
        """Read the authorities anew before this thread's next request: the file may have changed since."""
        self._local.vault = None


def _session(server: Server) -> requests.Session:
    session = requests.Session()
    session.trust_env = False
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    try:
        transport = _Transport(server.tls() if server.address.startswith("https:") else None)
    except OSError as error:
        what = f"its authorities cannot be read ({type(error).__name__})"
        raise Unavailable(f"Vault server {server.name!r}: {what}; see `ca` of the server") from None
    session.mount("https://", transport)
    session.mount("http://", transport)
    return session


class _Transport(HTTPAdapter):
    """Connections by one TLS context: requests itself would trust the authorities of certifi as well."""

    def __init__(self, tls: ssl.SSLContext | None) -> None:
        self._tls = tls
        super().__init__(pool_maxsize=8, max_retries=0)

    def build_connection_pool_key_attributes(
        self,
        request: requests.PreparedRequest,
        verify: bool | str,
        cert: Any = None,  # noqa: ARG002 - the signature of requests
    ) -> tuple[Any, Any]:
        host, _ = super().build_connection_pool_key_attributes(request, verify, None)
        return host, {"ssl_context": self._tls} if self._tls is not None else {}

    def cert_verify(self, conn: Any, url: str, verify: bool | str, cert: Any) -> None:
        """The context says it all."""


class _Adapter(RawAdapter):  # type: ignore[misc]
    """hvac's requests, with our bounds and our errors; answers come as dicts."""

    def begin(self, client: Client, operation: str) -> None:
        """Say what is asked, for metrics and errors."""
        self._client = client
        self._operation = operation

    def request(
        self, method: str, url: str, headers: Any = None, raise_exception: bool = True, **more: Any
    ) -> dict[str, Any]:
        del raise_exception
        server, began = self._client.server, time.monotonic()
        code, body = 0, b""
        error: VaultError | None = None
        # Errors are raised outside of `except`: those of requests hold the request, with its token, as their context.
        try:
            answer = super().request(method, url, headers=headers, raise_exception=False, stream=True, **more)
            with answer:
                body = _body(answer, began + server.timeout)
                code = answer.status_code
        except requests.exceptions.SSLError:
            error = Unavailable(f"the certificate of Vault server {server.name!r} is not trusted; see its `ca`")
            self._client.distrusted()
        except (requests.Timeout, TimeoutError):
            error = Unavailable(f"Vault server {server.name!r} did not answer within {server.timeout:g} s")
        except _TooMuchError:
            error = TooLarge(f"Vault server {server.name!r} answered with more than {BODY_LIMIT} bytes")
        except (requests.RequestException, OSError):
            error = Unavailable(f"Vault server {server.name!r} cannot be reached")
        self._client.told(self._operation, code, time.monotonic() - began)
        if error is None:
            error = _refusal(server.name, code, body)
        if error is not None:
            raise error
        return _parsed(server.name, body)


class _TooMuchError(Exception):
    """An answer without end."""


def _body(answer: requests.Response, deadline: float) -> bytes:
    out = bytearray()
    for chunk in answer.iter_content(_CHUNK):
        out += chunk
        if len(out) > BODY_LIMIT:
            raise _TooMuchError
        if time.monotonic() > deadline:
            raise TimeoutError
    return bytes(out)


def _parsed(name: str, body: bytes) -> dict[str, Any]:
    if not body:
        return {}
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        found = None
    if not isinstance(found, dict):
        raise Invalid(f"what answers at the address of Vault server {name!r} is not Vault") from None
    return found


def _refusal(name: str, code: int, body: bytes) -> VaultError | None:
    """The error that a status stands for; the body only tells what is gone from what is wrong, and is not shown."""
    where = f"Vault server {name!r}"
    if 200 <= code < 300:
        return None
    if code in (400, 403, 404) and any(sign in body for sign in _GONE):
        return Gone(f"{where} has no such token or lease any more ({code})", code)
    if code == 403:
        return Forbidden(f"{where} does not allow it ({code}): the role's policies must", code)
    if code == 404:
        return NotFound(f"{where} has nothing there ({code})", code)
    if code == 429:
        return Unavailable(f"{where} takes no more requests now ({code}): a quota of its administrator", code)
    if code == 503:
        return Unavailable(f"{where} is sealed or in maintenance ({code})", code)
    if 300 <= code < 400:
        text = "answered with a redirect, which is not followed: give the address of the node or balancer that serves"
        return Unavailable(f"{where} {text} ({code})", code)
    if code >= 500 or code in _BUSY:
        return Unavailable(f"{where} has failed ({code})", code)
    return Invalid(f"{where} cannot do that ({code})", code)
