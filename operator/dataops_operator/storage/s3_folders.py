"""Removes the empty objects that consoles and Hadoop call folders: keys that end in '/'.

The client library lists them without their last character, so it can neither name nor remove them. One request of the
protocol does, signed as AWS Signature Version 4 has it (Amazon S3 API Reference, "Authenticating Requests").
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import ssl
from collections.abc import Iterable
from datetime import UTC, datetime
from urllib.parse import quote, urlsplit

from ..api.target import S3Target
from ..core.storagejob import Code
from .adapter import AUTHORITY, QUERY_SECONDS, Login, StorageError

_EMPTY = hashlib.sha256(b"").hexdigest()


def remove_folders(place: S3Target, login: Login | None, keys: Iterable[str]) -> None:
    """Remove objects by their whole keys; one that is not there is none.

    Args:
        place: whose bucket they are in.
        login: as the adapter has it.
        keys: with the '/' at their end.

    Raises:
        StorageError: the server cannot be reached, or refuses.
    """
    address = urlsplit(place.endpoint)
    host, port = address.hostname or "", address.port
    connection: http.client.HTTPConnection
    if address.scheme == "https":
        trusted = ssl.create_default_context(cadata=login.values.get(AUTHORITY) if login else None)
        connection = http.client.HTTPSConnection(host, port, timeout=QUERY_SECONDS, context=trusted)
    else:
        connection = http.client.HTTPConnection(host, port, timeout=QUERY_SECONDS)
    try:
        for key in keys:
            path = quote(f"/{place.bucket}/{key}", safe="/-_.~")
            connection.request("DELETE", path, headers=_signed(path, address.netloc, place.region, login))
            answer = connection.getresponse()
            answer.read()
            if answer.status >= 300 and answer.status != 404:
                code = Code.FORBIDDEN if answer.status in (401, 403) else Code.UNAVAILABLE
                raise StorageError(code, f"the server does not remove the folder {key} (HTTP {answer.status})")
    except (OSError, http.client.HTTPException):
        raise StorageError(Code.UNREACHABLE, f"no answer from {place.endpoint} while folders were removed") from None
    finally:
        connection.close()


def _signed(path: str, host: str, region: str, login: Login | None) -> dict[str, str]:
    if login is None:
        return {"host": host}
    access, secret = login.need("access_key", "secret_key")
    now = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    headers = {"host": host, "x-amz-content-sha256": _EMPTY, "x-amz-date": now}
    if token := login.values.get("security_token"):
        headers["x-amz-security-token"] = token
    names = ";".join(headers)
    lines = "".join(f"{name}:{value}\n" for name, value in headers.items())
    request = "\n".join(["DELETE", path, "", lines, names, _EMPTY])
    scope = f"{now[:8]}/{region}/s3/aws4_request"
    text = "\n".join(["AWS4-HMAC-SHA256", now, scope, hashlib.sha256(request.encode()).hexdigest()])
    key = f"AWS4{secret}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.digest(key, text.encode(), "sha256").hex()
    return headers | {
        "authorization": f"AWS4-HMAC-SHA256 Credential={access}/{scope}, SignedHeaders={names}, Signature={signature}"
    }
