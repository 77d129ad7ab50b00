"""Where the API server is and how to prove who we are: from the pod's ServiceAccount or a kubeconfig."""

from __future__ import annotations

import base64
import binascii
import os
import ssl
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
TOKEN_AGE = 60.0
"""Seconds after which a token file is read again: the kubelet replaces it long before the old token ends."""


class ConfigError(Exception):
    """There is no usable way to the API server; the message says what to do about it."""


@dataclass
class Credentials:
    """One API server and one identity at it.

    The fields are what HTTP clients other than ours need to do the same. Of each pair of `_path` and `_data`
    at most one is set; data is PEM, already decoded.
    """

    server: str
    namespace: str = "default"
    ca_path: str | None = None
    ca_data: bytes | None = None
    insecure: bool = False
    certificate_path: str | None = None
    certificate_data: bytes | None = None
    private_key_path: str | None = None
    private_key_data: bytes | None = field(default=None, repr=False)
    static_token: str | None = field(default=None, repr=False)
    token_path: str | None = None
    clock: Callable[[], float] = field(default=time.monotonic, repr=False)
    _headers: dict[str, str] | None = field(default=None, init=False, repr=False)
    _read_at: float = field(default=0.0, init=False, repr=False)

    def with_token(self, token: str) -> Credentials:
        """The same server, and somebody else there: nothing of our own identity goes along."""
        return Credentials(
            self.server, ca_path=self.ca_path, ca_data=self.ca_data, insecure=self.insecure, static_token=token
        )

    def headers(self) -> dict[str, str]:
        """Return the Authorization header, or nothing where a client certificate speaks for us.

        A token file is read again when the last reading is older than `TOKEN_AGE`. While it cannot be read
        the last token stands: the API server decides whether it is still good.

        Raises:
            ConfigError: if the token file could never be read.
        """
        if self._headers is None or (self.token_path and self.clock() - self._read_at >= TOKEN_AGE):
            self._load_token()
        return self._headers or {}

    def refresh(self) -> None:
        """Have the next `headers` read the token file afresh, after the server refused the token."""
        self._read_at = float("-inf")

    def token(self) -> str | None:
        """Return the bearer token of `headers`, for clients that build the header themselves."""
        return self.headers().get("Authorization", "").removeprefix("Bearer ") or None

    def ssl_context(self) -> ssl.SSLContext | None:
        """Build the TLS settings: trust in the server's CA, our certificate; None for plain HTTP.

        Raises:
            ConfigError: for certificates or keys that cannot be read.
        """
        if not self.server.startswith("https://"):
            return None
        try:
            context = ssl.create_default_context(
                cafile=self.ca_path, cadata=self.ca_data.decode("ascii") if self.ca_data else None
            )
            if self.insecure:
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
            if self.certificate_path or self.certificate_data:
                self._load_client_certificate(context)
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            raise ConfigError(f"the certificates for {self.server} cannot be used: {error}") from error
        return context

    def _load_token(self) -> None:
        token = self.static_token
        if self.token_path:
            try:
                token = Path(self.token_path).read_text(encoding="utf-8").strip()
            except OSError as error:
                if self._headers is None:
                    raise ConfigError(f"the token file {self.token_path} cannot be read: {error}") from error
                self._read_at = self.clock()
                return
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._read_at = self.clock()

    def _load_client_certificate(self, context: ssl.SSLContext) -> None:
        """Load certificate and key; OpenSSL takes them from files only, so data goes through private ones."""
        with tempfile.TemporaryDirectory(prefix="kube-") as directory:

            def as_file(name: str, path: str | None, data: bytes | None) -> str | None:
                if data is None:
                    return path
                file = Path(directory, name)
                file.touch(mode=0o600)
                file.write_bytes(data)
                return str(file)

            certificate = as_file("certificate.pem", self.certificate_path, self.certificate_data)
            key = as_file("key.pem", self.private_key_path, self.private_key_data)
            context.load_cert_chain(str(certificate), key)


def load_credentials(kubeconfig: str | None = None) -> Credentials:
    """Find the API server: by the kubeconfig named, else in-cluster, else $KUBECONFIG, else ~/.kube/config.

    Args:
        kubeconfig: path of a kubeconfig; it goes before everything else, since somebody asked for it.

    Raises:
        ConfigError: if none of these is there, or what it holds cannot be used.
    """
    if kubeconfig:
        return from_kubeconfig([Path(kubeconfig)])
    host, port = os.environ.get("KUBERNETES_SERVICE_HOST"), os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    if host and (SERVICE_ACCOUNT / "token").exists():
        return _in_cluster(host, port)
    named = os.environ.get("KUBECONFIG")
    if named:
        return from_kubeconfig([Path(path) for path in named.split(os.pathsep) if path])
    default = Path("~/.kube/config").expanduser()
    if default.exists():
        return from_kubeconfig([default])
    raise ConfigError(
        "no Kubernetes API server is known: not running in a pod with a ServiceAccount token, $KUBECONFIG is "
        f"not set and {default} does not exist. Name a kubeconfig, or set KUBECONFIG to its path."
    )


def _in_cluster(host: str, port: str) -> Credentials:
    namespace = SERVICE_ACCOUNT / "namespace"
    return Credentials(
        server=f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}",
        namespace=namespace.read_text(encoding="utf-8").strip() if namespace.exists() else "default",
        ca_path=str(SERVICE_ACCOUNT / "ca.crt"),
        token_path=str(SERVICE_ACCOUNT / "token"),
    )


def from_kubeconfig(paths: list[Path]) -> Credentials:
    """Read the current context out of one or more kubeconfigs; of two entries of a name the first counts.

    Raises:
        ConfigError: if a file is missing or malformed, an entry is missing, or a login method is not
            supported.
    """
    merged: dict[str, dict[str, dict[str, Any]]] = {"clusters": {}, "users": {}, "contexts": {}}
    current = ""
    for path in paths:
        document = _read(path)
        current = current or document.get("current-context") or ""
        for section, inner in (("clusters", "cluster"), ("users", "user"), ("contexts", "context")):
            for entry in document.get(section) or ():
                content = _with_absolute_paths(entry.get(inner) or {}, path.parent)
                merged[section].setdefault(str(entry.get("name")), content)
    where = ", ".join(str(path) for path in paths)

    def pick(section: str, name: str, wanted_by: str) -> dict[str, Any]:
        try:
            return merged[section][name]
        except KeyError:
            raise ConfigError(f"{where}: {wanted_by} names {name!r}, which is not among its {section}") from None

    if not current:
        raise ConfigError(f"{where}: no current-context; choose one with `kubectl config use-context`")
    context = pick("contexts", current, "current-context")
    cluster = pick("clusters", str(context.get("cluster")), f"context {current!r}")
    user_name = str(context.get("user") or "")
    user = pick("users", user_name, f"context {current!r}") if user_name else {}
    _refuse_unsupported(user, f"{where}: user {user_name!r}")
    server = cluster.get("server")
    if not server:
        raise ConfigError(f"{where}: cluster {context.get('cluster')!r} has no server")
    ca_data = _pem(cluster, "certificate-authority-data", where)
    certificate_data = _pem(user, "client-certificate-data", where)
    key_data = _pem(user, "client-key-data", where)
    return Credentials(
        server=str(server).rstrip("/"),
        namespace=context.get("namespace") or "default",
        ca_path=None if ca_data else cluster.get("certificate-authority"),
        ca_data=ca_data,
        insecure=bool(cluster.get("insecure-skip-tls-verify")),
        certificate_path=None if certificate_data else user.get("client-certificate"),
        certificate_data=certificate_data,
        private_key_path=None if key_data else user.get("client-key"),
        private_key_data=key_data,
        static_token=user.get("token"),
        token_path=user.get("tokenFile"),
    )


def _read(path: Path) -> Mapping[str, Any]:
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"the kubeconfig {path} cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        # The parser's own message may quote a line, and lines of this file hold keys.
        raise ConfigError(f"the kubeconfig {path} is not YAML") from error
    if not isinstance(document, dict):
        raise ConfigError(f"the kubeconfig {path} is empty or not a mapping")
    return document


def _with_absolute_paths(entry: dict[str, Any], base: Path) -> dict[str, Any]:
    """Resolve relative file names, which count from the kubeconfig's own folder."""
    files = ("certificate-authority", "client-certificate", "client-key", "tokenFile")
    return entry | {name: str(base / entry[name]) for name in files if entry.get(name)}


def _refuse_unsupported(user: Mapping[str, Any], where: str) -> None:
    for method in ("exec", "auth-provider", "username"):
        if user.get(method):
            raise ConfigError(
                f"{where} logs in by {method!r}, which the operator does not do. Use a token, a tokenFile "
                "or a client certificate, for instance of a ServiceAccount (`kubectl create token NAME`)."
            )


def _pem(entry: Mapping[str, Any], name: str, where: str) -> bytes | None:
    value = entry.get(name)
    if not value:
        return None
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError, TypeError) as error:
        raise ConfigError(f"{where}: {name} is not base64") from error
