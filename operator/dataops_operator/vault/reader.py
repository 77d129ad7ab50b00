"""One source read: key-value engines, anything that answers with data or a lease, writes, transit."""

from __future__ import annotations

import base64
import binascii
import contextlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..api.secret import TransitDecrypt, VaultSource
from ..core.secrets import PLAINTEXT, Fetched, from_data
from .errors import Invalid, NotFound

if TYPE_CHECKING:
    from .client import Client


def fetch(client: Client, token: str, source: VaultSource) -> Fetched:
    """Read a source whose templates are filled in, as whoever the token is.

    Raises:
        VaultError: Vault does not give it, or not as it was asked for.
        CredentialError: a value is no text that a file could have.
    """
    if source.transit is not None:
        return _decrypted(client, token, source.transit)
    path = source.path or ""
    if source.data is not None:
        answer = client.put(path, token, {one.name: one.value for one in source.data})
    else:
        try:
            answer = client.get(path, token, source.version)
        except NotFound as error:
            raise NotFound(f"{error}{_hint(source)}", error.code) from None
    return _fetched(source, answer)


def _hint(source: VaultSource) -> str:
    if source.version is not None:
        return f": no version {source.version} at that path, or it was deleted"
    if "/data/" not in f"{source.path}":
        return ": no such path; where the engine is KV version 2, write <mount>/data/<path>"
    return ": no such secret, or its latest version was deleted"


def _fetched(source: VaultSource, answer: Mapping[str, Any]) -> Fetched:
    data = answer.get("data")
    if not isinstance(data, dict):
        raise NotFound("Vault answered without data: nothing at that path can be a secret")
    version = None
    if (versioned := _versioned(source.path or "", data)) is not None:
        version, data = versioned
        if not isinstance(data, dict):
            raise NotFound(f"version {version} of it was deleted")
    if source.version is not None and version != source.version:
        raise Invalid("the path has no versions: it is not of a KV engine of version 2; remove version")
    return Fetched(
        values=from_data(data),
        version=version,
        lease_id=str(answer.get("lease_id") or ""),
        lease_seconds=int(answer.get("lease_duration") or 0) if answer.get("lease_id") else 0,
        renewable=bool(answer.get("renewable")),
    )


def _versioned(path: str, data: Mapping[str, Any]) -> tuple[int, Any] | None:
    """Version and content, where the answer is one of a KV engine of version 2."""
    meta = data.get("metadata")
    if "/data/" not in path or set(data) != {"data", "metadata"} or not isinstance(meta, dict):
        return None
    version = meta.get("version")
    return (version, data["data"]) if isinstance(version, int) else None


def _decrypted(client: Client, token: str, source: TransitDecrypt) -> Fetched:
    answer = client.decrypt(source.mount, source.key, source.ciphertext, token)
    text = (answer.get("data") or {}).get("plaintext")
    plain = None
    with contextlib.suppress(binascii.Error):
        plain = base64.b64decode(text, validate=True) if isinstance(text, str) else None
    if plain is None:
        raise Invalid("Vault's transit engine answered without a plaintext")
    return Fetched(values={PLAINTEXT: plain})
