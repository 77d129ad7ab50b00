"""From what Vault answered to the files of a step: keys chosen and renamed, templates of several keys, limits.

Nothing here talks to Vault. No value ever stands in a message: names of secrets, of keys and of files do.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from ..api.conditions import Reason
from ..api.secret import FILE_NAME_PATTERN, Credentials, VaultSource

TOTAL_LIMIT: Final = 900 * 1024
"""Bytes of all files of a run together: a Kubernetes Secret has at most 1 MiB, names and base64 aside."""
VARIABLE_LIMIT: Final = 128 * 1024 - 256
"""Bytes of a value as environment variable: the kernel takes 128 KiB with the name (execve(2), MAX_ARG_STRLEN)."""
FILE_NAME_LIMIT: Final = 128
PATH_LIMIT: Final = 512
PLAINTEXT: Final = "plaintext"
"""The key that transit's decrypted text has."""
OWN_ROOTS: Final = frozenset({"sys", "auth", "identity", "cubbyhole"})
"""Vault's own mounts, where no secret of a user is."""

TEMPLATE: Final = re.compile(r"\$\$\(|\$\(([^)]*)(\))?")
"""In a file's template: an escaped one, a key, one that is never closed."""
_FILE_NAME: Final = re.compile(FILE_NAME_PATTERN, re.ASCII)
_PATH: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.()@+=~-]*(/[A-Za-z0-9_.()@+=~-]+)*", re.ASCII)
_DOTS: Final = re.compile(r"(^|/)\.+(/|$)")
_SHOWN: Final = 20
"""How many keys a message names."""


class CredentialError(ValueError):
    """A secret cannot be had as it is asked for; asking again would not help.

    Attributes:
        reason: out of the closed list.
    """

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Fetched:
    """What Vault answered for one source.

    Attributes:
        values: by key; never shown.
        version: of a KV version 2 secret.
        lease_id: what takes it back; "" where it is not leased.
        lease_seconds: life of the lease.
        renewable: whether the lease can be made longer.
    """

    values: Mapping[str, bytes] = field(repr=False)
    version: int | None = None
    lease_id: str = ""
    lease_seconds: int = 0
    renewable: bool = False


def as_bytes(value: Any) -> bytes:
    """A value of Vault's JSON as a file has it.

    A string as it is; a list of strings (PKI's `ca_chain`) one a line; nothing for null; all else as compact JSON.

    Raises:
        CredentialError: a string that no file can have (half of a surrogate pair).
    """
    if value is None:
        return b""
    if isinstance(value, bytes):
        return value
    if isinstance(value, list) and value and all(isinstance(one, str) for one in value):
        value = "\n".join(value)
    try:
        return value.encode() if isinstance(value, str) else orjson.dumps(value)
    except (UnicodeEncodeError, TypeError, ValueError):
        # `from None`: the error's text carries the value
        raise CredentialError(Reason.SECRET_INVALID, "a value is no text that could be written as UTF-8") from None


def from_data(data: Mapping[str, Any]) -> dict[str, bytes]:
    """What Vault answered under `data`, as files have it."""
    return {str(key): as_bytes(value) for key, value in data.items()}


# Before it is asked for.


def check_source(name: str, source: VaultSource, written: str | None = None) -> None:
    """Hold a source whose templates are filled in against the rules: what was filled in may have broken them.

    Args:
        name: of the secret, for messages.
        source: with its templates filled in.
        written: the path before that, for messages: a masked parameter may be in it.

    Raises:
        CredentialError: it is no path of a secrets engine, or no ciphertext.
    """
    if source.path is not None and (wrong := path_problem(source.path)):
        raise CredentialError(Reason.SECRET_INVALID, f"secret {name}: path {written or source.path!r}: {wrong}")
    if source.transit is not None and not source.transit.ciphertext.startswith("vault:v"):
        cure = "give what transit/encrypt answered, which begins with 'vault:v1:'"
        text = f"secret {name}: transit.ciphertext is not of Vault's transit engine; {cure}"
        raise CredentialError(Reason.SECRET_INVALID, text)


def path_problem(path: str) -> str | None:
    """What is wrong with a path whose templates are filled in, and the cure; None where nothing is."""
    if len(path) > PATH_LIMIT:
        return f"longer than {PATH_LIMIT} characters"
    if path.startswith("/") or path.endswith("/") or "//" in path or ".." in path or _DOTS.search(path):
        return "write a plain path, without '..', '//' or a '/' at its ends"
    if path.split("/", 1)[0] in OWN_ROOTS:
        return f"no secret is below {path.split('/', 1)[0]}/, which is Vault's own; name a secrets engine's path"
    if "/" not in path or not _PATH.fullmatch(path):
        return "write <mount>/<path>: letters, digits and _ . ( ) @ + = ~ - between slashes"
    return None


# After it was read.


def render(name: str, credentials: Credentials, values: Mapping[str, bytes]) -> dict[str, bytes]:
    """The files of one secret.

    Args:
        name: of the secret, for messages.
        credentials: which keys, under which names, and which files are made of several.
        values: what Vault has, by key.

    Returns:
        Contents by file name.

    Raises:
        CredentialError: a key is not there, or two files would share a name.
    """
    out: dict[str, bytes] = {}
    if credentials.keys is None:
        for key, value in values.items():
            if not is_file_name(key):
                cure = "choose keys and give this one a name, with keys: [{key: ..., name: ...}]"
                raise CredentialError(
                    Reason.SECRET_INVALID, f"secret {name}: key {key[:100]!r} is no file name; {cure}"
                )
            out[key] = value
    for one in credentials.keys or ():
        _add(name, out, one.name or one.key, _value(name, one.key, values))
    for file in credentials.files or ():
        _add(name, out, file.name, fill_template(name, file.template, values))
    return out


def _add(name: str, out: dict[str, bytes], file: str, content: bytes) -> None:
    if not is_file_name(file):
        raise CredentialError(
            Reason.SECRET_INVALID, f"secret {name}: {file[:100]!r} is no file name; give the key a name"
        )
    if file in out:
        cure = "rename one, or list the keys that you want"
        raise CredentialError(Reason.SECRET_INVALID, f"secret {name}: two files would be called {file!r}; {cure}")
    out[file] = content


def fill_template(name: str, template: str, values: Mapping[str, bytes]) -> bytes:
    """A file's text: `$(key)` is the key's value, `$$(` a literal `$(`; what was filled in is never looked at again.

    Raises:
        CredentialError: the secret has no such key, or a `$(` is never closed.
    """
    out, at = bytearray(), 0
    for match in TEMPLATE.finditer(template):
        out += template[at : match.start()].encode()
        at = match.end()
        if match[1] is None:
            out += b"$("
        elif match[2] is None:
            text = f"secret {name}: a template has a '$(' that is never closed; write '$$(' for the text itself"
            raise CredentialError(Reason.SECRET_INVALID, text)
        else:
            out += _value(name, match[1], values)
    return bytes(out + template[at:].encode())


def _value(name: str, key: str, values: Mapping[str, bytes]) -> bytes:
    if key in values:
        return values[key]
    there = ", ".join(sorted(values)[:_SHOWN]) + (", ..." if len(values) > _SHOWN else "")
    raise CredentialError(
        Reason.SECRET_KEY_MISSING,
        f"secret {name}: no key {key!r} in it; " + (f"there are: {there}" if there else "it is empty"),
    )


def check_variables(name: str, wanted: Iterable[str], files: Mapping[str, bytes]) -> None:
    """See that files can be environment variables.

    Args:
        name: of the secret, for messages.
        wanted: which files.
        files: all files of the secret.

    Raises:
        CredentialError: one is not there, or is no text, or is too long for a process to get.
    """
    for file in wanted:
        value = _value(name, file, files)
        if len(value) > VARIABLE_LIMIT:
            text = f"{len(value)} bytes are too many for a variable, {VARIABLE_LIMIT} go; take it as a file"
            raise CredentialError(Reason.SECRET_TOO_LARGE, f"secret {name}, {file!r}: {text}")
        if not _is_text(value):
            text = "it is not text, which a variable must be; take it as a file"
            raise CredentialError(Reason.SECRET_INVALID, f"secret {name}, {file!r}: {text}")


def check_total(secrets: Mapping[str, Mapping[str, bytes]], limit: int = TOTAL_LIMIT) -> None:
    """See that all files of a run together can be delivered.

    Raises:
        CredentialError: they are too large; the message says which are the largest.
    """
    sizes = {f"{name}/{file}": len(value) for name, files in secrets.items() for file, value in files.items()}
    total = sum(sizes.values()) + sum(map(len, sizes))
    if total > limit:
        largest = ", ".join(f"{one} ({sizes[one]})" for one in sorted(sizes, key=lambda one: (-sizes[one], one))[:3])
        text = f"the secrets have {total} bytes, {limit} can be delivered; the largest: {largest}; list fewer keys"
        raise CredentialError(Reason.SECRET_TOO_LARGE, text)


def is_file_name(name: str) -> bool:
    """Whether a key can be a file of its own name."""
    return len(name) <= FILE_NAME_LIMIT and _FILE_NAME.fullmatch(name) is not None


def _is_text(value: bytes) -> bool:
    if b"\0" in value:
        return False
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True
