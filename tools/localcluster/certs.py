"""The cluster's keys and certificates, made by the openssl program, and kubeconfigs with them inside."""

from __future__ import annotations

import base64
import json
import secrets
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from localcluster.errors import ClusterError

_DAYS = "3650"
_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]

# Python 3.13 verifies strictly: a CA without keyUsage or a leaf without authorityKeyIdentifier is refused.
_CONFIG = """\
[req]
distinguished_name = dn
[dn]
[ca]
basicConstraints = critical,CA:TRUE
keyUsage = critical,keyCertSign,cRLSign
subjectKeyIdentifier = hash
[leaf]
basicConstraints = critical,CA:FALSE
keyUsage = critical,digitalSignature,keyEncipherment
extendedKeyUsage = serverAuth,clientAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
"""


@dataclass(frozen=True)
class Leaf:
    """A certificate to make: file name, subject (``/O=group/CN=user``) and, for servers, names."""

    name: str
    subject: str
    names: Sequence[str] = ()


class Authority:
    """The files of one cluster's authority, below one folder with mode 0700."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def ca(self) -> Path:
        """The authority's certificate."""
        return self.folder / "ca.crt"

    def cert(self, name: str) -> Path:
        """A leaf's certificate."""
        return self.folder / f"{name}.crt"

    def key(self, name: str) -> Path:
        """A leaf's private key; ``service-accounts`` is the key that signs their tokens."""
        return self.folder / f"{name}.key"

    @property
    def tokens(self) -> Path:
        """The API server's static token file, with the administrator's token."""
        return self.folder / "tokens.csv"

    def token(self) -> str:
        """The administrator's bearer token."""
        return self.tokens.read_text().split(",", 1)[0]

    def make(self, leaves: Sequence[Leaf]) -> None:
        """Make what is missing; what is there stays, so that a restarted part is still trusted."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        config = self.folder / "openssl.cnf"
        config.write_text(_CONFIG)
        if not self.ca.exists():
            subject = ["-subj", "/CN=dataops-local-cluster", "-extensions", "ca"]
            _openssl(["req", "-x509", *_KEY, *subject], config, self.key("ca"), self.ca)
        with ThreadPoolExecutor(4) as pool:
            wanted = [leaf for leaf in leaves if not self.cert(leaf.name).exists()]
            list(pool.map(self._leaf, wanted))
        if not self.key("service-accounts").exists():
            _run(["openssl", "genrsa", "-out", str(self.key("service-accounts")), "2048"])
        if not self.tokens.exists():
            self.tokens.write_text(f'{secrets.token_hex(24)},admin,admin,"system:masters"\n')
            self.tokens.chmod(0o600)

    def _leaf(self, leaf: Leaf) -> None:
        own = self.folder / f"{leaf.name}.cnf"
        own.write_text(_CONFIG + (f"subjectAltName = {','.join(leaf.names)}\n" if leaf.names else ""))
        signed = [
            "-CA",
            str(self.ca),
            "-CAkey",
            str(self.key("ca")),
            "-subj",
            leaf.subject,
            "-extensions",
            "leaf",
        ]
        _openssl(["req", "-x509", *_KEY, *signed], own, self.key(leaf.name), self.cert(leaf.name))

    def kubeconfig(self, path: Path, server: str, leaf: str, cluster: str) -> Path:
        """Write a kubeconfig that carries its certificates inside; JSON is YAML."""
        user = {"client-certificate-data": _data(self.cert(leaf)), "client-key-data": _data(self.key(leaf))}
        where = {"server": server, "certificate-authority-data": _data(self.ca)}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": cluster, "cluster": where}],
            "users": [{"name": leaf, "user": user}],
            "contexts": [{"name": cluster, "context": {"cluster": cluster, "user": leaf}}],
            "current-context": cluster,
        }
        path.touch(mode=0o600)
        path.write_text(json.dumps(config, indent=2) + "\n")
        return path


def _data(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def _openssl(arguments: list[str], config: Path, key: Path, cert: Path) -> None:
    # The certificate appears last and whole, since its presence means that the pair is complete.
    scratch = cert.with_suffix(".new")
    out = ["-config", str(config), "-days", _DAYS, "-keyout", str(key), "-out", str(scratch)]
    _run(["openssl", *arguments, *out])
    scratch.rename(cert)


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ClusterError(f"openssl cannot make {command[-1]}: {done.stderr.strip()[-300:]}")
